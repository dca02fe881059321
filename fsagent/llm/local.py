"""The embedded model as a client: a small agent of its own behind ``complete``.

A small model cannot be handed a conversation and a list of tools. So each call is taken apart here:
decide what to do with the last message (``decide``), search before every plain answer, go on where
one message asks for several changes, and then answer from the facts (``reply``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsagent.errors import ModelError
from fsagent.llm import Client, Completion, Count, Message, Prompt, decide, guards, reply, words
from fsagent.llm.decide import Choice, Situation
from fsagent.llm.engine import CONTEXT, End, Engine, LlamaEngine
from fsagent.records import PRESSURE, ToolCall, Usage

INTRODUCTION = (
    "This is a small model on your own machine: it remembers what you tell it, corrects and looks "
    "up memories, and answers from them, but it knows little else and makes mistakes. "
    "For a better one, name it with --model (for example gpt-5-mini with OPENAI_API_KEY, or a "
    "model of Ollama)."
)
"""What a surface says before the first turn with the embedded model."""

SMALL = "qwen2.5-coder-0.5b"
LARGE_BYTES = 800_000_000
"""Weights above this size want a machine with ``LARGE_MEMORY``."""
LARGE_MEMORY = 4 * 1000**3

_DECIDING, _ANSWERING, _ACKNOWLEDGING = 0, 1, 2
_DECISION_TOKENS = 200
_REPLY_TOKENS = 400
_CHAT_TOKENS = 1024
_STEPS = 8
"""Model calls of one turn after which only a reply is possible."""


@dataclass(frozen=True)
class Step:
    """One tool call of the turn under way and what came of it."""

    choice: Choice
    text: str
    good: bool


@dataclass(frozen=True)
class Turn:
    """The conversation as the client reads it: the last message and what was done for it."""

    message: str
    now: str
    events: tuple[str, ...]
    steps: tuple[Step, ...]
    calls: int
    before: tuple[tuple[str, str], ...]

    @property
    def changes(self) -> tuple[Choice, ...]:
        """The changes of memory that succeeded."""
        return tuple(s.choice for s in self.steps if s.good and s.choice.tool in decide.CHANGES)

    @property
    def failures(self) -> tuple[Step, ...]:
        """The changes of memory that were refused."""
        return tuple(s for s in self.steps if not s.good)

    @property
    def others(self) -> tuple[Step, ...]:
        """The calls of tools that are not fsagent's own."""
        return tuple(s for s in self.steps if s.choice.tool not in decide.BUILT_IN)

    @property
    def searched(self) -> bool:
        """Whether memory was searched in this turn."""
        return any(s.choice.tool in decide.SEARCHES for s in self.steps)


