"""``fsagent allow``: the person trusts an agent's Git configuration."""

from __future__ import annotations

from pathlib import Path

import click

from fsagent.cli.common import directory


@click.command()
@directory
@click.option("--revoke", is_flag=True, help="Take it back.")
def allow(directory: Path, revoke: bool) -> None:
    """Trust the agent in DIR: its Git configuration may name commands, its agent.yaml a file.

    Without it, what .git/config of DIR says about commands and other files does not count, a
    repository that reaches outside of DIR is refused, and agent.yaml may neither name a file of
    this machine as its model nor have a key sent to another machine. It is kept outside of DIR, for
    this agent in this place.
    """
    from fsagent import allow as record
    from fsagent.config import parse_config
    from fsagent.environment import Environment
    from fsagent.layout import read_plain, require_agent
    from fsagent.repo import concerns

    require_agent(directory)
    state = Environment.read().state_dir
    if revoke:
        record.revoke(directory, state)
        click.echo(f"{directory} is not trusted (any more).")
        return
    found = [*concerns(directory), *parse_config(read_plain(directory / "agent.yaml")).reaches]
    if not found:
        click.echo(f"There is nothing to allow: {directory} names nothing outside of it.")
        return
    record.allow(directory, state)
    click.echo(f"{directory} is trusted with:")
    for name in found:
        click.echo(f"  {name}")
    click.echo(f"Take it back: fsagent allow {directory} --revoke")
