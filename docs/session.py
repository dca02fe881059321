"""The blocks of a page as its reader runs them: on which day, with what the model will say.

``console`` blocks are sessions: lines that begin with ``$ `` are typed, the others are printed.
Before a block may stand what its reader does not see: ``<!-- script: […] -->``, what the scripted
model will say, and ``<!-- day: 2026-11-09 18:00 -->``, the time in UTC that it is from then on.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<notes>(?:<!-- \w+: .*? -->\n)*)^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_NOTE = re.compile(r"<!-- (\w+): (.*?) -->\n", re.S)
_ID = re.compile(r"\b[0-9a-f]{7}\b")

_PROGRAM = """\
#!{python}
import os
from datetime import UTC, datetime, timedelta

if os.environ.get("DOCS_LATE"):
    from fsagent.clock import Clock

    late = timedelta(seconds=float(os.environ["DOCS_LATE"]))
    Clock.now = lambda self: datetime.now(UTC) - late
from fsagent.cli import main

main()
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with what stands before it for the program alone."""

    kind: str
    text: str
    script: str | None
    day: str | None

    def settings(self, folder: Path) -> dict[str, str]:
        """The environment in which it runs, and those after it; the script is put in ``folder``."""
        found = {}
        if self.script:
            (folder / "script.json").write_text(self.script)
            (folder / "script.json.at").unlink(missing_ok=True)
            found["FSAGENT_MODEL"] = f"scripted:{folder / 'script.json'}"
        if self.day:
            then = datetime.fromisoformat(self.day).replace(tzinfo=UTC)
            found["DOCS_LATE"] = str(time.time() - then.timestamp())
        return found


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _BLOCK.finditer(page.read_text()):
        notes = dict(_NOTE.findall(found["notes"]))
        yield Block(found["kind"], found["text"], notes.get("script"), notes.get("day"))


def program(folder: Path) -> None:
    """Put ``fsagent`` into ``folder``, as installed, but that it can be told what day it is."""
    folder.mkdir()
    (folder / "fsagent").write_text(_PROGRAM.format(python=sys.executable))
    (folder / "fsagent").chmod(0o755)


class Session:
    """What is typed on a page, with the ids that its commits have this time."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def steps(self, text: str) -> Iterator[tuple[str, str]]:
        """The commands of a block, each with what the page shows below it."""
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, shown = part.partition("\n")
            yield _ID.sub(lambda found: self._ids.get(found[0], found[0]), command), shown

    def same(self, printed: str, shown: str) -> bool:
        """Whether a command printed what the page shows.

        ``…`` stands for any text. Times, ratios and the ids of commits differ from run to run; an
        id that is typed later is the one that was printed in that place.
        """
        pattern = re.escape(_plain(shown)).replace("…", r"[\s\S]*")
        found = re.fullmatch(_ID.sub("([0-9a-f]{7})", pattern), _plain(printed))
        if found:
            self._ids |= dict(zip(_ID.findall(_plain(shown)), found.groups(), strict=True))
        return found is not None


def _plain(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", text)
    text = re.sub(r" +\d+\.\d\d x", " RATIO", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
