"""The lock of whoever writes to an index in files."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
