"""Git's index, the file of what is staged: read once, a few entries replaced, written back.

Format: git-scm.com/docs/index-format. Every commit has to write the whole file, which is the
largest part of its cost in a big repository (9.6 MB at 100,000 files); so the bytes stay in memory,
an entry is replaced in place, and the checksum at the end is counted on from a mark before it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fsagent.layout import read_plain
from fsagent.repo.objects import blob_id
from fsagent.repo.trees import Folder

_FIXED = 62
"""Bytes of an entry before its name: ten numbers, the object's id, the flags."""

_EXTENDED, _STAGE, _LENGTH = 0x4000, 0x3000, 0x0FFF
_ADDED_LATER, _LEFT_OUT = 0x2000, 0x4000
"""In the second flags: ``git add -N``, the content is not staged yet; a sparse checkout."""

_MARK_EVERY = 1 << 18

_SECOND = 1_000_000_000
_TICK = 20_000_000
"""Nanoseconds within which two writes may get the same time from a coarse clock."""


class UnfitIndexError(Exception):
    """An index that only Git itself can write: split, sparse, version 4, or damaged."""


@dataclass(frozen=True)
class Entry:
    """What is staged for a path; ``stat`` are the bytes that Git compares with the file's."""

    oid: bytes
    mode: int
    stat: bytes
    intent: bool = False
    left_out: bool = False
    """Whether a sparse checkout leaves the file out of the work tree."""


@dataclass
class _Tree:
    """A node of the cached trees: how many entries are below, and their tree (None: unknown)."""

    count: int
    oid: bytes | None
    below: dict[bytes, _Tree] = field(default_factory=dict)


def stat_bytes(stat: os.stat_result | None, mode: int) -> bytes:
    """A file's state and mode as an entry holds them, each number cut to 32 bits.

    Without a state no file looks like it, and Git reads the file to see whether it differs.
    """
    if stat is None:
        return struct.pack(">10I", 0, 0, 0, 0, 0, 0, mode, 0, 0, 0)
    numbers = (
        *divmod(stat.st_ctime_ns, 1_000_000_000),
        *divmod(stat.st_mtime_ns, 1_000_000_000),
        *(stat.st_dev, stat.st_ino, mode, stat.st_uid, stat.st_gid, stat.st_size),
    )
    return struct.pack(">10I", *(number & 0xFFFFFFFF for number in numbers))


def git_mode(stat: os.stat_result) -> int:
    """The mode that Git gives to a plain file."""
    return 0o100755 if stat.st_mode & 0o100 else 0o100644


