"""A file that is gone from its place, and the one that it has become.

Git knows of no renames: it compares what one commit removed and added. A person renames in two
steps as well, saves half of it, or has not committed it yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fsagent.history.changes import MEMORY
from fsagent.history.drivers import note_id
from fsagent.history.edits import likeness, text_of, words_of
from fsagent.repo import sides, walk
from fsagent.repo.walk import Entry
from fsagent.store import Store

FOLDERS = tuple(folder.rstrip("/") for folder in MEMORY)
"""Where a file of memory may have gone."""

_ALIKE = 0.5
"""The part of their words that two files share at least of which one may have been the other."""


@dataclass(frozen=True)
class Arrival:
    """A file that came in the step in which another one went (0), next to it (1), or far away."""

    path: str
    data: bytes
    away: int
    committed: bool = True


@dataclass(frozen=True)
class Gone:
    """A file that is gone, what it held last, and the files that it may have become.

    ``renamed`` is what Git takes for the same file in the commit in which it went.
    """

    path: str
    data: bytes
    arrivals: tuple[Arrival, ...]
    renamed: str | None = None

    def became(self) -> Arrival | None:
        """The file that it is now; None where that is not certain.

        A note is known by its id, wherever it went. Another file is followed to one that came in
        the same step and is much the same, or in the one before or after and is the very same.
        """
        note = note_id(self.path, self.data)
        for one in self.arrivals if note else ():
            if note_id(one.path, one.data) == note:
                return one
        near = self._near()
        for one in near:
            if one.path == self.renamed:
                return one
        same = [one for one in near if one.data == self.data and self.data.strip()]
        if len(same) == 1:
            return same[0]
        like = self.like()
        return like if like and not like.away and not like.committed else None

    def like(self) -> Arrival | None:
        """The file that is most like it of those that came about then, if one is like it at all."""
        words = words_of(text_of(self.data) or "")
        found = [(likeness(words, words_of(text_of(one.data) or "")), one) for one in self._near()]
        share, one = max(found, key=lambda pair: pair[0], default=(0.0, None))
        return one if share >= _ALIKE else None

    def _near(self) -> list[Arrival]:
        """Those that came about then, without other notes."""
        is_note = note_id(self.path, self.data)
        near = [one for one in self.arrivals if one.away <= 1]
        return [one for one in near if not (is_note and note_id(one.path, one.data))]


def gone(store: Store, rev: str, line: Iterable[Entry], path: str) -> Gone | None:
    """What is known of a file of memory that is not there; None if it never was.

    Args:
        store: The agent's files.
        rev: The last commit.
        line: The commits back from it, newest first: see ``walk.along``.
        path: The file.
    """
    repo = store.repo
    files = repo.files(rev, FOLDERS)
    last, went = (files[path].oid if path in files else None), None
    came: list[tuple[int, str, str]] = []
    newer: Entry | None = None
    for step in line:
        if last:
            came += _came(step, 1)
            break
        last = next((c.old for c in step.changes if c.path == path and not c.new), None)
        if last:
            went = step
            came += _came(step, 0) + (_came(newer, 1) if newer else [])
        else:
            newer = step
    if last is None:
        return None
    data = repo.read(last)
    note = note_id(path, data)
    if note:  # it may have come at any time
        pattern = f"^id:.*{re.sub('[^0-9A-Za-z]', '.', note)}"
        names = walk.holding(repo, rev, pattern, ["archival"])
        came += [(2, name, files[name].oid) for name in names if name in files]
    came = [one for one in came if one[1] != path]
    texts = walk.blobs(repo, [blob for _, _, blob in came])
    arrivals = [
        Arrival(name, text, away) for (away, name, _), text in zip(came, texts, strict=True)
    ]
    away = 0 if went is None else 2 if newer else 1
    for name in store.dirty(recall=False):
        now = store.now(name)
        if name not in files and now is not None:
            arrivals.append(Arrival(name, now, away, committed=False))
    return Gone(
        path,
        data,
        tuple(sorted(arrivals, key=lambda one: one.away)),
        sides.renames(repo, went.parents[0], went.commit.commit).get(path) if went else None,
    )


def _came(step: Entry, away: int) -> list[tuple[int, str, str]]:
    """The files that a commit added, each with how far away it came and its blob."""
    return [(away, c.path, c.new) for c in step.changes if c.new and not c.old]
