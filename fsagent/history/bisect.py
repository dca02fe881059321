"""When something came to be: the first commit after which it is there, in log₂ steps."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from fsagent.errors import SearchError, StoreError
from fsagent.formats import one_line
from fsagent.history.why import Recall
from fsagent.layout import OURS
from fsagent.records import Commit, Record
from fsagent.repo import walk

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.repo import Repo

FIRST = 10
"""Hits among which the one that is looked for has to be."""

_FEW = 500
"""Files up to which git is told which ones to look into."""

Test = Callable[[str], bool]
"""Whether it is there at a commit."""

Progress = Callable[[str, bool, int], None]
"""Told each step: the commit, whether it is there, and how many are left at most on this side."""


@dataclass(frozen=True)
class Found:
    """The commit after which something is there, its turn's records, and the steps it took.

    A merge is ``commit`` only where none of its sides had it. ``before`` is the commit before it,
    None where it was there from the beginning.
    """

    commit: Commit
    before: str | None
    message: Record | None
    around: tuple[Record, ...]
    steps: int


def first(agent: Agent, there: Test, what: str, progress: Progress | None = None) -> Found:
    """The first commit after which ``there`` holds.

    It takes for granted that what has come has stayed. Where it came and went several times, one of
    its comings is found: before that commit it is not there, and after it, it is.

    Raises:
        StoreError: it is not there now; ``what`` is how it is called then.
    """
    store = agent.store
    line = walk.line_of(store.repo, store.rev) if store.rev else []
    steps = 0

    def ask(commit: str, left: int) -> bool:
        nonlocal steps
        steps += 1
        found = there(commit)
        if progress:
            progress(commit, found, left)
        return found

    if not line or not ask(line[-1], (len(line) - 1).bit_length()):
        raise StoreError(
            f"{what} is not there now, so there is no commit since which it is. "
            f"What comes near it: fsagent search {store.root}"
        )
    commit, before = _first_of(line, -1, ask)
    while side := _side_with(store.repo, commit, ask):
        # It came to this branch with a merge: it is asked of the other side since they parted,
        # and of what both share only if it was there by then.
        line = walk.line_of(store.repo, side)
        own = len(walk.line_of(store.repo, side, beyond=before))
        low = len(line) - own - 1
        if low >= 0 and ask(line[low], own.bit_length()):
            line, low = line[: low + 1], -1
        commit, before = _first_of(line, low, ask)
    return _found(agent, commit, before, steps)


def _first_of(line: list[str], low: int, ask: Callable[[str, int], bool]) -> tuple[str, str | None]:
    """The first commit of a line that has it, and the one before: the last has it, ``low`` not."""
    high = len(line) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if ask(line[middle], (high - low - 1).bit_length() - 1):
            high = middle
        else:
            low = middle
    return line[high], line[low] if low >= 0 else None


def _side_with(repo: Repo, merge: str, ask: Callable[[str, int], bool]) -> str | None:
    """The parent that brought it to a merge, whose first parent has it not."""
    others = walk.entries(repo, [merge])[merge].parents[1:]
    return next((one for one in others if ask(one, 0)), None)


def _found(agent: Agent, commit: str, before: str | None, steps: int) -> Found:
    repo = agent.store.repo
    if before is None and commit in walk.cut(repo):
        raise StoreError(
            f"It was there before {commit[:7]}, with which the history that is here begins: "
            f"bring in the rest ({walk.whole_again(repo)})."
        )
    made = walk.commits(repo, [commit])[commit]
    around: list[Record] = []
    if made.message:
        around = Recall(agent.store).turn(made.turn or "", made.message, made.ts)
    message = next((record for record in around if record.id == made.message), None)
    return Found(made, before, message, tuple(around), steps)


def text(agent: Agent, wanted: str) -> Test:
    """Whether a line of any of the agent's files holds a text, in any case.

    Raises:
        StoreError: it is empty, or more than one line.
    """
    if not wanted.strip() or "\n" in wanted:
        raise StoreError("Give a text of one line, as it stands in a file.")
    repo, pattern = agent.store.repo, _pattern(wanted)
    looked: dict[str, bool] = {}
    """The blobs that were looked into, and whether they hold it: most are in every commit."""

    def there(commit: str) -> bool:
        blobs = {path: blob.oid for path, blob in repo.files(commit, OURS).items()}
        if any(map(looked.get, blobs.values())):
            return True
        new = {path: oid for path, oid in blobs.items() if oid not in looked}
        under = [*new] if len(new) <= _FEW else OURS
        found = walk.holding(repo, commit, pattern, under) if new else []
        looked.update((oid, path in found) for path, oid in new.items())
        return bool(found)

    return there


def _pattern(wanted: str) -> str:
    return "".join(map(_in_any_form, wanted))


def _when_it_went(agent: Agent, wanted: str) -> None:
    """Raises StoreError with the commit that removed a text, if there was one."""
    store = agent.store
    gone = walk.last_with(store.repo, store.rev or "HEAD", _pattern(wanted), OURS)
    if gone:
        name = gone.commit[:7]
        raise StoreError(
            f"{one_line(repr(wanted))} is not there now: it went with {name} "
            f"({one_line(gone.subject, 60)}). How it had come: "
            f"fsagent bisect {quote(str(store.root))} --at {name}^ -- {quote(wanted)}"
        )


def _in_any_form(letter: str) -> str:
    """A part of an extended regular expression: a letter as a file or a JSON string may hold it.

    Git compares the case of the letters of ASCII only.
    """
    ways = {letter} if letter.isascii() else {letter, letter.lower(), letter.upper()}
    ways |= {json.dumps(way, ensure_ascii=flag)[1:-1] for way in ways for flag in (True, False)}
    escaped = [re.sub(r"[][\\.{}()*+?^$|]", r"\\\g<0>", way) for way in sorted(ways)]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


@contextmanager
def hit(agent: Agent, query: str) -> Iterator[Test]:
    """Whether a search finds, among its first hits, what is the best one now.

    Raises:
        SearchError: it finds nothing now.
    """
    shared = agent.at("HEAD")
    answer = shared.search(query, limit=1)
    if not answer.hits:
        raise SearchError(f"{one_line(query)!r} finds nothing now: search for something else.")
    best = answer.hits[0].doc

    def there(commit: str) -> bool:
        past = agent.at(commit)
        past.__dict__["index"] = shared.index  # it goes from commit to commit by what differs
        found = past.search(query, limit=FIRST).hits
        return any((one.doc.kind, one.doc.id) == (best.kind, best.id) for one in found)

    try:
        yield there
    finally:
        shared.close()


def answer(agent: Agent, question: str, expect: str | None = None, run: str | None = None) -> Test:
    """Whether the agent as it was answers a question as it should.

    Args:
        agent: The agent.
        question: What it is asked, in a turn of its own that is not kept.
        expect: A regular expression that the reply has to hold, in any case.
        run: A command that gets the reply as its input and ends with 0 if it is right.

    Raises:
        StoreError: there is neither, or the expression is none.
    """
    if (expect is None) == (run is None):
        raise StoreError("Say how to judge the reply: a pattern (--expect) or a command (--run).")
    try:
        pattern = re.compile(expect or "", re.IGNORECASE)
    except re.error as error:
        raise StoreError(f"{expect!r} is no regular expression: {error}.") from None
    _ = agent.client  # the same model, started once, answers every time

    def there(commit: str) -> bool:
        past = agent.at(commit)
        try:
            reply = past.chat(question).reply
        finally:
            past.close()
        if run is None:
            return pattern.search(reply) is not None
        # It is the person's own command line, as it is for `git bisect run`.
        done = subprocess.run(run, shell=True, input=reply.encode(), check=False)  # noqa: S602
        if done.returncode in (126, 127) or not 0 <= done.returncode < 128:  # as git bisect run
            raise StoreError(
                f"The command that judges the reply could not be run to its end (status "
                f"{done.returncode}): try it by hand. It gets the reply as its input: {run}"
            )
        return done.returncode == 0

    return there


def bisect(
    agent: Agent,
    what: str,
    *,
    search: bool = False,
    ask: bool = False,
    expect: str | None = None,
    run: str | None = None,
    progress: Progress | None = None,
) -> Found:
    """See ``Agent.bisect``."""
    name = one_line(repr(what))
    if search and ask:
        raise StoreError("Search or ask: one of the two.")
    if not ask and (expect is not None or run is not None):
        raise StoreError("A pattern or a command judges a reply: ask a question (--ask).")
    if search:
        with hit(agent, what) as there:
            return first(agent, there, f"The best hit for {name}", progress)
    if ask:
        right = answer(agent, what, expect, run)
        return first(agent, right, f"The expected answer to {name}", progress)
    there = text(agent, what)
    if agent.store.rev and not there(agent.store.rev):
        _when_it_went(agent, what)
    return first(agent, there, name, progress)
