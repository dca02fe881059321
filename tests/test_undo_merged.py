"""Undo in a history with merges: what another machine brought, and what it made of ours."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsagent import Agent, ScriptedClient
from fsagent.clock import Clock
from fsagent.environment import Environment
from fsagent.errors import StoreError, UndoConflict
from fsagent.history.changes import newest
from fsagent.history.undo import NothingLeftError, step_back, step_forward
from fsagent.repo import walk

from conftest import git

BEGIN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


class Ticking(Clock):
    """A clock that goes on a second with each look at it, and may be fast or slow."""

    seconds = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.wrong = timedelta()

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=next(self.seconds)) + self.wrong


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    """One agent on two machines, which sync through a bare repository."""
    place = tmp_path / "place.git"
    subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True)
    laptop, desktop = (replace(Environment.read(), machine=n) for n in ("laptop", "desktop"))
    one = Agent.init(
        tmp_path / "laptop",
        client=ScriptedClient([]),
        name="sarah",
        human="Name: Tim",
        environment=laptop,
        clock=Ticking(),
    )
    one.sync(str(place))
    two = Agent.clone(
        *(str(place), tmp_path / "desktop", ScriptedClient([])),
        environment=desktop,
        clock=Ticking(),
    )
    yield one, two
    for agent in (one, two):
        agent.close()


def learn(agent: Agent, line: str, label: str = "human") -> str:
    """A line more in a block; the commit."""
    agent.blocks[label] = f"{agent.blocks[label].text}\n{line}"
    return head(agent)


def head(agent: Agent) -> str:
    return git(agent, "rev-parse", "HEAD").strip()


def value(agent: Agent, label: str = "human") -> list[str]:
    return agent.blocks[label].text.split("\n")


def together(one: Agent, two: Agent) -> None:
    """Sync both, so that the second merges and the first moves on to its merge."""
    one.sync()
    assert two.sync().merged
    assert not one.sync().merged
    assert head(one) == head(two)


def test_the_last_change_is_found_beyond_a_merge(pair: tuple[Agent, Agent]) -> None:
    """Ours is on the side of the merge that no first parent leads to."""
    one, two = pair
    learn(two, "Likes tea.")
    mine = learn(one, "Has a cat.")
    together(one, two)
    assert mine not in git(one, "rev-list", "--first-parent", "HEAD").split()
    assert [entry.commit.commit for entry in newest(one.store, 1)] == [mine]
    done = one.undo()
    assert done.lines == ("-Has a cat.",)
    assert done.told == ()  # the merge changed nothing by itself
    assert value(one) == ["Name: Tim", "Likes tea."]
    assert one.undo().lines == ("+Has a cat.",)
    assert one.undo(mine).lines == ("-Has a cat.",)


def test_walking_back_and_forth_takes_in_both_sides(pair: tuple[Agent, Agent]) -> None:
    one, two = pair
    for round_ in "12":
        learn(one, f"One {round_}.")
        learn(two, f"Two {round_}.", "persona")
    together(one, two)
    for agent in pair:
        taken = [step_back(agent.store).lines for _ in range(4)]
        assert taken == [("-Two 2.",), ("-One 2.",), ("-Two 1.",), ("-One 1.",)]
        with pytest.raises(StoreError, match="no earlier change"):
            step_back(agent.store)
        given = [step_forward(agent.store).lines for _ in range(4)]
        assert given == [("+One 1.",), ("+Two 1.",), ("+One 2.",), ("+Two 2.",)]
        with pytest.raises(StoreError, match="nothing to redo"):
            step_forward(agent.store)


def test_a_clock_that_is_wrong_makes_no_child_older_than_its_parent(
    pair: tuple[Agent, Agent],
) -> None:
    one, two = pair
    first = learn(one, "First.")
    one.sync()
    two.sync()
    two.store.clock.wrong = -timedelta(days=3)
    second = learn(two, "Second.")
    third = learn(one, "Third.")
    together(one, two)
    for agent in pair:
        assert [e.commit.commit for e in newest(agent.store, 3)] == [third, second, first]
        found = [entry.commit.commit for entry in walk.history(agent.store.repo, head(agent))]
        assert len(found) == len(git(agent, "rev-list", "HEAD").split())
        for entry in walk.history(agent.store.repo, head(agent)):
            assert all(found.index(entry.commit.commit) < found.index(p) for p in entry.parents)


def test_what_both_machines_undid_comes_back_at_once(pair: tuple[Agent, Agent]) -> None:
    one, two = pair
    mine = learn(one, "Has a cat.")
    one.sync()
    two.sync()
    learn(one, "One.", "persona")
    one.undo(mine)
    learn(two, "Two.", "persona")
    two.undo(mine)
    together(one, two)
    assert value(one) == ["Name: Tim"]
    with pytest.raises(NothingLeftError):
        one.undo(mine)
    assert step_forward(one.store).lines == ("+Has a cat.",)
    with pytest.raises(StoreError, match="nothing to redo"):
        step_forward(one.store)
    assert value(one) == ["Name: Tim", "Has a cat."]
    taken = [step_back(one.store).lines for _ in range(3)]
    assert taken == [("-Two.",), ("-One.",), ("-Has a cat.",)]


@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_came_back_on_the_other_machine_is_the_same(
    pair: tuple[Agent, Agent], first: bool
) -> None:
    one, two = pair
    here, there = pair if first else pair[::-1]
    mine = learn(one, "Has a cat.")
    one.sync()
    two.sync()
    undo = there.undo(mine).commit
    learn(here, "One.")
    together(one, two)
    there.undo(undo)
    learn(here, "Another one.")
    together(one, two)
    assert value(one) == ["Name: Tim", "Has a cat.", "One.", "Another one."]
    here.undo(mine)
    assert value(here) == ["Name: Tim", "One.", "Another one."]


@pytest.mark.parametrize("first", [True, False])
def test_a_clash_after_a_merge_names_the_edit(pair: tuple[Agent, Agent], first: bool) -> None:
    one, two = pair
    here, there = pair if first else pair[::-1]
    mine = learn(one, "Likes black tea.")
    one.sync()
    two.sync()
    there.blocks["human"] = "Name: Tim\nLikes green tea."
    edit = head(there)
    learn(here, "Here.", "persona")
    together(one, two)
    with pytest.raises(UndoConflict) as clash:
        here.undo(mine)
    assert clash.value.clashes[0].commit == edit
    assert clash.value.clashes[0].line == 7


@pytest.mark.parametrize("first", [True, False])
def test_a_clash_after_a_merge_names_who_deleted_the_line(
    pair: tuple[Agent, Agent], first: bool
) -> None:
    one, two = pair
    here, there = pair if first else pair[::-1]
    learn(one, "Likes black tea.")
    one.blocks["human"] = "Name: Tim\nLikes green tea."
    edit = head(one)
    one.sync()
    two.sync()
    there.blocks["human"] = "Name: Tim"
    gone = head(there)
    learn(here, "Here.", "persona")
    together(one, two)
    with pytest.raises(UndoConflict) as clash:
        here.undo(edit)
    assert clash.value.clashes[0].commit == gone


@pytest.mark.parametrize("first", [True, False])
def test_a_note_that_the_other_machine_renamed_is_followed(
    pair: tuple[Agent, Agent], first: bool
) -> None:
    one, two = pair
    here, there = pair if first else pair[::-1]
    path = one.notes.add("Tim likes tea.").path
    made = head(one)
    one.sync()
    two.sync()
    git(there, "mv", path, "archival/r.md")
    there.adopt()
    learn(here, "Here.")
    together(one, two)
    assert here.undo(made).paths == ("archival/r.md",)
    assert here.undo().paths == ("archival/r.md",)
    one.sync()
    two.sync()
    one.sync()
    with (there.root / "archival/r.md").open("a") as file:
        file.write("Black tea.\n")
    line = there.adopt()[0].commit
    git(there, "mv", "archival/r.md", "archival/s.md")
    there.adopt()
    learn(here, "Here a third time.")
    together(one, two)
    assert here.undo(line).lines == ("-Black tea.",)
    assert here.undo(made).paths == ("archival/s.md",)
    assert not list(here.notes)


def test_a_merge_that_was_settled_is_said_to_be_passed_over(pair: tuple[Agent, Agent]) -> None:
    one, two = pair
    both = learn(one, "Lives in Ghent.")
    one.sync()
    two.sync()
    one.blocks["human"] = "Name: Tim\nLives in Berlin."
    two.blocks["human"] = "Name: Tim\nLives in Paris."
    learn(two, "Two.", "persona")
    together(one, two)
    merge = head(one)
    assert "In conflict" in one.blocks["human"].text
    done = one.undo()
    assert done.lines == ("-Two.",)
    (told,) = done.told
    assert told.startswith(f"Passed over {merge[:7]} (")
    assert told.endswith(f"core/human.md had to be settled: fsagent show {one.root} {merge[:7]}")
    assert not one.undo().told  # the merge is older than the undo, which is the newest
    with pytest.raises(StoreError, match="is a merge"):
        one.undo(merge)
    with pytest.raises(UndoConflict):
        one.undo(both)


def test_a_merge_by_hand_that_changed_more_is_said_to_be_passed_over(sarah: Agent) -> None:
    first = head(sarah)
    learn(sarah, "Main.")
    git(sarah, "switch", "-q", "-c", "side", first)
    learn(sarah, "Side.", "persona")
    git(sarah, "switch", "-q", "main")
    git(sarah, "merge", "-q", "--no-commit", "side")
    (sarah.root / "core/new.md").write_text("Somebody else.\n")
    git(sarah, "add", ".")
    git(sarah, "commit", "-qm", "an evil one")
    assert "core/new.md had to be settled" in "".join(step_back(sarah.store).told)
    assert step_back(sarah.store).told == ()  # it was said


def woven(agent: Agent, dice: random.Random, commits: int) -> None:
    """A history with branches and merges everywhere, made by machines whose clocks are wrong."""
    begin = head(agent)
    text = []
    for number in range(1, commits):
        older = dice.choices(range(max(0, number - 8), number), k=dice.choice([1, 1, 1, 2, 3]))
        parents = list(dict.fromkeys(f":{one}" if one else begin for one in older))
        when = 1_790_000_000 + number * 60 + dice.randrange(-900, 900)
        message = f"commit {number}"
        text.append(
            f"commit refs/heads/woven\nmark :{number}\ncommitter Tim <tim@example.org> {when} +0000\n"
            f"data {len(message)}\n{message}\nfrom {parents[0]}\n"
            + "".join(f"merge {parent}\n" for parent in parents[1:])
            + f"M 100644 inline core/{number % 5}.md\ndata {len(message)}\n{message}\n\n"
        )
    command = ["git", "-C", str(agent.root), "fast-import", "--quiet", "--force"]
    subprocess.run(command, input="".join(text).encode(), check=True)


@pytest.mark.parametrize("seed", range(5))
def test_each_commit_comes_before_its_parents_and_is_reached(sarah: Agent, seed: int) -> None:
    woven(sarah, random.Random(seed), 150)
    repo = sarah.store.repo
    tip = git(sarah, "rev-parse", "woven").strip()
    found = list(walk.history(repo, tip))
    names = [entry.commit.commit for entry in found]
    assert sorted(names) == sorted(git(sarah, "rev-list", "woven").split())
    place = {name: at for at, name in enumerate(names)}
    assert all(place[e.commit.commit] < place[p] for e in found for p in e.parents)
    parents = {entry.commit.commit: entry.parents for entry in found}
    for name in names[::7]:
        left = walk.crossings(repo, name, tip)
        line = [tip]
        while line[-1] != name:
            line.append(dict(left).get(line[-1]) or parents[line[-1]][0])
        steps = {one: repo.changes(before, one) for one, before in itertools.pairwise(line)}
        wanted = {one: changes for one, changes in steps.items() if changes}
        met = {e.commit.commit: [*e.changes] for e in walk.along(repo, tip, ["core"], left)}
        assert dict(itertools.islice(met.items(), len(wanted))) == wanted


def test_a_long_history_is_not_read_for_its_newest_commit(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        learn(sarah, f"Line {number}.")
    git(sarah, "switch", "-q", "-c", "side", "HEAD~2")
    mine = learn(sarah, "Side.", "persona")
    git(sarah, "switch", "-q", "main")
    git(sarah, "merge", "-q", "--no-edit", "side")
    read: list[str] = []
    real = walk.log

    def log(*arguments: object) -> Iterator[walk.Entry]:
        for entry in real(*arguments):  # type: ignore[arg-type]
            read.append(entry.commit.subject)
            yield entry

    monkeypatch.setattr(walk, "log", log)
    assert mine in [entry.commit.commit for entry in newest(sarah.store, 3)]
    assert len(read) == 4  # the merge, and both sides of it


def test_a_clash_names_who_wrote_the_words_under_an_earlier_name(
    pair: tuple[Agent, Agent],
) -> None:
    """And not who renamed the file on another machine, and merged them there."""
    one, two = pair
    note = one.notes.add("The boat lies in Ghent.\nBerth nine.")
    made = head(one)
    one.sync()
    two.sync()
    path = one.root / note.path
    path.write_text(path.read_text().replace("nine", "ten"))
    one.adopt()
    wrote = head(one)
    (two.root / note.path).rename(two.root / "archival/boat.md")
    together(one, two)
    with pytest.raises(UndoConflict) as conflict:
        two.undo(made)
    assert [(one.path, one.commit) for one in conflict.value.clashes] == [
        ("archival/boat.md", wrote)
    ]
