"""Files, records and a window to the messages that are sent: pure, and printable.

The order is stable parts first, so that providers' prefix caches hit: instructions, core memory,
counts, the summary of what was folded away, then the records. Nothing in it changes from turn to
turn but what was changed; the time is in the records. Values are escaped, so that no memory can
forge the prompt's structure.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fsagent.clock import moment
from fsagent.config import FOLD_AT
from fsagent.errors import OverLimit
from fsagent.formats import clean, counted, tool_call_json
from fsagent.llm import Count, Message, Prompt, Schema, encoded
from fsagent.marks import escape
from fsagent.records import Block, Record, Sent, ToolCall
from fsagent.tokens import MESSAGE_OVERHEAD, at_most, count_message, count_tools, message_texts
from fsagent.view import turns

if TYPE_CHECKING:
    from fsagent.store import Store

RECIPE = 1
"""The version of the way from files and records to messages. Whoever changes what is sent raises
it: a prompt of another recipe cannot be rendered again."""

REPLY = 512
"""Tokens that are kept free for the reply at least."""

CORE_SHARE = 0.25
"""The part of the window that core memory as a whole may take."""

_MISSING = "(The turn ended before this call gave a result.)"
_BEFORE = "<event>What was said before this is in the summary.</event>"
_CUT = "\n[the rest is cut: the window is full]"

MEMORY = """\
You have three kinds of memory, and they outlive this conversation.
Core memory is the blocks below. They are always in view; change them with the core memory tools \
when you learn something that stays true about the user, yourself or the work.
Archival memory holds notes: keep long or detailed things there, and search it.
Recall is the log of every conversation: search it for what was said before. A <summary> stands \
for messages that are no longer in view.
Save what matters in the same turn in which you learn it, and correct what has changed. Never \
claim to remember what neither a block nor a search shows. Each user message begins with the time \
at which it was sent; do not begin yours so. An <event> tells what happened outside the \
conversation."""


@dataclass(frozen=True)
class Window:
    """The window of a model in tokens, how it counts them, and the part that may be filled."""

    size: int
    count: Count
    fold_at: float = FOLD_AT

    @property
    def limit(self) -> int:
        """The tokens that a prompt may have: the rest of the window is for the reply."""
        return min(int(self.size * self.fold_at), self.size - REPLY)

    @property
    def pressure(self) -> int:
        """The tokens past which the agent is told that a fold is near: three quarters."""
        return int(self.size * self.fold_at * 5 / 6)

    @property
    def core(self) -> int:
        """The tokens that core memory may have as a whole."""
        return int(self.size * CORE_SHARE)

    def smaller(self, limit: int) -> Window:
        """The same for a model that takes only about ``limit`` tokens, whatever was said of it."""
        return replace(self, size=int(max(limit, 1) / self.fold_at))

    def core_used(self, blocks: Iterable[Block]) -> int:
        """The tokens that these blocks have in a prompt."""
        return self.count(core_memory(blocks))

    def holds(self, blocks: Sequence[Block]) -> bool:
        """Whether these blocks are no more than core memory may have as a whole."""
        return at_most([core_memory(blocks)]) <= self.core or self.core_used(blocks) <= self.core

    def require(self, blocks: Sequence[Block]) -> None:
        """Raises OverLimit, for the agent that would write so, where they are more than that."""
        if not self.holds(blocks):
            raise OverLimit(
                f"Core memory as a whole may take {self.core:,} tokens, and this would make "
                f"it {self.core_used(blocks):,}: shorten something in it first, or keep a note."
            )


@dataclass(frozen=True)
class Files:
    """What of an agent's files stands in every prompt."""

    system: str
    blocks: tuple[Block, ...] = ()
    notes: int = 0
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    tools: tuple[Schema, ...] = ()

    @classmethod
    def of(cls, store: Store, tools: Sequence[Schema], notes: int | None = None) -> Files:
        """Those of a store, as they are or as they were; ``notes`` where they need no counting."""
        blocks = tuple(store.blocks().values())
        notes = store.count("archival") if notes is None else notes
        return cls(store.system(), blocks, notes, store.config.zone, tuple(tools))

    @property
    def instructions(self) -> str:
        """How the agent is to behave, and how its memory works."""
        return f"{self.system.strip()}\n\n{MEMORY}".strip()


