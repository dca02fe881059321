"""The seam to language models: a client is one class with ``complete``.

``openai`` speaks to every OpenAI-compatible endpoint, ``local`` runs a small model in the process,
``scripted`` says what it was told to say and ships for tests and documentation. Which one a name
means is decided in ``choose``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fsagent.records import Block, ToolCall, Usage

Message = Mapping[str, Any]
"""One chat message as OpenAI shapes it: role, content, tool_calls, tool_call_id."""

Schema = Mapping[str, Any]
"""One tool as OpenAI shapes it: a function with name, description, parameters."""


@dataclass(frozen=True)
class Prompt:
    """Everything one model call is sent.

    ``blocks`` repeats, as data, the core memory that ``messages[0]`` holds as text, for clients
    that build a prompt of their own.
    """

    messages: tuple[Message, ...]
    tools: tuple[Schema, ...] = ()
    blocks: tuple[Block, ...] = ()


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


class Client(Protocol):
    """A source of completions."""

    model: str
    """The name that recall and commits record."""

    context_window: int | None
    """Tokens that fit in one call, or None where only agent.yaml can say."""

    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        """Yield the text in pieces as it comes, then one Completion.

        Raises ModelError, with a sentence for the person, when there is no completion to be had.
        """
        ...
