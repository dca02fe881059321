"""Commands that show what happened and how things stand. They never commit."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fsagent.cli.common import (
    as_json,
    columns,
    directory,
    note_to_person,
    padded,
    paged,
    print_json,
    warn,
)

if TYPE_CHECKING:
    from datetime import tzinfo

    from fsagent.agent import Agent
    from fsagent.history.log import Happening
    from fsagent.history.why import Origin
    from fsagent.records import Commit, Record
    from fsagent.repo import Repo

_QUOTED = 200
"""Characters of a message that are quoted on one line."""

_SHOWN = 600
"""Characters of a record that are shown around a line."""


@click.command()
@directory
@click.argument("path", required=False)
@click.option("--turns", is_flag=True, help="One line for each turn, with what was said.")
@click.option("-n", "--limit", type=click.IntRange(1), help="How many commits (or turns) at most.")
@as_json
def log(directory: Path, path: str | None, turns: bool, limit: int | None, json_: bool) -> None:
    """Show what changed, newest first; with PATH (or a block's label) only there."""
    from fsagent.errors import AgentError
    from fsagent.layout import require_agent
    from fsagent.repo import Repo

    # Without Agent: reading the log needs neither the configuration nor the index.
    require_agent(directory)
    try:
        repo = Repo(directory)
    except AgentError:  # only here it matters what the person allowed, and looking it up takes time
        from fsagent.allow import is_allowed
        from fsagent.environment import Environment

        if not is_allowed(directory, Environment.read().state_dir):
            raise
        repo = Repo(directory, allowed=True)
    if path:
        from fsagent.repo.walk import path_of

        path = path_of(repo, path, repo.head())
    if turns:
        _log_turns(directory, repo, path, limit, json_)
    elif json_:
        from fsagent.cli.output import commit_json

        print_json([commit_json(commit) for commit in repo.log(path, limit=limit)])
    else:
        paged(f"{line}\n" for line in repo.log_lines(path, limit, zone=_zone(directory)))


def _log_turns(
    directory: Path, repo: Repo, path: str | None, limit: int | None, json_: bool
) -> None:
    from fsagent.cli.output import commit_json
    from fsagent.history.log import happenings
    from fsagent.store import Store

    store = Store(directory, allowed=repo.allowed, mend=False)
    found = itertools.islice(happenings(store, repo.log(path)), limit)
    if json_:
        print_json(
            [
                {
                    "turn": one.turn,
                    "said": one.said or None,
                    "author": one.commits[0].author,
                    "tools": dict(one.tools),
                    "commits": [commit_json(commit) for commit in one.commits],
                }
                for one in found
            ]
        )
    else:
        zone = _zone(directory)
        paged(f"{_turn_line(one, zone)}\n" for one in found)


def _zone(directory: Path) -> tzinfo:
    """The agent's time zone; a log is to be had even where agent.yaml cannot be read."""
    from datetime import UTC

    from fsagent.errors import FsagentError
    from fsagent.layout import read_plain

    with suppress(OSError, FsagentError):
        data = read_plain(directory / "agent.yaml")
        if b"timezone" in data:  # reading YAML takes time
            from fsagent.config import parse_config

            return parse_config(data).zone
    return UTC


def commit_line(commit: Commit, zone: tzinfo, what: str | None = None) -> str:
    """A commit on one line, as ``log`` prints it; ``what`` instead of its subject."""
    name = click.style(padded(_cut(commit.author, 16), 16), fg="green")
    return f"{_when(commit, zone)}  {name} {what or commit.subject}"


def _turn_line(one: Happening, zone: tzinfo) -> str:
    """A turn, or a commit that is no turn's, on one line."""
    commit = one.commits[0]
    if not one.turn:
        return commit_line(commit, zone)
    tools = ", ".join(tool + (f" ×{n}" if n > 1 else "") for tool, n in one.tools.items())
    what = f"  {click.style(tools, fg='cyan')}" if tools else ""
    said = f"“{_cut(one.said, 72)}”" if one.said else f"turn {one.turn}"
    return commit_line(commit, zone, f"{said}{what}")


@click.command()
@directory
@click.argument("revisions", default="HEAD")
@as_json
def diff(directory: Path, revisions: str, json_: bool) -> None:
    """Show hand edits that are not committed yet, or what changed between REVISIONS.

    REVISIONS is REV (what changed since then) or REV..REV. A REV is one of Git's, the id of a
    change or a turn, or a date. It may also be the directory of another agent, a fork for one: then
    you see how its memory differs from that of DIR.
    """
    from fsagent.agent import Agent
    from fsagent.history.name import pair_of

    agent = Agent.open(directory)
    if os.path.isfile(os.path.join(revisions, "agent.yaml")):  # Path raises for odd names
        _diff_agents(agent, Agent.open(revisions), json_)
        return
    pair = pair_of(agent.store, revisions)
    for told in agent.store.warnings:
        warn(told)
    text = agent.store.repo.diff(*pair, colour=not json_)
    if json_:
        print_json({"revisions": pair, "patch": text})
    else:
        paged([text])


def _diff_agents(one: Agent, two: Agent, json_: bool) -> None:
    from fsagent.history.fork import difference, parting

    shared = parting(one.store, two.store)
    text = difference(one.store, two.store, colour=not json_)
    if json_:
        print_json({"agents": [str(one.root), str(two.root)], "shared": shared, "patch": text})
        return
    if shared:
        note_to_person(f"What they share ends with {shared[:7]}.")
    if text:
        paged([text])
    else:
        note_to_person("Their memories are the same.")


def show_commits(agent: Agent, commits: Sequence[str], json_: bool) -> None:
    """Commits with what they changed, and what was said in their turn."""
    from fsagent.cli.output import commit_json, record_json
    from fsagent.history.why import Recall, said
    from fsagent.repo import walk

    repo, recall = agent.store.repo, Recall(agent.store)
    known = {oid: entry.commit for oid, entry in walk.entries(repo, commits).items()}
    first = known[commits[0]]
    around = recall.turn(first.turn or "", first.message, first.ts) if first.message else []
    cause = next((record for record in around if record.id == first.message), None)
    if json_:
        print_json(
            {
                "commits": [
                    commit_json(commit) | {"patch": repo.patch(commit.commit, lines=3)}
                    for commit in known.values()
                ],
                "message": record_json(cause) if cause else None,
                "around": [record_json(record) for record in around],
            }
        )
        return
    zone = agent.config.zone
    if len(commits) == 1:
        paged(_one_commit(repo, first, zone, cause))
    else:
        paged(_whole_turn(repo, list(known.values()), zone, said(around)))


def _one_commit(
    repo: Repo, commit: Commit, zone: tzinfo, cause: Record | None = None
) -> Iterator[str]:
    """A commit, the message that it came from, and what it changed."""
    yield from (f"{line}\n" for line in _head(commit, zone))
    if cause:
        yield f"because  {_quote(cause.content)}\n"
    patch = repo.patch(commit.commit, lines=3, colour=True)
    if patch:
        yield f"\n{patch}"


def _whole_turn(
    repo: Repo, commits: Sequence[Commit], zone: tzinfo, said: Iterable[tuple[str, str]]
) -> Iterator[str]:
    """What was said in a turn, and each of its commits but recall's, which holds just that."""
    for name, text in said:
        yield f"{click.style(f'{name:<10}', bold=True)} {_cut(text, _SHOWN)}\n"
    for commit in commits:
        if commit.tool or not commit.turn:
            yield "\n"
            yield from _one_commit(repo, commit, zone)


def _head(commit: Commit, zone: tzinfo) -> Iterator[str]:
    """What a commit says of itself, as lines."""
    yield f"commit   {_when(commit, zone)}  {commit.subject}"
    how = f", with {commit.tool}" if commit.tool else ""
    model = f", model {commit.model}" if commit.model else ""
    yield f"by       {commit.author}{how}{model}"
    if commit.change:
        yield f"change   {commit.change}"
    if commit.turn:
        yield f"turn     {commit.turn}"


@click.command()
@directory
@click.argument("what", nargs=-1, required=True)
@as_json
def why(directory: Path, what: tuple[str, ...], json_: bool) -> None:
    """Show where memory comes from: who wrote it, by which call, and what was said.

    WHAT is a block's label, a note's id, a path, one of them with :LINE (as an editor counts), or a
    text: then the newest line of memory that holds it, or else the newest record.
    """
    from fsagent.agent import Agent

    agent = Agent.open(directory)
    origins = agent.why(" ".join(what))
    if json_:
        print_json([_origin_json(origin) for origin in origins])
    elif len(origins) == 1:
        _one_origin(origins[0], agent.config.zone)
    else:
        _all_origins(origins, agent.config.zone)
    for text in agent.store.warnings:
        warn(text)
    agent.close()


def _all_origins(origins: Sequence[Origin], zone: tzinfo) -> None:
    """Every line with its commit, and below each run of one commit why it was made."""
    wide = len(str(origins[-1].line)) if origins else 0
    names = [_cut(_author(origin), 16) for origin in origins]
    who = max(map(columns, names), default=0)
    for at, origin in enumerate(origins):
        name = padded(names[at], who)
        mark = click.style(f"{origin.line:>{wide}}", dim=True)
        click.echo(
            f"{mark}  {_when(origin.commit, zone)}  {click.style(name, fg='green')}  {origin.text}"
        )
        after = origins[at + 1] if at + 1 < len(origins) else None
        if not after or (after.commit, after.undos) != (origin.commit, origin.undos):
            reason = _reason(origin)
            if reason:
                click.echo(click.style(f"{'':>{wide}}  {reason}", dim=True))


def _one_origin(origin: Origin, zone: tzinfo) -> None:
    place = click.style(f"{origin.path}:{origin.line}", fg="magenta")
    click.echo(f"{place}  {_cut(origin.text, _SHOWN)}")
    commit = origin.commit
    if commit is None:
        click.echo("edited by hand, and not committed yet: the next turn does it")
    else:
        print_cause(commit, origin.message, origin.around, zone, origin.undos)
    if origin.before:
        click.echo()
    for old in origin.before:
        click.echo(f"before   {_when(old.commit, zone)}  {old.text}")
        reason = _reason(old)
        if reason:
            click.echo(click.style(f"         {reason}", dim=True))


def print_cause(
    commit: Commit,
    message: Record | None,
    around: Sequence[Record],
    zone: tzinfo,
    undos: Sequence[Commit] = (),
) -> None:
    """A commit, the message that it came from, the undos since, and what was said around it."""
    from fsagent.history.why import said

    for line in _head(commit, zone):
        click.echo(line)
    if message:
        click.echo(f"because  {_quote(message.content)}")
    elif commit.message:
        click.echo(f"because  of the record {commit.message}, which recall holds no more")
    for undo in undos:
        click.echo(f"back     {_when(undo, zone)}  {undo.subject}")
    if around:
        click.echo()
    for name, text in said(around):
        click.echo(f"  {click.style(f'{name:<10}', bold=True)} {_cut(text, _SHOWN)}")


def _reason(origin: Origin) -> str:
    """What led to a change, on one line."""
    said = _quote(origin.message.content) if origin.message else ""
    tool = origin.commit.tool if origin.commit else None
    cause = " ← ".join(part for part in (tool, said) if part)
    undos = [f"back with {undo.commit[:7]}, {undo.subject}" for undo in origin.undos[:1]]
    return "; ".join(part for part in (cause, *undos) if part)


def _author(origin: Origin) -> str:
    return origin.commit.author if origin.commit else "by hand"


def _when(commit: Commit | None, zone: tzinfo) -> str:
    """A commit's id and time, as ``log`` prints them."""
    from fsagent.clock import moment

    if commit is None:
        return f"{'·' * 7}  {'not committed':<16}"
    when = moment(commit.ts)
    date = f"{when.astimezone(zone):%Y-%m-%d %H:%M}" if when else " " * 16
    return f"{click.style(commit.commit[:7], fg='yellow')}  {click.style(date, dim=True)}"


def _quote(text: str) -> str:
    return f"“{_cut(text, _QUOTED)}”"


def _cut(text: str, width: int) -> str:
    from fsagent.formats import one_line

    return one_line(text, width)


def _origin_json(origin: Origin) -> dict[str, Any]:
    from fsagent.cli.output import commit_json, record_json

    return {
        "path": origin.path,
        "line": origin.line or None,
        "text": origin.text,
        "commit": commit_json(origin.commit) if origin.commit else None,
        "message": record_json(origin.message) if origin.message else None,
        "around": [record_json(record) for record in origin.around],
        "before": [_origin_json(old) for old in origin.before],
        "undos": [commit_json(undo) for undo in origin.undos],
    }


@click.command()
@directory
@as_json
def status(directory: Path, json_: bool) -> None:
    """Show how the agent stands: memory, counts, last commit, hand edits not committed yet."""
    from fsagent.agent import Agent
    from fsagent.cli.output import commit_json
    from fsagent.formats import one_line
    from fsagent.history.fork import warning

    agent = Agent.open(directory)
    config = agent.config
    last = agent.log(limit=1)
    threads = {name: count for name, (count, _) in agent.store.threads().items()}
    records = sum(threads.values())
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
                "threads": threads,
                "commit": commit_json(last[0]) if last else None,
                "uncommitted": uncommitted,
                "warnings": agent.store.warnings,
            }
        )
        return
    click.echo(click.style(config.name, bold=True) + f"  {agent.root}")
    click.echo(f"model    {config.model or 'chosen when you talk to it'}")
    for label, block in agent.blocks.items():
        click.echo(f"block    {one_line(label)}  {len(block.text):,} of {block.limit:,} characters")
    click.echo(f"notes    {len(agent.notes):,}")
    click.echo(f"recall   {records:,} records")
    if len(threads) > 1:
        names = ", ".join(list(threads)[:5])
        click.echo(f"threads  {len(threads):,}: {names}{', …' if len(threads) > 5 else ''}")
    click.echo(f"branch   {agent.store.repo.branch() or 'none: HEAD is detached'}")
    for line in agent.store.repo.log_lines(limit=1, zone=config.zone):
        click.echo(f"last     {line}")
    for path in uncommitted:
        click.echo(f"edited   {one_line(path, 200)}  (committed with the next turn)")
    copied = warning(agent.store, agent.environment.state_dir)
    for text in [*agent.store.warnings, *([copied] if copied else [])]:
        warn(text)
