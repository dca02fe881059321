"""The files of one commit in the work tree: laid ready beside, exchanged, put back when need be.

A file is never written over. The new one and the one that stands there change places, so that a
version which somebody saved in that very moment comes out, is looked at, and can go back. All that
is laid ready has the commit's name and lies below .git/fsagent/tmp: what is where can be told from
the names alone, also by a program that comes after a kill.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as kinds
from collections.abc import Callable, Iterator, Mapping

from fsagent.repo import disk
from fsagent.repo.puts import Put

_ASIDE = "overtaken"
"""The folder beside ``tmp`` for versions that go into the history only."""


class Laid:
    """The files that the commit ``ident`` writes.

    Args:
        root: The work tree.
        tmp: The folder for what is laid ready, on the same file system.
        ident: The commit's name.
        puts: What becomes of each path; only those that are to be written count here.
    """

    def __init__(self, root: str, tmp: str, ident: str, puts: Mapping[str, Put]) -> None:
        self.root = root
        self._aside = f"{os.path.dirname(tmp)}/{_ASIDE}/{ident}"
        self._spare = {path: f"{tmp}/{ident}.{number}" for number, path in enumerate(puts)}
        self._puts = {path: put for path, put in puts.items() if put.how == "write"}
        self._stats: dict[str, os.stat_result] = {}
        self._begun: list[str] = []

    def lay(self, read: Callable[[str], bytes], *, settle: bool) -> None:
        """Write each file's new bytes beside it; ``read`` those that the repository holds already.

        With ``settle`` they are on the disk with the journal's flush, so that a power cut leaves
        each file old or new: a file that is moved into place before its bytes are there would be
        empty then.
        """
        for path, put in self._puts.items():
            if put.blob:
                spare = self._spare[path]
                data = read(put.blob.oid) if put.data is None else put.data
                old = plain_file(f"{self.root}/{path}")
                mode = _permissions(old, put)
                self._stats[path] = disk.write(spare, [data], mode, settle=settle)
                if old and kinds.S_IMODE(self._stats[path].st_mode) != mode:
                    os.chmod(spare, mode)  # what the umask took away

    def put(self) -> None:
        """Let each new file and the one that stands in its place change places.

        What goes, goes first: where the last file of a folder stood, one may come in its place.

        Raises:
            OSError: a folder that is not empty stands where a file is to be.
        """
        for path, put in sorted(self._puts.items(), key=lambda one: one[1].blob is not None):
            target, spare = f"{self.root}/{path}", self._spare[path]
            self._begun.append(path)
            if put.blob is None:
                with contextlib.suppress(FileNotFoundError):
                    disk.rename(target, f"{spare}.was")
                continue
            if os.path.isdir(target) and not os.path.islink(target):
                _remove_empty(target)
            if os.path.lexists(target):
                exchange(spare, target)
            else:
                disk.mkdir(os.path.dirname(target))
                try:
                    disk.link(spare, target)
                except FileExistsError:  # somebody made it just now
                    exchange(spare, target)
                else:  # at once, since it changes the state of the file, which the index notes
                    disk.unlink(spare)

    def stat(self, path: str) -> os.stat_result | None:
        """The state of the file that was written; None if it has been saved again since."""
        now, laid = plain_file(f"{self.root}/{path}"), self._stats.get(path)
        if now and laid and (laid.st_mtime_ns, laid.st_size) != (now.st_mtime_ns, now.st_size):
            return None
        return now

    def late(self) -> tuple[str, ...]:
        """The paths whose file somebody saved in the moment of the commit.

        Where ours stands, theirs is the later version: it stands again, on top of the commit, and
        is adopted as any hand edit. Where a still later one stands by now, that stays, and the one
        before is laid aside: see ``overtaken``.
        """
        return tuple(path for path, put in self._puts.items() if self._give_way(path, put))

    def _give_way(self, path: str, put: Put) -> bool:
        late = False
        for place in self._out(path):
            if not os.path.lexists(place):
                continue
            data = _bytes(place)
            if data is None or not any(b.holds(data) for b in (put.was, put.blob) if b):
                late = True
                if self._ours(path):
                    place = self._put_back(path, place)
                    if not os.path.lexists(place) or _holds(put, _bytes(place)):
                        continue
                    place = self._put_back(path, place)  # saved again just now: that stays
                self._lay_aside(path, place)
        return late

    def _lay_aside(self, path: str, place: str) -> None:
        aside = f"{self._aside}/{path}"
        disk.mkdir(os.path.dirname(aside))
        disk.rename(place, aside)

    def back(self) -> None:
        """Put everything back as it was before ``put``, or as somebody has saved it since."""
        for path in reversed(self._begun):
            target = f"{self.root}/{path}"
            if self._give_way(path, self._puts[path]) or not self._ours(path):
                continue
            spare = next((place for place in self._out(path) if os.path.lexists(place)), None)
            if spare is None or same_file(spare, target):
                disk.unlink(target)  # it was new
            else:
                place = self._put_back(path, spare)
                if os.path.lexists(place) and not _holds(self._puts[path], _bytes(place)):
                    self._put_back(path, place)  # saved just now: that stays

    def _out(self, path: str) -> tuple[str, str]:
        """Where the file is that stood in the work tree before; see ``exchange``."""
        return f"{self._spare[path]}.was", self._spare[path]

    def _put_back(self, path: str, spare: str) -> str:
        """Put a file in its place again; the answer is where the one is that stood there now."""
        target = f"{self.root}/{path}"
        if os.path.lexists(target):
            return exchange(spare, target)
        disk.mkdir(os.path.dirname(target))
        disk.rename(spare, target)
        return spare

    def _ours(self, path: str) -> bool:
        """Whether our version stands in the work tree, and not one that was saved since."""
        target, put = f"{self.root}/{path}", self._puts[path]
        return _holds(put, _bytes(target)) if os.path.lexists(target) else put.blob is None


def as_read(root: str, puts: Mapping[str, Put]) -> bool:
    """Whether the files that a commit takes are still those that were read.

    Asked under Git's lock: a checkout, as in ``git stash``, holds that lock while it removes a file
    and writes it anew, and whoever reads it then finds none, or an empty one.
    """
    return all(
        _mark(plain_file(f"{root}/{path}")) == _mark(put.stat)
        for path, put in puts.items()
        if put.how == "take"
    )


def _mark(stat: os.stat_result | None) -> tuple[int, ...]:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else ()


def _permissions(old: os.stat_result | None, put: Put) -> int:
    """Those of the file that stands there, but for what the commit changes about running it."""
    runs = bool(put.blob and put.blob.mode & 0o111)
    if not old:
        return 0o777 if runs else 0o666
    mode = kinds.S_IMODE(old.st_mode)
    if not put.blob or not put.was or put.blob.mode == put.was.mode:
        return mode
    return mode | (mode & 0o444) >> 2 if runs else mode & ~0o111


def overtaken(private: str) -> Iterator[tuple[str, str]]:
    """Versions that somebody saved in the moment of a commit and then saved another one over.

    Each with its path and where it is now; oldest first. They are to be committed as that
    person's, and then removed with ``forget``.
    """
    top = f"{private}/{_ASIDE}"
    for where, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            place = f"{where}/{name}"
            yield os.path.relpath(place, top).partition("/")[2], place


def forget(private: str, place: str) -> None:
    """Remove what was laid aside, once it is in the history."""
    disk.unlink(place)
    with contextlib.suppress(OSError):  # there is more in the folder
        while (place := os.path.dirname(place)) != private:
            os.rmdir(place)


def _remove_empty(folder: str) -> None:
    """Remove a folder that holds no file, with the folders in it."""
    for where, _, _ in os.walk(folder, topdown=False):
        os.rmdir(where)


def _holds(put: Put, data: bytes | None) -> bool:
    return put.blob is not None and data is not None and put.blob.holds(data)


def exchange(spare: str, target: str) -> str:
    """Put ``spare`` in the place of ``target``; the answer is where the old file is now."""
    try:
        disk.swap(spare, target)
        return spare
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
    disk.link(target, f"{spare}.was")
    disk.rename(spare, target)
    return f"{spare}.was"


def read(path: str) -> tuple[bytes, os.stat_result]:
    """A plain file's bytes, and its state before they were read: if it changes now, that is seen.

    Raises:
        OSError: it cannot be read, or is another kind of file by now.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # see layout.read_plain
    with open(os.open(path, flags), "rb") as file:
        stat = os.fstat(file.fileno())
        if not kinds.S_ISREG(stat.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", path)
        return file.read(), stat


def _bytes(path: str) -> bytes | None:
    """A file's bytes; None where it is no plain file, or cannot be read."""
    try:
        return read(path)[0]
    except OSError:
        return None


def plain_file(path: str) -> os.stat_result | None:
    """The state of a plain file; None where there is none."""
    try:
        stat = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat if kinds.S_ISREG(stat.st_mode) else None


def same_file(one: str, other: str) -> bool:
    """Whether two names are of one file."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
