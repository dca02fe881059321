"""A directory that gets its name when it is whole: until then it is made in a hidden folder beside.

Where an empty directory of that name is there, as a volume may be, the folder is inside of it, and
what was made moves up in the end.

Whoever makes it holds a lock on a file in that folder, which says what the folder is. So what a
killed program has left is told from what is being made, and from anybody's own folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsagent.errors import AgentError
from fsagent.layout import read_plain
from fsagent.locks import alone

_MARK = "making"
"""The file that is locked; it gets this name when it is."""


@contextmanager
def unborn(root: Path, what: str, told: list[str]) -> Iterator[Path]:
    """A path that is not there yet, to make ``root`` at; what is there in the end becomes it.

    What earlier programs left of the same is removed first, and ``told``. ``what`` is what is made:
    a fork, a clone.

    Raises:
        AgentError: ``root`` is there already, or cannot be made.
    """
    home = root.resolve()
    told += [*_swept(home.parent, home), *_swept(home, home)]
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise AgentError(f"'{root}' is there already: choose another name for the {what}.")
    place = (home if home.is_dir() else home.parent) / f"{_stem(home)}{secrets.token_hex(6)}"
    try:
        place.mkdir(parents=True)
        mark = place / "mark"
        mark.write_bytes(_says(home))
        with alone(mark):
            mark.rename(place / _MARK)
            yield place / "whole"
            if place.parent != home:
                (place / "whole").rename(home)
            else:  # Git's own folder last: without it, this is no agent
                names = sorted(os.listdir(place / "whole"), key=lambda name: name == ".git")
                for name in names:
                    (place / "whole" / name).rename(home / name)
    except OSError as error:
        raise AgentError(f"'{root}' cannot be made: {error.strerror}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _swept(folder: Path, home: Path) -> Iterator[str]:
    """Remove what killed programs left in a folder that were to make ``home``; a sentence each."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        place = folder / name
        if not re.fullmatch(re.escape(_stem(home)) + "[0-9a-f]{12}", name) or place.is_symlink():
            continue
        try:
            if read_plain(place / _MARK, 4096) != _says(home):
                continue
            with alone(place / _MARK) as free:
                if free and place.stat().st_uid == os.geteuid():
                    shutil.rmtree(place)
                    yield f"Removed {place}, which an attempt that was cut short had left."
        except OSError:  # it is none of ours, or has just gone
            continue


def _stem(home: Path) -> str:
    """What the names of hidden folders begin with: not too long, however long ``home`` is."""
    return f".{home.name[:40]}-"


def _says(home: Path) -> bytes:
    text = "fsagent is making {} here. When nobody holds a lock on this file, it may be deleted.\n"
    return os.fsencode(text.format(home.name))
