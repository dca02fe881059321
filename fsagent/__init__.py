"""fsagent: an LLM agent whose mind is a directory under Git."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.errors import FsagentError, ToolError
    from fsagent.llm.scripted import ScriptedClient, call
    from fsagent.records import Turn
    from fsagent.tools import ToolContext, tool

__version__ = "0.1.0"
__all__ = [
    "Agent",
    "FsagentError",
    "ScriptedClient",
    "ToolContext",
    "ToolError",
    "Turn",
    "call",
    "tool",
]

_HOMES = {
    "Agent": "fsagent.agent",
    "FsagentError": "fsagent.errors",
    "ScriptedClient": "fsagent.llm.scripted",
    "ToolContext": "fsagent.tools",
    "ToolError": "fsagent.errors",
    "Turn": "fsagent.records",
    "call": "fsagent.llm.scripted",
    "tool": "fsagent.tools",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import fsagent`` does no work."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fsagent' has no attribute {name!r}")
