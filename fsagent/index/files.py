"""What every index in files does alike: its lock, its emptying, and how docs are kept in it."""

from __future__ import annotations

import fcntl
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsagent.records import Doc


@contextmanager
def writing(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock of ``folder``; False where another process does and ``wait`` is off.

    It is a kernel lock, which frees itself when the process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)  # somebody may have deleted it
    with open(folder / "lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def empty(folder: Path) -> None:
    """Remove whatever is in ``folder`` but the lock."""
    for entry in folder.iterdir():
        if entry.name != "lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def packed(doc: Doc) -> bytes:
    """``doc`` as an index stores it."""
    return pickle.dumps(tuple(vars(doc).values()))


def unpacked(data: bytes) -> Doc:
    """The doc that ``packed`` made ``data`` of. Only for what lies in the user's own cache."""
    return Doc(*pickle.loads(data))  # noqa: S301 - see above
