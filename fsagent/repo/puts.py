"""What a commit is told: what becomes of each path, and how each path stands before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fsagent.repo.objects import Object, blob_id, encode

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from datetime import datetime

    from fsagent.records import Person


@dataclass(frozen=True)
class Blob:
    """A file as Git holds it: object id and mode (0o100644 or 0o100755)."""

    oid: str
    mode: int = 0o100644

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file, and neither a link nor a repository of its own."""
        return self.mode & 0o170000 == 0o100000

    def holds(self, data: bytes) -> bool:
        """Whether these are its bytes."""
        return blob_id(data, "sha1" if len(self.oid) == 40 else "sha256") == self.oid


@dataclass(frozen=True)
class Put:
    """What a commit does to one path; without ``blob`` the path goes.

    ``how``: "write" puts the blob into the work tree, where ``was`` stands now (``data`` are its
    bytes; without them it is in the repository already); "take" commits what stands there (``stat``
    is the file's state when it was read, ``was`` what was staged); "staged" leaves both the work
    tree and the index alone, and stands in a commit only with its like. ``made`` is the blob,
    where it may be new to the repository.
    """

    how: Literal["write", "take", "staged"]
    blob: Blob | None
    made: Object | None = None
    data: bytes | None = None
    was: Blob | None = None
    stat: os.stat_result | None = None

    @classmethod
    def write(cls, data: bytes | None, was: Blob | None, mode: int = 0o100644) -> Put:
        """Put ``data`` (None: no file) in the place of ``was``, whose mode stays.

        Where there was no file, ``mode`` is that of the new one.
        """
        if data is None:
            return cls("write", None, was=was)
        made = encode(b"blob", data)
        return cls("write", Blob(made.oid.hex(), was.mode if was else mode), made, data, was)

    @classmethod
    def known(cls, blob: Blob | None, was: Blob | None) -> Put:
        """Put what the repository holds already (None: no file) in the place of ``was``."""
        return cls("write", blob, was=was)

    @classmethod
    def aside(cls, data: bytes, mode: int) -> Put:
        """A version for the history only: neither the work tree nor the index takes part."""
        made = encode(b"blob", data)
        return cls("staged", Blob(made.oid.hex(), mode), made, data)


@dataclass(frozen=True)
class State:
    """A path in HEAD, in the index and in the work tree; None where it is not.

    ``data`` are the file's bytes, where they had to be read.
    """

    head: Blob | None
    staged: Blob | None
    work: Blob | None
    data: bytes | None = None
    stat: os.stat_result | None = None

    def holds(self, data: bytes | None) -> bool:
        """Whether the file in the work tree has these bytes (None: there is no file)."""
        if data is None or self.work is None:
            return data is None and self.work is None
        if self.data is not None:
            return self.data == data
        return self.work.holds(data)

    def put(self) -> Put:
        """A commit of what stands in the work tree."""
        made = encode(b"blob", self.data) if self.data is not None else None
        return Put("take", self.work, made, None, self.staged, self.stat)


@dataclass(frozen=True)
class Join:
    """Another history that a commit takes in: ``commit`` is its newest, the second parent.

    Where HEAD is at ``over``, which is in that history itself, and nothing differs from it, no
    commit is made: the branch moves on to that one.
    """

    commit: str
    over: str | None = None


@dataclass(frozen=True)
class Draft:
    """A commit that is to be made.

    Args:
        id: A name that no other commit under way has.
        puts: What becomes of each path; nothing else changes.
        message: The whole commit message.
        author: Who wrote this; the committer is always fsagent.
        when: The time of it.
        join: Another history that it takes in.
    """

    id: str
    puts: Mapping[str, Put]
    message: str
    author: Person
    when: datetime
    join: Join | None = None


@dataclass(frozen=True)
class Made:
    """A commit that was made; ``late`` are the paths whose file somebody saved in that moment."""

    commit: str
    late: tuple[str, ...] = ()


class MovedError(Exception):
    """Somebody committed or saved one of the paths in this moment: look at them again."""


class ConflictError(Exception):
    """A merge left a conflict for this path."""
