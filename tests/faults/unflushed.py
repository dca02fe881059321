"""A power cut without a device of one's own: what was not flushed is taken away again.

``Recorder`` stands in for the functions of ``fsagent.repo.disk`` in a child. At each flush it keeps
a copy of the whole directory; between two flushes it notes every name that is made, moved or
removed. ``cut`` then makes the directory that a journalling file system leaves, ext4 with its
defaults: names as they were after some step since the last flush, for they are kept in order; and
of files whose bytes nothing had flushed, all bytes, or none, or the first half. Bytes that were
"settled" (see ``disk.write``) are there before any name that came later.

It runs everywhere; device.py, which asks a real file system, runs where that is allowed.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass
class Flushed:
    """The directory at the last flush: files by path, and how much of each inode is durable."""

    steps: int = 0
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Inode and time of the last write, in nanoseconds."""
    data: dict[int, bytes] = field(default_factory=dict)
    durable: dict[int, int] = field(default_factory=dict)


class Recorder:
    """Watch what a child does to the disk, below ``root``; ``notes`` is a folder for it."""

    def __init__(self, module: ModuleType, root: str, notes: str) -> None:
        self.module, self.root, self.notes = module, os.path.realpath(root), Path(notes)
        self.notes.mkdir()
        self.steps = os.open(self.notes / "steps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.count = 0
        self.settled: dict[int, int] = {}
        self.durable: dict[int, int] = {}
        self._everything()
        self._keep()

    def install(self, names: list[str]) -> None:
        """Wrap the functions; one that this file does not know is an error."""
        wrappers = {
            "write": self._write,
            "fill": self._write,
            "append": self._append,
            "truncate": self._append,
            "flush": self._flush,
            "flush_all": self._flush_all,
            "link": self._name,
            "rename": self._name,
            "swap": self._name,
            "unlink": self._name,
            "mkdir": self._as_it_is,
        }
        assert set(names) <= set(wrappers), f"unknown steps: {set(names) - set(wrappers)}"
        for name in names:
            setattr(self.module, name, wrappers[name](name, getattr(self.module, name)))

    def _note(self, *what: object) -> None:
        self.count += 1
        os.write(self.steps, json.dumps(what).encode() + b"\n")

    def _write(self, name: str, real: Callable[..., os.stat_result]) -> Callable[..., Any]:
        def write(path: str, parts: Any, *rest: Any, settle: bool = False) -> os.stat_result:
            stat = real(path, parts, *rest, settle=settle)
            self.durable.pop(stat.st_ino, None)  # the number may have been another file's
            self.settled.pop(stat.st_ino, None)
            if settle:
                self.settled[stat.st_ino] = stat.st_size
            self._note(name, path, b"".join(bytes(part) for part in parts).hex(), settle)
            return stat

        return write

    def _name(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def move(*paths: str) -> Any:
            result = real(*paths)
            self._note(name, *paths)
            return result

        return move

    def _append(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(fd: int, what: bytes | int) -> None:
            real(fd, what)
            self._note(name, os.fstat(fd).st_ino, what.hex() if isinstance(what, bytes) else what)

        return change

    def _as_it_is(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return real

    def _flush(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def flush(fd: int) -> None:
            real(fd)
            stat = os.fstat(fd)
            self.durable[stat.st_ino] = stat.st_size
            self.durable |= self.settled
            self.settled.clear()
            self._keep()

        return flush

    def _flush_all(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def flush(path: str) -> None:
            real(path)
            self._everything()
            self._keep()

        return flush

    def _everything(self) -> None:
        self.durable = {os.stat(path).st_ino: os.stat(path).st_size for path in files(self.root)}

    def _keep(self) -> None:
        """Put the whole directory aside, in one step."""
        flushed = Flushed(self.count, durable=dict(self.durable))
        for path in files(self.root):
            stat = os.stat(path)
            flushed.files[path] = stat.st_ino, stat.st_mtime_ns
            flushed.data[stat.st_ino] = Path(path).read_bytes()
        spare = self.notes / "spare"
        spare.write_bytes(pickle.dumps(flushed))
        spare.rename(self.notes / "flushed")


def files(root: str) -> list[str]:
    """Every file below ``root``."""
    return [os.path.join(where, name) for where, _, names in os.walk(root) for name in names]


def cut(root: Path, notes: Path, dice: random.Random) -> str:
    """Turn ``root`` into what a power cut in this moment leaves; how many steps it took back."""
    root = root.resolve()
    flushed: Flushed = pickle.loads((notes / "flushed").read_bytes())
    noted = (notes / "steps").read_text().split("\n")[:-1]  # a kill can tear the last line
    since = [json.loads(line) for line in noted[flushed.steps :]]
    kept = dice.randint(0, len(since))
    names = {path: number for path, (number, _) in flushed.files.items()}
    inodes = {
        number: Inode(flushed.data[number], flushed.durable.get(number, 0), when)
        for number, when in flushed.files.values()
    }
    for number, (what, *told) in enumerate(since[:kept], 1):
        if what in ("write", "fill"):
            # What was settled is there before any name that was made or moved later.
            data, safe = bytes.fromhex(told[1]), told[2] and number < kept
            key = names[told[0]] if what == "fill" else -number
            names[told[0]], inodes[key] = key, Inode(data, len(data) if safe else 0, 0)
        elif what == "append" and told[0] in inodes:
            inodes[told[0]].data += bytes.fromhex(told[1])
        elif what == "truncate" and told[0] in inodes:
            inodes[told[0]].data = inodes[told[0]].data[: told[1]]
        elif what == "unlink":
            names.pop(told[0], None)
        elif told[0] in names and what == "link":
            names[told[1]] = names[told[0]]
        elif told[0] in names and what == "rename":
            names[told[1]] = names.pop(told[0])
        elif what == "swap":
            names[told[0]], names[told[1]] = names[told[1]], names[told[0]]
    shutil.rmtree(root)
    places: dict[int, str] = {}
    for path, key in names.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if key in places:  # a second name stays one: recovery knows its locks by it
            os.link(places[key], path)
            continue
        places[key], inode = path, inodes[key]
        safe, size = min(inode.safe, len(inode.data)), len(inode.data)
        length = dice.choice([size, safe, (safe + size) // 2])
        Path(path).write_bytes(inode.data[:length])
        if inode.when:
            os.utime(path, ns=(inode.when, inode.when))
    for folder in ("refs/heads", "refs/tags", "objects/info", "objects/pack"):
        (root / ".git" / folder).mkdir(parents=True, exist_ok=True)
    return f"{len(since) - kept} of {len(since)} steps taken back"


@dataclass
class Inode:
    """A file without its name: its bytes, how many of them are safe, and its time."""

    data: bytes
    safe: int
    when: int
