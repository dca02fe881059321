"""What the commands share: their common options, and how they speak to a person."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fsagent.agent import Agent

F = TypeVar("F", bound=Callable[..., Any])


def directory(function: F) -> F:
    """The argument DIR."""
    kind = click.Path(path_type=Path)
    return click.argument("directory", metavar="DIR", type=kind)(function)


def at_time(function: F) -> F:
    """The option --at: the agent as it was."""
    return click.option(
        "--at",
        metavar="REV|DATE",
        help="As it was: at a revision, a change, a turn, or at the end of a day.",
    )(function)


def in_thread(function: F) -> F:
    """The option --thread: one conversation of several."""
    return click.option(
        "--thread",
        default="main",
        show_default=True,
        metavar="NAME",
        help="The conversation: each has a window of its own, over the same memory.",
    )(function)


def as_json(function: F) -> F:
    """The option --json: standard output holds JSON only."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON.")(function)


def model_options(function: F) -> F:
    """The options that choose a model."""
    function = click.option(
        "--gguf",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Run the model in this GGUF file.",
    )(function)
    return click.option(
        "--model", default="", metavar="NAME", help="The model to talk to (see: fsagent model)."
    )(function)


def debug(function: F) -> F:
    """The option --debug, which every command has."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show requests, timings and tracebacks.",
    )(function)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, for machines."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def paged(parts: Iterable[str]) -> None:
    """Print what may be long: on a terminal in pages, and elsewhere without colours, as it is."""
    from fsagent.environment import short_pages

    if sys.stdout.isatty():
        short_pages()
        click.echo_via_pager(iter(parts))
        return
    for part in parts:
        click.echo(part, nl=False)


def note_to_person(text: str) -> None:
    """Print a remark where it does not get into the output: on standard error."""
    click.echo(click.style(text, dim=True), err=True)


def note_if_inside(agent: Agent, directory: Path) -> None:
    """Tell the person that a new agent lies inside another repository."""
    outer = agent.store.repo.outer()
    if outer:
        around, ignored = outer
        advice = "" if ignored else f" (you may want to add {directory.name}/ to its .gitignore)"
        note_to_person(
            f"{directory} lies inside the repository {around} and has its own; "
            f"that one is left alone{advice}."
        )


class Bar:
    """A progress bar on standard error, for a person who has waited half a second."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = time.monotonic()
        self._bar: Any = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if done < self._done:  # another round of work
            self.close()
        if self._bar is None:
            late = time.monotonic() - self._start > 0.5
            if not late or done >= total or not sys.stderr.isatty():
                return
            bar = click.progressbar(length=total, label=self._label, file=sys.stderr)
            self._bar, self._done = bar.__enter__(), 0
        self._bar.update(done - self._done)
        self._done = done
        if done >= total:
            self.close()

    def close(self) -> None:
        """End the line of the bar, if there is one."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None
        self._done = 0
        self._start = time.monotonic()


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(click.style("warning: ", fg="yellow") + text, err=True)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns: the first to the left, the others to the right."""
    wide = max(columns(row[0]) for row in rows)
    widths = [max(map(len, column)) for column in zip(*(row[1:] for row in rows), strict=True)]
    for first, *others in rows:
        cells = (f"{text:>{width}}" for text, width in zip(others, widths, strict=True))
        click.echo(f"{padded(first, wide)}  {'  '.join(cells)}".rstrip())


def columns(text: str) -> int:
    """How many columns of a terminal a line takes: letters of East Asia take two."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def padded(text: str, width: int) -> str:
    """``text`` with spaces after it, as wide as ``width`` columns."""
    return text + " " * (width - columns(text))