@dataclass(frozen=True)
class Context:
    """What a model is sent, and its size in tokens by part.

    ``records`` are those that it is made from; ``cut`` is as in ``Sent``.
    """

    prompt: Prompt
    files: Files
    records: tuple[Record, ...]
    window: Window
    cut: int | None = None

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Tokens of the instructions, the tools' schemas, core memory, the summary and recall;
        their sum; and the window. Counted when asked for: see ``fits``."""
        count = self.window.count
        counts, summary = _counts(self.files, self.records), _summary(self.records)
        spent = {
            "system": count(self.files.instructions) + count(counts) + MESSAGE_OVERHEAD,
            "tools": count_tools(count, self.prompt.tools),
            "blocks": self.window.core_used(self.files.blocks),
            "summary": count(summary),
            "recall": sum(count_message(count, one) for one in self.prompt.messages[1:]),
        }
        return {**spent, "total": sum(spent.values()), "window": self.window.size}

    @property
    def fixed(self) -> int:
        """The tokens that no fold saves: instructions, tools and core memory."""
        return sum(self.tokens[part] for part in ("system", "tools", "blocks"))

    def fits(self, limit: int) -> bool:
        """Whether it has no more tokens than ``limit``. Where that is sure without a vocabulary,
        none is loaded: it takes half a second."""
        messages = self.prompt.messages
        texts = [json.dumps(tool["function"]) for tool in self.prompt.tools]
        texts += (text for message in messages for text in message_texts(message))
        bound = at_most(texts) + (MESSAGE_OVERHEAD + 1) * len(messages)
        return bound <= limit or self.tokens["total"] <= limit

    def sent(self, change: str) -> Sent:
        """What a record says of the prompt whose answer it is; ``change`` is that of the files."""
        first, last = (self.records[at].id if self.records else "" for at in (0, -1))
        return Sent(
            change,
            first,
            last,
            len(self.records),
            RECIPE,
            fingerprint(self.prompt.messages),
            fingerprint(self.prompt.tools),
            self.cut,
        )

    def render(self) -> str:
        """The messages as one text, for a person to read."""
        parts = []
        for message in self.prompt.messages:
            calls = [call["function"] for call in message.get("tool_calls", ())]
            text = message.get("content") or ""
            text += "".join(f"\n→ {call['name']}({call['arguments']})" for call in calls)
            parts.append(f"── {message['role']} ──\n{text.strip()}")
        return "\n\n".join(parts)

    def json(self) -> dict[str, Any]:
        """The messages and the tools as they are sent, and the tokens of each part."""
        return {
            "tokens": self.tokens,
            "messages": list(self.prompt.messages),
            "tools": list(self.prompt.tools),
        }


def assemble(
    files: Files, records: Sequence[Record], window: Window, *, cut: int | None = None
) -> Context:
    """The context of one model call, with all of ``records``, in the order of recall.

    What does not fit is not left out here: it is folded away first. With ``cut``, arguments and
    results of tools are cut to so many characters, in the prompt and not in recall.
    """
    parts = (
        files.instructions,
        core_memory(files.blocks),
        _counts(files, records),
        _summary(records),
    )
    first = {"role": "system", "content": "\n\n".join(part for part in parts if part)}
    said = [record for turn in turns(records) for record in turn]
    messages = (first, *to_messages(said, files.zone, cut))
    prompt = Prompt(messages, files.tools, files.blocks)
    return Context(prompt, files, tuple(records), window, cut)


def fingerprint(value: Any) -> str:
    """A hash of messages or schemas as they are sent."""
    return sha256(encoded(value).encode(errors="surrogatepass")).hexdigest()[:16]


def _counts(files: Files, records: Iterable[Record]) -> str:
    """How much there is that is not in view. It changes with a note or a fold, not with a turn."""
    text = f"Archival memory holds {counted(files.notes, 'note')}."
    earlier = sum(record.covers.total for record in records if record.covers)
    if earlier:
        text += f" Recall holds {earlier:,} earlier messages of this conversation."
    return text


def _summary(records: Iterable[Record]) -> str:
    """What was said before. Two machines that were synced have one each until the next fold."""
    texts = (escape(record.content) for record in records if record.role == "summary")
    return "\n".join(f"<summary>\n{text}\n</summary>" for text in texts)


def core_memory(blocks: Iterable[Block]) -> str:
    """The blocks as the model sees them, each with its used and allowed size."""
    parts = ["<core_memory>"]
    for block in blocks:
        about = f' description="{_attribute(block.description)}"' if block.description else ""
        about += ' read_only="true"' if block.read_only else ""
        used = f"{len(block.text):,} of {block.limit:,} characters"
        if block.left < 0:
            used += ": too long, shorten it"
        head = f'<block label="{_attribute(block.label)}"{about} used="{used}">'
        parts.append(f"{head}\n{escape(block.text)}\n</block>" if block.text else f"{head}</block>")
    return "\n".join([*parts, "</core_memory>"])


def _attribute(text: str) -> str:
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return escape(text)


def to_messages(records: Sequence[Record], zone: ZoneInfo, cut: int | None = None) -> list[Message]:
    """Records as chat messages: events and the user's words are the user's messages, joined where
    they follow one another (some endpoints insist that roles alternate)."""
    found: list[dict[str, Any]] = []
    for i, record in enumerate(records):
        if record.role in ("user", "event"):
            text = _said(record, zone)
            if found and found[-1]["role"] == "user":
                found[-1]["content"] += "\n\n" + text
            else:
                found.append({"role": "user", "content": text})
        elif record.role == "assistant" and (record.content or record.tool_calls):
            if not found:  # a turn whose first steps are folded; some endpoints want a user first
                found.append({"role": "user", "content": _BEFORE})
            message: dict[str, Any] = {"role": "assistant", "content": escape(record.content)}
            if record.tool_calls:
                message["tool_calls"] = [tool_call_json(_sound(c, cut)) for c in record.tool_calls]
            found.append(message)
            # Only what comes before the next model call can be a result of this one: ids of calls
            # are the endpoint's, and some count from one in each answer.
            after = itertools.takewhile(lambda r: r.role in ("tool", "event"), records[i + 1 :])
            results = {r.tool_call_id: r for r in after if r.role == "tool"}
            for call in record.tool_calls:
                result = results.get(call.id)
                text = escape(_shortened(result.content, cut)) if result else _MISSING
                ident = sound_id(call.id)
                found.append({"role": "tool", "tool_call_id": ident, "content": text})
    return list(found)


def _shortened(text: str, cut: int | None) -> str:
    return text if cut is None or len(text) <= cut else text[:cut] + _CUT


def _sound(call: ToolCall, cut: int | None) -> ToolCall:
    """``call`` as endpoints take it: they parse arguments that are sent back, and refuse names
    that no tool could have."""
    name, arguments = re.sub(r"[^\w-]", "_", call.name, flags=re.ASCII)[:64], call.arguments
    try:
        found = json.loads(arguments or "{}")
        if "\\u" in arguments:  # some servers parse it before they put it into a template
            arguments = clean(json.dumps(found, ensure_ascii=False))
    except (ValueError, RecursionError):
        found = {"not_json": arguments}
        arguments = clean(json.dumps(found, ensure_ascii=False))
    if cut is not None and len(arguments) > cut and isinstance(found, dict):
        short = {k: _shortened(v, cut) if isinstance(v, str) else v for k, v in found.items()}
        arguments = json.dumps(short, ensure_ascii=False)
    return ToolCall(sound_id(call.id), name or "_", escape(arguments))


def sound_id(ident: str) -> str:
    """The id of a call without what could stand for something in a template."""
    return re.sub(r"[^\w.:/+=-]", "_", ident, flags=re.ASCII)[:256]


def _said(record: Record, zone: ZoneInfo) -> str:
    text = escape(record.content)
    when = moment(record.ts)
    if record.role == "event":
        return f"<event>{text}</event>"
    return f"[{when.astimezone(zone):%a %Y-%m-%d %H:%M}] {text}" if when else text
