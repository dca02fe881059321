"""An index in memory: BM25 over postings, with the rows beside them.

It serves agents that are small, what HEAD holds beyond the persistent index, and any agent whose
postings have been read into a live process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fsagent.index.bm25 import BM25, Array
from fsagent.index.entries import Entry
from fsagent.index.pool import ROW, Ask, Limits, Pool, Stats, best, filed, newest


class Memory:
    """Rows and postings of docs; the docs themselves are elsewhere."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._bm25 = BM25()
        self._rows = np.empty(256, ROW)
        self._number: dict[int, int] = {}
        self._slots: dict[tuple[int, int], int] = {}
        self._tags: dict[str, set[int]] = {}
        self.size = 0
        """About how many bytes it takes."""
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self._number)

    def add(self, entry: Entry) -> None:
        """Take in a doc; one of the same key is replaced."""
        self.remove(entry.key)
        number = self._bm25.add(entry.terms)
        if number == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty(number, ROW)])
        self._rows[number] = entry.row
        self._number[entry.key] = number
        self._slots[int(entry.row["session"]), entry.doc.place] = number
        for tag in entry.doc.tags:
            self._tags.setdefault(filed(tag), set()).add(number)
        self.size += 400 + 5 * len(entry.terms)

    def remove(self, key: int) -> None:
        """Forget a doc, if it is there."""
        number = self._number.pop(key, None)
        if number is not None:
            self._bm25.remove(number)
            row = self._rows[number]
            slot = int(row["session"]), int(row["place"])
            if self._slots.get(slot) == number:
                del self._slots[slot]

    def stats(self, words: Sequence[str]) -> Stats:
        """See ``Index.stats``."""
        holding = {word: self._bm25.holding(word) for word in words}
        return Stats(self._bm25.corpus_size, self._bm25.total, holding)

    def candidates(self, ask: Ask) -> Pool:
        """See ``Index.candidates``."""
        rows = self._living()
        allowed = self._allowed(rows, ask.limits)
        if ask.words:
            scores = self._bm25.weighted(ask.words, ask.weights, ask.average)
        else:
            scores = newest(rows)
        scores[~allowed] = 0.0
        found = best(scores, rows["key"], ask.size)
        return Pool(rows[found], self._counts(ask.words, found), np.ones(len(found), bool))

    def at(self, slots: Iterable[tuple[int, int]], ask: Ask) -> Pool:
        """See ``Index.at``."""
        numbers = [self._slots[slot] for slot in slots if slot in self._slots]
        found = np.array(sorted(set(numbers)), np.int64)
        rows = self._living()
        allowed = self._allowed(rows, ask.limits)[found]
        return Pool(rows[found], self._counts(ask.words, found), allowed)

    def rows(self) -> Array:
        """See ``Index.rows``."""
        return self._living()[~self._bm25.dead]

    def _living(self) -> Array:
        return self._rows[: len(self._bm25)]

    def _allowed(self, rows: Array, limits: Limits) -> Array:
        allowed: Array = limits.pass_rows(rows) & ~self._bm25.dead
        if limits.tags:
            sets = [self._tags.get(filed(tag), set()) for tag in limits.tags]
            tagged = set.intersection(*sets) if limits.all_tags else set().union(*sets)
            allowed &= np.isin(np.arange(len(rows)), list(tagged))
        for word in limits.words:
            documents, _ = self._bm25.counts(word)
            allowed &= np.isin(np.arange(len(rows)), documents)
        return allowed

    def _counts(self, words: Sequence[str], numbers: Array) -> Array:
        """How often each of the docs holds each word."""
        counts = np.zeros((len(numbers), len(words)))
        for column, word in enumerate(words):
            documents, held = self._bm25.counts(word)
            if len(documents):
                places = np.searchsorted(documents, numbers).clip(max=len(documents) - 1)
                here = documents[places] == numbers
                counts[here, column] = held[places[here]]
        return counts
