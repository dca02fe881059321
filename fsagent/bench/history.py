"""What the questions to history cost as commands, and what git takes for the nearest of its own.

Times are of the processor, over those of ``fsagent --help``: a Python starts first in any case.

Agents with more and fewer commits behind them take turns, and fsagent and git do, too, so that
whatever else the machine does meanwhile disturbs all of them alike.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsagent.bench.figures import Row, Tell, environment, rounded, timed
from fsagent.bench.life import live
from fsagent.formats import parse_trailers

GIT, OURS = "git", "fsagent"
QUESTIONS = {
    "log": "log, 20 lines",
    "path": "log of a block that seldom changes, 20 lines",
    "turns": "log --turns, 20 lines",
    "all": "log, all of it",
    "why": "why, a block of 20 lines",
    "line": "why, one line with its trail",
    "show": "show a change by its id",
    "at": "show a block --at half-way",
    "diff": "diff since half-way",
    "bisect": "bisect a line",
    "undo": "undo --last",
}
"""What is asked, and how it is called."""

MEASURES = {f"{key}_ms": f"{name}, ms" for key, name in QUESTIONS.items()}


def measure(
    sizes: Sequence[int], rounds: int = 5, tell: Tell = lambda text: None
) -> dict[str, Any]:
    """Every figure of ``fsagent bench history``, as its ``--json`` prints it.

    Args:
        sizes: How many commits the agents have behind them.
        rounds: How often each is asked everything.
        tell: Is told how far it is.
    """
    sizes = sorted(set(sizes))
    with tempfile.TemporaryDirectory() as place:
        asked = {}
        for size in sizes:
            tell(f"making an agent with {size:,} commits")
            asked[size] = Asked(Path(place, str(size)), size)
        draw = random.Random(1)
        for number in range(rounds):
            for size in draw.sample(sizes, len(sizes)):
                tell(f"{size:,} commits: round {number + 1} of {rounds}")
                asked[size].round(draw)
        rows = {size: one.rows() for size, one in asked.items()}
        start = statistics.median(cost for one in asked.values() for cost in one.starts)
    found: dict[str, Any] = {
        "sizes": {
            str(size): {
                "commits": size,
                "rows": of,
                "ratios": {
                    who: {key: rounded(value / start) for key, value in row.items()}
                    for who, row in of.items()
                },
            }
            for size, of in rows.items()
        },
        "config": {"rounds": rounds, "start_ms": rounded(start)},
    }
    if len(sizes) > 1:
        few, many = rows[sizes[0]], rows[sizes[-1]]
        found["growth"] = {
            who: {key: rounded(many[who][key] / few[who][key]) for key in MEASURES} for who in few
        }
    return found


class Asked:
    """An agent with so many commits, as ``fsagent maintain`` leaves it, and what it has cost."""

    def __init__(self, place: Path, commits: int) -> None:
        self._root = place / "agent"
        self._env = {
            **environment(),
            "FSAGENT_CACHE_DIR": str(place / "cache"),
            "FSAGENT_STATE_DIR": str(place / "state"),
        }
        live(self._root, commits // 2)
        self._ask(OURS, ("maintain",))
        self._ask(OURS, ("undo", "--last"))  # so that git's revert of the newest is one of memory
        self._questions = self._chosen(commits)
        self.starts: list[float] = []
        self._costs: dict[str, dict[str, list[float]]] = {
            who: {key: [] for key in QUESTIONS} for who in (GIT, OURS)
        }

    def _chosen(self, commits: int) -> dict[str, dict[str, tuple[str, ...]]]:
        """Each question, and the nearest that git can be asked."""
        old = self._told("rev-list", "-1", f"--skip={commits // 4}", "HEAD", "--", "core/human.md")
        change = parse_trailers(self._told("log", "-1", "--format=%B", old))["Change"]
        date = self._told("log", "-1", "--format=%cI", old)
        block = (self._root / "core/human.md").read_text("utf-8").splitlines()
        few = ("log", "--oneline", "-n", "20")
        git = {
            "log": few,
            "path": (*few, "--", "core/persona.md"),
            "turns": few,
            "all": ("log", "--oneline"),
            "why": ("blame", "core/human.md"),
            "line": ("blame", f"-L{len(block)},{len(block)}", "core/human.md"),
            "show": ("show", old),
            "at": ("show", f"{old}:core/human.md"),
            "diff": ("diff", old, "HEAD"),
            "bisect": ("log", "--oneline", f"-S{block[-1]}", "--", "core/human.md"),
            "undo": ("revert", "--no-edit", "HEAD"),
        }
        ours = {
            "log": ("log", "-n", "20"),
            "path": ("log", "persona", "-n", "20"),
            "turns": ("log", "--turns", "-n", "20"),
            "all": ("log",),
            "why": ("why", "human"),
            "line": ("why", f"human:{len(block)}"),
            "show": ("show", change),
            "at": ("show", "human", "--at", date),
            "diff": ("diff", old),
            "bisect": ("bisect", block[-1]),
            "undo": ("undo", "--last"),
        }
        return {GIT: git, OURS: ours}

    def _told(self, *command: str) -> str:
        """What git prints."""
        done = subprocess.run(
            ["git", *command], cwd=self._root, env=self._env, check=True, stdout=-1, text=True
        )
        return done.stdout.strip()

    def _ask(self, who: str, question: Sequence[str]) -> None:
        command, *rest = question
        program = ["git"] if who == GIT else [sys.executable, "-P", "-m", "fsagent"]
        where = [] if who == GIT or command == "--help" else ["."]
        subprocess.run(
            [*program, command, *where, *rest],
            cwd=self._root,
            env=self._env,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def round(self, draw: random.Random) -> None:
        """Ask everything once."""
        self.starts.append(timed(self._ask, OURS, ("--help",))[1])
        for key in QUESTIONS:
            for who in draw.sample([GIT, OURS], 2):
                _, cpu = timed(self._ask, who, self._questions[who][key])
                self._costs[who][key].append(cpu)

    def rows(self) -> dict[str, Row]:
        """The median of what each question has cost, by who was asked."""
        return {
            who: {f"{key}_ms": rounded(statistics.median(costs)) for key, costs in each.items()}
            for who, each in self._costs.items()
        }
