"""Two histories made one: the files of a commit that has both for parents, worked out in memory.

A path that only one side changed is as that side has it; what both changed goes through
``drivers``. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsagent.errors import FsagentError, StoreError
from fsagent.history.drivers import Version, is_recall, merge_file
from fsagent.history.fork import renamed
from fsagent.repo import sides, walk

if TYPE_CHECKING:
    from fsagent.repo import Blob, Repo
    from fsagent.repo.walk import Entry

Read = Callable[["Blob | None"], bytes | None]


@dataclass
class Joined:
    """What becomes of the files of ``ours``: those that have to change.

    ``heads`` is what ours holds for each of them. ``taken`` are as the other side has them (None:
    it deleted them), ``made`` are of both.
    """

    heads: dict[str, Blob | None] = field(default_factory=dict)
    taken: dict[str, Blob | None] = field(default_factory=dict)
    made: dict[str, bytes | None] = field(default_factory=dict)
    clashes: list[str] = field(default_factory=list)
    """The questions that could not be decided, a sentence each."""


@dataclass(frozen=True)
class Side:
    """One of two histories: its newest commit, and what it is called."""

    commit: str
    name: str


def join(repo: Repo, ours: Side, theirs: Side, identity: tuple[str, str] | None = None) -> Joined:
    """The files of ``ours`` with what ``theirs`` has made of their common past.

    Where the other side is another agent, ``identity`` is the id and the name that stay.

    Raises:
        StoreError: they share no past, or differ in what cannot be merged here.
    """
    base, *others = sides.bases(repo, ours.commit, theirs.commit) or [""]
    if not base:
        raise StoreError(
            f"{theirs.name} shares no past with {repo.root.name}: only an agent's own clones and "
            "forks can be brought together."
        )
    known: dict[str, bytes | None] = {}
    for other in others:  # histories that were merged crosswise have parted in several places
        before = join(repo, Side(base, "one"), Side(other, "two"))
        read = reader(repo, before.taken.values())
        known |= before.made | {path: read(blob) for path, blob in before.taken.items()}
    return _Joining(repo, ours, theirs, base, known, identity).result


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
        joined = join(repo, Side(ours, "ours"), Side(theirs, "theirs"))
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
        known: Mapping[str, bytes | None],
        identity: tuple[str, str] | None,
    ) -> None:
        self.repo, self.ours, self.theirs = repo, ours, theirs
        self.identity = identity
        self.result = Joined()
        mine = sides.entries(repo, base, ours.commit)
        other = sides.entries(repo, base, theirs.commit)
        both: dict[str, tuple[Blob | None, Blob | None, Blob | None]] = {}
        for path in sorted(mine.keys() | other.keys()):
            old = (mine.get(path) or other[path])[0]
            one, two = mine.get(path, (old, old))[1], other.get(path, (old, old))[1]
            if one == two or (two == old and path not in known):
                continue
            self._refuse_links(path, old, one, two)
            self.result.heads[path] = one
            if one == old and path not in known and not (identity and path == "agent.yaml"):
                self.result.taken[path] = two
            else:
                both[path] = old, one, two
        read = reader(repo, (blob for three in both.values() for blob in three))
        for path, (old, one, two) in both.items():
            before = known[path] if path in known else read(old)
            self._merge(path, before, read(one), read(two))
        self._once({path: new for path, (_, new) in mine.items() if is_recall(path)})

    def _refuse_links(self, path: str, *blobs: Blob | None) -> None:
        if any(blob and blob.mode & 0o170000 != 0o100000 for blob in blobs):
            raise StoreError(
                f"{path} is a link or a repository of its own, which cannot be merged here: "
                f"git -C {self.repo.root} merge {self.theirs.commit[:12]}"
            )

    def _merge(self, path: str, base: bytes | None, one: bytes | None, two: bytes | None) -> None:
        """A file that both sides changed."""
        if self.identity and path == "agent.yaml":
            try:
                base, two = (data and renamed(data, *self.identity) for data in (base, two))
            except FsagentError:
                two = base = None  # nothing can be taken from it
        outcome = merge_file(path, base, *self._versions(one, two))
        if outcome.clashes:  # only then it matters who did it
            outcome = merge_file(path, base, *self._versions(one, two, path))
        self.result.clashes += [f"{path}: {said}" for said in outcome.clashes]
        self._make(path, outcome.data, one)
        if outcome.beside:
            beside, data = outcome.beside
            self._make(self._free(beside), data, None)

    def _versions(
        self, one: bytes | None, two: bytes | None, path: str = ""
    ) -> tuple[Version, Version]:
        """The file as either side has it; with ``path`` also of which day and commit."""
        found = []
        for data, side in ((one, self.ours), (two, self.theirs)):
            last = sides.last(self.repo, side.commit, path) if path else None
            known = (last.day, last.commit) if last else ()
            found.append(Version(data, side.name, *known))
        return found[0], found[1]

    def _make(self, path: str, data: bytes | None, now: bytes | None) -> None:
        if data == now:
            self.result.heads.pop(path, None)
        else:
            self.result.heads.setdefault(path, None)
            self.result.made[path] = data

    def _free(self, path: str) -> str:
        """A name that no file of either side has."""
        stem, dot, end = path.rpartition(".")
        for number in range(1, 1000):
            name = path if number == 1 else f"{stem}-{number}{dot}{end}"
            taken = (self.repo.files(side.commit, [name]) for side in (self.ours, self.theirs))
            if name not in self.result.made and not any(taken):
                return name
        raise StoreError(f"There are a thousand files like {path}: delete some.")

    def _once(self, mine: Mapping[str, Blob | None]) -> None:
        """A record that each side has moved to another segment stays in the first of the two."""
        result = self.result
        paths = {*mine, *filter(is_recall, result.taken), *filter(is_recall, result.made)}
        blobs = {**mine, **{p: b for p, b in result.taken.items() if is_recall(p)}}
        read = reader(self.repo, blobs.values())
        seen: set[bytes] = set()
        for path in sorted(paths):
            data = result.made[path] if path in result.made else read(blobs[path])
            lines = (data or b"").split(b"\n")
            again = {line for line in lines if line.startswith(b"{") and line in seen}
            seen.update(lines)
            if again:
                result.heads.setdefault(path, mine.get(path))
                result.taken.pop(path, None)
                kept = b"\n".join(line for line in lines if line not in again)
                result.made[path] = kept or None


def reader(repo: Repo, blobs: Iterable[Blob | None]) -> Read:
    """Reads these files, all at once and each once."""
    oids = list(dict.fromkeys(blob.oid for blob in blobs if blob))
    found = dict(zip(oids, walk.blobs(repo, oids), strict=True))
    return lambda blob: found[blob.oid] if blob else None
