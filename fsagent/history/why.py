"""Why a line stands there: who wrote it, by which call, in which turn, and what was said."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fsagent.clock import moment
from fsagent.errors import StoreError
from fsagent.formats import may_hold, one_line, parse_page, parse_record
from fsagent.history.lines import NOBODY, Step, trace
from fsagent.records import Commit, Record
from fsagent.repo import walk

if TYPE_CHECKING:
    from fsagent.store import Store

WHOLE = ("system.md", "agent.yaml")
"""Files at the top that can be asked about."""


_DAY = len("recall/2026/11/21-")
"""The beginning of a segment's name that says its day."""

_RETOLD = ("tool", "summary")
"""Roles of records that repeat what was said elsewhere."""


@dataclass(frozen=True)
class Origin:
    """Where a line comes from.

    ``line`` is its number as an editor shows it, 1 the first; that of an earlier wording is 0.
    ``commit`` is None for a hand edit that is not committed yet; ``undos`` are the commits that
    brought the line back since, newest first. ``message`` is the record of what
    was said that caused it, None for a person's own edit; ``around`` are the records of that turn
    and the one before it, in order. ``before`` are earlier wordings, newest first. In a shallow
    clone, what is older than its history has the first commit there, and no cause.
    """

    path: str
    line: int
    text: str
    commit: Commit | None
    message: Record | None = None
    around: tuple[Record, ...] = ()
    before: tuple[Origin, ...] = ()
    undos: tuple[Commit, ...] = ()


def why(store: Store, what: str, line: int | None = None) -> list[Origin]:
    """Where memory comes from, line by line.

    Args:
        store: The agent's files.
        what: A block's label, a note's id, a path, ``WHAT:LINE``, or a text: then the newest line
            of memory that holds it, or else the newest record.
        line: One line only, as an editor counts.

    Raises:
        StoreError: there is no such block, note, line or text.
    """
    path = place_of(store, what)
    if path is None and line is None and ":" in what:
        name, _, number = what.rpartition(":")
        if number.isdecimal() and (path := place_of(store, name)):
            line = int(number[:9])
    if path is None:
        if line is not None:
            raise StoreError(f"There is no block, note or file {what!r} in {store.root}.")
        return [_holding(store, what)]
    data = store.read(path)
    total = data.count(b"\n") + (not data.endswith(b"\n"))
    if line is not None:
        if not 1 <= line <= total or not data:
            raise StoreError(f"{path} has no line {line}: it has {total if data else 0}.")
        return _origins(store, path, [line - 1], deep=not path.startswith("recall/"))
    first = parse_page(data).value_line - 1 if path.endswith(".md") else 0
    return _origins(store, path, range(first, total if data else 0))


def place_of(store: Store, what: str) -> str | None:
    """The path of a block (by label), a note (by id) or a file (by path), or None."""
    blocks = store.blocks()
    if what in blocks:
        return blocks[what].path
    if what in WHOLE or what == "system":
        return what if what in WHOLE else "system.md"
    for folder in ("core", "archival", "recall"):
        if what.startswith(f"{folder}/"):
            return what if what in store.paths(folder) else None
    if what.isalnum() and len(what) > 3:
        for path in store.paths("archival"):  # most notes have their id in their name
            if path.endswith(f"-{what}.md"):
                return path
        return next((note.path for note in store.notes() if note.id == what), None)
    return None


def _holding(store: Store, text: str) -> Origin:
    """The newest line of memory that holds ``text``, or the newest record."""
    wanted = text.casefold().strip()
    if not wanted:
        raise StoreError("Say what to explain: a block, a note's id, or a text that is in memory.")
    for folder in ("core", "archival"):
        found = []
        for path in store.paths(folder):
            lines = store.read(path).decode(errors="replace").split("\n")
            numbers = [at for at, line in enumerate(lines) if wanted in line.casefold()]
            found += _origins(store, path, numbers) if numbers else []
        if found:
            newest = max(reversed(found), key=_when)
            return _origins(store, newest.path, [newest.line - 1], deep=True)[0]
    retold = None
    for path in reversed(store.segments()):
        for number, line in reversed(list(enumerate(store.read(path).split(b"\n")))):
            record = _parsed(line)
            if record and wanted in record.content.casefold():
                if record.role not in _RETOLD:
                    return _origins(store, path, [number])[0]
                retold = retold or (path, number)
    if retold:
        return _origins(store, retold[0], [retold[1]])[0]
    raise StoreError(
        f"Neither memory nor recall holds {one_line(text)!r}. What comes near it: "
        f"fsagent search {store.root}"
    )


def _when(origin: Origin) -> float:
    """When a line was written: what is not committed yet, now."""
    when = moment(origin.commit.ts) if origin.commit else None
    return when.timestamp() if when else float("inf")


def _origins(
    store: Store, path: str, numbers: Sequence[int], *, deep: bool = False
) -> list[Origin]:
    data, repo = store.read(path), store.repo
    texts = data.decode(errors="replace").split("\n")
    steps: dict[int, list[Step]] = {}
    if store.rev is not None:
        steps = trace(repo, path, store.rev, data, numbers, deep=deep)
    known = walk.commits(
        repo,
        list(
            dict.fromkeys(
                oid
                for found in steps.values()
                for step in found
                for oid in (step.commit, *step.undos)
                if oid
            )
        ),
    )
    recall = Recall(store)
    for oid in walk.cut(repo) & known.keys():
        known[oid] = replace(
            known[oid], tool=None, call=None, turn=None, message=None, model=None, change=None
        )
        store.warn(
            "Some lines are older than the history that is here, and are given to the commit with "
            f"which that begins: bring in the rest ({walk.whole_again(repo)})."
        )

    def origin(step: Step, line: int, text: str, before: tuple[Origin, ...] = ()) -> Origin:
        commit = known.get(step.commit)
        record = _parsed(text.encode()) if path.startswith("recall/") and line else None
        where, message, around = step.path, None, []
        if record:
            around = recall.turn(record.turn, record.id, record.ts)
            message = next((one for one in around if one.role == "user"), None)
            where, text = path, record.content
        elif commit and commit.message:
            around = recall.turn(commit.turn or "", commit.message, commit.ts)
            message = next((one for one in around if one.id == commit.message), None)
        undos = tuple(known[oid] for oid in step.undos)
        return Origin(where, line, text, commit, message, tuple(around), before, undos)

    made = []
    for number in numbers:
        first, *rest = steps.get(number) or [Step(NOBODY, path, "")]
        before = tuple(origin(step, 0, step.text) for step in rest)
        made.append(
            origin(replace(first, path=path), number + 1, texts[number].rstrip("\r"), before)
        )
    return made


