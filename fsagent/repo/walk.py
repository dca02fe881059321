"""Walking through history: the versions of a file, their bytes, and what commits say of themselves.

Each question is one git process, however long the history is; nothing here changes anything.
"""

from __future__ import annotations

import heapq
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fsagent.errors import StoreError
from fsagent.repo.run import GitFailed
from fsagent.repo.trees import parse

if TYPE_CHECKING:
    from fsagent.records import Commit
    from fsagent.repo import Repo, TreeChange

FORMAT = "%x00%H%x00%cI%x00%an%x00%ae%x00%s%x00%B"
"""What ``parsed`` reads."""
_WHOLE = ("-c", "log.showRoot=true")
"""A person's setting may leave out what a first commit brought."""

_BATCH = 2000
"""Blobs that are asked for at once: more would only take more memory."""


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
        *(*_WHOLE, "log", "--no-color", "-z", "--parents", "--format=%x1e%H %P", "--raw"),
        *("--no-abbrev", "--no-renames", "--diff-merges=first-parent"),
        *("--end-of-options", rev, "--", path),
    )
    found = []
    for entry in out.split(b"\x1e")[1:]:
        ids, _, rest = entry.partition(b"\0")
        commit, *parents = ids.decode().split()
        # ":100644 100644 OLD NEW M\0path\0"; a link or a submodule is no file of ours
        raw = rest.lstrip(b"\n\0").split(b"\0", 1)[0].decode(errors="replace").split()
        blob = raw[3] if len(raw) > 3 and raw[1].startswith("100") else None
        found.append(Version(commit, tuple(parents), blob))
    return _in_order(found)


def _in_order(versions: list[Version]) -> list[Version]:
    """Versions with each before its parents. Git lists them by date, and clocks go wrong.

    (Its own --topo-order takes seven seconds for a hundred thousand commits, and this a few
    milliseconds.)
    """
    place = {version.commit: at for at, version in enumerate(versions)}
    parents = [[place[one] for one in version.parents if one in place] for version in versions]
    if all(at < other for at, others in enumerate(parents) for other in others):
        return versions
    children = Counter(other for others in parents for other in others)
    ready = [at for at in range(len(versions)) if not children[at]]  # a heap: it is sorted
    found = []
    while ready:
        at = heapq.heappop(ready)
        found.append(versions[at])
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


def commits(repo: Repo, oids: Sequence[str]) -> dict[str, Commit]:
    """What these commits say of themselves, by id; the paths they touch are left out."""
    if not oids:
        return {}
    ids = "".join(f"{oid}\n" for oid in oids).encode()
    out = repo._git(
        *("log", "-z", "--no-walk=unsorted", "--stdin", "--encoding=UTF-8", f"--format={FORMAT}"),
        stdin=ids,
    )
    parts = out.decode(errors="surrogateescape").split("\0")
    return {commit.commit: commit for commit in parsed(parts)}


def parsed(parts: Iterable[str]) -> Iterator[Commit]:
    """The commits that ``git log -z --format=FORMAT`` prints, with ``--name-only`` or without.

    ``parts`` are what it prints, between NULs.

    A message may hold any character but NUL, and a name may be empty: so fields are counted.
    """
    from fsagent.formats import parse_trailers
    from fsagent.records import Commit

    parts = iter(parts)
    for part in parts:
        commit = part.lstrip("\n")
        if not commit:
            continue
        ts, author, email, subject, message = itertools.islice(parts, 5)
        trailers = parse_trailers(message)
        names = itertools.takewhile(bool, (name.lstrip("\n") for name in parts))
        yield Commit(
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
            paths=tuple(names),
            call=trailers.get("Tool-Call"),
            model=trailers.get("Model"),
        )


def touched(repo: Repo, oids: Sequence[str]) -> dict[str, list[TreeChange]]:
    """What each of these commits changed, compared with its (first) parent."""
    from fsagent.repo import TreeChange

    if not oids:
        return {}
    out = repo._git(
        *(*_WHOLE, "log", "--no-color", "-z", "--no-walk=unsorted", "--stdin", "--format=%x00%H"),
        *("--raw", "--no-abbrev"),
        *("--no-renames", "--diff-merges=first-parent", "--ignore-submodules=all"),
        stdin="".join(f"{oid}\n" for oid in oids).encode(),
    )
    found: dict[str, list[TreeChange]] = {}
    commit = ""
    parts = iter(out.split(b"\0"))
    for part in parts:
        part = part.lstrip(b"\n")
        if part.startswith(b":"):
            old_mode, new_mode, old, new, _ = part.decode().lstrip(":").split()
            found[commit].append(
                TreeChange(
                    os.fsdecode(next(parts)),
                    old if old_mode.startswith("100") else None,
                    new if new_mode.startswith("100") else None,
                )
            )
        elif part:
            commit = part.decode()
            found[commit] = []
    return found


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


def before(repo: Repo, when: datetime, rev: str = "HEAD") -> str | None:
    """The newest commit up to ``rev`` that was made at that moment or earlier, or None."""
    stamp = f"--before={int(when.timestamp())}"
    out = repo._git("rev-list", "-n1", stamp, "--end-of-options", rev, "--")
    return out.decode().strip() or None


def line_of(repo: Repo, rev: str = "HEAD") -> list[str]:
    """The commits of the branch itself up to ``rev``, oldest first: of a merge, its first side."""
    out = repo._git("rev-list", "--first-parent", "--reverse", "--end-of-options", rev, "--")
    return out.decode().split()


def holding(repo: Repo, commit: str, texts: Sequence[str], under: Sequence[str]) -> list[str]:
    """The files of a commit (its id) with a line that holds any of ``texts``, in any case."""
    patterns = [part for text in texts for part in ("-e", text)]
    try:
        out = repo._git(
            *(
                "grep",
                "--no-color",
                "-z",
                "-l",
                "-i",
                "-F",
                "--full-name",
                "-a",
                "--no-recurse-submodules",
            ),
            *(*patterns, commit, "--", *under),  # git grep knows no --end-of-options
        )
    except GitFailed as error:
        if error.text == "exit status 1":  # nothing was found
            return []
        raise
    return [os.fsdecode(name).split(":", 1)[1] for name in out.split(b"\0") if name]
