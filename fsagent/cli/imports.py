"""``fsagent import``: a past that was lived elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from fsagent.cli.care import tend
from fsagent.cli.common import Bar, as_json, note_to_person, print_json, warn

_TOLD = 20
"""Problems that are shown one by one."""


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--into",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The agent that is to remember it.",
)
@as_json
def import_(file: Path, directory: Path, json_: bool) -> None:
    """Bring conversations that were held elsewhere into recall, with their own dates.

    FILE is the data export of ChatGPT or Claude (the zip file as it comes, its conversations.json,
    or the folder), JSONL of role, content and ts, or JSON shaped like LoCoMo's. Each conversation
    becomes a thread of its own. What is there already is not written again.
    """
    from fsagent.agent import Agent
    from fsagent.formats import counted

    agent = Agent.open(directory)
    done = agent.import_file(file, Bar("Importing"))
    if json_:
        print_json(asdict(done))
    else:
        for sentence in done.problems[:_TOLD]:
            warn(sentence)
        if done.skipped > _TOLD:
            warn(f"and {done.skipped - _TOLD:,} more were skipped.")
        talks = counted(len(done.threads), "conversation")
        if done.messages:
            click.echo(
                f"{counted(done.messages, 'message')} of {talks} "
                f"from {' and '.join(done.sources)}, {done.first[:10]} to {done.last[:10]}."
            )
        else:
            click.echo("Nothing new.")
        if done.known:
            note_to_person(f"Already there: {counted(done.known, 'message')}.")
        if done.left_out:
            note_to_person(
                f"Left out: {counted(done.left_out, 'message')} that nobody said "
                "(outputs of tools, hidden or empty ones)."
            )
        if done.masked:
            warn(
                f"{counted(done.masked, 'message')} held what looks like a key or a token: a mark "
                "stands in its place. If it is none, allow it in agent.yaml before the import."
            )
        if done.threads:
            where = next(iter(done.threads))
            note_to_person(f"Search finds them. To go on with one: --thread {where}")
    agent.close()
    tend(agent.store.repo)
