"""What every benchmark needs: a clock for the processor's time, figures, and git as it comes."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

from fsagent.repo.run import plain_environment

CONFIG = """\
[user]
\tname = Bench
\temail = bench@localhost
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""
"""For every repository: git may not pack, nor ask whether to, while it is measured."""

Row = dict[str, float]
Cost = tuple[float, float]
"""Milliseconds on the wall, and of the processor."""
Tell = Callable[[str], None]


def environment() -> dict[str, str]:
    """For processes of git: as it comes, whatever this person has set."""
    return {
        **plain_environment(),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def timed(work: Callable[..., object], *arguments: object) -> Cost:
    """What a call costs, the processes that it starts included."""
    before, wall = cpu(), time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - wall) * 1000, (cpu() - before) * 1000


def cpu() -> float:
    """Seconds of the processor so far, with those of processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # finer than the ticks of os.times
    return time.process_time() + children.ru_utime + children.ru_stime


def rounded(value: float) -> float:
    """Four digits: more would be chance."""
    return float(f"{value:.4g}")
