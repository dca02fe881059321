"""What the commands and the conversation both print, as text and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from fsagent.cli.common import note_to_person
from fsagent.clock import moment
from fsagent.formats import format_record, one_line, usage_json
from fsagent.records import MAIN

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.records import Answer, Commit, Hit, Record, ToolCall, ToolResult, Turn


def turn_json(turn: Turn) -> dict[str, Any]:
    """A turn as ``chat --json`` prints it."""
    return {
        "turn": turn.id,
        "thread": turn.thread,
        "reply": turn.reply,
        "steps": turn.steps,
        "tool_calls": [
            {
                "name": result.call.name,
                "arguments": arguments_of(result.call),
                "status": result.status,
                "result": result.text,
                "commit": result.commit,
            }
            for result in turn.tool_calls
        ],
        "commits": list(turn.commits),
        "usage": usage_json(turn.usage),
        "model": turn.model,
    }


def arguments_of(call: ToolCall) -> Any:
    """The arguments as an object, or the model's text where that is none."""
    try:
        return json.loads(call.arguments or "{}", strict=False)
    except (ValueError, RecursionError):
        return call.arguments


def tool_line(result: ToolResult) -> str:
    """One tool call as one line, with its commit or what went wrong."""
    arguments = arguments_of(result.call)
    if isinstance(arguments, dict):
        parts = [f"{key}={_short(value)}" for key, value in arguments.items() if value is not None]
        text = ", ".join(parts)
    else:
        text = one_line(str(arguments))
    line = click.style(f"· {one_line(result.call.name, 40)}({text})", fg="cyan")
    if result.commit:
        return f"{line} {click.style(result.commit[:7], fg='yellow')}"
    if result.status == "error":
        return f"{line} {click.style(one_line(result.text, 160), fg='red')}"
    return line


def _short(value: Any) -> str:
    return json.dumps(one_line(value, 60) if isinstance(value, str) else value, ensure_ascii=False)


def commit_json(commit: Commit) -> dict[str, Any]:
    """A commit as ``log --json`` prints it."""
    return {
        "commit": commit.commit,
        "ts": commit.ts,
        "author": commit.author,
        "subject": commit.subject,
        "tool": commit.tool,
        "turn": commit.turn,
        "message": commit.message,
        "paths": list(commit.paths),
        "change": commit.change,
        "call": commit.call,
        "model": commit.model,
    }


def record_json(record: Record) -> dict[str, Any]:
    """A record as recall has it."""
    line: dict[str, Any] = json.loads(format_record(record))
    return line


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as ``search --json`` prints it."""
    return {
        "commit": answer.commit,
        "uncommitted": list(answer.uncommitted),
        "unknown": list(answer.unknown),
        "more": answer.more,
        "unread": answer.unread,
        "hits": [
            {
                "id": hit.doc.id,
                "kind": hit.doc.kind,
                "path": hit.doc.path,
                "line": hit.doc.line,
                "ts": hit.doc.ts or None,
                "role": hit.doc.role or None,
                "name": hit.doc.name or None,
                "thread": hit.doc.thread or None,
                "title": hit.doc.title or None,
                "tags": list(hit.doc.tags),
                "score": hit.score,
                "text": hit.doc.text,
                "before": hit.before.text if hit.before else None,
                "after": hit.after.text if hit.after else None,
                "signals": dict(hit.signals),
            }
            for hit in answer.hits
        ],
    }


def print_answer(agent: Agent, answer: Answer, query: str, *, explain: bool = False) -> None:
    """Hits for a person: where, when, who, and the text; with ``explain``, their signals."""
    from fsagent.index.words import excerpt

    for hit in answer.hits:
        begin, text = excerpt(hit.doc.text, query, 240)
        first = hit.doc.text.split("\n", 1)[0]
        titles = [hit.doc.title, first.strip("# ") if begin and first.startswith("#") else ""]
        above = " > ".join(title for title in titles if title)
        title = click.style(f"{one_line(above, 80)}: ", dim=True) if above else ""
        line = hit.doc.line
        if hit.doc.kind != "record":  # whose line is one, whatever its text
            line += hit.doc.text.count("\n", 0, begin)
        click.echo(f"{_where(agent, hit, line)}\n  {title}{one_line(text, 260)}")
        if explain and hit.signals:
            parts = " + ".join(
                f"{name} {value:.2f}" for name, value in hit.signals.items() if value
            )
            click.echo(click.style(f"  {hit.score:.2f} = {parts}", fg="cyan"))
    missing = ", ".join(answer.unknown[:10])
    words = f"the word{'s' if len(answer.unknown) > 1 else ''} {missing}"
    if not answer.hits:
        click.echo(f"Nothing found: no memory holds {words}." if missing else "Nothing found.")
    elif missing:
        note_to_person(f"No memory holds {words}.")
    if answer.more:
        note_to_person(f"There are more: --limit {len(answer.hits) * 2}")
    if answer.unread:
        note_to_person(
            f"The meaning of {answer.unread:,} texts is not read yet: until it is, words alone "
            f"rank. Each search reads on; fsagent reindex {agent.root} reads them all."
        )
    if answer.uncommitted:
        names = ", ".join(answer.uncommitted[:5])
        more = f" and {len(answer.uncommitted) - 5} more" if len(answer.uncommitted) > 5 else ""
        note_to_person(f"Not searched yet, since they are not committed: {names}{more}")


def _where(agent: Agent, hit: Hit, line: int) -> str:
    doc = hit.doc
    when = moment(doc.ts)
    date = f"{when.astimezone(agent.config.zone):%Y-%m-%d %H:%M}" if when else ""
    who = doc.name or doc.role if doc.kind == "record" else doc.kind
    where = f"thread {doc.thread}" if doc.thread not in ("", MAIN) else ""
    tags = " ".join(f"#{tag}" for tag in doc.tags)
    place = click.style(f"{doc.path}:{line}", fg="magenta")
    return "  ".join(part for part in (place, date, who, where, tags) if part)
