"""What the kernel tells of the agent's folders: whether anything was touched since the last look.

Git's own look asks for the state of each file, at each turn. Where inotify serves (Linux, a file
system of this machine), a process that lives on asks once, and is then told of everything that
somebody opens for writing, makes, renames or removes. Being told too much is never wrong: it only
costs a look. So whatever is unclear, an overflow, a new folder, a file that Git's own rules stand
in, means that Git is to look.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterable
from functools import cache

MOUNTS = "/proc/self/mountinfo"

_LOCAL = frozenset("ext2 ext3 ext4 xfs btrfs f2fs zfs bcachefs tmpfs overlay".split())
"""File systems on which nobody writes but through this kernel."""

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED, _CREATE, _DELETE, _SELF = 2, 4, 8, 0xC0, 0x100, 0x200, 0xC00
_MASK = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _SELF
_ONLY_FOLDERS = 0x01000000 | 0x02000000  # and no symbolic links
_FOLDER, _UNCLEAR = 0x40000000, 0x2000 | 0x4000 | 0x8000 | _SELF
_HEAD = struct.Struct("iIII")
_ROOM = 1 << 16


class Notices:
    """Notices of the folders ``tops`` below ``root``, and of what lies right in it."""

    def __init__(self, root: str, tops: Iterable[str]) -> None:
        self._root = root
        self._tops = tuple(tops)
        self._fd = -1
        self._pid = 0
        self._folders: dict[int, str] = {}
        self._touched: set[str] = set()
        self._unclear = True

    def begin(self) -> bool:
        """Be told from now on; False where that cannot be had."""
        self.close()
        libc = _libc()
        if libc is None or not _is_local(self._root):
            return False
        self._pid, self._fd = os.getpid(), libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            return False
        self._unclear = False
        self._watch(libc, "")
        for top in self._tops:
            if not os.path.islink(f"{self._root}/{top}"):
                for where, folders, _ in os.walk(f"{self._root}/{top}"):
                    folders[:] = [name for name in folders if not name.startswith(".")]
                    self._watch(libc, os.path.relpath(where, self._root))
        if self._unclear:
            self.close()
        return not self._unclear

    def _watch(self, libc: ctypes.CDLL, folder: str) -> None:
        path = os.fsencode(f"{self._root}/{folder}")
        number = libc.inotify_add_watch(self._fd, path, _MASK | _ONLY_FOLDERS)
        if number < 0:  # there are too many, or it has just gone
            self._unclear = True
        else:
            self._folders[number] = folder

    def touched(self) -> set[str] | None:
        """The paths that may have changed; None: any may have.

        The same paths are told again until they are forgotten.
        """
        if self._fd < 0 or self._unclear or self._pid != os.getpid():
            return None
        try:
            while data := os.read(self._fd, _ROOM):
                self._hear(data)
        except BlockingIOError:
            pass
        except OSError:
            self._unclear = True
        return None if self._unclear else set(self._touched)

    def _hear(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            folder = self._folders.get(number)
            if not folder and mask & _FOLDER and name not in self._tops and not mask & _UNCLEAR:
                continue  # another folder beside the agent's own: .git for one
            if mask & (_UNCLEAR | _FOLDER) or folder is None or name.startswith("."):
                self._unclear = True
            else:
                self._touched.add(f"{folder}/{name}" if folder else name)

    def forget(self, paths: Iterable[str]) -> None:
        """These were looked at."""
        self._touched.difference_update(paths)

    def close(self) -> None:
        """Be told no more."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._folders.clear()
        self._touched.clear()
        self._unclear = True


@cache
def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return libc if hasattr(libc, "inotify_init1") else None
    except OSError:
        return None


def _is_local(root: str) -> bool:
    """Whether all below ``root`` lies on one file system of this machine."""
    try:
        with open(MOUNTS, "rb") as file:
            lines = file.read().decode(errors="surrogateescape").splitlines()
    except OSError:
        return False
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields.split(" ")[4])
        if place.startswith(f"{root}/"):
            return False
        above = root == place or root.startswith(f"{place.rstrip('/')}/")
        if above and len(place) >= len(best):  # of two, one over the other, the later counts
            best, kind = place, rest.split(" ")[0]
    return kind in _LOCAL
