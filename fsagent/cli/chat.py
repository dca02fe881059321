"""``fsagent chat``: one turn, or a conversation."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsagent.cli.care import tend
from fsagent.cli.common import (
    Bar,
    as_json,
    at_time,
    directory,
    in_thread,
    model_options,
    note_to_person,
    print_json,
    warn,
)
from fsagent.clock import moment
from fsagent.errors import FsagentError
from fsagent.formats import thread_name
from fsagent.records import MAIN

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.llm import Client, Completion, Prompt
    from fsagent.records import Turn

_THREADS = 20
"""How many conversations /thread lists."""

HELP = """\
/context        what the model is sent, and its size
/log            the last commits
/diff [REV]     what the last turn changed, or what changed since REV
/undo           take back the last change of memory; again: the one before
/redo           give it back
/edit BLOCK     edit a block in your editor
/search WORDS   find notes, messages and blocks
/thread [NAME]  which conversations there are, or go to another one
/model [NAME]   which model this is, or talk to another
/quit           leave (Ctrl-D does too; Ctrl-C breaks off a reply)"""


@click.command()
@directory
@click.argument("text", nargs=-1)
@in_thread
@model_options
@click.option(
    "-i",
    "--interactive",
    is_flag=True,
    help="Hold a conversation though input is no terminal: each line is a turn.",
)
@at_time
@click.option(
    "--fork",
    metavar="NEW",
    type=click.Path(path_type=Path),
    help="With --at: go on from there, as another agent in NEW.",
)
@as_json
def chat(
    directory: Path,
    text: tuple[str, ...],
    thread: str,
    model: str,
    gguf: Path | None,
    interactive: bool,
    at: str | None,
    fork: Path | None,
    json_: bool,
) -> None:
    """Talk to the agent in DIR. With TEXT, or text on standard input, it is one turn.

    With --at you talk to the agent as it was, and nothing of it is written; with --fork as well, to
    another agent that goes on from there.
    """
    from fsagent.agent import Agent
    from fsagent.cli.output import turn_json
    from fsagent.history.fork import warning

    thread = thread_name(thread)
    agent = Agent.open(directory, model=f"local:{gguf}" if gguf else model)
    copied = warning(agent.store, agent.environment.state_dir)
    if copied:
        warn(copied)
    said = " ".join(text)
    if not said and not interactive and not sys.stdin.isatty():
        said = sys.stdin.read()
        if not said.strip():
            raise click.UsageError("There is no text to say: give it as TEXT or standard input.")
    if fork:
        agent = agent.fork(fork, at="HEAD" if at is None else at)
    elif at is not None:
        agent = agent.at(at)
    agent.progress = Bar("Indexing")
    client = agent.client
    if "--debug" in sys.argv:
        _traced(client)
    past = agent.store.rev if agent.store.is_past else None
    name = f"{agent.name} as of {past[:7]}" if past else agent.name
    where = f" · thread {thread}" if thread != MAIN else ""
    note_to_person(f"{name}{where} · model {client.model} ({agent.chosen})")
    if client.about and not said:
        note_to_person(client.about)
    if client.slow_start:
        note_to_person(client.slow_start)
        client.prepare()
    try:
        if not said:
            _Conversation(agent, thread, json_).run()
        elif json_:
            turn = agent.chat(said, thread=thread)
            print_json(turn_json(turn))
            for problem in turn.warnings:
                warn(problem)
        else:
            show_turn(agent, said, thread)
    finally:
        agent.close()
        tend(agent.store.repo)


def show_turn(agent: Agent, text: str, thread: str = MAIN) -> Turn | None:
    """One turn on the terminal: the reply as it comes, each tool call as a line."""
    from fsagent.cli.output import tool_line
    from fsagent.cli.window import print_folded
    from fsagent.records import Folded, TextDelta, ToolResult, Turn, Warned

    turn = None
    fresh = True  # whether the cursor stands at the beginning of a line
    for event in agent.stream(text, thread=thread):
        if isinstance(event, TextDelta):
            click.echo(event.text, nl=False)
            sys.stdout.flush()
            fresh = event.text.endswith("\n")
            continue
        if not fresh:
            click.echo()
            fresh = True
        if isinstance(event, ToolResult):
            click.echo(tool_line(event), err=True)
        elif isinstance(event, Folded):
            print_folded(event)
        elif isinstance(event, Warned):
            warn(event.text)
        elif isinstance(event, Turn):
            turn = event
    return turn


class _Conversation:
    """Turns, one after the other, until the person leaves."""

    def __init__(self, agent: Agent, thread: str, json_: bool) -> None:
        self.agent = agent
        self.thread = thread
        self.as_json = json_
        self.terminal = sys.stdin.isatty()
        self.failed = False
        self.before = agent.store.repo.head()
        """The commit before the last turn, for /diff."""

    def run(self) -> None:
        """Read and answer. An error is told, and the conversation goes on."""
        from fsagent.history.purge import stamp

        history = self._history() if self.terminal else None
        purged = stamp(self.agent.store.repo)
        if not self.as_json:
            note_to_person("/help lists the commands.")
        try:
            for line in self._lines():
                try:
                    if line in ("/quit", "/exit"):
                        break
                    self._answer(line)
                except FsagentError as error:
                    self.failed = True
                    click.echo(click.style("Error: ", fg="red") + str(error), err=True)
                except KeyboardInterrupt:
                    click.echo(err=True)
                    note_to_person("Interrupted. What you said is kept.")
                if not self.as_json:
                    click.echo()
                tend(self.agent.store.repo)
        finally:
            if history and stamp(self.agent.store.repo) == purged:  # else they may hold it
                import readline

                readline.write_history_file(history)
                history.chmod(0o600)
        if self.failed and not self.terminal:
            sys.exit(1)  # nobody saw the sentence: a script must learn of it

    def _lines(self) -> Iterator[str]:
        while True:
            prompt = f"you ({self.thread})> " if self.thread != MAIN else "you> "
            try:
                if self.terminal:
                    line = input(prompt)
                else:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    line = line.rstrip("\n")
                    if line.strip() and not self.as_json:
                        click.echo(prompt + line)
            except EOFError:
                click.echo(err=True)
                return
            except KeyboardInterrupt:
                click.echo(err=True)
                continue
            if line.strip():
                yield line.strip()

    def _history(self) -> Path:
        """Line editing and history, kept in the person's state directory, not in the agent's."""
        import readline

        path = self.agent.environment.lines_of(self.agent.root)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            readline.read_history_file(path)
        readline.set_history_length(1000)
        return path

    def _answer(self, line: str) -> None:
        from fsagent.cli.output import turn_json

        if line.startswith("/"):
            self._command(*line[1:].split(maxsplit=1))
            return
        if self.terminal:
            self._forget_secrets(line)
        self.before = self.agent.store.repo.head()
        if self.as_json:
            click.echo(
                json.dumps(turn_json(self.agent.chat(line, thread=self.thread)), ensure_ascii=False)
            )
        else:
            show_turn(self.agent, line, self.thread)

    def _forget_secrets(self, line: str) -> None:
        """What recall does not keep of a line, the history of lines does not keep either."""
        import readline

        from fsagent.secret import masked

        shown, found = masked(line, self.agent.config.allow)
        last = readline.get_current_history_length()
        if found and last:
            readline.replace_history_item(last - 1, shown)

    def _command(self, name: str = "", rest: str = "") -> None:
        if self.as_json:
            raise click.UsageError("With --json there are no commands: each line is a turn.")
        from fsagent.cli.memory import edit_block
        from fsagent.cli.output import print_answer
        from fsagent.cli.undo import walk
        from fsagent.cli.window import show

        agent = self.agent
        match name:
            case "context":
                show(agent.context(self.thread))
            case "log":
                for line in agent.store.repo.log_lines(
                    limit=20, rev=agent.store.rev or "HEAD", zone=agent.config.zone
                ):
                    click.echo(line)
            case "diff":
                click.echo(agent.diff(rest or self.before or "HEAD"))
            case "undo" | "redo":
                walk(agent, name, rest)
            case "edit":
                if rest:
                    edit_block(agent, rest)
                else:
                    click.echo(f"Which block? {', '.join(agent.blocks)}")
            case "search":
                print_answer(agent, agent.search(rest), rest)
            case "thread":
                self._switch(rest)
            case "model":
                client = agent.use(rest) if rest else agent.client
                click.echo(f"{client.model} ({agent.chosen})")
            case "help":
                click.echo(HELP)
            case _:
                click.echo(f"There is no command /{name}.\n{HELP}")

    def _switch(self, name: str) -> None:
        """Go to another conversation, or without a name say which there are."""
        threads = self.agent.store.threads()
        if name:
            self.thread = thread_name(name)
            if self.thread not in threads:
                note_to_person(f"A new thread: {self.thread}")
            return
        zone = self.agent.config.zone
        for thread, (count, last) in list({self.thread: (0, ""), **threads}.items())[:_THREADS]:
            when = moment(last)
            date = f"{when.astimezone(zone):%Y-%m-%d %H:%M}" if when else ""
            mark = "*" if thread == self.thread else " "
            click.echo(f"{mark} {thread}  {count:,} records  {date}".rstrip())
        if len(threads) > _THREADS:
            note_to_person(f"and {len(threads) - _THREADS:,} more")


def _traced(client: Client) -> Client:
    """A client that shows on standard error what it is sent and how long the answer takes."""
    real = client.complete

    def complete(prompt: Prompt) -> Iterator[str | Completion]:
        request = {"messages": prompt.messages, "tools": [t["function"] for t in prompt.tools]}
        click.echo(json.dumps(request, ensure_ascii=False, indent=2), err=True)
        start = time.perf_counter()
        first = 0.0
        for part in real(prompt):
            first = first or time.perf_counter() - start
            yield part
        total = time.perf_counter() - start
        click.echo(f"[first piece after {first:.2f} s, whole after {total:.2f} s]", err=True)

    client.complete = complete  # type: ignore[method-assign]
    return client
