"""The journal of the write door: what a commit is about to do, so that it is done or not done.

One entry is appended, and with ``durability: power`` flushed, before anything that Git can see is
touched; it carries every new object. Another says that the commit is done. So an acknowledged
change survives a power cut by a single flush, whatever else the disk had not written yet; and after
a kill the author, the message and the files of the commit under way are known.

An entry is ``fsa1``, the body's length, its CRC-32, the body, and the length again, so that the
last one is found from the end. The body is a line of JSON and then the objects' bytes.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from fsagent.repo import disk
from fsagent.repo.objects import Object

_MAGIC = b"fsa1"
_OID = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HEAD = struct.Struct(">4sII")
_TAIL = struct.Struct(">I")

FULL = 4 << 20
"""Bytes from which on a journal is begun anew, once all of it is surely on the disk."""


@dataclass(frozen=True)
class Entry:
    """``kind`` is intent, done or begun; ``data`` are its facts, ``objects`` the new ones.

    begun: ``commit`` is the last one that the journal before this one acknowledged.
    """

    kind: str
    data: Mapping[str, Any]
    objects: tuple[Object, ...] = field(default=(), repr=False)


@cache
def boot() -> str:
    """A name for the time since the machine was started: another one means that power was lost."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class Journal:
    """The file at ``path``. Whoever appends holds the lock ``write``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._size = -1
        self._last: Entry | None = None

    def append(self, entry: Entry, *, flush: bool) -> None:
        """Add an entry; with ``flush`` it is on the disk when this returns."""
        entry = replace(entry, data={"boot": boot(), **entry.data})
        sizes = [[one.oid.hex(), len(one.packed)] for one in entry.objects]
        line = json.dumps({"kind": entry.kind, **entry.data, "objects": sizes})
        body = line.encode() + b"\n" + b"".join(one.packed for one in entry.objects)
        whole = _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body + _TAIL.pack(len(body))
        fd = self._open()
        size = os.fstat(fd).st_size
        try:
            disk.append(fd, whole)
        except BaseException:
            self._size = -1
            os.ftruncate(fd, size)  # an entry is whole or not there
            raise
        self._size, self._last = size + len(whole), replace(entry, objects=())
        if flush:
            disk.flush(fd)

    def take_back(self, ident: str, *, flush: bool) -> None:
        """Remove the last entry if it is the intent ``ident``: everything is as it was."""
        last = self.last()
        if last and last.kind == "intent" and last.data.get("id") == ident:
            fd = self._open()
            size = os.fstat(fd).st_size
            (length,) = _TAIL.unpack(os.pread(fd, _TAIL.size, size - _TAIL.size))
            disk.truncate(fd, size - _HEAD.size - length - _TAIL.size)
            self._size = -1
            if flush:
                disk.flush(fd)

    def last(self) -> Entry | None:
        """The newest entry, perhaps without its objects; None where there is none or it is torn."""
        try:
            size = os.stat(self.path).st_size
        except OSError:
            return None
        if size != self._size:
            with open(self.path, "rb") as file:
                self._last = _last(file.read() if size < 4096 else _end(file, size))
            self._size = size
        return self._last

    def entries(self) -> Iterator[Entry]:
        """All whole entries, oldest first; what a crash left of a torn one is passed over."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        yield from (entry for entry, _ in _entries(data))

    def mend(self) -> None:
        """Cut what a crash left of an entry that was being written."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        whole = max((end for _, end in _entries(data)), default=0)
        if whole < len(data):
            disk.truncate(self._open(), whole)
            self._size = -1

    def begin(self, commit: str | None, *, flush: bool) -> None:
        """Begin anew after what was acknowledged last; the caller has flushed everything else."""
        fd = self._open()
        disk.truncate(fd, 0)
        self._size = -1
        self.append(Entry("begun", {"commit": commit}), flush=flush)

    @property
    def full(self) -> bool:
        """Whether it is time to begin anew."""
        return self._size > FULL

    def _open(self) -> int:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o600)
        return self._fd

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _entries(data: bytes) -> Iterator[tuple[Entry, int]]:
    """Each whole entry, and where it ends."""
    at = 0
    while (at := data.find(_MAGIC, at)) >= 0:
        found, end = _entry(data, at)
        if found:
            yield found, end
        at = end if found else at + 1


def _entry(data: bytes, at: int) -> tuple[Entry | None, int]:
    """The entry that begins at ``at`` and where the next one begins; None when it is torn."""
    if len(data) < at + _HEAD.size:
        return None, at
    magic, length, crc = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    body = data[start : start + length]
    end = start + length + _TAIL.size
    if magic != _MAGIC or len(data) < end or zlib.crc32(body) != crc:
        return None, at
    line, _, rest = body.partition(b"\n")
    objects, place = [], 0
    try:
        facts = json.loads(line)
        for oid, size in facts.pop("objects"):
            objects.append(Object(bytes.fromhex(oid), rest[place : place + size]))
            place += size
        kind = facts.pop("kind")
        ident, commit = facts.get("id", ""), facts["commit"]
        if not isinstance(ident, str) or (commit is not None and not _OID.fullmatch(commit)):
            return None, at
        if kind == "done" and not ident:
            return None, at
    except (AttributeError, KeyError, TypeError, ValueError):  # a stranger's
        return None, at
    return Entry(kind, facts, tuple(objects)), end


def _end(file: Any, size: int) -> bytes:
    """The bytes of the last entry, found by the length that stands at its end."""
    file.seek(size - _TAIL.size)
    (length,) = _TAIL.unpack(file.read(_TAIL.size))
    start = size - _HEAD.size - length - _TAIL.size
    if start < 0:
        return b""
    file.seek(start)
    return bytes(file.read())


def _last(data: bytes) -> Entry | None:
    """The entry that ends where ``data`` ends."""
    if len(data) < _HEAD.size + _TAIL.size:
        return None
    (length,) = _TAIL.unpack_from(data, len(data) - _TAIL.size)
    start = len(data) - _HEAD.size - length - _TAIL.size
    found, end = _entry(data, start) if start >= 0 else (None, 0)
    return found if end == len(data) else None
