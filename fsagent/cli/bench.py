"""``fsagent bench``: figures, as ratios, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from fsagent.cli.common import as_json, directory, print_json


@click.group()
def bench() -> None:
    """Measure fsagent here; every figure is a ratio to a baseline beside it."""


@bench.command()
@directory
@as_json
def start(directory: Path, json_: bool) -> None:
    """How long commands take to start, over a Python that does nothing."""
    from fsagent.bench.start import measure
    from fsagent.layout import require_agent

    require_agent(directory)
    found = measure(directory)
    if json_:
        print_json(found)
        return
    for name, ratio in found.items():
        click.echo(f"{name:<16} {ratio:5.2f} x")
