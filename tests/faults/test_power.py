"""A power cut: plain git reads HEAD at once, and after opening nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from device import Disk
from scene import Children, Findings, Report, Said, Scene

Record = Callable[[str, object], None]


def readable(root: Path) -> str:
    """What plain git cannot read before anybody has mended anything."""
    for command in (
        ("rev-parse", "--verify", "HEAD^{commit}"),
        ("rev-parse", "--verify", "HEAD^{tree}"),
        ("ls-tree", "-r", "HEAD"),
        ("log", "--oneline", "HEAD"),
        ("cat-file", "-p", "HEAD"),
    ):
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
        if done.returncode:
            return f"git {' '.join(command)}: {done.stderr.strip()[:200]}"
    return ""


def cut(
    report: Report,
    tmp_path: Path,
    *,
    seconds: float,
    cuts: int,
    durability: str = "power",
    judged: bool = True,
) -> None:
    """Changes every 20 to 40 ms on a recorded disk, whose power then goes at many moments."""
    dice = random.Random(cuts)
    disk = Disk(tmp_path / "device")
    acks = tmp_path / "acks"
    with Children() as children:
        with disk.recorded() as place:
            scene = Scene.build(place / "sarah", durability=durability)
            scene.acks = acks
            subprocess.run(["sync", "-f", str(place)], check=True)
            began = time.monotonic()
            child = children.start("loop", scene.root, acks, name="w", pause=(0.02, 0.04))
            time.sleep(seconds)
            child.kill()
            child.wait()
            ended = time.monotonic()
        events = disk.events()
        writes = [event.at for event in events if began < event.at < ended]
        acked = [done["at"] for done in Said.read(acks).done.values()]
        report.more.append(f"{len(acked)} changes in {len(writes)} writes of the disk")
        unreadable = lost = 0
        for number in range(cuts):
            moment = dice.choice(dice.choice([acked, writes]))
            kept = dice.choice([0.0, 0.5, 1.0])
            label = f"cut {number} at {moment - began:.3f} s, {kept:.0%} of the cache kept"
            with disk.after_cut(events, moment, dice, kept):
                told = readable(scene.root)
                unreadable += bool(told)
                if told and judged:
                    report.take(_finding(label, told))
                part = Report(label)
                scene.judge(
                    part if not judged else report,
                    label,
                    until=moment,
                    before="unreadable" if told else "readable",
                )
                lost += part.counts["lost"]
                if not judged:
                    report.trials += 1
                    report.states += part.states
        report.more.append(f"unreadable before recovery {unreadable}")
        if not judged:
            report.more.append(f"acknowledged and lost: {lost}")


def _finding(label: str, text: str) -> Findings:
    found = Findings(label)
    found.add("unreadable", text)
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_power_cuts(tmp_path: Path, record_property: Record) -> None:
    with Report("power cuts", record_property) as report:
        cut(report, tmp_path, seconds=40, cuts=100)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_without_flushes_the_same_cuts_lose_changes(
    tmp_path: Path, record_property: Record
) -> None:
    """So the recorded disk can tell: it is the flush that keeps them, not luck."""
    with Report("power cuts, durability: process", record_property) as report:
        cut(report, tmp_path, seconds=20, cuts=30, durability="process", judged=False)
        assert "lost: 0" not in report.more[-1]
