"""Kernel locks: held by one thread of one process, and free as soon as that ends, however it ends.

``turn`` is held for a turn, ``write`` for one change and never across a model call. The files they
lie on hold nothing; that one exists says nothing.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsagent.errors import AgentBusy, StoreError


def held(lock: Path) -> bool:
    """Whether anybody holds the lock on this file; looked at for an instant, without a trace."""
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold the lock on a file that is there; False where somebody else does."""
    with open(lock, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def tries(patience: float) -> Iterator[bool]:
    """Try, and again after pauses of 1 to 50 ms, for ``patience`` seconds; True for the last time.

    For what another process holds for a moment and tells nobody when it lets go.
    """
    wait, end = 0.001, time.monotonic() + patience
    while time.monotonic() < end:
        yield False
        time.sleep(wait)
        wait = min(wait * 2, 0.05)
    yield True


_own = threading.local()


def inherited() -> tuple[int, ...]:
    """Descriptors of the locks for writing that this thread holds, for children that write.

    A git that outlives this process, because that was killed, keeps the lock until it has ended
    too: nobody recovers while it is still writing.
    """
    return tuple(getattr(_own, "fds", ()))


class Locks:
    """The locks in ``folder``. A thread that holds ``write`` may take it again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._holders: dict[str, tuple[int, int]] = {}

    def mine(self, name: str) -> bool:
        """Whether this thread of this process holds the lock."""
        return self._holders.get(name) == (os.getpid(), threading.get_ident())

    @contextmanager
    def hold(self, name: str, patience: float, busy: str) -> Iterator[None]:
        """Hold a lock, waiting up to ``patience`` seconds for it.

        Raises:
            AgentBusy: saying ``busy``, when somebody else has held it all the time.
            StoreError: the folder cannot be written.
        """
        if self.mine(name):
            if name != "write":
                raise AgentBusy(busy)
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / f"{name}.lock", "ab")  # noqa: SIM115 - closed below
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}.") from error
        with file:
            for last in tries(patience):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if last:
                        raise AgentBusy(busy) from None
            self._holders[name] = os.getpid(), threading.get_ident()
            before = inherited()
            if name == "write":
                _own.fds = (*before, file.fileno())
            try:
                yield
            finally:
                del self._holders[name]
                _own.fds = before
                fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open
