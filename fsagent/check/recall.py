"""Recall: whether each line is a record, and each record there once; and mending what is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from fsagent.check.finding import Finding
from fsagent.check.merged import without_marks
from fsagent.errors import FsagentError
from fsagent.formats import counted, parse_record
from fsagent.locks import held
from fsagent.reader import why
from fsagent.records import Record
from fsagent.store import SEGMENT_BYTES, Store
from fsagent.view import code, codes

FAR_OVER = 4 * SEGMENT_BYTES
"""Bytes of a segment that no turn of ours would have let it grow to."""


@dataclass
class _Line:
    """Where a record is, and a digest of its bytes."""

    path: str
    number: int
    digest: bytes


@dataclass
class Recall:
    """All lines of recall: which hold no record, and which hold one that is there already."""

    store: Store
    count: int = 0
    seen: dict[str, _Line] = field(default_factory=dict)
    twice: list[_Line] = field(default_factory=list)
    """Lines that are there before, byte for byte."""
    calls: set[tuple[str, str]] = field(default_factory=set)
    marks: list[tuple[str, Record]] = field(default_factory=list)
    """Summaries, and what takes them back, with their places."""
    codes: set[bytes] = field(default_factory=set)
    """Hashes of all ids, made when there is a summary."""

    def findings(self, checked: list[str]) -> Iterator[Finding]:
        """What is wrong with them."""
        live = held(self.store.locks.folder / "turn.lock")
        segments = self.store.segments()
        for path in segments:
            yield from self._segment(path, live)
        if self.twice:
            first = self.twice[0]
            yield Finding(
                "problem",
                f"{first.path}:{first.number}",
                f"{counted(len(self.twice), 'record')} that are there before, byte for byte; "
                "this is the first.",
                f"fsagent check {self.store.root} --repair takes the second copies out.",
            )
        for place, record in self.marks:
            yield from self._stands(place, record)
        checked.append(f"{counted(self.count, 'record')} in {counted(len(segments), 'segment')}")

    def _segment(self, path: str, live: bool) -> Iterator[Finding]:
        try:
            data = self.store.read(path)
        except FsagentError as error:
            yield Finding("problem", path, str(error), f"Let yourself read it: chmod u+r {path}")
            return
        if len(data) > FAR_OVER and data.count(b"\n") > 1:
            yield Finding(
                "advice",
                path,
                f"It has {len(data) / 1024:,.0f} KB; a segment is to have {SEGMENT_BYTES >> 10}.",
                "Cut it into files of fewer lines, without changing any: each commit that adds to "
                "it stores all of it again.",
            )
        lines = without_marks(data).split(b"\n")
        torn = lines.pop()
        if torn and not live:  # of a turn under way, the last line may be half there
            yield Finding(
                "problem",
                f"{path}:{len(lines) + 1}",
                "The last line has no end: somebody was stopped while writing it.",
                f"fsagent check {self.store.root} --repair mends it; its bytes are kept.",
            )
        bad, first = 0, ("", "")
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    record = parse_record(line.decode())
                except ValueError as error:
                    bad += 1
                    first = first if bad > 1 else (f"{path}:{number}", why(error))
                else:
                    yield from self._record(path, number, line, record)
        if bad:
            more = f", and {bad - 1:,} more of that file" if bad > 1 else ""
            how = f"Mend the line or take it out; how it was: git -C {self.store.root} log -p"
            text = f"{first[1]}: the line is skipped{more}."
            yield Finding("problem", first[0], text, f"{how} -- {path}")

    def _record(self, path: str, number: int, line: bytes, record: Record) -> Iterator[Finding]:
        place = f"{path}:{number}"
        self.count += 1
        here = _Line(path, number, sha256(line).digest())
        first = self.seen.setdefault(record.id, here)
        if first is not here:
            if first.digest == here.digest:
                self.twice.append(here)
            else:
                text = f"The record {record.id} is there twice, and not alike: see "
                how = "Take out the one that is wrong, or give one of them another id."
                yield Finding("problem", place, f"{text}{first.path}:{first.number}.", how)
        if record.role == "summary" or record.covers or record.voids:
            self.marks.append((place, record))
        yield from self._paired(place, record)

    def _paired(self, place: str, record: Record) -> Iterator[Finding]:
        """A result without its call: then a line is missing.

        A call without its result only shows that the turn broke off, and the model is told so.
        """
        self.calls |= {(record.turn, call.id) for call in record.tool_calls}
        call = record.tool_call_id
        if record.role == "tool" and call and (record.turn, call) not in self.calls:
            text = f"It is the result of the call {call}, which is not there."
            how = f"See whether a line was lost: git -C {self.store.root} log -p -- recall"
            yield Finding("advice", place, text, how)

    def _stands(self, place: str, record: Record) -> Iterator[Finding]:
        """A summary of what is not there, or an event that takes none back."""
        how = f"See whether a line was lost: git -C {self.store.root} log -p -- recall"
        if record.voids and record.voids not in self.seen:
            text = f"It takes back the record {record.voids}, which is not there."
            yield Finding("advice", place, text, how)
        if not record.covers:
            if record.role == "summary":
                text = "It is a summary, and does not say of which records: none is folded away."
                how = f"Fold them again (fsagent fold {self.store.root}), or take the line out."
                yield Finding("advice", place, text, how)
            return
        if not self.codes:
            self.codes = {code(ident) for ident in self.seen}
        lost = codes(record.covers) - self.codes
        if lost:
            text = f"It stands for {counted(len(lost), 'record')} that are not there."
            yield Finding("advice", place, text, how)


# ── mending ───────────────────────────────────────────────────────────────────────────────


def whole_lines(store: Store) -> Iterator[str]:
    """End the last lines that have no end: whole records by a line feed, others by cutting them."""
    for path in store.segments():
        data = store.read(path)
        if data and not data.endswith(b"\n"):
            whole, told = store.ended(path, data)
            _rewrite(store, f"repair: {path}", {path: whole})
            yield told


def once_only(store: Store) -> Iterator[str]:
    """Take out the second copies of records, which a merge has brought together."""
    recall = Recall(store)
    for _ in recall.findings([]):
        pass
    gone: dict[str, set[int]] = {}
    for line in recall.twice:
        gone.setdefault(line.path, set()).add(line.number)
    writes = {}
    for path, numbers in gone.items():
        lines = store.read(path).split(b"\n")
        writes[path] = b"\n".join(one for n, one in enumerate(lines, 1) if n not in numbers)
    if writes:
        count = sum(map(len, gone.values()))
        what = f"{counted(count, 'record')} that were there twice"
        _rewrite(store, f"repair: {what}", writes)
        yield f"{what}: the second copies are taken out of {', '.join(sorted(writes))}."


def _rewrite(store: Store, subject: str, writes: dict[str, bytes]) -> None:
    """Other bytes for these files, as one commit by the person who repairs."""
    with store.change(subject, author=store.repo.person()) as change:
        for path, data in writes.items():
            change.seen[path] = store.read(path)
            change.writes[path] = data or None
