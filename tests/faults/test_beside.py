"""Others at work in the same directory: a busy person, forty writers, two processes with turns."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from child import Acks, line, write
from fsagent import store
from fsagent.errors import AgentBusy
from fsagent.store import Store
from scene import (
    TIM,
    Child,
    Children,
    Findings,
    Made,
    Report,
    Said,
    Scene,
    git,
    history,
    only_git_writes,
)

Record = Callable[[str, object], None]

OURS = ("core/", "archival/", "recall/", "files/", "agent.yaml", "system.md")


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


def wait_until_ready(*scenes_acks: Path) -> None:
    """Until every child has opened the agent."""
    while not all(Said.read(acks).all("ready") for acks in scenes_acks):
        time.sleep(0.002)


def ended(report: Report, **children: Child) -> None:
    """Every child has come to its end by itself."""
    for name, child in children.items():
        code = child.wait()
        if code:
            report.wrong("ended", f"{name} ended with {code}; see what it printed")


# ── a busy person ─────────────────────────────────────────────────────────────────────────────


def beside_a_person(
    report: Report,
    children: Children,
    root: Path,
    seconds: float,
    *,
    stash: bool = False,
    block: str = "",
    pause: tuple[float, float] = (0.0, 0.01),
    slow_way: bool = False,
) -> None:
    """The agent writes; the person edits, adds, commits, stashes; afterwards both have it all."""
    scene = Scene.build(root)
    if slow_way:
        only_git_writes(root)
    stop, tims = root.with_name("stop"), root.with_name("tim.acks")
    options = {"stop": stop, "seed": len(block) + stash}
    person = children.start("busy", root, tims, stash=stash, block=block, **options)
    agent = children.start("loop", root, scene.acks, name="w", stop=stop, pause=pause, retry=True)
    wait_until_ready(tims, scene.acks)
    time.sleep(seconds)
    stop.touch()
    ended(report, agent=agent, person=person)
    said, told = Said.read(scene.acks), Said.read(tims)
    count_commands(report, told, seconds)

    mine = [f"{c}" for c in told.all("mine")]
    subjects = Counter(c.subject for c in everything_kept(root))
    for subject in mine:
        if not subjects[subject]:
            report.wrong("lost of the person", f"the commit {subject!r}")
    compare_files(report, scene, told, conflict=bool(told.all("conflict")))
    if block:
        hands_kept(report, scene, told, block)

    report.more.append(f"{len(said.done)} changes, {len(mine)} commits of the person")
    report.more.append(f"{len(said.all('again'))} changes given again")
    Store(root).adopt()  # what a commit or a stash of theirs took back stands in the work tree
    overtaken(report, root, scene, block)
    # What is staged and edited at the end is the person's, as long as it is only their files.
    scene.mine = {
        path: letters for path, letters in scene.found().items() if not path.startswith(OURS)
    }
    scene.judge(report, "beside", before="-", others=lambda c: c.author == TIM, dropped=stash)
    report.states -= Counter({"-": 1})


def overtaken(report: Report, root: Path, scene: Scene, block: str) -> None:
    """What the person's commits hold of the agent's files.

    ``git commit`` reads the index before it locks it, and ``git stash`` resets to a HEAD that it
    read before: a change of the agent in between is taken back by their commit or stash, although
    it stays in the history. That is a race of git with any other program, counted and not judged.
    But nothing that the agent was just writing may first appear in a commit of theirs, and a note
    may be gone only where its commit was dropped, or a commit of theirs took it away.
    """
    agents = (c for c in everything_kept(root) if c.author != TIM)
    versions = {version for commit in agents for version in commit.paths.items()}
    taken_back = by_no_hand = 0
    for commit in reversed(history(root, "HEAD")):
        ours = {(p, oid) for p, oid in commit.paths.items() if p.startswith(OURS) and p != block}
        if commit.author == TIM and ours and commit.subject.startswith(("tim ", "hand edit: ")):
            new = {path for path, oid in ours - versions if oid is not None}
            if new:
                report.wrong("stolen", f"{commit.subject!r} of the person has {sorted(new)}")
            taken_back += commit.subject.startswith("tim ")
            by_no_hand += commit.subject.startswith("hand edit: ")
        versions |= set(commit.paths.items())
    report.more.append(f"{taken_back} commits of theirs took a change back")
    report.more.append(f"{by_no_hand} hand edits that no hand made")
    said, newest = scene.said(), {}
    for commit in reversed(history(root, "HEAD")):
        newest |= dict.fromkeys(commit.paths, commit)
    for ident in said.done:
        for path in said.begun[ident]["paths"]:
            last = newest.get(path)  # None where the commit was dropped, which ``judge`` looks at
            taken = last and last.author == TIM and last.paths[path] is None
            if path.startswith("archival/") and not (root / path).exists() and last and not taken:
                report.wrong("gone", f"{path} is not in the work tree any more")


def everything_kept(root: Path) -> list[Made]:
    """Commits of HEAD, and those that fsagent kept when somebody dropped them."""
    kept = git(root, "for-each-ref", "--format=%(objectname)", "refs/fsagent/dropped").decode()
    return history(root, "HEAD", *kept.split())


EXPECTED = re.compile("nothing |onflict|no changes|stash entry is kept")
"""What git says where it refuses for the sake of what it was asked to do."""


def count_commands(report: Report, told: Said, seconds: float) -> None:
    """How the person's commands went. Waiting for a lock is normal, being stuck is not."""
    commands = [t for t in told.other if "op" in t]
    for command in commands:
        report.states[command["op"] + (" ok" if command["ok"] else " failed")] += 1
        if command["stuck"]:
            report.wrong("stuck", f"git {command['op']}: {command['error'][:200]}")
        elif not command["ok"] and not EXPECTED.search(command["error"]):
            report.wrong("failed", f"git {command['op']}: {command['error'][:200]}")
    held = sum(1 for command in commands if command["held"])
    report.more.append(f"{len(commands) / seconds:.0f} commands a second, {held} met a lock")


