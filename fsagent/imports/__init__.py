"""Bringing in a past: conversations that were held elsewhere, as recall with their own dates.

    export ──shapes──▶ talks ──▶ records, each with an id made from the export's ──▶ segments
           ──a few commits by the person──▶ recall

Everything is read before anything is written. What is there already, by its id, is not written
again; so an export of next month brings what is new, into the same threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.clock import CHANCE, born, id_of, stamp
from fsagent.errors import StoreError
from fsagent.formats import clean, counted, format_record, one_line, slug, thread_name
from fsagent.imports.reading import Progress, talks
from fsagent.imports.shapes import Talk
from fsagent.records import MAIN, Record
from fsagent.secret import masked
from fsagent.store import SEGMENT_BYTES, SEGMENT_RECORDS

if TYPE_CHECKING:
    from fsagent.store import Store

MESSAGES_MAX = 1_000_000
"""Messages of one import, which are kept in memory until all is read."""
TEXT_MAX = 1_000_000
"""Characters of one message."""
COMMIT_SEGMENTS = 200
"""Segments of one commit: so nobody who writes meanwhile waits for longer than a second."""

_SOURCES = {"chatgpt": "ChatGPT", "claude": "Claude", "locomo": "LoCoMo", "import": "JSONL"}
_TOLD_MAX = 1000
_DAY = timedelta(days=1)
_TICK = timedelta(milliseconds=1)


@dataclass
class Imported:
    """What an import did. ``threads`` are those that got something, with how many records each.

    ``known`` counts the messages that were there before, ``left_out`` what was not said: outputs of
    tools, hidden and empty messages, ``masked`` those in which a mark stands in the place of what
    looks like a key or a token. ``problems`` are sentences about what was skipped.
    """

    messages: int = 0
    known: int = 0
    left_out: int = 0
    skipped: int = 0
    masked: int = 0
    first: str = ""
    last: str = ""
    threads: dict[str, int] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def skip(self, sentence: str) -> None:
        """Count something that was skipped, and keep the sentence that says so."""
        self.skipped += 1
        if len(self.problems) < _TOLD_MAX:
            self.problems.append(sentence)


@dataclass(frozen=True, order=True)
class _Line:
    """A record as it is written, and its place among all of them."""

    at: datetime
    talk: int
    place: int
    ident: str
    data: bytes


class _Known:
    """The messages that are there, by their ids: the end of one comes from the export's own.

    The beginning is a time, which the next export may give a little differently to a message
    that has no date, or the same as another one.
    """

    def __init__(self, store: Store) -> None:
        self._threads: dict[str, list[tuple[datetime, str]]] = {}
        self._owners: dict[str, str] = {}
        """The threads that there are; the key of those that a conversation of this file has."""
        self.begun = False
        """Whether the conversation has begun to which the agent's events belong."""
        for segment in store.segments():
            for record in store.records(segment):
                self.begun |= record.thread == MAIN
                at = born(record.id)
                if at:
                    self.add(record.id, at, record.thread)

    def add(self, ident: str, at: datetime, thread: str) -> None:
        """Take note of a message, and of the thread that it is in."""
        self._threads.setdefault(ident[-CHANCE:], []).append((at, thread))
        self._owners.setdefault(thread, "")

    def name(self, talk: Talk, key: str, name: str) -> str:
        """A name for the thread of a new conversation, which no other one has: ``name``, or that
        and a part of a hash. One that says itself how it is called goes on with that."""
        owner = self._owners.get(name)
        alike = owner is not None and owner != key and (owner or not talk.key)
        if alike or talk.source in ("chatgpt", "claude"):
            name += f"-{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:6]}"
        self._owners[name] = key
        return name

    def thread(self, ident: str, at: datetime) -> str | None:
        """The thread of a message; None where it is not there."""
        found = self._threads.get(ident[-CHANCE:], ())
        return next((thread for when, thread in found if abs(when - at) < _DAY), None)


def import_file(store: Store, path: Path, progress: Progress | None = None) -> Imported:
    """Bring the conversations of an export into recall; see ``Agent.import_file``."""
    done = Imported()
    known = _Known(store)
    lines: list[_Line] = []
    allowed, now = store.config.allow, store.clock.now()
    for number, talk in enumerate(talks(path, done.skip, progress)):
        done.left_out += talk.left_out
        if _SOURCES[talk.source] not in done.sources:
            done.sources.append(_SOURCES[talk.source])
        lines += _lines(talk, number, known, allowed, now, done)
        if len(lines) > MESSAGES_MAX:
            raise StoreError(f"{path} has more than {MESSAGES_MAX:,} messages: split it.")
    if not done.sources:
        why = f" ({done.problems[0]})" if done.problems else ""
        raise StoreError(f"No conversation was found in {path}{why}.")
    lines.sort()
    done.messages = len(lines)
    done.first, done.last = (
        (stamp(line.at) for line in (lines[0], lines[-1])) if lines else ("", "")
    )
    _write(store, lines, done, progress, begun=known.begun)
    return done


