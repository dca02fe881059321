"""Git's objects, in this process: written as files of their own, read from there or from packs.

The format is that of git-scm.com/docs/gitformat-pack ("loose objects" are zlib streams of
``<kind> <size>\\0<content>``, named by the SHA-1 of what was compressed).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fsagent.layout import FILE_MAX, read_plain
from fsagent.repo import disk

_TRIES = 50
"""How often a folder of objects may vanish while one is being written."""


@dataclass(frozen=True)
class Object:
    """An object that is not written yet: its id, and the bytes of its file."""

    oid: bytes
    packed: bytes


def encode(kind: bytes, data: bytes) -> Object:
    """An object of ``kind`` (blob, tree or commit) with this content."""
    whole = b"%s %d\0%s" % (kind, len(data), data)
    return Object(hashlib.sha1(whole, usedforsecurity=False).digest(), zlib.compress(whole, 1))


def object_id(kind: bytes, data: bytes, algorithm: str = "sha1") -> bytes:
    """The id of an object of ``kind`` with this content."""
    whole = hashlib.new(algorithm, b"%s %d\0" % (kind, len(data)), usedforsecurity=False)
    whole.update(data)
    return whole.digest()


def blob_id(data: bytes, algorithm: str = "sha1") -> str:
    """The id that ``data`` has as a blob; ``algorithm`` is the repository's, sha1 or sha256."""
    return object_id(b"blob", data, algorithm).hex()


def _unpacked(packed: bytes) -> bytes:
    """The content of an object's file, which may be a stranger's: a bomb of zeros has an end."""
    stream = zlib.decompressobj()
    whole = stream.decompress(packed, FILE_MAX + 64)
    if not stream.eof:
        raise zlib.error("it is cut off, or too large")
    return whole


class Objects:
    """The folder ``objects`` of a repository; ``packed`` reads what has no file of its own."""

    def __init__(self, folder: str, tmp: str, packed: Callable[[str], bytes]) -> None:
        self.folder = folder
        self._tmp = tmp
        self._packed = packed

    def read(self, oid: str) -> bytes:
        """The content of any object.

        Raises:
            ValueError: its file is damaged.
        """
        try:
            packed = read_plain(self.path(oid))
        except FileNotFoundError:
            return self._packed(oid)
        try:
            return _unpacked(packed).split(b"\0", 1)[1]
        except (zlib.error, IndexError):
            raise ValueError(f"the object {oid} is damaged") from None

    def sound(self, oid: str) -> bool:
        """Whether the object is there, and holds what its name says."""
        try:
            whole = _unpacked(read_plain(self.path(oid)))
        except FileNotFoundError:
            try:
                return bool(self._packed(oid) or True)
            except Exception:  # whatever GitPython says of an object that is nowhere
                return False
        except (OSError, zlib.error):
            return False
        return hashlib.sha1(whole, usedforsecurity=False).hexdigest() == oid

    def write(self, objects: Iterable[Object], *, settle: bool) -> None:
        """Write objects, each beside its place and then moved there, so that none is ever half."""
        for one in objects:
            path = self.path(one.oid.hex())
            try:
                os.utime(path)  # it is there: as Git does, make it too young to be pruned
                continue
            except OSError:
                pass
            spare = f"{self._tmp}/{one.oid.hex()}"
            disk.unlink(spare)
            disk.write(spare, [one.packed], 0o444, settle=settle)
            for _ in range(_TRIES):
                with contextlib.suppress(FileNotFoundError):
                    disk.rename(spare, path)
                    break
                # Packing removes empty folders at any time, also the one that we have just made.
                with contextlib.suppress(FileExistsError):
                    disk.mkdir(os.path.dirname(path))
            else:
                disk.rename(spare, path)

    def path(self, oid: str) -> str:
        """Where an object's own file is."""
        return f"{self.folder}/{oid[:2]}/{oid[2:]}"
