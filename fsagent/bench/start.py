"""How fast commands start, in units of a Python that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path


def measure(directory: Path, rounds: int = 15) -> dict[str, float]:
    """The p50 of ``--help`` and ``log DIR`` over that of ``python -c pass``, runs interleaved."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import click": [sys.executable, "-c", "import click"],
        "fsagent --help": [sys.executable, "-m", "fsagent", "--help"],
        "fsagent log DIR": [sys.executable, "-m", "fsagent", "log", str(directory)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["python -c pass"])
    return {name: round(statistics.median(found) / base, 2) for name, found in times.items()}
