"""Walking through history: the versions of a file, their bytes, and what commits say of themselves.

Each question is one git process, however long the history is; nothing here changes anything.
"""

from __future__ import annotations

import heapq
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fsagent.errors import StoreError
from fsagent.repo.run import GitFailed
from fsagent.repo.trees import parse

if TYPE_CHECKING:
    from fsagent.records import Commit
    from fsagent.repo import Repo, TreeChange

_FIELDS = ("%H", "%P", "%cI", "%an", "%ae", "%s", "%B")
"""What git tells of each commit."""

_ENTRY = ("-z", "--encoding=UTF-8", "--no-color", f"--format=%x00{'%x00'.join(_FIELDS)}")
"""The options with which git log prints what ``_parsed`` reads."""

_CHANGES = (
    *("--raw", "--no-abbrev", "--no-renames"),
    *("--diff-merges=first-parent", "--ignore-submodules=all"),
)

_WHOLE = ("-c", "log.showRoot=true")
"""A person's setting may leave out what a first commit brought."""

_AS_BEFORE = "as before"
"""In the place of a blob that is that of the first parent."""

_BATCH = 2000
"""Blobs that are asked for at once: more would only take more memory."""


@dataclass(frozen=True)
class Entry:
    """A commit, its parents, and what it did to each file, compared with the first of them."""

    commit: Commit
    parents: tuple[str, ...]
    changes: tuple[TreeChange, ...]

    @property
    def id(self) -> str:
        """What an undo of it refers to: its change id, or the commit's where a person made it."""
        return self.commit.change or self.commit.commit

    @property
    def names(self) -> set[str]:
        """What it goes by: its commit, its change, and the turn that it belongs to."""
        return {*filter(None, (self.commit.commit, self.commit.change, self.commit.turn))}


@dataclass(frozen=True)
class Version:
    """A file as one commit left it: its blob (None: gone), and the versions that it came from."""

    commit: str
    parents: tuple[str, ...]
    blob: str | None


def versions(repo: Repo, path: str, rev: str) -> list[Version]:
    """The versions of a file up to ``rev``, newest first; a version comes before its parents.

    Only commits that changed the file are among them, and ``parents`` are of them, too. Where a
    merge took one side as it was, only that side is followed, as ``git log`` does.
    """
    out = repo._git(
        *(*_WHOLE, "log", "--no-color", "-z", "--parents", "--format=%x1e%H %P", *_CHANGES),
        *("--end-of-options", rev, "--", path),
    )
    found = []
    for entry in out.split(b"\x1e")[1:]:
        ids, _, rest = entry.partition(b"\0")
        commit, *parents = ids.decode().split()
        # ":100644 100644 OLD NEW M\0path\0"; a link or a submodule is no file of ours
        raw = rest.lstrip(b"\n\0").split(b"\0", 1)[0].decode(errors="replace").split()
        blob = raw[3] if len(raw) > 3 and raw[1].startswith("100") else None
        if not raw:  # a merge that left the file as its first parent had it
            parents, blob = parents[:1], _AS_BEFORE
        found.append(Version(commit, tuple(parents), blob))
    order = _in_order([(version.commit, version.parents) for version in found])
    found = [found[at] for at in order]
    blobs = {version.commit: version.blob for version in found}
    for at, version in reversed(list(enumerate(found))):
        if version.blob == _AS_BEFORE:
            blobs[version.commit] = blobs.get(version.parents[0]) if version.parents else None
            found[at] = replace(version, blob=blobs[version.commit])
    return found


def _in_order(graph: Sequence[tuple[str, Sequence[str]]]) -> Sequence[int]:
    """The places of commits, each given with its parents, so that none comes after a parent of its.

    Git lists them by date, and clocks go wrong. (Its own --topo-order takes seven seconds for a
    hundred thousand commits, and this a few milliseconds.)
    """
    place = {commit: at for at, (commit, _) in enumerate(graph)}
    parents = [[place[one] for one in ours if one in place] for _, ours in graph]
    if all(at < other for at, others in enumerate(parents) for other in others):
        return range(len(graph))
    children = Counter(other for others in parents for other in others)
    ready = [at for at in range(len(graph)) if not children[at]]  # a heap: it is sorted
    found = []
    while ready:
        at = heapq.heappop(ready)
        found.append(at)
        for other in parents[at]:
            children[other] -= 1
            if not children[other]:
                heapq.heappush(ready, other)
    return found


