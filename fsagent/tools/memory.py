"""The memory tools, under Letta's names and parameters, so that models and clients know them.

What they mean is Letta's too (its server 0.16.8), but for what was wrong there: limits are
enforced, a failure is never a success, what is stored is named, dates are honoured.
"""

from __future__ import annotations

import difflib
import re
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from fsagent.clock import day, moment
from fsagent.errors import ToolError
from fsagent.formats import one_line
from fsagent.marks import escape, unescape
from fsagent.records import MAIN, Answer, Block, Doc, Hit
from fsagent.secret import masked
from fsagent.tools import Tool, ToolContext, tool

_LINE_NUMBER = re.compile(r"^[ \t]*\d+→[ \t]*", re.MULTILINE)
_SHOWN = 2000
"""Characters of one hit that a search result shows."""

_BESIDE = 160
"""Characters of the docs on either side of it."""


@tool
def core_memory_append(ctx: ToolContext, label: str, content: str) -> str:
    """Add a line at the end of a core memory block. Use it for new facts worth keeping.

    Args:
        label: The block to add to.
        content: The text to add.
    """
    block = ctx.change.block(label)
    if not content.strip():
        return f"Nothing to add: content is empty. {_room(block)}"
    text = f"{block.text}\n{content}" if block.text else content
    ctx.change.subject = f"{block.label}: + {one_line(content)}"
    return f"Added to {label!r}. {_room(_set(ctx, label, text))}"


@tool
def core_memory_replace(ctx: ToolContext, label: str, old_content: str, new_content: str) -> str:
    """Replace text in a core memory block, wherever it occurs. Use it when a fact has changed.

    Args:
        label: The block to change.
        old_content: The exact text to replace.
        new_content: The text to put there; empty to delete.
    """
    block = ctx.change.block(label)
    if not old_content:
        raise ToolError("old_content is empty: give the exact text that is to be replaced.")
    old_content, new_content = _as_stored(block, old_content, new_content)
    places = block.text.count(old_content)
    if not places:
        raise ToolError(_not_there(block, "old_content", old_content))
    ctx.change.subject = _replaced(block, old_content, new_content)
    changed = _set(ctx, label, block.text.replace(old_content, new_content))
    many = f" in {places} places" if places > 1 else ""
    return f"Replaced in {label!r}{many}. {_room(changed)}"


@tool
def memory_replace(ctx: ToolContext, label: str, old_string: str, new_string: str) -> str:
    """Replace text that occurs exactly once in a core memory block.

    Args:
        label: The block to change.
        old_string: The exact text to replace, with its line breaks.
        new_string: The text to put there; empty to delete.
    """
    block = ctx.change.block(label)
    if not old_string:
        raise ToolError("old_string is empty: give the exact text that is to be replaced.")
    for name, text in (("old_string", old_string), ("new_string", new_string)):
        _no_line_numbers(name, text)
    old_string, new_string = _as_stored(block, old_string, new_string)
    starts = [found.start() for found in re.finditer(re.escape(old_string), block.text)]
    if not starts:
        raise ToolError(_not_there(block, "old_string", old_string))
    if len(starts) > 1:
        lines = ", ".join(str(block.text.count("\n", 0, start) + 1) for start in starts)
        raise ToolError(
            f"old_string occurs {len(starts)} times in {label!r}, at lines {lines}. "
            "Give more of the text around it, so that it is the only one."
        )
    ctx.change.subject = _replaced(block, old_string, new_string)
    changed = _set(ctx, label, block.text.replace(old_string, new_string))
    return f"Replaced in {label!r}. {_room(changed)}"


@tool
def memory_insert(ctx: ToolContext, label: str, new_string: str, insert_line: int = -1) -> str:
    """Insert text as lines of its own into a core memory block.

    Args:
        label: The block to change.
        new_string: The text to insert.
        insert_line: Insert after this line; 0 is the top, -1 the end.
    """
    block = ctx.change.block(label)
    _no_line_numbers("new_string", new_string)
    lines = block.text.split("\n") if block.text else []
    if not -1 <= insert_line <= len(lines):
        raise ToolError(
            f"insert_line {insert_line} is outside block {label!r}, which has {len(lines)} lines: "
            f"use 0 to {len(lines)}, or -1 for the end."
        )
    at = len(lines) if insert_line == -1 else insert_line
    lines[at:at] = new_string.split("\n")
    ctx.change.subject = f"{block.label}: + {one_line(new_string)}"
    changed = _set(ctx, label, "\n".join(lines))
    return f"Inserted into {label!r} after line {at}. {_room(changed)}"


