"""Commands that look after an agent: ``maintain`` and ``check``, and maintenance by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.common import Bar, as_json, directory, print_json

if TYPE_CHECKING:
    from fsagent.repo import Repo

_started: list[subprocess.Popen[bytes]] = []
"""The maintenance that this process has started, at most one at a time."""


@click.command()
@directory
@click.option("--auto", is_flag=True, help="Only if there is enough to do, and at low priority.")
@as_json
def maintain(directory: Path, auto: bool, json_: bool) -> None:
    """Pack the repository of DIR, and let old things go.

    Never needed for right answers, and safe at any time, also while DIR is talked to. `fsagent
    chat` starts it in the background where it is worth it.
    """
    from fsagent.agent import Agent

    if auto:
        with suppress(OSError):
            os.nice(10)
    agent = Agent.open(directory)
    done = agent.maintain(auto=auto)
    if json_:
        print_json([asdict(one) for one in done])
    for one in () if json_ else done:
        sizes = ""
        if one.before is not None and one.after is not None:
            sizes = f"  {_size(one.before)} → {_size(one.after)}"
        click.echo(f"{click.style(f'{one.what:<11}', bold=True)} {one.text}{sizes}")
    if not done and not json_:
        click.echo("Nothing to do.")
    agent.close()


@click.command()
@directory
@click.option("--repair", is_flag=True, help="Mend what can be mended without a doubt.")
@as_json
def check(directory: Path, repair: bool, json_: bool) -> None:
    """Look DIR over: its files, its repository, its index; name what is wrong and what helps.

    Without --repair nothing is changed. The exit status is 1 if a problem remains; advice alone
    leaves it 0.
    """
    from fsagent import check as checking
    from fsagent.agent import Agent

    agent = Agent.open(directory, mend=False)
    told = checking.repair(agent) if repair else []
    report = checking.check(agent, Bar("Comparing the index"))
    failed = [line.removeprefix(checking.NOT) for line in told if line.startswith(checking.NOT)]
    told = [line for line in told if not line.startswith(checking.NOT)]
    if json_:
        found = [asdict(finding) for finding in report.findings]
        done = {"repaired": told, "failed": failed, "checked": list(report.checked)}
        print_json({"findings": found, **done})
    else:
        for line in told:
            click.echo(f"{click.style('repaired', fg='green')} {line}")
        for line in failed:
            click.echo(f"{click.style('not repaired', fg='red')} {line}")
        for finding in report.findings:
            colour = "red" if finding.severity == "problem" else "yellow"
            severity = click.style(f"{finding.severity:<8}", fg=colour)
            click.echo(f"{severity} {finding.place}: {finding.text}")
            click.echo(click.style(f"         {finding.remedy}", dim=True))
        if not report.findings:
            click.echo(f"No findings. Checked: {', '.join(report.checked)}.")
    agent.close()
    if not report.sound:
        sys.exit(1)


def tend(repo: Repo) -> None:
    """Start maintenance in the background if there is enough to do; never within a turn.

    The process goes on after this one has ended, and has no terminal.
    """
    from fsagent.repo.maintain import due

    _started[:] = [process for process in _started if process.poll() is None]
    if _started or not due(repo):
        return
    # -P: what stands in the folder that somebody happens to be in is not to be imported.
    command = [sys.executable, "-P", "-m", "fsagent", "maintain", str(repo.root), "--auto"]
    nowhere = subprocess.DEVNULL
    with suppress(OSError):
        _started.append(
            subprocess.Popen(
                command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
            )
        )


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" or size >= 10 else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GB"