def compare_files(report: Report, scene: Scene, told: Said, conflict: bool) -> None:
    """The person's own files hold every line that they wrote."""
    for path in ("busy/a.txt", "busy/b.txt"):
        text = (scene.root / path).read_text()
        written = [t["text"] for t in told.other if t.get("edited") == path]
        if not conflict and text != path[5] + "\n" + "".join(written):
            report.wrong("lost of the person", f"{path} is not what they wrote")


def hands_kept(report: Report, scene: Scene, told: Said, block: str) -> None:
    """Every line written by hand is in the file, or in a version of it that was committed."""
    text = (scene.root / block).read_text()
    shown = git(scene.root, "log", "-p", "--all", "--format=", "--", block).decode()
    for hand in told.all("hand"):
        if f"{hand}\n" not in text and f"+{hand}\n" not in shown:
            report.wrong("lost of the person", f"{hand!r} in {block}")


def test_a_person_commits(tmp_path: Path, children: Children) -> None:
    with Report("beside a busy person") as report:
        beside_a_person(report, children, tmp_path / "sarah", 2)


def test_a_person_edits_the_same_block(tmp_path: Path, children: Children) -> None:
    with Report("beside a person in the same block") as report:
        beside_a_person(report, children, tmp_path / "sarah", 2, block="core/human.md")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pause", [(0.0, 0.0), (0.01, 0.05)], ids=["fast", "pauses"])
@pytest.mark.parametrize(
    "what",
    [{}, {"stash": True}, {"block": "core/human.md"}, {"slow_way": True}],
    ids=["commits", "stash", "block", "way of git"],
)
def test_a_busy_person(
    tmp_path: Path,
    children: Children,
    record_property: Record,
    what: dict[str, object],
    pause: tuple[float, float],
) -> None:
    name = f"20 s beside a busy person, {' '.join(what) or 'commits'}, pauses {pause}"
    with Report(name, record_property) as report:
        beside_a_person(report, children, tmp_path / "sarah", 20, pause=pause, **what)  # type: ignore[arg-type]


