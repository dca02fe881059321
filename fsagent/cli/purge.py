"""``fsagent purge``: ask, purge, and say what is left and what is out of reach."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from fsagent.cli.common import as_json, directory, note_to_person, print_json
from fsagent.errors import StoreError


@click.command()
@directory
@click.argument("what", required=False, metavar="[TEXT | COMMIT | RECORD]")
@click.option("--text", is_flag=True, help="Take it as a text, whatever it looks like.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def purge(directory: Path, what: str | None, text: bool, yes: bool, json_: bool) -> None:
    """Take a text, a record or a commit out of DIR and all its history, for good.

    RECORD is a record's id. COMMIT is that of a commit, a change or a turn: the lines that it
    added go. A TEXT goes wherever it stands; without one you are asked for it, and - reads it from
    standard input, so that it is in no history of your shell.
    """
    from fsagent.agent import Agent
    from fsagent.formats import counted
    from fsagent.history.purge import purge, survey
    from fsagent.history.target import find

    agent = Agent.open(directory)
    for warning in agent.store.warnings:
        note_to_person(warning)
    if what is None:
        what, text = click.prompt("What is to go (it is not shown)", hide_input=True), True
    elif what == "-":
        what, text = sys.stdin.read(), True
    target = find(agent.store, what, text=text)
    if not yes:
        if not sys.stdin.isatty() and not json_:
            note_to_person("Nobody can be asked here: --yes goes on without.")
        if json_:
            raise click.UsageError("--json cannot ask: give --yes as well.")
        found = survey(agent, target)
        if found.empty:
            click.echo("It stands nowhere that is reached from here.")
            agent.close()
            return
        _tell("It stands in", [*found.files[:20], *_more(found.files)])
        click.echo(
            f"and in the history in {counted(found.versions, 'version')} of files and "
            f"{counted(found.messages, 'message')} of commits."
        )
        click.echo("All of it goes for good, and the commits since then get other ids.")
        click.confirm("Go on?", abort=True)
    start = time.monotonic()
    done = purge(agent, target)
    agent.close()
    if json_:
        print_json({**asdict(done), "looked_at": list(done.looked_at)})
    else:
        _tell("purged in", done.files)
        click.echo(
            f"history: {counted(done.versions, 'version')} of files and "
            f"{counted(done.commits, 'commit')} made again"
        )
        for line in done.told:
            click.echo(line)
        objects, files = done.looked_at
        through = f"looked through {counted(objects, 'object')} and {counted(files, 'file')}: "
        if done.nothing:
            click.echo(f"{through}it stood nowhere, and nothing was changed. Is it spelled so?")
        elif not done.left:
            click.echo(f"{through}it is nowhere")
        if done.elsewhere:
            _tell("the same words stand still in", done.elsewhere)
            note_to_person(f"To purge them as well: fsagent purge {_quoted(directory)} TEXT")
        for oid, path in done.reworded:
            click.echo(f"a line of it in {path} was reworded by {oid}, which stands still")
        if done.reworded:
            note_to_person(f"To purge a wording as well: fsagent purge {_quoted(directory)} COMMIT")
        for line in done.beyond:
            click.echo(f"out of reach: {line}")
        note_to_person(f"{time.monotonic() - start:.1f} s")
    if done.left:
        raise StoreError(f"It is left in {'; '.join(done.left[:10])}. Mend that, and purge again.")


def _tell(what: str, places: list[str]) -> None:
    for place in places:
        click.echo(f"{what} {place}")


def _more(files: tuple[str, ...]) -> list[str]:
    return [f"{len(files) - 20:,} more files"] if len(files) > 20 else []


def _quoted(directory: Path) -> str:
    return shlex.quote(str(directory))
