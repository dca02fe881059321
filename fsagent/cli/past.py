"""Commands that go back: another agent from a moment of the past, and when something came to be."""

from __future__ import annotations

from pathlib import Path

import click

from fsagent.cli.common import as_json, directory, print_json


@click.command()
@directory
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--at", default="HEAD", metavar="REV|DATE", help="Share the past up to there only.")
@click.option("--name", default="", help="The fork's name; by default that of NEW.")
@as_json
def fork(directory: Path, new: Path, at: str, name: str, json_: bool) -> None:
    """Make NEW another agent, with the past of DIR and an id of its own.

    It takes next to no room: both share the files of their past until one is packed anew. What is
    not committed in DIR stays there.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    made = agent.fork(new, at=at, name=name)
    commit = made.log(limit=1)[0]
    if json_:
        print_json({"path": str(made.root), "id": made.config.id, "commit": commit.commit})
    else:
        click.echo(f"{made.name} lives in {new} ({commit.subject}). Talk to it: fsagent chat {new}")
    made.close()
    agent.close()
