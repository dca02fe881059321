"""Undo in random histories: a model of lines with identities says what has to come out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
import pytest
from fsagent import Agent, ScriptedClient
from fsagent.environment import Environment
from fsagent.errors import UndoConflict
from fsagent.history.undo import NothingLeftError
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from conftest import FixedClock, git


@dataclass(eq=False)
class Line:
    """A line of the model: it is itself whatever its words are and wherever it stands."""

    words: list[str]
    alive: bool = True

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Effect:
    """A piece of what one change did: a line came or went, or one of its words was exchanged."""

    kind: str
    line: Line
    words: tuple[str, ...] = ()
    place: int = 0
    old: str = ""
    new: str = ""


class Clashing(Exception):
    pass


@dataclass
class Did:
    """A change of the model: its commit's name, and its effects in the order in which they came."""

    name: str
    path: str
    effects: list[Effect] = field(default_factory=list)


def taken_back(effects: list[Effect]) -> list[Effect]:
    """Do to the model what undoing these has to do; what was done.

    Raises:
        Clashing: a later change is of the same words.
    """
    done: list[Effect] = []
    for effect in reversed(effects):
        line = effect.line
        if effect.kind == "comes" and line.alive:
            if tuple(line.words) != effect.words:
                raise Clashing
            line.alive = False
            done.append(Effect("goes", line))
        elif effect.kind == "goes" and not line.alive:
            line.alive = True
            done.append(Effect("comes", line, tuple(line.words)))
        elif effect.kind == "word":
            now = line.words[effect.place]
            if not line.alive or now not in (effect.old, effect.new):
                raise Clashing
            if now == effect.new:
                line.words[effect.place] = effect.old
                done.append(Effect("word", line, (), effect.place, now, effect.old))
    return done


def net(effects: list[Effect], before: dict[int, list[str]]) -> list[Effect]:
    """The effects of one commit that did several things: what is between is in no file."""
    by_line: dict[int, list[Effect]] = {}
    for effect in effects:
        by_line.setdefault(id(effect.line), []).append(effect)
    found = []
    for ident, of_line in by_line.items():
        kinds, line = [effect.kind for effect in of_line], of_line[0].line
        if "comes" in kinds and "goes" not in kinds:
            found.append(Effect("comes", line, tuple(line.words)))
        elif "goes" in kinds and "comes" not in kinds:
            line.words = list(before[ident])
            found.append(Effect("goes", line))
        elif "comes" not in kinds:
            words = zip(before[ident], line.words, strict=True)
            found += [
                Effect("word", line, (), place, old, new)
                for place, (old, new) in enumerate(words)
                if old != new
            ]
    return found


PATHS = ("core/human.md", "core/persona.md")

EDIT = st.tuples(
    st.sampled_from(PATHS),
    st.sampled_from(["append", "insert", "word", "delete", "rethink"]),
    st.integers(0, 1000),
)


class OtherClock(FixedClock):
    """The same moment, and ids that no other machine gives."""

    def id(self) -> str:
        return "u" + super().id()[1:]