class LocalClient(Client):
    """A small model that runs in this process."""

    context_window = CONTEXT
    about = INTRODUCTION

    def __init__(
        self, path: Path, *, name: str, cache_dir: Path, threads: int | None = None
    ) -> None:
        """``path`` is a GGUF file, ``name`` what records call it; it is loaded at first use.

        ``cache_dir`` keeps computed prompts (some 60 MB). ``threads``: by default two at most.
        """
        self.model = name
        self._path = path
        self._cache = cache_dir / "prompts"
        self._threads = threads or max(1, min(2, _cores()))
        self._engine: Engine | None = None
        self._loading = threading.Lock()
        self._begun: dict[int, tuple[Mapping[str, str], ...]] = {}

    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        """Yield the text in pieces as it comes, then one Completion.

        Raises ModelError when xllamacpp or the weights are missing, or the machine is too small.
        """
        engine = self._ready()
        if not prompt.tools and not prompt.blocks:
            yield from self._chat(engine, prompt.messages)
            return
        turn = read_turn(prompt)
        situation = situate(turn, prompt)
        spent = Usage()
        if self._decides(turn, situation):
            choice, spent = self._decide_parts(engine, situation)
            if choice.tool != decide.REPLY:
                yield self._calling([guards.settle(choice, situation)], spent)
                return
        searches = searching(turn, situation)
        if searches:
            yield self._calling(searches, spent)
            return
        yield from self._reply(engine, facts(turn, prompt), spent)

    @property
    def count(self) -> Count:
        """Tokens by the model's own tokenizer. Calling it raises ModelError as ``complete``."""
        return lambda text: self._ready().count(text)

    @property
    def slow_start(self) -> str:
        """Loading takes seconds; computing the constant prompts, once a machine, half a minute."""
        if self._engine is not None:
            return ""
        first = "" if any(self._cache.glob("*.slot")) else ", and the first time half a minute"
        return f"Loading the model: this takes a few seconds{first} …"

    def prepare(self) -> None:
        """Load the model and have the beginnings of its prompts computed."""
        engine = self._ready()
        self._begin(engine, _DECIDING, _deciding())
        self._begin(engine, _ANSWERING, _beginning(reply.ANSWER, reply.ANSWERS))
        self._begin(engine, _ACKNOWLEDGING, _beginning(reply.ACKNOWLEDGE, reply.ACKNOWLEDGEMENTS))

    # --- The steps of a call ---

    def _decides(self, turn: Turn, situation: Situation) -> bool:
        """Whether there is something to decide, and not just a reply to give."""
        if not turn.message or turn.calls >= _STEPS or decide.forced(situation):
            return False
        if not turn.steps:
            return True
        last = turn.steps[-1]
        if last.choice.tool in decide.SEARCHES or turn.others:
            return False
        if not last.good:
            return len(turn.failures) == 1
        return guards.may_go_on(situation)

    def _decide_parts(self, engine: Engine, situation: Situation) -> tuple[Choice, Usage]:
        """Decide on each part of the message that asks for something of its own, in order.

        What an earlier step has taken up is passed over; so steps are chained here and not by the
        model.
        """
        parts = words.requests(situation.message)
        spent = Usage()
        for part in parts:
            if len(parts) > 1 and len(guards.uncovered(part, situation.done)) < 2:
                continue
            choice, usage = self._decide(engine, replace(situation, message=part))
            spent += usage
            if choice.tool != decide.REPLY:
                return choice, spent
        return Choice(decide.REPLY, {}), spent

    def _decide(
        self, engine: Engine, situation: Situation, *, second_look: bool = False
    ) -> tuple[Choice, Usage]:
        """Ask the model until a choice passes the guards; each refusal narrows what is offered."""
        beginning = _deciding()
        self._begin(engine, _DECIDING, beginning)
        spent = Usage()
        while not decide.forced(situation):
            text = ""
            question = {"role": "user", "content": _harmless(decide.ask(situation))}
            for piece in engine.generate(
                engine.template([*beginning, question]),
                slot=_DECIDING,
                limit=_DECISION_TOKENS,
                grammar=decide.grammar(situation, can_reply=not second_look),
            ):
                if isinstance(piece, str):
                    text += piece
                else:
                    spent += piece.usage
            choice = decide.read(text)
            if choice is None:
                break
            allowed = guards.guard(choice, situation)
            if allowed is not None and allowed.tool == decide.APPEND and not second_look:
                other, usage = self._second_look(engine, situation)
                return other or allowed, spent + usage
            if allowed is not None:
                return allowed, spent
            situation = guards.narrowed(situation, choice.tool)
        return Choice(decide.REPLY, {}), spent

    def _second_look(self, engine: Engine, situation: Situation) -> tuple[Choice | None, Usage]:
        """Where the message corrects something that a line names, ask which line it changes.

        The model tends to add the correction and to leave the old line as it is. What comes of the
        second look is taken only if it exchanges just what the message names.
        """
        said = situation.message
        if not words.corrects(said) or not any(
            words.named(each.line, said) for each in situation.candidates
        ):
            return None, Usage()
        only = replace(situation, without=situation.without | {decide.APPEND, decide.NOTE})
        choice, usage = self._decide(engine, only, second_look=True)
        if choice.tool != decide.REPLACE:
            return None, usage
        old, new = (str(choice.arguments[name]) for name in ("old_content", "new_content"))
        return (choice if guards.exchanges(old, new, said) else None), usage

    def _calling(self, choices: Sequence[Choice], spent: Usage) -> Completion:
        calls = tuple(
            ToolCall(
                f"call_{secrets.token_hex(8)}",
                choice.tool,
                json.dumps(choice.arguments, ensure_ascii=False),
            )
            for choice in choices
        )
        return Completion("", calls, spent, self.model, "tool_calls")

    def _reply(self, engine: Engine, told: reply.Facts, spent: Usage) -> Iterator[str | Completion]:
        known = reply.unknown(told)
        if known:
            yield known
            yield Completion(known, (), spent, self.model)
            return
        if reply.acknowledges(told):
            slot, system, examples = _ACKNOWLEDGING, reply.ACKNOWLEDGE, reply.ACKNOWLEDGEMENTS
        else:
            slot, system, examples = _ANSWERING, reply.ANSWER, reply.ANSWERS
        beginning = _beginning(system, examples)
        self._begin(engine, slot, beginning)
        question = {"role": "user", "content": _harmless(reply.ask(told))}
        opening = reply.opening(told)
        if opening:
            yield opening
        # No space at its end: the model writes that with its first word.
        prompt = engine.template([*beginning, question]) + opening.rstrip()
        stream = engine.generate(prompt, slot=slot, limit=_REPLY_TOKENS)
        said, end = yield from _streamed(stream, begun=bool(opening))
        text = opening + said
        source = reply.quote(text, told)
        if source:
            text += f"\n\n{source}"
            yield f"\n\n{source}"
        yield Completion(text, (), spent + end.usage, self.model, end.finish)

    def _chat(self, engine: Engine, messages: Sequence[Message]) -> Iterator[str | Completion]:
        """Answer without tools or memory: what fsagent asks of a model for itself (summaries)."""
        plain = [
            {"role": str(m["role"]), "content": _harmless(_text(m))}
            for m in messages
            if m["role"] in ("system", "user", "assistant") and _text(m)
        ]
        prompt = engine.template(plain)
        stream = engine.generate(prompt, slot=_ANSWERING, limit=_CHAT_TOKENS)
        text, end = yield from _streamed(stream)
        yield Completion(text, (), end.usage, self.model, end.finish)

    # --- The engine and its computed beginnings ---

    def _ready(self) -> Engine:
        with self._loading:
            if self._engine is None:
                self._engine = self._load()
            return self._engine

    def _load(self) -> Engine:
        try:
            size = self._path.stat().st_size
        except OSError:
            raise ModelError(
                f"The weights of {self.model} are not at {self._path}: fsagent model pull"
            ) from None
        memory = _memory()
        if size > LARGE_BYTES and memory and memory < LARGE_MEMORY:
            raise ModelError(
                f"{self.model} needs 4 GB of memory and this machine has "
                f"{memory / 1000**3:.1f}: use the small model, --model local:{SMALL}"
            )
        return LlamaEngine(self._path, threads=self._threads, slots=self._cache)

    def _begin(self, engine: Engine, slot: int, beginning: Sequence[Mapping[str, str]]) -> None:
        """Have the constant beginning computed in its slot: from the cache, or once and for all."""
        if self._begun.get(slot) == tuple(beginning):
            return
        # The beginning of any prompt: cut where the template puts the next message's own text.
        marked = engine.template([*beginning, {"role": "user", "content": "\x1f"}])
        prefix = marked.split("\x1f")[0]
        key = f"{_fingerprint(self._path)}\n{engine.version}\n{CONTEXT}\n{slot}\n{prefix}"
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.slot"
        if not engine.restore(slot, name):
            for _ in engine.generate(prefix, slot=slot, limit=0):
                pass
            engine.save(slot, name)
        self._begun[slot] = tuple(beginning)


