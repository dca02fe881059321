"""Commands that make an agent and read or write its memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.common import (
    Bar,
    as_json,
    at_time,
    directory,
    note_if_inside,
    print_json,
    warn,
)
from fsagent.errors import StoreError

if TYPE_CHECKING:
    from fsagent.agent import Agent


@click.command()
@directory
@click.option("--from", "template", metavar="TEMPLATE", help="A directory to copy.")
@click.option("--name", default="", help="The agent's name; by default that of DIR.")
@click.option("--model", default="", help="The model to talk to, kept in agent.yaml.")
@click.option("--human", default="", metavar="TEXT", help="What it knows about you.")
@click.option("--persona", default="", metavar="TEXT", help="Who it is.")
def init(
    directory: Path, template: str | None, name: str, model: str, human: str, persona: str
) -> None:
    """Make a new agent in DIR."""
    from fsagent.agent import Agent

    agent = Agent.init(
        directory, template=template, name=name, model=model, human=human, persona=persona
    )
    note_if_inside(agent, directory)
    click.echo(f"{agent.name} lives in {directory}. Talk to it: fsagent chat {directory}")
    agent.close()


@click.command()
@directory
@click.argument("what", required=False)
@at_time
@as_json
def show(directory: Path, what: str | None, at: str | None, json_: bool) -> None:
    """Show core memory, or WHAT: a block's label, a note's id, or a path of either.

    WHAT may also be a commit, a change or a turn: what it changed, and what was said.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    agent = agent if at is None else agent.at(at)
    blocks = agent.blocks
    if what is None:
        if json_:
            print_json({label: _block_json(agent, label) for label in blocks})
        for label, block in {} if json_ else blocks.items():
            used = f"{len(block.text):,} of {block.limit:,} characters"
            locked = ", read-only" if block.read_only else ""
            click.echo(click.style(f"{label}", bold=True) + f"  ({used}{locked})")
            click.echo(f"{block.text}\n" if block.text else "")
        for text in agent.store.warnings:
            warn(text)
        return
    label = what.removeprefix("core/").removesuffix(".md")
    if label in blocks:
        print_json(_block_json(agent, label)) if json_ else click.echo(blocks[label].text)
        for text in agent.store.warnings:
            warn(text)
        return
    if what in ("system", "system.md"):
        text = agent.store.system()
        print_json({"path": "system.md", "text": text}) if json_ else click.echo(text)
        return
    try:
        note = agent.notes.get(what)
    except StoreError:
        from fsagent.cli.history import show_commits
        from fsagent.history.name import commits_of

        try:
            commits = commits_of(agent.store, what)
        except StoreError:
            raise StoreError(
                f"{directory} has no block, note, commit or turn {what!r}. Its blocks are: "
                f"{', '.join(blocks)}; its notes: fsagent note {directory}; its turns: "
                f"fsagent log {directory} --turns"
            ) from None
        show_commits(agent, commits, json_)
        return
    if json_:
        print_json(
            {"id": note.id, "path": note.path, "created": note.created or None}
            | {"tags": list(note.tags), "source": note.source or None, "text": note.text}
        )
    else:
        click.echo(note.text)


def _block_json(agent: Agent, label: str) -> dict[str, object]:
    block = agent.blocks[label]
    return {
        "label": block.label,
        "path": block.path,
        "description": block.description,
        "limit": block.limit,
        "read_only": block.read_only,
        "text": block.text,
    }


@click.command()
@directory
@click.argument("block")
@click.option("--text", help="The new text, instead of an editor.")
def edit(directory: Path, block: str, text: str | None) -> None:
    """Edit BLOCK in your editor, and commit it as yours."""
    from fsagent.agent import Agent

    edit_block(Agent.open(directory), block.removeprefix("core/").removesuffix(".md"), text)


