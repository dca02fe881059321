"""What a purge does to summaries and to the prompts of the past."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError
from fsagent.history.gap import MARK
from fsagent.records import Record

from conftest import git, script
from test_cli import Shell, plain, shell
from test_fold import Talk, everything, summed

__all__ = ["shell"]

Make = Callable[..., Agent]
CODE = "Sesame 4711 open"


def answers(agent: Agent, text: str) -> list[Record]:
    """The answers of the turn in which a text was said."""
    turn = next(r.turn for r in everything(agent) if r.role == "user" and r.content == text)
    return [r for r in everything(agent) if r.turn == turn and r.sent]


def hashes(agent: Agent) -> set[str]:
    """All hashes of prompts that are anywhere in the history."""
    said = git(agent, "log", "-p", "--all", "--", "recall")
    return set(re.findall(r'"messages": "([^"]*)"', said))


def test_a_prompt_that_held_it_is_shown_with_the_mark(make: Make) -> None:
    agent = make()
    script(agent, "Hi.", "Noted.", "Sure.", "Yes.")
    turns = [agent.chat(text) for text in ("Hello.", f"It is {CODE}.", "Sure?", "Really?")]
    before, *after = [answers(agent, turn.text)[0].sent for turn in turns]
    assert before
    agent.purge(CODE)
    first, *others = [agent.prompts(turn)[0] for turn in turns]
    assert first.same
    assert not first.purged
    for prompt in others:
        assert prompt.purged
        assert not prompt.same
        assert prompt.same_tools
        assert f"It is {MARK}." in str(prompt.context.prompt.messages)
    assert hashes(agent) == {before.messages, MARK}  # no hash is left by which to try texts
    assert {one.messages for one in after if one}.isdisjoint(hashes(agent))
    script(agent, "And on.")
    assert agent.prompts(agent.chat("And now?"))[0].same  # the mark itself is nothing to hide


def test_once_it_is_folded_away_prompts_do_not_hold_it(make: Make) -> None:
    talk = Talk(make())
    talk.write = summed("Anna spoke of 100, 200 and 300, and of Message numbers.")
    talk.say(f"It is {CODE}.")
    talk.until_fold()
    talk.say("What was that?")
    agent = talk.agent
    agent.purge(CODE)
    assert all(one.sent and one.sent.messages == MARK for one in answers(agent, f"It is {MARK}."))
    late = answers(agent, "What was that?")[0]
    assert agent.prompts(late.turn)[0].same
    talk.until_fold()
    assert CODE not in str(talk.summaries[-1].messages)


def test_a_summary_that_holds_it_loses_it_and_still_covers(make: Make) -> None:
    talk = Talk(make())
    talk.write = summed(f"Anna spoke of 100, 200 and 300: {CODE}, Message, Anna.")
    folded, _ = talk.until_fold()
    agent = talk.agent
    view = [record.id for record in agent.context().records]
    agent.purge(CODE)
    (summary,) = [r for r in everything(agent) if r.role == "summary"]
    assert summary.content == f"Anna spoke of 100, 200 and 300: {MARK}, Message, Anna."
    assert summary.covers == folded.summary.covers
    assert [record.id for record in agent.context().records] == view
    agent.purge(summary.id)
    (summary,) = [r for r in everything(agent) if r.role == "summary"]
    assert summary.content == MARK
    assert [record.id for record in agent.context().records] == view
    assert all(one.purged for one in agent.prompts(everything(agent)[-1].turn))
    (commit,) = [one.commit for one in agent.log() if one.subject.startswith("fold: ")]
    agent.undo(commit)
    assert len(agent.context().records) > len(view)
    assert talk.say("What now?")


def test_what_stood_in_a_block_for_a_while(make: Make) -> None:
    agent = make()
    clock = agent.store.clock
    turns = []
    for number in range(4):
        clock.move(minutes=10)  # type: ignore[attr-defined]
        if number == 1:
            agent.blocks["human"] = f"Code: {CODE}"
        if number == 3:
            agent.blocks["human"] = "Nothing."
        script(agent, "Well.")
        clock.move(minutes=10)  # type: ignore[attr-defined]
        turns.append(agent.chat(f"Turn {number}."))
    agent.purge(CODE)
    found = [agent.prompts(turn)[0] for turn in turns]
    assert [one.purged for one in found] == [False, True, True, False]
    assert [one.same for one in found] == [True, False, False, True]
    assert MARK in str(found[1].context.prompt.messages[0])


def test_dates_of_commits_do_not_matter(make: Make) -> None:
    agent = make()
    script(agent, "One.", "Two.", "Three.")
    turns = [agent.chat("Turn 0.")]
    for text, year in [(f"Code: {CODE}", 2035), ("Nothing.", 2001)]:
        (agent.root / "core/human.md").write_text(f"{text}\n")
        git(
            agent,
            "-c",
            f"user.name={year}",
            "commit",
            "-qam",
            "x",
            "--date",
            f"{year}-01-01T00:00Z",
        )
        env = {**os.environ, "GIT_COMMITTER_DATE": f"{year}-01-01T00:00Z"}
        subprocess.run(
            ["git", "commit", "-q", "--amend", "--no-edit"], cwd=agent.root, env=env, check=True
        )
        turns.append(agent.chat("And?"))
    agent.purge(CODE)
    assert [agent.prompts(turn)[0].purged for turn in turns] == [False, True, False]


def test_calls_and_results_count_as_well(make: Make) -> None:
    agent = make()
    script(agent, call("core_memory_append", label="human", content="Tea."), "So.", "Hm.")
    turn = agent.chat("Tea?")
    other = agent.chat("And?")
    (change,) = [one.change for one in agent.log() if one.tool]
    assert change
    agent.purge(change)
    assert [one.purged for one in agent.prompts(turn)] == [False, True]
    assert agent.prompts(other)[0].purged


def test_on_a_commit_that_a_person_made(make: Make) -> None:
    """Only its own id names it, and a purge gives it another one."""
    agent = make()
    script(agent, "One.", call("core_memory_append", label="human", content="Tea."), "So.")
    agent.chat(f"It is {CODE}.")
    (agent.root / "core/persona.md").write_text("A person's own words.\n")
    git(agent, "commit", "-qam", "by hand")
    turn = agent.chat("Whose words are these?")
    sent = answers(agent, turn.text)[0].sent
    assert sent
    assert sent.change == git(agent, "rev-parse", ":/by hand").strip()
    agent.purge(CODE)
    with pytest.raises(StoreError):
        agent.at(sent.change)
    for prompt in agent.prompts(turn):
        assert prompt.purged
        assert "A person's own words." in prompt.context.prompt.messages[0]["content"]
        assert ("Tea." in prompt.context.prompt.messages[0]["content"]) == (
            prompt.answer.content == "So."
        )


def test_a_word_of_the_hash_is_no_part_of_what_is_called(make: Make) -> None:
    agent = make()
    script(agent, "Hi.", "Ho.")
    agent.chat("Hello.")
    sent = answers(agent, "Hello.")[0].sent
    assert sent
    with pytest.raises(StoreError, match="what records are called by"):
        agent.purge(sent.last[-9:], text=True)
    agent.purge(sent.messages, text=True)
    assert sent.messages not in git(agent, "log", "-p", "--all")


def test_on_the_terminal(shell: Shell) -> None:
    shell.script("Noted.", "Yes.")
    shell.run("chat", "sarah", f"It is {CODE}.")
    turn = json.loads(shell.run("chat", "sarah", "Sure?", "--json")[0])["turn"]
    shell.run("purge", "sarah", CODE, "--yes")
    out, err = shell.run("context", "sarah", "--turn", turn)
    assert f"It is {MARK}." in out
    assert plain(err).endswith(
        ": something that stood in it was purged since, and a mark stands there.\n"
    )
    found = shell.json("context", "sarah", "--turn", turn)
    assert (found["same"], found["purged"]) == (False, True)
