"""Whether an index is what a fresh one would be. It is looked at and not written to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from fsagent.errors import SearchError
from fsagent.index import Meta, Persistent, Progress, follow
from fsagent.index.bm25 import Array
from fsagent.index.entries import Entry
from fsagent.index.find import Query, at_home, find
from fsagent.index.layered import Layered
from fsagent.index.pool import ROW, Ask, Pool, Stats
from fsagent.records import Doc
from fsagent.repo import Repo

ASKED = 25
"""Queries, drawn from all over the docs, that both indexes have to answer alike."""

_WORDS = re.compile(r"\w+")


def differences(
    base: Persistent, repo: Repo, progress: Progress | None = None
) -> tuple[int, list[str]] | None:
    """How many docs a fresh index of HEAD has, and how ``base``, once it follows, differs from it.

    None where ``base`` mirrors nothing that the repository still has: it is made anew anyway.

    Raises:
        SearchError: HEAD's own files cannot be read, so there is nothing to compare with.
    """
    meta = base.meta()
    if meta is None or not repo.resolve(meta.commit):
        return None
    followed = Layered(cast("Persistent", _Untouched(base)), 0)
    fresh = Layered(_Nothing(), 0)
    try:
        follow(fresh, repo, progress)
    except Exception as error:  # a missing object, a damaged pack
        raise SearchError("The files of HEAD cannot be read from the repository.") from error
    try:
        follow(followed, repo)
        if followed.meta() is None:
            return None
        found = [*_docs(followed, fresh), *_answers(followed, fresh)]
    except Exception as error:  # damaged files raise whatever they like
        found = [f"it cannot be read ({type(error).__name__})"]
    return len(fresh), found


def _docs(followed: Layered, fresh: Layered) -> Iterator[str]:
    """Docs that only one of them has, and those that both have but not alike."""
    mine = {entry.key: entry for entry in followed.entries()}
    right = {entry.key: entry for entry in fresh.entries()}
    yield from _some("missing", [right[key].doc for key in right.keys() - mine.keys()])
    yield from _some("too many", [mine[key].doc for key in mine.keys() - right.keys()])
    other = [
        right[key].doc
        for key in right.keys() & mine.keys()
        if _what(followed, mine[key]) != _what(fresh, right[key])
    ]
    yield from _some("different", other)


def _what(index: Layered, entry: Entry) -> Any:
    """All that an index has of a doc, with the places at which the doc's file lies now."""
    doc = at_home(index, entry.doc)
    meta = index.meta()
    places = list(meta.moved.get(doc.blob, ())) if meta else []
    return doc, places or [doc.path], entry.terms, entry.row.tobytes()


def _some(how: str, docs: list[Doc]) -> Iterator[str]:
    if docs:
        first = min(docs, key=lambda doc: (doc.path, doc.line))
        noun = "doc is" if len(docs) == 1 else "docs are"
        yield f"{len(docs):,} {noun} {how}, the first at {first.path}:{first.line}"


def _answers(followed: Layered, fresh: Layered) -> Iterator[str]:
    """Queries that the two answer differently."""
    docs = sorted((entry.key, entry.doc) for entry in fresh.entries())
    step = max(1, len(docs) // ASKED)
    queries = [" ".join(_WORDS.findall(doc.text)[:6]) for _, doc in docs[::step][:ASKED]]
    for text in dict.fromkeys(["", *queries]):
        query = Query(text, limit=20)
        if find(followed, query) != find(fresh, query):
            yield f"it answers {text!r} differently"
            return


class _Untouched:
    """An index in files that is read and never written to."""

    def __init__(self, base: Persistent) -> None:
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def update(self, *_: object, **__: object) -> bool:
        """Write nothing; then memory holds what is new."""
        raise OSError("it is only looked at")

    def copy(self) -> _Untouched:
        """Another one that is not written to."""
        return _Untouched(self._base.copy())


class _Nothing:
    """An index that holds nothing and takes nothing, so that all is in memory above it."""

    def meta(self) -> Meta | None:
        return None

    def update(
        self, put: Iterable[Entry], drop: Iterable[Entry], meta: Meta, *, wait: bool = True
    ) -> bool:
        raise OSError("there is nothing to write to")

    def clear(self) -> None:
        pass

    def refresh(self) -> None:
        pass

    def stats(self, words: Sequence[str]) -> Stats:
        return Stats(0, 0, dict.fromkeys(words, 0))

    def candidates(self, ask: Ask) -> Pool:
        return Pool.empty(len(ask.words))

    def at(self, slots: Iterable[tuple[int, int]], ask: Ask) -> Pool:
        return Pool.empty(len(ask.words))

    def docs(self, keys: Iterable[int]) -> dict[int, Doc]:
        return {}

    def entries(self) -> Iterator[Entry]:
        return iter(())

    def rows(self) -> Array:
        return np.empty(0, ROW)

    def speakers(self) -> Counter[str]:
        return Counter()

    def copy(self) -> _Nothing:
        return self

    def __len__(self) -> int:
        return 0
