"""``fsagent undo``, and /undo and /redo in a conversation."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.common import as_json, directory, note_to_person, print_json
from fsagent.errors import UndoConflict

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.history.edits import Side
    from fsagent.history.undo import Resolve, Sides, Undone


@click.command()
@directory
@click.argument("what", required=False, metavar="[COMMIT | TURN]")
@click.option(
    "--last",
    is_flag=True,
    help="The newest change of memory, undos included; merges are passed over.",
)
@click.option(
    "--theirs", "side", flag_value="theirs", help="Where they clash: as it was before the change."
)
@click.option("--ours", "side", flag_value="ours", help="Where they clash: as it is now.")
@click.option("--edit", is_flag=True, help="Where they clash: decide in your editor.")
@as_json
def undo(
    directory: Path, what: str | None, last: bool, side: Side | None, edit: bool, json_: bool
) -> None:
    """Take back one change, or a whole turn's, in a new commit.

    COMMIT is a commit's id or its change id, TURN a turn's id; without any of them the newest
    changes are shown. Later changes stay as they are. Where one edited the very same words, nothing
    is written and both sides are shown.
    """
    from fsagent.agent import Agent
    from fsagent.cli.history import commit_line
    from fsagent.cli.output import commit_json

    if what and last:
        raise click.UsageError("Give either a commit or turn, or --last.")
    if side and edit:
        raise click.UsageError("--edit asks you: it goes with neither --ours nor --theirs.")
    agent = Agent.open(directory)
    if what or last:
        done = _shown(
            lambda: agent.undo(what, side=side, resolve=ask if edit else None), json_=json_
        )
        print_json(undone_json(done)) if json_ else show(done)
        return
    from fsagent.history.changes import newest

    found = newest(agent.store)
    if json_:
        print_json([commit_json(one.commit) for one in found])
        return
    for one in found:
        click.echo(commit_line(one.commit, agent.config.zone))
    if found:
        note_to_person(f"To take one back: fsagent undo {shlex.quote(str(directory))} COMMIT")
    else:
        note_to_person("Memory has not been changed yet: there is nothing to undo.")


def show(done: Undone) -> None:
    """Print what an undo took, as the changed lines."""
    verb, _, what = done.subject.partition(": ")
    click.echo(f"{verb}ne: {what}")
    if len(done.paths) > 1 or not done.lines:
        for path in done.paths:
            click.echo(click.style(f"  {path}", fg="magenta"))
    for line in done.lines:
        click.echo(click.style(f"  {line}", fg="green" if line.startswith("+") else "red"))
    note_to_person(f"committed as {done.commit[:7]}")
    for sentence in done.told:
        note_to_person(sentence)


def undone_json(done: Undone) -> dict[str, object]:
    """An undo as ``undo --json`` prints it."""
    return {
        "commit": done.commit,
        "change": done.change,
        "subject": done.subject,
        "undoes": done.undoes,
        "paths": list(done.paths),
        "lines": list(done.lines),
        "told": list(done.told),
    }


def walk(agent: Agent, name: str, rest: str) -> None:
    """/undo and /redo: one step back or forward, or a commit or turn by its id."""
    from fsagent.history.undo import step_back, step_forward

    side: Side | None = None
    resolve: Resolve | None = None
    what = ""
    for word in rest.split():
        match word:
            case "--ours":
                side = "ours"
            case "--theirs":
                side = "theirs"
            case "--edit":
                resolve = ask
            case _:
                what = word
    if name == "redo":
        done = _shown(lambda: step_forward(agent.store, side=side, resolve=resolve))
    elif what:
        done = _shown(lambda: agent.undo(what, side=side, resolve=resolve))
    else:
        done = _shown(lambda: step_back(agent.store, side=side, resolve=resolve))
    show(done)


def ask(path: str, text: str) -> str | None:
    """Let a person settle a file with both sides in it."""
    return click.edit(text, extension=".md" if path.endswith(".md") else ".txt")


def _shown(undoing: Callable[[], Undone], *, json_: bool = False) -> Undone:
    """Do it; where it clashes, show both sides before the error."""
    try:
        return undoing()
    except UndoConflict as error:
        if json_:
            print_json({"clashes": [asdict(sides) for sides in error.clashes]})
        for sides in () if json_ else error.clashes:
            _show_sides(sides)
        raise


def _show_sides(sides: Sides) -> None:
    where = f"{sides.path}:{sides.line}" if sides.line else sides.path
    click.echo(click.style(where, fg="magenta"), err=True)
    by = f"{sides.who}: {sides.subject}"
    by += f", {sides.commit[:7]}" if sides.commit else ""
    by += f", back with {sides.back[:7]}" if sides.back else ""
    for title, text in (
        ("the change made", sides.made),
        (f"now it is ({by})", sides.ours),
        ("before it was", sides.theirs),
    ):
        click.echo(click.style(f"  {title}", dim=True), err=True)
        none = "(no file)" if sides.whole else "(nothing)"
        for line in text.splitlines() or [none]:
            click.echo(f"    {line}", err=True)
