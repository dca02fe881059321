"""The trees of one commit, read in this process: what a prompt is made from at each step.

``git ls-tree`` would be a process for each model call, and lists ten thousand notes where only
their number is wanted. Where a repository's trees are not of the kind that this program reads
(SHA-256), git is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fsagent.layout import is_agents, is_gits
from fsagent.repo.puts import Blob
from fsagent.repo.trees import FOLDER

if TYPE_CHECKING:
    from fsagent.repo import Repo

_COUNTS = 4096

Entry = tuple[bytes, bytes]
"""Mode and id, as in a tree."""


class Snapshot:
    """The files of one commit, by its full id."""

    def __init__(self, repo: Repo, commit: str) -> None:
        self.repo = repo
        self.commit = commit
        self._top: bytes | None = None

    def files(self, under: str) -> dict[str, Blob]:
        """Every file below the folder ``under``, or the file of that name, by path."""
        if not self._plain:
            return self.repo.files(self.commit, [under])
        found = {}
        for path, (mode, oid) in self._walk(under.encode(), self._entry(under)):
            if mode.startswith(b"100"):
                found[os.fsdecode(path)] = Blob(oid.hex(), int(mode, 8))
        return found

    def count(self, under: str) -> int:
        """How many of the agent's own files there are below the folder ``under``."""
        if not self._plain:
            return sum(_is_ours(path) for path in self.repo.files(self.commit, [under]))
        return self._count(under, self._entry(under))

    def message(self) -> str:
        """What the commit says."""
        return self.repo.read(self.commit).decode(errors="replace").partition("\n\n")[2]

    def differing(self, older: Snapshot, under: str) -> dict[str, str | None]:
        """The files below ``under`` that are other ones than in ``older``, and which these were.

        Only trees that differ are read. None stands for a file that was not there.
        """
        if not self._plain:
            now, then = self.files(under), older.files(under)
            changed = (path for path, blob in now.items() if then.get(path) != blob)
            return {path: then[path].oid if path in then else None for path in changed}
        pairs = self._differ(under.encode(), older._entry(under), self._entry(under))
        return {os.fsdecode(path): oid.hex() if oid else None for path, oid in pairs}

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    @property
    def _plain(self) -> bool:
        """Whether trees can be read here."""
        return len(self.commit) == 40

    def _entry(self, path: str) -> Entry | None:
        """What a path is in this commit."""
        if self._top is None:
            self._top = bytes.fromhex(self.repo.read(self.commit)[5:45].decode("ascii"))
        found: Entry | None = (FOLDER, self._top)
        for name in path.encode().split(b"/"):
            found = self.repo.tree(found[1]).get(name) if found and found[0] == FOLDER else None
        return found

    def _walk(self, path: bytes, entry: Entry | None) -> Iterator[tuple[bytes, Entry]]:
        if entry and entry[0] == FOLDER:
            for name, inner in self.repo.tree(entry[1]).items():
                yield from self._walk(path + b"/" + name, inner)
        elif entry:
            yield path, entry

    def _differ(
        self, path: bytes, old: Entry | None, new: Entry | None
    ) -> Iterator[tuple[bytes, bytes | None]]:
        if old == new or new is None:
            return
        if new[0] == FOLDER:
            before = self.repo.tree(old[1]) if old and old[0] == FOLDER else {}
            for name, inner in self.repo.tree(new[1]).items():
                yield from self._differ(path + b"/" + name, before.get(name), inner)
        elif new[0].startswith(b"100"):
            yield path, old[1] if old and old[0].startswith(b"100") else None

    def _count(self, path: str, entry: Entry | None) -> int:
        if entry is None:
            return 0
        if entry[0] != FOLDER:
            return int(entry[0].startswith(b"100") and _is_ours(path))
        counts = self.repo.counts
        key = (path, entry[1])
        if key not in counts:
            inside = self.repo.tree(entry[1]).items()
            counts[key] = sum(self._count(f"{path}/{os.fsdecode(n)}", e) for n, e in inside)
            while len(counts) > _COUNTS:
                del counts[next(iter(counts))]
        return counts[key]


def _is_ours(path: str) -> bool:
    return is_agents(path) and not is_gits(path)
