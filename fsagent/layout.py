"""What an agent's directory looks like from outside: which paths are its own, how they are read."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING

from fsagent.errors import NotAnAgent

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("agent.yaml", "system.md", "core", "archival", "recall", "files")
"""What of a directory is the agent's: files and folders at its top."""


def is_agents(path: str) -> bool:
    """Whether ``path``, relative to the root, is one of the agent's own kinds of file.

    Hidden files and editors' leavings (``x~``, ``#x#``, ``x.swp``) are nobody's memory.
    """
    parts = path.split("/")
    name = parts[-1]
    if any(part.startswith(".") for part in parts) or name.endswith(("~", ".swp", ".tmp")):
        return False
    if name.startswith("#") and name.endswith("#"):
        return False
    match parts:
        case ["agent.yaml" | "system.md"]:
            return True
        case ["core" | "archival", _, *_]:
            return name.endswith(".md")
        case ["recall", _, *_]:
            return name.endswith(".jsonl")
        case ["files", _, *_]:
            return True
    return False


_NTFS = re.compile(r"(?:\.git|git~1)[. ]*(?::.*)?", re.IGNORECASE | re.DOTALL)
_IGNORED_BY_HFS = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]
)


def is_gits(path: str) -> bool:
    """Whether a part of ``path`` is the name of Git's own folder somewhere.

    On a Mac ``.g\u200cit`` and on Windows ``git~1`` or ``.git ::$DATA`` are ``.git``. ``git fsck``
    refuses such names on every system (path.c is_ntfs_dotgit, utf8.c is_hfs_dotgit): so do we.
    """
    if path.isascii() and "git" not in path.lower():  # nearly always, and much the quickest
        return False
    return any(
        part.translate(_IGNORED_BY_HFS).lower() == ".git" or _NTFS.fullmatch(part)
        for part in re.split(r"[/\\]", path)
    )


FILE_MAX = 128 << 20
"""Bytes of the largest file that is read: a sparse file of a terabyte costs a stranger nothing."""


def read_plain(place: str | Path, most: int = FILE_MAX) -> bytes:
    """The bytes of a plain file.

    A symbolic link is not followed and a pipe not waited for, since the file may be a stranger's.

    Raises:
        OSError: it cannot be read, is no plain file, or has more than ``most`` bytes.
    """
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"its {about.st_size:,} bytes are too many")
        data = os.read(fd, about.st_size + 1)
        while len(data) > about.st_size and (more := os.read(fd, 1 << 16)):  # it has just grown
            data += more
        return data
    finally:
        os.close(fd)


def is_endless(entry: os.DirEntry[str]) -> bool:
    """Whether whoever opens this waits for ever: a pipe or a device.

    A socket cannot be opened at all, and Git's file watcher keeps one.
    """
    if entry.is_symlink() or entry.is_file() or entry.is_dir():
        return False
    try:
        return not stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    except OSError:  # gone meanwhile
        return False


def require_agent(root: Path) -> None:
    """Raises NotAnAgent, with the remedy, unless ``root`` is an agent's directory."""
    try:
        found = (root / "agent.yaml").is_file()
        why = "no agent.yaml" if root.is_dir() else "there is no such directory"
    except OSError as error:
        raise NotAnAgent(f"'{root}' cannot be looked into: {error.strerror}.") from error
    if not found:
        raise NotAnAgent(f"'{root}' is not an agent ({why}). Create one: fsagent init {root}")
