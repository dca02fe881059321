"""Files and a budget to the messages that are sent: pure, and printable.

The order is stable parts first, so that providers' prefix caches hit: instructions, core memory,
counts, then the records. Values are escaped, so that no memory can forge the prompt's structure.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from fsagent.clock import moment
from fsagent.formats import tool_call_json
from fsagent.llm import Count, Message, Prompt, Schema
from fsagent.records import Block, Record, ToolCall
from fsagent.tokens import at_most, count_message, count_tools

REPLY_SHARE = 0.25
"""The part of the window that is kept free for the reply, up to 4,096 tokens."""

_STRUCTURE = re.compile(r"<(?=\s*/?\s*(?:core_memory|block|event)\b)", re.IGNORECASE)
_SHORTEST = 400
"""Characters of a tool result that are never cut."""
_MISSING = "(The turn ended before this call gave a result.)"

MEMORY = """\
You have three kinds of memory, and they outlive this conversation.
Core memory is the blocks below. They are always in view; change them with the core memory tools \
when you learn something that stays true about the user, yourself or the work.
Archival memory holds notes: keep long or detailed things there, and search it.
Recall is the log of every conversation: search it for what was said before.
Save what matters in the same turn in which you learn it, and correct what has changed. Never \
claim to remember what neither a block nor a search shows. Each user message begins with the time \
at which it was sent; do not begin yours so. An <event> tells what happened outside the \
conversation."""


@dataclass(frozen=True)
class Context:
    """What a model is sent, and its size in tokens by part.

    ``dropped`` counts the records that did not fit the window.
    """

    prompt: Prompt
    window: int
    count: Count
    dropped: int = 0

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Tokens of the instructions, the tools' schemas, core memory and recall; their sum; and
        the window. Counted when asked for: a turn that surely fits needs no vocabulary."""
        first, *said = self.prompt.messages
        memory = core_memory(self.prompt.blocks)
        spent = {
            "system": self.count(str(first["content"]).replace(memory, "")),
            "tools": count_tools(self.count, self.prompt.tools),
            "blocks": self.count(memory),
            "recall": sum(count_message(self.count, message) for message in said),
        }
        return {**spent, "total": sum(spent.values()), "window": self.window}

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
        """The messages and the tokens of each part."""
        return {"tokens": self.tokens, "messages": list(self.prompt.messages)}


def assemble(
    *,
    system: str,
    blocks: Sequence[Block],
    notes: int,
    records: Iterable[Record],
    tools: Sequence[Schema],
    window: int,
    count: Count,
    zone: ZoneInfo,
) -> Context:
    """The context of one model call.

    ``records`` come newest first and are taken until the window, less room for the reply, is full;
    the cut is before a user's message, so that no tool call loses its result.
    """
    instructions = f"{system.strip()}\n\n{MEMORY}".strip()
    memory = core_memory(blocks)
    counts = f"Archival memory holds {notes:,} note{'' if notes == 1 else 's'}."
    first = {"role": "system", "content": f"{instructions}\n\n{memory}\n\n{counts}"}
    room = window - min(int(window * REPLY_SHARE), 4096)
    fixed = [str(first["content"]), str(tools)]
    taken: list[Record] = []
    size = at_most(fixed)
    turns: list[list[Record]] = []
    dropped = 0
    for record in records:
        taken.append(record)
        size += at_most([*_texts(record), "x" * 40])
        if record.role == "user":
            turns.append(taken[::-1])
            taken = []
            if size > room * 8:  # even at eight bytes a token this is full
                break
    if taken:
        turns.append(taken[::-1])
    if size > room:
        turns, dropped = _fitting(turns, first, tools, room, count, zone)
    kept = [record for turn in reversed(turns) for record in turn]
    messages = (first, *_messages(kept, zone))
    return Context(Prompt(messages, tuple(tools), tuple(blocks)), window, count, dropped)


def _fitting(
    turns: list[list[Record]],
    first: Message,
    tools: Sequence[Schema],
    room: int,
    count: Count,
    zone: ZoneInfo,
) -> tuple[list[list[Record]], int]:
    """The newest of ``turns`` (newest first) that fit, by real count; always the newest one."""
    room -= count_message(count, first) + count_tools(count, tools)
    kept: list[list[Record]] = []
    turns = [*(_shortened(turn, room, count, zone) for turn in turns[:1]), *turns[1:]]
    for turn in turns:
        room -= sum(count_message(count, message) for message in _messages(turn, zone))
        if room < 0 and kept:
            break
        kept.append(turn)
    return kept, sum(len(turn) for turn in turns[len(kept) :])


def _shortened(turn: list[Record], room: int, count: Count, zone: ZoneInfo) -> list[Record]:
    """The newest turn, with its longest tool results cut until it fits: in the prompt, that is;
    recall keeps them whole."""
    turn = list(turn)
    while sum(count_message(count, message) for message in _messages(turn, zone)) > room:
        at = max(range(len(turn)), key=lambda i: len(turn[i].content) * (turn[i].role == "tool"))
        text = turn[at].content
        if turn[at].role != "tool" or len(text) <= _SHORTEST:
            break
        kept = text[: len(text) // 2]
        turn[at] = replace(turn[at], content=f"{kept}\n[the rest is cut: the window is full]")
    return turn


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


def escape(text: str) -> str:
    """``text`` with the tags that structure the prompt made harmless, and nothing else changed."""
    return _STRUCTURE.sub("&lt;", text)


def _attribute(text: str) -> str:
    text = " ".join(text.split())
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _texts(record: Record) -> list[str]:
    return [record.content, *(call.name + call.arguments for call in record.tool_calls)]


def _messages(records: Sequence[Record], zone: ZoneInfo) -> list[Message]:
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
        elif record.role == "assistant":
            message: dict[str, Any] = {"role": "assistant", "content": record.content}
            if record.tool_calls:
                message["tool_calls"] = [tool_call_json(_sound(call)) for call in record.tool_calls]
            if record.content or record.tool_calls:
                found.append(message)
            # Only what comes before the next model call can be a result of this one: ids of calls
            # are the endpoint's, and some count from one in each answer.
            after = itertools.takewhile(lambda r: r.role in ("tool", "event"), records[i + 1 :])
            results = {r.tool_call_id: r for r in after if r.role == "tool"}
            for call in record.tool_calls:
                result = results.get(call.id)
                text = result.content if result else _MISSING
                found.append({"role": "tool", "tool_call_id": call.id, "content": text})
    return list(found)


def _sound(call: ToolCall) -> ToolCall:
    """``call`` with arguments that are JSON: endpoints parse what they are sent back."""
    try:
        json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return replace(call, arguments=json.dumps({"not_json": call.arguments}))
    return call


def _said(record: Record, zone: ZoneInfo) -> str:
    text = escape(record.content)
    when = moment(record.ts)
    if record.role == "event":
        return f"<event>{text}</event>"
    return f"[{when.astimezone(zone):%a %Y-%m-%d %H:%M}] {text}" if when else text
