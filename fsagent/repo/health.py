"""Looking a repository over, for ``fsagent check``: nothing here changes anything."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.repo.journal import Journal
from fsagent.repo.maintain import git, objects, packs
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fsagent.repo import Repo

_FOLDER = re.compile(r"[0-9a-f]{2}")


@dataclass(frozen=True)
class Lock:
    """A lock of Git's own: its file, how many seconds ago it was made, and whether we made it."""

    path: Path
    age: float
    ours: bool


def fsck(repo: Repo) -> list[str]:
    """What ``git fsck --full --strict`` finds wrong, a line each.

    It reads every object and checks that all that is named is there: what HEAD, the branches, the
    reflog and the index name. Objects that nothing names are no fault.
    """
    try:
        git(repo, "fsck", "--full", "--strict", "--no-dangling", "--no-progress")
    except GitFailed as error:
        said = error.out.decode(errors="replace") + error.text
        lines = [line for line in said.splitlines() if not line.startswith("notice:")]
        return list(dict.fromkeys(lines)) or ["git fsck failed without a word"]
    return []


def reaching(repo: Repo, commits: Iterable[str]) -> list[str]:
    """The refs, HEAD too, in whose history one of these commits is."""
    found: set[str] = set()
    for commit in commits:
        if repo.has(commit):
            out = repo._git("for-each-ref", "--format=%(refname)", f"--contains={commit}")
            found.update(out.decode(errors="replace").split())
            if repo.head() and repo.descends(commit, "HEAD"):
                found.add("HEAD")
    return sorted(found)


def locks(repo: Repo) -> list[Lock]:
    """Every lock file of Git's own that is there now, oldest first."""
    found = []
    common = objects(repo).parent
    laid: set[int] = set()  # a lock of ours is a second name of a file there: see ``commit``
    for folder in ("tmp", "purge"):
        with suppress(OSError):
            laid |= {entry.inode() for entry in os.scandir(repo.git_dir / "fsagent" / folder)}
    for top in dict.fromkeys((repo.git_dir, common)):
        for where, folders, names in os.walk(top):
            if where == str(top):  # what is fsagent's own is held by the kernel, not by being there
                folders[:] = [name for name in folders if name not in ("fsagent", "worktrees")]
            if where == str(common / "objects"):
                folders[:] = [name for name in folders if not _FOLDER.fullmatch(name)]
            for name in names:
                if name.endswith(".lock"):
                    path = common.joinpath(where, name)
                    with suppress(OSError):  # it is gone again
                        info = path.lstat()
                        found.append(Lock(path, time.time() - info.st_mtime, info.st_ino in laid))
    return sorted(found, key=lambda lock: -lock.age)


def unfinished(repo: Repo) -> str | None:
    """The subject of the commit that was begun last and not finished, "" where the journal's end
    cannot be read; None when all is done."""
    journal = Journal(f"{repo.git_dir}/fsagent/journal")
    last = journal.last()
    if last is None:
        return "" if os.path.exists(journal.path) and os.path.getsize(journal.path) else None
    if last.kind != "intent":
        return None
    return str(last.data.get("message", "")).partition("\n")[0] or "a commit"


def identified(repo: Repo) -> bool:
    """Whether Git knows who works here."""
    return bool(repo.settings.get("user.name") and repo.settings.get("user.email"))


def commits(repo: Repo) -> int:
    """How many commits HEAD has behind it."""
    return int(git(repo, "rev-list", "--count", "HEAD")) if repo.head() else 0


def packed(repo: Repo) -> int:
    """Bytes of all packs and of what finds objects in them."""
    return sum(
        file.stat().st_size
        for pack in packs(repo)
        for file in (pack, pack.with_suffix(".idx"))
        if file.exists()
    )
