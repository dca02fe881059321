"""Two clones that live their own lives and meet again: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fsagent import Agent, ScriptedClient, call
from fsagent.check import check
from fsagent.environment import Environment
from fsagent.history.sections import END, HEADING

from conftest import git, wide

Record = Callable[[str, object], None]


@dataclass
class Machine:
    """One clone, and what is known of the life that was led there."""

    agent: Agent
    dice: random.Random
    fresh: list[str]
    """Words that stand nowhere else."""
    lines: set[str] = field(default_factory=set)
    """Those that stand in a block now, a line each."""
    notes: dict[str, str] = field(default_factory=dict)
    """Notes of this machine's own, by path, with the word in each."""
    common: tuple[str, ...] = ()
    """Ids of notes that both machines rename and add to."""
    added: dict[str, str] = field(default_factory=dict)
    """Words that were added to these, and to which."""
    gone: set[str] = field(default_factory=set)
    records: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)

    def turn(self) -> None:
        """Something happens: mostly a turn, sometimes a hand edit, an undo or a deletion."""
        act = self.dice.choices(
            [self.append, self.replace, self.note, self.city, self.say, self.hand, self.forget,
             self.undo, self.unsay, self.move, self.add],
            [6, 3, 4, 1, 2, 2, 1, 1, 1, 1, 2],
        )[0]  # fmt: skip
        act()
        self.records |= set(ids(self.agent))

    def chat(self, *calls: object) -> None:
        self.agent._client = ScriptedClient([*calls, "Well."])
        self.commits += self.agent.chat(f"Turn {len(self.commits)}.").commits

    def append(self) -> None:
        word = self.fresh.pop()
        self.chat(call("core_memory_append", label="human", content=word))
        self.lines.add(word)

    def replace(self) -> None:
        if not self.lines:
            return
        old, new = self.dice.choice(sorted(self.lines)), self.fresh.pop()
        self.chat(call("core_memory_replace", label="human", old_content=old, new_content=new))
        self.lines = self.lines - {old} | {new}
        self.gone.add(old)

    def city(self) -> None:
        """What both machines change: the same line, to something else each time."""
        text = self.agent.blocks["persona"].text
        first = text.split("\n")[0]
        self.chat(
            call(
                "core_memory_replace",
                label="persona",
                old_content=first,
                new_content=f"City: {self.fresh.pop()}",
            )
        )

    def note(self) -> None:
        word = self.fresh.pop()
        self.chat(call("archival_memory_insert", content=word, tags=["t"]))
        (path,) = (note.path for note in self.agent.notes if note.text == word)
        self.notes[path] = word

    def say(self) -> None:
        self.chat()

    def hand(self) -> None:
        """A line by hand, at the top of the block, committed with whatever comes next."""
        word = self.fresh.pop()
        file = self.agent.root / "core/human.md"
        head, _, body = file.read_text().partition("---\n\n")
        file.write_text(f"{head}---\n\n{word}\n{body}")
        self.lines.add(word)

    def forget(self) -> None:
        if self.notes:
            path = self.dice.choice(sorted(self.notes))
            (self.agent.root / path).unlink()
            self.gone.add(self.notes.pop(path))

    def undo(self) -> None:
        word = self.fresh.pop()
        self.chat(call("core_memory_append", label="human", content=word))
        self.commits.append(self.agent.undo(self.commits[-2]).commit)
        self.gone.add(word)

    def unsay(self) -> None:
        """A person takes a record out of recall."""
        path = self.dice.choice(self.agent.store.segments() or [""])
        if path:
            file = self.agent.root / path
            lines = file.read_text().splitlines(keepends=True)
            one = self.dice.choice([line for line in lines if '"role": "user"' in line] or [""])
            file.write_text("".join(line for line in lines if line != one))

    def shared(self) -> tuple[str, Path]:
        """One of the notes that both machines know, and where it is now."""
        ident = self.dice.choice(self.common)
        (path,) = (note.path for note in self.agent.notes if note.id == ident)
        return ident, self.agent.root / path

    def move(self) -> None:
        _, file = self.shared()
        file.rename(file.with_name(f"{self.fresh.pop()}.md"))

    def add(self) -> None:
        ident, file = self.shared()
        self.added[self.fresh.pop()] = ident
        file.write_text(f"{file.read_text()}{list(self.added)[-1]}\n")

    def sync(self) -> None:
        self.clashes += self.agent.sync().clashes
        self.settle()

    def settle(self) -> None:
        """Now and then the agent settles what clashed."""
        text = self.agent.blocks["persona"].text
        if HEADING in text and self.dice.random() < 0.5:
            first = next(line for line in text.split("\n") if not line.startswith("## "))
            self.chat(call("memory_rethink", label="persona", new_memory=first))


def ids(agent: Agent) -> list[str]:
    return [r.id for path in agent.store.segments() for r in agent.store.records(path)]


