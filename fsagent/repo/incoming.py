"""Objects that come from elsewhere, kept apart until it is known that they may stay.

Git knows the same as a quarantine (git-receive-pack(1), "Quarantine Environment"): a folder of
objects of its own, which borrows from the repository's, so that what is refused was never there. A
sync that was killed leaves a folder that git itself clears away (git-prune(1)).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsagent.repo import disk

_ENDS = (".pack", ".rev", ".bitmap", ".idx")
"""The files of a pack in the order in which they come: by its index Git finds it."""


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
    folder = Path(tempfile.mkdtemp(prefix="tmp_objdir-fsagent-", dir=objects))
    try:
        yield Incoming(folder, objects)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def quoted(objects: Path) -> str:
    """A folder of objects as GIT_ALTERNATE_OBJECT_DIRECTORIES takes it, whatever its name."""
    name = str(objects).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{name}"'
