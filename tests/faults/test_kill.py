"""kill -9, at random times and at every step: nothing acknowledged is lost, nothing is half done."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from child import KINDS, Acks, line, write
from fsagent.store import Store
from scene import (
    Children,
    Findings,
    Report,
    Scene,
    git,
    history,
    locks,
    only_git_writes,
    some,
    status,
)

Record = Callable[[str, object], None]


# ── at random times ───────────────────────────────────────────────────────────────────────────


def random_kills(
    report: Report, root: Path, trials: int, dice: random.Random, slow_way: bool = False
) -> None:
    """Children write one change after the other, and each is killed in the middle of it."""
    with Children() as children:
        for trial in range(trials):
            if trial % 20 == 0:
                scene = Scene.make(root)
                if slow_way:
                    only_git_writes(root)
            else:
                scene.again(f"trial-{trial}")
            child = children.start("loop", root, scene.acks, name=f"w{trial}")
            while not scene.said().all("ready"):
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.4 if slow_way else 0.1))
            child.kill(group=dice.random() < 0.5)
            assert child.wait() == -9
            scene.judge(report, f"kill {trial}")


def test_random_times(tmp_path: Path) -> None:
    with Report("kill -9 at random times") as report:
        random_kills(report, tmp_path / "sarah", 8, random.Random(4))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["fast", "slow"])
def test_a_thousand_kills(tmp_path: Path, record_property: Record, way: str) -> None:
    trials = 1000 if way == "fast" else 200
    with Report(f"{trials} kills, the {way} way", record_property) as report:
        random_kills(report, tmp_path / "sarah", trials, random.Random(5), way == "slow")


# ── at every step ─────────────────────────────────────────────────────────────────────────────


class Trials:
    """Trials with changes of one kind, each in a fresh copy of its scene."""

    def __init__(
        self, children: Children, kind: str, root: Path, *, slow_way: bool = False
    ) -> None:
        self.children, self.kind, self.root, self.slow_way = children, kind, root, slow_way
        self.scene = Scene(root)

    def begin(self) -> None:
        """Everything as it was before the change."""
        if self.kind == "first":
            shutil.rmtree(self.root, ignore_errors=True)
            self.scene.acks.unlink(missing_ok=True)
            return
        self.scene = Scene.make(self.root, self.kind)
        if self.slow_way:
            only_git_writes(self.root)

    def change(self, **job: object) -> int:
        """Make the change in a child, which is killed as ``job`` says; how it ended."""
        do = "makes" if self.kind == "first" else "one"
        return self.children.run(do, self.root, self.scene.acks, kind=self.kind, **job)

    def run(self, **job: object) -> int:
        """The same from the beginning."""
        self.begin()
        return self.change(**job)

    def reopen(self, **job: object) -> int:
        """Open the agent in a child, which is killed as ``job`` says."""
        return self.children.run("one", self.root, self.scene.acks, **job)

    def judge(self, report: Report, label: str) -> None:
        """What is left of it."""
        if self.kind == "first":
            judge_first(self.scene, report, label)
        else:
            self.scene.judge(
                report,
                label,
                adopting=self.kind == "adopt",
                recall=self.kind in ("recall", "turn"),
            )

    def calls(self) -> list[tuple[str, bool]]:
        """The steps of this change when nothing happens to it."""
        assert self.run() == 0
        ((calls),) = self.scene.said().all("calls")
        return [(name, bool(bytes_)) for name, bytes_ in calls]


def judge_first(scene: Scene, report: Report, label: str) -> None:
    """The first commit is there as the person's, with all files; or none, and no file staged."""
    found = Findings(label)
    said = scene.said()
    report.trials += 1
    report.waits += [done["seconds"] for done in said.done.values()]
    try:
        held = "+lock" if locks(scene.root) else ""
        head = git(scene.root, "rev-parse", "-q", "--verify", "HEAD", check=False)
        report.states[("HEAD" if head else "old") + held] += 1
        Store(scene.root).repo.close()
        if git(scene.root, "rev-parse", "-q", "--verify", "HEAD", check=False):
            (commit,) = history(scene.root)
            scene.as_begun(found, commit, next(iter(said.begun.values())))
            if status(scene.root):
                found.add("status", str(status(scene.root)))
        elif said.done:
            found.add("lost", "the first commit was acknowledged")
        elif not all(entry.startswith("??") for entry in status(scene.root)):
            found.add("half", str(status(scene.root)))
        if locks(scene.root):
            found.add("left", str(locks(scene.root)))
        git(scene.root, "add", "-A")
        git(scene.root, "commit", "-q", "--allow-empty", "-m", "mine")
        store = Store(scene.root)
        with store.change("human: + after") as change:
            change.set_block("human", "after")
        store.repo.close()
        if status(scene.root):
            found.add("status", str(status(scene.root)))
        git(scene.root, "fsck", "--strict")
    except Exception as error:
        found.add("broken", f"{type(error).__name__}: {error}")
    report.take(found)


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


