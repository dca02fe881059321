"""Folds, and what else befalls recall: syncs, forks, secrets, a check."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fsagent import Agent, ToolContext, call, tool
from fsagent.check import check
from fsagent.errors import UndoConflict
from fsagent.fold import EXTRACT
from fsagent.formats import format_record
from fsagent.llm import encoded
from fsagent.records import Folded
from fsagent.view import code, uncovered

from conftest import FixedClock, git
from test_fold import FILLER, Later, Talk, covered, everything, summed
from test_stats import configure
from test_sync import Machines, bare, machines

__all__ = ["bare", "machines"]

Make = Callable[..., Agent]


@pytest.fixture
def both(machines: Machines) -> tuple[Talk, Talk]:
    """One agent on two machines, which have spoken once before they parted."""
    laptop, desktop = machines()
    laptop.store.clock, desktop.store.clock = FixedClock(), Later()
    talks = Talk(laptop), Talk(desktop)
    talks[0].say("Before we part.")
    laptop.sync()
    desktop.sync()
    return talks


def step(*talks: Talk) -> None:
    """Sync until all have the same."""
    for talk in (*talks, *talks):
        talk.agent.sync()
    heads = {talk.agent.store.repo.head() for talk in talks}
    assert len(heads) == 1


def in_view(agent: Agent, thread: str = "main") -> list[str]:
    return [record.id for record in agent.context(thread).records]


def whole(agent: Agent) -> None:
    """What is read from the newest segments is what all of recall says; and no record is lost."""
    for thread in agent.store.threads():
        records = list(agent.store.newest(thread))[::-1]
        view = set(in_view(agent, thread))
        assert view == {record.id for record in uncovered(records)}
        for record in records:
            assert record.id in view or code(record.id) in covered(agent) or record.covers
    assert [f.text for f in check(agent).findings if f.severity == "problem"] == []


def test_what_the_other_machine_said_in_a_folded_range_is_folded_next(
    both: tuple[Talk, Talk],
) -> None:
    laptop, desktop = both
    desktop.say("Hello from the desktop.")
    laptop.until_fold()
    step(laptop, desktop)
    for talk in both:
        assert "Hello from the desktop." in str(talk.agent.context().prompt.messages[1:])
        whole(talk.agent)
    assert in_view(laptop.agent) == in_view(desktop.agent)
    laptop.until_fold()
    assert "Hello from the desktop." in str(laptop.summaries[-1].messages)
    whole(laptop.agent)


def test_two_that_folded_apart_have_both_summaries_until_the_next_fold(
    both: tuple[Talk, Talk],
) -> None:
    for talk, name in zip(both, ("Berta", "Carla"), strict=True):
        talk.write = summed(f"100 200 300 Anna and {name} were spoken of.")
        talk.until_fold()
    step(*both)
    first, second = (talk.agent.context().prompt.messages for talk in both)
    assert first == second
    assert first[0]["content"].count("<summary>\n") == 2
    laptop = both[0]
    laptop.write = summed()
    laptop.until_fold()
    assert "Berta" in str(laptop.summaries[-1].messages)
    assert "Carla" in str(laptop.summaries[-1].messages)
    step(*both)
    for talk in both:
        whole(talk.agent)
        assert talk.agent.context().prompt.messages[0]["content"].count("<summary>\n") == 1


def test_a_fold_that_one_takes_back_while_the_other_builds_on_it(both: tuple[Talk, Talk]) -> None:
    laptop, desktop = both
    folded, _ = laptop.until_fold()
    step(*both)
    laptop.agent.undo(folded.commit)
    desktop.until_fold()
    step(*both)
    for talk in both:
        whole(talk.agent)
    assert in_view(laptop.agent) == in_view(desktop.agent)
    assert folded.summary.id not in in_view(laptop.agent)  # the later one stands
    with pytest.raises(UndoConflict):
        laptop.agent.undo(folded.commit)


def test_a_fold_that_both_take_back(both: tuple[Talk, Talk]) -> None:
    folded, _ = both[0].until_fold()
    step(*both)
    for talk in both:
        talk.agent.undo(folded.commit)
    step(*both)
    for talk in both:
        whole(talk.agent)
        assert folded.summary.id not in in_view(talk.agent)
        assert talk.say("And now?")
        assert max(map(talk.total, talk.prompts)) <= talk.agent.window.limit


@pytest.mark.parametrize("seed", range(2))
def test_two_machines_at_random(both: tuple[Talk, Talk], seed: int) -> None:
    dice = random.Random(seed)
    for number in range(60):
        talk = dice.choice(both)
        act = dice.random()
        if act < 0.75:
            thread = "work" if act < 0.2 else "main"
            talk.agent.store.clock.move(minutes=7)  # type: ignore[attr-defined]
            text = f"Word {number} of Anna. {FILLER * dice.choice([1, 3, 6])}"
            list(talk.agent.stream(text, thread=thread))
        elif act < 0.85:
            folds = [one for one in talk.agent.log(limit=30) if one.subject.startswith("fold: ")]
            if folds:
                with contextlib.suppress(UndoConflict):
                    talk.agent.undo(folds[0])
        else:
            step(*both)
            for each in both:
                whole(each.agent)
            assert in_view(both[0].agent) == in_view(both[1].agent)
    step(*both)
    for talk in both:
        whole(talk.agent)
        assert max(map(talk.total, talk.prompts)) <= talk.agent.window.limit
    turns = {r.turn for r in everything(both[0].agent) if r.sent}
    for turn in dice.sample(sorted(turns), 25):  # also those that were lived on the other machine
        for prompt in both[0].agent.prompts(turn):
            assert prompt.same


def test_an_import_into_a_folded_range(make: Make, tmp_path: Path) -> None:
    """A newer export holds a message that the older one lacked."""
    lines = [
        {"id": f"m{n}", "role": ("user", "assistant")[n % 2], "content": f"Old word {n} of Anna. {FILLER}"}
        | {"ts": f"2026-05-0{n + 1}T10:00:00Z"}
        for n in range(6)
    ]  # fmt: skip
    path = tmp_path / "old.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines if line["id"] != "m2"))
    talk = Talk(make())
    agent = talk.agent
    agent.import_file(path)
    folded = None
    while not folded:
        agent.store.clock.move(minutes=7)  # type: ignore[attr-defined]
        events = list(agent.stream(f"On, Anna. {FILLER * 3}", thread="import-old"))
        folded = next((one for one in events if isinstance(one, Folded)), None)
    assert folded.summary.covers
    assert folded.summary.covers.thread == folded.summary.thread == "import-old"
    assert "Old word 0" not in str(talk.prompts[-1].messages[1:])
    path.write_text("\n".join(map(json.dumps, lines)))
    assert agent.import_file(path).messages == 1
    assert "Old word 2" in str(agent.context("import-old").prompt.messages[1])
    whole(agent)
    assert agent.fold("import-old")
    assert "Old word 2" in str(talk.summaries[-1].messages)
    whole(agent)
    assert agent.context().records == ()  # of main, of which nothing was said


def test_a_fork_has_the_same_view_and_can_show_old_prompts(make: Make, tmp_path: Path) -> None:
    talk = Talk(make())
    talk.until_fold()
    turn = everything(talk.agent)[-1].turn
    fork = talk.agent.fork(tmp_path / "ada")
    assert in_view(fork) == in_view(talk.agent)
    assert all(prompt.same for prompt in fork.prompts(turn))
    other = Talk(fork)
    other.until_fold()
    whole(fork)
    fork.close()


def test_what_is_masked_is_masked_before_a_prompt_is_made(make: Make) -> None:
    key = "ghp" + "_" + "q7Rk2mZx9Lw4Tn8Vb3Yc6Hd1Jf5Gs0Pa2Ue7"

    @tool
    def login(ctx: ToolContext, token: str) -> str:
        """Log in."""
        return f"You are in with {token}."

    agent = make(tools=[login])
    talk = Talk(agent)
    sent: list[bytes] = []
    agent.client.on_exchange = lambda exchange: sent.append(exchange.request)
    talk.say(f"Log in with {key}.", call("login", token=key), f"I used {key}.")
    talk.say("And?")
    assert len(sent) == 3
    assert not any(key.encode() in one for one in sent)
    prompts = [p for turn in (1, 5) for p in agent.prompts(everything(agent)[turn].turn)]
    assert len(prompts) == 3
    for prompt, request in zip(prompts, sent, strict=True):
        made = {"messages": prompt.context.prompt.messages, "tools": prompt.context.prompt.tools}
        assert encoded(made)[1:-1].encode() in request
        assert prompt.same
    talk.write = summed(f"Message 100, 200, 300 of Anna; Log; the token is {key}.")
    folded, _ = talk.until_fold()
    assert "the token is (GitHub token: not kept)." in folded.summary.content
    assert key not in git(agent, "log", "-p", "--all")


def test_a_check_knows_summaries(make: Make) -> None:
    talk = Talk(make())
    agent = talk.agent
    folded, _ = talk.until_fold()
    undone = agent.undo(folded.commit)
    assert check(agent).findings == ()
    records = everything(agent)
    gone = {records[1].id, records[2].id}
    kept = [record for record in records if record.id not in gone]
    kept = [replace(one, voids="nobody") if one.change == undone.change else one for one in kept]
    kept.append(replace(folded.summary, id="bare", covers=None))
    (path,) = agent.store.segments()
    (agent.root / path).write_text("".join(map(format_record, kept)))
    agent.adopt()
    found = [finding for finding in check(agent).findings if finding.place.startswith(path)]
    assert [finding.text for finding in found] == [
        "It stands for 2 records that are not there.",
        "It takes back the record nobody, which is not there.",
        "It is a summary, and does not say of which records: none is folded away.",
    ]
    assert {finding.severity for finding in found} == {"advice"}


def test_a_summary_is_paid_from_the_budget_too(make: Make) -> None:
    talk = Talk(make())
    agent = talk.agent
    folded, _ = talk.until_fold()
    assert folded.summary.usage  # what it took is in recall, and so in stats and in the day's sum
    assert agent.stats().total.answered >= folded.summary.usage.completion > 0
    assert folded.summary.ms is not None
    configure(agent, "budget: {tokens_per_turn: 3800}\n")
    while not (folds := [one for one in talk.say(f"On. {FILLER}") if isinstance(one, Folded)]):
        pass
    assert "of the 3,800 that agent.yaml allows" in folds[0].problem  # no call was made for it
    assert folds[0].summary.name == EXTRACT
    assert folds[0].summary.usage is None
    assert everything(agent)[-1].role == "assistant"  # and the turn went on


def test_the_past_folds_and_forgets_it(make: Make) -> None:
    talk = Talk(make())
    talk.say("Before.")
    agent = talk.agent
    head, before = git(agent, "rev-parse", "HEAD"), everything(agent)
    past = Talk.__new__(Talk)
    past.__dict__.update(talk.__dict__)
    past.agent = agent.at("HEAD")
    folded, _ = past.until_fold()
    assert folded.commit is None
    assert folded.summary.id in in_view(past.agent)
    assert past.agent.prompts(everything(past.agent)[-1].turn)[0].same_tools
    assert (git(agent, "rev-parse", "HEAD"), everything(agent)) == (head, before)
