"""The tools that are on, and what becomes of a call to one of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from fsagent.change import Change
from fsagent.errors import ConfigError, FsagentError, ToolError
from fsagent.formats import clean, one_line
from fsagent.llm import Schema
from fsagent.records import ToolCall, ToolResult
from fsagent.tools import Tool, ToolContext
from fsagent.tools.memory import OFF_BY_DEFAULT, STANDARD

RESULT_MAX = 20_000
"""Characters of a tool's result that the model is given."""


class Toolbox:
    """The standard tools that agent.yaml turns on, and those that a program adds.

    Raises:
        ConfigError: from the constructor, when agent.yaml names a tool that there is not.
    """

    def __init__(self, names: tuple[str, ...] | None = None, added: Iterable[Tool] = ()) -> None:
        known = {tool.name: tool for tool in (*STANDARD, *added)}
        if names is None:
            names = tuple(tool.name for tool in STANDARD if tool.name not in OFF_BY_DEFAULT)
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"agent.yaml turns on the tool {name!r}, which does not exist here. "
                    f"There are: {', '.join(known)}."
                )
        self.known = known
        self.on = {name: known[name] for name in (*names, *(tool.name for tool in added))}

    def schemas(self) -> tuple[Schema, ...]:
        """The tools that are on, as models are told of them."""
        return tuple(tool.schema for tool in self.on.values())

    def ends_turn(self, result: ToolResult) -> bool:
        """Whether the turn is over after ``result``."""
        tool = self.on.get(result.call.name)
        return bool(tool and tool.ends_turn and result.status == "success")

    def run(
        self,
        call: ToolCall,
        door: AbstractContextManager[Change],
        context: Callable[[Change], ToolContext],
    ) -> tuple[ToolResult, Change | None]:
        """Run one call inside ``door`` (``store.change``): what it writes is one commit.

        Whatever goes wrong becomes a result that the model can act on; only an interrupt and the
        like pass through. The change is the answer's second half where there was one.
        """
        tool = self.on.get(call.name)
        if not tool:
            names = ", ".join(self.on) or "none"
            text = f"There is no tool {one_line(call.name, 80)!r}. There are: {names}."
            return ToolResult(call, "error", text), None
        change = None
        try:
            arguments = tool.parse(call.arguments)
            with door as change:
                text = _text(tool(context(change), **arguments))
        except (ToolError, FsagentError) as error:
            return ToolResult(call, "error", str(error)), None
        except Exception as error:  # a tool's bug is the model's problem, not the turn's end
            reason = one_line(f"{type(error).__name__}: {error}", 500)
            return ToolResult(call, "error", f"{call.name} failed: {reason}"), None
        changed = change.id if change.commit else None
        return ToolResult(call, "success", text, change.commit, changed), change


def _text(value: Any) -> str:
    if value is None:
        return "Done."
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = clean(text)
    if len(text) > RESULT_MAX:
        return f"{text[:RESULT_MAX]}\n[{len(text) - RESULT_MAX:,} more characters are cut]"
    return text
