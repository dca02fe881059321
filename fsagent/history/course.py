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
        if undo:
            self.undos.add(len(self.texts) - 1)


@dataclass(frozen=True)
class _Step:
    """What one commit of a course did to a file."""

    by: Entry
    change: TreeChange
    names: set[str]
    """The ids that it goes by: its own, and for a merge those of all that it brought."""
    undoes: set[str]
    """The ids of what it took back."""


class Course:
    """The line of commits since a change, along which its files are followed.

    It goes along first parents, and leaves these at the merges that the change came in by.
    """

    def __init__(self, store: Store, since: Entry) -> None:
        self.store = store
        self.rev = store.rev or since.commit.commit
        self.crossings = walk.crossings(store.repo, since.commit.commit, self.rev)
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
        steps = self._steps(one, path)
        if not steps:
            return Way([before, after], [None, one])
        way = Way([self._read(steps[0].change.old)], [None])
        for step in steps:
            way.add(self._read(step.change.new), step.by, undo=bool(step.undoes))
        return way

    def brought(self, merge: Entry, path: str) -> Iterator[Entry]:
        """What a merge brought of a file from its other sides, newest first. Of others, nothing."""
        if len(merge.parents) > 1:
            commit = merge.commit.commit
            onward = dict(self.crossings).get(commit, merge.parents[0])
            found = walk.log(self.store.repo, f"{onward}..{commit}", [path], "--full-history")
            yield from (one for one in found if one.commit.commit != commit)

    def _steps(self, one: Entry, path: str) -> list[_Step]:
        """The steps of a file since before the change, oldest first; [] if unknown."""
        found: list[_Step] = []
        wanted = {one.commit.commit}
        met: set[str] = set()
        for by in self._along(self._names(path)):
            changes = {change.path: change for change in by.changes}
            change = changes.get(path)
            if change is None:
                continue
            step = self._step(by, change)
            commit, before = self.renames.get(path, ("", ""))
            if commit == by.commit.commit:
                path = before
                step = replace(step, change=replace(change, old=changes[before].old))
            if found and found[-1].change.old != change.new:
                break
            if met >= wanted and not step.names & wanted:
                break
            found.append(step)
            met |= wanted & step.names
            wanted |= step.undoes
        found.reverse()
        return found if met >= {one.commit.commit} else []

    def _step(self, by: Entry, change: TreeChange) -> _Step:
        """What a commit did to a file; a merge did what its other sides had done."""
        entries = [by, *self.brought(by, change.path)]
        undoes = {one.commit.undoes for one in entries if one.commit.undoes}
        return _Step(by, change, {name for one in entries for name in one.names}, undoes)

    def _names(self, path: str) -> list[str]:
        """The names of a file, newest first."""
        names = [path]
        while names[-1] in self.renames and self.renames[names[-1]][1] not in names:
            names.append(self.renames[names[-1]][1])
        return names

    def _along(self, paths: Iterable[str]) -> Iterator[Entry]:
        return walk.along(self.store.repo, self.rev, [*paths], self.crossings)

    def _read(self, oid: str | None) -> bytes | None:
        return None if oid is None else self.store.repo.read(oid)


def _removes(one: Entry, path: str) -> bool:
    return any(change.path == path and change.new is None for change in one.changes)
