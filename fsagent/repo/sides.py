"""Two histories that have parted: where, and what each of them has made of the files since."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.repo.puts import Blob
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from fsagent.repo import Repo


def bases(repo: Repo, one: str, two: str) -> list[str]:
    """The commits at which two histories parted: mostly one; none where they share no past."""
    try:
        out = repo._git("merge-base", "--all", one, two)
    except GitFailed as error:
        if error.text == "exit status 1":
            return []
        raise
    return sorted(out.decode().split())


def entries(repo: Repo, old: str, new: str) -> dict[str, tuple[Blob | None, Blob | None]]:
    """The paths that differ between two commits, with the entry before and after.

    An entry is a file, or a link or a submodule: ``mode`` tells.
    """
    out = repo._git(
        *("diff-tree", "-r", "-z", "--no-renames", "--raw", "--no-abbrev"),
        *("--end-of-options", old, new, "--"),
    )
    parts = out.split(b"\0")[:-1]
    found = {}
    for info, path in zip(parts[::2], parts[1::2], strict=True):
        old_mode, new_mode, before, after, _ = info.decode().lstrip(":").split()
        found[os.fsdecode(path)] = _entry(before, old_mode), _entry(after, new_mode)
    return found


def _entry(oid: str, mode: str) -> Blob | None:
    return Blob(oid, int(mode, 8)) if int(mode) else None


def renames(repo: Repo, old: str, new: str) -> dict[str, str]:
    """The files of one commit that another one holds, or much the same, under another name only."""
    out = repo._git(
        *("diff-tree", "-r", "-z", "-M", "-l1000", "--no-rename-empty", "--diff-filter=R"),
        *("--name-status", "--ignore-submodules=all", "--end-of-options", old, new, "--"),
    )
    parts = [os.fsdecode(part) for part in out.split(b"\0")[:-1]]  # R100, the old name, the new one
    return dict(zip(parts[1::3], parts[2::3], strict=True))


def count(repo: Repo, since: str | None, until: str) -> int:
    """How many commits ``until`` has that ``since`` has not."""
    past = [f"^{since}"] if since else []
    return int(repo._git("rev-list", "--count", "--end-of-options", until, *past, "--"))


@dataclass(frozen=True)
class Work:
    """What a side did to a file: its last commit, the day of that, and who, the last one first."""

    commit: str
    day: str
    authors: tuple[str, ...]


def work(repo: Repo, base: str, commit: str, path: str) -> Work:
    """What was done to ``path`` between two commits; if nothing, what was done to it last."""
    for since in ([f"^{base}"], []):
        out = repo._git(
            *("log", "-n50", "-z", "--format=%H%x00%cd%x00%an", "--encoding=UTF-8"),
            *("--date=short", "--end-of-options", commit, *since, "--", path),
        )
        if out:
            parts = out.decode(errors="replace").split("\0")
            return Work(parts[0], parts[1], tuple(dict.fromkeys(parts[2::3])))
    return Work("", "", ())


def merges(repo: Repo, limit: int, path: str | None = None) -> list[tuple[str, str, str]]:
    """The newest merges of two, with their parents; those that left ``path`` as neither had it."""
    if repo.head() is None:
        return []
    out = repo._git(
        *("rev-list", f"-n{limit}", "--min-parents=2", "--max-parents=2", "--parents"),
        *("--end-of-options", "HEAD", "--", *([path] if path else [])),
    )
    found = (line.split() for line in out.decode().splitlines())
    return [(commit, one, two) for commit, one, two in found]


def later(repo: Repo, commit: str, under: tuple[str, ...]) -> dict[str, list[str]]:
    """The blobs that files held in the commits after ``commit`` that build on it, by path."""
    out = repo._git(
        *("log", "-m", "-z", "--format=", "--ancestry-path", "--full-history", "--raw"),
        *("--no-abbrev", "--no-renames", "--diff-filter=AM", "--ignore-submodules=all"),
        *("--end-of-options", f"{commit}..HEAD", "--", *under),
    )
    found = dict[str, dict[str, None]]()
    parts = iter(out.split(b"\0"))
    for part in parts:
        if part.lstrip(b"\n").startswith(b":"):  # ":100644 100644 OLD NEW M", and then the path
            found.setdefault(os.fsdecode(next(parts)), {})[part.split()[3].decode()] = None
    return {path: list(blobs) for path, blobs in found.items()}