# --- Reading a prompt -----------------------------------------------------------------------------


def read_turn(prompt: Prompt) -> Turn:
    """The last thing a person said, and the steps since then."""
    messages = prompt.messages
    at = max((i for i, m in enumerate(messages) if m["role"] == "user" and _said(m)), default=-1)
    if at < 0:
        at = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    message, now, events = reply.read_message(_text(messages[at])) if messages else ("", "", ())
    results = {
        str(m.get("tool_call_id")): _text(m) for m in messages[at + 1 :] if m["role"] == "tool"
    }
    steps = []
    calls = 0
    for m in messages[at + 1 :]:
        if m["role"] == "user":
            events += reply.read_message(_text(m))[2]
        if m["role"] != "assistant":
            continue
        calls += 1
        for call in m.get("tool_calls") or ():
            function = call["function"]
            choice = guards.unsettle(Choice(str(function["name"]), _arguments(function)))
            text = results.get(str(call.get("id")), "")
            steps.append(Step(choice, text, _succeeded(choice, text, prompt)))
    # Its decisions see no events, and in its replies it would only talk about this one.
    events = tuple(event for event in events if not event.startswith(PRESSURE))
    return Turn(message, now, events, tuple(steps), calls, _exchange(messages[:at]))


def situate(turn: Turn, prompt: Prompt) -> Situation:
    """What there is to decide in this turn."""
    names = frozenset(str(t["function"]["name"]) for t in prompt.tools)
    return Situation(
        message=turn.message,
        blocks=prompt.blocks,
        on=names,
        custom=decide.custom_tools(prompt.tools),
        done=turn.changes,
        # What was refused once is refused again.
        without=frozenset(s.choice.tool for s in turn.failures),
    )


