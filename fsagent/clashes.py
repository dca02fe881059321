"""Files in which plain git has left two versions: its merge driver notes them down, and the next
turn tells the agent. What was settled or given up until then is not told."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.formats import one_line
from fsagent.layout import read_plain

if TYPE_CHECKING:
    from fsagent.store import Store

HEADING, END = "## In conflict: from ", "## End of conflict"
"""What stands above each of the versions of the same words, and below the last."""

SETTLE = """\
Where two versions stand under headings (In conflict: from …), keep what is right and delete the \
headings, that at the end too."""


def note(git_dir: Path, path: str) -> None:
    """Note down a file for the next turn; without the words, which a purge would have to find."""
    place = _place(git_dir)
    with contextlib.suppress(OSError):  # the headings are in the file all the same
        place.parent.mkdir(exist_ok=True)
        with open(place, "a", encoding="utf-8") as file:
            file.write(f"{json.dumps(path)}\n")


def told(store: Store) -> list[str]:
    """What the agent is told of the files that were noted down, if it is anything; once."""
    place = _place(store.repo.git_dir)
    if not place.exists() or store.repo.under_way():
        return []
    found = set()
    with contextlib.suppress(OSError, ValueError):
        found = {str(json.loads(line)) for line in read_plain(place).splitlines()}
    with contextlib.suppress(OSError):
        place.unlink()
    paths = [path for path in sorted(found) if HEADING.encode() in (store.now(path) or b"")]
    if not paths:
        return []
    names = ", ".join(one_line(path, 100) for path in paths[:20])
    return [
        "A merge with Git brought two versions of your memory together. Both had changed the same; "
        f"it is for you to settle: {names}\n{SETTLE}"
    ]


def _place(git_dir: Path) -> Path:
    return git_dir / "fsagent" / "clashes"
