"""The weights of the ranking, chosen on all conversations but one and measured on that one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from fsagent.agent import Agent
from fsagent.bench.locomo import Conversation
from fsagent.bench.recall import APART, DEPTHS, ROLES
from fsagent.index.bm25 import Array
from fsagent.index.find import Query, pool_of, understood
from fsagent.index.ranking import WEIGHTS, Weights, rank

GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
START = 0.5
"""Where every weight begins: the shipped ones have seen all conversations."""

_ENOUGH = 0.002
"""A gain smaller than this is none."""

_APART = 0.05
"""What recall@10 on questions about the wrong person counts: it falls where a boost of the person
whom a question names becomes a filter."""

Example = tuple[str, Any, Any, Any, int]
"""Category; signals at weight 1, one a row; ids in order; where the evidence is; how much of it."""


Recalls = tuple[str, float, float, float, float]
"""Category; recall@5, @10, @20; reciprocal rank."""


def names() -> list[str]:
    """The weights, in the order of an example's rows."""
    return ["words", *(name for name in asdict(WEIGHTS))]


def signals_of(agent: Agent, conversation: Conversation) -> list[Example]:
    """For each question its pool with every signal at weight 1."""
    plain = Weights(**dict.fromkeys(asdict(WEIGHTS), 1.0))
    plain = replace(plain, asked=0.0)
    config = agent.config
    examples: list[Example] = []
    for asked in conversation.questions:
        now = agent.store.clock.now()
        query = Query(
            asked.text, max(DEPTHS), kinds=("record",), roles=ROLES, now=now, zone=config.zone
        )
        question, ask, _ = understood(agent.index, query)
        meaning = agent.meaning
        pool = pool_of(agent.index, ask, question, config.zone, meaning)
        near = meaning.signal(pool, question.plain) if meaning and len(pool.rows) else None
        _, signals = rank(pool, ask, question, config.zone, near, plain)
        rows = dict(signals)
        rows["asked"] = -rows["words"] * pool.rows["asked"]
        matrix = np.stack([rows.get(name, np.zeros(len(pool.rows))) for name in names()])
        docs = agent.index.docs(pool.rows["key"].tolist())
        ids = [docs[key].id for key in pool.rows["key"].tolist()]
        order = np.lexsort((ids,))
        matrix = matrix[:, order][:, pool.allowed[order]]
        ids = [ids[n] for n in order if pool.allowed[n]]
        here = np.array([n for n, ident in enumerate(ids) if ident in asked.evidence], int)
        examples.append((asked.category, matrix, len(ids), here, len(asked.evidence)))
    return examples


def _recalls(examples: list[Example], weights: Array) -> list[Recalls]:
    found: list[Recalls] = []
    for category, matrix, _, here, wanted in examples:
        scores = np.round(weights @ matrix, 6)
        mine = scores[here]
        before = (scores[None, :] > mine[:, None]).sum(1)
        ties = [(scores[:n] == scores[n]).sum() for n in here]
        ranks = before + np.array(ties, int)
        depths = [(ranks < depth).sum() / wanted for depth in (5, 10, 20)]
        found.append((category, *depths, (1 / (1 + ranks)).max(initial=0.0)))
    return found


def ablation(conversations: list[list[Example]]) -> dict[str, dict[str, float]]:
    """Recall with the shipped weights, and with each signal left out in turn."""
    shipped = np.array([1.0, *asdict(WEIGHTS).values()])
    found = {"all": _told(conversations, shipped)}
    for place, name in enumerate(names()):
        without = _told(conversations, _with(shipped, place, 0.0))
        if without != found["all"]:  # not one that is off
            found[name] = without
    return found


def _told(conversations: list[list[Example]], weights: Array) -> dict[str, float]:
    return _means_of([one for each in conversations for one in _recalls(each, weights)])


def _means_of(found: Sequence[Recalls]) -> dict[str, Any]:
    whole = [one for one in found if one[0] != APART]
    apart = [one[2] for one in found if one[0] == APART]
    return {
        "recall@5": round(_mean([one[1] for one in whole]), 4),
        "recall@10": round(_mean([one[2] for one in whole]), 4),
        f"recall@10 of category {APART}": round(_mean(apart), 4),
    }


def left_out(conversations: list[list[Example]]) -> dict[str, Any]:
    """Recall where each conversation was searched with weights chosen on the others."""
    start = np.array([1.0, *(START for _ in asdict(WEIGHTS))])
    total: list[Recalls] = []
    chosen = []
    for number, held in enumerate(conversations):
        others = [one for n, one in enumerate(conversations) if n != number]
        weights = _tuned(others, start)
        total += _recalls(held, weights)
        chosen.append(dict(zip(names()[1:], weights[1:].tolist(), strict=True)))
    return _means_of(total) | {
        "weights": chosen,
    }


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def _tuned(conversations: list[list[Example]], start: Array) -> Array:
    """Weights from the grid, one after the other, each that by which the measures rise most.

    The measures are recall@5, @10 and @20 and the reciprocal rank on all questions but those apart,
    whose recall@10 counts ``_APART``.
    """

    def worth(weights: Array) -> float:
        found = [one for examples in conversations for one in _recalls(examples, weights)]
        measures = [one[1:] for one in found if one[0] != APART]
        apart = [one[2] for one in found if one[0] == APART]
        return sum(map(_mean, zip(*measures, strict=True))) + _APART * _mean(apart)

    best, most = start.copy(), worth(start)
    for _ in range(3):
        before = most
        for place in range(1, len(best)):
            if not any(
                example[1][place].any() for examples in conversations for example in examples
            ):
                continue  # a signal that is off
            tries = [(worth(_with(best, place, value)), value) for value in GRID]
            gain, value = max(tries)
            if gain > most + _ENOUGH:
                best, most = _with(best, place, value), gain
        if most == before:
            break
    return best


def _with(weights: Array, place: int, value: float) -> Array:
    changed = weights.copy()
    changed[place] = value
    return changed
