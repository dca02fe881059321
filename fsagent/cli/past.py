"""Commands that go back: another agent from a moment of the past, and when something came to be."""

from __future__ import annotations

from pathlib import Path

import click

from fsagent.cli.common import (
    as_json,
    at_time,
    directory,
    model_options,
    note_if_inside,
    note_to_person,
    print_json,
)


@click.command()
@directory
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--at", default="HEAD", metavar="REV|DATE", help="Share the past up to there only.")
@click.option("--name", default="", help="The fork's name; by default that of NEW.")
@as_json
def fork(directory: Path, new: Path, at: str, name: str, json_: bool) -> None:
    """Make NEW another agent, with the past of DIR and an id of its own.

    It takes next to no room: both share the files of their past until one is packed anew. With an
    earlier --at it gets a pack of its own, which holds nothing that came later. What is not
    committed in DIR stays there.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    made = agent.fork(new, at=at, name=name)
    for text in agent.store.warnings:
        note_to_person(text)
    commit = made.log(limit=1)[0]
    note_if_inside(made, new)
    if json_:
        print_json({"path": str(made.root), "id": made.config.id, "commit": commit.commit})
    else:
        click.echo(f"{made.name} lives in {new} ({commit.subject}). Talk to it: fsagent chat {new}")
    made.close()
    agent.close()


@click.command()
@directory
@click.argument("what", nargs=-1, required=True)
@click.option("--search", is_flag=True, help="WHAT is a query: when was its best hit first found?")
@click.option("--ask", is_flag=True, help="WHAT is a question: since when is it answered so?")
@click.option("--expect", metavar="PATTERN", help="The right answer holds this regular expression.")
@click.option(
    "--run", metavar="COMMAND", help="It reads the answer, and ends with 0 if it is right."
)
@at_time
@model_options
@as_json
def bisect(
    directory: Path,
    what: tuple[str, ...],
    search: bool,
    ask: bool,
    expect: str | None,
    run: str | None,
    at: str | None,
    model: str,
    gguf: Path | None,
    json_: bool,
) -> None:
    """Find the first commit after which WHAT is there, with its turn and what was said.

    WHAT is a text that stands in a file of DIR: in a block, a note or recall. It takes about ten
    steps for a thousand commits, and changes nothing. Where WHAT came and went several times, one
    of its comings is found. Of a text that is gone, you hear when it went.
    """
    from fsagent.agent import Agent
    from fsagent.cli.history import print_cause
    from fsagent.cli.output import commit_json, record_json
    from fsagent.history import bisect as bisecting

    def told(commit: str, there: bool, left: int) -> None:
        more = f", {left} more at most" if left else ""
        note_to_person(f"{commit[:7]}  {'there' if there else 'not there'}{more}")

    agent = Agent.open(directory, model=f"local:{gguf}" if gguf else model)
    then = agent if at is None else agent.at(at)
    found = bisecting.bisect(
        then, " ".join(what), search=search, ask=ask, expect=expect, run=run, progress=told
    )
    if json_:
        print_json(
            {
                "commit": commit_json(found.commit),
                "before": found.before,
                "message": record_json(found.message) if found.message else None,
                "around": [record_json(record) for record in found.around],
                "steps": found.steps,
            }
        )
    else:
        print_cause(found.commit, found.message, found.around, agent.config.zone)
    agent.close()
