"""``fsagent allow``: the person trusts an agent's Git configuration."""

from __future__ import annotations

from pathlib import Path

import click

from fsagent.cli.common import directory


@click.command()
@directory
@click.option("--revoke", is_flag=True, help="Take it back.")
def allow(directory: Path, revoke: bool) -> None:
    """Trust the Git configuration of DIR, which may name commands.

    Without it, what .git/config of DIR says about commands and other files does not count, and a
    repository that reaches outside of DIR is refused. It is kept outside of DIR, for this agent in
    this place.
    """
    from fsagent import allow as record
    from fsagent.environment import Environment
    from fsagent.layout import require_agent
    from fsagent.repo import concerns

    require_agent(directory)
    state = Environment.read().state_dir
    if revoke:
        record.revoke(directory, state)
        click.echo(f"{directory} is not trusted (any more).")
        return
    found = concerns(directory)
    if not found:
        click.echo(f"There is nothing to allow: the Git configuration of {directory} is harmless.")
        return
    record.allow(directory, state)
    click.echo(f"{directory} is trusted with:")
    for name in found:
        click.echo(f"  {name}")
    click.echo(f"Take it back: fsagent allow {directory} --revoke")
