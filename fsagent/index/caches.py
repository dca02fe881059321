"""Whose the indexes in the user's cache directory are, and which of them nobody needs any more."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from fsagent.config import parse_config
from fsagent.errors import ConfigError
from fsagent.index.entries import RECIPE

OWNER = "agent"
"""The file that says whose index it is, and by its time when that was last opened."""

IDLE = 14 * 86400.0
"""Seconds for which an index waits for its agent: a disk that is not there today may come back."""

_KEY = re.compile(r"[0-9a-f]{32}")
_MADE_BY = re.compile(r"(?:whoosh|tantivy)-(\d+)")


def folder_of(cache: Path, root: Path, ident: str) -> Path:
    """Where the index of an agent lies: a copy elsewhere, or another agent in its place, has an
    index of its own."""
    key = sha256(f"{root.resolve()}\n{ident}".encode("utf-8", "surrogateescape")).hexdigest()
    return cache / "index" / key[:32]


def claim(folder: Path, root: Path) -> None:
    """Say in ``folder`` whose it is; where the cache cannot be written, nobody needs to know."""
    path = os.fsencode(root.resolve())
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        owner = folder / OWNER
        if owner.is_file() and owner.read_bytes() == path:
            os.utime(owner)
        else:
            owner.write_bytes(path)


def unneeded(cache: Path) -> Iterator[Path]:
    """Indexes whose agent is gone, and those that an older version made its own way."""
    for folder in sorted((cache / "index").glob("*")):
        if folder.is_symlink() or not folder.is_dir() or not _KEY.fullmatch(folder.name):
            continue
        if _vanished(cache, folder):
            yield folder
            continue
        for part in sorted(folder.iterdir()):
            made = _MADE_BY.fullmatch(part.name)
            # A newer version may be installed beside this one: what it made is its own.
            if made and int(made[1]) < int(RECIPE) and not part.is_symlink():
                yield part


def sweep(cache: Path) -> tuple[int, int]:
    """Remove what is not needed: how many indexes, and how many bytes they had on the disk."""
    count = size = 0
    for folder in list(unneeded(cache)):
        for where, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    size += os.lstat(os.path.join(where, name)).st_blocks * 512
        shutil.rmtree(folder, ignore_errors=True)
        count += 1
    return count, size


def forget(cache: Path, root: Path, ident: str) -> int:
    """Remove every index that may hold a doc of the agent in ``root``; how many there were.

    Those of agents that are gone, too: it may be this one before it was moved.
    """
    count = 0
    for folder in sorted((cache / "index").glob("*")):
        if folder.is_symlink() or not folder.is_dir() or not _KEY.fullmatch(folder.name):
            continue
        try:
            owner = Path(os.fsdecode((folder / OWNER).read_bytes()))
        except OSError:
            owner = root
        if folder == folder_of(cache, root, ident) or owner == root or not owner.exists():
            shutil.rmtree(folder, ignore_errors=True)
            count += 1
    return count


def _vanished(cache: Path, folder: Path) -> bool:
    """Whether no agent is left that would open the index, and none has for two weeks."""
    owner = folder / OWNER
    try:
        used = (owner if owner.exists() else folder).stat().st_mtime
        if time.time() - used < IDLE:
            return False
        root = Path(os.fsdecode(owner.read_bytes()))
        config = parse_config((root / "agent.yaml").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ConfigError):  # it is there, at least
        return False
    return folder_of(cache, root, config.id) != folder
