"""The persistent index, kept by Whoosh 2.7.4: it holds the docs and yields candidates.

The version is pinned: in the forks, ``refresh()`` keeps stale segments. Opening an index unpickles
its schema, so it is only ever opened in the user's own cache directory, never in an agent's.

Whoosh keeps postings, stored docs, and a column of rows; candidates are scored from its postings in
blocks rather than one by one, with weights that count living docs only.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fsagent.index import Meta
from fsagent.index.bm25 import COUNT_MAX, Array, saturated
from fsagent.index.entries import RECIPE, Entry
from fsagent.index.files import empty, packed, unpacked, writing
from fsagent.index.pool import ROW, Ask, Limits, Pool, Stats, best, filed, newest, plain
from fsagent.records import Doc

with warnings.catch_warnings():  # Whoosh is from 2016: its string literals warn on newer Pythons
    warnings.simplefilter("ignore")
    from whoosh import columns, fields, index
    from whoosh.analysis import Composable, Token
    from whoosh.codec.whoosh3 import W3LeafMatcher
    from whoosh.filedb.filestore import FileStorage, RamStorage
    from whoosh.reading import EmptyReader
    from whoosh.writing import CLEAR

_META = "meta"
_KEPT = 64
"""Words whose postings are kept, once read, for the searches that follow."""

_PATIENCE = 0.5
"""Seconds to try again while a merge in another process removes files that are being opened."""


class Ram(RamStorage):  # type: ignore[misc]
    """A store in memory, which writes through a temporary folder of its own.

    Whoosh names that folder by the index, so that any two processes share one and remove each
    other's files.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own = tempfile.mkdtemp(prefix="fsagent-")
        weakref.finalize(self, shutil.rmtree, self._own, ignore_errors=True)

    def temp_storage(self, name: str | None = None) -> FileStorage:
        """A folder for what is being written."""
        return FileStorage(os.path.join(self._own, name or "tmp")).create()


class _Parts(Composable):  # type: ignore[misc]  # it comes without types
    """Takes apart what was joined by a separator. At module level: schemas are pickled."""

    def __init__(self, separator: str) -> None:
        self.separator = separator

    def __call__(self, value: str, **kwargs: Any) -> Iterator[Token]:
        token = Token(positions=False, chars=False, **kwargs)
        token.boost = 1.0
        for text in value.split(self.separator):
            token.text = text
            yield token


def _schema() -> fields.Schema:
    return fields.Schema(
        key=fields.ID,
        row=fields.COLUMN(columns.FixedBytesColumn(ROW.itemsize)),
        doc=fields.STORED,
        terms=fields.STORED,
        name=fields.ID,
        tag=fields.TEXT(analyzer=_Parts("\n"), phrase=False),
        body=fields.TEXT(analyzer=_Parts(" "), phrase=False),
    )


def _tag(tag: str) -> str:
    return plain(filed(tag))


