"""Commands for several machines and several minds: ``sync``, ``clone`` and ``merge``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from fsagent.cli.common import as_json, directory, note_to_person, print_json, warn


@click.command()
@directory
@click.argument("place", required=False)
@as_json
def sync(directory: Path, place: str | None, json_: bool) -> None:
    """Keep DIR and its other places in step: fetch, merge, push.

    PLACE is a remote's name, an address that git knows, or a directory, like a bare repository; by
    default the upstream of the branch, or origin. The first PLACE is called origin from then on.

    Your edits are committed first. Where both sides have changed the same words, both versions stay
    under headings, and the agent is told to settle it. Nothing is ever forced.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    done = agent.sync(place, ask=sys.stdin.isatty())
    if json_:
        print_json(asdict(done))
    else:
        for line in done.told:
            note_to_person(line)
        if done.taken or done.given:
            click.echo(
                f"{agent.name}: {_commits(done.taken)} from {done.remote}, "
                f"{_commits(done.given)} to it."
            )
        else:
            click.echo(f"{agent.name}: nothing new, here or at {done.remote}.")
        _show_clashes(agent.name, done.clashes)
    agent.close()


@click.command()
@click.argument("place", metavar="URL")
@directory
def clone(place: str, directory: Path) -> None:
    """Get the agent at URL as DIR: the same one in a second place.

    URL is an address that git knows, or a directory. `fsagent sync` keeps the two in step; another
    agent with the same past is made by `fsagent fork`.
    """
    from fsagent.agent import Agent

    agent = Agent.clone(place, directory, ask=sys.stdin.isatty())
    for text in agent.store.warnings:
        note_to_person(text)
    click.echo(f"{agent.name} lives in {directory} as well. Talk to it: fsagent chat {directory}")
    note_to_person(f"To keep it in step with where it came from: fsagent sync {directory}")
    agent.close()


@click.command()
@directory
@click.argument("other", metavar="OTHER", type=click.Path(path_type=Path))
@as_json
def merge(directory: Path, other: Path, json_: bool) -> None:
    """Take into DIR the memory of OTHER, a fork of it or of the same past.

    Core memory, notes and recall of both become one; DIR keeps its id and its name, and OTHER stays
    what it is. It is one commit, and the agent is told.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    done = agent.merge(other)
    if json_:
        print_json(asdict(done))
    else:
        for line in done.told:
            note_to_person(line)
        if done.commit:
            files = f"{len(done.paths):,} file{'' if len(done.paths) == 1 else 's'} changed"
            click.echo(f"Took in the memory of {done.name}: {_commits(done.taken)}, {files}.")
            _show_clashes(agent.name, done.clashes)
            note_to_person(f"committed as {done.commit[:7]}")
        else:
            click.echo(f"{agent.name} knows all that {done.name} has committed.")
    agent.close()


def _commits(number: int) -> str:
    return f"{number:,} commit{'' if number == 1 else 's'}" if number else "nothing"


def _show_clashes(name: str, clashes: Iterable[str]) -> None:
    for said in clashes:
        warn(said)
    if clashes:
        note_to_person(f"{name} is told, and will settle it; or settle it yourself.")


@click.command(hidden=True)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("theirs", type=click.Path(path_type=Path))
@click.argument("path")
def merge_file(base: Path, ours: Path, theirs: Path, path: str) -> None:
    """Merge one file of an agent's, for plain git: its drivers call this (gitattributes(5)).

    What comes out is written to OURS. With the exit status 1 it is left to git and to the person.
    """
    from fsagent.clashes import HEADING, note
    from fsagent.environment import Environment, merged_branch
    from fsagent.errors import FsagentError
    from fsagent.history.drivers import Version
    from fsagent.history.drivers import merge_file as merged
    from fsagent.repo import Repo

    try:
        repo: Repo | None = Repo(Path.cwd())  # git calls its drivers at the top of the work tree
    except FsagentError:
        repo = None
    names = Environment.read().machine, merged_branch() or "the other side"
    if repo and repo.under_way() == "rebase":  # there ours is what the person's work is put onto
        names = names[::-1]
    one, two = Version(ours.read_bytes(), names[0]), Version(theirs.read_bytes(), names[1])
    outcome = merged(path, base.read_bytes(), one, two)
    for said in outcome.clashes:
        click.echo(f"{path}: {said}", err=True)
    if outcome.beside or (outcome.clashes and path == "agent.yaml"):
        sys.exit(1)
    ours.write_bytes(outcome.data or b"")
    if repo and outcome.clashes and HEADING.encode() in (outcome.data or b""):
        note(repo.git_dir, path)
