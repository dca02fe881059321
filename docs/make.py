"""Writes what in docs/ is made from the program.

    python docs/make.py               cli.md and tools.md; a test fails when they are not up to date
    python docs/make.py transcript    transcript.md: six turns with the embedded model, as they come
    python docs/make.py long          long.md: forty turns with it in a small window, as they come
    python docs/make.py picture       picture.svg: a session on a terminal, with the embedded model
    python docs/make.py tutorial      tutorial.svg: four commands of tutorial.md on a terminal

Transcript, long and picture need the weights (fsagent model pull) and are written as they come out,
right or wrong.
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


FORTY_TURNS = (
    "I am allergic to walnuts.",
    "My sister Ines lives in Porto.",
    "I work as a bookbinder in Leuven.",
    "My boat is called Marigold.",
    "Note down: the spare key of the workshop hangs behind the blue door.",
    "Today I bound an old atlas with maps of the North Sea. The spine was broken in three places, "
    "and half of the pages were loose, so I had to sew all of it anew with linen thread.",
    "The leather came from a tannery in France, and it smells wonderful, but it is stiff and I had "
    "to soak it for a whole night before it could be pulled over the boards.",
    "Yesterday a student came to the workshop and asked whether she could learn the trade.",
    "I told her that it takes three years until one can bind a book from start to finish.",
    "She wants to begin in January, on two days of the week.",
    "Note down: the student is called Femke and begins on 12 January.",
    "In the evening I went for a walk along the river. It had rained all day, and the path was so "
    "full of mud that I turned round at the second bridge and went home by the road.",
    "What is the name of my boat?",
    "At the weekend I want to paint the hull of the boat, if the weather stays dry.",
    "The paint has to be dark green, like it was when my grandfather sailed in it.",
    "My grandfather bought the boat in 1961 from a fisherman who could not row any more.",
    "He taught me to sail on the lake when I was seven, and I fell into the water twice on the "
    "first day, which he found so funny that he told it at every birthday for thirty years.",
    "Where does Ines live?",
    "Ines has moved to Lisbon.",
    "She has found a flat on the fourth floor, without a lift, but with a view over the river.",
    "I will visit her in spring, by train, because I do not like to fly.",
    "The journey takes two days, with a night in Hendaye, where one has to change trains.",
    "Note down: ask Ines about the dates of the book fair.",
    "Today the bank wrote that the loan for the new press has been granted.",
    "The press weighs eight hundred kilograms, so four people have to carry it in parts.",
    "It was built in Leipzig in 1908, and it has printed a newspaper for sixty years before "
    "somebody put it into a barn and forgot about it.",
    "What did I want to ask Ines?",
    "I have found the man who will repair its rollers. He lives in Antwerp and is 81 years old.",
    "He says that the rollers have to be cast anew, out of glue and treacle, as in the old days.",
    "My knee hurts since I carried the atlas down the stairs. It weighs more than a child of six.",
    "The doctor says that I should swim instead of run, twice a week, for two months.",
    "So I went to the pool, and it was full of children, and the water was far too cold for me.",
    "Tomorrow I have to send the invoice for the atlas to the museum in Ostend.",
    "They pay late each time, so I will write the date in bold letters and underline it.",
    "For dinner I made a soup of leeks and potatoes, and there is enough of it for three days.",
    "The neighbour brought me a cake, and I had to ask what was in it before I could eat.",
    "Where does the spare key of the workshop hang?",
    "What am I allergic to?",
    "Where does my sister live?",
    "What is my work, and in which town?",
)
"""What is typed for ``long``."""

EXPECTED = {
    "What is the name of my boat?": "Marigold",
    "Where does Ines live?": "Porto",
    "What did I want to ask Ines?": "fair",
    "Where does the spare key of the workshop hang?": "blue door",
    "What am I allergic to?": "walnut",
    "Where does my sister live?": "Lisbon",
    "What is my work, and in which town?": "Leuven",
}
"""What an answer has to hold in order to be right."""


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


def long() -> str:
    """Forty typed turns in a window of 4,096 tokens, what was asked, and what was folded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "fsagent init mara --human 'Name: Mara'")
        run(folder, "sed -i 's/^context_window:.*/context_window: 4096/' mara/agent.yaml")
        said = "".join(f"{line}\n" for line in FORTY_TURNS)
        told = run(folder, "fsagent chat mara -i --model local", said).strip()
        rows = ["| asked | right would be | |", "|---|---|---|"]
        for question, right in EXPECTED.items():
            answer = told.partition(f"you> {question}\n")[2].partition("\n\nyou> ")[0]
            verdict = "right" if right.lower() in answer.lower() else "**wrong**"
            rows.append(f"| {question} | {right} | {verdict} |")
        folds = run(folder, "fsagent log mara | grep -c ' fold: '").strip()
        parts = [
            "# Forty turns in a small window",
            MADE.replace("make.py", "make.py long"),
            "Forty turns with the embedded model, typed to a fresh agent whose window is 4,096 "
            f"tokens (`context_window: 4096` in agent.yaml). {folds} times its oldest messages "
            "were folded into a summary ([how](window.md#folding)). Nothing is left out and "
            "nothing mended; `python docs/make.py long` makes the page again.",
            "## What it was asked",
            "\n".join(rows),
            "Looked for in its answer, without regard to capitals. What it wrote where nothing was "
            "asked stands below; what it kept is in the files after that.",
            "## The conversation",
            f"```text\n{told}\n```",
            "## What it left",
        ]
        for command in (
            "fsagent show mara human",
            "fsagent note mara",
            "fsagent log mara | grep ' fold: '",
            "fsagent stats mara",
            "fsagent check mara",
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
        case ["long"]:
            as_tim()
            (DOCS / "long.md").write_text(long())
        case ["picture"]:
            as_tim()
            (DOCS / "picture.svg").write_text(picture())
        case ["tutorial"]:
            as_tim()
            (DOCS / "tutorial.svg").write_text(tutorial())
        case _:
            for name, make in PAGES.items():
                (DOCS / name).write_text(make())
