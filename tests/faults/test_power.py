"""A power cut: plain git reads HEAD at once, and after opening nothing acknowledged is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from device import Disk
from scene import Children, Findings, Report, Said, Scene
from unflushed import cut

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


def cuts_of_a_device(
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
    with disk.recorded() as place, Children() as children:  # who sees what is mounted now
        scene = Scene.build(place / "sarah", durability=durability)
        scene.acks = acks
        subprocess.run(["sync", "-f", str(place)], check=True)
        began = time.monotonic()
        child = children.start("loop", scene.root, acks, name="w", pause=(0.02, 0.04), cut=True)
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
            part = report if judged else Report(label)
            before = "unreadable" if told else "readable"
            scene.judge(part, label, until=moment, before=before)
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


# ── without a device ──────────────────────────────────────────────────────────────────────────


def unflushed(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int, seed: int
) -> None:
    """The power goes at random moments; what was not flushed is taken away. See unflushed.py."""
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    from fsagent.repo import recovery

    # Every file was just written anew by ``cut``, so that its time says nothing of a person.
    monkeypatch.setattr(recovery, "_SECOND", 10**15)
    dice = random.Random(seed)
    with Children() as children:
        for trial in range(trials):
            scene = Scene.make(tmp_path / "sarah")
            notes = tmp_path / "notes"
            shutil.rmtree(notes, ignore_errors=True)
            options = {"name": f"w{trial}", "notes": notes, "cut": True}
            child = children.start("loop", scene.root, scene.acks, **options)
            while not scene.said().all("ready"):
                time.sleep(0.001)
            time.sleep(dice.uniform(0.02, 0.4))
            child.kill()
            child.wait()
            state = cut(scene.root, notes, dice)
            told = readable(scene.root)
            scene.judge(
                report, f"cut {trial}, {state}", before="unreadable" if told else "readable"
            )


def test_missing_flushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Report("power cuts, without a device") as report:
        unflushed(report, tmp_path, monkeypatch, 4, 6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_missing_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    with Report("power cuts, without a device", record_property) as report:
        unflushed(report, tmp_path, monkeypatch, 300, 7)


# ── on a recorded device ──────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_power_cuts(tmp_path: Path, record_property: Record) -> None:
    with Report("power cuts", record_property) as report:
        cuts_of_a_device(report, tmp_path, seconds=40, cuts=100)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_without_flushes_the_same_cuts_lose_changes(
    tmp_path: Path, record_property: Record
) -> None:
    """So the recorded disk can tell: it is the flush that keeps them, not luck."""
    with Report("power cuts, durability: process", record_property) as report:
        cuts_of_a_device(report, tmp_path, seconds=20, cuts=30, durability="process", judged=False)
        assert "lost: 0" not in report.more[-1]
