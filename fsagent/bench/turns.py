"""Turns of one agent, in a process of its own that is told which, and answers what they took.

python -m fsagent.bench.turns DIR ADDRESS

Each line that it reads is a kind of turn and how many; each line that it prints is the mean of the
processor's milliseconds of one, those on the wall, and the megabytes that the process takes, now
and at most.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from fsagent.agent import Agent
from fsagent.bench.figures import cpu
from fsagent.bench.once import megabytes
from fsagent.llm.openai import OpenAIClient

KINDS = {
    "plain": "plain turn",
    "write": "with a write",
    "search": "with a search",
}
"""What a turn may be, and how it is called."""

_SAID = {
    "plain": "I went for a walk along the canal today, and it rained all the way home ({}).",
    "write": "I moved house again, so please write down that this is the time no. {}.",
    "search": "Do you remember it? No. {}: please search for {}",
}


def said(kind: str, number: int) -> str:
    """What the user says in such a turn."""
    words = "function value list error name module string test object call".split()
    picked = [words[number % 10], words[number // 3 % 10], words[number // 7 % 10]]
    return _SAID[kind].format(number, " ".join(picked))


def _cpu() -> float:
    """Seconds of the processor so far, also those of processes that this one keeps."""
    return cpu() + _kept()


def _kept() -> float:
    """Seconds of the processes that this one keeps, where the system tells them."""
    total = 0.0
    try:
        for task in os.listdir("/proc/self/task"):
            for child in Path(f"/proc/self/task/{task}/children").read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):  # another system, or a child that has just ended
        return total
    return total


def main(root: Path, address: str) -> None:
    """Open the agent, and do what is asked."""
    client = OpenAIClient("bench", base_url=address, api_key="none", retries=0)
    agent = Agent.open(root, client)
    _ = agent.context().tokens  # the vocabulary is loaded once, when a window fills
    number = 0
    for line in sys.stdin:
        kind, _, count = line.strip().partition(" ")
        began, start = _cpu(), time.perf_counter()
        for _ in range(int(count)):
            number += 1
            agent.chat(said(kind, number))
        wall, used = time.perf_counter() - start, _cpu() - began
        means = (used * 1000 / int(count), wall * 1000 / int(count))
        figures = (*means, megabytes(), megabytes("VmHWM"))
        sys.stdout.write(" ".join(f"{figure:.4f}" for figure in figures) + "\n")
        sys.stdout.flush()
    agent.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
