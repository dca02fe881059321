"""Which prompts of the past held what is to be purged.

Each answer holds a hash of its prompt. Who has all of a prompt but a short text that was purged
could try texts until the hash fits: so that hash goes, too, and of no other prompt.
"""

from __future__ import annotations

from fsagent.formats import format_record
from fsagent.history.gap import Gap
from fsagent.records import Record
from fsagent.repo import walk
from fsagent.store import Store
from fsagent.view import code, codes

_NOTHING: frozenset[str] = frozenset()


def answers(store: Store, gap: Gap) -> tuple[str, ...]:
    """The ids of the answers whose prompt held any of it; rather one too many than one too few."""
    commits, held = _of_files(store, gap)
    views: dict[str, _View] = {}
    found = []
    for _, records in reversed(list(store.stretches())):
        for record in records:
            view = views.setdefault(record.thread, _View())
            if record.sent:
                change = record.sent.change
                # Of a commit that is not known, nobody knows what it held.
                if view.held or change in held or (held and change not in commits):
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


def _of_files(store: Store, gap: Gap) -> tuple[set[str], set[str]]:
    """All commits, by what an answer calls them, and those whose core memory or instructions held
    any of it."""
    known: dict[str | None, bool] = {None: False}

    def holds(blob: str | None, path: str) -> bool:
        if blob not in known:
            data = store.repo.read(str(blob))
            known[blob] = gap.content(data, str(blob), path) != data
        return known[blob]

    states: dict[str, frozenset[str]] = {}
    commits, held = set(), set()
    entries = list(walk.history(store.repo, store.rev)) if store.rev else []
    for entry in reversed(entries):
        state = states.get(entry.parents[0], _NOTHING) if entry.parents else _NOTHING
        for change in entry.changes:
            if change.path == "system.md" or change.path.startswith("core/"):
                now = {change.path} if holds(change.new, change.path) else _NOTHING
                state = state - {change.path} | now
        states[entry.commit.commit] = state
        commits.add(entry.id)
        if state:
            held.add(entry.id)
    return commits, held
