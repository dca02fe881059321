"""Writes what in docs/ is made from the program.

    python docs/make.py               cli.md and tools.md; a test fails when they are not up to date
    python docs/make.py transcript    transcript.md: six turns with the embedded model, as they come
    python docs/make.py picture       picture.svg: a session on a terminal, with the embedded model
    python docs/make.py tutorial      tutorial.svg: four commands of tutorial.md on a terminal

Transcript and picture need the weights (fsagent model pull) and are written as they come out, right
or wrong.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click
from fsagent.cli import cli
from fsagent.environment import Environment
from fsagent.tools.memory import OFF_BY_DEFAULT, STANDARD
from session import Session, blocks, program

DOCS = Path(__file__).parent
WIDTH = 96
MADE = "<!-- Made by docs/make.py: change the program, not this page. -->"


def commands() -> str:
    """Every command with its help, as the program prints it."""
    parts = ["# Commands", MADE]

    def page(command: click.Command, name: str, parent: click.Context | None) -> None:
        settings = command.context_settings
        context = click.Context(
            command, info_name=name, parent=parent, terminal_width=88, **settings
        )
        parts.append(f"## {context.command_path}")
        parts.append(f"```text\n{command.get_help(context)}\n```")
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                if not command.commands[sub].hidden:
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


SIX_TURNS = (
    "I am allergic to peanuts.",
    "My brother Jonas lives in Hamburg.",
    "Jonas has moved to Bremen.",
    "Note down: the plumber comes on Thursday at 9, his name is Stan.",
    "Where does my brother live?",
    "When does the plumber come, and what is his name?",
)


def as_tim() -> None:
    """From here on the person at the keyboard is Tim, with the caches of whoever this is."""
    real = Environment.read()
    home = Path(tempfile.mkdtemp())
    (home / ".gitconfig").write_text("[user]\nname = Tim\nemail = tim@example.org\n")
    os.environ |= {
        "HOME": str(home),
        "FSAGENT_CACHE_DIR": str(real.cache_dir),
        "FSAGENT_MODEL_DIR": str(real.model_dir),
    }


def run(folder: Path, command: str, said: str = "") -> str:
    """What a command prints, on both its outputs, in the order in which it prints it."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, input=said, stdout=-1, stderr=-2, text=True
    )
    return done.stdout.replace(str(folder), ".")


def transcript() -> str:
    """Six typed turns, what they left in the files, and in the log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        example = DOCS.parent / "agents_example/personal-assistant"
        run(folder, f"fsagent init wren --from {example}")
        said = "".join(f"{line}\n" for line in SIX_TURNS)
        parts = [
            "# The embedded model, as it really answers",
            MADE.replace("make.py", "make.py transcript"),
            "Two facts, a correction, a note and two questions, typed to a fresh agent made from "
            "`agents_example/personal-assistant`, as `make chat` does it. Nothing is left out and "
            "nothing mended; `python docs/make.py transcript` makes the page again.",
            "## The conversation",
            "```text\n" + run(folder, "fsagent chat wren -i --model local", said).strip() + "\n```",
            "## What it left",
        ]
        for command in (
            "fsagent show wren human",
            "fsagent note wren",
            "fsagent log wren",
            "git -C wren status --short",
            "git -C wren log -1 --format=%an%n%s%n%n%b -- core",
        ):
            parts.append(
                f"```text\n$ {command}\n{run(folder, command)}```".replace("\n\n```", "\n```")
            )
        return "\n\n".join(parts) + "\n"


def on_terminal(folder: Path, command: str) -> str:
    """What a command prints on a terminal, colours included."""
    screen = bytearray()

    def read(fd: int) -> bytes:
        data = os.read(fd, 65536)
        screen.extend(data)
        return data

    home = os.getcwd()
    os.chdir(folder)
    os.environ |= {
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "COLUMNS": str(WIDTH),
        "TERM": "xterm-256color",
    }
    pty.spawn(["bash", "-c", command], read)
    os.chdir(home)
    return screen.decode().replace("\r\n", "\n").replace("\x1b[m", "\x1b[0m").rstrip()


def drawn(session: Iterable[tuple[str, str]]) -> str:
    """Commands and what they printed, as an SVG (drawn by rich)."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for command, screen in session:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        if screen:
            console.print(Text.from_ansi(screen))
    return console.export_svg(title="fsagent")


def picture() -> str:
    """A session with the embedded model."""
    commands = (
        'fsagent init sarah --human "Name: Tim"',
        'fsagent chat sarah --model local "I live in Utrecht."',
        'fsagent chat sarah --model local "I have moved to Ghent."',
        'fsagent chat sarah --model local "Note down: Ada gets half a tablet on Mondays."',
        "fsagent log sarah",
        "git -C sarah diff -U0 HEAD~4 -- core",
    )
    with tempfile.TemporaryDirectory() as name:
        return drawn([(command, on_terminal(Path(name), command)) for command in commands])


def tutorial() -> str:
    """Every command of the tutorial is run; its four are drawn."""
    shown = ("fsagent why sarah veg", "fsagent undo", "fsagent bisect", "fsagent chat sarah --at")
    screens = []
    typed = Session()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program(folder / "bin")
        os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
        for block in blocks(DOCS / "tutorial.md"):
            os.environ |= block.settings(folder)
            for command, printed in typed.steps(block.text):
                screen = on_terminal(folder, command)
                if not typed.same(re.sub(r"\x1b\[[\d;]*m", "", screen), printed):
                    sys.exit(f"$ {command}\n{screen}\nbut tutorial.md shows\n{printed}")
                if command.startswith(shown):
                    screens.append((command, screen))
    return drawn(screens)


PAGES = {"cli.md": commands, "tools.md": tools}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["transcript"]:
            as_tim()
            (DOCS / "transcript.md").write_text(transcript())
        case ["picture"]:
            as_tim()
            (DOCS / "picture.svg").write_text(picture())
        case ["tutorial"]:
            as_tim()
            (DOCS / "tutorial.svg").write_text(tutorial())
        case _:
            for name, make in PAGES.items():
                (DOCS / name).write_text(make())
