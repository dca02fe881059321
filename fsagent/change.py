"""A change: writes to memory that become one commit."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsagent.clock import stamp
from fsagent.errors import BlockNotFound, OverLimit, ReadOnly, StoreError
from fsagent.formats import Page, clean, format_page, label_of, parse_page, slug
from fsagent.records import Block, Note, Person

if TYPE_CHECKING:
    from fsagent.repo import Blob, Join
    from fsagent.store import Store


@dataclass(frozen=True)
class Adopted:
    """A commit of a person's hand edits."""

    commit: str
    change: str
    person: Person
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Joining:
    """What a change takes in from another history, and from where.

    ``heads`` is what HEAD held for the paths that are written, ``taken`` what those come to be that
    are as one of the two histories has them (None: they go); their bytes are in the repository.
    """

    join: Join
    heads: Mapping[str, Blob | None]
    taken: Mapping[str, Blob | None]


class Change:
    """Writes that become one commit: core blocks and notes by name, never by path.

    ``subject`` is the first line of the commit and may be set until the change ends. ``commit`` is
    the commit's id once it has ended, or None when nothing differed.
    """

    def __init__(self, store: Store, subject: str, hold: Callable[[], object] = bool) -> None:
        self.store = store
        self._hold: Callable[[], object] | None = hold
        self.subject = subject
        self.id = store.clock.id()
        self.writes: dict[str, bytes | None] = {}
        self.modes: dict[str, int] = {}
        """Git's modes of files that are not there yet, where they are not the usual one."""
        self.seen: dict[str, bytes | None] = {}
        self._labels: dict[str, str] = {}
        self.included: list[str] = []
        """Paths whose bytes stand in the work tree already, as those of recall do."""
        self.joining: Joining | None = None
        self.trailers: dict[str, str | None] = {}
        self.refuses_secrets = True
        """Off for what is in a history already and only comes along, as a merge."""
        self.adopted: list[Adopted] = []
        self.commit: str | None = None
        self.require: Callable[[Sequence[Block]], None] | None = None
        """Raises where the blocks as a whole would become too large by a write of the agent's."""

    def _page(self, path: str) -> Page:
        if path not in self.writes and path not in self.seen:  # what was read first is what counts
            self.seen[path] = self.store.read(path)
        return parse_page(self.writes.get(path) or self.seen.get(path) or b"")

    def begin(self) -> None:
        """Keep other programs from writing, from now until the change ends."""
        if self._hold:
            self._hold()
            self._hold = None

    def blocks(self) -> dict[str, Block]:
        """Core memory as this change leaves it."""
        self.begin()
        found = self.store.blocks()
        for label, block in found.items():
            if block.path in self.writes:
                found[label] = self.store.block_of(block.path, self._page(block.path))
        return found

    def block(self, label: str) -> Block:
        """The block with that label.

        Raises:
            BlockNotFound: naming the labels that there are.
        """
        self.begin()
        if not self._labels:
            self._labels = {label_of(path): path for path in self.store.paths("core")}
        path = self._labels.get(unicodedata.normalize("NFC", label))
        if not path:
            known = ", ".join(self.blocks()) or "none"
            raise BlockNotFound(f"There is no block {label!r}. The blocks are: {known}.")
        return self.store.block_of(path, self._page(path))

    def set_block(self, label: str, text: str, *, by_person: bool = False) -> Block:
        """Give a block another value; the answer is the block as it is then.

        Raises:
            BlockNotFound: no such block.
            ReadOnly: the block is read_only, and it is not a person who writes.
            OverLimit: the text is longer than the limit, or core memory as a whole than its share,
                and not shorter than what it replaces.
        """
        block = self.block(label)
        if block.read_only and not by_person:
            raise ReadOnly(f"Block {label!r} is read-only: only a person may edit {block.path}.")
        text = text.rstrip("\n")
        if len(text) > block.limit and len(text) >= len(block.text):
            raise OverLimit(
                f"Block {label!r} may hold {block.limit:,} characters and has "
                f"{max(block.left, 0):,} left; this would make it {len(text):,}."
            )
        page = self._page(block.path)
        if not page.readable:
            raise StoreError(f"{block.path} is not UTF-8 text: save it as UTF-8 before it changes.")
        before = self.writes.get(block.path)
        self.writes[block.path] = page.with_value(text).encode()
        if self.require and len(text) > len(block.text) and not by_person:
            try:
                self.require(list(self.blocks().values()))
            except OverLimit:
                if before is None:
                    del self.writes[block.path]
                else:
                    self.writes[block.path] = before
                raise
        return self.block(label)

    def add_note(self, text: str, tags: Iterable[str] = (), source: str = "") -> Note:
        """Add a note to archival memory; the answer has its new id and path."""
        clock = self.store.clock
        ident, created = clock.id(), stamp(clock.now())
        year, month = created[:4], created[5:7]
        name = slug(text)
        path = f"archival/{year}/{month}/{name}-{ident}.md"
        tags = tuple(dict.fromkeys(clean(tag).strip() for tag in tags if tag.strip()))
        meta: dict[str, Any] = {"id": ident, "created": created, "tags": list(tags)}
        if source:
            meta["source"] = clean(source)
        self.writes[path] = format_page(meta, text).encode()
        return Note(ident, path, text.rstrip("\n"), tags, created, source)
