"""Writes the pages of docs/ that are made from the program: cli.md and tools.md.

    python docs/make.py

A test fails when they are not what the program says.
"""

from __future__ import annotations

from pathlib import Path

import click
from fsagent.cli import cli
from fsagent.tools.memory import OFF_BY_DEFAULT, STANDARD

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/make.py: change the program, not this page. -->"


def commands() -> str:
    """Every command with its help, as the program prints it."""
    parts = ["# Commands", MADE]

    def page(command: click.Command, name: str, parent: click.Context | None) -> None:
        context = click.Context(command, info_name=name, parent=parent, terminal_width=88)
        parts.append(f"## {context.command_path}")
        parts.append(f"```text\n{command.get_help(context)}\n```")
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                page(command.commands[sub], sub, context)

    page(cli, "fsagent", None)
    return "\n\n".join(parts) + "\n"


def tools() -> str:
    """Every memory tool, as the model reads it."""
    parts = ["# Tools", MADE]
    parts.append(
        "The memory tools, as the model reads them. `tools:` in `agent.yaml` says which are on; "
        f"by default all but `{'`, `'.join(sorted(OFF_BY_DEFAULT))}`."
    )
    for tool in STANDARD:
        function = tool.schema["function"]
        parts.append(f"## {tool.name}\n\n{tool.description}")
        rows = ["| Parameter | Type | Default | Meaning |", "|---|---|---|---|"]
        parameters = function["parameters"]
        for name, about in parameters["properties"].items():
            kind = about.get("type", "")
            if "enum" in about:
                kind = " or ".join(f"`{choice}`" for choice in about["enum"])
            elif kind == "array":
                kind = "list of " + about["items"].get("type", "")
            required = name in parameters.get("required", ())
            default = "required" if required else f"`{about.get('default', 'none')}`"
            rows.append(f"| `{name}` | {kind} | {default} | {about['description']} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


PAGES = {"cli.md": commands, "tools.md": tools}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