@tool
def memory_rethink(ctx: ToolContext, label: str, new_memory: str) -> str:
    """Rewrite a whole core memory block. Keep in it everything that is still true.

    Args:
        label: The block to rewrite.
        new_memory: The whole new text of the block.
    """
    if escape(text := ctx.change.block(label).text) != text:
        new_memory = unescape(new_memory)
    ctx.change.subject = f"{label}: rewritten"
    changed = _set(ctx, label, new_memory)
    return f"Rewrote {label!r}. {_room(changed)}"


@tool
def archival_memory_insert(ctx: ToolContext, content: str, tags: list[str] | None = None) -> str:
    """Keep a note in archival memory: long or detailed things that need not always be in view.

    Args:
        content: The note, complete in itself. Markdown is welcome.
        tags: Words to file it under.
    """
    if not content.strip():
        raise ToolError("content is empty: give the text of the note.")
    note = ctx.change.add_note(content, tags or ())
    ctx.change.subject = f"note: {one_line(content)}"
    filed = f", tagged {', '.join(note.tags)}" if note.tags else ""
    return f"Kept as note {note.id}{filed}."


@tool
def archival_memory_search(
    ctx: ToolContext,
    query: str,
    tags: list[str] | None = None,
    tag_match_mode: Literal["any", "all"] = "any",
    top_k: int = 5,
    start_datetime: str | None = None,
    end_datetime: str | None = None,
    page: int = 0,
) -> str:
    """Search the notes in archival memory. Names and times like "last week" count, too.

    Args:
        query: What to look for; a "phrase" in quotes must appear. Empty: the newest notes.
        tags: Only notes with these tags.
        tag_match_mode: Whether a note needs any or all of the tags.
        top_k: How many notes at most.
        start_datetime: Only notes made on or after this date, like 2026-11-21.
        end_datetime: Only notes made on or before this date.
        page: 1 for the results after the first ones, and so on.
    """
    limit = _between(top_k, 1, 50)
    answer = ctx.search(
        query,
        limit=limit,
        offset=limit * _between(page, 0, 1000),
        distinct=True,
        kinds=("note",),
        tags=tuple(tags or ()),
        all_tags=tag_match_mode == "all",
        since=_day(start_datetime, "start_datetime", ctx.zone, end=False),
        until=_day(end_datetime, "end_datetime", ctx.zone, end=True),
    )
    return _results(ctx, answer, query, "notes", page)


@tool
def conversation_search(
    ctx: ToolContext,
    query: str | None = None,
    roles: list[Literal["user", "assistant", "tool"]] | None = None,
    limit: int = 5,
    start_date: str | None = None,
    end_date: str | None = None,
    page: int = 0,
) -> str:
    """Search everything said in earlier conversations. Names and times like "last week" count, too.

    Args:
        query: What to look for; a "phrase" in quotes must appear. Empty: the newest messages.
        roles: Only messages of these roles; normally user and assistant.
        limit: How many messages at most.
        start_date: Only messages on or after this date, like 2026-11-21.
        end_date: Only messages on or before this date.
        page: 1 for the results after the first ones, and so on.
    """
    limit = _between(limit, 1, 50)
    answer = ctx.search(
        query or "",
        limit=limit,
        offset=limit * _between(page, 0, 1000),
        distinct=True,
        kinds=("record",),
        roles=tuple(roles or ("user", "assistant")),
        since=_day(start_date, "start_date", ctx.zone, end=False),
        until=_day(end_date, "end_date", ctx.zone, end=True),
    )
    return _results(ctx, answer, query or "", "messages", page)


@tool(ends_turn=True)
def send_message(ctx: ToolContext, message: str) -> str:
    """Say something to the user, and wait for the answer.

    Args:
        message: The text that the user sees.
    """
    return message


STANDARD: tuple[Tool, ...] = (
    core_memory_append,
    core_memory_replace,
    memory_insert,
    memory_replace,
    memory_rethink,
    archival_memory_insert,
    archival_memory_search,
    conversation_search,
    send_message,
)
"""Every tool that fsagent brings, in the order in which models see them."""

OFF_BY_DEFAULT = frozenset({"send_message"})


