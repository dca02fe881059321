"""The seam to language models: a client is one class with ``complete``.

``openai`` speaks to every OpenAI-compatible endpoint, ``local`` runs a small model in the process,
``scripted`` says what it was told to say and ships for tests and documentation. Which one a name
means is decided in ``choose``.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fsagent.records import Block, ToolCall, Usage

Message = Mapping[str, Any]
"""One chat message as OpenAI shapes it: role, content, tool_calls, tool_call_id."""

Schema = Mapping[str, Any]
"""One tool as OpenAI shapes it: a function with name, description, parameters."""


Count = Callable[[str], int]
"""A text's length in tokens."""


@dataclass(frozen=True)
class Prompt:
    """Everything one model call is sent.

    ``blocks`` repeats, as data, the core memory that ``messages[0]`` holds as text, for clients
    that build a prompt of their own. ``most`` are the tokens that the answer may have, where there
    is a bound.
    """

    messages: tuple[Message, ...]
    tools: tuple[Schema, ...] = ()
    blocks: tuple[Block, ...] = ()
    most: int | None = None


@dataclass(frozen=True)
class Completion:
    """The end of one model call: its whole text and the tool calls it asks for.

    ``finish`` is OpenAI's finish_reason: stop, tool_calls, length, content_filter.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    finish: str = "stop"


@dataclass(frozen=True)
class Exchange:
    """One model call as it was made: the bytes of the request, and the answer if there was one."""

    request: bytes
    answer: Completion | None = None


def encoded(value: Any) -> str:
    """JSON as it goes over the wire, character for character."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Client(ABC):
    """A source of completions. A new one is a class with ``complete``; the rest has defaults."""

    model: str
    """The name that recall and commits record."""

    context_window: int | None = None
    """Tokens that fit in one call, or None where only agent.yaml can say."""

    about: str = ""
    """What a person should know before the first turn."""

    on_exchange: Callable[[Exchange], None] | None = None
    """Given each call after it was made, for who wants to keep what was really sent."""

    @abstractmethod
    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        """Yield the text in pieces as it comes, then one Completion.

        Raises ModelError, with a sentence for the person, when there is no completion to be had.
        """

    @property
    def slow_start(self) -> str:
        """Why ``prepare`` may take a while, for the person who waits; "" when it does not."""
        return ""

    def prepare(self) -> None:  # noqa: B027 - most clients need none
        """Do what the first call would otherwise wait for."""

    @property
    def count(self) -> Count | None:
        """The model's own token counter, where it has one."""
        return None

    def close(self) -> None:  # noqa: B027 - most clients keep nothing
        """Give back what is kept: connections, memory, processes."""
