"""The client that says what it was told to say: for tests, examples and documentation.

    ScriptedClient(["Hi", call("core_memory_append", label="human", content="x"), "Noted."])

Each model call takes the next item: a text, a tool call, a list of both, a function of the prompt
that gives one of these, or an exception to raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fsagent.errors import ModelError
from fsagent.llm import Client, Completion, Exchange, Prompt, encoded
from fsagent.records import ToolCall, Usage


def call(name: str, /, **arguments: Any) -> ToolCall:
    """A tool call for a script; the client gives it an id."""
    return ToolCall("", name, json.dumps(arguments, ensure_ascii=False))


class ScriptedClient(Client):
    """A client whose answers are a list. ``prompts`` are the prompts it was sent."""

    def __init__(
        self,
        script: Iterable[Any] = (),
        *,
        model: str = "scripted",
        context_window: int | None = None,
    ) -> None:
        self.model = model
        self.context_window = context_window
        self.prompts: list[Prompt] = []
        self._script = iter(script)
        self._calls = 0

    @classmethod
    def load(cls, path: Path) -> ScriptedClient:
        """A script from a file: a JSON list of texts, {"tool": name, "arguments": {…}}, and lists.

        Each process starts at the script's first item that no earlier one has used: the place is
        kept beside the script, in ``<name>.at``, so that a session of several commands reads on.

        Raises:
            ModelError: when the file is not such a list.
        """
        try:
            items = json.loads(path.read_text())
            script = [_item(item) for item in items]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{path} is not a script for the scripted model: {error}.") from None
        mark = path.with_name(path.name + ".at")

        def from_mark() -> Iterator[Any]:
            at = int(mark.read_text()) if mark.exists() else 0
            while at < len(script):
                at += 1
                mark.write_text(str(at))
                yield script[at - 1]

        return cls(from_mark(), model=f"scripted:{path.name}")

    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        """See ``Client.complete``. The text comes word by word."""
        self.prompts.append(prompt)
        try:
            item = next(self._script)
        except StopIteration:
            raise ModelError("The script of the scripted model has come to its end.") from None
        while callable(item):
            item = item(prompt)
        if isinstance(item, BaseException):
            self._exchanged(prompt)
            raise item
        parts = item if isinstance(item, list) else [item]
        text = "".join(part for part in parts if isinstance(part, str))
        yield from re.findall(r"\s*\S+\s*$|\s*\S+", text)
        calls = []
        for part in parts:
            if isinstance(part, ToolCall):
                self._calls += 1
                name = part.id or f"call_{self._calls}"
                calls.append(ToolCall(name, part.name, part.arguments))
        sent = sum(len(str(message.get("content") or "").split()) for message in prompt.messages)
        answer = Completion(
            text,
            tuple(calls),
            Usage(sent, len(text.split()) + len(calls)),
            self.model,
            "tool_calls" if calls else "stop",
        )
        self._exchanged(prompt, answer)
        yield answer

    def _exchanged(self, prompt: Prompt, answer: Completion | None = None) -> None:
        """Pass on what an endpoint would have been sent."""
        if self.on_exchange:
            request = {"model": self.model, "messages": prompt.messages, "tools": prompt.tools}
            self.on_exchange(Exchange(encoded(request).encode(), answer))


def _item(item: Any) -> Any:
    if isinstance(item, list):
        return [_item(part) for part in item]
    if isinstance(item, dict):
        return call(item["tool"], **item.get("arguments", {}))
    if not isinstance(item, str):
        raise TypeError(f"{item!r} is neither text nor a tool call")
    return item
