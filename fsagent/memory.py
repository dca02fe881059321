"""Memory as a program reads and writes it: the blocks by label, and the notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fsagent.errors import BlockNotFound, StoreError
from fsagent.formats import clean, one_line
from fsagent.records import Block, Note
from fsagent.store import Store


class Blocks(Mapping[str, Block]):
    """Core memory by label. ``blocks["human"] = text`` is one commit, author the person."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, label: str) -> Block:
        blocks = self._store.blocks()
        if label not in blocks:
            names = ", ".join(blocks) or "none"
            raise BlockNotFound(f"There is no block {label!r}. The blocks are: {names}.")
        return blocks[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.blocks())

    def __len__(self) -> int:
        return len(self._store.blocks())

    def __contains__(self, label: object) -> bool:
        return label in self._store.blocks()

    def __setitem__(self, label: str, text: str) -> None:
        """Write a block.

        Raises:
            BlockNotFound, OverLimit: nothing was changed.
        """
        person = self._store.repo.person()
        with self._store.change(f"edit: {self[label].path}", author=person) as change:
            change.set_block(label, clean(text), by_person=True)


class Notes:
    """Archival memory: iterate over it, or add to it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __iter__(self) -> Iterator[Note]:
        return self._store.notes()

    def __len__(self) -> int:
        return self._store.count("archival")

    def get(self, ident: str) -> Note:
        """The note with that id, or whose path it is.

        Raises:
            StoreError: there is none.
        """
        for note in self:
            if ident in (note.id, note.path):
                return note
        raise StoreError(f"There is no note {ident!r}. List them: fsagent note {self._store.root}")

    def add(self, text: str, tags: Iterable[str] = (), source: str = "") -> Note:
        """Add a note: one commit, author the person."""
        person = self._store.repo.person()
        with self._store.change(f"note: {one_line(text)}", author=person) as change:
            return change.add_note(clean(text), tags, source)
