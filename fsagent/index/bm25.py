"""BM25 with postings: rank-bm25's own class, made to grow, to forget and to answer fast.

rank-bm25 0.2.2 walks every document for every word of every query, cannot add one, and gives a
score of nought to a word that half the documents hold and less to one that most do, so that the
first notes of a new agent could not be found. Formula: Robertson and Zaragoza, "The Probabilistic
Relevance Framework: BM25 and Beyond" (2009); the idf, which is always positive, is Lucene's.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rank_bm25 import BM25Okapi

K1 = 1.2
"""How soon a repeated word stops counting. Lucene's value."""
B = 0.75
"""How much a long text is discounted. Below 0.5, search in long texts loses ten points."""

_COUNT_BITS = 8
COUNT_MAX = (1 << _COUNT_BITS) - 1
"""A word counts no more often than this in one document, in any index."""

_ROWS_MAX = 1 << (32 - _COUNT_BITS)

Array = np.ndarray[Any, np.dtype[Any]]


def idf(docs: int, holding: int) -> float:
    """The weight of a word that ``holding`` of ``docs`` documents hold; never nought."""
    return math.log(1 + (docs - holding + 0.5) / (holding + 0.5))


def saturated(counts: Array, lengths: Array, average: float) -> Array:
    """What ``counts`` of a word in texts of ``lengths`` words are worth, before its idf."""
    return counts * (K1 + 1) / (counts + K1 * (1 - B + B * lengths / (average or 1.0)))


class BM25(BM25Okapi):  # type: ignore[misc]  # it comes without types
    """BM25Okapi over documents that come and go: ``add`` costs microseconds, a query its postings.

    A posting is one 32-bit number: the document's in the upper 24 bits, the word's count in it,
    up to 255, in the lower 8.
    """

    def __init__(self, corpus: Iterable[Sequence[str]] = ()) -> None:
        self.postings: dict[str, array[int]] = {}
        self.total = 0
        """Words of all living documents together."""
        self._lengths = array("f")
        self._dead = bytearray()
        super().__init__(corpus, k1=K1, b=B)

    def _initialize(self, corpus: Iterable[Sequence[str]]) -> None:
        for document in corpus:
            self.add(document)

    def _calc_idf(self, nd: None) -> None:
        """Weights are worked out when they are asked for: every ``add`` changes them."""

    def add(self, document: Sequence[str]) -> int:
        """Take in a document; the answer is its number."""
        number = len(self._dead)
        if number >= _ROWS_MAX:
            raise OverflowError(f"An index in memory holds {_ROWS_MAX:,} documents at most.")
        for word, count in Counter(document).items():
            posting = number << _COUNT_BITS | min(count, COUNT_MAX)
            try:
                self.postings[word].append(posting)
            except KeyError:
                self.postings[word] = array("I", (posting,))
        self._lengths.append(len(document))
        self._dead.append(0)
        self.corpus_size += 1
        self.total += len(document)
        return number

    def remove(self, number: int) -> None:
        """Forget a document. Its number is not given again."""
        if not self._dead[number]:
            self._dead[number] = 1
            self.corpus_size -= 1
            self.total -= int(self._lengths[number])

    def __len__(self) -> int:
        """Documents ever added: the length of what ``get_scores`` returns."""
        return len(self._dead)

    @property
    def dead(self) -> Array:
        """For each document, whether it was forgotten."""
        return np.array(self._dead, dtype=bool)

    @property
    def lengths(self) -> Array:
        """For each document, its words."""
        return np.array(self._lengths, dtype=np.float64)

    def counts(self, word: str) -> tuple[Array, Array]:
        """The documents that hold ``word``, forgotten ones too, and how often each does."""
        found = self.postings.get(word)
        if found is None:
            return np.empty(0, np.int64), np.empty(0)
        packed = np.array(found, dtype=np.int64)
        return packed >> _COUNT_BITS, (packed & COUNT_MAX).astype(np.float64)

    def holding(self, word: str) -> int:
        """How many living documents hold ``word``."""
        documents, _ = self.counts(word)
        return len(documents) - int(self.dead[documents].sum()) if len(documents) else 0

    def get_scores(self, query: Iterable[str]) -> Array:
        """The score of every document for the words of ``query``; forgotten ones have 0."""
        words = list(query)
        weights = [idf(self.corpus_size, self.holding(word)) for word in words]
        return self.weighted(words, weights, self.total / max(self.corpus_size, 1))

    def get_batch_scores(self, query: Iterable[str], doc_ids: Sequence[int]) -> list[float]:
        """The scores of some documents."""
        return [float(score) for score in self.get_scores(query)[np.asarray(doc_ids, np.int64)]]

    def weighted(self, words: Sequence[str], weights: Sequence[float], average: float) -> Array:
        """Scores where the words' weights and the average length come from a larger collection."""
        scores = np.zeros(len(self))
        lengths = self.lengths
        for word, weight in zip(words, weights, strict=True):
            documents, counts = self.counts(word)
            scores[documents] += weight * saturated(counts, lengths[documents], average)
        scores[self.dead] = 0.0
        return scores
