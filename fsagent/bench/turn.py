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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from fsagent import starter
from fsagent.agent import Agent
from fsagent.bench.commit import CONFIG, Moment
from fsagent.bench.locomo import BenchClock
from fsagent.bench.stub import REPLY
from fsagent.bench.texts import docs
from fsagent.bench.turns import KINDS
from fsagent.clock import Clock, stamp
from fsagent.environment import Environment
from fsagent.formats import format_message, format_page, format_record
from fsagent.records import Record, Usage
from fsagent.repo.run import plain_environment

WARM = 2
"""Turns of each kind that come before those that count: what a process does only once."""
BATCH = 4
"""Turns of a kind that are measured together: processes that are kept tell their time in ticks."""
PER_DAY = 20
"""Turns of a day, as they were lived."""
NOTE_EVERY = 10
"""Of so many turns one has left a note."""

FIGURES = {"cpu_ms": "CPU, ms", "wall_ms": "wall, ms"}
MEASURES = {
    **{f"{kind}_{key}": f"{KINDS[kind]}, {FIGURES[key]}" for kind in KINDS for key in FIGURES},
    "peak_mb": "peak memory, MB",
}
"""What each figure is called."""

Row = dict[str, float]
Tell = Callable[[str], None]


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
                f"{size:,} turns": {k: _rounded(v / rows[sizes[0]][k]) for k, v in row.items()}
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
    return {key: _rounded(value) for key, value in row.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


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
        _live(self._now / "agent", turns)
        agent = Agent.open(self._now / "agent", environment=self._environment())
        agent.search("the index is built")
        agent.close()
        self._now.rename(self._kept)

    def _environment(self) -> Environment:
        return Environment.read(self._variables())

    def _variables(self) -> dict[str, str]:
        """A cache of its own, which is put back with the agent, and git as it comes."""
        return {
            **plain_environment(),
            "FSAGENT_CACHE_DIR": str(self._now / "cache"),
            "FSAGENT_STATE_DIR": str(self._now / "state"),
            "FSAGENT_EMBED": "0",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
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
            "first_cpu_ms": _rounded(first),
            "last_cpu_ms": _rounded(last),
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


# ── a life ────────────────────────────────────────────────────────────────────────────────────


def _live(root: Path, turns: int) -> None:
    """An agent that has lived so many turns: its files, and a commit for each of them."""
    end = datetime.now(UTC) - timedelta(hours=1)
    begin = end - timedelta(days=turns / PER_DAY)
    starter.create(root, None, BenchClock(begin), name="bench")
    with open(root / ".git/config", "a") as config:
        config.write(CONFIG)
    own = {path: (root / path).read_bytes() for path in starter.files_of(root)}
    env = plain_environment() | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*command: str, stdin: bytes | None = None) -> None:
        subprocess.run(["git", *command], cwd=root, env=env, check=True, input=stdin)

    git("fast-import", "--quiet", stdin=b"".join(_stream(own, turns, begin, end)))
    git("reset", "-q", "--hard")


def _stream(
    own: Mapping[str, bytes], turns: int, begin: datetime, end: datetime
) -> Iterator[bytes]:
    """For git fast-import: a commit of the agent, and one for each of its turns."""
    clock = Moment()
    clock.at = begin
    texts = [doc.text for doc in docs(min(2 * turns, 20_000))]
    yield from _commit("init", clock, own)
    step = (end - begin) / max(turns, 1)
    path, segment = "", b""
    for number in range(turns):
        clock.at = begin + step * (number + 1)
        said = texts[2 * number % len(texts)]
        told = texts[(2 * number + 1) % len(texts)]
        turn, usage = clock.id(), Usage(4000, 60)
        user = Record(turn, stamp(clock.at), "user", said, turn)
        reply = Record(clock.id(), user.ts, "assistant", told, turn, model="bench", usage=usage)
        lines = (format_record(user) + format_record(reply)).encode()
        day = f"recall/{clock.at:%Y/%m/%d}-"
        if not path.startswith(day) or segment.count(b"\n") >= 100 or len(segment) > 64_000:
            path, segment = f"{day}{turn}.jsonl", b""
        segment += lines
        files = {path: segment}
        if number % NOTE_EVERY == 0:
            ident = clock.id()
            meta = {"id": ident, "created": user.ts, "tags": ["bench"]}
            note = f"archival/{clock.at:%Y/%m}/note-{ident}.md"
            files[note] = format_page(meta, f"{told}\n\n{REPLY}").encode()
        yield from _commit(f"turn: {said}", clock, files)


def _commit(subject: str, clock: Clock, files: Mapping[str, bytes]) -> Iterator[bytes]:
    message = format_message(subject, {"Change": clock.id()}).encode()
    who = f"Bench <bench@localhost> {int(clock.now().timestamp())} +0000"
    head = f"commit refs/heads/main\ncommitter {who}\ndata {len(message)}\n"
    yield head.encode() + message
    for path, data in files.items():
        yield f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"
