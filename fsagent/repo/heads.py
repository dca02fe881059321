"""HEAD and the branch it is on, as the plain files of a repository keep them.

Formats and locks: git-scm.com/docs/gitrepository-layout and refs/files-backend.c of Git, whose
order of locking (HEAD, then the branch) is kept, so that a person's git and this never both win.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from fsagent.layout import read_plain
from fsagent.repo import disk

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOVE = re.compile(rb"[0-9a-f]{40,64} ([0-9a-f]{40,64}) [^\t]*> (\d{1,12}) [+-]\d{4}(?:\t|$)")
"""A line of a reflog: from where, to where, who, when, and why."""
NOTHING = "0" * 40


class UnfitHeadError(Exception):
    """A HEAD that only Git itself can read: a reftable, a chain of symbolic refs, a link."""


@dataclass(frozen=True)
class Head:
    """Where HEAD points: the ref it names (None when detached), and the commit there, if any."""

    ref: str | None
    commit: str | None


class Heads:
    """HEAD of one work tree; ``common`` is the folder that holds the branches of all of them."""

    def __init__(self, git_dir: str, common: str) -> None:
        self.git_dir = git_dir
        self.common = common

    def read(self) -> Head:
        """HEAD now.

        Raises:
            UnfitHeadError: it takes Git to say.
        """
        try:
            text = _text(f"{self.git_dir}/HEAD")
        except (OSError, ValueError):
            raise UnfitHeadError from None
        if _OID.fullmatch(text):
            return Head(None, text)
        ref = text.removeprefix("ref: ").strip()
        if not text.startswith("ref: refs/") or ".." in ref or ref == "refs/heads/.invalid":
            raise UnfitHeadError
        try:
            commit = _text(f"{self.common}/{ref}")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return Head(ref, self._packed(ref))
        except (OSError, ValueError):
            raise UnfitHeadError from None
        if not _OID.fullmatch(commit):
            raise UnfitHeadError
        return Head(ref, commit)

    def names(self) -> str | None:
        """The ref that HEAD names, whatever stands there; None where it names none."""
        try:
            text = _text(f"{self.git_dir}/HEAD")
        except (OSError, ValueError):
            return None
        return text.removeprefix("ref: ").strip() if text.startswith("ref: refs/") else None

    def _packed(self, ref: str) -> str | None:
        """The branch as ``git pack-refs`` left it."""
        try:
            with open(f"{self.common}/packed-refs", encoding="utf-8", errors="replace") as file:
                for line in file:
                    oid, _, name = line.rstrip("\n").partition(" ")
                    if name == ref and _OID.fullmatch(oid):
                        return oid
        except FileNotFoundError:
            pass
        return None

    def place(self, ref: str | None) -> str:
        """The file that a move of HEAD changes: the branch's, or HEAD itself when detached."""
        return f"{self.common}/{ref}" if ref else f"{self.git_dir}/HEAD"

    def locks(self, ref: str | None) -> list[str]:
        """The lock files of a move, in the order in which they are taken."""
        locks = [f"{self.git_dir}/HEAD.lock"]
        return [*locks, f"{self.place(ref)}.lock"] if ref else locks

    def left(self, ref: str | None, commit: str) -> bool:
        """Whether the reflog says that the branch was moved away from ``commit``."""
        try:
            log = read_plain(f"{self.common}/logs/{ref}" if ref else f"{self.git_dir}/logs/HEAD")
        except OSError:
            return False
        return f"\n{commit} ".encode() in b"\n" + log

    def at(self, when: float) -> tuple[str | None, str | None]:
        """The commit that HEAD was at some moment (in seconds since 1970), as its reflog says, and
        None; or None, and the first commit that the reflog knows of, if any."""
        try:
            log = read_plain(f"{self.git_dir}/logs/HEAD")
        except OSError:
            return None, None
        commit = None
        for line in reversed(log.splitlines()):
            move = _MOVE.match(line)
            if move:
                commit = move[1].decode()
                if int(move[2]) <= when:
                    return commit, None
        return None, commit

    def note(self, ref: str | None, old: str | None, new: str, line: str) -> None:
        """Write the move into the reflogs, where the repository keeps any."""
        entry = f"{old or NOTHING} {new} {line}\n".encode(errors="replace")
        logs = [f"{self.git_dir}/logs/HEAD", *([f"{self.common}/logs/{ref}"] if ref else [])]
        wanted = old is None or os.path.exists(logs[0])
        for log in logs:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if wanted else 0)
            try:
                fd = os.open(log, flags, 0o666)
            except FileNotFoundError:
                if not wanted:
                    continue
                disk.mkdir(os.path.dirname(log))
                fd = os.open(log, flags, 0o666)
            try:
                disk.append(fd, entry)
            finally:
                os.close(fd)


def _text(path: str) -> str:
    return read_plain(path, 4096).decode("ascii").rstrip("\n")
