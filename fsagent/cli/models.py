"""Commands about models and tools, and completion for shells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.common import as_json, print_json

if TYPE_CHECKING:
    from fsagent.llm.weights import Weights


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@as_json
def tools(directory: Path | None, json_: bool) -> None:
    """List the tools, and which of them are on in DIR."""
    from fsagent.agent import Agent
    from fsagent.tools.toolbox import Toolbox

    box = Agent.open(directory).toolbox if directory else Toolbox()
    if json_:
        print_json([{"on": t.name in box.on, **t.schema["function"]} for t in box.known.values()])
        return
    for tool in box.known.values():
        mark = click.style("on ", fg="green") if tool.name in box.on else "off"
        click.echo(f"{mark}  {tool.name}  {click.style(tool.description, dim=True)}")


@click.group()
def model() -> None:
    """The embedded model: a small one that runs in this process, without a key."""


@model.command("list")
@as_json
def list_(json_: bool) -> None:
    """List the embedded models, and whether their weights are here."""
    from fsagent.environment import Environment
    from fsagent.llm import weights

    folder = Environment.read().model_dir
    found = [(w, weights.find(w.name, folder)) for w in weights.available()]
    if json_:
        print_json(
            [
                {"name": w.name, "bytes": w.bytes, "licence": w.licence, "path": p and str(p)}
                for w, p in found
            ]
        )
        return
    for w, path in found:
        place = str(path) if path else f"not here: fsagent model pull {w.name}"
        click.echo(f"{w.name}  {w.bytes / 1e6:,.0f} MB  {w.licence}  {place}")


@model.command()
@click.argument("name", required=False)
def pull(name: str | None) -> None:
    """Fetch the weights of NAME (by default the first one) into the cache, once."""
    from fsagent.environment import Environment
    from fsagent.llm import weights

    chosen = _named(name)
    folder = Environment.read().model_dir
    found = weights.find(chosen.name, folder)
    if found:
        click.echo(f"{chosen.name} is here: {found}")
        return
    click.echo(f"Fetching {chosen.name} ({chosen.bytes / 1e6:,.0f} MB), once.", err=True)
    with _Bar() as bar:
        path = weights.pull(chosen.name, folder, progress=bar)
    click.echo(f"{chosen.name} is here: {path}")


@model.command()
@click.argument("name", required=False)
def path(name: str | None) -> None:
    """Print where the weights of NAME are."""
    from fsagent.environment import Environment
    from fsagent.errors import ModelError
    from fsagent.llm import weights

    chosen = _named(name)
    found = weights.find(chosen.name, Environment.read().model_dir)
    if not found:
        raise ModelError(f"{chosen.name} is not here. Fetch it: fsagent model pull {chosen.name}")
    click.echo(str(found))


@model.command()
@click.argument("name")
def rm(name: str) -> None:
    """Delete the weights of NAME."""
    from fsagent.environment import Environment
    from fsagent.llm import weights

    chosen = _named(name)
    gone = weights.remove(chosen.name, Environment.read().model_dir)
    click.echo(f"{chosen.name} is deleted." if gone else f"{chosen.name} was not here.")


def _named(name: str | None) -> Weights:
    from fsagent.errors import ModelError
    from fsagent.llm import weights

    known = {w.name: w for w in weights.available()}
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise ModelError(f"There is no embedded model {name!r}. There are: {', '.join(known)}.")
    return known[name]


class _Bar:
    """Progress on standard error: a line that is rewritten on a terminal, a line now and then."""

    def __enter__(self) -> _Bar:
        self._shown = -1
        self._label = ""
        return self

    def __exit__(self, *exc: object) -> None:
        if self._shown >= 0 and sys.stderr.isatty():
            click.echo(err=True)

    def __call__(self, label: str, done: int, total: int) -> None:
        terminal = sys.stderr.isatty()
        share = done * 100 // total if total else 0
        step = 1 if terminal else 10
        if label == self._label and share // step == self._shown // step:
            return
        self._shown, self._label = share, label
        text = f"{label}: {share:3d} % of {total / 1e6:,.0f} MB"
        click.echo(f"\r{text:<70}" if terminal else text, nl=not terminal, err=True)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash, in ~/.bashrc: eval "$(fsagent completion bash)"
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click.Choice lets only known shells through
    click.echo(kind(root, {}, "fsagent", "_FSAGENT_COMPLETE").source())
