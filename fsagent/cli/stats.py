"""``fsagent stats``: what an agent costs, and how it grows, in the terminal."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.common import (
    as_json,
    columns,
    directory,
    note_to_person,
    padded,
    print_json,
    print_table,
)
from fsagent.formats import one_line

if TYPE_CHECKING:
    from fsagent.history.stats import Calls, Growth, Stats
    from fsagent.records import Block

_DAYS = 14
"""Days that have a line each; those before them are one."""
_COLUMNS = ("turns", "calls", "sent", "cached", "answered", "model", "fsagent")
_NAME_MAX = 40
"""Characters of the name of a model, a tool or a block."""
_BARS = " ▁▂▃▄▅▆▇█"
_PLAIN_BARS = " .:-=+*#@"
"""For a terminal that cannot show the others."""


@click.command()
@directory
@click.option("--since", metavar="DATE", help="Only from this day on.")
@as_json
def stats(directory: Path, since: str | None, json_: bool) -> None:
    """Show what the agent in DIR costs, by day, model and tool, and how its memory grows.

    Tokens sent, how many of them were cached, and answered; the time that models took, and
    fsagent's own. Money where agent.yaml gives `prices`.
    """
    from fsagent.agent import Agent
    from fsagent.clock import day

    agent = Agent.open(directory)
    try:
        start = day(since, agent.config.zone, end=False) if since else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found = agent.stats(start)
    if json_:
        print_json(asdict(found))
    else:
        _costs(found, agent.config.currency)
        _drawings(found.growth, agent.blocks)
        if found.unpriced:
            note_to_person(f"Without a price in agent.yaml: {', '.join(found.unpriced)}")
    agent.close()


def _costs(found: Stats, currency: str) -> None:
    """The tables."""
    from fsagent.history.stats import Calls

    if not found.total.calls:
        click.echo("No model was called.")
        click.echo()
        return
    money = found.total.cost is not None
    head = [*_COLUMNS, *([currency or "cost"] if money else [])]
    days = dict(found.days)
    rows = []
    if len(days) > _DAYS:
        before, early = Calls(), list(days)[:-_DAYS]
        for name in early:
            before.join(days.pop(name))
        rows.append([f"to {early[-1]}", *_cells(before, money=money)])
    rows += [[name, *_cells(calls, money=money)] for name, calls in days.items()]
    rows.append(["all", *_cells(found.total, money=money)])
    print_table([["day", *head], *rows])
    click.echo()
    rows = [
        [one_line(name, _NAME_MAX), *_cells(calls, money=money)]
        for name, calls in found.models.items()
    ]
    print_table([["model", *head], *rows])
    click.echo()
    if found.tools:
        runs = sorted(found.tools.items(), key=lambda item: -item[1].calls)
        print_table(
            [
                ["tool", "calls", "failed", "changes", "time"],
                *(
                    [
                        one_line(name, _NAME_MAX),
                        f"{run.calls:,}",
                        f"{run.failed:,}",
                        f"{run.changes:,}",
                        _time(run.ms),
                    ]
                    for name, run in runs
                ),
            ]
        )
        click.echo()


def _cells(calls: Calls, *, money: bool) -> list[str]:
    counts = (calls.turns, calls.calls, calls.sent, calls.cached, calls.answered)
    times = (_time(calls.model_ms), _time(calls.own_ms))
    cost = "-" if calls.cost is None else f"{calls.cost:,.4f}"
    return [*(f"{count:,}" for count in counts), *times, *([cost] if money else [])]


def _time(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    return f"{seconds:,.1f} s" if seconds < 100 else f"{seconds / 60:,.1f} min"


def _drawings(growth: Growth, blocks: Mapping[str, Block]) -> None:
    """Commits, notes and blocks over time, a line each, as wide as the terminal."""
    if not growth.days:
        return
    lines: list[tuple[str, Sequence[float], float, str]] = []
    commits = sum(growth.commits)
    cells = _cells_for(len(growth.days), [*growth.blocks, "commits"])
    per_cell = _gathered(growth.commits, cells, sum)
    lines.append(("commits", per_cell, max(per_cell), f"{commits:,}"))
    per_cell = _gathered(growth.notes, cells, _last)
    lines.append(("notes", per_cell, max(per_cell), f"{growth.notes[-1]:,}"))
    for label, sizes in growth.blocks.items():
        limit = blocks[label].limit if label in blocks else max(size or 0 for size in sizes)
        size = sizes[-1]
        about = "gone" if size is None else f"{size:,} of {limit:,} characters"
        per_cell = _gathered([size or 0 for size in sizes], cells, _last)
        lines.append((one_line(label, _NAME_MAX), per_cell, limit, about))
    wide = max(columns(label) for label, *_ in lines)
    for label, values, most, about in lines:
        drawn = click.style(_sparkline(values, most), fg="cyan")
        click.echo(f"{padded(label, wide)}  {drawn}  {about}")
    first, last = growth.days[0], growth.days[-1]
    if cells >= len(f"{first}{last}") + 1:
        click.echo(f"{'':<{wide}}  {first}{last:>{cells - len(first)}}")
    else:
        click.echo(f"{'':<{wide}}  {first} to {last}")


def _cells_for(days: int, labels: Sequence[str]) -> int:
    """How many characters a drawing has: one for each day, as far as there is room."""
    wide = max(columns(one_line(label, _NAME_MAX)) for label in labels)
    room = shutil.get_terminal_size().columns - wide - 30
    return max(8, min(days, room)) if days > 8 else days


def _gathered(values: Sequence[int], cells: int, how: Callable[[Sequence[int]], int]) -> list[int]:
    """A value for each cell, from those of the days that fall into it."""
    edges = [round(cell * len(values) / cells) for cell in range(cells + 1)]
    return [how(values[a:b]) for a, b in itertools.pairwise(edges)]


def _last(values: Sequence[int]) -> int:
    return values[-1]


def _sparkline(values: Sequence[float], most: float) -> str:
    """A bar for each value; what is there at all is seen."""
    bars = _BARS
    try:
        bars.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        bars = _PLAIN_BARS
    top = len(bars) - 1
    return "".join(
        bars[min(top, max(1, round(value / most * top))) if value > 0 and most > 0 else 0]
        for value in values
    )
