"""Trees: HEAD's, with some paths replaced.

A commit is made from the trees of its parent and never from the index, so that nothing that a
person has staged is swept into it. Format: git-scm.com/docs/gitformat-pack; order: names as bytes,
a folder as if its name ended with a slash (``base_name_compare`` in Git's tree.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fsagent.repo.objects import Object, encode

FOLDER = b"40000"

Entries = dict[bytes, tuple[bytes, bytes]]
"""Name to mode (octal, as in the tree) and id, in Git's order."""


def parse(data: bytes) -> Entries:
    """The entries of a tree object."""
    found: Entries = {}
    at = 0
    while at < len(data):
        end = data.index(b"\0", at)
        mode, name = data[at:end].split(b" ", 1)
        at = end + 21
        found[name] = (mode, data[end + 1 : at])
    return found


def unparse(entries: Entries) -> bytes:
    """The tree object of ``entries``, which are in Git's order."""
    return b"".join(b"%s %s\0%s" % (mode, name, oid) for name, (mode, oid) in entries.items())


def _order(item: tuple[bytes, tuple[bytes, bytes]]) -> bytes:
    return item[0] + b"/" if item[1][0] == FOLDER else item[0]


@dataclass
class Folder:
    """What became of a folder: its tree before and after, None where there is none."""

    old: bytes | None
    new: bytes | None


@dataclass
class Surgery:
    """HEAD's trees with paths replaced: new objects, and each folder on the way to a path."""

    read: Callable[[bytes], Entries]
    made: list[Object] = field(default_factory=list)
    entries: dict[bytes, Entries] = field(default_factory=dict)
    """The new trees, parsed, by id."""
    folders: dict[bytes, Folder] = field(default_factory=dict)
    """By path, without a slash at its end; the root is b""."""

    def root(self, old: bytes | None, files: Mapping[bytes, tuple[bytes, bytes] | None]) -> bytes:
        """The id of the tree ``old`` in which ``files`` (mode and id; None: gone) are replaced."""
        new = self._folder(b"", old, {tuple(path.split(b"/")): to for path, to in files.items()})
        if new is None:
            new = self._keep({})
            self.folders[b""].new = new
        return new

    def _folder(
        self,
        path: bytes,
        old: bytes | None,
        files: Mapping[tuple[bytes, ...], tuple[bytes, bytes] | None],
    ) -> bytes | None:
        before = self.read(old) if old else {}
        entries = dict(before)
        deeper: dict[bytes, dict[tuple[bytes, ...], tuple[bytes, bytes] | None]] = {}
        for parts, to in files.items():
            if len(parts) > 1:
                deeper.setdefault(parts[0], {})[parts[1:]] = to
            elif to:
                entries[parts[0]] = to
            elif entries.get(parts[0], (FOLDER, b""))[0] != FOLDER:
                del entries[parts[0]]
        for name, inside in deeper.items():
            if files.get((name,)):
                continue  # a file takes the folder's place, with all that is in it
            mode, oid = before.get(name, (b"", None))
            below = path + b"/" + name if path else name
            new = self._folder(below, oid if mode == FOLDER else None, inside)
            if new:
                entries[name] = (FOLDER, new)
            elif entries.get(name, (b"",))[0] == FOLDER:
                del entries[name]
        if entries == before:
            result = old
        elif entries:
            if entries.keys() != before.keys() or any(
                entries[name][0] != mode for name, (mode, _) in before.items()
            ):
                entries = dict(sorted(entries.items(), key=_order))
            result = self._keep(entries)
        else:
            result = None
        self.folders[path] = Folder(old, result)
        return result

    def _keep(self, entries: Entries) -> bytes:
        made = encode(b"tree", unparse(entries))
        self.made.append(made)
        self.entries[made.oid] = entries
        return made.oid
