"""The persistent index, kept by Whoosh 2.7.4: it holds the docs and yields candidates.

The version is pinned: in the forks, ``refresh()`` keeps stale segments. Opening an index unpickles
its schema, so it is only ever opened in the user's own cache directory, never in an agent's.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsagent.clock import moment, stamp
from fsagent.errors import SearchError
from fsagent.index import Query
from fsagent.index.ranking import rank
from fsagent.index.words import query_terms, terms
from fsagent.records import Doc, Hit

with warnings.catch_warnings():  # Whoosh is from 2016: its string literals warn on newer Pythons
    warnings.simplefilter("ignore")
    from whoosh import fields, index, query
    from whoosh.analysis import Composable, Token
    from whoosh.filedb.filestore import RamStorage

RECIPE = "1"
"""Raised whenever docs or terms are made differently: an index of another recipe is rebuilt."""

_CANDIDATES = 200
_COMMIT_KEY = "commit"


class _Analyzer(Composable):  # type: ignore[misc]  # it comes without types
    """fsagent's own terms, in the shape that Whoosh wants. At module level: schemas are pickled."""

    def __call__(self, value: str, **kwargs: Any) -> Iterator[Token]:
        token = Token(positions=False, chars=False, **kwargs)
        for text in terms(value):
            token.text = text
            token.boost = 1.0
            yield token


def _schema() -> fields.Schema:
    return fields.Schema(
        key=fields.ID(unique=True, stored=True),
        id=fields.STORED,
        kind=fields.ID(stored=True),
        path=fields.STORED,
        line=fields.STORED,
        text=fields.STORED,
        ts=fields.STORED,
        when=fields.ID,
        role=fields.ID(stored=True),
        name=fields.STORED,
        thread=fields.STORED,
        tags=fields.STORED,
        tag=fields.KEYWORD(commas=True, lowercase=True),
        body=fields.TEXT(analyzer=_Analyzer(), phrase=False),
    )


class WhooshIndex:
    """An index in ``folder``, or in memory where that cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"whoosh-{RECIPE}"
        self._memory: Any = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            self._memory = RamStorage().create_index(_schema())

    def commit(self) -> str | None:
        """See ``Index.commit``."""
        found = self._open()
        if not found:
            return None
        try:
            with found.searcher() as searcher:
                stored = searcher.document(key=_COMMIT_KEY)
        except Exception:  # whatever is wrong with a cache, the answer is to make it again
            return None
        return stored["text"] if stored else None

    def update(self, put: Iterable[Doc], drop: Iterable[Doc], commit: str) -> None:
        """See ``Index.update``."""
        with self._alone():
            found = self._open() or index.create_in(self._folder, _schema())
            writer = found.writer()
            try:
                for doc in drop:
                    writer.delete_by_term("key", _key(doc))
                for doc in put:
                    when = moment(doc.ts)
                    writer.update_document(
                        key=_key(doc),
                        id=doc.id,
                        kind=doc.kind,
                        path=doc.path,
                        line=doc.line,
                        text=doc.text,
                        ts=doc.ts,
                        when=stamp(when) if when else "",
                        role=doc.role,
                        name=doc.name,
                        thread=doc.thread,
                        tags=doc.tags,
                        tag=",".join(tag.replace(",", " ") for tag in doc.tags),
                        body=doc.text,
                    )
                writer.update_document(key=_COMMIT_KEY, text=commit)
                writer.commit()
            except BaseException:
                writer.cancel()
                raise

    def clear(self) -> None:
        """See ``Index.clear``."""
        with self._alone():
            if self._memory:
                self._memory = RamStorage().create_index(_schema())
                return
            for entry in self._folder.iterdir():
                if entry.name != "lock":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            index.create_in(self._folder, _schema())

    def search(self, asked: Query) -> list[Hit]:
        """See ``Index.search``."""
        for _ in range(3):  # a merge in another process may remove a file that is being opened
            found = self._open()
            if not found:
                return []
            try:
                with found.searcher() as searcher:
                    return self._search(searcher, asked)
            except OSError as error:
                failed = error
                time.sleep(0.02)
        raise SearchError(f"The index in {self._folder} cannot be read: delete it.") from failed

    def _search(self, searcher: Any, asked: Query) -> list[Hit]:
        words = query_terms(asked.text)
        limits = list(_filters(asked))
        if asked.text.strip():
            wanted = query.Or([query.Term("body", word) for word in words])
            found = searcher.search(
                wanted, filter=query.And(limits) if limits else None, limit=_CANDIDATES
            )
            return rank(asked.text, [_doc(hit) for hit in found], asked.limit)
        every = query.And(limits) if limits else query.Every("kind")
        docs = [_doc(hit) for hit in searcher.search(every, limit=None)]
        docs.sort(key=lambda doc: (doc.ts, doc.id), reverse=True)
        return [Hit(doc, 0.0) for doc in docs[: asked.limit]]

    def _open(self) -> Any:
        if self._memory:
            return self._memory
        for _ in range(3):
            try:
                return index.open_dir(self._folder)
            except FileNotFoundError:
                time.sleep(0.02)
            except Exception:  # EmptyIndexError, or whatever a damaged pickle raises
                return None
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._memory:
            yield
            return
        with open(self._folder / "lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def folder_for(cache: Path, root: Path, ident: str) -> Path:
    """Where the index of one agent lives: by its real path and id, so that a copy has its own."""
    key = hashlib.sha256(f"{root.resolve()}\n{ident}".encode("utf-8", "surrogateescape"))
    return cache / "index" / key.hexdigest()[:32]


def _key(doc: Doc) -> str:
    return f"{doc.path}\n{doc.id}"


def _doc(hit: Any) -> Doc:
    names = ("id", "kind", "path", "line", "text", "ts", "role", "name", "thread", "tags")
    return Doc(**{name: hit[name] for name in names})


def _filters(asked: Query) -> Iterator[Any]:
    if asked.kinds:
        yield query.Or([query.Term("kind", kind) for kind in asked.kinds])
    if asked.roles:
        yield query.Or([query.Term("role", role) for role in asked.roles])
    if asked.tags:
        tags = [query.Term("tag", tag.lower().strip().replace(",", " ")) for tag in asked.tags]
        yield query.And(tags) if asked.all_tags else query.Or(tags)
    if asked.since or asked.until:
        yield query.TermRange("when", asked.since or "0", asked.until or "9")
