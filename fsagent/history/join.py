"""Two histories made one: the files of a commit that has both for parents, worked out in memory.

A path that only one side changed is as that side has it; what both changed goes through
``drivers``. A file that one side renamed is one file (``renames``): what the other side made of it
under its old name gets into it. Nothing is written here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from fsagent.errors import StoreError
from fsagent.formats import clean, one_line
from fsagent.history.drivers import Version, is_recall, merge_file
from fsagent.history.renames import Paths, followed
from fsagent.repo import sides

if TYPE_CHECKING:
    from fsagent.repo import Blob, Repo
    from fsagent.repo.walk import Entry

    Content = Blob | bytes | None


@dataclass
class Joined:
    """What becomes of the files of ``ours``: those that have to change.

    ``heads`` is what ours holds for each of them. ``taken`` are as one of the sides has them (None:
    they go), ``made`` are of both.
    """

    heads: dict[str, Blob | None] = field(default_factory=dict)
    taken: dict[str, Blob | None] = field(default_factory=dict)
    made: dict[str, bytes | None] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    """Git's modes of those that are made."""
    clashes: list[str] = field(default_factory=list)
    """The questions that could not be decided, a sentence each."""

    def data(self, repo: Repo, path: str) -> bytes | None:
        """What a file is to hold."""
        return self.made[path] if path in self.made else _read(repo, self.taken[path])


@dataclass(frozen=True)
class Side:
    """One of two histories: its newest commit, and what it is called.

    Where it is a place at which people work, as another machine is, those who changed a file there
    are named: "Ann at origin".
    """

    commit: str
    name: str
    is_place: bool = False


def join(
    repo: Repo,
    ours: Side,
    theirs: Side,
    *,
    another: bool = False,
    within: tuple[str, ...] = ("",),
) -> Joined:
    """The files of ``ours`` with what ``theirs`` has made of their common past.

    Where the other side is ``another`` agent, agent.yaml stays as ours has it: who it is, and also
    what it may do and whom it asks. Files whose paths begin otherwise than one of ``within`` are
    left as they are.

    Raises:
        StoreError: they share no past, or differ in what cannot be merged here.
    """
    base, *others = sides.bases(repo, ours.commit, theirs.commit) or [""]
    if not base:
        raise StoreError(
            f"{theirs.name} shares no past with {repo.root.name}: only an agent's own clones and "
            "forks can be brought together."
        )
    known: dict[str, Content] = {}
    for other in others:  # histories that were merged crosswise have parted in several places
        before = join(repo, Side(base, "one"), Side(other, "two"), within=within)
        known |= {**before.taken, **before.made}
    return _Joining(repo, ours, theirs, base, known, another=another, within=within).result


def decided(repo: Repo, merge: Entry, under: tuple[str, ...]) -> list[str]:
    """The files below ``under`` that a merge made otherwise than ``join`` does by itself.

    Somebody settled them, or both sides stay in them under headings. A merge of more than two
    histories has none that are known.
    """
    first = {change.path: change.new for change in merge.changes if change.path.startswith(under)}
    if len(merge.parents) != 2:
        return []
    ours, theirs = merge.parents
    if not first and not any(
        change.path.startswith(under) for change in repo.changes(theirs, merge.commit.commit)
    ):
        return []
    try:
        joined = join(repo, Side(ours, "ours"), Side(theirs, "theirs"), within=under)
    except StoreError:  # what git can merge, and join cannot
        return []
    return [
        path
        for path in sorted(first.keys() | joined.heads.keys())
        if path.startswith(under)
        and not _holds(repo, joined, path, first.get(path, _oid(joined.heads.get(path))))
    ]


def _holds(repo: Repo, joined: Joined, path: str, oid: str | None) -> bool:
    """Whether ``oid`` is what becomes of a file."""
    if path in joined.made:
        return (repo.read(oid) if oid else None) == joined.made[path]
    return path in joined.heads and oid == _oid(joined.taken.get(path))


def _oid(blob: Blob | None) -> str | None:
    return blob.oid if blob else None


