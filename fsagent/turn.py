"""One turn, from a user's text to the reply: adopt, ask, act, ask again, commit."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fsagent.change import Adopted, Change
from fsagent.clock import stamp
from fsagent.errors import FsagentError, OverBudget
from fsagent.formats import clean, one_line
from fsagent.llm import Client, Completion
from fsagent.records import (
    MAIN,
    Event,
    Record,
    TextDelta,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    Warned,
)
from fsagent.secret import masked, masked_json
from fsagent.spending import Purse
from fsagent.tools import ToolContext
from fsagent.tools.toolbox import Toolbox
from fsagent.watch import Watch

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.store import Store

_EDIT_SHOWN = 1500
"""Characters of a hand edit's changed lines that the agent is told."""


def told_of(store: Store, adopted: Adopted) -> str:
    """What an agent is told of a hand edit: who, where, and the changed lines."""
    lines = [
        line
        for line in store.repo.patch(adopted.commit).split("\n")
        if line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- "))
    ]
    names = ", ".join(one_line(path, 100) for path in adopted.paths[:20])
    return f"{adopted.person.name} edited {names} by hand:\n{shortened(lines)}"


def shortened(lines: list[str]) -> str:
    """Changed lines, as many as an agent is told."""
    patch = "\n".join(lines)
    return patch if len(patch) <= _EDIT_SHOWN else patch[:_EDIT_SHOWN] + "\n[…]"