def searching(turn: Turn, situation: Situation) -> list[Choice]:
    """The searches to make before this turn's reply, in every place that can be searched."""
    if turn.searched or turn.others or turn.failures or turn.calls >= _STEPS:
        return []
    if turn.changes and not words.asks(turn.message):
        return []
    query = " ".join(words.content(turn.message)[:16])
    if not query:
        return []
    return [Choice(name, {"query": query}) for name in decide.SEARCHES if name in situation.on]


def facts(turn: Turn, prompt: Prompt) -> reply.Facts:
    """What this turn's reply is made from."""
    found = [
        hit
        for step in turn.steps
        if step.choice.tool in decide.SEARCHES
        for hit in reply.read_hits(step.text, notes=step.choice.tool == decide.SEARCHES[0])
    ]
    known = [line for b in prompt.blocks if b.label != "persona" for line in decide.lines(b)]
    return reply.Facts(
        message=turn.message,
        blocks=prompt.blocks,
        found=reply.best_hits(found, turn.message, known),
        done=turn.changes,
        failed=() if turn.changes else tuple(s.text for s in turn.failures),
        results=tuple(f"{s.choice.tool}: {s.text}" for s in turn.others),
        before=turn.before,
        events=turn.events,
        now=turn.now,
    )


def _succeeded(choice: Choice, text: str, prompt: Prompt) -> bool:
    """Whether a change was made: what it was to write stands in memory now.

    Messages carry no status, so the block itself is asked; for a note, the result's wording.
    """
    if choice.tool == decide.NOTE:
        return re.match(r"(?:Kept|Stored|Saved|Added|Done|OK)\b", text) is not None
    if choice.tool not in decide.CHANGES:
        return True
    block = next((b for b in prompt.blocks if b.label == choice.arguments.get("label")), None)
    if block is None:
        return False
    if choice.tool == decide.REPLACE and not choice.arguments.get("new_content"):
        return str(choice.arguments.get("old_content")) not in block.text
    wanted = choice.arguments.get("new_content", choice.arguments.get("content"))
    return str(wanted) in block.text


def _exchange(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """What was said last before this turn, by each side."""
    said = [
        ("user" if m["role"] == "user" else "you", _said(m))
        for m in messages
        if m["role"] in ("user", "assistant") and _said(m)
    ]
    return tuple(said[-2:])


def _said(message: Message) -> str:
    return reply.read_message(_text(message))[0]


def _text(message: Message) -> str:
    """The text of a chat message, whether it is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value = json.loads(function.get("arguments") or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _streamed(
    pieces: Iterator[str | End], *, begun: bool = False
) -> Generator[str, None, tuple[str, End]]:
    """Pass the text on as it comes; return all of it, and how it ended.

    ``begun``: an opening, with a space at its end, has been said already.
    """
    text, end = "", End("stop", Usage())
    for piece in pieces:
        if isinstance(piece, End):
            end = piece
            continue
        if begun and not text:
            piece = piece.lstrip()
        if piece:
            text += piece
            yield piece
    return text, end


def _deciding() -> list[dict[str, str]]:
    examples = [(question, decide.write(answer)) for question, answer in decide.EXAMPLES]
    return _beginning(decide.SYSTEM, examples)


def _beginning(system: str, examples: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": system}]
    for question, answer in examples:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def _harmless(text: str) -> str:
    """``text`` with nothing in it that the chat form takes for the end of a message."""
    return text.replace("<|", "< |").replace("\x1f", " ")


# --- The machine ----------------------------------------------------------------------------------


def _cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    """Bytes of memory in the machine, or 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _fingerprint(path: Path) -> str:
    """What tells these weights from others without reading a gigabyte."""
    state = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(1 << 20)).hexdigest()
    return f"{state.st_size}:{head}"