class _Joining:
    """One merge of two histories that parted at ``base``, which is to hold ``known`` as well."""

    def __init__(
        self,
        repo: Repo,
        ours: Side,
        theirs: Side,
        base: str,
        known: Mapping[str, Content],
        *,
        another: bool,
        within: tuple[str, ...],
    ) -> None:
        self.repo, self.ours, self.theirs = repo, ours, theirs
        self.base, self.known = base, known
        self.result = Joined()
        self.mine = mine = sides.entries(repo, base, ours.commit)
        self.other = other = sides.entries(repo, base, theirs.commit)
        moved = [
            paths
            for paths in followed(repo, base, (ours.commit, mine), (theirs.commit, other))
            if known.get(paths.base, b"") is not None and paths.merged not in known
        ]
        seen = {path for paths in moved for path in (paths.base, paths.ours, paths.theirs)}
        same = [Paths(path, path, path) for path in mine.keys() | other.keys() if path not in seen]
        same = [one for one in same if not (another and one.merged == "agent.yaml")]
        wanted = [
            one
            for one in (*same, *moved)
            if one.merged.startswith(within) or one.ours.startswith(within)
        ]
        for paths in sorted(wanted, key=lambda one: one.merged):
            old = (mine.get(paths.base) or other[paths.base])[0]
            one, two = mine.get(paths.ours, (old, old))[1], other.get(paths.theirs, (old, old))[1]
            if one != two or paths.ours != paths.theirs:
                self._merge(paths, old, one, two)
        merged = {paths.merged for paths in wanted}
        for paths in moved:
            if paths in wanted and paths.base not in merged:
                self._in_its_place(paths)
        self._once({path: new for path, (_, new) in mine.items() if is_recall(path)})

    def _merge(self, paths: Paths, old: Blob | None, one: Blob | None, two: Blob | None) -> None:
        """What becomes of one file that the two sides have otherwise."""
        path, before = paths.merged, self.known.get(paths.base, old)
        held = self._held(path)
        if two == before and paths.ours == paths.theirs:
            return
        self._refuse_links(path, old, one, two)
        if path != paths.ours:
            self._put(paths.ours, one, None)
        if paths.ours != paths.theirs and not is_recall(path) and not (one and two):
            self._put(path, held, one or two)
        elif one == before:
            self._put(path, held, two)
        elif two == before or one == two:
            self._put(path, held, one)
        else:
            self._both(paths, old, one, two)
        self._tell_names(paths, one, two)

    def _in_its_place(self, paths: Paths) -> None:
        """Let the note be there that a side put where this file was."""
        path = paths.base
        one = self.mine[path][1] if paths.ours != path else None
        two = self.other[path][1] if paths.theirs != path else None
        if one and two:
            self._merge(Paths(path, path, path), None, one, two)
        elif two:
            self._put(path, self._held(path), two)

    def _held(self, path: str) -> Blob | None:
        """What ours has at a path that one of the sides has changed."""
        return self.mine[path][1] if path in self.mine else self.other[path][0]

    def _refuse_links(self, path: str, *blobs: Blob | None) -> None:
        if any(blob and not blob.is_file for blob in blobs):
            raise StoreError(
                f"{path} is a link or a repository of its own, which cannot be merged here: "
                f"git -C {shlex.quote(str(self.repo.root))} merge {self.theirs.commit[:12]}"
            )

    def _both(self, paths: Paths, old: Blob | None, one: Blob | None, two: Blob | None) -> None:
        """A file that both sides changed."""
        path = paths.merged
        held = self._held(path)
        contents = self.known.get(paths.base, old), one, two
        base, first, second = (_read(self.repo, content) for content in contents)
        blobs = {first: one, second: two}
        versions = (first, self.ours, paths.ours), (second, self.theirs, paths.theirs)
        outcome = merge_file(path, base, *(Version(data, side.name) for data, side, _ in versions))
        if outcome.clashes:  # only then it matters who did it
            outcome = merge_file(path, base, *(self._version(*one) for one in versions))
        self.result.clashes += [f"{path}: {said}" for said in outcome.clashes]
        mode = _mode(old, one, two)
        self._make(path, outcome.data, held, mode, blobs)
        if outcome.beside:
            beside, data = outcome.beside
            self._make(self._free(beside), data, None, mode, blobs)

    def _version(self, data: bytes | None, side: Side, path: str) -> Version:
        """A file as one side has it, with who made it so there, and when, and in which commit."""
        done = sides.work(self.repo, self.base, side.commit, path)
        name, people = side.name, [one_line(clean(author), 40) for author in done.authors]
        if side.is_place and people and not is_recall(path):  # recall the agent itself writes
            more = " and others" if len(people) > 2 else ""
            name = f"{' and '.join(people[:2])}{more} at {name}"
        return Version(data, name, done.day, done.commit)

    def _tell_names(self, paths: Paths, one: Blob | None, two: Blob | None) -> None:
        """Say where a file is that the sides have under two new names, or one of them nowhere."""
        if is_recall(paths.merged) or paths.ours == paths.theirs:
            return
        if one and two and paths.base in (paths.ours, paths.theirs):
            return
        both = (self.ours, paths.ours), (self.theirs, paths.theirs)
        names = [self._version(None, *one).name for one in both]
        if not (one and two):
            gone, kept = names if two else names[::-1]
            said = f"{gone} deleted {paths.base}, {kept} renamed it: it stays"
        else:
            calls = sorted(((names[0], paths.ours), (names[1], paths.theirs)))
            said = ", ".join(f"{name} calls it {path}" for name, path in calls)
            said = f"it was {paths.base}; {said}"
        self.result.clashes.append(f"{paths.merged}: {said}")

    def _put(self, path: str, held: Blob | None, blob: Blob | None) -> None:
        """Let a path that is ``held`` by ours be what one of the sides has."""
        if blob != held:
            self.result.heads[path], self.result.taken[path] = held, blob

    def _make(
        self,
        path: str,
        data: bytes | None,
        held: Blob | None,
        mode: int,
        blobs: Mapping[bytes | None, Blob | None],
    ) -> None:
        """Let a path hold ``data``, which may be what one of the sides has."""
        if data is None or data in blobs:
            blob = blobs.get(data)
            self._put(path, held, blob and replace(blob, mode=mode))
        else:
            self.result.heads[path], self.result.made[path] = held, data
            self.result.modes[path] = mode

    def _free(self, path: str) -> str:
        """A name that no file of either side has."""
        stem, dot, end = path.rpartition(".")
        for number in range(1, 1000):
            name = path if number == 1 else f"{stem}-{number}{dot}{end}"
            taken = (self.repo.files(side.commit, [name]) for side in (self.ours, self.theirs))
            if name not in self.result.heads and not any(taken):
                return name
        raise StoreError(f"There are a thousand files like {path}: delete some.")

    def _once(self, mine: Mapping[str, Blob | None]) -> None:
        """A record that each side has moved to another segment stays in the first of the two."""
        result = self.result
        seen: set[bytes] = set()
        for path in sorted({*mine, *filter(is_recall, result.heads)}):
            changed = path in result.heads
            data = result.data(self.repo, path) if changed else _read(self.repo, mine[path])
            lines = (data or b"").split(b"\n")
            marks = {blake2b(line, digest_size=16).digest(): line for line in lines}
            again = {line for mark, line in marks.items() if mark in seen and line[:1] == b"{"}
            seen.update(marks)
            if again:
                result.heads.setdefault(path, mine.get(path))
                result.taken.pop(path, None)
                kept = b"\n".join(line for line in lines if line not in again)
                result.made[path] = kept or None


def _read(repo: Repo, content: Content) -> bytes | None:
    return content if content is None or isinstance(content, bytes) else repo.read(content.oid)


def _mode(old: Blob | None, one: Blob | None, two: Blob | None) -> int:
    """The mode that a side has given a file, if any has; of two, the one with which it runs."""
    modes = {blob.mode for blob in (one, two) if blob}
    return max(modes - {old.mode if old else 0} or modes or {0o100644})
