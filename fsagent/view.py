"""What of a conversation is in view: the records that no summary stands for.

Nothing else says it. A fold adds a summary, undoing one adds an event that voids it, and a sync or
an import may put records anywhere; the window follows from the lines of recall alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Container, Iterable, Sequence
from hashlib import blake2b

from fsagent.reader import Reader
from fsagent.records import MAIN, Covers, Record

_HASH = 5
"""Bytes of an id's hash: two ids of a billion alike, and a fold of fifty records is one line."""


def code(ident: str) -> bytes:
    """The hash by which a digest knows an id."""
    return blake2b(ident.encode(), digest_size=_HASH).digest()


def digest(idents: Iterable[str]) -> str:
    """The hashes of these ids, in order, as text."""
    data = b"".join(map(code, idents))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def codes(covers: Covers) -> frozenset[bytes]:
    """The hashes in a digest."""
    try:
        data = base64.urlsafe_b64decode(covers.digest + "=" * (-len(covers.digest) % 4))
    except (binascii.Error, ValueError):  # somebody wrote it by hand: then it covers nothing
        return frozenset()
    return frozenset(data[at : at + _HASH] for at in range(0, len(data), _HASH))


def uncovered(records: Sequence[Record]) -> list[Record]:
    """The records of a thread, in order, that no summary stands for; summaries are among them.

    A summary that was voided, and that no later one builds on, stands for nothing and is left out.
    """
    gone, covered = _standing(records)
    return [r for r in records if r.id not in gone and code(r.id) not in covered]


def voided(records: Sequence[Record]) -> set[str]:
    """The ids of records that a later one voids, unless that one is void itself."""
    found: set[str] = set()
    for record in reversed(records):
        if record.voids and record.id not in found:
            found.add(record.voids)
    return found


def _standing(records: Sequence[Record]) -> tuple[set[str], set[bytes]]:
    """Ids of voided summaries, and hashes of what the others cover."""
    marks = [record for record in records if record.covers or record.voids]
    void = voided(marks)
    gone: set[str] = set()
    covered: set[bytes] = set()
    for record in reversed(marks):
        if record.covers and record.id in void and code(record.id) not in covered:
            gone.add(record.id)
        elif record.covers:
            covered |= codes(record.covers)
    return gone, covered


def read(store: Reader, thread: str = MAIN) -> list[Record]:
    """The records in view, in the order of recall, read from the newest segment backwards.

    The newest summary names the record before which there was none in view when it was made, or at
    least the first that it covers. What came into older segments since then is told by their trees.
    """
    parts: list[list[Record]] = []
    marks: list[Record] = []
    seen: set[str] = set()
    known: set[str] = set()
    late: list[Record] = []
    newest: Covers | None = None
    for paths, part in store.stretches(thread):
        parts.append(part)
        known.update(paths)
        seen.update(record.id for record in part)
        here = [record for record in part if record.covers or record.voids]
        if here:
            marks = here + marks
            newest = _newest(marks)
        if newest and (newest.since or newest.first) in seen:
            late = _late(store, thread, known, newest)
            break
    return uncovered([*late, *(record for part in reversed(parts) for record in part)])


def _newest(records: Sequence[Record]) -> Covers | None:
    """What the newest summary that stands covers."""
    gone, _ = _standing(records)
    return next((r.covers for r in reversed(records) if r.covers and r.id not in gone), None)


def _late(store: Reader, thread: str, known: Container[str], newest: Covers) -> list[Record]:
    """The records that were not there when the newest summary was made, but in what is ``known``.

    ``known`` are the segments that were read.
    """
    before = store.changed_since(newest.at)
    changed = sorted(store.paths("recall") if before is None else before)
    found: list[Record] = []
    for path in changed:  # where that commit is gone, these are all
        if path not in known:
            blob = before.get(path) if before else None
            old = store.records(path, store.repo.read(blob)) if blob else ()
            there = {record.id for record in old}
            found += (r for r in store.records(path) if r.id not in there and r.thread == thread)
    return found


def turns(records: Iterable[Record]) -> list[list[Record]]:
    """Records by turns, in the order in which these began; what belongs to none stands alone.

    Two machines that were synced may have written at the same time: a turn is kept together, so
    that no tool call is parted from its result.
    """
    found: dict[object, list[Record]] = {}
    for record in records:
        found.setdefault(record.turn or object(), []).append(record)
    return list(found.values())


def steps(turn: Sequence[Record]) -> list[list[Record]]:
    """A turn cut wherever it may be cut: before each message that is no result of a call before it.

    An event that came between two results goes with them.
    """
    found: list[list[Record]] = []
    open_calls: set[str] = set()
    for record in turn:
        if record.role == "tool":
            open_calls.discard(record.tool_call_id or "")
        goes_on = record.role == "tool" or (record.role == "event" and open_calls)
        if found and goes_on:
            found[-1].append(record)
        else:
            found.append([record])
            open_calls = {call.id for call in record.tool_calls}
    return found
