"""kill -9 in the middle of a sync: both sides are the old or the new, and the next sync ends it."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsagent import Agent
from fsagent.store import Store
from scene import Children, Findings, Report, git, history, locks, only_git_writes, some, status

Record = Callable[[str, object], None]

KINDS = ("forward", "merge", "clash", "slow")


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


class Trial:
    """An agent that another machine has gone on with, and its place; to be synced and killed.

    With ``forward`` only the other machine has news, with ``merge`` both have, with ``clash`` both
    have changed the same words as well. With ``slow`` only git writes, and both have changed the
    same words.
    """

    def __init__(self, children: Children, kind: str, top: Path) -> None:
        self.children, self.kind, self.top = children, kind, top
        self.made, self.here = top / "made", top / "here"
        self._make()
        self.fresh()
        assert self.run() == 0
        self.after = self.tree()
        ((self.calls),) = self.said("calls")

    def _make(self) -> None:
        place, root, there = (self.made / name for name in ("place.git", "sarah", "there"))
        subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True)
        one = Agent.init(root, name="sarah", human="Name: Tim\nCity: Rome")
        old = one.notes.add("An old note.")
        (root / "diary.txt").write_text("Monday\n")
        git(root, "add", "diary.txt")
        git(root, "commit", "-qm", "mine")
        one.sync(str(place))
        two = Agent.clone(str(place), there)
        two.blocks["human"] = "Name: Tim\nCity: Ghent"
        two.blocks["persona"] = "I am Sarah."
        two.notes.add("A new note.")
        (there / old.path).unlink()
        (there / "core/pets.md").write_text("Ada\n")
        two.sync()
        if self.kind != "forward":
            one.blocks["human"] = (
                "Name: Tim Smith\nCity: Rome" if self.kind == "merge" else "Name: Tim\nCity: Paris"
            )
            one.notes.add("A note from here.")
        one.close()
        two.close()
        # What a person has under way stays as it is.
        (root / "diary.txt").write_text("Tuesday\n")
        git(root, "add", "diary.txt")
        (root / "diary.txt").write_text("Tuesday, evening\n")
        (root / "scratch.txt").write_text("scratch\n")
        if self.kind == "slow":
            only_git_writes(root)
        self.heads = [git(one, "rev-parse", "main").decode().strip() for one in (root, place)]

    def fresh(self) -> None:
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self.made, self.here, symlinks=True)
        self.root, self.place = self.here / "sarah", self.here / "place.git"
        self.acks = self.top / "acks"
        self.acks.unlink(missing_ok=True)
        git(self.root, "config", "remote.origin.url", str(self.place))
        git(self.root, "update-index", "-q", "--refresh", check=False)

    def _job(self) -> tuple[str, Path, Path]:
        return "syncs", self.root, self.acks

    def run(self, **job: object) -> int:
        state = self.top / "state"
        return self.children.run(*self._job(), place=self.place, state=state, **job)

    def said(self, key: str) -> list[object]:
        from scene import Said

        return Said.read(self.acks).all(key)

    def tree(self) -> dict[str, bytes]:
        """What is committed, without recall: its events have ids and times of their own."""
        names = git(self.root, "ls-tree", "-r", "-z", "--name-only", "HEAD").decode().split("\0")
        return {
            name: git(self.root, "show", f"HEAD:{name}")
            for name in names[:-1]
            if not name.startswith("recall/")
        }

    def judge(self, report: Report, label: str) -> None:
        """Old or new, nothing swept in, and the next sync brings both together."""
        found = Findings(label)
        report.trials += 1
        try:
            mine = [" M", "MM", "M ", "??"]
            store = Store(self.root)
            store.repo.close()
            head = git(self.root, "rev-parse", "HEAD").decode().strip()
            new = head != self.heads[0]
            pushed = git(self.place, "rev-parse", "main").decode().strip() != self.heads[1]
            report.states["pushed" if pushed else "merged" if new else "old"] += 1
            left = {entry[3:]: entry[:2] for entry in status(self.root)}
            if left != {"diary.txt": "MM", "scratch.txt": "??"}:
                found.add("swept", f"{left}, not {mine}")
            if locks(self.root):
                found.add("left", str(locks(self.root)))
            if new and self.tree() != self.after:
                found.add("half", str(sorted(self.tree().keys() ^ self.after.keys())))
            git(self.root, "fsck", "--strict", "--full")
            if self.run() != 0:
                found.add("broken", "the next sync failed")
            if self.tree() != self.after:
                found.add("lost", "not what a sync makes that nobody kills")
            heads = {git(one, "rev-parse", "main") for one in (self.root, self.place)}
            if len(heads) != 1:
                found.add("apart", "the place is not in step")
            reachable = {one.oid for one in history(self.root)}
            if not set(self.heads) <= reachable:
                found.add("lost", "a commit is in the history no more")
            merges = git(self.root, "rev-list", "--min-parents=2", "HEAD").decode().split()
            if len(merges) != (self.kind != "forward"):
                found.add("merges", f"{len(merges)} of them")
            if git(self.root, "show", ":diary.txt") != b"Tuesday\n":
                found.add("swept", "what was staged")
            if (self.root / "diary.txt").read_text() != "Tuesday, evening\n":
                found.add("swept", "what was edited")
        except Exception as error:
            found.add("broken", f"{type(error).__name__}: {error}")
        report.take(found)


def killed_at_steps(report: Report, trial: Trial, most: int = 0) -> None:
    ways = [
        (number, mode)
        for number, (_, writes) in enumerate(trial.calls, 1)
        for mode in (("before", "half") if writes else ("before",))
    ]
    for at, mode in some([*ways, (len(trial.calls), "after")], most, trial.kind):
        trial.fresh()
        assert trial.run(at=at, mode=mode) == -9 or at > len(trial.calls) - 9
        name = trial.calls[at - 1][0]
        trial.judge(report, f"{trial.kind}, {mode} step {at}, {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_some_steps_of_a_sync(tmp_path: Path, children: Children, kind: str) -> None:
    with Report(f"kill -9 at some steps of a sync: {kind}") as report:
        killed_at_steps(report, Trial(children, kind, tmp_path), 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_a_sync(
    tmp_path: Path, children: Children, kind: str, record_property: Record
) -> None:
    with Report(f"kill -9 at every step of a sync: {kind}", record_property) as report:
        killed_at_steps(report, Trial(children, kind, tmp_path))


def random_kills(report: Report, trial: Trial, trials: int) -> None:
    """Kill at any moment, with the gits that fetch and push or without them."""
    dice = random.Random(trial.kind)
    for number in range(trials):
        trial.fresh()
        state = trial.top / "state"
        child = trial.children.start(*trial._job(), place=trial.place, state=state)
        time.sleep(dice.uniform(0.02, 0.5))
        child.kill(group=dice.random() < 0.7)
        child.wait()
        trial.judge(report, f"{trial.kind}, kill {number}")


def test_random_times_in_a_sync(tmp_path: Path, children: Children) -> None:
    with Report("kill -9 at random times in a sync") as report:
        random_kills(report, Trial(children, "clash", tmp_path), 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_kills_in_a_sync(
    tmp_path: Path, children: Children, kind: str, record_property: Record
) -> None:
    with Report(f"100 kills in a sync: {kind}", record_property) as report:
        random_kills(report, Trial(children, kind, tmp_path), 100)