def lives(tmp_path: Path, turns: int, meetings: int, seed: int) -> dict[str, object]:
    """Two machines with so many turns each, at once, which meet so often; what came of it."""
    began = time.monotonic()
    bare = tmp_path / "place.git"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    words = [f"w{number}x" for number in range(8 * turns)]
    dice = random.Random(seed)
    dice.shuffle(words)
    laptop, desktop = (replace(Environment.read(), machine=n) for n in ("laptop", "desktop"))
    first = wide(Agent.init(tmp_path / "laptop", persona="City: none", environment=laptop))
    config = first.root / "core/human.md"
    config.write_text("---\nlimit: 1000000\n---\n\n")
    common = tuple(first.notes.add(f"Common note {number}.").id for number in range(4))
    first.sync(str(bare))
    second = Agent.clone(str(bare), tmp_path / "desktop", environment=desktop)
    machines = [
        Machine(first, random.Random(seed + 1), words[::2], common=common),
        Machine(second, random.Random(seed + 2), words[1::2], common=common),
    ]
    failed: list[BaseException] = []

    def work(machine: Machine) -> None:
        try:
            for _ in range(turns // meetings):
                machine.turn()
            machine.sync()
        except BaseException as error:
            failed.append(error)
            raise

    for _ in range(meetings):
        threads = [threading.Thread(target=work, args=(machine,)) for machine in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
    unsaid = sum(1 for machine in machines for i in machine.records if i not in ids(machine.agent))
    for machine in (*machines, machines[0]):
        machine.agent.sync()
    judge(machines)
    for machine in machines:
        machine.agent.close()
    return {
        "turns": turns * 2,
        "meetings": meetings,
        "commits": len(first.log()),
        "records": len(ids(first)),
        "deleted": unsaid,
        "clashes": sum(len(machine.clashes) for machine in machines),
        "seconds": round(time.monotonic() - began, 1),
    }


def judge(machines: list[Machine]) -> None:
    one, two = (machine.agent for machine in machines)
    assert git(one, "rev-parse", "HEAD^{tree}") == git(two, "rev-parse", "HEAD^{tree}")
    assert git(one, "rev-parse", "HEAD") == git(two, "rev-parse", "HEAD")
    for agent in (one, two):
        assert git(agent, "status", "--porcelain") == ""
        git(agent, "fsck", "--full", "--strict")

    # Every record once, but for those that somebody took out.
    found = ids(one)
    assert max(Counter(found).values()) == 1
    assert found == ids(two)
    lost = {i for machine in machines for i in machine.records} - set(found)
    taken_out = {
        line.split('"id": "')[1].split('"')[0]
        for line in git(one, "log", "-p", "--format=", "-m", "--", "recall").splitlines()
        if line.startswith("-{")
    }
    assert lost <= taken_out
    times = [record.ts for record in one.store.newest()]
    assert len(times) == len(found)

    # Every change that was acknowledged is in the history of both.
    history = set(git(one, "rev-list", "HEAD").split())
    assert {commit for machine in machines for commit in machine.commits} <= history

    # Every line and note is there that its machine left there, and none that it took away.
    lines = Counter(one.blocks["human"].text.split("\n"))
    notes = Counter(note.text for note in one.notes)
    for machine in machines:
        assert {word: lines[word] for word in machine.lines} == dict.fromkeys(machine.lines, 1)
        assert {word: notes[word] for word in machine.notes.values()} == dict.fromkeys(
            machine.notes.values(), 1
        )
        assert not [word for word in machine.gone if lines[word] or notes[word]]

    # Of each note that both went on with there is one, with what both added, whatever it is called.
    texts = {ident: note.text for note in one.notes for ident in [note.id]}
    shared = [note.id for note in one.notes if note.id in machines[0].common]
    assert sorted(shared) == sorted(machines[0].common)
    for machine in machines:
        for word, ident in machine.added.items():
            assert texts[ident].split().count(word) == 1

    # No conflict is left that nobody sees.
    texts = {path: (one.root / path).read_text() for path in one.store.paths("core")}
    assert not any(mark in text for text in texts.values() for mark in ("<<<<<<<", ">>>>>>>"))
    marked = {path for path, text in texts.items() if HEADING in text}
    named = {finding.place.split(":")[0] for finding in check(one).findings}
    assert {place for place in named if place.startswith(("core/", "recall/"))} == marked
    assert all(text.count(HEADING) >= 2 * text.count(END) for text in texts.values())
    said = [said for machine in machines for said in machine.clashes]
    assert marked <= {text.split(":")[0] for text in said}
    events = "\n".join(r.content for r in one.store.newest() if r.role == "event")
    assert all(text in events for text in said)


def test_two_machines_meet_a_few_times(tmp_path: Path) -> None:
    lives(tmp_path, turns=40, meetings=4, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_two_hundred_turns_each_and_ten_meetings(
    tmp_path: Path, record_property: Record, seed: int
) -> None:
    found = lives(tmp_path, turns=200, meetings=10, seed=seed)
    record_property("report", ", ".join(f"{name} {value}" for name, value in found.items()))
