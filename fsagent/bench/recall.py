"""How much of the evidence search finds: LoCoMo's measure, through the product's own road."""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fsagent.bench.locomo import Conversation, load, make_agent
from fsagent.environment import Environment
from fsagent.index.ranking import WEIGHTS
from fsagent.index.words import query_terms
from fsagent.tokens import counter

DEPTHS = (1, 5, 10, 20)
ROLES = ("user", "assistant")
"""Whose records are searched, as ``conversation_search`` does."""

APART = "5"
"""The category of questions about the wrong person: told, and left out of the whole."""

Score = dict[str, float]
Search = Callable[[str], Sequence[str]]
"""From a question to the ids of the turns found, best first."""


def measure(
    path: Path,
    index: str = "",
    *,
    baseline: bool = False,
    leave_one_out: bool = False,
    ablation: bool = False,
) -> dict[str, Any]:
    """Every figure of ``fsagent bench recall``, as its ``--json`` prints it."""
    conversations = load(path)
    scores: list[tuple[str, Score]] = []
    empty = empty_known = tokens = 0
    seconds = 0.0
    embed = False
    count = counter("")
    others: dict[str, list[tuple[str, Score]]] = {}
    weighed = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = replace(
            Environment.read(), cache_dir=place / "cache", state_dir=place / "state"
        )
        for number, conversation in enumerate(conversations):
            agent = make_agent(conversation, place / str(number), environment, index)
            while agent.search("anything").unread:  # brings the index to HEAD
                pass
            embed = agent.meaning is not None
            for asked in conversation.questions:
                start = time.process_time()
                answer = agent.search(asked.text, limit=max(DEPTHS), kinds=("record",), roles=ROLES)
                seconds += time.process_time() - start
                found = [hit.doc.id for hit in answer.hits]
                scores.append((asked.category, _score(found, asked.evidence)))
                empty += not found
                empty_known += not found and len(answer.unknown) < len(query_terms(asked.text))
                tokens += count("\n".join(hit.doc.text for hit in answer.hits[:10]))
            if leave_one_out or ablation:
                from fsagent.bench.tune import signals_of

                weighed.append(signals_of(agent, conversation))
            if baseline:
                for name, search in _baselines(conversation).items():
                    others.setdefault(name, []).extend(
                        (asked.category, _score(search(asked.text), asked.evidence))
                        for asked in conversation.questions
                    )
            agent.close()
    found_all = summary(scores) | {
        "empty": empty,
        "empty_with_known_word": empty_known,
        "queries_per_s": round(len(scores) / max(seconds, 1e-9), 1),
        "tokens_per_answer": round(tokens / max(len(scores), 1)),
        "dropped_evidence": sum(one.dropped for one in conversations),
        "config": {
            "file": path.name,
            "conversations": len(conversations),
            "index": index or "whoosh",
            "embed": embed,
            "weights": asdict(WEIGHTS),
        },
    }
    if others:
        found_all["baselines"] = {name: summary(made) for name, made in others.items()}
    if leave_one_out or ablation:
        from fsagent.bench import tune

        if leave_one_out:
            found_all["leave_one_out"] = tune.left_out(weighed)
        if ablation:
            found_all["ablation"] = tune.ablation(weighed)
    return found_all


def _score(found: Sequence[str], evidence: Iterable[str]) -> Score:
    """Recall, reciprocal rank and nDCG of one list; evidence counts alike."""
    wanted = set(evidence)
    ranks = [rank for rank, ident in enumerate(found) if ident in wanted]
    score = {f"recall@{k}": sum(rank < k for rank in ranks) / len(wanted) for k in DEPTHS}
    score["mrr"] = 1 / (1 + ranks[0]) if ranks else 0.0
    gain = sum(1 / math.log2(2 + rank) for rank in ranks if rank < 10)
    score["ndcg@10"] = gain / sum(1 / math.log2(2 + n) for n in range(min(10, len(wanted))))
    return score


def summary(scores: Sequence[tuple[str, Score]]) -> dict[str, Any]:
    """The means over all questions but those apart, with 95 % intervals, and by category."""
    whole = [score for category, score in scores if category != APART]
    by: dict[str, list[Score]] = {}
    for category, score in scores:
        by.setdefault(category, []).append(score)
    return {
        "overall": _means(whole),
        "interval": {
            name: _interval([s[name] for s in whole]) for name in ("recall@5", "recall@10")
        },
        "categories": {category: _means(found) for category, found in sorted(by.items())},
    }


def _means(scores: Sequence[Score]) -> dict[str, float]:
    if not scores:
        return {"questions": 0}
    means = {name: round(statistics.fmean(s[name] for s in scores), 4) for name in scores[0]}
    return means | {"questions": len(scores)}


def _interval(values: Sequence[float], rounds: int = 1000) -> list[float]:
    """The middle 95 % of the means of samples drawn with replacement (Efron's bootstrap)."""
    if not values:
        return [0.0, 0.0]
    draw = random.Random(1).choices
    means = sorted(statistics.fmean(draw(values, k=len(values))) for _ in range(rounds))
    return [round(means[int(rounds * 0.025)], 4), round(means[int(rounds * 0.975)], 4)]


def _baselines(conversation: Conversation) -> Mapping[str, Search]:
    """The same texts in three stores as their own guides show them."""
    import sqlite3
    import warnings

    import numpy as np
    from rank_bm25 import BM25Okapi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from whoosh import fields, qparser

    from fsagent.index.whoosh import Ram

    turns = conversation.turns
    texts = [record.content for record in turns]
    ids = [record.id for record in turns]
    depth = max(DEPTHS)
    okapi = BM25Okapi([text.split(" ") for text in texts])

    def by_rank_bm25(question: str) -> list[str]:
        scores = okapi.get_scores(question.split(" "))
        return [ids[n] for n in np.argsort(-scores, kind="stable")[:depth]]

    kept = Ram().create_index(fields.Schema(id=fields.ID(stored=True), text=fields.TEXT))
    writer = kept.writer()
    for ident, text in zip(ids, texts, strict=True):
        writer.add_document(id=ident, text=text)
    writer.commit()
    searcher = kept.searcher()
    parser = qparser.QueryParser("text", kept.schema)

    def by_whoosh(question: str) -> list[str]:
        return [hit["id"] for hit in searcher.search(parser.parse(question), limit=depth)]

    base = sqlite3.connect(":memory:")
    base.execute("create virtual table t using fts5(id unindexed, text, tokenize='porter')")
    base.executemany("insert into t values (?, ?)", zip(ids, texts, strict=True))

    def by_fts5(question: str) -> list[str]:
        words = " OR ".join(f'"{word}"' for word in question.replace('"', " ").split())
        rows = base.execute(
            "select id from t where t match ? order by rank limit ?", (words, depth)
        )
        return [row[0] for row in rows]

    return {
        "rank-bm25, split at spaces": by_rank_bm25,
        "Whoosh, default parser": by_whoosh,
        "SQLite FTS5, porter, OR": by_fts5,
    }
