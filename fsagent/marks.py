"""The marks that give a prompt its structure, and how no text in it can forge them."""

from __future__ import annotations

import re

_TAG = (
    r"(?:\s*+(?:/\s*+)?(?:core_memory|block|event|summary|messages)\b"  # our own
    r"|[|｜]|<\s*+/?SYS>>|/?(?:s|bos|eos|pad|unk|sop|eop|bos_token|eos_token|think|start_of_turn"
    r"|end_of_turn|start_of_image|end_of_image|tool_call|tool_response)>)"
)
_BRACKET = (
    r"(?-i:/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID"
    r"|THINK|IMG|gMASK)\])"  # as they are written: "usage: roll [args]" is none
)
_MARKS = re.compile(rf"<(?={_TAG})|\[(?={_BRACKET})", re.IGNORECASE)
"""Our tags, and the marks of common models' chat templates, which many servers take for the real
ones wherever they stand."""

_ESCAPED = re.compile(rf"&lt;(?={_TAG})|&#91;(?={_BRACKET})", re.IGNORECASE)


def escape(text: str) -> str:
    """``text`` with what structures a prompt made harmless, and nothing else changed."""
    return _MARKS.sub(lambda mark: "&lt;" if mark[0] == "<" else "&#91;", text)


def unescape(text: str) -> str:
    """What ``escape`` was given: for text that a model has copied from its prompt."""
    return _ESCAPED.sub(lambda mark: "<" if mark[0] == "&lt;" else "[", text)