class Undoing(RuleBasedStateMachine):
    """A model of lines with identities beside an agent that knows only its files and Git."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.agent = Agent.init(
            self.home / "life",
            client=ScriptedClient(),
            clock=FixedClock(),
            environment=self.environment("here"),
        )
        self.other: Agent | None = None
        """The same agent on another machine."""
        self.count = 0
        self.lines: dict[str, list[Line]] = {path: [] for path in PATHS}
        self.order: dict[tuple[int, int], bool] = {}
        """Of two lines that were there at once, whether the first stood above."""
        self.wanderers: set[int] = set()
        """Lines that an undo may move."""
        self.keep: list[Line] = []
        self.done: list[Did] = []
        self.turns: dict[str, list[Did]] = {}
        self.pending: Did | None = None
        for path in PATHS:
            page = (self.agent.root / path).read_text()
            head = page[: page.index("---", 4) + 4] + "\n"
            (self.agent.root / path).write_text(head)
        self.agent.adopt()
        self.head = head_of = git(self.agent, "rev-parse", "HEAD").strip()
        assert head_of

    def environment(self, machine: str) -> Environment:
        return Environment(
            cache_dir=self.home / "cache",
            state_dir=self.home / "state",
            embed=False,
            machine=machine,
        )

    # what the agent has

    def file(self, path: str) -> tuple[str, list[str]]:
        """The front matter, and the lines."""
        data = (self.agent.root / path).read_text()
        end = data.index("---\n", 4) + 5
        return data[:end], data[end:].splitlines()

    def alive(self, path: str) -> list[Line]:
        """The model's lines in the order in which they stand in the file; they are the file's."""
        by_text = {line.text: line for line in self.lines[path] if line.alive}
        assert sorted(self.file(path)[1]) == sorted(by_text)
        return [by_text[text] for text in self.file(path)[1]]

    def note_order(self) -> None:
        """Lines that were there at once before stand as they stood; from now on, as they stand."""
        for path in PATHS:
            found = self.alive(path)
            for at, above in enumerate(found):
                for below in found[at + 1 :]:
                    if {id(above), id(below)} & self.wanderers:
                        continue
                    assert self.order.get((id(above), id(below)), True)
                    self.order[id(above), id(below)] = True
                    self.order[id(below), id(above)] = False

    def forget_order(self, line: Line) -> None:
        self.order = {pair: way for pair, way in self.order.items() if id(line) not in pair}

    def new_line(self, path: str) -> Line:
        line = Line([self.word() for _ in range(4)])
        self.keep.append(line)
        self.lines[path].append(line)
        return line

    def word(self) -> str:
        self.count += 1
        return f"w{self.count}"

    # what happens

    def edited(
        self, path: str, op: str, number: int, found: list[Line] | None = None
    ) -> tuple[list[Line], Did]:
        """One edit: the file's lines after it. The model has it too."""
        found = self.alive(path) if found is None else found
        did = Did("", path)
        if op == "append" or not found:
            line = self.new_line(path)
            found.append(line)
            did.effects.append(Effect("comes", line, tuple(line.words)))
        elif op == "insert":
            for _ in range(1 + number % 2):
                line = self.new_line(path)
                found.insert(number % (len(found) + 1), line)
                did.effects.append(Effect("comes", line, tuple(line.words)))
        elif op == "word":
            line, place = found[number % len(found)], number % 4
            old, line.words[place] = line.words[place], self.word()
            did.effects.append(Effect("word", line, (), place, old, line.words[place]))
        elif op == "delete":
            line = found.pop(number % len(found))
            line.alive = False
            did.effects.append(Effect("goes", line))
        elif op == "rethink":  # a word in every other line, and one line more
            for line in found[number % 2 :: 2]:
                place = number % 4
                old, line.words[place] = line.words[place], self.word()
                did.effects.append(Effect("word", line, (), place, old, line.words[place]))
            line = self.new_line(path)
            found.append(line)
            did.effects.append(Effect("comes", line, tuple(line.words)))
        elif op == "shift":  # moved, and edited on the way; an undo moves it, too
            line, place = found.pop(number % len(found)), number % 4
            old, line.words[place] = line.words[place], self.word()
            did.effects.append(Effect("word", line, (), place, old, line.words[place]))
            found.insert((number // 7) % (len(found) + 1), line)
            self.wanderers.add(id(line))
        elif op == "move":  # which cannot be undone in the model, and is not tried
            line = found.pop(number % len(found))
            self.forget_order(line)
            found.insert((number // 7) % (len(found) + 1), line)
        return found, did

    @rule(
        path=st.sampled_from(PATHS),
        op=st.sampled_from(
            ["append", "append", "insert", "word", "delete", "rethink", "move", "shift"]
        ),
        number=st.integers(0, 1000),
        by_hand=st.booleans(),
        wait=st.booleans(),
    )
    def change(self, path: str, op: str, number: int, by_hand: bool, wait: bool) -> None:
        self.settle()
        found, did = self.edited(path, op, number)
        lines = [line.text for line in found]
        if not did.effects:  # a file of one line has none to move: nothing is done
            return
        if by_hand:
            text = self.file(path)[0] + "".join(f"{line}\n" for line in lines)
            (self.agent.root / path).write_text(text)
            self.pending = did
            if not wait:
                self.settle()
        else:
            self.agent.blocks[path[5:-3]] = "\n".join(lines)
            self.named(did)

    @rule(ops=st.lists(st.sampled_from(["append", "insert", "word"]), min_size=2, max_size=3),
          path=st.sampled_from(PATHS), number=st.integers(0, 1000))  # fmt: skip
    def turn(self, ops: list[str], path: str, number: int) -> None:
        self.settle()
        turn, dids = self.agent.store.clock.id(), []
        for op in ops:
            found, did = self.edited(path, op, number)
            with self.agent.store.change("tool", turn=turn) as change:
                change.set_block(path[5:-3], "\n".join(line.text for line in found))
            dids.append(self.named(did))
        self.turns[turn] = dids

    @rule()
    def talk(self) -> None:
        self.settle()
        self.agent._client = ScriptedClient(["ok"])
        self.agent.chat("go on")

    @rule(here=EDIT, there=EDIT, undo=st.booleans(), first=st.booleans())
    def meet(
        self, here: tuple[str, str, int], there: tuple[str, str, int], undo: bool, first: bool
    ) -> None:
        """Something happens on either machine, in different lines; then they are brought together.

        ``first`` says who pushes first: the other one makes the merge.
        """
        self.settle()
        other = self.in_step()
        path, op, number = there
        was = {line: line.text for path in PATHS for line in self.alive(path)}
        found = {path: self.alive(path) for path in PATHS}
        before, count = self.head_of(self.agent), len(self.done)
        if undo and self.done:
            path = next(p for p in PATHS if p != self.done[-1 - here[2] % count].path)
            self.undo_any(here[2], again=False)
        else:
            lines, did = self.edited(*here)
            self.agent.blocks[here[0][5:-3]] = "\n".join(line.text for line in lines)
            self.named(did)
        touched = {effect.line for did in self.done[count:] for effect in did.effects}
        free = [at for at, line in enumerate(found[path]) if line not in touched]
        if op in ("word", "delete"):
            op, number = (op, free[number % len(free)]) if free else ("append", number)
        elif op == "rethink" and len(free) < len(found[path]):  # it touches several lines
            op = "append"
        lines, did = self.edited(path, op, number, found[path])
        other.blocks[path[5:-3]] = "\n".join(
            was[line] if line in touched else line.text for line in lines
        )
        did.name = self.head_of(other)
        self.done.append(did)
        parted = self.head_of(self.agent) != before
        one, two = (self.agent, other) if first else (other, self.agent)
        one.sync()
        merged = two.sync()
        one.sync()
        assert bool(merged.merged) == parted
        assert not merged.clashes
        assert self.head_of(one) == self.head_of(two)

    def in_step(self) -> Agent:
        """The other machine, as far as this one."""
        place = self.home / "place.git"
        if self.other is None:
            subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True)
            self.agent.sync(str(place))
            self.other = Agent.clone(
                str(place),
                self.home / "other",
                ScriptedClient(),
                clock=OtherClock(),
                environment=self.environment("there"),
            )
        else:
            self.agent.sync()
            self.other.sync()
        return self.other

    def head_of(self, agent: Agent) -> str:
        return git(agent, "rev-parse", "HEAD").strip()

    def settle(self) -> None:
        if self.pending:
            self.agent.adopt()
            self.named(self.pending)
            self.pending = None

    def named(self, did: Did, name: str = "HEAD") -> Did:
        did.name = git(self.agent, "rev-parse", name).strip()
        if did.effects:
            self.done.append(did)
        return did

    @precondition(lambda self: self.done)
    @rule(number=st.integers(0, 1000), again=st.booleans())
    def undo_any(self, number: int, again: bool) -> None:
        did = self.done[-1 - number % len(self.done)]
        self.undo(did.name, did.path, did.effects, again)

    @precondition(lambda self: self.turns)
    @rule(number=st.integers(0, 1000), again=st.booleans())
    def undo_turn(self, number: int, again: bool) -> None:
        turn = list(self.turns)[-1 - number % len(self.turns)]
        effects = [effect for did in self.turns[turn] for effect in did.effects]
        self.undo(turn, self.turns[turn][0].path, effects, again)

    def undo(self, name: str, path: str, effects: list[Effect], again: bool) -> None:
        saved = [(line, list(line.words), line.alive) for line in self.keep]
        before, files = git(self.agent, "rev-parse", "HEAD").strip(), self.files()
        recall = self.recall()
        pending = self.pending if self.pending and self.pending.path == path else None
        try:
            done = net(taken_back(effects), {id(line): words for line, words, _ in saved})
        except Clashing:
            for line, words, alive in saved:
                line.words, line.alive = words, alive
            with pytest.raises((UndoConflict, NothingLeftError)) as error:
                self.agent.undo(name)
            if error.type is NothingLeftError:  # what clashes with it is its own undo
                assert "is undone already" in str(error.value)
            assert git(self.agent, "rev-parse", "HEAD").strip() == before
            assert (self.files(), self.recall()) == (files, recall)
            return
        if not done:
            with pytest.raises(NothingLeftError):
                self.agent.undo(name)
            assert git(self.agent, "rev-parse", "HEAD").strip() == before
            assert (self.files(), self.recall()) == (files, recall)
            return
        undone = self.agent.undo(name)
        assert not Counter(recall) - Counter(self.recall())
        assert len(self.recall()) == len(recall) + (2 if pending else 1)
        if pending:
            self.named(pending, "HEAD~1")
            self.pending = None
        self.note_order()
        self.named(Did("", path, done))
        assert (
            git(self.agent, "rev-list", "--count", f"{before}..HEAD") == f"{2 if pending else 1}\n"
        )
        if again:  # the undo of an undo gives the bytes back
            self.undo(undone.change, path, done, False)
            if not pending:
                assert self.files() == files

    def files(self) -> dict[str, bytes]:
        return {path: (self.agent.root / path).read_bytes() for path in PATHS}

    def recall(self) -> list[bytes]:
        store = self.agent.store
        return [line for path in store.segments() for line in store.read(path).splitlines()]

    @invariant()
    def the_files_are_the_model(self) -> None:
        self.note_order()

    @invariant()
    def the_tree_is_clean_and_history_only_grows(self) -> None:
        waiting = [self.pending.path] if self.pending and self.pending.effects else []
        if not self.pending or self.pending.effects:
            status = git(self.agent, "status", "--porcelain")
            assert status == "".join(f" M {path}\n" for path in waiting)
        git(self.agent, "merge-base", "--is-ancestor", self.head, "HEAD")
        self.head = git(self.agent, "rev-parse", "HEAD").strip()

    def teardown(self) -> None:
        if hasattr(self, "agent"):
            assert git(self.agent, "fsck", "--strict", "--no-dangling") == ""
            self.agent.close()
            if self.other:
                self.other.close()
            shutil.rmtree(self.home)


TestUndoing = Undoing.TestCase
TestUndoing.settings = settings(
    max_examples=int(os.environ.get("UNDO_EXAMPLES", "6")),
    stateful_step_count=25,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
