"""Objects that come from elsewhere, kept apart until it is known that they may stay.

Git knows the same as a quarantine (git-receive-pack(1), "Quarantine Environment"): a folder of
objects of its own, which borrows from the repository's, so that what is refused was never there. A
sync that was killed leaves a folder that the next one clears away, as git does too (git-prune(1)).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsagent.repo import disk
from fsagent.repo.place import Place

_ENDS = (".pack", ".rev", ".bitmap", ".idx")
"""The files of a pack in the order in which they come: by its index Git finds it."""

_APART, _VISIT = "tmp_objdir-fsagent-", "git-"
"""How the folders begin in which objects come, and those in which git works meanwhile."""


class Incoming:
    """A folder for objects that came: ``env`` lets git write there, ``keep`` takes them over."""

    def __init__(self, folder: Path, objects: Path) -> None:
        self._folder, self._objects = folder, objects
        self.env = {
            "GIT_OBJECT_DIRECTORY": str(folder),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(objects),
        }

    def keep(self) -> None:
        """Let the repository have them. A kill leaves some of them, which nothing names yet."""
        for folder in sorted(self._folder.iterdir()):
            if folder.name == "pack" or len(folder.name) == 2:
                names = [one.name for one in folder.iterdir() if one.suffix in ("", *_ENDS)]
                for name in sorted(names, key=_rank):
                    place = self._objects / folder.name / name
                    if not place.exists():
                        disk.mkdir(str(place.parent))
                        disk.rename(str(folder / name), str(place))


def _rank(name: str) -> int:
    end = os.path.splitext(name)[1]
    return _ENDS.index(end) if end in _ENDS else 0


@contextmanager
def apart(objects: Path) -> Iterator[Incoming]:
    """A folder of objects that borrows from ``objects``; it is gone at the end."""
    with _own(objects, _APART) as folder:
        yield Incoming(folder, objects)


@contextmanager
def visit(git_dir: Path) -> Iterator[Path]:
    """An empty folder for git to work in while it is elsewhere; it is gone at the end."""
    place = _visits(git_dir)
    disk.mkdir(str(place))
    with _own(place, _VISIT) as folder:
        yield folder


def cleared(place: Place) -> int:
    """Remove what syncs that were killed have left in a repository; how many folders."""
    return _swept(place.common / "objects", _APART) + _swept(_visits(place.git_dir), _VISIT)


def _visits(git_dir: Path) -> Path:
    return git_dir / "fsagent/visits"


@contextmanager
def _own(place: Path, prefix: str) -> Iterator[Path]:
    """A folder in ``place`` for this process alone, which is gone at the end.

    A lock on it says that it is in use, and ends with the process however that ends. So what killed
    ones have left of the same goes now.
    """
    _swept(place, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # it was taken for one that is left
            continue
        try:
            with suppress(OSError):  # no locks on such a disk: then nothing is swept either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                continue
            yield folder
            return
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)


def _swept(place: Path, prefix: str) -> int:
    """Remove the folders that killed processes have left in ``place``; how many."""
    count = 0
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError), _opened(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            count += not folder.exists()
    return count


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield lock
    finally:
        os.close(lock)


def quoted(objects: Path) -> str:
    """A folder of objects as GIT_ALTERNATE_OBJECT_DIRECTORIES takes it, whatever its name."""
    name = str(objects).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{name}"'
