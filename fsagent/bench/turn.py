"""What fsagent itself takes for a turn, with a model that answers at once, over HTTP on loopback.

Agents with more and fewer turns behind them take turns, so that whatever else the machine does
meanwhile disturbs all of them alike. Before each round each of them is put back to what it was, and
a new process opens it.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fsagent.agent import Agent
from fsagent.bench.figures import Row, Tell, environment, rounded
from fsagent.bench.life import live
from fsagent.bench.stub import REPLY
from fsagent.bench.turns import KINDS
from fsagent.environment import Environment
from fsagent.llm.scripted import ScriptedClient

WARM = 2
"""Turns of each kind that come before those that count: what a process does only once."""
BATCH = 10
"""Turns of a kind that are measured together: processes that are kept tell their time in ticks."""

FIGURES = {"cpu_ms": "CPU, ms", "wall_ms": "wall, ms"}
MEASURES = {
    **{f"{kind}_{key}": f"{KINDS[kind]}, {FIGURES[key]}" for kind in KINDS for key in FIGURES},
    "peak_mb": "peak memory, MB",
}
"""What each figure is called."""


def measure(
    sizes: Sequence[int], rounds: int = 5, more: int = 1000, tell: Tell = lambda text: None
) -> dict[str, Any]:
    """Every figure of ``fsagent bench turn``, as its ``--json`` prints it.

    Args:
        sizes: How many turns the agents have behind them.
        rounds: How often each is opened anew and measured.
        more: Turns that the oldest one lives on in one process; 0 leaves that out.
        tell: Is told how far it is.
    """
    sizes = sorted(set(sizes))
    found: dict[int, dict[str, list[float]]] = {n: {key: [] for key in MEASURES} for n in sizes}
    with tempfile.TemporaryDirectory() as place, _stub() as address:
        lives = {}
        for size in sizes:
            tell(f"making an agent with {size:,} turns behind it")
            lives[size] = Life(Path(place, str(size)), size)
        draw = random.Random(1)
        for number in range(rounds):
            for size in draw.sample(sizes, len(sizes)):
                tell(f"{size:,} turns: round {number + 1} of {rounds}")
                for key, value in lives[size].round(address).items():
                    found[size][key].append(value)
        rows = {size: _row(found[size]) for size in sizes}
        figures: dict[str, Any] = {
            "rows": {f"{size:,} turns": row for size, row in rows.items()},
            "ratios": {
                f"{size:,} turns": {k: rounded(v / rows[sizes[0]][k]) for k, v in row.items()}
                for size, row in rows.items()
            },
            "config": {"rounds": rounds, "batch": BATCH, "window": 8192},
        }
        if more:
            tell(f"{more:,} further turns")
            figures["growth"] = lives[sizes[-1]].live_on(address, more)
    return figures


def _row(found: Mapping[str, list[float]]) -> Row:
    row = {key: statistics.median(values) for key, values in found.items()}
    return {key: rounded(value) for key, value in row.items()}


@contextmanager
def _stub() -> Iterator[str]:
    """A model that answers at once; its address."""
    command = [sys.executable, "-P", "-m", "fsagent.bench.stub"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin  # noqa: S101
        assert process.stdout  # noqa: S101
        yield process.stdout.readline().strip()
        process.stdin.close()


class Life:
    """An agent with so many turns behind it, kept as it was."""

    def __init__(self, place: Path, turns: int) -> None:
        self._kept, self._now = place / "kept", place / "now"
        live(self._now / "agent", turns)
        client = ScriptedClient([REPLY, REPLY])
        agent = Agent.open(self._now / "agent", client, environment=self._environment())
        agent.fold()  # all have half a window before the next one
        agent.search("the index is built")
        agent.maintain()
        agent.close()
        self._now.rename(self._kept)

    def _environment(self) -> Environment:
        return Environment.read(self._variables())

    def _variables(self) -> dict[str, str]:
        """A cache of its own, which is put back with the agent, and git as it comes."""
        return {
            **environment(),
            "FSAGENT_CACHE_DIR": str(self._now / "cache"),
            "FSAGENT_STATE_DIR": str(self._now / "state"),
            "FSAGENT_EMBED": "0",
        }

    @contextmanager
    def _opened(self, address: str) -> Iterator[Callable[[str, int], list[float]]]:
        """The agent as it was, in a new process; what is asked of it is done there."""
        shutil.rmtree(self._now, ignore_errors=True)
        shutil.copytree(self._kept, self._now, symlinks=True)
        where = str(self._now / "agent")
        # The copies are other files than those that Git's index knows.
        refresh = ["git", "update-index", "-q", "--refresh"]
        subprocess.run(refresh, cwd=where, env=self._variables(), check=True)
        os.sync()
        command = [sys.executable, "-P", "-m", "fsagent.bench.turns", where, address]
        with subprocess.Popen(
            command, stdin=-1, stdout=-1, text=True, env=self._variables()
        ) as process:
            assert process.stdin  # noqa: S101
            assert process.stdout  # noqa: S101
            asked, told = process.stdin, process.stdout
            yield lambda kind, count: _ask(asked, told, kind, count)
            asked.close()

    def round(self, address: str) -> Row:
        """What turns of each kind take, and the most memory that they took."""
        row: Row = {}
        with self._opened(address) as ask:
            for kind in KINDS:
                ask(kind, WARM)
            peak = 0.0
            for kind in KINDS:
                row[f"{kind}_cpu_ms"], row[f"{kind}_wall_ms"], _, peak = ask(kind, BATCH)
            row["peak_mb"] = peak
        return row

    def live_on(self, address: str, turns: int) -> Row:
        """What memory and the processor's time have grown by after so many further plain turns."""
        part = max(turns // 10, 1)
        with self._opened(address) as ask:
            for kind in KINDS:
                ask(kind, WARM)
            first, _, before, _ = ask("plain", part)
            if turns > 2 * part:
                ask("plain", turns - 2 * part)
            last, _, after, peak = ask("plain", part)
        return {
            "turns": turns,
            "first_cpu_ms": rounded(first),
            "last_cpu_ms": rounded(last),
            "before_mb": before,
            "after_mb": after,
            "peak_mb": peak,
        }


def _ask(asked: IO[str], told: IO[str], kind: str, count: int) -> list[float]:
    asked.write(f"{kind} {count}\n")
    asked.flush()
    answer = told.readline()
    if not answer:
        raise RuntimeError("The process that was measured has ended; what it said is above.")
    return [float(figure) for figure in answer.split()]
