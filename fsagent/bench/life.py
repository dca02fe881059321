"""An agent that has lived many turns, made at once: its files, and the commits of each turn."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fsagent import starter
from fsagent.bench.figures import CONFIG, environment
from fsagent.bench.locomo import BenchClock
from fsagent.bench.stub import REPLY
from fsagent.bench.texts import docs
from fsagent.clock import Clock, stamp
from fsagent.formats import format_message, format_page, format_record
from fsagent.records import MAIN, Covers, Record, Usage
from fsagent.view import digest

PER_DAY = 20
"""Turns of a day, as they were lived."""
NOTE_EVERY = 10
"""Of so many turns one has left a note."""
PERSONA_EVERY = 200
"""Of so many turns one has changed the block that seldom changes, the others the other block."""
FOLD_EVERY = 20
"""Of so many turns one has folded all before it but the last few away, as many as these:"""
IN_VIEW = 10
FACTS = 20
"""Lines of a block, of which a turn writes one anew."""


class Moment(Clock):
    """Stands at a moment. Its ids are as random as real ones: git packs by the ends of names."""

    at = datetime(2024, 12, 31, tzinfo=UTC)

    def now(self) -> datetime:
        """That moment."""
        return self.at


def live(root: Path, turns: int) -> None:
    """An agent that has lived so many turns; each is two commits, of a block and of recall."""
    end = datetime.now(UTC) - timedelta(hours=1)
    begin = end - timedelta(days=turns / PER_DAY)
    starter.create(root, None, BenchClock(begin), name="bench")
    with open(root / ".git/config", "a") as config:
        config.write(CONFIG)
    own = {path: (root / path).read_bytes() for path in starter.files_of(root)}

    def git(*command: str, stdin: bytes | None = None) -> None:
        subprocess.run(["git", *command], cwd=root, env=environment(), check=True, input=stdin)

    git("fast-import", "--quiet", stdin=b"".join(_stream(own, turns, begin, end)))
    git("reset", "-q", "--hard")


def _stream(
    own: Mapping[str, bytes], turns: int, begin: datetime, end: datetime
) -> Iterator[bytes]:
    """For git fast-import: a commit of the agent, and those of its turns."""
    draw, clock = random.Random(1), Moment()
    clock.at = begin
    texts = [doc.text for doc in docs(min(2 * turns, 20_000))]
    yield from _commit("init", clock, own)
    step = (end - begin) / max(turns, 1)
    path, segment = "", b""
    summary: Record | None = None
    view: list[str] = []
    blocks = {label: [f"Fact {n}." for n in range(FACTS)] for label in ("human", "persona")}
    for number in range(turns):
        clock.at = begin + step * (number + 1)
        said = texts[2 * number % len(texts)]
        told = texts[(2 * number + 1) % len(texts)]
        turn, usage = clock.id(), Usage(4000, 60)
        label = "human" if number % PERSONA_EVERY else "persona"
        fact = draw.randrange(FACTS)
        blocks[label][fact] = f"Fact {fact}, as it is since turn {number}."
        page = format_page({"limit": 2000}, "\n".join(blocks[label])).encode()
        facts = {"Tool": "memory_replace", "Turn": turn, "Message": turn}
        subject = f"{label}: + {blocks[label][fact]}"
        yield from _commit(subject, clock, {f"core/{label}.md": page}, facts)
        user = Record(turn, stamp(clock.at), "user", said, turn)
        reply = Record(clock.id(), user.ts, "assistant", told, turn, model="bench", usage=usage)
        lines = (format_record(user) + format_record(reply)).encode()
        day = f"recall/{clock.at:%Y/%m/%d}-"
        if not path.startswith(day) or segment.count(b"\n") >= 100 or len(segment) > 64_000:
            path, segment = f"{day}{turn}.jsonl", b""
        if len(view) >= 2 * (FOLD_EVERY + IN_VIEW):
            summary = _summary(clock, told, view[: -2 * IN_VIEW], summary)
            lines += format_record(summary).encode()
            del view[: -2 * IN_VIEW]
        view += (user.id, reply.id)
        segment += lines
        files = {path: segment}
        if number % NOTE_EVERY == 0:
            ident = clock.id()
            meta = {"id": ident, "created": user.ts, "tags": ["bench"]}
            note = f"archival/{clock.at:%Y/%m}/note-{ident}.md"
            files[note] = format_page(meta, f"{told}\n\n{REPLY}").encode()
        yield from _commit(f"turn: {said}", clock, files, {"Turn": turn})


def _summary(clock: Clock, text: str, folded: Sequence[str], before: Record | None) -> Record:
    """A summary of these records and of the one before it, as a fold makes it."""
    total = len(folded) + (before.covers.total if before and before.covers else 0)
    ids = [*([before.id] if before else []), *folded]
    covers = Covers(MAIN, folded[0], folded[-1], len(folded), digest(ids), total)
    return Record(clock.id(), stamp(clock.now()), "summary", text, "", covers=covers)


def _commit(
    subject: str, clock: Clock, files: Mapping[str, bytes], facts: Mapping[str, str] | None = None
) -> Iterator[bytes]:
    message = format_message(subject, {"Change": clock.id(), **(facts or {})}).encode()
    who = f"Bench <bench@localhost> {int(clock.now().timestamp())} +0000"
    head = f"commit refs/heads/main\ncommitter {who}\ndata {len(message)}\n"
    yield head.encode() + message
    for path, data in files.items():
        yield f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"
