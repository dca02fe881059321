"""Commands about the window: what the model is sent, or was sent once, and folding by hand."""

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
@click.option("--turn", metavar="TURN", help="What was sent in that turn, byte for byte.")
@click.option(
    "--step",
    type=click.IntRange(1),
    help="With --turn: which of its model calls; the last without this.",
)
@as_json
@click.option("--model", default="", metavar="NAME", help="Count as for this model.")
def context(
    directory: Path,
    thread: str,
    at: str | None,
    turn: str | None,
    step: int | None,
    json_: bool,
    model: str,
) -> None:
    """Show exactly what the model would be sent now, and its size in tokens.

    With --turn it is what the model was sent then, made again from the files and records of that
    time; whether it is the same to the byte is checked and said.
    """
    from fsagent.agent import Agent

    if turn and at is not None:
        raise click.UsageError("Give either --turn or --at.")
    if step and not turn:
        raise click.UsageError("--step is the number of a model call in a turn: give --turn, too.")
    agent = Agent.open(directory, model=model)
    if turn is not None:
        _past(agent, turn, step, json_)
    else:
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


def _past(agent: Agent, turn: str, step: int | None, json_: bool) -> None:
    from fsagent.formats import counted

    prompts = agent.prompts(turn)
    if step and step > len(prompts):
        raise click.UsageError(f"That turn has {counted(len(prompts), 'model call')}.")
    number = step or len(prompts)
    made = prompts[number - 1]
    if json_:
        about = {"turn": turn, "step": number, "steps": len(prompts), "answer": made.answer.id}
        state = {"same": made.same, "purged": made.purged}
        print_json({**about, **state, **made.context.json()})
        return
    click.echo(made.context.render())
    click.echo()
    call = f"call {number} of {len(prompts)}, {made.answer.model} at {made.answer.ts[:16]}Z"
    if made.same:
        note_to_person(f"{call}: to the byte what was sent.")
    elif made.purged:
        warn(f"{call}: something that stood in it was purged since, and a mark stands there.")
    elif made.same_messages:
        note_to_person(f"{call}: the messages to the byte; the tools have other schemas now.")
    else:
        warn(
            f"{call}: not to the byte what was sent: it was made from a file that no commit holds, "
            "or from records that were edited since."
        )


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
