"""What became of a file after a change: its versions up to today, under whatever name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fsagent.repo import TreeChange, walk
from fsagent.repo.walk import Entry
from fsagent.store import Store


@dataclass
class Way:
    """The versions of one file, oldest first, each with the commit that made it."""

    texts: list[bytes | None]
    commits: list[Entry | None]

    undos: set[int] = field(default_factory=set)
    """The numbers of versions that took something back."""

    def add(self, data: bytes | None, by: Entry | None, *, undo: bool = False) -> None:
        """Go on to what ``by`` made of it; None: nobody has committed it yet."""
        self.texts.append(data)
        self.commits.append(by)
        if undo or (by and by.commit.undoes):
            self.undos.add(len(self.texts) - 1)


class Course:
    """The commits since a change, along which its files are followed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.renames: dict[str, tuple[str, str]] = {}
        """The commit that gave a file its name, and the name that it had before."""

    def place(self, change: TreeChange) -> str:
        """Where the file is today that a change left: later ones may have given it another name."""
        path, repo = change.path, self.store.repo
        met = {path}
        while change.new and self.store.now(path) is None:
            gone = next((one for one in self._along([path]) if _removes(one, path)), None)
            new = walk.renamed(repo, gone.commit.commit, path) if gone else None
            if gone is None or new is None or new in met:
                return change.path
            self.renames[new] = (gone.commit.commit, path)
            met.add(path := new)
        return path

    def way(self, one: Entry, path: str, before: bytes | None, after: bytes | None) -> Way:
        """How a file went from ``before`` the change ``one`` and ``after`` it to the last commit.

        It begins earlier where an undo is on it: before what that one took back, so that a line
        which came back is known for the same.
        """
        chain = self._chain(one, path)
        if chain:
            way = Way([self._read(chain[0][1].old)], [None])
            for step, change in chain:
                way.add(self._read(change.new), step)
            return way
        # it came in by a merge: there is no single way
        way = Way([before, after], [None, one])
        head = self.store.repo.files("HEAD", [path]).get(path)
        last = next(self._along([path]), None)
        way.add(self._read(head.oid if head else None), last)
        return way

    def _chain(self, one: Entry, path: str) -> list[tuple[Entry, TreeChange]]:
        """The commits that changed a file since before the change, oldest first; [] if unknown."""
        found: list[tuple[Entry, TreeChange]] = []
        wanted = {one.commit.commit}
        met: set[str] = set()
        for step in self._along(self._names(path)):
            changes = {change.path: change for change in step.changes}
            change = changes.get(path)
            if change is None:
                continue
            commit, before = self.renames.get(path, ("", ""))
            if commit == step.commit.commit:
                path, change = before, replace(change, old=changes[before].old)
            if found and found[-1][1].old != change.new:
                break
            if met >= wanted and not step.is_called(wanted):
                break
            found.append((step, change))
            met |= {name for name in wanted if step.is_called({name})}
            if step.commit.undoes:
                wanted.add(step.commit.undoes)
        found.reverse()
        return found if any(s.commit.commit == one.commit.commit for s, _ in found) else []

    def _names(self, path: str) -> list[str]:
        """The names of a file, newest first."""
        names = [path]
        while names[-1] in self.renames and self.renames[names[-1]][1] not in names:
            names.append(self.renames[names[-1]][1])
        return names

    def _along(self, paths: Iterable[str]) -> Iterator[Entry]:
        rev = self.store.rev
        return walk.log(self.store.repo, rev, [*paths], "--first-parent") if rev else iter(())

    def _read(self, oid: str | None) -> bytes | None:
        return None if oid is None else self.store.repo.read(oid)


def _removes(one: Entry, path: str) -> bool:
    return any(change.path == path and change.new is None for change in one.changes)