def edit_block(agent: Agent, label: str, text: str | None = None) -> None:
    """Let a person edit a block; what they changed is one commit by them."""
    from fsagent.formats import one_line

    block = agent.blocks[label]
    if agent.store.is_past:
        raise StoreError(f"{block.path} as it was cannot be edited: leave the past first.")
    if text is not None:
        agent.blocks[label] = text
    else:
        click.edit(filename=str(agent.root / block.path))
    for adopted in agent.adopt():
        names = ", ".join(one_line(path, 200) for path in adopted.paths)
        click.echo(f"{names} committed as {adopted.commit[:7]}")
    block = agent.blocks[label]
    if block.left < 0:
        warn(f"{block.path} is {-block.left:,} characters over its limit of {block.limit:,}.")
    for problem in agent.store.warnings:
        warn(problem)


@click.command()
@directory
@click.argument("text", required=False)
@click.option("--tag", "tags", multiple=True, help="A word to file it under; may be repeated.")
@as_json
def note(directory: Path, text: str | None, tags: tuple[str, ...], json_: bool) -> None:
    """Add TEXT to archival memory as a note (- reads it from standard input); list without."""
    from fsagent.agent import Agent
    from fsagent.formats import one_line

    agent = Agent.open(directory)
    if text is None:
        notes = [n for n in agent.notes if not tags or set(tags) & set(n.tags)]
        if json_:
            print_json(
                [
                    {"id": n.id, "path": n.path, "created": n.created or None}
                    | {"tags": list(n.tags), "text": n.text}
                    for n in notes
                ]
            )
        for n in () if json_ else notes:
            filed = "".join(f" #{tag}" for tag in n.tags)
            click.echo(f"{click.style(n.id, fg='yellow')}  {one_line(n.text, 80)}{filed}")
        return
    if text == "-":
        text = sys.stdin.read()
    if not text.strip():
        raise StoreError("The note is empty: give its text.")
    made = agent.notes.add(text, tags)
    if json_:
        print_json({"id": made.id, "path": made.path})
    else:
        click.echo(f"Kept as {made.path}")


@click.command()
@directory
@click.argument("query", nargs=-1)
@click.option(
    "--in",
    "where",
    type=click.Choice(["recall", "notes", "blocks"]),
    help="Search only this kind of memory.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["user", "assistant", "event", "summary"]),
    help="Only what this role said.",
)
@click.option("--tag", "tags", multiple=True, help="Only notes with this tag.")
@click.option("--since", metavar="DATE", help="Only from this day on.")
@click.option("--until", metavar="DATE", help="Only up to this day, itself included.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--explain", is_flag=True, help="Show what each hit's score is made of.")
@at_time
@as_json
def search(
    directory: Path,
    query: tuple[str, ...],
    where: str | None,
    roles: tuple[str, ...],
    tags: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int,
    explain: bool,
    at: str | None,
    json_: bool,
) -> None:
    """Find notes, messages and blocks by their words.

    A phrase in quotation marks must appear. Without QUERY, the newest come first.
    """
    from fsagent.agent import Agent
    from fsagent.cli.output import answer_json, print_answer
    from fsagent.clock import day

    kinds = {"recall": ("record",), "notes": ("note",), "blocks": ("block",)}
    agent = Agent.open(directory)
    agent = agent if at is None else agent.at(at)
    agent.progress = Bar("Indexing")
    zone = agent.config.zone
    try:
        start = day(since, zone, end=False) if since else None
        end = day(until, zone, end=True) if until else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    answer = agent.search(
        " ".join(query),
        limit=limit,
        kinds=kinds[where] if where else (),
        roles=roles,
        tags=tags,
        since=start,
        until=end,
    )
    if json_:
        print_json(answer_json(answer))
    else:
        print_answer(agent, answer, " ".join(query), explain=explain)
    agent.close()


@click.command()
@directory
def reindex(directory: Path) -> None:
    """Build the search index of DIR again, and read every meaning.

    Never needed for right answers: a search does it where it has to. It takes what time it takes at
    a moment that you choose.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    agent.progress = Bar("Indexing")
    agent.reindex()
    click.echo(f"{len(agent.index):,} docs of {agent.name} are indexed.")
    agent.close()
