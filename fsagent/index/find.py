"""From a query to hits: candidates, the docs around them, the ranking, and the texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from fsagent.index import Index
from fsagent.index.bm25 import Array
from fsagent.index.dates import is_month
from fsagent.index.pool import Ask, Limits, Pool, hashed
from fsagent.index.question import Question
from fsagent.index.ranking import WEIGHTS, Weights, after, edges, rank
from fsagent.index.words import folded, nowhere, terms, timed, unspaced
from fsagent.records import Doc, Hit

if TYPE_CHECKING:
    from fsagent.index.meaning import Meaning

CANDIDATES = 100
"""Docs that the index offers to the ranking. With 50, LoCoMo's figures are the same."""

_WITH_PHRASE = 1000
"""How many of the docs that hold all words of a phrase are looked through for it."""


_UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Query:
    """What to look for. Filters that are empty let everything through.

    ``since`` and ``until`` are included. With ``distinct``, what was said in the same words several
    times is found once. Without words, the newest docs are the answer. ``now`` is
    the moment from which words like "last week" are counted, in ``zone``.
    """

    text: str
    limit: int = 10
    offset: int = 0
    kinds: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    since: datetime | None = None
    until: datetime | None = None
    distinct: bool = False
    now: datetime | None = None
    zone: ZoneInfo = _UTC


@dataclass(frozen=True)
class Found:
    """Hits, best first; words that occur nowhere; whether there are more hits past these."""

    hits: tuple[Hit, ...]
    unknown: tuple[str, ...] = ()
    more: bool = False


def find(
    index: Index, query: Query, meaning: Meaning | None = None, weights: Weights = WEIGHTS
) -> Found:
    """The docs that answer ``query``. Ties go by id. With ``meaning``, that counts as well."""
    question, ask, unknown = understood(index, query)
    end = query.offset + query.limit
    while True:
        hits, whole = _ranked(index, query, question, ask, meaning, weights)
        # Many chunks may be of one note: then the next hundreds are looked at, too.
        if len(hits) > end or whole:
            break
        ask = replace(ask, size=10 * ask.size)
    shown = _neighbours(index, hits[query.offset : end], ask)
    return Found(tuple(shown), unknown, len(hits) > end)


def _ranked(
    index: Index,
    query: Query,
    question: Question,
    ask: Ask,
    meaning: Meaning | None,
    weights: Weights,
) -> tuple[list[Hit], bool]:
    """The hits, one more than is asked for; and whether there are no more candidates for others."""
    end = query.offset + query.limit
    signals: Mapping[str, Array] = {}
    only_common = bool(question.phrases) and not ask.words
    if not any(map(str.isalnum, query.text)) or only_common:
        pool = index.candidates(ask)
        scores = pool.rows["time"].astype(float)
    else:
        pool = pool_of(index, ask, question, query.zone, meaning)
        near = meaning.signal(pool, question.plain) if meaning and len(pool.rows) else None
        scores, signals = rank(pool, ask, question, query.zone, near, weights)
    found: list[Hit] = []
    seen: set[str] = set()
    again = 0
    # Who quotes all of a text means that one, and not those that go on from there.
    whole = np.isin(pool.rows["text"], [hashed(phrase) for phrase in question.phrases])
    ranks = np.where(whole, scores + scores.max(initial=0.0) + 1.0, scores)
    order = np.argsort(-ranks, kind="stable")
    order = order[pool.allowed[order] & ((scores[order] > 0) | (not ask.words))]
    at = 0
    while at < len(order) and len(found) <= end:
        upto = min(len(order), at + end + 10)
        while upto < len(order) and ranks[order[upto]] == ranks[order[upto - 1]]:
            upto += 1  # ties go by id, and only the docs know theirs
        batch = order[at:upto]
        docs = index.docs(pool.rows["key"][batch].tolist())
        hits = []
        for place in batch:
            doc = docs.get(int(pool.rows["key"][place]))
            if doc and all(_holds(doc, phrase) for phrase in question.phrases):
                parts = {name: round(float(values[place]), 3) for name, values in signals.items()}
                score = float(scores[place]) if signals else 0.0
                hits.append((-float(ranks[place]), Hit(doc, score, signals=parts)))
        hits.sort(key=lambda item: (item[0], *_place(at_home(index, item[1].doc))))
        for _, hit in hits:
            # A note is one answer, by the best of its chunks.
            if hit.doc.kind == "note" or query.distinct:
                same = hit.doc.blob if hit.doc.kind == "note" else _plain(hit.doc.text)
                if same in seen:
                    again += 1
                    continue
                seen.add(same)
            found.append(hit)
        at = upto
    return found, not again or len(pool.rows) < ask.size


