"""Commands about the window: what the model is sent, and folding by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.common import (
    as_json,
    at_time,
    directory,
    in_thread,
    model_options,
    note_to_person,
    print_json,
    warn,
)

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.context import Context
    from fsagent.records import Folded


@click.command()
@directory
@in_thread
@at_time
@as_json
@click.option("--model", default="", metavar="NAME", help="Count as for this model.")
def context(directory: Path, thread: str, at: str | None, json_: bool, model: str) -> None:
    """Show exactly what the model would be sent now, and its size in tokens."""
    from fsagent.agent import Agent

    agent = Agent.open(directory, model=model)
    found = (agent if at is None else agent.at(at)).context(thread)
    print_json(found.json()) if json_ else show(found)
    agent.close()


def show(found: Context) -> None:
    """Print a context: the messages, and the tokens of each part."""
    click.echo(found.render())
    click.echo()
    tokens = found.tokens
    parts = "  ".join(f"{name} {count:,}" for name, count in tokens.items())
    full = tokens["total"] * 100 // tokens["window"]
    note_to_person(f"tokens: {parts}  ({full} %)")
    if not found.fits(found.window.limit):
        note_to_person("That is too much: the next turn folds the oldest messages first.")


@click.command()
@directory
@in_thread
@click.option("--dry-run", is_flag=True, help="Only show what would be folded.")
@model_options
@as_json
def fold(
    directory: Path, thread: str, dry_run: bool, model: str, gguf: Path | None, json_: bool
) -> None:
    """Fold the oldest messages into a summary now.

    A turn does it by itself when the window is full. What is folded stays in recall, word for word,
    and search finds it; undo with the commit's id takes the summary back.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory, model=f"local:{gguf}" if gguf else model)
    if dry_run:
        _planned(agent, thread, json_)
    else:
        _folded(agent, thread, json_)
    agent.close()


def _planned(agent: Agent, thread: str, json_: bool) -> None:
    plan = agent.fold_plan(thread)
    if json_:
        from fsagent.cli.output import record_json

        found = plan and {
            "count": len(plan.records),
            "before": plan.now,
            "after": plan.then,
            "records": [record_json(record) for record in plan.records],
        }
        print_json(found or None)
        return
    if plan is None:
        _nothing(agent, thread)
        return
    from fsagent.history.why import said

    for who, text in said(plan.records):
        click.echo(f"{who}: {_short(text)}")
    note_to_person(
        f"These {len(plan.records)} messages would be folded: {plan.now:,} tokens now, at most "
        f"{plan.then:,} then, of {agent.window.size:,}."
    )


def _folded(agent: Agent, thread: str, json_: bool) -> None:
    folded = agent.fold(thread)
    if json_:
        print_json(folded_json(folded) if folded else None)
    elif folded is None:
        _nothing(agent, thread)
    else:
        click.echo(folded.summary.content)
        print_folded(folded)


def print_folded(folded: Folded) -> None:
    """One line about a fold, on standard error; a warning where the summary is an extract."""
    count = folded.summary.covers.count if folded.summary.covers else 0
    line = f"· folded {count} messages into a summary: {folded.before:,} → {folded.after:,} tokens"
    commit = click.style((folded.commit or "")[:7], fg="yellow")
    click.echo(f"{click.style(line, fg='cyan')} {commit}".rstrip(), err=True)
    if folded.problem:
        warn(
            "The model gave no summary that could be used, so an extract takes its place. "
            f"{_short(folded.problem)}"
        )


def folded_json(folded: Folded) -> dict[str, object]:
    """A fold as ``fold --json`` prints it."""
    from fsagent.cli.output import record_json

    return {
        "commit": folded.commit,
        "before": folded.before,
        "after": folded.after,
        "problem": folded.problem or None,
        "summary": record_json(folded.summary),
    }


def _nothing(agent: Agent, thread: str) -> None:
    tokens = agent.context(thread).tokens
    full = tokens["total"] * 100 // tokens["window"]
    note_to_person(f"There is nothing to fold: the window is {full} % full.")


def _short(text: str) -> str:
    from fsagent.formats import one_line

    return one_line(text, 100)
