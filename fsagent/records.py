"""The things fsagent speaks of, as frozen dataclasses. No behaviour beyond what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["success", "error"]
Kind = Literal["note", "record", "block"]

MAIN = "main"
"""The thread of whatever names no other."""

PRESSURE = "Memory pressure: "
"""How the event begins that warns an agent before its window is full."""

CORE_LIMIT = 2000
"""Characters that a block may hold where its front matter names no limit."""


@dataclass(frozen=True)
class Person:
    """Who made a commit."""

    name: str
    email: str


@dataclass(frozen=True)
class Block:
    """One core-memory file. ``text`` is its value: the body without its final newline."""

    label: str
    path: str
    text: str
    description: str = ""
    limit: int = CORE_LIMIT
    read_only: bool = False

    @property
    def left(self) -> int:
        """Characters of room; negative when a hand edit went over the limit."""
        return self.limit - len(self.text)


@dataclass(frozen=True)
class Note:
    """One archival file. ``created`` is ISO 8601 in UTC, or "" where nobody wrote it down."""

    id: str
    path: str
    text: str
    tags: tuple[str, ...] = ()
    created: str = ""
    source: str = ""


@dataclass(frozen=True)
class ToolCall:
    """A model's request to run a tool. ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolResult:
    """What became of a tool call. ``commit`` is None when nothing was changed."""

    call: ToolCall
    status: Status
    text: str
    commit: str | None = None
    change: str | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of one model call or the sum over several; ``cached`` is a part of ``prompt``."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
        )


@dataclass(frozen=True)
class Covers:
    """What a summary stands for: ``count`` records of a thread, the first and the last of them.

    ``digest`` holds a hash of each one's id, and of those of the summaries that it builds on, so
    that a record that comes into the range later is told from them. ``total`` counts the records of
    these as well. ``at`` is the commit on which it was made, and ``since`` the record before which
    there was none in view then: hints, for who reads only the newest.
    """

    thread: str
    first: str
    last: str
    count: int
    digest: str
    total: int = 0
    at: str = ""
    since: str = ""


@dataclass(frozen=True)
class Sent:
    """What a prompt was made from: the files at ``change``, and ``count`` records up to ``last``.

    ``change`` is the id of the newest change then, or of the commit where a person made it.
    ``recipe`` is the version of the way from these to messages. ``cut`` is the number of characters
    to which arguments and results of tools were cut, None where they were whole. ``messages`` and
    ``tools`` are hashes of what was sent.
    """

    change: str
    first: str
    last: str
    count: int
    recipe: int
    messages: str
    tools: str
    cut: int | None = None


@dataclass(frozen=True)
class Record:
    """One line of recall.

    ``role`` is user, assistant, tool (a result), event (what happened outside the conversation) or
    summary (of the records that it ``covers``). ``name`` says who speaks: for a tool result, the
    tool. ``thread`` is the conversation that the record belongs to. ``ms`` is how long the model or
    the tool took, ``own_ms`` how long fsagent took to come to this call of the model, without
    tools. ``sent`` says what the prompt was made from whose answer this is. ``voids`` is the id of
    a record that no longer counts. ``extra`` holds keys of the line that this version does not
    know.
    """

    id: str
    ts: str
    role: str
    content: str
    turn: str
    name: str | None = None
    thread: str = MAIN
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    status: Status | None = None
    change: str | None = None
    model: str | None = None
    usage: Usage | None = None
    ms: int | None = None
    own_ms: int | None = None
    sent: Sent | None = None
    covers: Covers | None = None
    voids: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """One commit, with the trailers that say which tool, turn and message it came from.

    ``undoes`` is the change, turn or commit that it takes back.
    """

    commit: str
    ts: str
    author: str
    email: str
    subject: str
    tool: str | None = None
    turn: str | None = None
    message: str | None = None
    change: str | None = None
    paths: tuple[str, ...] = ()
    undoes: str | None = None
    call: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Doc:
    """What the index holds: a record, a chunk of a note, or a block.

    ``line`` is the 1-based line of ``path`` where the text begins. ``title`` is the path of
    headings above a chunk. ``session`` names the conversation without a gap, or the note, in which
    the doc stands at ``place``. ``blob`` is the object id of a note's or block's file.
    """

    id: str
    kind: Kind
    path: str
    line: int
    text: str
    ts: str = ""
    role: str = ""
    name: str = ""
    thread: str = ""
    tags: tuple[str, ...] = ()
    title: str = ""
    session: str = ""
    place: int = 0
    blob: str = ""


@dataclass(frozen=True)
class Hit:
    """A doc that answers a query, with its score and the docs on either side of it.

    ``signals`` are the parts of the score, by name; see docs/search.md.
    """

    doc: Doc
    score: float
    before: Doc | None = None
    after: Doc | None = None
    signals: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Answer:
    """Hits, best first; the commit they speak for; hand edits that no commit holds yet.

    ``unread`` are the texts whose meaning is not known yet: until it is, words alone rank.
    ``unknown`` are the words of the query that occur nowhere; ``more`` says that there are hits
    past these.
    """

    commit: str | None
    hits: tuple[Hit, ...]
    uncommitted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    more: bool = False
    unread: int = 0


# The events of a turn, in the order in which Agent.stream yields them.


@dataclass(frozen=True)
class TextDelta:
    """A piece of the reply, as it comes."""

    text: str


@dataclass(frozen=True)
class Folded:
    """The oldest messages were folded into ``summary``, in one commit.

    ``before`` and ``after`` are the tokens of the prompt. ``problem`` says why the summary is an
    extract; "" where the model wrote it.
    """

    summary: Record
    before: int
    after: int
    commit: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class Warned:
    """Something a person should know that did not stop the turn."""

    text: str


@dataclass(frozen=True)
class Turn:
    """A whole turn, and the last event of its stream.

    ``commits`` are all commits of the turn, oldest first; the recall commit is the last.
    """

    id: str
    text: str
    reply: str
    steps: int
    tool_calls: tuple[ToolResult, ...]
    commits: tuple[str, ...]
    usage: Usage
    model: str
    warnings: tuple[str, ...] = ()
    thread: str = MAIN


Event = TextDelta | ToolCall | ToolResult | Folded | Warned | Turn
