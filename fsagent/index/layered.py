"""A persistent index, and in memory what HEAD and the turn under way hold beyond it.

What is new is found at once: it is in memory within microseconds, and Whoosh commits it later, in
batches and off the way to a reply. A process that searches often reads the persistent postings
into memory too, in the background and within a bound, and then asks no file any more.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from fsagent.index import Index, Meta, Persistent
from fsagent.index.bm25 import Array
from fsagent.index.entries import Entry
from fsagent.index.memory import Memory
from fsagent.index.pool import Ask, Pool, Stats, best, plain
from fsagent.records import Doc

OFTEN = 500
"""Searches of one process after which the postings are worth their place in memory: what reading
them takes is what some 500 to 1,000 searches are faster by (``fsagent bench index``)."""

BATCH = 50
"""Docs beyond the persistent index that are worth a commit to it."""

SMALL = 2000
"""Docs up to which an index that has to be built is built in memory first."""


class Layered:
    """The index that an agent asks: ``base`` below, memory above. May be shared by threads."""

    def __init__(
        self, base: Persistent, memory: int, folder: Path = Path(), *, fixed: bool = False
    ) -> None:
        """``memory`` is how many bytes the postings of ``base`` may take here; 0 leaves them.

        ``folder`` is where this agent's caches are. With ``fixed``, ``base`` is never written to.
        """
        self.folder = folder
        self._lock = threading.RLock()
        self._base = base
        self._bound = memory
        self._full: Memory | None = None
        self._tail = Memory()
        self._tail_docs: dict[int, Doc] = {}
        self._threads: list[threading.Thread] = []
        self._asked = 0
        self._stuck = fixed
        """Whether the files cannot be written, or must not be."""
        self._reset()

    def _reset(self) -> None:
        """Begin again from what the persistent index holds now."""
        self._meta = self._base_meta = self._base.meta()
        self._pending: dict[int, Entry] = {}
        self._gone: dict[int, Entry] = {}
        self._fresh = Memory()
        self._full = None

    # ── the seam ──────────────────────────────────────────────────────────────────────────────

    def meta(self) -> Meta | None:
        """See ``Index.meta``."""
        return self._meta

    def update(
        self, put: Iterable[Entry], drop: Iterable[Entry], meta: Meta, *, wait: bool = True
    ) -> bool:
        """See ``Index.update``. Nothing is written to a file unless much is new."""
        with self._lock:
            put = iter(put)
            first = list(islice(put, SMALL + 1))
            if self._meta is None and len(first) > SMALL and not self._stuck:
                return self._build(chain(first, put), meta, wait)
            # All is read before anything is changed: reading may be interrupted.
            first += put
            gone = list(drop)
            try:
                self._take(first, gone)
            except BaseException:
                self._reset()
                raise
            self._meta = meta
            if meta == self._base_meta:  # there and back: the files hold just that
                self._pending, self._gone, self._fresh = {}, {}, Memory()
            if len(self._pending) + len(self._gone) > SMALL:
                self.flush()
            return self._meta == meta

    def _build(self, put: Iterable[Entry], meta: Meta, wait: bool) -> bool:
        """Build the persistent index straight away: it is too much for memory."""
        try:
            done = self._base.update(put, (), meta, wait=wait)
        except (OSError, ValueError):  # Tantivy says ValueError where the disk is full
            done, self._stuck = False, True
        self._base.refresh()
        self._reset()
        if self._stuck:  # then memory has to hold it; what there is in files is not asked
            self._base.clear()
            self._reset()
        return done

    def _take(self, put: Iterable[Entry], drop: Iterable[Entry]) -> None:
        for entry in drop:
            if self._pending.pop(entry.key, None):
                self._fresh.remove(entry.key)
            else:
                self._gone[entry.key] = entry
            if self._full:
                self._full.remove(entry.key)
        for entry in put:
            self._pending[entry.key] = entry
            self._fresh.add(entry)
            if self._full:
                self._full.add(entry)

    def clear(self) -> None:
        """See ``Index.clear``."""
        with self._lock:
            self._base.clear()
            self._reset()

    def refresh(self) -> None:
        """See ``Index.refresh``."""
        with self._lock:
            self._base.refresh()
            self._reset()

    def stats(self, words: Sequence[str]) -> Stats:
        """See ``Index.stats``."""
        layers: list[Index | Memory] = [self._full] if self._full else [self._base, self._fresh]
        found = self._tail.stats(words)
        for layer in layers:
            found = found + layer.stats(words)
        if self._gone and not self._full:
            gone = [set(entry.terms) for entry in self._gone.values()]
            found = found + Stats(
                -len(gone),
                -sum(len(entry.terms) for entry in self._gone.values()),
                {word: -sum(word in terms for terms in gone) for word in words},
            )
        return found

    def candidates(self, ask: Ask) -> Pool:
        """See ``Index.candidates``."""
        if self._full:
            pools = [self._full.candidates(ask)]
        else:
            more = replace(ask, size=ask.size + len(self._gone))
            pools = [self._alive(self._base.candidates(more)), self._fresh.candidates(ask)]
        if len(self._tail):
            pools.append(self._tail.candidates(ask))
        pool = Pool.join(pools)
        return pool.where(np.sort(best(pool.scores(ask), pool.rows["key"], ask.size)))

    def at(self, slots: Iterable[tuple[int, int]], ask: Ask) -> Pool:
        """See ``Index.at``."""
        slots = list(slots)
        if self._full:
            pools = [self._full.at(slots, ask)]
        else:
            pools = [self._alive(self._base.at(slots, ask)), self._fresh.at(slots, ask)]
        return Pool.join([*pools, self._tail.at(slots, ask)])

    def docs(self, keys: Iterable[int]) -> dict[int, Doc]:
        """See ``Index.docs``."""
        found: dict[int, Doc] = {}
        below = []
        for key in keys:
            if key in self._tail_docs:
                found[key] = self._tail_docs[key]
            elif key in self._pending:
                found[key] = self._pending[key].doc
            elif key not in self._gone:
                below.append(key)
        return found | (self._base.docs(below) if below else {})

    def entries(self) -> Iterator[Entry]:
        """See ``Index.entries``."""
        hidden = self._gone.keys() | self._pending.keys()
        yield from (entry for entry in self._base.entries() if entry.key not in hidden)
        yield from self._pending.values()

    def rows(self) -> Array:
        """See ``Index.rows``."""
        if self._full:
            return np.concatenate([self._full.rows(), self._tail.rows()])
        base = self._base.rows()
        return np.concatenate([base[self._seen(base)], self._fresh.rows(), self._tail.rows()])

    def speakers(self) -> Counter[str]:
        """See ``Index.speakers``."""
        found = self._base.speakers().copy()
        found.update(plain(entry.doc.name) for entry in self._pending.values())
        found.update(plain(doc.name) for doc in self._tail_docs.values())
        found.subtract(plain(entry.doc.name) for entry in self._gone.values())
        return Counter({name: number for name, number in found.items() if name and number > 0})

    def __len__(self) -> int:
        return self.stats(()).docs

    # ── what lives in memory ──────────────────────────────────────────────────────────────────

    @property
    def state(self) -> object:
        """Changes whenever a doc does."""
        return self._meta, tuple(self._tail_docs)

    @property
    def lock(self) -> threading.RLock:
        """Held for a search, so that all of its parts see one state."""
        return self._lock

    def tail(self, entries: Sequence[Entry]) -> None:
        """Search these as well: the records of a turn that no commit holds yet."""
        if entries or len(self._tail):
            self._tail_docs = {}
            known = self.docs(entry.key for entry in entries)
            entries = [entry for entry in entries if entry.key not in known]
            self._tail = Memory(entries)
            self._tail_docs = {entry.key: entry.doc for entry in entries}

    def settle(self) -> None:
        """Called after a search: a process that searches on writes what is new, or reads it all."""
        self._asked += 1
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if self._asked < 2 or self._threads:
            return
        if len(self._pending) + len(self._gone) >= BATCH:
            self._start(self.flush, daemon=False)
        elif self._asked >= OFTEN and self._bound and self._full is None and self._base_meta:
            self._start(self.warm, daemon=True)

    def _start(self, target: object, *, daemon: bool) -> None:
        thread = threading.Thread(target=target, daemon=daemon)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def warm(self) -> None:
        """Read the postings of the persistent index into memory, unless they need too much."""
        other = self._base.copy()
        other.refresh()
        meta = other.meta()
        full = Memory()
        for entry in other.entries():
            full.add(entry)
            if full.size > self._bound:
                self._bound = 0
                return
        with self._lock:
            if meta is None or meta != self._base_meta:
                return  # written to meanwhile: the next search begins again
            for key in self._gone:
                full.remove(key)
            for entry in self._pending.values():
                full.add(entry)
            self._full = full

    def flush(self) -> None:
        """Write to the persistent index what it lacks, unless another process is doing so.

        Searches go on meanwhile. Where one of them followed HEAD further, or another process wrote,
        all begins again from what the files hold then.
        """
        with self._lock:
            put, gone, meta = list(self._pending.values()), list(self._gone.values()), self._meta
            if meta is None or meta == self._base_meta or self._stuck:
                return
            other, before = self._base.copy(), self._base_meta
            if before is None:
                other.clear()
        try:
            done = other.meta() == before and other.update(put, gone, meta, wait=False)
        except (OSError, ValueError):  # a full disk, a folder that is gone: memory serves
            done, self._stuck = False, True
        with self._lock:
            if done or (not self._stuck and other.meta() != before):
                full = self._full if done and self._meta == meta else None
                self._base.refresh()
                self._reset()
                self._full = full if self._meta == meta else None

    def close(self) -> None:
        """Keep what is worth it, and wait for what is being written."""
        for thread in self._threads:
            if not thread.daemon:
                thread.join()
        if len(self._pending) + len(self._gone) >= BATCH:
            self.flush()

    def _alive(self, pool: Pool) -> Pool:
        """Without the docs that are gone, or that memory holds a newer form of."""
        return pool.where(self._seen(pool.rows))

    def _seen(self, rows: Array) -> Array:
        hidden = np.fromiter(chain(self._gone, self._pending), np.int64)
        seen: Array = ~np.isin(rows["key"], hidden)
        return seen
