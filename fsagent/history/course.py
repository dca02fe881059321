"""What became of a file after a change: its versions up to today, under whatever name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fsagent.history.lost import FOLDERS, gone
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
        self.likely: list[str] = []
        """A sentence for each file that may have another name by now, which is not certain."""
        self._before: dict[str, str] = {}
        """The name that a file had before, by the one after it."""
        self._moving: set[str] = set()
        """Names that files have got, and no commit has yet."""

    def place(self, change: TreeChange) -> str:
        """Where the file is today that a change left: it may have got another name since."""
        path, after = change.path, {old: new for new, old in self._before.items()}
        met = {path}
        while change.new and self.store.now(path) is None:
            new = after.get(path) or self._next_name(path)
            if new is None or new in met:
                return change.path
            self._before[new] = path
            met.add(path := new)
        return path

    def came(self, change: TreeChange, before: str, path: str) -> None:
        """Know that the change itself gave a file its name, which is ``path`` today."""
        if before not in self._names(path):  # it has got that one again
            self._before[change.path] = before

    def committed(self, path: str) -> str:
        """The name by which the last commit knows a file."""
        while path in self._moving:
            path = self._before[path]
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
        if steps[0].by.commit == one.commit:  # which may have renamed it
            way.texts[0] = before
        return way

    def brought(self, merge: Entry, path: str) -> Iterator[Entry]:
        """What a merge brought of a file from its other sides, newest first. Of others, nothing.

        There it may still have had an earlier name.
        """
        if len(merge.parents) > 1:
            side = f"{merge.parents[0]}..{merge.commit.commit}"
            found = walk.log(self.store.repo, side, self._names(path), "--full-history")
            yield from (one for one in found if one.commit != merge.commit)

    def _steps(self, one: Entry, path: str) -> list[_Step]:
        """The steps of a file since before the change, oldest first; [] if unknown."""
        found: list[_Step] = []
        wanted = {one.commit.commit}
        met: set[str] = set()
        names, path = self._names(path), self.committed(path)
        renamed = path != names[0]
        for by in self._along(names):
            change = next((change for change in by.changes if change.path == path), None)
            if change is None or (renamed and change.new is None):  # it is gone by this name
                continue
            if renamed and found:
                found[-1] = replace(found[-1], change=replace(found[-1].change, old=change.new))
            renamed = False
            step = self._step(by, change)
            if met >= wanted and not step.names & wanted:
                break
            found.append(step)
            met |= wanted & step.names
            wanted |= step.undoes
            if change.old is None and path in self._before:
                path, renamed = self._before[path], True
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
        while names[-1] in self._before:
            names.append(self._before[names[-1]])
        return names

    def _next_name(self, path: str) -> str | None:
        """The name under which a file went on that is gone; None where none is certain."""
        lost = gone(self.store, self.rev, self._along(FOLDERS), path)
        new = lost.became() if lost else None
        if new and not new.committed:
            self._moving.add(new.path)
        elif lost and not new and (like := lost.like()):
            self.likely.append(
                f"{path} is not there any more, and {like.path}, which came about then, is much "
                "like it: if it is the same by another name, take the words out there."
            )
        return new.path if new else None

    def _along(self, paths: Iterable[str]) -> Iterator[Entry]:
        return walk.along(self.store.repo, self.rev, [*paths], self.crossings)

    def _read(self, oid: str | None) -> bytes | None:
        return None if oid is None else self.store.repo.read(oid)
