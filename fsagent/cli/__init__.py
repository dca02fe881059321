"""The command line: parse, call Agent, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from fsagent.cli import (
    allow,
    bench,
    care,
    chat,
    history,
    imports,
    memory,
    models,
    past,
    purge,
    stats,
    sync,
    undo,
    window,
)
from fsagent.cli.common import debug
from fsagent.environment import one_thread
from fsagent.errors import FsagentError


class _Group(click.Group):
    """Commands in the order of their importance; a person's error is one sentence and status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FsagentError as error:
            if "--debug" in sys.argv:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fsagent", message="%(prog)s %(version)s")
def cli() -> None:
    """An LLM agent whose memory is a directory under Git.

    DIR is the agent's directory. Start with: fsagent init DIR, then fsagent chat DIR.
    """


for _command in (
    memory.init,
    chat.chat,
    memory.show,
    memory.edit,
    memory.note,
    memory.search,
    memory.reindex,
    imports.import_,
    window.context,
    window.fold,
    history.log,
    history.diff,
    history.why,
    undo.undo,
    purge.purge,
    past.bisect,
    past.fork,
    sync.merge,
    sync.clone,
    sync.sync,
    history.status,
    stats.stats,
    care.check,
    care.maintain,
    allow.allow,
    models.tools,
    models.model,
    bench.bench,
    models.completion,
    sync.merge_file,
):
    cli.add_command(debug(_command))


def main() -> None:
    """The entry point of the console script."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What somebody pipes in, or names a file, need not be UTF-8.
            stream.reconfigure(errors="surrogateescape" if stream is sys.stdin else "replace")
    one_thread()
    cli()
