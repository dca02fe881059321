"""Which prompts of the past held what is to be purged.

Each answer holds a hash of its prompt. Who has all of a prompt but a short text that was purged
could try texts until the hash fits: so that hash goes, too, and of no other prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from fsagent.clock import moment
from fsagent.formats import format_record
from fsagent.history.gap import Gap
from fsagent.records import Record
from fsagent.repo import walk
from fsagent.store import Store
from fsagent.view import code, codes

_SECOND = timedelta(seconds=1)
"""Git writes times down to the second."""

_NEVER = datetime.max.replace(tzinfo=UTC)


def answers(store: Store, gap: Gap) -> tuple[str, ...]:
    """The ids of the answers whose prompt held any of it; rather one too many than one too few."""
    held = _in_files(store, gap)
    views: dict[str, _View] = {}
    found = []
    for _, records in reversed(list(store.stretches())):
        for record in records:
            view = views.setdefault(record.thread, _View())
            if record.sent and (view.held or _within(record, held)):
                found.append(record.id)
            view.add(record, holds=gap.holds(format_record(record).encode()))
    return tuple(found)


class _View:
    """Which of the records in view of a thread hold any of it."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self._folded: dict[str, set[str]] = {}
        """Those of them that a summary stands for, by its id."""

    def add(self, record: Record, *, holds: bool) -> None:
        """Go on by one record."""
        if record.covers:
            covered = codes(record.covers)
            away = {ident for ident in self.held if code(ident) in covered}
            self._folded[record.id] = away
            self.held -= away
        if record.voids:
            self.held |= self._folded.get(record.voids, set())
        if holds:
            self.held.add(record.id)


def _within(record: Record, held: tuple[datetime, datetime] | None) -> bool:
    when = moment(record.ts)
    return held is not None and (when is None or held[0] <= when <= held[1])


def _in_files(store: Store, gap: Gap) -> tuple[datetime, datetime] | None:
    """From when to when any of it stood in files that are in every prompt; None: never."""
    known: dict[str | None, bool] = {None: False}

    def holds(blob: str | None, path: str) -> bool:
        if blob is not None and blob not in known:
            data = store.repo.read(blob)
            known[blob] = gap.content(data, blob, path) != data
        return known[blob]

    came: list[datetime] = []
    went: list[datetime] = []
    for path, old, new, when in _changes(store):
        if holds(new, path):
            came.append(when)
        elif holds(old, path):
            went.append(when)
    if not came:
        return None
    now = [path for path in (*store.paths("core"), "system.md") if store.has(path)]
    stays = any(gap.content(data := store.read(path), path=path) != data for path in now)
    return min(came), _NEVER if stays or not went else max(went) + _SECOND


def _changes(store: Store) -> Iterator[tuple[str, str | None, str | None, datetime]]:
    """Every change of a block or of the instructions: its path, the blobs, and when."""
    if store.rev is None:
        return
    for entry in walk.log(store.repo, store.rev, ("core/", "system.md"), "--full-history"):
        when = moment(entry.commit.ts)
        for change in entry.changes:
            if when and (change.path == "system.md" or change.path.startswith("core/")):
                yield change.path, change.old, change.new, when
