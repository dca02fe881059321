"""What a commit does to the disk: one function a kind of step.

Everything that the write door changes goes through here, so that a test can stop the program, or
fail the call, at each single step. Paths are strings. What the operating system cannot do in one
step is done in two, and said.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

    Buffer = bytes | bytearray | memoryview

_AT_FDCWD = -100 if sys.platform == "linux" else -2
_SWAP = 2
"""RENAME_EXCHANGE of renameat2(2) on Linux, RENAME_SWAP of renameatx_np(2) on macOS."""

LARGE = 1 << 18
"""Bytes from which on a new object is flushed by itself and not carried by the journal."""

_START_WRITING = 2
"""SYNC_FILE_RANGE_WRITE: hand the pages to the disk and do not wait, see sync_file_range(2)."""


def write(
    path: str, parts: Sequence[Buffer], mode: int = 0o600, *, settle: bool = False
) -> os.stat_result:
    """Write a file that is not there yet. With ``settle`` the next ``flush`` covers its bytes too.

    Without it, a power cut can leave an empty file under a name that is already safe on the disk:
    the name is in the file system's journal and the bytes are not.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _all(fd, parts)
        if settle:
            _settle(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)


def fill(path: str, parts: Sequence[Buffer], *, settle: bool = False) -> os.stat_result:
    """Give an existing empty file its bytes; the answer is its state then.

    With ``settle`` they are on their way to the disk, which makes it unlikely that a power cut
    leaves the file empty, at next to no cost.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _all(fd, parts)
        if settle:
            _start_writing(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)


def append(fd: int, data: bytes) -> None:
    """Add bytes at the end of a file that is open with O_APPEND."""
    _all(fd, [data])


def truncate(fd: int, size: int) -> None:
    """Cut a file to ``size`` bytes."""
    os.ftruncate(fd, size)


def flush(fd: int) -> None:
    """Wait until the file is on the disk; a power cut then leaves it there."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves the bytes in the drive's cache
    else:
        os.fdatasync(fd)


def flush_all(path: str) -> None:
    """Wait until everything in the file system of ``path`` is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = _libc()
        if not libc or not hasattr(libc, "syncfs") or libc.syncfs(fd):
            os.sync()
    finally:
        os.close(fd)


def link(source: str, target: str) -> None:
    """Give a file a second name; FileExistsError when that name is taken."""
    os.link(source, target)


def rename(source: str, target: str) -> None:
    """Move a file over another one, in one step."""
    os.rename(source, target)


def swap(one: str, other: str) -> None:
    """Exchange two files, in one step.

    Replacing a file by ``rename`` makes ext4 write the new bytes out at once (its auto_da_alloc),
    8 to 10 ms for a large index, and forgets a version that somebody saved in the same moment. An
    exchange does neither.

    Raises:
        OSError: with errno ENOTSUP where there is no such call.
    """
    if not _swap(os.fsencode(one), os.fsencode(other)):
        raise OSError(errno.ENOTSUP, "files cannot be exchanged here")


def unlink(path: str) -> None:
    """Remove a name, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def mkdir(path: str) -> None:
    """Make a folder and those above it, where they are missing."""
    os.makedirs(path, exist_ok=True)


def _all(fd: int, parts: Sequence[Buffer]) -> None:
    size = sum(len(part) for part in parts)
    done = os.writev(fd, parts) if size else 0
    if done < size:  # the disk is nearly full, or it is more than one call takes (2 GiB on Linux)
        rest = memoryview(b"".join(parts))[done:]
        while rest:
            rest = rest[os.write(fd, rest) :]


def _settle(fd: int) -> None:
    """Have the bytes on the disk no later than the name, once the file system journals that."""
    if os.fstat(fd).st_size > LARGE or not _start_writing(fd):
        os.fsync(fd)


def _start_writing(fd: int) -> bool:
    libc = _libc()
    if not libc or not hasattr(libc, "sync_file_range"):
        return False
    import ctypes

    nothing = ctypes.c_longlong(0)
    return not libc.sync_file_range(fd, nothing, nothing, _START_WRITING)


def _swap(one: bytes, other: bytes) -> bool:
    libc = _libc()
    call = getattr(libc, "renameat2" if sys.platform == "linux" else "renameatx_np", None)
    if call is None:
        return False
    import ctypes

    if not call(_AT_FDCWD, one, _AT_FDCWD, other, _SWAP):
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(other))


@cache
def _libc() -> ctypes.CDLL | None:
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return None