def blobs(repo: Repo, oids: Iterable[str]) -> Iterator[bytes]:
    """The bytes of many blobs, in order, read as they are wanted."""
    wanted = list(oids)
    size = 16  # the first few are often all that is needed
    while wanted:
        now, wanted = wanted[:size], wanted[size:]
        out = repo._git("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in now).encode())
        at = 0
        for _ in now:
            end = out.index(b"\n", at)
            head = out[at:end].split()
            if head[-1] == b"missing":
                raise StoreError(
                    f"The object {head[0].decode()} is missing from the repository: "
                    f"fsagent check {repo.root} says what helps."
                )
            length = int(head[2])
            yield out[end + 1 : end + 1 + length]
            at = end + 2 + length
        size = min(size * 8, _BATCH)


def log(repo: Repo, rev: str, paths: Sequence[str] = (), *options: str) -> Iterator[Entry]:
    """The commits up to ``rev`` that changed one of ``paths``, newest first, as git finds them."""
    return _parsed(
        repo._log(
            *(*_WHOLE, "log", *_ENTRY, *_CHANGES, "--no-follow", *options),
            *("--end-of-options", rev, "--", *paths),
        )
    )


def history(repo: Repo, rev: str) -> Iterator[Entry]:
    """All commits up to ``rev``, newest first and each before its parents, as they come.

    Git lists them by date, and with ``--date-order`` it reads all there are before the first one.
    So where histories were merged, commits are held back until it is known that none of their
    children is still to come: that is where both sides have come to the commit at which they
    parted.
    """
    held: list[Entry] = []
    met: set[str] = set()
    to_come: set[str] = set()
    rooted = False
    for entry in log(repo, rev):
        held.append(entry)
        met.add(entry.commit.commit)
        to_come = (to_come | {*entry.parents}) - met
        rooted = rooted or not entry.parents
        # All others descend to the one that is to come, unless a line has ended in a first commit.
        if not to_come or (len(to_come) == 1 and not rooted):
            yield from _sorted(held)
            held, met = [], set()
    yield from _sorted(held)


def _sorted(found: list[Entry]) -> Iterator[Entry]:
    return (found[at] for at in _in_order([(one.commit.commit, one.parents) for one in found]))


def crossings(repo: Repo, old: str, new: str) -> list[tuple[str, str]]:
    """Where the way from ``new`` back to its ancestor ``old`` has to leave the first parents.

    These are merges, newest first, each with the parent on which the way goes on.
    """
    out = repo._git("rev-list", "--parents", "--ancestry-path", f"{old}..{new}", "--")
    parents = {ids[0]: ids[1:] for ids in map(str.split, out.decode().splitlines())}
    found = []
    while new != old:
        onward = next(one for one in parents[new] if one in parents or one == old)
        if onward != parents[new][0]:
            found.append((new, onward))
        new = onward
    return found


def along(
    repo: Repo, rev: str, paths: Sequence[str], crossings: Sequence[tuple[str, str]] = ()
) -> Iterator[Entry]:
    """The commits of one line back from ``rev`` that changed one of ``paths``, newest first.

    The line is that of first parents, but for ``crossings``. A merge is compared with the parent
    that the line goes on with, which is the first of its ``parents`` here.
    """
    for merge, onward in crossings:
        for entry in log(repo, f"{merge}^1..{rev}", paths, "--first-parent"):
            if entry.commit.commit != merge:
                yield entry
        changes = [
            change
            for change in repo.changes(onward, merge)
            if any(change.path == path or change.path.startswith(f"{path}/") for path in paths)
        ]
        if changes:
            entry = entries(repo, [merge])[merge]
            parents = (onward, *(one for one in entry.parents if one != onward))
            yield replace(entry, parents=parents, changes=tuple(changes))
        rev = onward
    yield from log(repo, rev, paths, "--first-parent")


def entries(repo: Repo, oids: Sequence[str]) -> dict[str, Entry]:
    """These commits with what they changed, by id."""
    return {entry.commit.commit: entry for entry in _given(repo, oids, *_CHANGES)}


def commits(repo: Repo, oids: Sequence[str]) -> dict[str, Commit]:
    """What these commits say of themselves, by id; the paths they touch are left out."""
    return {entry.commit.commit: entry.commit for entry in _given(repo, oids)}


def _given(repo: Repo, oids: Sequence[str], *options: str) -> Iterator[Entry]:
    if not oids:
        return iter(())
    out = repo._git(
        *(*_WHOLE, "log", *_ENTRY, *options, "--no-walk=unsorted", "--stdin"),
        stdin="".join(f"{oid}\n" for oid in oids).encode(),
    )
    return _parsed(out.decode(errors="surrogateescape").split("\0"))


def _parsed(parts: Iterable[str]) -> Iterator[Entry]:
    """The commits that git log prints with the options ``_ENTRY``, and with ``_CHANGES`` or not.

    A message may hold any character but NUL, and a name may be empty: so fields are counted.
    """
    from fsagent.formats import parse_trailers
    from fsagent.records import Commit
    from fsagent.repo import TreeChange

    parts = iter(parts)
    for part in parts:
        commit = part.lstrip("\n")
        if not commit:
            continue
        parents, ts, author, email, subject, message = itertools.islice(parts, len(_FIELDS) - 1)
        trailers = parse_trailers(message)
        raws = itertools.takewhile(bool, (raw.lstrip("\n") for raw in parts))
        changes = tuple(TreeChange.parse(raw, next(parts)) for raw in raws)
        known = Commit(
            commit,
            ts,
            author,
            email,
            subject,
            tool=trailers.get("Tool"),
            turn=trailers.get("Turn"),
            message=trailers.get("Message"),
            change=trailers.get("Change"),
            undoes=trailers.get("Undoes"),
            paths=tuple(change.path for change in changes),
            call=trailers.get("Tool-Call"),
            model=trailers.get("Model"),
        )
        yield Entry(known, tuple(parents.split()), changes)


def path_of(repo: Repo, name: str, rev: str | None) -> str:
    """The path that ``name`` is, or that of the block with this label; it may be gone by now.

    Raises:
        StoreError: there never was such a file or folder up to ``rev``.
    """
    from fsagent.formats import one_line

    ways = (name, f"core/{name}.md")
    for path in ways:
        if os.path.lexists(repo.root / path):
            return path
    for path in ways if rev else ():
        if next(repo.log(path, rev=rev or "HEAD", limit=1), None):
            return path
    raise StoreError(
        f"There never was a file or a block {one_line(name)!r} in {repo.root.name}. "
        f"What there is: fsagent show {repo.root}"
    )


def earlier(
    repo: Repo, oids: Sequence[str], folder: str, back: int
) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """The files right below ``folder`` one to ``back`` commits before each of these commits.

    The answer is, by commit, a list of a revision and its files: blobs by path.
    """
    names = [(oid, f"{oid}~{step}") for oid in oids for step in range(1, back + 1)]
    asked = "".join(f"{name}:{folder}\n" for _, name in names).encode()
    out = repo._git("cat-file", "--batch", stdin=asked) if names else b""
    found: dict[str, list[tuple[str, dict[str, str]]]] = {oid: [] for oid in oids}
    at = 0
    for oid, name in names:
        end = out.index(b"\n", at)
        head = out[at:end].split()
        at = end + 1
        if head[-1] == b"missing":
            continue
        length = int(head[2])
        if head[1] == b"tree" and len(head[0]) == 40:
            entries = parse(out[at : at + length]).items()
            files = {
                f"{folder}/{os.fsdecode(file)}": blob.hex()
                for file, (mode, blob) in entries
                if mode.startswith(b"100")
            }
            found[oid].append((name, files))
        at += length + 1
    return found


def saying(repo: Repo, text: str) -> Iterator[tuple[str, str]]:
    """The commits with that text in their message, in any branch, stash or reflog, and these."""
    out = repo._git(
        *("log", "--all", "--reflog", "-z", "--encoding=UTF-8", "--no-color", "--format=%H%n%B"),
        *("--fixed-strings", f"--grep={text}"),
    )
    for entry in out.decode(errors="surrogateescape").split("\0"):
        commit, _, message = entry.partition("\n")
        if commit:
            yield commit, message


def with_trailer(
    repo: Repo, keys: Sequence[str], value: str, rev: str, near: datetime | None = None
) -> list[str]:
    """The commits up to ``rev`` with that value in one of these trailers, newest first.

    ``near`` is about when they were made: only the messages of those days are read then.
    """
    span = timedelta(days=2)
    ends = (("since", near - span), ("until", near + span)) if near else ()
    trailers = ",".join(f"key={key}" for key in keys)
    out = repo._git(
        *("log", f"--format=%H%x1f%(trailers:{trailers},valueonly,separator=%x1f)"),
        *(f"--{word}={int(when.timestamp())}" for word, when in ends),
        *("--fixed-strings", *(f"--grep={key}: {value}" for key in keys)),
        *("--end-of-options", rev, "--"),
    )
    found = (line.split("\x1f") for line in out.decode(errors="replace").splitlines())
    return [commit for commit, *values in found if value in values]


def cut(repo: Repo) -> frozenset[str]:
    """The commits at which a shallow clone ends: their own parents are not in it.

    For git each of them is a first commit, which made all that it holds.
    """
    try:
        return frozenset((repo.place.common / "shallow").read_text("ascii").split())
    except (OSError, ValueError):
        return frozenset()


def whole_again(repo: Repo) -> str:
    """How a person brings in the history that a shallow clone lacks."""
    return f"git -C {repo.root} fetch --unshallow"


def before(repo: Repo, when: datetime, rev: str = "HEAD") -> tuple[str, str | None] | None:
    """The commit up to ``rev`` that this repository had at that moment, or None if none was made.

    From before its reflog it is the newest one by first parents. Where another one was made
    elsewhere until then, and came here later, the newest of these is beside it.
    """

    def newest(*of: str) -> str | None:
        stamp = f"--before={int(when.timestamp())}"
        out = repo._git("rev-list", "-n1", stamp, *of, "--")
        return out.decode().strip() or None

    found = newest(rev)
    if found is None:
        return None
    here, since = repo.head_at(when.timestamp())
    if not here or not repo.descends(here, rev):
        since = since if since and repo.descends(since, rev) else rev
        here = newest("--first-parent", since) or found
    return here, newest(rev, f"^{here}")


def line_of(repo: Repo, rev: str = "HEAD", beyond: str | None = None) -> list[str]:
    """The commits of the branch itself up to ``rev``, oldest first: of a merge, its first side.

    With ``beyond``, only those that the history of that commit does not have.
    """
    revs = [rev, *([f"^{beyond}"] if beyond else [])]
    out = repo._git("rev-list", "--first-parent", "--reverse", "--end-of-options", *revs, "--")
    return out.decode().split()


def back_from(repo: Repo, commit: str, most: int) -> list[str]:
    """So many commits of the branch itself, from ``commit`` back; of a merge, its first side."""
    limit = f"--max-count={most}"
    out = repo._git("rev-list", "--first-parent", limit, "--end-of-options", commit, "--")
    return out.decode().split()


def holding(repo: Repo, commit: str, pattern: str, under: Sequence[str]) -> list[str]:
    """The files of a commit (its id) with a line that matches an extended regular expression.

    The case of ASCII letters does not count.
    """
    try:
        out = repo._git(
            *(
                "grep",
                "--no-color",
                "-z",
                "-l",
                "-i",
                "-E",
                "--full-name",
                "-a",
                "--no-recurse-submodules",
            ),
            *("-e", pattern, commit, "--", *under),  # git grep knows no --end-of-options
        )
    except GitFailed as error:
        if error.text == "exit status 1":  # nothing was found
            return []
        raise
    return [os.fsdecode(name).split(":", 1)[1] for name in out.split(b"\0") if name]


def last_with(repo: Repo, rev: str, pattern: str, under: Sequence[str]) -> Commit | None:
    """The newest commit of the branch up to ``rev`` that added or removed a line like that.

    ``pattern`` is as for ``holding``. Every change is read until it is found.
    """
    found = log(
        *(repo, rev, under, "-n1", "--first-parent", "--regexp-ignore-case", f"-G{pattern}"),
        *("--text", "--no-textconv", "--no-ext-diff"),
    )
    return next((entry.commit for entry in found), None)


def blobs_ever(repo: Repo, paths: Sequence[str]) -> set[str]:
    """The blobs that these files ever were, in any branch, stash or reflog."""
    out = repo._git(
        *(*_WHOLE, "log", "--all", "--reflog", "-z", "--raw", "--no-abbrev", "--no-renames"),
        *("-m", "--format=", "--ignore-submodules=all", "--", *paths),
    )
    found = set()
    for part in out.split(b"\0"):
        info = part.strip().split()
        if part.lstrip(b"\n").startswith(b":") and len(info) == 5:
            found |= {oid.decode() for oid in info[2:4]}
    return {oid for oid in found if oid.strip("0")}