class TurnRun:
    """One turn while it runs. Its caller holds the agent's turn lock."""

    def __init__(self, agent: Agent, text: str, thread: str = MAIN) -> None:
        self.agent = agent
        self.store = agent.store
        self.text, self.masked = self._without_secrets(text)
        self.thread = thread
        self.id = self.store.clock.id()
        self.message = ""
        self.model = ""
        self.reply = ""
        self.heard: list[str] = []
        """The pieces of the answer that is coming in, kept if it breaks off."""
        self.steps = 0
        self.usage = Usage()
        self.results: list[ToolResult] = []
        self.commits: list[str] = []
        self.segments: list[str] = []
        self.warnings: list[str] = []
        self.watch = Watch()

    def events(self) -> Iterator[Event]:
        """The story, in order. See ``Agent.stream``."""
        yield from self.watch.events(self._story())

    def _story(self) -> Generator[Event, None, None]:
        toolbox = self.agent.toolbox  # a bad agent.yaml stops the turn before anything is written
        recovered, edits = self.store.settle()
        for adopted in edits:
            self._tell(adopted)
        self.message = self._record("user", self.text, flush=True)
        try:
            if self.masked:
                yield self._warning(self.masked)
            yield from map(self._warning, recovered)
            if self.store.repo.head() and self.store.repo.branch() is None:
                yield self._warning(
                    "HEAD is detached: what is learned now is on no branch. "
                    "git switch -c NAME keeps it."
                )
            client = self.agent.client
            self.model = client.model
            yield from self._steps(client, toolbox)
        except BaseException as error:
            self._broke_off(error)
            raise
        finally:
            self._commit()
        for text in self.store.warnings:
            if text not in self.agent.warned:
                self.agent.warned.add(text)
                yield self._warning(text)
        yield Turn(
            self.id,
            self.text,
            self.reply,
            self.steps,
            tuple(self.results),
            tuple(self.commits),
            self.usage,
            self.model,
            tuple(self.warnings),
            self.thread,
        )

    def _steps(self, client: Client, toolbox: Toolbox) -> Iterator[Event]:
        """Model call, tool calls, model call …, until a message asks for no tool."""
        config = self.agent.config
        purse = Purse(self.store, config)
        most = config.budget.steps
        while self.steps < most:
            try:
                completion = yield from self._ask(client, purse)
            except OverBudget as error:
                if not self.steps:
                    raise
                yield self._warning(str(error))
                self._record("event", f"The turn was stopped: {error}")
                return
            self.steps += 1
            if not completion.tool_calls:
                self.reply = completion.text
                if completion.finish == "length":
                    what = (
                        "what is left of the budget" if purse.bounded else "the model's own limit"
                    )
                    yield self._warning(f"The reply was cut at {what}.")
                elif not completion.text.strip():
                    yield self._warning("The model gave an empty reply: say it again, or /model.")
                return
            over = False
            for call in completion.tool_calls:
                yield call
                result = self._act(toolbox, call)
                yield result
                if toolbox.ends_turn(result):
                    over, self.reply = True, result.text
                    yield TextDelta(result.text)
            if over:
                return
        yield self._warning(f"The turn was stopped after {most} steps.")
        self._record("event", f"The turn was stopped after {most} steps, without a reply.")

    def _ask(self, client: Client, purse: Purse) -> Generator[TextDelta, None, Completion]:
        """One model call; its record is in recall before any of its tools run.

        Raises:
            OverBudget: the call was not made.
        """
        self.heard = []
        completion = None
        context = self.agent.context(self.thread)
        prompt = context.prompt
        if purse.bounded:
            prompt = replace(prompt, most=purse.room(context.tokens["total"]))
        for part in self.watch.answer(client.complete(prompt)):
            if isinstance(part, Completion):
                completion = part
            else:
                self.heard.append(part)
                yield TextDelta(part)
        if completion is None:
            completion = Completion("".join(self.heard))
        completion = replace(
            completion,
            text=clean(completion.text),
            tool_calls=tuple(
                ToolCall(clean(call.id), clean(call.name), clean(call.arguments))
                for call in completion.tool_calls
            ),
        )
        self.heard = []
        if purse.bounded:
            answer = context.count(completion.text)
            purse.take(context.tokens["total"], answer, completion.usage)
        ms, own_ms = self.watch.lap()
        self.usage += completion.usage
        self.model = completion.model or client.model
        self._record(
            "assistant",
            completion.text,
            tool_calls=completion.tool_calls,
            model=self.model,
            usage=completion.usage,
            ms=ms,
            own_ms=own_ms,
        )
        return completion

    def _act(self, toolbox: Toolbox, call: ToolCall) -> ToolResult:
        """Run one tool call: what it writes is one commit."""
        door = self.store.change(
            call.name,
            tool=call.name,
            call=call.id,
            turn=self.id,
            message=self.message,
            model=self.model,
        )
        (result, change), ms = self.watch.apart(lambda: toolbox.run(call, door, self._tool_context))
        self._record(
            "tool",
            result.text,
            name=call.name,
            tool_call_id=call.id,
            status=result.status,
            change=result.change,
            ms=ms,
        )
        self.results.append(result)
        if result.commit:
            self.commits.append(result.commit)
        for adopted in change.adopted if change else ():
            self._tell(adopted)
        return result

    def _tool_context(self, change: Change) -> ToolContext:
        now, zone = self.store.clock.now(), self.agent.config.zone
        return ToolContext(change, self.agent.search, zone, now, self.id)

    def _tell(self, adopted: Adopted) -> None:
        """Let the agent know, by an event, what a person changed by hand."""
        self.commits.append(adopted.commit)
        self._record("event", told_of(self.store, adopted), change=adopted.change)

    def _broke_off(self, error: BaseException) -> None:
        """Keep what was heard, and say in recall why there is no more of it."""
        if self.heard:
            self._record("assistant", clean("".join(self.heard)), model=self.model)
        if isinstance(error, FsagentError):
            why = f"The turn broke off: {error}"
        elif isinstance(error, KeyboardInterrupt | GeneratorExit):
            why = "The user interrupted the turn."
        else:
            why = f"The turn broke off: {type(error).__name__}."
        self._record("event", one_line(why, 500))

    def _record(self, role: str, content: str, *, flush: bool = False, **more: object) -> str:
        """Append a record of this turn to recall; the answer is its id."""
        clock = self.store.clock
        content = self._without_secrets(content)[0]
        record = Record(clock.id(), stamp(clock.now()), role, content, self.id)
        record = replace(record, thread=self.thread, **more)  # type: ignore[arg-type]
        calls = (
            replace(call, arguments=masked_json(call.arguments, self.agent.config.allow))
            for call in record.tool_calls
        )
        record = replace(record, tool_calls=tuple(calls))
        path = self.store.append(record, flush=flush)
        if path not in self.segments:
            self.segments.append(path)
        return record.id

    def _without_secrets(self, text: str) -> tuple[str, str]:
        """What recall may keep of ``text``, and a sentence about what it may not, if anything."""
        text, found = masked(text, self.agent.config.allow)
        if not found:
            return text, ""
        these = ", ".join(dict.fromkeys(map(str, found)))
        return text, (
            f"Your message holds what looks like {these}: it was neither kept nor sent, and a mark "
            "stands in its place. If it is none, allow it in agent.yaml; see docs/safety.md."
        )

    def _commit(self) -> None:
        """All lines of the turn as one commit."""
        with self.store.change(
            f"turn: {self.text}",
            turn=self.id,
            message=self.message,
            model=self.model,
        ) as change:
            change.included += self.segments
        if change.commit:
            self.commits.append(change.commit)

    def _warning(self, text: str) -> Warned:
        self.warnings.append(text)
        return Warned(text)
