"""What a model was sent once, made again from the files and records of then, byte for byte.

Each answer in recall names the change, the records and the recipe that its prompt was made from,
and hashes of what was sent: so it can be said whether these are the very bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from fsagent.clock import born
from fsagent.context import RECIPE, Context, Files, Window, assemble, fingerprint
from fsagent.errors import ConfigError, StoreError
from fsagent.formats import one_line
from fsagent.history.gap import MARK
from fsagent.history.name import commit_of, named
from fsagent.llm import Schema
from fsagent.past import Past
from fsagent.records import Record, Sent
from fsagent.repo import walk
from fsagent.tools.toolbox import Toolbox
from fsagent.view import read, uncovered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fsagent.store import Store
    from fsagent.tools import Tool


_BACK = 20
"""Commits back from that of a prompt's files, among which the one is with which its turn began."""


@dataclass(frozen=True)
class PastPrompt:
    """A prompt of the past and the record of its answer.

    ``same_messages`` and ``same_tools`` say whether they are, byte for byte, what was sent. Tools
    that a program added are known only where it adds them again. ``purged`` says that something
    that was sent has been purged since: then a mark stands in its place.
    """

    answer: Record
    context: Context
    same_messages: bool
    same_tools: bool

    @property
    def purged(self) -> bool:
        """See above."""
        return self.answer.sent is not None and self.answer.sent.messages == MARK

    @property
    def same(self) -> bool:
        """Whether all of it is what was sent."""
        return self.same_messages and self.same_tools

    def holds(self, text: str) -> bool:
        """Whether ``text`` stood in one of the messages, as the model read them."""
        for message in self.context.prompt.messages:
            calls = message.get("tool_calls", ())
            texts = [message.get("content") or "", *(c["function"]["arguments"] for c in calls)]
            if any(text in each for each in texts):
                return True
        return False


def prompts(store: Store, turn: str, tools: Iterable[Tool], window: Window) -> list[PastPrompt]:
    """The prompts of a turn, one for each answer of the model, in order.

    Args:
        store: The agent's files, as they are now.
        turn: The id of the turn.
        tools: The tools that a program adds.
        window: How tokens are counted.

    Raises:
        StoreError: there is no such turn, or its answers do not say what their prompts were made
            from, or it was a recipe that is not known here.
    """
    tools = tuple(tools)
    own = _records_of(store, turn)
    made = _prompts(store, own, tools, window)
    if not made or not all(prompt.same_messages or prompt.purged for prompt in made):
        # A line of the turn may have been edited since, or reverted: its commit has all of them.
        for commit in named(store.repo, turn, store.rev or "HEAD")[-1:]:
            then = _records_of(Past(store, commit), turn)
            made, own = _prompts(store, then, tools, window) or made, own or then
    if not own:
        raise StoreError(
            f"There is no turn {one_line(turn)!r}. See: fsagent log {store.root} --turns"
        )
    if not made:
        raise StoreError(
            f"No answer in the turn {one_line(turn)} says what its prompt was made from."
        )
    return made


def _prompts(
    store: Store, own: list[Record], tools: tuple[Tool, ...], window: Window
) -> list[PastPrompt]:
    making = _Making(store, own, tools, window)
    return [making.prompt(answer, answer.sent) for answer in own if answer.sent]


def _records_of(store: Store, turn: str) -> list[Record]:
    """The records of a turn, in order; none if there is no such turn."""
    wanted = json.dumps(turn, ensure_ascii=False).encode()
    for paths in _likely(store, turn):
        parts = ((path, store.read(path)) for path in paths)
        lines = (store.records(path, data) for path, data in parts if wanted in data)
        found = [record for part in lines for record in part if turn and record.turn == turn]
        if found:
            return found
    return []


def _likely(store: Store, turn: str) -> Iterator[list[str]]:
    """The segments of the days about which a turn's id speaks, and then all."""
    segments, when = store.segments(), born(turn)
    if when:
        days = {f"recall/{when + timedelta(days=n):%Y/%m/%d}-" for n in (-1, 0, 1)}
        yield [path for path in segments if path[:18] in days]
    yield segments


@dataclass
class _Making:
    """The prompts of one turn while they are made again."""

    store: Store
    own: list[Record]
    tools: tuple[Tool, ...]
    window: Window
    before: list[Record] | None = None
    """What was in view when the turn began, once that is sure."""

    def prompt(self, answer: Record, sent: Sent) -> PastPrompt:
        if sent.recipe != RECIPE:
            raise StoreError(
                f"The prompt of {answer.id} was made by recipe {sent.recipe}, and this version of "
                f"fsagent knows recipe {RECIPE}: use the version of then."
            )
        made: list[PastPrompt] = []
        for commit in self._commits(answer, sent):
            for before in self._befores(answer, commit):
                made.append(self._made(answer, sent, commit, before))
                if made[-1].same_messages:
                    self.before = before
                    return made[-1]
                if len(made[-1].context.records) == sent.count:
                    break
        return made[0]

    def _befores(self, answer: Record, commit: str) -> Iterator[list[Record]]:
        """What may have been in view when the turn began, but for its own records: what was at
        the commit of the files, or earlier, where an import or a pull came in between."""
        if self.before is not None:
            yield self.before
            return
        for at in walk.back_from(self.store.repo, commit, _BACK):
            view = read(Past(self.store, at), answer.thread)
            yield [record for record in view if record.turn != answer.turn]

    def _made(
        self, answer: Record, sent: Sent, commit: str, before: Sequence[Record]
    ) -> PastPrompt:
        past = Past(self.store, commit)
        ids = [record.id for record in self.own]
        end = ids.index(sent.last) + 1 if sent.last in ids else ids.index(answer.id)
        records = uncovered([*before, *self.own[:end]])
        files = Files.of(past, self._schemas(past))
        context = assemble(files, records, self.window, cut=sent.cut)
        return PastPrompt(
            answer,
            context,
            fingerprint(context.prompt.messages) == sent.messages,
            fingerprint(context.prompt.tools) == sent.tools,
        )

    def _commits(self, answer: Record, sent: Sent) -> list[str]:
        """The commit whose files the prompt was made from, or those that it may be.

        Where a person made it, only its own id names it, which a purge changes: then it is one of
        those on which the turn made its own.
        """
        try:
            return [commit_of(self.store, sent.change)]
        except StoreError:
            repo = self.store.repo
            own = walk.entries(repo, named(repo, answer.turn, self.store.rev or "HEAD"))
            below = [entry.parents[0] for entry in own.values() if entry.parents]
            if not below:
                raise StoreError(
                    "The commit that this prompt was made from is not here: the history was "
                    "rewritten (squashed, say), or the clone is shallow (git fetch --unshallow)."
                ) from None
            return below

    def _schemas(self, past: Past) -> tuple[Schema, ...]:
        names = past.config.tools
        try:
            toolbox = Toolbox(names, self.tools)
        except ConfigError:  # a tool of a program that is not this one
            known = Toolbox((), self.tools).known
            toolbox = Toolbox(tuple(name for name in names or () if name in known), self.tools)
        return toolbox.schemas()
