"""A disk that remembers in which order it was written, so that its power can be cut afterwards.

``Disk`` offers one file through FUSE, a loop device lies on it, and ext4 on that. Every write that
the block layer sends to the device arrives here as a request, and every flush of the device's cache
as another, each noted with its time. What lay on the platter at any moment is then the image as it
was at first plus all writes until that moment, less any of those that came after the last flush: a
drive may have kept them in its cache, in whatever order it liked. That is what a power cut leaves;
mounting it replays ext4's journal as after a real one.

Copying the backing file of a loop device while it is in use would not do: the copy takes time, so
that it can hold a later block and lack an earlier one, which no power cut leaves behind.

Run as a program this file is the FUSE server (the protocol is that of linux/fuse.h), a process of
its own, so that nothing waits for itself; when it ends the kernel ends the file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE = 64 << 20

_GETATTR, _OPEN, _READ, _WRITE, _STATFS, _INIT, _FSYNC = 3, 14, 15, 16, 17, 26, 20
_SILENT = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET: no answer is expected
_NOTHING = (18, 25, 38)  # RELEASE, FLUSH (of one descriptor, no cache), DESTROY
_DIRECT = 1
_ENOSYS = 38
_NEW_NAMESPACE = 0x20000  # CLONE_NEWNS, see unshare(2)
_PRIVATE_BELOW = 0x44000  # MS_REC | MS_PRIVATE, see mount(2)
_ENTRY = struct.Struct("<dqI")
_FLUSH = -1


def serve(place: str, image: str, log: str) -> None:
    """Offer the bytes of ``image`` as the file ``place``; note all writes and flushes in ``log``."""
    data = bytearray(Path(image).read_bytes())
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=100000,user_id=0,group_id=0"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the test, however that ends
    if libc.mount(b"disk", place.encode(), b"fuse", 6, options.encode()):
        raise OSError(ctypes.get_errno(), "no FUSE here")
    # Out of the test's namespace of mounts: a server that ended as the last one in it would have
    # to take away a file system whose device is itself.
    libc.unshare(_NEW_NAMESPACE)
    libc.mount(b"none", b"/", None, _PRIVATE_BELOW, None)
    print("mounted", flush=True)
    while True:
        try:
            request = os.read(fuse, 1 << 21)
        except OSError:  # ENODEV: it was unmounted
            return
        _, code, unique = struct.unpack_from("<IIQ", request)
        body, error, answer = request[40:], 0, b""
        if code in _SILENT:
            continue
        if code == _INIT:
            answer = struct.pack("<IIIIHHIIHH28x", 7, 31, 1 << 17, 1 << 5, 16, 12, 1 << 17, 1, 0, 0)
        elif code == _GETATTR:
            times = (0, 0, 0, 0, 0, 0)
            numbers = (1, len(data), len(data) // 512, *times, 0o100600, 1, 0, 0, 0, 4096, 0)
            answer = struct.pack("<QII" + "QQQQQQIIIIIIIIII", 3600, 0, 0, *numbers)
        elif code == _OPEN:
            answer = struct.pack("<QII", 1, _DIRECT, 0)
        elif code == _READ:
            _, start, size = struct.unpack_from("<QQI", body)
            answer = bytes(data[start : start + size])
        elif code == _WRITE:
            _, start, size = struct.unpack_from("<QQI", body)
            written = body[40 : 40 + size]
            data[start : start + size] = written
            os.write(notes, _ENTRY.pack(time.monotonic(), start, size) + written)
            answer = struct.pack("<II", size, 0)
        elif code == _FSYNC:
            os.write(notes, _ENTRY.pack(time.monotonic(), _FLUSH, 0))
        elif code not in _NOTHING:
            error = -_ENOSYS
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


@dataclass
class Written:
    """One request of the block layer: bytes at a place, or with ``start`` None a flush."""

    at: float
    start: int | None
    data: bytes


class Disk:
    """An ext4 file system at ``place`` whose device is recorded."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.place = folder / "mounted"
        self.place.mkdir()
        self._base, self._log, self._file = folder / "base.img", folder / "log", folder / "disk"
        self._cut = folder / "cut.img"

    @contextlib.contextmanager
    def recorded(self) -> Iterator[Path]:
        """The file system, freshly made; skips where this machine does not allow it."""
        with self._base.open("wb") as image:
            image.truncate(SIZE)
        self._file.touch()
        private_mounts()
        options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
        command(["mkfs.ext4", "-q", "-F", "-E", options, str(self._base)])
        server = subprocess.Popen(
            [sys.executable, __file__, str(self._file), str(self._base), str(self._log)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(server.communicate)
            stack.callback(server.kill)
            assert server.stdout
            if server.stdout.readline() != "mounted\n":
                pytest.skip("FUSE is not permitted here")
            stack.callback(unmount, self._file)
            command(["mount", "-t", "ext4", "-o", "loop", str(self._file), str(self.place)])
            stack.callback(unmount, self.place)
            yield self.place

    def events(self) -> list[Written]:
        """All that was written, in order."""
        data = self._log.read_bytes()
        found, at = [], 0
        while at + _ENTRY.size <= len(data):
            when, start, size = _ENTRY.unpack_from(data, at)
            at += _ENTRY.size
            found.append(Written(when, None if start == _FLUSH else start, data[at : at + size]))
            at += size
        return found

    @contextlib.contextmanager
    def after_cut(
        self, events: list[Written], moment: float, dice: random.Random, kept: float
    ) -> Iterator[Path]:
        """The file system after the power went at ``moment``, mounted where it was.

        Of the writes since the last flush each 4 KiB are ``kept`` with that probability.
        """
        image = bytearray(self._base.read_bytes())
        end = bisect_right([event.at for event in events], moment)
        flushes = [n for n, event in enumerate(events[:end]) if event.start is None]
        safe = flushes[-1] if flushes else 0
        for number, event in enumerate(events[:end]):
            if event.start is None:
                continue
            for at in range(0, len(event.data), 4096):
                part = event.data[at : at + 4096]
                if number < safe or dice.random() < kept:
                    image[event.start + at : event.start + at + len(part)] = part
        self._cut.write_bytes(image)
        command(["mount", "-t", "ext4", "-o", "loop", str(self._cut), str(self.place)])
        try:
            yield self.place
        finally:
            unmount(self.place)


def private_mounts() -> None:
    """Let only this process and its children see what is mounted from here on (Linux).

    The kernel takes it all away when they have ended, however they ended. Skips where that is not
    allowed.
    """
    try:
        refused = ctypes.CDLL(None, use_errno=True).unshare(_NEW_NAMESPACE)
    except AttributeError:
        refused = True
    if refused:
        pytest.skip("mounting is not permitted here")
    command(["mount", "--make-rslave", "/"])


def command(words: list[str]) -> str:
    """Run a command of the system; skips where it is missing or not allowed."""
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"{words[0]} is not installed")
    if done.returncode:
        pytest.skip(f"{words[0]}: {done.stderr.strip()}")
    return done.stdout


def unmount(place: Path) -> None:
    """Take a file system away, as soon as nobody is in it any more."""
    for _ in range(50):
        if not subprocess.run(["umount", str(place)], capture_output=True).returncode:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", str(place)], check=True)
    raise AssertionError(f"something held a file in {place}")


if __name__ == "__main__":
    serve(*sys.argv[1:])
