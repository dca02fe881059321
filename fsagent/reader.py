"""The agent's directory, read: its configuration, blocks, notes and recall.

Everything here is derived from files at the moment it is asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Hashable, Iterator
from functools import lru_cache
from pathlib import Path

from fsagent.clock import Clock
from fsagent.config import AgentConfig, parse_config
from fsagent.errors import StoreError
from fsagent.formats import (
    Page,
    is_limit,
    may_hold,
    parse_block,
    parse_note,
    parse_page,
    parse_record,
)
from fsagent.layout import FILE_MAX, is_agents, is_gits, read_plain
from fsagent.order import Span, Stretch, span, stretches
from fsagent.records import CORE_LIMIT, Block, Note, Record
from fsagent.repo import Repo, Snapshot

_SHORT = 4096
"""Bytes of a line of recall that is worth keeping in memory as it was read: each turn reads what is
in view again."""


def _parsed(line: bytes) -> Record:
    return parse_record(line.decode())


_record = lru_cache(maxsize=1024)(_parsed)


class Reader:
    """One agent's files, to be read. What is odd in them is named in ``warnings``.

    Raises:
        ConfigError: by what needs agent.yaml, when it cannot be read.
    """

    def __init__(self, root: Path, clock: Clock, repo: Repo) -> None:
        self.root = root
        self._top = str(root)
        self.clock = clock
        self.repo = repo
        self.warnings: list[str] = []
        self._config: tuple[bytes, AgentConfig | None] = (b"", None)
        self._without: dict[tuple[str, str | None], Hashable] = {}
        """The state in which a segment held no record of a thread."""
        self.spans: dict[str, tuple[Hashable, Span]] = {}
        """From when to when a segment goes, in a state of it."""

    @property
    def config(self) -> AgentConfig:
        """agent.yaml as it stands now."""
        data = self.read("agent.yaml")
        seen, config = self._config
        if seen != data or config is None:
            config = parse_config(data)
            self._config = data, config
        return config

    @property
    def rev(self) -> str | None:
        """The commit that these files stand on; None before the first one."""
        return self.repo.head()

    def system(self) -> str:
        """The standing instructions: system.md, or "" where there is none."""
        return self._page("system.md").value if self.has("system.md") else ""

    def blocks(self) -> dict[str, Block]:
        """Core memory, by label: persona first, then human, then the others by name."""
        found = [self.block_of(path, self._page(path)) for path in self.paths("core")]
        first = {"persona": 0, "human": 1}
        found.sort(key=lambda block: (first.get(block.label, 2), block.label))
        return {block.label: block for block in found}

    def block_of(self, path: str, page: Page) -> Block:
        """The block that a page of core/ holds; an odd limit is named and the usual one used."""
        if "limit" in page.meta and not is_limit(page.meta["limit"]):
            self.warn(f"{path}: limit must be a whole number above 0; {CORE_LIMIT:,} is used.")
        return parse_block(path, page)

    def notes(self) -> Iterator[Note]:
        """Every note, oldest path first."""
        for path in self.paths("archival"):
            yield parse_note(path, self._page(path))

    def segments(self) -> list[str]:
        """The files of recall, oldest first."""
        return list(self.paths("recall"))

    def records(self, path: str, data: bytes | None = None) -> list[Record]:
        """The records of one segment, in order. Lines that hold none are skipped and named.

        ``data`` is what the segment holds, or held, where that is known.
        """
        found = []
        first, bad = "", 0
        data = self.read(path) if data is None else data
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                try:
                    found.append(_record(line) if len(line) <= _SHORT else _parsed(line))
                except ValueError as error:
                    bad += 1
                    first = first or f"{path}, line {number}: {why(error)}"
        if bad:
            more = f", and {bad - 1:,} more of that file" if bad > 1 else ""
            self.warn(f"{first}; the line is skipped{more}.")
        return found

    def newest(self, thread: str | None = None) -> Iterator[Record]:
        """Every record, newest first; only those of one thread if it is given."""
        for _, records in self.stretches(thread):
            yield from reversed(records)

    def stretches(self, thread: str | None = None) -> Iterator[Stretch]:
        """Recall by stretches, newest first; only the records of one thread if it is given.

        Segments are read as they are wanted, and one that held nothing of the thread is read again
        only when it has changed.
        """
        paths = self.paths("recall", backwards=True)
        return stretches(paths, self._span, lambda path: self._records_in(path, thread))

    def _span(self, path: str) -> Span:
        """When the first record of a segment was written, and when the last."""
        state = self.state(path)
        known, found = self.spans.get(path, (None, ("", "")))
        if state is None or state != known:
            found = span(self.read(path))
            self.spans[path] = state, found
        return found

    def _records_in(self, path: str, thread: str | None) -> list[Record]:
        state = self.state(path)
        if state is not None and self._without.get((path, thread)) == state:
            return []
        data = self.read(path)
        found = []
        if thread is None or may_hold(data, thread):
            records = self.records(path, data)
            found = [one for one in records if thread in (None, one.thread)]
        if not found and state is not None:
            self._without[path, thread] = state
        return found

    def changed_since(self, commit: str) -> dict[str, str | None] | None:
        """The segments that are other ones than at ``commit``, and which blobs they were then.

        None where there is no such commit.
        """
        rev = self.rev
        if rev is None or not self.repo.has(commit):
            return None
        return Snapshot(self.repo, rev).differing(Snapshot(self.repo, commit), "recall")

    def threads(self) -> dict[str, tuple[int, str]]:
        """How many records each thread has and when its newest was made; that one's thread first.

        All of recall is read for it.
        """
        found: dict[str, tuple[int, str]] = {}
        for path in self.segments():
            for record in self.records(path):
                count, last = found.get(record.thread, (0, ""))
                found[record.thread] = count + 1, max(last, record.ts)
        return dict(sorted(found.items(), key=lambda item: item[1][1], reverse=True))

    def state(self, path: str) -> Hashable | None:
        """What differs once a file was written to; None where that cannot be told."""
        try:
            about = os.lstat(f"{self._top}/{path}")
        except OSError:
            return None
        return about.st_mtime_ns, about.st_size, about.st_ino

    def has(self, path: str) -> bool:
        """Whether there is something of that name."""
        return os.path.lexists(f"{self._top}/{path}")

    def paths(self, folder: str, *, backwards: bool = False) -> Iterator[str]:
        """The agent's own files below ``folder``, sorted; links and odd files are only named.

        Folders are looked into as their files are wanted: backwards, the newest come first.
        """
        left = [folder]
        while left:
            path = left.pop()
            place = f"{self._top}/{path}"
            if os.path.isdir(place) and not os.path.islink(place):
                with contextlib.suppress(OSError), os.scandir(place) as entries:
                    # Named as Git sorts them, so that the order is that of the whole paths.
                    names = [f"{e.name}/" if e.is_dir() else e.name for e in entries]
                    inside = sorted(names, reverse=not backwards)
                    left += (f"{path}/{name}".rstrip("/") for name in inside)
            elif path != folder and is_agents(path) and self._is_sound(path):
                yield path

    def _is_sound(self, path: str) -> bool:
        """Whether a file can be read; if not, that is named."""
        try:
            about = os.lstat(f"{self._top}/{path}")
        except OSError:  # gone meanwhile
            return False
        if not stat.S_ISREG(about.st_mode):
            self.warn(f"{path} is not a plain file and is not read.")
        elif about.st_size > FILE_MAX:
            self.warn(f"{path} has {about.st_size:,} bytes, too many to be read: split it.")
        elif is_gits(path):
            self.warn(f"{path} has a name that Git refuses and is not read: rename it.")
        elif not is_utf8(path):
            self.warn(f"{path!a} has a name that is not UTF-8 and is not read: rename it.")
        else:
            return True
        return False

    def count(self, folder: str) -> int:
        """How many of the agent's own files there are below ``folder``."""
        return sum(1 for _ in self.paths(folder))

    def warn(self, text: str) -> None:
        """Note something that a person should know; said once in a Store's life."""
        if text not in self.warnings:
            self.warnings.append(text)

    def _page(self, path: str) -> Page:
        page = parse_page(self.read(path))
        if page.problem:
            self.warn(f"{path}, {page.problem}; all of it is taken as text.")
        return page

    def read(self, path: str) -> bytes:
        """What stands in the file ``path`` now.

        Raises:
            StoreError: when it cannot be read, is no plain file, or lies behind a symbolic link.
        """
        self._inside(path)
        try:
            return read_plain(f"{self._top}/{path}")
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.") from error

    def now(self, path: str) -> bytes | None:
        """The file's bytes; None where there is no file (there may be a folder of that name)."""
        return self.read(path) if os.path.isfile(f"{self._top}/{path}") else None

    def _inside(self, path: str) -> None:
        """Refuse a path that a symbolic link or ``..`` would lead out of the directory."""
        if is_gits(path):
            raise StoreError(f"{path} has a name that Git refuses: choose another one.")
        place = self._top
        for part in path.split("/"):
            place = f"{place}/{part}"
            if part in ("", ".", "..") or os.path.islink(place):
                raise StoreError(
                    f"{path} leads through a symbolic link and is left alone: "
                    "put a real file or folder there."
                )


def why(error: ValueError) -> str:
    """Why a line holds no record."""
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def is_utf8(path: str) -> bool:
    """Whether a name can be written as UTF-8."""
    return path.isascii() or not re.search("[\ud800-\udfff]", path)
