"""Undoing a fold: an event that voids the summary, so that what it covers is in view again.

Recall is never rewritten: the summary stays a line of it. Undoing that undo voids the event.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fsagent.clock import stamp
from fsagent.errors import StoreError, UndoConflict
from fsagent.records import Record
from fsagent.repo import walk
from fsagent.repo.walk import Entry
from fsagent.store import Store
from fsagent.view import code, codes, voided


def lines_of(store: Store, one: Entry) -> list[Record]:
    """The summaries, and the events that void one, that a commit added to recall."""
    found = []
    for change in one.changes:
        if change.path.startswith("recall/") and change.new:
            old = store.repo.read(change.old) if change.old else b""
            known = {record.id for record in store.records(change.path, old)}
            new = store.records(change.path, store.repo.read(change.new))
            found += [r for r in new if (r.covers or r.voids) and r.id not in known]
    return found


def voiding(store: Store, lines: Iterable[Record], person: str, change: str) -> list[Record]:
    """The events that take these lines back. Needs the turn.

    Raises:
        UndoConflict: one is taken back already, or a later fold builds on it.
    """
    clock = store.clock
    made = []
    for line in lines:
        marks = [
            record
            for path in store.segments()
            for record in store.records(path)
            if (record.covers or record.voids) and record.thread == line.thread
        ]
        told = f"{person} {_taking_back(store, line, marks)}"
        event = Record(clock.id(), stamp(clock.now()), "event", told, "", thread=line.thread)
        made.append(replace(event, change=change, voids=line.id))
    return made


def _taking_back(store: Store, line: Record, marks: list[Record]) -> str:
    """What it means that a line is taken back, in words for the agent."""
    void = voided(marks)
    if line.id in void:
        raise UndoConflict("This is undone already.")
    known = {record.id: record for record in marks}
    summary: Record | None = line
    while summary and summary.voids:
        summary = known.get(summary.voids)
    if summary is None or summary.covers is None:
        raise StoreError("The summary that this is about is not in recall any more.")
    others = [r for r in marks if r.covers and r.id not in void and r.id != summary.id]
    again = summary.id in void
    mine = codes(summary.covers) if again else {code(summary.id)}
    for other in others:
        if other.covers and mine & codes(other.covers):
            how = "stands for the same messages now" if again else "builds on this one"
            pattern = f'"id": *"{other.id}"'
            made = walk.last_with(store.repo, store.rev or "HEAD", pattern, ("recall",))
            where = f"fsagent undo {store.root} {made.commit[:7]}" if made else "it is in no commit"
            raise UndoConflict(f"A later summary {how}: undo that fold first ({where}).")
    count = summary.covers.count
    if again:
        return f"put a summary back: it stands for {count} messages again."
    return f"took a summary back: the {count} messages that it stood for are in view again."
