"""One turn, from a user's text to the reply: adopt, ask, act, ask again, commit."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fsagent import clashes, fold
from fsagent.change import Adopted, Change
from fsagent.clock import stamp
from fsagent.context import Context, Files, assemble, sound_id
from fsagent.errors import ConfigError, FsagentError, OverBudget, OverLimit, PromptTooLong
from fsagent.formats import clean, counted, one_line
from fsagent.llm import Client, Completion, Prompt, Schema
from fsagent.past import Past
from fsagent.records import (
    MAIN,
    Block,
    Event,
    Folded,
    Record,
    Sent,
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
from fsagent.view import read, uncovered
from fsagent.watch import Watch

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.store import Store

REFUSALS = 3
"""How often a prompt is made shorter because the model says that it is too long."""

_THREADS_NAMED = 10
"""Threads that an agent is told of by name, the newest first."""

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


def elsewhere(store: Store) -> str:
    """What the agent is told when a thread begins: of the others, of which it sees nothing."""
    threads = store.threads()
    if not threads:
        return ""
    count = counted(sum(number for number, _ in threads.values()), "message")
    names = ", ".join([*threads][:_THREADS_NAMED]) + (", …" * (len(threads) > _THREADS_NAMED))
    noun = "another conversation" if len(threads) == 1 else f"{len(threads):,} other conversations"
    return f"This conversation begins. Recall holds {count} of {noun} ({names}): search finds them."


def shortened(lines: list[str]) -> str:
    """Changed lines, as many as an agent is told."""
    patch = "\n".join(lines)
    return patch if len(patch) <= _EDIT_SHOWN else patch[:_EDIT_SHOWN] + "\n[…]"


def distinct(calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """Calls of one answer, each with an id of its own, by which its result is known."""
    found: dict[str, ToolCall] = {}
    for number, call in enumerate(calls, 1):
        ident = call.id
        while sound_id(ident) in found:
            ident = f"{number}-{ident}"
        found[sound_id(ident)] = replace(call, id=ident)
    return tuple(found.values())


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
        self.records: list[Record] = []
        """What is in view."""
        self.window = agent.window
        self.purse = Purse(self.store, agent.config)
        self._size, self._most = 0, 0
        """Tokens of the last prompt, and that its answer may have, where there is a budget."""
        self.sent: Sent | None = None
        """What the last prompt was made from."""
        self._tools: tuple[Schema, ...] = ()
        self._files: tuple[str | None, str, Files] | None = None

    def events(self) -> Iterator[Event]:
        """The story, in order. See ``Agent.stream``."""
        yield from self.watch.events(self._story())

    def _story(self) -> Generator[Event, None, None]:
        # A bad agent.yaml, or a window too small, stops the turn before anything is written.
        toolbox = self.agent.toolbox
        self._tools = toolbox.schemas()
        fold.require_room(assemble(Files.of(self.store, self._tools, 0), (), self.window))
        recovered, edits = self.store.settle()
        self.records = read(self.store, self.thread)
        if not self.records and (others := elsewhere(self.store)):
            self._record("event", others)
        for adopted in edits:
            self._tell(adopted)
        for clash in clashes.told(self.store):
            self._record("event", clash)
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
        most = self.agent.config.budget.steps
        while self.steps < most:
            try:
                completion = yield from self._ask(client)
            except (OverBudget, PromptTooLong) as error:
                if not self.steps or self.heard:
                    raise
                yield self._warning(str(error))
                self._record("event", f"The turn was stopped: {error}")
                return
            self.steps += 1
            if not completion.tool_calls:
                self.reply = completion.text
                if completion.finish == "length":
                    what = "the model's own limit"
                    if self.purse.bounded:
                        what = f"{self._most:,} tokens, as agent.yaml has a budget"
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
        yield self._warning(
            f"The turn was stopped after {most} steps; agent.yaml may allow more (budget: steps)."
        )
        self._record("event", f"The turn was stopped after {most} steps, without a reply.")

    # ── what the model is sent ────────────────────────────────────────────────────────────────

    def _prompt(self, client: Client) -> Generator[Event, None, Context]:
        """The context of the next call, which fits: the oldest messages are folded where it is
        too long, and the agent is told before that."""
        context = self._context()
        if context.fits(self.window.limit):
            for text in filter(None, (fold.pressing(context), fold.crowded(context))):
                self._record("event", text)
                context = self._context()
        if not context.fits(self.window.limit):
            fold.require_turn(context, self.id)
            yield from self._fold(client, context)
            context = fold.fitted(self._context())
        return context

    def _context(self) -> Context:
        """The context from the files of HEAD and the records in view.

        Of HEAD, and not of the work tree: so any prompt can be made again from its commit.
        """
        rev = self.store.rev
        if self._files is None or self._files[0] != rev:
            store, change = self.store, ""
            if rev:
                past = store if isinstance(store, Past) else Past(store, rev)
                store, change = past, past.newest_change
            first = self._files is None
            self._files = rev, change, Files.of(store, self._tools)
            if first:
                self._name_unseen(self._files[2])
            for text in store.warnings:
                self.store.warn(text)
        return assemble(self._files[2], self.records, self.window)

    def _name_unseen(self, files: Files) -> None:
        """Warn of blocks that no commit holds, though hand edits were just committed."""
        seen = {block.path for block in files.blocks}
        for path in self.store.paths("core"):
            if path not in seen:
                self.store.warn(
                    f"{path} is in no commit, so the agent does not see it. "
                    "Does .gitignore name it?"
                )

    def _fold(self, client: Client, context: Context) -> Iterator[Event]:
        """Put a summary in the place of the oldest messages: one commit, and the turn goes on."""
        what = fold.plan(context, self.id)
        if what is None:
            return
        if self.purse.bounded:  # else a summary would be made for a call that is not
            self.purse.room(what.then, self.window.size)
        zone = context.files.zone
        summary, ms = self.watch.apart(
            lambda: fold.summarise(client, what, self.window, zone, self.purse, keep=what.then)
        )
        self.usage += summary.usage
        record = fold.record_of(self.store, what, summary, self.thread, self.id)
        record = replace(record, ms=ms)
        self._commit()  # so that a git revert of the fold takes back the summary alone
        self._append(record, flush=True)
        self.records = uncovered(self.records)
        with self.store.change(
            fold.subject(record), turn=self.id, message=self.message, model=record.model
        ) as change:
            change.included += self.segments
        if change.commit:
            self.commits.append(change.commit)
        after = self._context().tokens["total"]
        yield Folded(record, what.now, after, change.commit, summary.problem)

    # ── model calls and tool calls ────────────────────────────────────────────────────────────

    def _ask(self, client: Client) -> Generator[Event, None, Completion]:
        """One model call; its record is in recall before any of its tools run.

        Raises:
            OverBudget: the call was not made.
        """
        self.heard = []
        for left in range(REFUSALS, -1, -1):
            context = yield from self._prompt(client)
            assert self._files is not None  # noqa: S101 - a context was just made from them
            self.sent = context.sent(self._files[1])
            prompt = context.prompt
            if self.purse.bounded:
                self._size = context.tokens["total"]
                self._most = self.purse.room(self._size, self.window.size)
                prompt = replace(prompt, most=self._most)
            try:
                completion = yield from self._heard(client, prompt)
                break
            except PromptTooLong as error:
                if self.heard or not left:
                    raise
                self.window = self.window.smaller(context.tokens["total"] * 4 // 5)
                try:
                    fold.require_turn(self._context(), self.id)
                except PromptTooLong:  # then nothing is folded for it
                    raise error from None
        completion = replace(
            completion,
            text=clean(completion.text),
            tool_calls=distinct(
                ToolCall(clean(call.id), clean(call.name), clean(call.arguments))
                for call in completion.tool_calls
            ),
        )
        self.heard = []
        if self.purse.bounded:
            said = (completion.text, *(f"{c.name}{c.arguments}" for c in completion.tool_calls))
            answer = sum(map(self.window.count, said))
            usage = self.purse.take(context.tokens["total"], answer, completion.usage)
            completion = replace(completion, usage=usage)
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
            sent=self.sent,
        )
        return completion

    def _heard(self, client: Client, prompt: Prompt) -> Generator[TextDelta, None, Completion]:
        """The answer of the model as it comes, and at last as a whole."""
        completion = None
        for part in self.watch.answer(client.complete(prompt)):
            if isinstance(part, Completion):
                completion = part
            else:
                self.heard.append(part)
                yield TextDelta(part)
        return completion or Completion("".join(self.heard))

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
        change.require = self._require
        now, zone = self.store.clock.now(), self.agent.config.zone
        return ToolContext(change, self.agent.search, zone, now, self.id)

    def _require(self, blocks: Sequence[Block]) -> None:
        """Raises OverLimit where core memory would be more than the window has room for."""
        self.window.require(blocks)
        assert self._files is not None  # noqa: S101 - a tool is called by what was asked with them
        files = replace(self._files[2], blocks=tuple(blocks))
        context = assemble(files, (), self.window)
        try:
            fold.require_room(context)
        except ConfigError:
            raise OverLimit(
                f"Core memory would take {context.tokens['blocks']:,} tokens, and then the window "
                "is too small to talk in: shorten something in it first, or keep a note."
            ) from None

    def _tell(self, adopted: Adopted) -> None:
        """Let the agent know, by an event, what a person changed by hand."""
        self.commits.append(adopted.commit)
        self._record("event", told_of(self.store, adopted), change=adopted.change)

    def _broke_off(self, error: BaseException) -> None:
        """Keep what was heard, and say in recall why there is no more of it."""
        if self.heard:
            text = clean("".join(self.heard))
            usage = None
            if self.purse.bounded:  # it was paid for, though nobody has told how much
                usage = self.purse.take(self._size, self.window.count(text), Usage())
            self._record("assistant", text, model=self.model, sent=self.sent, usage=usage)
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
        self._append(replace(record, tool_calls=tuple(calls)), flush=flush)
        return record.id

    def _append(self, record: Record, *, flush: bool) -> None:
        path = self.store.append(record, flush=flush)
        if path not in self.segments:
            self.segments.append(path)
        self.records.append(record)

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
