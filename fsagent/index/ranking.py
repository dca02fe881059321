"""The ranking: what a doc's own words say, and what the conversation around it says.

A doc's score is a sum of signals, each times its weight below. The weights are
round, were chosen on five conversations of LoCoMo by leaving each out in turn, and are explained
with what each is worth in docs/search.md. Scores come from exact counts of the living docs, never
from an index's own statistics, which remember docs that are long gone: so a followed index and a
fresh one give the same hits and the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from fsagent.index.bm25 import Array, saturated
from fsagent.index.dates import Span
from fsagent.index.pool import KINDS, Ask, Pool, hashed
from fsagent.index.question import Question


@dataclass(frozen=True)
class Weights:
    """What each signal counts, where the best doc's own words count 1."""

    near: float = 0.25
    """The words of each of the two docs before and the two after: what one leaves out, they say."""
    answer: float = 0.5
    """The words of the doc before, where that one asks a question."""
    cover: float = 0.25
    """The share of the query's words, by weight, that occur anywhere within two docs."""
    session: float = 0.75
    """The words of the whole session."""
    speaker: float = 0.75
    """That the person whom the query names is the one who speaks. A boost, never a filter."""
    date: float = 1.0
    """That it was said at the time which the query names."""
    when: float = 0.5
    """That it speaks of a time, where the query asks for one."""
    asked: float = 0.75
    """How much of its own words' score a doc loses that is a question from end to end."""
    meaning: float = 0.3
    """How near its meaning is, in standard deviations, where the extra ``embed`` is installed."""


WEIGHTS = Weights()

_LONG = 50.0
"""Words past which a doc says enough by itself: its neighbours count less, in proportion."""

_TOLD_LATER = 7
"""Days after a date in which people tell of it."""


def rank(
    pool: Pool,
    ask: Ask,
    question: Question,
    zone: ZoneInfo,
    meaning: Array | None = None,
    weights: Weights = WEIGHTS,
) -> tuple[Array, Mapping[str, Array]]:
    """The score of each row of ``pool``, and the signals that it is the sum of.

    ``pool`` holds the candidates and the docs within two places of each. ``meaning`` is
    how near each row is to the query, in standard deviations.
    """
    rows = pool.rows
    words = pool.scores(ask) if ask.words else np.zeros(len(rows))
    score = words / (words.max(initial=0.0) or 1.0)
    steps = around(rows)

    # A note is complete in itself: where nothing stands beside it, it stands for that.
    alone = np.where(rows["kind"] == KINDS.index("record"), 0.0, 1.0)

    def beside(values: Array, step: int) -> Array:
        where = steps[step]
        return np.where(where >= 0, values[where], alone * values)

    # A long doc says enough by itself.
    short = np.minimum(1.0, _LONG / np.maximum(rows["length"], 1.0))
    held = (pool.counts > 0) * np.asarray(ask.weights)
    near_held = held.copy()
    for where in steps.values():
        near_held = np.maximum(near_held, np.where((where >= 0)[:, None], held[where], 0.0))
    full = sum(ask.weights) or 1.0
    signals = {
        "words": score * (1.0 - weights.asked * rows["asked"]),
        "near": weights.near * short * sum(beside(score, step) for step in steps),
        "answer": weights.answer * (1.0 - alone) * beside(score * (rows["asked"] > 0), -1),
        "cover": weights.cover * short * near_held.sum(axis=1) / full,
        "session": weights.session * _session(pool, ask),
        "speaker": weights.speaker * _speaks(rows, question.speaker),
        "date": weights.date * _dated(rows, question.span, zone),
        "when": weights.when * (rows["timed"] * 1.0 if question.when else np.zeros(len(rows))),
    }
    if meaning is not None:
        signals["meaning"] = weights.meaning * meaning
    return np.round(sum(signals.values()), 6), signals


def around(rows: Array) -> dict[int, Array]:
    """For each step from -2 to 2 the place of the doc that far from each in its session, or -1."""
    order = np.lexsort((rows["place"], rows["session"]))
    return {step: _shifted(rows, order, step) for step in (-2, -1, 1, 2)}


def _shifted(rows: Array, order: Array, step: int) -> Array:
    """For each row the row that stands ``step`` places from it in its session, or -1."""
    found = np.full(len(rows), -1)
    by_place = rows[order]
    for jump in range(1, abs(step) + 1):  # rows of one session may lie closer than their places
        first, second = (order[:-jump], order[jump:]) if len(order) > jump else (order[:0],) * 2
        a, b = by_place[: len(first)], by_place[jump:][: len(second)]
        here = (a["session"] == b["session"]) & (b["place"] - a["place"] == abs(step))
        if step > 0:
            found[first[here]] = second[here]
        else:
            found[second[here]] = first[here]
    return found


def _session(pool: Pool, ask: Ask) -> Array:
    """BM25 of each session's rows taken together, the best session's being 1."""
    _, session = np.unique(pool.rows["session"], return_inverse=True)
    counts = np.zeros((session.max(initial=-1) + 1, len(ask.words)))
    np.add.at(counts, session, pool.counts)
    lengths = np.bincount(session, pool.rows["length"])
    average = float(lengths.mean()) if len(lengths) else 1.0
    scores = saturated(counts, lengths[:, None], average) @ np.asarray(ask.weights)
    found: Array = (scores / (scores.max(initial=0.0) or 1.0))[session]
    return found


def _speaks(rows: Array, speaker: str) -> Array:
    if not speaker:
        return np.zeros(len(rows))
    who = hashed(speaker)
    speaks: Array = (rows["name"] == who) | (rows["role"] == who)
    return speaks.astype(float)


def _dated(rows: Array, span: Span | None, zone: ZoneInfo) -> Array:
    """How near the time of each row is to the one that the query names.

    1 within a month that is named, twice that within a day; nearly as much in the week after, in
    which people tell of it; half as much in the rest of a day's month; a third in a whole year.
    """
    if not span:
        return np.zeros(len(rows))
    time = rows["time"]

    def within(days: Span) -> Array:
        first, last = edges(days, zone)
        inside: Array = (time >= first) & (time <= last) & (time != 0)
        return inside

    full = 1 / 3 if span.days > 62 else 2.0 if span.days <= 7 else 1.0
    found = np.where(within(after(span)), 0.7 * full, 0.0)
    if span.days <= 7:
        start = span.first.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        found = np.maximum(found, np.where(within(Span(start, end)), 0.5, 0.0))
    return np.maximum(found, np.where(within(span), full, 0.0))


def after(span: Span) -> Span:
    """The same days and those after them in which people tell of it."""
    return Span(span.first, span.last + timedelta(days=_TOLD_LATER))


def edges(span: Span, zone: ZoneInfo) -> tuple[int, int]:
    """The first and the last millisecond of some days."""
    return _midnight(span.first, zone), _midnight(span.last + timedelta(days=1), zone) - 1


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
