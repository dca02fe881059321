"""The half of an agent that finds: its index, brought to HEAD by whoever asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from fsagent.environment import Environment
from fsagent.errors import SearchError, StoreError
from fsagent.records import Answer, Doc
from fsagent.store import Store

if TYPE_CHECKING:  # what a search does not need is imported where it is used
    from fsagent.index import Progress
    from fsagent.index.layered import Layered
    from fsagent.index.meaning import Meaning

LOOK_EVERY = 1.0
"""Seconds for which a look for hand edits counts."""


class Searching:
    """Search over the files of one agent."""

    def __init__(self, store: Store, environment: Environment) -> None:
        self.store = store
        self.environment = environment
        self._dirty: tuple[str | None, float, tuple[str, ...]] = (None, 0.0, ())
        self.progress: Progress | None = None
        """Told how far it is while an index is built; see ``search``."""

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        offset: int = 0,
        kinds: tuple[str, ...] = (),
        roles: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        all_tags: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
        distinct: bool = False,
    ) -> Answer:
        """Find notes, records and blocks by their words, best first.

        Args:
            query: Words; a phrase in quotation marks must appear. Without any, the newest come
                first.
            limit: How many hits at most.
            offset: How many hits to pass over first.
            kinds: Of ``note``, ``record`` and ``block``; empty is all.
            roles: Only records of these roles.
            tags: Only notes with any of these tags; with ``all_tags``, all of them.
            all_tags: See ``tags``.
            since, until: Only what was made between these moments, both included.
            distinct: Show what was said in the same words several times only once.

        Raises:
            SearchError: an argument is none of those, or the index that agent.yaml names is not
                installed.
        """
        _check(limit, offset, kinds, since, until)
        from fsagent.index import follow
        from fsagent.index.entries import analysed
        from fsagent.index.find import Query, find

        index, config = self.index, self.store.config
        wanted = Query(
            query,
            limit,
            offset,
            kinds,
            roles,
            tuple(tag for tag in tags if tag.strip()),
            all_tags,
            since,
            until,
            distinct,
            self.store.clock.now(),
            config.zone,
        )
        # First, so that what is committed meanwhile is rather named once too often.
        uncommitted = self._uncommitted()
        if self.store.rev is None:
            return Answer(None, (), uncommitted)
        with index.lock:
            follow(index, self.store.repo, self.progress, self.store.rev)
            # Asked for the newest, a model does not mean what was said just now.
            tail = self._tail() if query.strip() else ()
            index.tail([analysed(doc) for doc in tail])
            meaning = self.meaning
            unread = meaning.ensure(index, self.progress) if meaning else 0
            found = find(index, wanted, None if unread else meaning)
            meta = index.meta()
        index.settle()
        commit = meta.commit if meta else None
        return Answer(commit, found.hits, uncommitted, found.unknown, found.more, unread)

    def reindex(self) -> None:
        """Forget the index and build it again. Never needed; see ``index.follow``."""
        from fsagent.index import follow

        with self.index.lock:
            self.index.clear()
            follow(self.index, self.store.repo, self.progress)
            self.index.flush()
            while self.meaning and self.meaning.ensure(self.index, self.progress):
                pass

    @cached_property
    def index(self) -> Layered:
        """What search asks; ``search`` brings it to HEAD first."""
        from fsagent.index.choose import open_index

        config = self.store.config
        cache = self.environment.cache_dir
        return open_index(
            *(config.index, config.index_memory, cache, self.store.root, config.id),
            fixed=self.store.is_past,
        )

    @cached_property
    def meaning(self) -> Meaning | None:
        """The signal of meaning, where the extra ``embed`` is installed and not switched off."""
        from fsagent.index.meaning import Meaning, installed

        if not self.environment.embed or not installed():
            return None
        return Meaning(self.index.folder)

    def forget_index(self) -> None:
        """Let go of the index; the next search opens it again, or builds it."""
        if "index" in self.__dict__:
            self.index.close()
        for name in ("index", "meaning"):
            self.__dict__.pop(name, None)
        self._dirty = (None, 0.0, ())

    def _tail(self) -> Iterator[Doc]:
        """The records of the turn under way, which no commit holds yet."""
        from fsagent.index.entries import docs_of

        for path, ids in list(self.store.live.items()):  # another thread may be in the turn
            try:
                data = self.store.read(path)
            except StoreError:  # somebody has deleted it since
                continue
            yield from (doc for doc in docs_of(path, data) if doc.id in ids)

    def _uncommitted(self) -> tuple[str, ...]:
        """Hand edits that search does not know yet; looked for once a second at most."""
        from fsagent.index.entries import searched

        head, now = self.store.repo.head(), time.monotonic()
        seen, until, paths = self._dirty
        if seen != head or now > until:
            dirty = (path for path in self.store.dirty(live=False) if searched(path))
            paths = tuple(path for path in dirty if path not in self.store.live)
            self._dirty = head, now + LOOK_EVERY, paths
        return paths


def _check(limit: object, offset: object, kinds: object, since: object, until: object) -> None:
    """Say what is wrong with the arguments of a search, if anything."""
    if not isinstance(limit, int) or limit < 1 or not isinstance(offset, int) or offset < 0:
        raise SearchError("limit must be 1 or more, and offset 0 or more.")
    known = ("note", "record", "block")
    if not isinstance(kinds, tuple) or not set(kinds) <= set(known):
        raise SearchError(f"kinds must be a tuple of {', '.join(known)}.")
    for when in (since, until):
        if when is not None and (not isinstance(when, datetime) or when.tzinfo is None):
            raise SearchError("since and until must be datetimes with a time zone.")
