"""Tools: one decorated function each. Its name, signature and docstring are what the model reads.

    @tool
    def roll(ctx: ToolContext, sides: int) -> str:
        \"\"\"Roll a die.

        Args:
            sides: Number of sides.
        \"\"\"

``ctx`` is the first parameter and never shown to the model. (The docstring as the tool's schema is
an idea of simonw/llm and of Letta.)
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, overload
from zoneinfo import ZoneInfo

from fsagent.errors import ToolError
from fsagent.formats import clean, one_line
from fsagent.llm import Schema
from fsagent.records import Answer

if TYPE_CHECKING:
    import pydantic

    from fsagent.change import Change

__all__ = ["SearchCall", "Tool", "ToolContext", "ToolError", "tool"]


class SearchCall(Protocol):
    """Agent.search, as tools see it. See there for the meaning of each argument."""

    def __call__(
        self,
        query: str,
        *,
        limit: int = ...,
        offset: int = ...,
        kinds: tuple[str, ...] = ...,
        roles: tuple[str, ...] = ...,
        tags: tuple[str, ...] = ...,
        all_tags: bool = ...,
        since: datetime | None = ...,
        until: datetime | None = ...,
        distinct: bool = ...,
    ) -> Answer:
        """Find things; see ``Agent.search``."""
        ...


@dataclass(frozen=True)
class ToolContext:
    """What a tool may use: ``change`` to read and write memory, ``search`` to find things.

    All writes through ``change`` become one commit when the tool returns, and none when it raises.
    """

    change: Change
    search: SearchCall
    zone: ZoneInfo
    now: datetime
    turn: str


class Tool:
    """A function that a model can call."""

    def __init__(self, function: Callable[..., Any], *, ends_turn: bool = False) -> None:
        self.function = function
        self.name = function.__name__
        self.ends_turn = ends_turn
        description, self._arguments = _docstring(inspect.getdoc(function) or "")
        if not description:
            raise TypeError(f"{self.name} needs a docstring: it is what the model reads.")
        self.description = description
        parameters = list(inspect.signature(function).parameters)
        if not parameters:
            raise TypeError(f"{self.name} needs ctx, the tool's context, as its first parameter.")
        unknown = set(self._arguments) - set(parameters[1:])
        if unknown:
            raise TypeError(f"{self.name} describes {', '.join(sorted(unknown))}, which it lacks.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function itself, as a program or a test does."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name}>"

    @cached_property
    def _model(self) -> type[pydantic.BaseModel]:
        """The parameters as a pydantic model: it makes the schema and checks the arguments."""
        import pydantic

        # Annotations may be strings, written in the tool's own module.
        signature = inspect.signature(self.function, eval_str=True)
        fields: dict[str, Any] = {}
        for name, parameter in list(signature.parameters.items())[1:]:
            kind = Any if parameter.annotation is parameter.empty else parameter.annotation
            default = ... if parameter.default is parameter.empty else parameter.default
            about = self._arguments.get(name)
            fields[name] = (kind, pydantic.Field(default, description=about))
        config = pydantic.ConfigDict(
            extra="forbid", coerce_numbers_to_str=True, protected_namespaces=()
        )
        return pydantic.create_model(self.name, __config__=config, **fields)

    @cached_property
    def schema(self) -> Schema:
        """The tool in OpenAI's shape."""
        parameters = _simplified(self._model.model_json_schema())
        parameters.setdefault("properties", {})
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}

    def parse(self, arguments: str) -> dict[str, Any]:
        """The arguments that a model wrote, checked.

        Raises:
            ToolError: saying which argument is wrong and what it should be.
        """
        import pydantic

        try:
            data = json.loads(arguments or "{}", strict=False)
        except (ValueError, RecursionError) as error:
            raise ToolError(
                f"The arguments of {self.name} were not valid JSON ({one_line(str(error), 100)}). "
                "Call it again with one JSON object."
            ) from None
        if not isinstance(data, dict):
            raise ToolError(f"The arguments of {self.name} must be one JSON object.")
        try:
            checked = self._model.model_validate(_cleaned(data))
        except pydantic.ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {one_line(e['msg'], 120)}"
                for e in error.errors()[:5]
            )
            names = ", ".join(self.schema["function"]["parameters"]["properties"]) or "none"
            raise ToolError(
                f"Wrong arguments for {self.name}: {wrong}. It takes: {names}."
            ) from None
        return {name: getattr(checked, name) for name in self._model.model_fields}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(*, ends_turn: bool = False) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, *, ends_turn: bool = False
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool. With ``ends_turn`` the turn is over once it has succeeded.

    Raises:
        TypeError: when the function lacks a docstring or its first parameter.
    """
    if function is not None:
        return Tool(function)
    return lambda function: Tool(function, ends_turn=ends_turn)


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """A Google-style docstring as its description and the texts of its ``Args:``."""
    description, _, rest = text.partition("\nArgs:\n")
    about: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break  # another section
        found = re.match(r" {1,4}(\w+)(?: \([^)]*\))?: +(.*)", line)
        if found:
            name = found[1]
            about[name] = found[2]
        elif name and line.strip():
            about[name] += " " + line.strip()
    return " ".join(description.split()), about


def _simplified(schema: Any) -> Any:
    """A JSON schema with what small models trip over taken out: titles, and ``or null``."""
    if isinstance(schema, list):
        return [_simplified(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: _simplified(inner) for name, inner in value.items()}
        if key == "properties"
        else _simplified(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and key != "additionalProperties"
    }
    choices = [c for c in found.get("anyOf", ()) if c != {"type": "null"}]
    if len(choices) == 1:
        del found["anyOf"]
        found |= choices[0]
    if found.get("default", ...) is None:
        del found["default"]
    return found


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {k: _cleaned(v) for k, v in value.items()} if isinstance(value, dict) else value
