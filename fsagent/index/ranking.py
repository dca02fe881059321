"""The ranking: BM25 over the candidates that an index offers.

Scores come from the candidates alone and never from an index's own statistics, which count docs
that are long gone: so a followed index and a fresh one agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rank_bm25 import BM25Okapi

from fsagent.index.words import query_terms, terms
from fsagent.records import Doc, Hit


class BM25(BM25Okapi):  # type: ignore[misc]  # it comes without types
    """BM25Okapi whose idf is never negative nor nought.

    rank-bm25's own gives nought to a term that half the docs hold and less to one that most do, so
    the first notes of a new agent could not be found. This is Lucene's: ln(1 + (N-n+½)/(n+½)).
    """

    def _calc_idf(self, nd: dict[str, int]) -> None:
        for word, n in nd.items():
            self.idf[word] = math.log(1 + (self.corpus_size - n + 0.5) / (n + 0.5))


def rank(text: str, candidates: Sequence[Doc], limit: int) -> list[Hit]:
    """The ``limit`` best of ``candidates`` for the words of ``text``; ties go by id."""
    corpus = [terms(doc.text) for doc in candidates]
    if not any(corpus):
        return []
    # k1 and b: retrieval on long and short texts alike suffers when b is tuned below 0.5.
    scores = BM25(corpus, k1=1.2, b=0.75).get_scores(query_terms(text))
    hits = [Hit(doc, round(float(score), 6)) for doc, score in zip(candidates, scores, strict=True)]
    hits.sort(key=lambda hit: (-hit.score, hit.doc.id, hit.doc.path))
    return hits[:limit]
