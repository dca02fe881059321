"""What an index is asked and what it answers: rows of numbers, which the ranking works on.

A row is all that the ranking needs to know of a doc besides how often it holds each word. Every
index keeps rows of the same type, so one ranking serves them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np

from fsagent.index.bm25 import Array, idf, saturated

KINDS = ("record", "note", "block")

ROW = np.dtype(
    [
        ("key", "<i8"),  # what the doc is: see ``entries.key``
        ("session", "<i8"),  # the conversation without a gap, or the note, that it is a part of
        ("text", "<i8"),  # hash of the text
        ("time", "<i8"),  # milliseconds since 1970, 0 where nobody wrote it down
        ("role", "<i8"),  # hashes of who speaks
        ("name", "<i8"),
        ("place", "<i4"),  # its place in the session, from 0
        ("length", "<f4"),  # words
        ("asked", "<f4"),  # the share of them that stand in questions
        ("kind", "<i1"),  # its place in KINDS
        ("timed", "<i1"),  # whether it speaks of a time
    ]
)


@lru_cache(1024)
def hashed(text: str) -> int:
    """``text`` as 63 bits: alike in every process, and two alike in one index of ten billion."""
    return (
        int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1
    )


def plain(text: str) -> str:
    """``text`` without the halves of characters that JSON lets through and no index can hold."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Limits:
    """What a doc must be to be an answer. Empty lets everything through.

    ``since`` and ``until`` are milliseconds, both included. A tag is matched without regard to
    case; ``words`` must all occur.
    """

    kinds: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    since: int | None = None
    until: int | None = None
    words: tuple[str, ...] = ()

    def pass_rows(self, rows: Array) -> Array:
        """Which rows meet the limits that rows can tell: kinds, roles and times."""
        allowed = np.ones(len(rows), bool)
        if self.kinds:
            allowed &= np.isin(rows["kind"], [KINDS.index(kind) for kind in self.kinds])
        if self.roles:
            allowed &= np.isin(rows["role"], [hashed(role) for role in self.roles])
        if self.since is not None:
            allowed &= rows["time"] >= self.since
        if self.until is not None:
            allowed &= rows["time"] <= self.until
        if self.since is not None or self.until is not None:
            allowed &= rows["time"] != 0
        return allowed


@dataclass(frozen=True)
class Stats:
    """How large a collection is and how many of its docs hold each of some words."""

    docs: int
    total: int
    holding: Mapping[str, int]

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            self.docs + other.docs,
            self.total + other.total,
            {word: n + other.holding[word] for word, n in self.holding.items()},
        )

    @property
    def average(self) -> float:
        """Words of a doc."""
        return self.total / self.docs if self.docs else 1.0


@dataclass(frozen=True)
class Ask:
    """Words with their weights, and the limits of the answer."""

    words: tuple[str, ...]
    weights: tuple[float, ...]
    average: float
    limits: Limits = Limits()
    size: int = 100

    @classmethod
    def of(cls, words: Sequence[str], stats: Stats, limits: Limits, size: int) -> Ask:
        """The words that occur at all, weighed by how rare they are."""
        known = tuple(word for word in words if stats.holding[word])
        weights = tuple(idf(stats.docs, stats.holding[word]) for word in known)
        return cls(known, weights, stats.average, limits, size)


@dataclass(frozen=True)
class Pool:
    """Rows; for each, how often it holds each word asked for, and whether it may be an answer."""

    rows: Array
    counts: Array
    allowed: Array

    @classmethod
    def empty(cls, words: int) -> Pool:
        """A pool without rows."""
        return cls(np.empty(0, ROW), np.empty((0, words)), np.empty(0, bool))

    @classmethod
    def join(cls, pools: Sequence[Pool]) -> Pool:
        """The rows of several pools, each doc once."""
        rows = np.concatenate([pool.rows for pool in pools])
        _, first = np.unique(rows["key"], return_index=True)
        counts = np.concatenate([pool.counts for pool in pools])
        allowed = np.concatenate([pool.allowed for pool in pools])
        return cls(rows[first], counts[first], allowed[first])

    def scores(self, ask: Ask) -> Array:
        """BM25 of each row for the words asked for; without words, the newest first."""
        if not ask.words:
            return newest(self.rows)
        lengths = self.rows["length"].astype(np.float64)[:, None]
        scores: Array = saturated(self.counts, lengths, ask.average) @ np.asarray(ask.weights)
        return scores

    def where(self, mask: Array) -> Pool:
        """Some of the rows."""
        return Pool(self.rows[mask], self.counts[mask], self.allowed[mask])


def newest(rows: Array) -> Array:
    """Scores above nought by which the newest rows come first."""
    scores: Array = rows["time"] - rows["time"].min(initial=0) + 1.0
    return scores


def filed(tag: str) -> str:
    """``tag`` as it is compared: without regard to case and to spaces around it."""
    return tag.casefold().strip()


def best(scores: Array, keys: Any, size: int) -> Any:
    """The places of the ``size`` highest scores above nought; ties go by key."""
    found = np.flatnonzero(scores > 0)
    if len(found) > size:
        rounded = np.round(scores[found], 9)
        edge = np.partition(rounded, len(found) - size)[len(found) - size]
        found = found[rounded >= edge]
        if len(found) > size:
            order = np.lexsort((keys[found], -np.round(scores[found], 9)))
            found = found[order[:size]]
    return found