# ── many writers ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["note", "line"])
def test_forty_writers(tmp_path: Path, children: Children, what: str) -> None:
    """Forty processes, a change each: a note of their own, or a line of the same block."""
    with Report(f"forty writers at once, a {what} each") as report:
        scene = Scene.make(tmp_path / "sarah")
        gate = tmp_path / "gate"
        job = {"only": what, "keep": 0, "count": 1, "when": gate, "retry": what == "line"}
        writers = {
            f"w{n}": children.start("loop", scene.root, scene.acks, name=f"w{n}", **job)
            for n in range(40)
        }
        gate.touch()
        ended(report, **writers)
        said = scene.said()
        report.more.append(f"{len(said.done)} of 40 succeeded")
        report.more.append(f"{len(said.all('again'))} given again")
        text = (scene.root / "core/human.md").read_text()
        missing = [name for name in writers if f"{name} line 0\n" not in text]
        if what == "line" and missing:
            report.wrong("lost", f"the lines of {missing}")
        scene.judge(report, "forty", before="written")


# ── two processes with turns ──────────────────────────────────────────────────────────────────


def two_that_chat(report: Report, children: Children, root: Path, turns: int) -> None:
    scene = Scene.make(root)
    who = {"ann": "persona", "bob": "pets"}
    both = {
        name: children.start("chats", root, scene.acks, name=name, count=turns, block=block)
        for name, block in who.items()
    }
    ended(report, **both)
    said, found = scene.said(), Findings("two that chat")
    report.waits += [told["seconds"] for told in said.other if "seconds" in told]
    human = (root / "core/human.md").read_text().splitlines()
    recall = "".join(path.read_text() for path in sorted((root / "recall").rglob("*.jsonl")))
    notes = "".join(path.read_text() for path in (root / "archival").rglob("*.md"))
    for name, block in who.items():
        mine = (root / f"core/{block}.md").read_text().splitlines()
        for n in range(turns):
            counts = {
                "line": human.count(f"{name} turn {n}"),
                "line by hand": mine.count(f"{name} wrote {n}"),
                "note": notes.count(f"{name} note {n}\n"),
                "question": recall.count(f'"{name} asks {n}"'),
                "answer": recall.count(f'"{name} said {n}"'),
            }
            if set(counts.values()) != {1}:
                found.add("lost", f"{name} {n}: {counts}")
    known = {commit for commits in said.all("commits") for commit in commits}
    here = {commit.oid for commit in history(root)}
    if not known <= here:
        found.add("lost", f"commits {known - here}")
    report.take(found)
    scene.judge(report, "two that chat", before="chatted", others=lambda commit: True)


def test_two_processes_with_turns(tmp_path: Path, children: Children) -> None:
    with Report("two processes on one agent") as report:
        two_that_chat(report, children, tmp_path / "sarah", 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_with_many_turns(
    tmp_path: Path, children: Children, record_property: Record
) -> None:
    with Report("two processes on one agent, 100 turns each", record_property) as report:
        two_that_chat(report, children, tmp_path / "sarah", 100)


def test_a_turn_is_waited_for(
    tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene.make(tmp_path / "sarah")
    holder = children.start("holds", scene.root, scene.acks, seconds=0.8)
    wait_until_ready(scene.acks)
    here = Store(scene.root)
    began = time.monotonic()
    write(here, Acks(str(scene.acks)), "pets: + meanwhile", line("pets", "meanwhile"))
    assert time.monotonic() - began < 0.5, "a person's write waits for no turn"
    monkeypatch.setattr(store, "TURN_PATIENCE", 0.3)
    began = time.monotonic()
    with pytest.raises(AgentBusy), here.turn():
        pass
    assert time.monotonic() - began >= 0.3
    monkeypatch.setattr(store, "TURN_PATIENCE", 10.0)
    with here.turn():
        pass
    assert holder.wait() == 0
