"""Every OpenAI-compatible endpoint, through OpenAI's own client.

OpenAI, Anthropic's and Google's compatible endpoints, Ollama, vLLM, llama.cpp: what differs is the
``base_url`` and a few liberties they take with the protocol, which are met here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from fsagent.errors import ModelError, PromptTooLong
from fsagent.formats import one_line
from fsagent.llm import Client, Completion, Exchange, Prompt
from fsagent.records import ToolCall, Usage

TIMEOUT = 120.0
"""Seconds without a byte from the endpoint before a call is given up and tried again."""

RETRIES = 3
"""Further tries after a refusal that may pass (408, 409, 429, 5xx, no connection), with backoff."""

_TOO_LONG = re.compile(
    r"context[_ ](?:length|window|size|limit)|maximum (?:number of )?(?:context|tokens|prompt)"
    r"|longer than the maximum"
    r"|(?:prompt|input|request|message)s?(?: \w+){0,4} too (?:long|large|many)|too many tokens"
    r"|exceeds? the (?:maximum|available|model)|reduce the length",
    re.IGNORECASE,
)
"""How OpenAI, Anthropic, Google, llama.cpp, vLLM, Mistral and their kind say that a prompt does
not fit: each in words of its own."""

_WINDOWS = {
    "gpt-5": 400_000,
    "gpt-4.1": 1_047_576,
    "gpt-4o": 128_000,
    "gpt-4-turbo": 128_000,
    "o1": 200_000,
    "o3": 200_000,
    "o4": 200_000,
}


class OpenAIClient(Client):
    """A model behind an OpenAI-compatible endpoint. ``base_url`` None is OpenAI's own.

    With ``own_account`` False, nothing that the environment says of the person's account
    (organization, project, custom headers) is sent: the address comes from somewhere else.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str = "",
        base_url: str | None = None,
        stream: bool = True,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        own_account: bool = True,
    ) -> None:
        self.model = model
        windows = (size for name, size in _WINDOWS.items() if model.startswith(name))
        self.context_window = next(windows, None) if not base_url else None
        self._stream = stream
        self._has_key = bool(api_key)
        self._url = base_url or "https://api.openai.com/v1"
        self._client = openai.OpenAI(
            api_key=api_key or "none",  # the client insists; local servers look at none
            base_url=self._url,
            timeout=openai.Timeout(timeout, connect=min(timeout, 10.0)),
            max_retries=retries,
        )
        if not own_account:
            # The client takes these from the environment, for OpenAI or the person's own gateway.
            self._client.organization = self._client.project = None
            self._client._custom_headers = {}

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._client.close()

    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        """See ``Client.complete``."""
        # Past the client's own look at each message and tool, which takes longer than all the rest.
        body: dict[str, Any] = {"messages": list(prompt.messages)}
        if prompt.tools:
            body["tools"] = list(prompt.tools)
        request: dict[str, Any] = {"model": self.model, "messages": (), "extra_body": body}
        if prompt.most is not None:
            # OpenAI's own models refuse the older name, other servers may not know the newer one.
            own = "api.openai.com" in self._url
            request["max_completion_tokens" if own else "max_tokens"] = prompt.most
        if self._stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        with self._plain_errors():
            try:
                raw = self._client.chat.completions.with_raw_response.create(**request)
            except openai.APIStatusError as error:
                self._exchanged(error.request.content)
                raise
            kind = raw.headers.get("content-type", "")
            if self._stream and not kind.startswith("application/json"):
                # As plain data: a model of each piece costs more than the piece.
                parts = self._streamed(raw.parse(to=openai.Stream[object]))
            else:  # asked for or not, some endpoints answer all at once
                answer = json.loads(raw.http_response.read())
                if "error" in answer and not answer.get("choices"):
                    why = answer["error"]
                    said = why.get("message") if isinstance(why, dict) else why
                    raise openai.APIError(str(said), raw.http_response.request, body=why)
                parts = self._whole(answer)
            for part in parts:
                if isinstance(part, Completion):
                    self._exchanged(raw.http_response.request.content, part)
                yield part

    def _exchanged(self, request: bytes, answer: Completion | None = None) -> None:
        if self.on_exchange:
            self.on_exchange(Exchange(request, answer))

    def _whole(self, answer: dict[str, Any]) -> Iterator[str | Completion]:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if text:
            yield text
        calls = [
            _call(i, call.get("id"), call["function"]["name"], call["function"].get("arguments"))
            for i, call in enumerate(message.get("tool_calls") or ())
        ]
        finish = choice.get("finish_reason") or "stop"
        model = answer.get("model") or self.model
        yield Completion(text, tuple(calls), _usage(answer.get("usage")), model, finish)

    def _streamed(self, chunks: Any) -> Iterator[str | Completion]:
        text: list[str] = []
        calls: dict[int, dict[str, str]] = {}
        usage: dict[str, Any] | None = None
        model, finish = self.model, ""
        try:
            for chunk in chunks:
                model = chunk.get("model") or model
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    finish = choice.get("finish_reason") or finish
                    delta = choice.get("delta") or {}
                    if delta.get("content"):
                        text.append(delta["content"])
                        yield delta["content"]
                    for part in delta.get("tool_calls") or ():
                        _gather(calls, part)
        finally:
            chunks.close()  # an interrupted turn must not keep the endpoint busy
        if not finish:
            raise ModelError(f"{self._url} broke off its answer: try again.")
        made = [_call(i, c["id"], c["name"], c["arguments"]) for i, c in sorted(calls.items())]
        yield Completion("".join(text), tuple(made), _usage(usage), model, finish)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """The client's exceptions as one sentence for the person."""
        try:
            yield
        except openai.AuthenticationError as error:
            variable = "OPENAI_API_KEY" if "api.openai.com" in self._url else "FSAGENT_API_KEY"
            which = "refused the key" if self._has_key else "wants a key, and none is set"
            raise ModelError(f"{self._url} {which}: put a valid one in {variable}.") from error
        except openai.NotFoundError as error:
            raise ModelError(
                f"{self._url} has no model {self.model!r}: choose another with --model "
                f"or in agent.yaml. ({_said(error)})"
            ) from error
        except openai.RateLimitError as error:
            raise ModelError(f"{self._url} turns requests away for now: {_said(error)}") from error
        except openai.APITimeoutError as error:
            raise ModelError(f"{self._url} did not answer in time: try again.") from error
        except openai.APIConnectionError as error:
            raise ModelError(
                f"{self._url} cannot be reached: is the address right and the server running?"
            ) from error
        except openai.APIStatusError as error:
            status = error.status_code
            if status in (400, 413, 422, 500):
                self._if_too_long(error)
            raise ModelError(f"{self._url} refused ({status}): {_said(error)}") from error
        except openai.APIError as error:  # in a stream, where the status was 200 already
            self._if_too_long(error)
            raise ModelError(f"{self._url} broke off its answer: {_said(error)}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{self._url} answered with something that is no chat completion: "
                f"{one_line(str(error), 100)}"
            ) from error
        except Exception as error:
            if not type(error).__module__.startswith("httpx"):
                raise
            # The client wraps what its transport raises, but not in the middle of a stream.
            raise ModelError(f"{self._url} broke off its answer: try again.") from error

    def _if_too_long(self, error: openai.APIError) -> None:
        """Raises PromptTooLong where that is what the endpoint says."""
        if _TOO_LONG.search(f"{error.code} {_said(error)}"):
            raise PromptTooLong(
                f"{self._url} says that the prompt is too long for {self.model} "
                f"({_said(error)}): set context_window in agent.yaml to what it can take."
            ) from error


def _gather(calls: dict[int, dict[str, str]], part: dict[str, Any]) -> None:
    """Add a piece of a tool call. Endpoints that leave out the index send each call whole."""
    index, ident = part.get("index"), part.get("id")
    if index is None or (ident and calls.get(index, {}).get("id") not in (None, "", ident)):
        index = len(calls)  # no index, or one for all: then each call comes whole
    call = calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
    call["id"] = ident or call["id"]
    function = part.get("function") or {}
    call["name"] += function.get("name") or ""
    call["arguments"] += function.get("arguments") or ""


def _call(index: int, ident: str | None, name: str | None, arguments: Any) -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return ToolCall(ident or f"call_{index + 1}", name or "", text)


def _usage(usage: dict[str, Any] | None) -> Usage:
    usage = usage or {}
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        usage.get("prompt_tokens") or 0,
        usage.get("completion_tokens") or 0,
        details.get("cached_tokens") or 0,
    )


def _said(error: openai.APIError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return one_line(str(message or error.message), 200)