def _set(ctx: ToolContext, label: str, text: str) -> Block:
    return ctx.change.set_block(label, text)


def _room(block: Block) -> str:
    return f"{max(block.left, 0):,} of {block.limit:,} characters left."


def _replaced(block: Block, old: str, new: str) -> str:
    half = 28
    return f"{block.label}: {one_line(old, half)} → {one_line(new, half) or '(deleted)'}"


def _not_there(block: Block, name: str, text: str) -> str:
    lines = block.text.split("\n")
    near = difflib.get_close_matches(text.strip(), lines, n=1, cutoff=0.4)
    help_ = f"The nearest line is: {near[0]}" if near else "Copy the text from the block as it is."
    return f"{name} does not occur in block {block.label!r}, so nothing was changed. {help_}"


def _as_stored(block: Block, old: str, new: str) -> tuple[str, str]:
    """What is to be replaced by what, as it stands in the block: a model may have copied it from
    its prompt, where marks are escaped."""
    plain = unescape(old)
    return (plain, unescape(new)) if old not in block.text and plain in block.text else (old, new)


def _no_line_numbers(name: str, text: str) -> None:
    if _LINE_NUMBER.search(text):
        raise ToolError(
            f"{name} begins with a line number, which is no part of the block: omit it."
        )


def _between(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _day(text: str | None, name: str, zone: ZoneInfo, *, end: bool) -> datetime | None:
    try:
        return day(text, zone, end=end) if text else None
    except ValueError as error:
        raise ToolError(f"{name}: {error}") from None


def _results(ctx: ToolContext, answer: Answer, query: str, what: str, page: int) -> str:
    # Taken apart, a token would pass the door of recall in pieces.
    shown_query, secrets = masked(query, ctx.change.store.config.allow)
    unknown = [
        word
        for word in answer.unknown
        if not any(word.lower() in one.text.lower() for one in secrets)
    ][:10]
    if not answer.hits:
        if page > 0:
            return f"No more {what}: page {page} is past the last one."
        about = f" for {one_line(shown_query, 80)!r}" if query else ""
        if unknown:
            words = ", ".join(unknown)
            return f"No {what} found{about}: nothing holds the words {words}. Try other words."
        return f"No {what} found{about}. Try other, less common words, or fewer filters."
    shown = [_result(ctx, i, hit, query) for i, hit in enumerate(answer.hits, 1)]
    if unknown:
        shown.append(f"(Nothing holds the words: {', '.join(unknown)}.)")
    if answer.more:
        shown.append(f"(There is more: page={max(page, 0) + 1}.)")
    return "\n\n".join(shown)


def _result(ctx: ToolContext, number: int, hit: Hit, query: str) -> str:
    from fsagent.index.words import excerpt  # here: no turn without a search waits for it

    doc = hit.doc
    when = moment(doc.ts)
    parts = [ago(when, ctx.now, ctx.zone)] if when else []
    parts += [f"thread {doc.thread}"] if doc.thread not in ("", MAIN) else []
    parts += [doc.name or doc.role, doc.id] if doc.kind == "record" else [f"note {doc.id}"]
    parts += [f"tags: {', '.join(doc.tags)}"] if doc.tags else []
    parts += [f"under: {doc.title}"] if doc.title else []
    lines = [f"{number}. {' · '.join(parts)}", excerpt(doc.text, query, _SHOWN)[1]]
    if hit.before:
        lines.insert(1, f"   before: {_beside(hit.before)}")
    if hit.after:
        lines.append(f"   after: {_beside(hit.after)}")
    return "\n".join(lines)


def _beside(doc: Doc) -> str:
    who = f"{doc.name or doc.role}: " if doc.kind == "record" else ""
    return who + one_line(doc.text, _BESIDE)


def ago(when: datetime, now: datetime, zone: ZoneInfo) -> str:
    """A time as people say it: the date in the agent's zone, and how long ago that was."""
    days = (now.astimezone(zone).date() - when.astimezone(zone).date()).days
    date = f"{when.astimezone(zone):%Y-%m-%d %H:%M}"
    if days < 1:
        return f"{date} (today)" if days == 0 else date
    for size, unit in ((365, "year"), (30, "month"), (7, "week"), (1, "day")):
        if days >= size:
            count = days // size
            return f"{date} ({count} {unit}{'s' if count > 1 else ''} ago)"
    return date
