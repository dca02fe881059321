"""The agent's directory, read: its configuration, blocks, notes and recall.

Everything here is derived from files at the moment it is asked for.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from fsagent.clock import Clock
from fsagent.config import AgentConfig, parse_config
from fsagent.errors import StoreError
from fsagent.formats import Page, is_limit, parse_block, parse_note, parse_page, parse_record
from fsagent.layout import FILE_MAX, is_agents, is_gits, read_plain
from fsagent.order import newest
from fsagent.records import CORE_LIMIT, Block, Note, Record
from fsagent.repo import Repo


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

    def records(self, path: str) -> list[Record]:
        """The records of one segment, in order. A line that holds none is skipped and named."""
        found = []
        for number, line in enumerate(self.read(path).split(b"\n"), 1):
            if line.strip():
                try:
                    found.append(parse_record(line.decode()))
                except UnicodeDecodeError:
                    self.warn(f"{path}, line {number}: not UTF-8 text; the line is skipped.")
                except ValueError as error:
                    self.warn(f"{path}, line {number}: {error}; the line is skipped.")
        return found

    def newest(self) -> Iterator[Record]:
        """Every record, newest first."""
        return newest(self.segments(), self.read, self.records)

    def has(self, path: str) -> bool:
        """Whether there is something of that name."""
        return os.path.lexists(f"{self._top}/{path}")

    def paths(self, folder: str) -> Iterator[str]:
        """The agent's own files below ``folder``, sorted; links and odd files are only named."""
        top = self.root / folder
        if not top.is_dir() or top.is_symlink():
            return
        for where, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                full = os.path.join(where, name)
                path = os.path.relpath(full, self.root)
                if not is_agents(path):
                    continue
                about = os.lstat(full)
                if not stat.S_ISREG(about.st_mode):
                    self.warn(f"{path} is not a plain file and is not read.")
                elif about.st_size > FILE_MAX:
                    self.warn(f"{path} has {about.st_size:,} bytes, too many to be read: split it.")
                elif is_gits(path):
                    self.warn(f"{path} has a name that Git refuses and is not read: rename it.")
                elif not is_utf8(path):
                    self.warn(f"{path!a} has a name that is not UTF-8 and is not read: rename it.")
                else:
                    yield path

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


def is_utf8(path: str) -> bool:
    """Whether a name can be written as UTF-8."""
    return path.isascii() or not re.search("[\ud800-\udfff]", path)
