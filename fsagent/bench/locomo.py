"""Conversations with questions, shaped like LoCoMo's, as agents' directories."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fsagent.agent import Agent
from fsagent.clock import Clock, moment, stamp
from fsagent.environment import Environment
from fsagent.errors import FsagentError
from fsagent.formats import format_record
from fsagent.imports.shapes import locomo
from fsagent.records import Record
from fsagent.store import SEGMENT_BYTES, SEGMENT_RECORDS


@dataclass(frozen=True)
class Asked:
    """A question, its category, and the turns that hold its answer."""

    text: str
    category: str
    evidence: frozenset[str]


@dataclass(frozen=True)
class Conversation:
    """Sessions of turns, each a time and what was said, and the questions about them."""

    name: str
    sessions: tuple[tuple[Record, ...], ...]
    questions: tuple[Asked, ...]
    dropped: int
    """How much of the evidence names no turn."""

    @property
    def turns(self) -> list[Record]:
        """What was said, in order."""
        return [record for session in self.sessions for record in session]


class BenchClock(Clock):
    """Stands at one moment, so that a run can be repeated."""

    def __init__(self, now: datetime) -> None:
        super().__init__()
        self.at = now
        self._count = 0

    def now(self) -> datetime:
        """That moment."""
        return self.at

    def id(self) -> str:
        """Ids by the time and then in order, without chance."""
        self._count += 1
        return f"{int(self.at.timestamp()):011}-{self._count:06}"


def load(path: Path) -> list[Conversation]:
    """The conversations of a file.

    Raises:
        FsagentError: it cannot be read, or is not shaped like LoCoMo's.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
        found = [
            _conversation(one, n)
            for n, one in enumerate(data if isinstance(data, list) else [data])
        ]
    except OSError as error:
        raise FsagentError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FsagentError(
            f"{path} is not shaped like LoCoMo's data: a list of conversations, each with "
            f"`conversation` and `qa` ({type(error).__name__}: {error})."
        ) from error
    return found


def _conversation(raw: Mapping[str, Any], number: int) -> Conversation:
    talk = locomo(raw)
    if talk.left_out:
        raise ValueError(f"{talk.left_out} of its turns say nothing")
    clock = BenchClock(datetime(2020, 1, 1, tzinfo=UTC))
    ids: dict[str, str] = {}
    sessions: dict[str, list[Record]] = {}
    for said in talk.said:
        clock.at = said.when or clock.at
        ids[said.key] = ident = clock.id()
        record = Record(ident, stamp(clock.at), said.role, said.text, ident, said.name or None)
        record = replace(record, extra={"session": said.session})
        sessions.setdefault(said.session, []).append(record)
    questions, dropped = [], 0
    for one in raw["qa"]:
        named = [str(item) for item in one.get("evidence") or ()]
        turns = set()
        for item in named:
            # Some are malformed: "D8:6; D9:17", "D:11:26", "D30:05".
            for session, turn in re.findall(r"(\d+):(\d+)", item) or [("", "")]:
                place = f"D{int(session or 0)}:{int(turn or 0)}"
                known = ids.get(item) or ids.get(place)
                dropped += known is None
                turns |= {known} if known else set()
        if turns:
            questions.append(
                Asked(str(one["question"]), str(one.get("category", "")), frozenset(turns))
            )
    return Conversation(
        talk.key or str(number), tuple(map(tuple, sessions.values())), tuple(questions), dropped
    )


def make_agent(
    conversation: Conversation, root: Path, environment: Environment, index: str
) -> Agent:
    """An agent that has had the conversation: its turns as recall files, committed."""
    turns = conversation.turns
    last = moment(turns[-1].ts) if turns else None
    clock = BenchClock((last or datetime(2026, 1, 1, tzinfo=UTC)) + timedelta(days=1))
    agent = Agent.init(root, environment=environment, clock=clock)
    if index:
        config = root / "agent.yaml"
        config.write_text(config.read_text() + f"index: {index}\n")
    for session in conversation.sessions:
        for path, lines in _segments(session):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(lines))
    agent.store.settle()
    return agent


def _segments(session: tuple[Record, ...]) -> Iterator[tuple[str, list[str]]]:
    """The files of a session, each within the size of a segment."""
    lines: list[str] = []
    path = ""
    for record in session:
        line = format_record(record)
        size = sum(map(len, lines)) + len(line)
        if not lines or len(lines) >= SEGMENT_RECORDS or size > SEGMENT_BYTES:
            if lines:
                yield path, lines
            path, lines = (
                f"recall/{record.ts[:10].replace('-', '/', 1).replace('-', '/')}-{record.id}.jsonl",
                [],
            )
        lines.append(line)
    if lines:
        yield path, lines