class WhooshIndex:
    """An index in ``folder``, or in memory where that cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._home = folder
        self._folder = folder / f"whoosh-{RECIPE}"
        self._ram: Any = None
        self._snapshot: _Snapshot | None = None
        self._replace = self._unreadable = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "lock").touch()
        except OSError:
            self._ram = Ram().create_index(_schema())

    # ── the seam ──────────────────────────────────────────────────────────────────────────────

    def meta(self) -> Meta | None:
        """See ``Index.meta``."""
        snapshot = None if self._replace else self._open()
        return snapshot.meta if snapshot else None

    def update(
        self, put: Iterable[Entry], drop: Iterable[Entry], meta: Meta, *, wait: bool = True
    ) -> bool:
        """See ``Index.update``."""
        with nullcontext(True) if self._ram else writing(self._folder, wait) as mine:
            if not mine:
                return False
            before = self._open()
            if self._stale():
                self._snapshot, self._unreadable = None, False
            now = self._open()
            if not self._replace and (before and before.meta) != (now and now.meta):
                return False  # another process was here: what is put may not fit
            # What cannot be read cannot be written to either.
            writer = ((self._index() if now else None) or self._fresh()).writer()
            try:
                for entry in drop:
                    writer.delete_by_term("key", f"{entry.key:x}")
                writer.delete_by_term("key", _META)
                for entry in put:
                    writer.add_document(
                        key=f"{entry.key:x}",
                        row=entry.row.tobytes(),
                        doc=packed(entry.doc),
                        terms=" ".join(entry.terms),
                        name=plain(entry.doc.name) or None,
                        tag="\n".join(_tag(tag) for tag in entry.doc.tags) or None,
                        body=" ".join(entry.terms) or None,
                    )
                writer.add_document(key=_META, doc=json.dumps([meta.commit, meta.moved]))
                writer.commit(mergetype=CLEAR) if self._replace else writer.commit()
            except BaseException:
                with suppress(Exception):
                    writer.cancel()
                raise
            self.refresh()
            return True

    def clear(self) -> None:
        """See ``Index.clear``. What is there stays for its readers until the next update."""
        self._replace = True

    def refresh(self) -> None:
        """See ``Index.refresh``."""
        self._snapshot, self._replace, self._unreadable = None, False, False

    def stats(self, words: Sequence[str]) -> Stats:
        """See ``Index.stats``."""
        snapshot = self._now()
        holding = {}
        for word in words:
            docs, _ = snapshot.postings("body", word)
            holding[word] = int(snapshot.alive[docs].sum())
        return Stats(int(snapshot.alive.sum()), snapshot.total, holding)

    def candidates(self, ask: Ask) -> Pool:
        """See ``Index.candidates``."""
        snapshot = self._now()
        rows = snapshot.rows
        scores = np.zeros(len(rows))
        for word, weight in zip(ask.words, ask.weights, strict=True):
            docs, counts = snapshot.postings("body", word)
            scores[docs] += weight * saturated(counts, snapshot.lengths[docs], ask.average)
        if not ask.words:
            scores = newest(rows)
        scores[~snapshot.allowed(ask.limits)] = 0.0
        found = best(scores, rows["key"], ask.size)
        return Pool(rows[found], snapshot.counts(ask.words, found), np.ones(len(found), bool))

    def at(self, slots: Iterable[tuple[int, int]], ask: Ask) -> Pool:
        """See ``Index.at``."""
        snapshot = self._now()
        wanted = set(slots)
        near = snapshot.of_sessions({session for session, _ in wanted})
        places = zip(
            snapshot.rows["session"][near].tolist(),
            snapshot.rows["place"][near].tolist(),
            strict=True,
        )
        found = near[[slot in wanted for slot in places]] if len(near) else near
        allowed = snapshot.allowed(ask.limits)[found]
        return Pool(snapshot.rows[found], snapshot.counts(ask.words, found), allowed)

    def docs(self, keys: Iterable[int]) -> dict[int, Doc]:
        """See ``Index.docs``."""
        snapshot = self._now()
        found = {}
        for key, number in snapshot.numbers(keys):
            found[key] = unpacked(snapshot.stored(number)["doc"])
        return found

    def entries(self) -> Iterator[Entry]:
        """See ``Index.entries``."""
        snapshot = self._now()
        for number in np.flatnonzero(snapshot.alive):
            stored = snapshot.stored(int(number))
            row = snapshot.rows[number]
            terms = tuple(stored["terms"].split())
            yield Entry(unpacked(stored["doc"]), int(row["key"]), terms, row)

    def rows(self) -> Array:
        """See ``Index.rows``."""
        snapshot = self._now()
        rows: Array = snapshot.rows[snapshot.alive]
        return rows

    def speakers(self) -> Counter[str]:
        """See ``Index.speakers``."""
        return self._now().speakers

    def copy(self) -> WhooshIndex:
        """See ``Index.copy``."""
        other = WhooshIndex(self._home)
        other._ram, other._replace = self._ram, self._replace
        other._snapshot = self._snapshot  # to open one takes three times what its files take
        return other

    def __len__(self) -> int:
        return int(self._now().alive.sum())

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _now(self) -> _Snapshot:
        return (None if self._replace else self._open()) or self._nothing

    @cached_property
    def _nothing(self) -> _Snapshot:
        return _Snapshot(EmptyReader(_schema()))

    def _open(self) -> _Snapshot | None:
        """The last whole state of the index; None where there is none that can be read."""
        end = time.monotonic() + _PATIENCE
        while self._snapshot is None and not self._unreadable:
            try:
                found = self._index()
                if found is None:
                    return None
                self._snapshot = _Snapshot(found.reader())
            except (FileNotFoundError, PermissionError):
                self._unreadable = time.monotonic() > end
                time.sleep(0.01)
            except Exception:  # whatever is wrong with a cache, the answer is to make it again
                self._unreadable = True
        return self._snapshot

    def _stale(self) -> bool:
        """Whether something was written since the snapshot was taken."""
        if self._ram or not self._snapshot:
            return True
        latest = index.TOC._latest_generation(FileStorage(self._folder), "MAIN")
        return bool(latest != self._snapshot.generation)

    def _index(self) -> Any:
        if self._ram:
            return self._ram
        try:
            return index.open_dir(self._folder)
        except (index.EmptyIndexError, index.IndexVersionError):
            return None

    def _fresh(self) -> Any:
        """An empty index in the place of whatever is there."""
        empty(self._folder)
        return index.create_in(self._folder, _schema())


class _Snapshot:
    """One state of the index, which stays as it is whatever others write."""

    def __init__(self, reader: Any) -> None:
        leaves = [one for one in reader.leaf_readers() if not isinstance(one[0], EmptyReader)]
        self._reader = reader
        self._leaves = leaves
        self._read: dict[tuple[str, str], tuple[Any, Array]] = {}
        self.generation = reader.generation()
        self._formats = {name: _schema()[name].format for name in ("body", "key", "name", "tag")}
        parts = [_rows(leaf) for leaf, _ in leaves]
        self.rows: Array = np.concatenate(parts) if parts else np.empty(0, ROW)
        self.alive: Array = np.ones(len(self.rows), bool)
        for leaf, base in leaves:
            self.alive[[base + number for number in leaf._perdoc.deleted_docs()]] = False
        self.meta: Meta | None = None
        docs, _ = self.postings("key", _META)
        for number in docs[self.alive[docs]]:
            self.meta = Meta(*json.loads(self.stored(int(number))["doc"]))
        self.alive[docs] = False
        self.lengths: Array = self.rows["length"].astype(np.float64)
        self.total = int(self.lengths[self.alive].sum())

    def postings(self, field: str, word: str) -> tuple[Any, Array]:
        """The docs that hold a word, deleted ones too, and how often each does."""
        found = self._read.get((field, word))
        if found is None:  # a search asks for each of its words several times
            if len(self._read) >= _KEPT:
                self._read.clear()
            found = self._read[field, word] = self._postings(field, word)
        return found

    def _postings(self, field: str, word: str) -> tuple[Any, Array]:
        text = word.encode("utf-8", "surrogatepass")
        docs, counts = [], []
        for leaf, base in self._leaves:
            if (field, text) not in leaf._terms:
                continue
            matcher = leaf._terms.matcher(field, text, self._formats[field])
            while matcher.is_active():
                if isinstance(matcher, W3LeafMatcher):  # a block of 128 at a time
                    matcher._read_data()
                    docs.append(np.cumsum(np.asarray(matcher._data[0], np.int64)) + base)
                    matcher._read_weights()
                    counts.append(np.minimum(matcher._weights, COUNT_MAX).astype(np.float64))
                    matcher._next_block()
                else:
                    docs.append(np.array([matcher.id() + base], np.int64))
                    counts.append(np.array([min(matcher.weight(), COUNT_MAX)], np.float64))
                    matcher.next()
        if not docs:
            return np.empty(0, np.int64), np.empty(0)
        return np.concatenate(docs), np.concatenate(counts)

    def numbers(self, keys: Iterable[int]) -> Iterator[tuple[int, int]]:
        """The docs of these keys, as (key, number)."""
        known, order = self._keys
        wanted = np.fromiter(keys, np.int64)
        places = np.searchsorted(known, wanted)
        for key, place in zip(wanted.tolist(), places.tolist(), strict=True):
            if place < len(known) and known[place] == key:
                yield key, int(order[place])

    def of_sessions(self, sessions: Iterable[int]) -> Array:
        """The living docs of these sessions."""
        known, order = self._sessions
        wanted = np.fromiter(sessions, np.int64)
        first = np.searchsorted(known, wanted, "left").tolist()
        last = np.searchsorted(known, wanted, "right").tolist()
        parts = [order[a:b] for a, b in zip(first, last, strict=True)]
        return np.sort(np.concatenate(parts)) if parts else order[:0]

    @cached_property
    def _sessions(self) -> tuple[Array, Array]:
        """The sessions of the living docs in order, and the docs that belong to them."""
        alive = np.flatnonzero(self.alive)
        sessions = self.rows["session"][alive]
        order = np.argsort(sessions, kind="stable")
        return sessions[order], alive[order]

    @cached_property
    def _keys(self) -> tuple[Array, Array]:
        """The keys of the living docs in order, and the docs they belong to."""
        alive = np.flatnonzero(self.alive)
        keys = self.rows["key"][alive]
        order = np.argsort(keys)
        return keys[order], alive[order]

    def counts(self, words: Sequence[str], numbers: Any) -> Array:
        """How often each of the docs holds each word."""
        found = np.zeros((len(numbers), len(words)))
        for column, word in enumerate(words):
            held = np.zeros(len(self.rows))
            docs, counts = self.postings("body", word)
            held[docs] = counts
            found[:, column] = held[numbers]
        return found

    def allowed(self, limits: Limits) -> Array:
        """Which docs are there and meet the limits."""
        allowed = self.alive & limits.pass_rows(self.rows)
        masks = []
        for tag in limits.tags:
            mask = np.zeros(len(self.rows), bool)
            mask[self.postings("tag", _tag(tag))[0]] = True
            masks.append(mask)
        if masks:
            allowed &= (
                np.logical_and.reduce(masks) if limits.all_tags else np.logical_or.reduce(masks)
            )
        for word in limits.words:
            mask = np.zeros(len(self.rows), bool)
            mask[self.postings("body", word)[0]] = True
            allowed &= mask
        return allowed

    def stored(self, number: int) -> Any:
        """What is stored of a doc."""
        return self._reader.stored_fields(number)

    @cached_property
    def speakers(self) -> Counter[str]:
        """The names of the living docs, and how many each has."""
        names = {name.decode() for leaf, _ in self._leaves for name in leaf.lexicon("name")}
        count = {name: int(self.alive[self.postings("name", name)[0]].sum()) for name in names}
        return Counter({name: number for name, number in count.items() if number})


def _rows(leaf: Any) -> Array:
    """The column of rows of one segment."""
    count = leaf.doc_count_all()
    rows = np.zeros(count, ROW)
    if leaf._perdoc.has_column("row"):
        column = leaf.column_reader("row", translate=False)
        held = min(count, column._count)
        data = column._dbfile.get(column._basepos, held * ROW.itemsize)
        rows[:held] = np.frombuffer(bytes(data), ROW)
    return rows