class Recall:
    """Recall asked by ids: the turn in which something was said."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._segments: list[str] | None = None
        self._data: dict[str, bytes] = {}
        self._turns: dict[str, list[Record]] = {}

    def turn(self, turn: str, ident: str, ts: str) -> list[Record]:
        """The records of the turn in which the record ``ident`` was written, and the one before.

        ``ts`` is about when: the segments of that day are looked through first.
        """
        if ident not in self._turns:
            self._turns[ident] = self._find(turn, ident, ts)
        return self._turns[ident]

    def _find(self, turn: str, ident: str, ts: str) -> list[Record]:
        wanted = json.dumps(ident, ensure_ascii=False).encode()
        order = self._near(ts)
        for at, path in enumerate(order):
            if wanted not in self._read(path):
                continue
            lines = self._lines(path)
            index = next((n for n, line in enumerate(lines) if _is(line, wanted, ident)), None)
            if index is None:
                continue
            own = parse_record(lines[index].decode())
            turn = turn or own.turn
            if not turn:
                return [*self._last_before(own, path, lines[:index]), own]
            if at + 1 < len(order):  # a turn may go on in the next segment
                after = self._beside(path, 1)
                lines += self._lines(after) if after else []
            mark = json.dumps(turn, ensure_ascii=False).encode()
            near = {n: _parsed(line) for n, line in enumerate(lines) if mark in line}
            inside = {n: one for n, one in near.items() if one and one.turn == turn} or {index: own}
            first = min(inside)
            return [*self._last_before(inside[first], path, lines[:first]), *inside.values()]
        return []

    def _near(self, ts: str) -> list[str]:
        """All segments, those of the day of ``ts`` and the days beside it first."""
        if self._segments is None:
            self._segments = self._store.segments()
        when = moment(ts)
        if not when:
            return self._segments[::-1]
        days = {f"recall/{when + timedelta(days=n):%Y/%m/%d}-" for n in (-1, 0, 1)}
        near = [path for path in self._segments if path[:_DAY] in days]
        known = set(near)
        return near[::-1] + [path for path in reversed(self._segments) if path not in known]

    def _last_before(self, first: Record, path: str, lines: Sequence[bytes]) -> list[Record]:
        """What was said last in its thread before a record, which stands after ``lines``.

        That may be in a segment of an earlier day, or of another machine, which wrote its own ones.
        """
        segments, found, day = self._segments or [], None, ""
        # A segment is named after its first record, so those from here on came later.
        for other in reversed(segments[: bisect_left(segments, f"{path[:_DAY]}{first.id}")]):
            if found and other[:_DAY] != day:
                break  # whatever is there was said on an earlier day
            if not may_hold(self._read(other), first.thread):
                continue
            one = _last_said(lines if other == path else self._lines(other), first)
            if one and (found is None or _age(one) > _age(found)):
                found, day = one, other[:_DAY]
        return [found] if found else []

    def _beside(self, path: str, step: int) -> str | None:
        segments = self._segments or []
        at = segments.index(path) + step
        return segments[at] if 0 <= at < len(segments) else None

    def _read(self, path: str) -> bytes:
        if path not in self._data:
            self._data[path] = self._store.read(path)
        return self._data[path]

    def _lines(self, path: str) -> list[bytes]:
        return self._read(path).split(b"\n")


def _last_said(lines: Sequence[bytes], before: Record) -> Record | None:
    """The last record of these lines that somebody said in the thread of a record, before it."""
    for record in map(_parsed, reversed(lines)):
        if not record or record.thread != before.thread or _age(record) >= _age(before):
            continue
        if record.content and record.role != "tool":
            return record
    return None


def _age(record: Record) -> tuple[float, str]:
    """What sorts records by time, those of one moment as they were written."""
    when = moment(record.ts)
    return when.timestamp() if when else 0.0, record.id


def _is(line: bytes, quoted: bytes, ident: str) -> bool:
    """Whether it is the line of the record ``ident``, which is ``quoted`` in it."""
    record = _parsed(line) if quoted in line else None
    return record is not None and record.id == ident


def _parsed(line: bytes) -> Record | None:
    try:
        return parse_record(line.decode()) if line.strip() else None
    except ValueError:
        return None


def name_of(store: Store, path: str) -> str:
    """What a path is called by a person: a block's label, a note's id, or the path."""
    if path.startswith("core/"):
        return next((b.label for b in store.blocks().values() if b.path == path), path)
    return PurePosixPath(path).stem.rpartition("-")[2] if path.startswith("archival/") else path


def said(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Records as who spoke and what, tool calls as the model wrote them."""
    for record in records:
        if record.content and record.role != "tool":
            yield record.name or record.role, record.content
        for call in record.tool_calls:
            yield record.name or record.role, f"→ {call.name}({call.arguments})"
        if record.role == "tool":
            yield "result", record.content