class GitIndex:
    """The index file at ``path``, as it was when it was read or written last."""

    def __init__(self, path: str, root: str) -> None:
        self.path = path
        self._root = root
        self._seen: tuple[int, ...] | None = None
        self.loads = 0
        """How often the file was read: it rises where somebody else has written it."""
        self._forget()

    def _forget(self) -> None:
        self._data = bytearray(b"DIRC\0\0\0\2\0\0\0\0")
        self._at: list[int] = []
        self._marks: list[tuple[int, hashlib._Hash]] = []
        self._trees: _Tree | None = None
        self._kept = b""
        self._racy: set[bytes] = set()
        """Entries that are no older than the index, to the second, as most builds of Git count."""
        self._time = 0

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def load(self) -> bool:
        """Read the file unless it is the one that is known; False when there is none.

        Raises:
            UnfitIndexError: only Git can write it.
        """
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            self._forget()
            self._seen = None
            self.loads += 1
            return False
        if self._seen != _identity(stat):
            self._seen = None
            self.loads += 1
            with open(self.path, "rb") as file:
                stat = os.fstat(file.fileno())
                data = file.read()
            self._forget()
            self._parse(data, stat.st_mtime_ns)
            self._seen = _identity(stat)
        return True

    def _parse(self, data: bytes, time: int) -> None:
        if len(data) < 32 or data[:4] != b"DIRC":
            raise UnfitIndexError("it is damaged")
        version, count = struct.unpack(">II", data[4:12])
        if version not in (2, 3):
            raise UnfitIndexError(f"it is of version {version}")
        limit = struct.pack(">I", time // _SECOND & 0xFFFFFFFF)
        at, end = 12, len(data) - 20
        offsets = self._at
        try:
            for _ in range(count):
                offsets.append(at)
                flags = data[at + 60] << 8 | data[at + 61]
                length = flags & _LENGTH
                start = at + (_FIXED + 2 if flags & _EXTENDED else _FIXED)
                if length == _LENGTH:
                    length = data.index(b"\0", start) - start
                if data[at + 8 : at + 12] >= limit:
                    self._racy.add(data[start : start + length])
                at += (start - at + length + 8) & ~7
        except (IndexError, ValueError):
            raise UnfitIndexError("it is damaged") from None
        if at > end:
            raise UnfitIndexError("it is damaged")
        self._extensions(data, at, end)
        self._data = bytearray(data[:at])
        self._time = time
        total = self._hash(hashlib.sha1(usedforsecurity=False), 0)
        total.update(data[at:end])
        if data[end:] not in (total.digest(), bytes(20)):  # zeros: index.skipHash
            raise UnfitIndexError("it is damaged")

    def _extensions(self, data: bytes, at: int, end: int) -> None:
        """Keep what stays true when entries change; what Git can make again is dropped."""
        while at < end:
            name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8])
            body = data[at + 8 : at + 8 + size]
            if name[:1].islower():
                raise UnfitIndexError(f"it has the part {name.decode(errors='replace')}")
            if name == b"TREE" and body:
                self._trees = _read_tree(body, 0)[1]
            elif name == b"REUC":
                self._kept += data[at : at + 8 + size]
            at += 8 + size

    def get(self, path: bytes) -> Entry | None:
        """What is staged for ``path``, or None."""
        place = self._find(path)
        if not self._holds(place, path):
            return None
        at = self._at[place]
        fixed = bytes(self._data[at : at + _FIXED + 2])
        flags = int.from_bytes(fixed[60:62])
        more = int.from_bytes(fixed[62:64]) if flags & _EXTENDED else 0
        mode = int.from_bytes(fixed[24:28])
        later, left_out = bool(more & _ADDED_LATER), bool(more & _LEFT_OUT)
        return Entry(fixed[40:60], mode, fixed[:40], later, left_out)

    def unmerged(self, path: bytes) -> bool:
        """Whether a merge left a conflict for ``path``."""
        place = self._find(path)
        return self._holds(place, path) and bool(self._flags(place) & _STAGE)

    def fresh(self, entry: Entry, stat: os.stat_result, mode: int) -> bool:
        """Whether the file is surely the one that was staged, told from its state alone.

        A file that changed within one tick of the clock after the index was written would look
        unchanged: such a one is not sure.
        """
        return entry.stat == stat_bytes(stat, mode) and stat.st_mtime_ns < self._time - _TICK

    def _flags(self, place: int) -> int:
        at = self._at[place]
        return self._data[at + 60] << 8 | self._data[at + 61]

    def _name(self, at: int) -> bytes:
        flags = self._data[at + 60] << 8 | self._data[at + 61]
        start = at + (_FIXED + 2 if flags & _EXTENDED else _FIXED)
        length = flags & _LENGTH
        if length == _LENGTH:
            length = self._data.index(b"\0", start) - start
        return bytes(self._data[start : start + length])

    def _find(self, path: bytes) -> int:
        return bisect_left(self._at, path, key=self._name)

    def _holds(self, place: int, path: bytes) -> bool:
        return place < len(self._at) and self._name(self._at[place]) == path

    # ── changing ──────────────────────────────────────────────────────────────────────────────

    def change(
        self,
        entries: Mapping[bytes, tuple[bytes, bytes] | None],
        folders: Mapping[bytes, Folder | None],
    ) -> None:
        """Replace entries by (id, state); None removes one. Then bring the cached trees along.

        ``folders`` says what became of the tree of each folder that has such an entry below it;
        None where that is not known.
        What is in memory is then ahead of the file: ``forget`` gives that up, ``written`` makes it
        so.
        """
        self._settle_racy(entries)
        gone: set[int] = set()
        new: list[tuple[int, bytes, bytes]] = []
        for path, to in sorted(entries.items()):
            place = self._find(path)
            if to is None:
                gone.update(self._all_of(place, path))
            elif self._holds(place, path) and not self._flags(place) & (_EXTENDED | _STAGE):
                oid, stat = to
                at = self._at[place]
                self._data[at : at + 60] = stat + oid
                self._touched(at)
            else:
                gone.update(self._all_of(place, path), self._in_the_way(path))
                new.append((place, path, _packed(path, *to)))
            if to is not None:
                self._racy.add(path)
        if gone or new:
            self._splice(sorted(gone), new)
        self._retree(folders)

    def _all_of(self, place: int, path: bytes) -> Iterator[int]:
        """The places of a path's entries, from its first one on: three where a merge stopped."""
        while self._holds(place, path):
            yield place
            place += 1

    def _in_the_way(self, path: bytes) -> Iterator[int]:
        """Files where this path needs a folder, and files in a folder where it is a file."""
        for end in (at for at, byte in enumerate(path) if byte == 0x2F):
            yield from self._all_of(self._find(path[:end]), path[:end])
        yield from range(self._find(path + b"/"), self._find(path + b"0"))  # "0" follows "/"

    def _splice(self, gone: list[int], new: list[tuple[int, bytes, bytes]]) -> None:
        """Leave out entries, and put new ones (place, path, bytes) in, all of them in one pass."""
        for place in gone:
            self._racy.discard(self._name(self._at[place]))
        self._racy.update(path for _, path, _ in new)
        # Each cut: the place up to which entries stay, what comes then, the place to go on from.
        cuts = [(place, b"", place + 1) for place in gone]
        cuts += [(place, entry, place) for place, _, entry in new]
        cuts.sort(key=lambda cut: (cut[0], cut[2]))
        old = [*self._at, len(self._data)]
        here = cuts[0][0]
        start = at = old[here]
        offsets, data = old[:here], []
        for place, entry, then in [*cuts, (len(old) - 1, b"", 0)]:
            shift = at - old[here]
            offsets += [one + shift for one in old[here:place]]
            data.append(bytes(self._data[old[here] : old[place]]))
            at += len(data[-1])
            if entry:
                offsets.append(at)
                data.append(entry)
                at += len(entry)
            here = then
        self._data[start:] = b"".join(data)
        self._at = offsets
        self._data[8:12] = struct.pack(">I", len(offsets))
        self._touched(8)  # the count stands at the very beginning

    def _touched(self, at: int) -> None:
        while self._marks and self._marks[-1][0] > at:
            self._marks.pop()

    def _settle_racy(self, entries: Mapping[bytes, object]) -> None:
        """Let no later time of the index hide a file that changed just after it was staged.

        Git compares times to the second, unless it was built otherwise, and trusts an entry that is
        older than the index. So, as Git does on each write, a file that may have changed within the
        second is compared by content; if it is another by now, the entry's size becomes 0, which no
        reader takes for the file's (git-scm.com/docs/racy-git).
        """
        second = self._time // _SECOND
        for path in list(self._racy):
            entry = None if path in entries else self.get(path)
            if entry is None or int.from_bytes(entry.stat[8:12]) < second:
                self._racy.discard(path)
                continue
            place = os.path.join(self._root, os.fsdecode(path))
            try:
                stat = os.lstat(place)
                if entry.stat == stat_bytes(stat, entry.mode) and (
                    stat.st_mtime_ns < self._time - _TICK
                ):
                    continue
                same = blob_id(read_plain(place)) == entry.oid.hex()
            except OSError:
                continue  # gone, or no plain file: that is seen
            if not same:
                at = self._at[self._find(path)]
                self._data[at + 36 : at + 40] = bytes(4)
                self._touched(at)

    def _retree(
        self,
        folders: Mapping[bytes, Folder | None],
    ) -> None:
        """Where the cached tree of a folder was HEAD's, it becomes the new one; else unknown."""
        if self._trees is None:
            return
        for path, folder in sorted(folders.items()):  # a folder comes before what is in it
            above, _, name = path.rpartition(b"/")
            parent = self._node(above) if path else None
            node = self._node(path)
            if folder and folder.new is None and parent:
                parent.below.pop(name, None)
            elif node and folder and folder.new and node.oid == folder.old:
                node.oid, node.count = folder.new, self._count(path)
            elif node:
                node.oid, node.count = None, -1
            elif parent and parent.oid and folder and folder.new and folder.old is None:
                # All that is staged in the parent is what the new tree holds, so here too.
                parent.below[name] = _Tree(self._count(path), folder.new)

    def _node(self, path: bytes) -> _Tree | None:
        node = self._trees
        for name in path.split(b"/") if path else ():
            node = node.below.get(name) if node else None
        return node

    def _count(self, folder: bytes) -> int:
        """How many entries lie below a folder."""
        if not folder:
            return len(self._at)
        return self._find(folder + b"0") - self._find(folder + b"/")  # see ``_in_the_way``

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def image(self) -> list[bytes | bytearray]:
        """The whole file: entries, extensions, checksum."""
        rest = self._kept
        if self._trees is not None:
            body = b"".join(_write_tree(b"", self._trees))
            rest = b"TREE" + len(body).to_bytes(4) + body + rest
        at, sums = self._marks[-1] if self._marks else (0, hashlib.sha1(usedforsecurity=False))
        total = self._hash(sums.copy(), at)
        total.update(rest)
        return [self._data, rest, total.digest()]

    def _hash(self, sums: hashlib._Hash, at: int) -> hashlib._Hash:
        """Count the checksum of the entries on from ``at``, leaving marks on the way."""
        with memoryview(self._data) as view:
            while at + _MARK_EVERY <= len(view):
                sums.update(view[at : at + _MARK_EVERY])
                at += _MARK_EVERY
                self._marks.append((at, sums.copy()))
            sums.update(view[at:])
        return sums

    def written(self, stat: os.stat_result) -> None:
        """The file now is what is in memory; ``stat`` is its state."""
        self._seen, self._time = _identity(stat), stat.st_mtime_ns

    def forget(self) -> None:
        """Read the file again next time."""
        self._seen = None


def _packed(path: bytes, oid: bytes, stat: bytes) -> bytes:
    """An entry, padded with one to eight zeros."""
    entry = stat + oid + struct.pack(">H", min(len(path), _LENGTH)) + path
    return entry + bytes(8 - len(entry) % 8)


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _read_tree(data: bytes, at: int) -> tuple[bytes, _Tree, int]:
    """A node of the extension TREE, with its name, and where the next one begins."""
    end = data.index(b"\0", at)
    line = data.index(b"\n", end)
    count, below = map(int, data[end + 1 : line].split(b" "))
    after = line + 1 + (20 if count >= 0 else 0)
    node = _Tree(count, data[line + 1 : after] or None)
    name = data[at:end]
    for _ in range(below):
        label, child, after = _read_tree(data, after)
        node.below[label] = child
    return name, node, after


def _write_tree(name: bytes, node: _Tree) -> list[bytes]:
    parts = [b"%s\0%d %d\n%s" % (name, node.count, len(node.below), node.oid or b"")]
    # Git sorts these by length first (subtree_name_cmp in its cache-tree.c).
    for label, child in sorted(node.below.items(), key=lambda item: (len(item[0]), item[0])):
        parts += _write_tree(label, child)
    return parts