def steps_of(calls: list[tuple[str, bool]]) -> list[tuple[int, str]]:
    """Every way in which a change can end early: before each step, in a write, after the last."""
    found = []
    for number, (_, writes) in enumerate(calls, 1):
        found.append((number, "before"))
        if writes:
            found.append((number, "half"))
    return [*found, (len(calls), "after")] if calls else []


def killed_at_steps(report: Report, trials: Trials, most: int = 0) -> None:
    """Kill at the steps of a change; with ``most``, only at so many of them."""
    calls = trials.calls()
    trials.judge(report, f"{trials.kind}, no kill")
    for at, mode in some(steps_of(calls), most, trials.kind):
        name = calls[at - 1][0]
        # The last steps may not come: what folders there are for objects depends on their ids.
        assert trials.run(at=at, mode=mode) == -9 or at > len(calls) - 9, (trials.kind, at, mode)
        trials.judge(report, f"{trials.kind}, {mode} step {at}, {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_some_steps(tmp_path: Path, children: Children, kind: str) -> None:
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report(f"kill -9 at some steps: {kind}") as report:
        killed_at_steps(report, Trials(children, kind, tmp_path / "sarah"), 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_every_step(tmp_path: Path, children: Children, kind: str, record_property: Record) -> None:
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report(f"kill -9 at every step: {kind}", record_property) as report:
        killed_at_steps(report, Trials(children, kind, tmp_path / "sarah"))


def test_recovery_is_killed(tmp_path: Path, children: Children) -> None:
    """In the moment when the files show the change and the branch does not."""
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report("kill -9, and again while it is mended") as report:
        trials = Trials(children, "core", tmp_path / "sarah")
        for again in range(3, 30, 6):
            assert trials.run(at="fill") == -9
            trials.reopen(at=again)
            trials.judge(report, f"at fill, and step {again} of opening")


def another_goes_on(report: Report, trials: Trials, most: int = 0) -> None:
    """A program that was open before, as a long chat is, changes the same file after the kill."""
    for at, mode in some(steps_of(trials.calls()), most, trials.kind):
        trials.begin()
        other = Store(trials.root)
        trials.change(at=at, mode=mode)
        write(other, Acks(str(trials.scene.acks)), "human: + beside", line("human", "beside"))
        other.repo.close()
        trials.judge(report, f"{trials.kind}, {mode} step {at}, and another goes on")


@pytest.mark.parametrize("kind", ["core", "many", "turn"])
def test_another_program_goes_on(tmp_path: Path, children: Children, kind: str) -> None:
    with Report(f"kill -9 beside another program: {kind}") as report:
        another_goes_on(report, Trials(children, kind, tmp_path / "sarah"), 8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["fast", "slow"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "first"])
def test_another_program_goes_on_at_every_step(
    tmp_path: Path, children: Children, kind: str, way: str, record_property: Record
) -> None:
    name = f"kill -9 at every step beside another program, the {way} way: {kind}"
    with Report(name, record_property) as report:
        trials = Trials(children, kind, tmp_path / "sarah", slow_way=way == "slow")
        another_goes_on(report, trials)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "first"])
def test_every_step_of_the_slow_way(
    tmp_path: Path, children: Children, kind: str, record_property: Record
) -> None:
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report(f"kill -9 at every step of the slow way: {kind}", record_property) as report:
        killed_at_steps(report, Trials(children, kind, tmp_path / "sarah", slow_way=True))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["core", "many", "adopt", "turn"])
def test_recovery_is_killed_everywhere(
    tmp_path: Path, children: Children, kind: str, record_property: Record
) -> None:
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report(f"kill -9, and again while it is mended: {kind}", record_property) as report:
        trials = Trials(children, kind, tmp_path / "sarah")
        for at, mode in some(steps_of(trials.calls()), 16, kind):
            for again in range(1, 1000):
                if trials.run(at=at, mode=mode) == 0 or trials.reopen(at=again) == 0:
                    break
                trials.judge(report, f"{kind}, {mode} step {at}, and step {again} of opening")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["fast", "slow"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_line(
    tmp_path: Path, children: Children, kind: str, way: str, record_property: Record
) -> None:
    """The steps are all there are: a kill between any two lines leaves nothing else behind."""
    if (kind, way) == ("first", "slow"):
        pytest.skip("there is no index yet that only git may write")
    dice = random.Random(kind)
    with Report(f"kill -9 at any line, the {way} way: {kind}", record_property) as report:
        trials = Trials(children, kind, tmp_path / "sarah", slow_way=way == "slow")
        assert trials.run(line=0) == 0
        (total,) = trials.scene.said().all("lines")
        for at in sorted(dice.sample(range(1, total + 1), min(total, 60))):
            trials.run(line=at)
            trials.judge(report, f"{kind}, line {at} of {total}")
