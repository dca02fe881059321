"""A persistent index kept by Tantivy, for agents with very many docs. The extra ``fast``.

Tantivy chooses somewhat more candidates than are asked for, by its own scores: its lengths are
rounded and its statistics count docs that are gone. The exact scores then choose among them, from
what is stored of each. So the order of the hits is that of every other index.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from tantivy import Document, FieldType, Occur, Query, Searcher

from fsagent.index import Meta
from fsagent.index.bm25 import COUNT_MAX, Array
from fsagent.index.entries import RECIPE, Entry
from fsagent.index.files import empty, packed, unpacked, writing
from fsagent.index.pool import KINDS, ROW, Ask, Limits, Pool, Stats, best, filed, hashed, plain
from fsagent.records import Doc

_META = -1
"""The key of the doc that holds what the index mirrors. Keys of docs are never negative."""

_MORE = 1.5
"""How many times the candidates that are asked for are looked at."""

_TIED = 4096
"""Docs with one score among which the choice is by key."""

_HEAP = 32 << 20
_TRIES = 3


@cache
def _schema() -> tantivy.Schema:
    schema = tantivy.SchemaBuilder()
    schema.add_integer_field("key", indexed=True, fast=True)
    schema.add_integer_field("slot", indexed=True)
    for name in ("kind", "role", "name", "tag"):
        schema.add_text_field(name, tokenizer_name="raw", index_option="basic")
    schema.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
    schema.add_integer_field("time", indexed=True, fast=True)
    schema.add_integer_field("order", fast=True)
    schema.add_integer_field("length", fast=True)
    schema.add_bytes_field("row", stored=True)  # and after it the terms
    schema.add_bytes_field("doc", stored=True)
    return schema.build()


def _document(entry: Entry) -> Document:
    row, doc = entry.row, entry.doc
    when = int(row["time"])
    body = " ".join(entry.terms)
    made = Document()
    made.add_integer("key", entry.key)
    made.add_integer("slot", _slot((int(row["session"]), doc.place)))
    made.add_text("kind", doc.kind)
    made.add_text("role", f"{int(row['role']):x}")
    if doc.name:
        made.add_text("name", plain(doc.name))
    for tag in doc.tags:
        made.add_text("tag", _tag(tag))
    made.add_text("body", body)
    if when:  # a doc without a time is in no span of time
        made.add_integer("time", when)
    made.add_integer("order", when << 14 | ~entry.key >> 49 & 0x3FFF)  # the newest; ties by key
    made.add_integer("length", len(entry.terms))
    made.add_bytes("row", row.tobytes() + body.encode())
    made.add_bytes("doc", packed(doc))
    return made


def _slot(slot: tuple[int, int]) -> int:
    return sum(slot) & (1 << 63) - 1  # sessions are hashes: far apart


def _tag(tag: str) -> str:
    return f"{hashed(filed(tag)):x}"  # a tag may be text that no term can be


class TantivyIndex:
    """An index in ``folder``, or in memory where that cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._home = folder
        self._folder = folder / f"tantivy-{RECIPE}"
        self._ram: tantivy.Index | None = None
        self._snapshot: _Snapshot | None = None
        self._replace = False
        self._checked: set[str] = set()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "lock").touch()
        except OSError:
            self._ram = tantivy.Index(_schema())

    # ── the seam ──────────────────────────────────────────────────────────────────────────────

    def meta(self) -> Meta | None:
        """See ``Index.meta``."""
        snapshot = self._open()
        return snapshot.meta if snapshot and not self._replace else None

    def update(
        self, put: Iterable[Entry], drop: Iterable[Entry], meta: Meta, *, wait: bool = True
    ) -> bool:
        """See ``Index.update``."""
        with nullcontext(True) if self._ram else writing(self._folder, wait) as mine:
            if not mine:
                return False
            before = self._open()
            self._snapshot = None
            now = self._open()
            if not self._replace and (before and before.meta) != (now and now.meta):
                return False  # another process was here: what is put may not fit
            index = self._ram or (self._index() if now and now.meta else None) or self._fresh()
            writer = index.writer(_HEAP, num_threads=1)
            try:
                if self._replace:
                    writer.delete_all_documents()
                for entry in drop:
                    writer.delete_documents_by_term("key", entry.key)
                writer.delete_documents_by_term("key", _META)
                for entry in put:
                    writer.add_document(_document(entry))
                mirrored = Document()
                mirrored.add_integer("key", _META)
                mirrored.add_bytes("doc", json.dumps([meta.commit, meta.moved]).encode())
                writer.add_document(mirrored)
                writer.commit()
            finally:  # lets go of Tantivy's lock; what was not committed is gone
                writer.wait_merging_threads()
            self.refresh()
            return True

    def clear(self) -> None:
        """See ``Index.clear``. What is there stays for its readers until the next update."""
        self._replace = True

    def refresh(self) -> None:
        """See ``Index.refresh``."""
        self._snapshot, self._replace = None, False

    def stats(self, words: Sequence[str]) -> Stats:
        """See ``Index.stats``."""
        snapshot = self._now()
        return Stats(
            snapshot.size, snapshot.total, {word: snapshot.holding(word) for word in words}
        )

    def candidates(self, ask: Ask) -> Pool:
        """See ``Index.candidates``."""
        snapshot = self._now()
        pool = snapshot.pool(snapshot.chosen(ask), ask.words)
        return pool.where(best(pool.scores(ask), pool.rows["key"], ask.size))

    def at(self, slots: Iterable[tuple[int, int]], ask: Ask) -> Pool:
        """See ``Index.at``."""
        snapshot = self._now()
        wanted = {_slot(slot) for slot in slots}
        there = Query.boolean_query(  # faster than a set of terms
            [(Occur.Should, Query.term_query(_schema(), "slot", slot, "basic")) for slot in wanted]
        )
        found = snapshot.all(there, len(wanted))
        pool = snapshot.pool(found, ask.words)
        allowed = ask.limits.pass_rows(pool.rows)
        if ask.limits.tags or ask.limits.words:
            within = Query.boolean_query([(Occur.Must, there), *_limits(ask.limits)])
            allowed &= np.isin(pool.rows["key"], snapshot.keys(snapshot.all(within, len(wanted))))
        return replace(pool, allowed=allowed)

    def docs(self, keys: Iterable[int]) -> dict[int, Doc]:
        """See ``Index.docs``."""
        snapshot = self._now()
        wanted = list(dict.fromkeys(keys))
        found = snapshot.all(Query.term_set_query(_schema(), "key", wanted), len(wanted))
        return {
            key: _doc(snapshot.stored(address))
            for key, address in zip(snapshot.keys(found), found, strict=True)
        }

    def entries(self) -> Iterator[Entry]:
        """See ``Index.entries``."""
        snapshot = self._now()
        for address in snapshot.all(_living(), snapshot.size):
            stored = snapshot.stored(address)
            data: bytes = stored.get_first("row") or b""
            row = np.frombuffer(data, ROW, 1)[0]
            terms = tuple(data[ROW.itemsize :].decode().split())
            yield Entry(_doc(stored), int(row["key"]), terms, row)

    def rows(self) -> Array:
        """See ``Index.rows``."""
        snapshot = self._now()
        found = [snapshot.stored(address) for address in snapshot.all(_living(), snapshot.size)]
        data = b"".join((stored.get_first("row") or b"")[: ROW.itemsize] for stored in found)
        return np.frombuffer(data, ROW)

    def speakers(self) -> Counter[str]:
        """See ``Index.speakers``."""
        return self._now().speakers

    def copy(self) -> TantivyIndex:
        """See ``Index.copy``."""
        other = TantivyIndex(self._home)
        other._ram, other._replace = self._ram, self._replace
        other._checked = set(self._checked)
        return other

    def __len__(self) -> int:
        return self._now().size

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _now(self) -> _Snapshot:
        snapshot = self._open()
        return _nothing() if snapshot is None or self._replace else snapshot

    def _open(self) -> _Snapshot | None:
        """The last whole state of the index; None where there is none that can be read."""
        for attempt in range(_TRIES):  # again where another process is just making it anew
            if self._snapshot is None:
                time.sleep(0.01 * attempt)
                with suppress(Exception), _errors():  # a damaged cache is made again
                    found = self._ram or self._index()
                    if found is None:
                        return None
                    found.reload()
                    self._snapshot = _Snapshot(found.searcher())
        return self._snapshot

    def _index(self) -> tantivy.Index | None:
        if not (self._folder / "meta.json").exists() or not self._sound():
            return None
        found = tantivy.Index.open(str(self._folder))
        return found if found.schema == _schema() else None

    def _sound(self) -> bool:
        """Whether the files are as they were written. Over some damage Tantivy ends the process.

        A file never changes, so each is looked at once.
        """
        json.loads((self._folder / ".managed.json").read_bytes())
        parts = json.loads((self._folder / "meta.json").read_bytes())["segments"]
        living = {part["segment_id"].replace("-", "") for part in parts}
        for path in self._folder.iterdir():
            if path.name.partition(".")[0] in living and path.name not in self._checked:
                if not _whole(path.read_bytes()):
                    return False
                self._checked.add(path.name)
        return True

    def _fresh(self) -> tantivy.Index:
        """An empty index in the place of whatever is there."""
        empty(self._folder)
        return tantivy.Index(_schema(), str(self._folder), reuse=False)


