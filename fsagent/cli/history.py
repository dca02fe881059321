"""Commands that show what happened and how things stand. They never commit."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fsagent.cli.common import as_json, directory, print_json, warn


@click.command()
@directory
@click.argument("path", required=False)
@click.option("-n", "--limit", type=click.IntRange(1), help="How many commits at most.")
@as_json
def log(directory: Path, path: str | None, limit: int | None, json_: bool) -> None:
    """Show what changed, newest first; with PATH (or a block's label) only there."""
    from fsagent.errors import AgentError
    from fsagent.layout import require_agent
    from fsagent.repo import Repo

    # Without Agent: reading the log needs neither the configuration nor the index.
    require_agent(directory)
    there = os.path.lexists
    if path and not there(directory / path) and there(directory / f"core/{path}.md"):
        path = f"core/{path}.md"
    try:
        repo = Repo(directory)
    except AgentError:  # only here it matters what the person allowed, and looking it up takes time
        from fsagent.allow import is_allowed
        from fsagent.environment import Environment

        if not is_allowed(directory, Environment.read().state_dir):
            raise
        repo = Repo(directory, allowed=True)
    if json_:
        from fsagent.cli.output import commit_json

        print_json([commit_json(commit) for commit in repo.log(path, limit=limit)])
    else:
        click.echo_via_pager(f"{line}\n" for line in repo.log_lines(path, limit))


@click.command()
@directory
@click.argument("revisions", default="HEAD")
def diff(directory: Path, revisions: str) -> None:
    """Show hand edits that are not committed yet, or what changed between REVISIONS."""
    from fsagent.agent import Agent

    click.echo_via_pager(Agent.open(directory).diff(revisions))


@click.command()
@directory
@as_json
def status(directory: Path, json_: bool) -> None:
    """Show how the agent stands: memory, counts, last commit, hand edits not committed yet."""
    from fsagent.agent import Agent
    from fsagent.cli.output import commit_json

    agent = Agent.open(directory)
    config = agent.config
    last = agent.log(limit=1)
    records = sum(len(agent.store.records(path)) for path in agent.store.segments())
    uncommitted = agent.store.dirty()
    if json_:
        print_json(
            {
                "id": config.id,
                "name": config.name,
                "model": config.model or None,
                "branch": agent.store.repo.branch(),
                "blocks": {
                    label: {"used": len(block.text), "limit": block.limit}
                    for label, block in agent.blocks.items()
                },
                "notes": len(agent.notes),
                "records": records,
                "commit": commit_json(last[0]) if last else None,
                "uncommitted": uncommitted,
                "warnings": agent.store.warnings,
            }
        )
        return
    click.echo(click.style(config.name, bold=True) + f"  {agent.root}")
    click.echo(f"model    {config.model or 'chosen when you talk to it'}")
    for label, block in agent.blocks.items():
        click.echo(f"block    {label}  {len(block.text):,} of {block.limit:,} characters")
    click.echo(f"notes    {len(agent.notes):,}")
    click.echo(f"recall   {records:,} records")
    click.echo(f"branch   {agent.store.repo.branch() or 'none: HEAD is detached'}")
    for line in agent.store.repo.log_lines(limit=1):
        click.echo(f"last     {line}")
    for path in uncommitted:
        click.echo(f"edited   {path}  (committed with the next turn)")
    for text in agent.store.warnings:
        warn(text)