def understood(index: Index, query: Query) -> tuple[Question, Ask, tuple[str, ...]]:
    """The query read, what to ask the index, and the words that occur nowhere, as they stand."""
    question = Question.of(
        query.text, index.speakers(), query.now, query.zone, _newest(index, query.text)
    )
    stats = index.stats(question.words)
    known = {word for word in question.words if stats.holding[word]}
    unknown = tuple(
        word
        for word in nowhere(query.text, {*known, *question.names})
        if not question.span or not (timed(word) or word.isdecimal() or is_month(word))
    )
    if not known and question.names:  # then who is named, at least
        question = replace(question, words=question.names)
        stats = index.stats(question.words)
    limits = Limits(
        query.kinds,
        query.roles,
        query.tags,
        query.all_tags,
        _milliseconds(query.since),
        _milliseconds(query.until),
        tuple(dict.fromkeys(word for phrase in question.phrases for word in terms(phrase))),
    )
    # The same pool for every page of the first hundred hits, so that the pages fit together.
    size = CANDIDATES * (1 + (query.offset + query.limit) // CANDIDATES)
    ask = Ask.of(question.words, stats, limits, _WITH_PHRASE if question.phrases else size)
    return question, ask, unknown


def _newest(index: Index, text: str) -> datetime | None:
    """When the newest doc was made, where the query names a month."""
    if not any(is_month(word) for word in re.findall(r"\w+", text)):
        return None
    rows = index.candidates(Ask((), (), 1.0, Limits(), 1)).rows
    return datetime.fromtimestamp(rows["time"][0] / 1000, UTC) if len(rows) else None


def pool_of(
    index: Index, ask: Ask, question: Question, zone: ZoneInfo, meaning: Meaning | None = None
) -> Pool:
    """The candidates, those of the time that the query names, and the docs around them all."""
    pools = [index.candidates(ask)] if ask.words or ask.limits.words else []
    if not all(map(terms, question.phrases)):  # one of common words only: look through the newest
        newest = index.candidates(replace(ask, words=(), weights=(), size=_WITH_PHRASE)).rows
        pools.append(index.at(_slots(newest, (0,)), ask))
    if question.span:
        first, last = edges(after(question.span), zone)
        since, until = ask.limits.since, ask.limits.until
        within = replace(
            ask.limits,
            since=first if since is None else max(first, since),
            until=last if until is None else min(last, until),
        )
        pools.append(index.candidates(replace(ask, limits=within)))
        # What was said then may be the answer even if it shares no word with the query.
        then = index.candidates(replace(ask, words=(), weights=(), limits=within)).rows
        pools.append(index.at(_slots(then, (0,)), ask))
    pool = Pool.join(pools) if pools else Pool.empty(len(ask.words))
    if meaning and not ask.limits.words:
        near = meaning.nearest(index, question.plain)
        pool = Pool.join([pool, index.at(_slots(near, (0,)), ask)])
    if len(ask.words) <= 1:  # one word is no question: what stands beside it is no answer
        return pool
    return Pool.join([pool, index.at(_slots(pool.rows, (-2, -1, 1, 2)), ask)])


def _slots(rows: Array, steps: Iterable[int]) -> set[tuple[int, int]]:
    """The sessions and places that lie so many steps from the rows."""
    both = zip(rows["session"].tolist(), rows["place"].tolist(), strict=True)
    return {(session, place + step) for session, place in both for step in steps}


def _neighbours(index: Index, hits: Iterable[Hit], ask: Ask) -> list[Hit]:
    """The hits, each with the doc before and the one after it."""
    hits = [replace(hit, doc=at_home(index, hit.doc)) for hit in hits]
    slots = {(hashed(hit.doc.session), hit.doc.place + step) for hit in hits for step in (-1, 1)}
    rows = index.at(slots, replace(ask, words=(), weights=(), limits=Limits())).rows
    docs = index.docs(rows["key"].tolist())
    by_slot = {(doc.session, doc.place): at_home(index, doc) for doc in docs.values()}
    return [
        replace(
            hit,
            before=by_slot.get((hit.doc.session, hit.doc.place - 1)),
            after=by_slot.get((hit.doc.session, hit.doc.place + 1)),
        )
        for hit in hits
    ]


def at_home(index: Index, doc: Doc) -> Doc:
    """The doc under the path that its file has now."""
    meta = index.meta()
    paths = meta.moved.get(doc.blob) if meta and doc.kind == "note" else None
    if not paths and doc.id:
        return doc
    path = paths[0] if paths else doc.path
    return replace(doc, path=path, id=doc.id or PurePosixPath(path).stem)


def _place(doc: Doc) -> tuple[str, str, int]:
    return doc.id, doc.path, doc.line


def _holds(doc: Doc, phrase: str) -> bool:
    text, wanted = _plain(f"{doc.title}\n{doc.text}"), _plain(phrase)
    # Where words are not divided by spaces, a phrase may begin and end anywhere.
    first = r"(?<!\w)" if wanted[:1].isalnum() and not unspaced(wanted[0]) else ""
    last = r"(?!\w)" if wanted[-1:].isalnum() and not unspaced(wanted[-1]) else ""
    return re.search(first + re.escape(wanted) + last, text) is not None


def _plain(text: str) -> str:
    """For comparing: without accents, case, kinds of apostrophe and widths of space."""
    return " ".join(folded(text.casefold().replace("’", "'")).split())


def _milliseconds(when: datetime | None) -> int | None:
    return int(when.timestamp() * 1000) if when else None
