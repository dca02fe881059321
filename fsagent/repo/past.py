"""Commits with what each of them did to the files: what undoing one has to know."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.errors import StoreError
from fsagent.formats import one_line, parse_trailers
from fsagent.records import Commit
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from fsagent.repo import Repo

_FIELDS = ("%H", "%P", "%cI", "%an", "%ae", "%s", "%B")


@dataclass(frozen=True)
class FileChange:
    """A file before and after a commit, as object ids; None where it was not, or was no file."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Past:
    """A commit, its parents, and what it did to each file, compared with its first parent."""

    commit: Commit
    parents: tuple[str, ...]
    changes: tuple[FileChange, ...]

    @property
    def id(self) -> str:
        """What an undo of it refers to: its change id, or the commit's where a person made it."""
        return self.commit.change or self.commit.commit

    def is_called(self, names: set[str]) -> bool:
        """Whether one of ``names`` is its commit, its change, or the turn that it belongs to."""
        own = (self.commit.commit, self.commit.change, self.commit.turn)
        return any(name in names for name in own if name)


def past(
    repo: Repo, paths: tuple[str, ...] = (), *, rev: str = "HEAD", limit: int, named: str = ""
) -> list[Past]:
    """The newest commits along the first parents of ``rev`` that changed one of ``paths``.

    With ``named``, those whose trailer Change or Turn is that id, on any branch that came in.
    """
    if repo.head() is None:
        return []
    args = ["-c", "log.showRoot=true", "log", "-z", "--raw", "--no-abbrev", "--no-renames"]
    args += ["--encoding=UTF-8", f"--format={'%x00'.join(_FIELDS)}", f"-n{limit}"]
    args += ["--diff-merges=first-parent", "--ignore-submodules=all", "--no-follow"]
    if named:
        args += ["--extended-regexp", f"--grep=^(Change|Turn): {re.escape(named)}$"]
    else:
        args += ["--first-parent"]
    try:
        out = repo._git(*args, "--end-of-options", rev, "--", *paths)
    except GitFailed as error:
        raise StoreError(f"git log: {one_line(error.text, 200)}") from None
    return _parse(out.split(b"\0"))


def _parse(parts: list[bytes]) -> list[Past]:
    found, at = [], 0
    while at + len(_FIELDS) <= len(parts):
        fields = [part.decode(errors="replace") for part in parts[at : at + len(_FIELDS)]]
        at += len(_FIELDS)
        changes = []
        while at + 1 < len(parts) and parts[at].lstrip(b"\n").startswith(b":"):
            info, path = parts[at].strip().decode().lstrip(":").split(), os.fsdecode(parts[at + 1])
            old, new = (info[2], info[0]), (info[3], info[1])
            changes.append(FileChange(path, _file(*old), _file(*new)))
            at += 2
        commit, parents, ts, author, email, subject, message = fields
        trailers = parse_trailers(message)
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
        )
        found.append(Past(known, tuple(parents.split()), tuple(changes)))
    return found


def _file(oid: str, mode: str) -> str | None:
    return oid if mode.startswith("100") else None