class _Snapshot:
    """One state of the index, which stays as it is whatever others write."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self.meta: Meta | None = None
        held = self.all(Query.term_query(_schema(), "key", _META), 1)
        for address in held:
            self.meta = Meta(*json.loads(self.stored(address).get_first("doc") or b""))
        self.size: int = searcher.num_docs - len(held)
        summed = searcher.aggregate(Query.all_query(), {"total": {"sum": {"field": "length"}}})
        self.total = int(summed["total"]["value"])
        # Where nothing was deleted, the dictionary knows how many docs hold a word.
        self._whole = self.size == sum(searcher.doc_freq("kind", kind) for kind in KINDS)

    @cached_property
    def speakers(self) -> Counter[str]:
        """The names of the living docs, and how many each has."""
        named = self._searcher.terms_with_prefix("name", "", Query.all_query())
        return Counter({name: count for name, count in named if count})

    def holding(self, word: str) -> int:
        """How many living docs hold a word."""
        if self._whole:
            return self._searcher.doc_freq("body", word)
        query = Query.term_query(_schema(), "body", word, "basic")
        count: int = self._searcher.search(query, limit=1).count  # type: ignore[attr-defined]  # it is there
        return count

    def chosen(self, ask: Ask) -> list[Any]:
        """Where the candidates are, and some more."""
        size = min(int(ask.size * _MORE), self.size)
        limits = _limits(ask.limits)
        if not size:
            return []
        if not ask.words:
            query = Query.boolean_query([(Occur.Must, _living()), *limits])
            newest = self._searcher.search(query, size, count=False, order_by_field="order")
            return [address for _, address in newest.hits]
        query = Query.boolean_query(
            [
                (Occur.Should, Query.term_query(_schema(), "body", word, "freq"))
                for word in ask.words
            ]
        )
        if limits:
            query = Query.boolean_query([(Occur.Must, query), *limits])
        hits = self._searcher.search(query, size, count=False).hits
        if len(hits) == size and hits[-1][0] == hits[min(ask.size, size) - 1][0]:
            hits = self._searcher.search(query, _TIED + size, count=False).hits
            edge = hits[min(ask.size, size) - 1][0]
            above = [address for score, address in hits if score > edge]
            tied = [address for score, address in hits if score == edge]
            keys = self.keys(tied)
            order = sorted(range(len(tied)), key=keys.__getitem__)
            return above + [tied[place] for place in order[: size - len(above)]]
        return [address for _, address in hits]

    def all(self, query: Query, about: int) -> list[Any]:
        """Where the docs are that meet a query, which should be ``about`` so many."""
        limit = about + 16
        while True:
            hits = self._searcher.search(query, limit, count=False).hits
            if len(hits) < limit:
                return [address for _, address in hits]
            limit *= 4

    def keys(self, addresses: list[Any]) -> list[int]:
        """The keys of docs."""
        return [int(key or 0) for key in self._searcher.fast_field_values("key", addresses)]

    def stored(self, address: Any) -> Document:
        """What is stored of a doc."""
        return self._searcher.doc(address)

    def pool(self, addresses: Iterable[Any], words: Sequence[str]) -> Pool:
        """Rows, and how often each of the docs holds each word."""
        data = [self._searcher.doc(address).get_first("row") or b"" for address in addresses]
        size = ROW.itemsize
        rows = np.frombuffer(b"".join([one[:size] for one in data]), ROW)
        counts = np.zeros((len(data), len(words)))
        wanted = [(column, word.encode()) for column, word in enumerate(words)]
        for number, one in enumerate(data):
            terms = one[size:].split(b" ")
            for column, word in wanted:
                counts[number, column] = min(terms.count(word), COUNT_MAX)
        return Pool(rows, counts, np.ones(len(data), bool))


def _whole(data: bytes) -> bool:
    """Whether one of Tantivy's files agrees with the checksum at its end."""
    size, _ = struct.unpack("<II", data[-8:])
    end = len(data) - 8 - size
    crc: int = json.loads(data[end:-8])["crc"]
    return zlib.crc32(memoryview(data)[:end]) == crc