# ── to records ────────────────────────────────────────────────────────────────────────────────


def _lines(
    talk: Talk,
    number: int,
    known: _Known,
    allowed: tuple[str, ...],
    now: datetime,
    done: Imported,
) -> list[_Line]:
    """The records of a conversation that are not there yet."""
    if not talk.said:
        return []
    about = f"“{one_line(talk.title or talk.key or 'untitled', 40)}” of {_SOURCES[talk.source]}"
    dates = [_plausible(said.when, now) for said in talk.said]
    # Where the export gives no id, a conversation is known by how it begins.
    key = talk.key or (talk.said[0].text if talk.source != "import" else "")
    at = next((when for when in dates if when), None) or _plausible(talk.start, now)
    if at is None:
        done.skip(f"{about} has no dates, by which recall is ordered; it is skipped.")
        return []
    at -= _TICK
    made: list[tuple[datetime, int, Record]] = []
    turn = thread = ""
    for place, (said, when) in enumerate(zip(talk.said, dates, strict=True)):
        # Where there is no date, or none after the last, a message comes right after that.
        at = max(when or at, at + _TICK)
        ident = id_of(at, f"{talk.source}\n{key}\n{said.key or place}")
        turn = ident if said.role == "user" or not turn else turn
        where = known.thread(ident, at)
        if where is not None:
            done.known += 1
            thread = thread or where
        elif len(said.text) > TEXT_MAX:
            done.skip(f"{about}: a message has {len(said.text):,} characters; it is skipped.")
        else:
            text, secrets = masked(clean(said.text), allowed)
            name, model, session = (
                masked(clean(about), allowed)[0] for about in (said.name, said.model, said.session)
            )
            done.masked += bool(secrets)
            record = Record(
                ident,
                stamp(when or at),
                said.role,
                text,
                turn,
                name=name or None,
                model=model or None,
                extra={"session": session} if session else {},
            )
            made.append((at, place, record))
    if not thread:  # one that was renamed goes on where it began
        title = slug(masked(talk.title, allowed)[0], "untitled")
        own = key or talk.said[0].key or talk.said[0].text
        thread = thread_name(known.name(talk, own, f"{talk.source}-{title}"))
    for at, _, record in made:
        known.add(record.id, at, thread)
    if made:
        done.threads[thread] = done.threads.get(thread, 0) + len(made)
    return [
        _Line(at, number, place, record.id, format_record(replace(record, thread=thread)).encode())
        for at, place, record in made
    ]


def _plausible(when: datetime | None, now: datetime) -> datetime | None:
    """A date at which somebody can have talked to a machine, or None."""
    return when if when and when.year >= 1960 and when < now + _DAY else None


# ── to files ──────────────────────────────────────────────────────────────────────────────────


def _write(
    store: Store, lines: list[_Line], done: Imported, progress: Progress | None, *, begun: bool
) -> None:
    """The records as segments, a few hundred a commit; whom the agent talks to is told of them."""
    files = [*_segments(lines)]
    parts = [
        files[start : start + COMMIT_SEGMENTS] for start in range(0, len(files), COMMIT_SEGMENTS)
    ]
    person = store.repo.person()
    of = f"of {counted(len(done.threads), 'conversation')} from {' and '.join(done.sources)}"
    told = f"{person.name} brought {counted(len(lines), 'message')} {of} into recall: search finds"
    for number, part in enumerate(parts, 1):
        which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        subject = f"import: {counted(len(lines), 'message')} {of}{which}"
        with store.change(subject, author=person) as change:
            change.begin()
            for path, data in part:
                change.writes[path] = (store.now(path) or b"") + data
            if number == len(parts) and begun:
                (event,) = store.events([(f"{told} them.", change.id)])
                day = event.ts[:10].replace("-", "/")  # a segment of its own: a turn may be running
                change.writes[f"recall/{day}-{event.id}.jsonl"] = format_record(event).encode()
        if change.commit:
            done.commits.append(change.commit)
        if progress:
            progress(number, len(parts))


def _segments(lines: list[_Line]) -> Iterator[tuple[str, bytes]]:
    """Files of recall with these lines: a new one each day, past 100 records or 64 KiB."""
    day, path, size = "", "", 0
    taken: list[bytes] = []
    for line in lines:
        today = f"{line.at:%Y/%m/%d}"
        full = len(taken) >= SEGMENT_RECORDS or size + len(line.data) > SEGMENT_BYTES
        if taken and (today != day or full):
            yield path, b"".join(taken)
            taken, size = [], 0
        if not taken:
            day, path = today, f"recall/{today}-{line.ident}.jsonl"
        taken.append(line.data)
        size += len(line.data)
    if taken:
        yield path, b"".join(taken)