@cache
def _nothing() -> _Snapshot:
    """A state without docs."""
    return _Snapshot(tantivy.Index(_schema()).searcher())


def _living() -> Query:
    return Query.boolean_query(
        [
            (Occur.Must, Query.all_query()),
            (Occur.MustNot, Query.term_query(_schema(), "key", _META)),
        ]
    )


def _limits(limits: Limits) -> list[tuple[Occur, Query]]:
    """What a doc must be, as parts of a query that do not count for its score."""
    schema = _schema()
    parts = []
    if limits.kinds:
        parts.append(Query.term_set_query(schema, "kind", limits.kinds))
    if limits.roles:
        roles = [f"{hashed(role):x}" for role in limits.roles]
        parts.append(Query.term_set_query(schema, "role", roles))
    tags = [_tag(tag) for tag in limits.tags]
    if limits.all_tags:
        parts += [Query.term_query(schema, "tag", tag, "basic") for tag in tags]
    elif tags:
        parts.append(Query.term_set_query(schema, "tag", tags))
    if limits.since is not None or limits.until is not None:
        parts.append(
            Query.range_query(schema, "time", FieldType.Integer, limits.since, limits.until)
        )
    parts += [Query.term_query(schema, "body", word, "basic") for word in limits.words]
    return [(Occur.Must, Query.const_score_query(part, 0.0)) for part in parts]


def _doc(stored: Document) -> Doc:
    return unpacked(stored.get_first("doc") or b"")


@contextmanager
def _errors() -> Iterator[None]:
    """Tantivy panics on some damage; here that is an error like others."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise OSError(f"Tantivy cannot read its index: {error}") from error
