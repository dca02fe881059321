"""The agent as it was: read, searched and talked to, and never changed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError

from conftest import FixedClock, git, script
from test_cli import Shell, plain, shell, tool

__all__ = ["shell"]


@pytest.fixture
def moved(make: Callable[..., Agent]) -> Agent:
    """An agent whose user lived in Ghent, and two days later in Utrecht."""
    agent = make(
        [
            call("core_memory_append", label="human", content="Lives in Ghent."),
            call("archival_memory_insert", content="The canals of Ghent are old.", tags=["ghent"]),
        ],
        "Noted.",
        call("core_memory_replace", label="human", old_content="Ghent", new_content="Utrecht"),
        "Moved.",
    )
    agent.chat("I live in Ghent.")
    agent.store.clock.move(days=2)  # type: ignore[attr-defined]
    agent.chat("I moved to Utrecht.")
    return agent


def test_memory_and_recall_are_those_of_then(moved: Agent) -> None:
    past = moved.at("2026-11-21")
    assert past.blocks["human"].text == "Name: Tim\nLives in Ghent."
    assert [note.text for note in past.notes] == ["The canals of Ghent are old."]
    assert [r.content for r in past.store.newest()][:1] == ["Noted."]
    assert past.log(limit=1)[0].subject == "turn: I live in Ghent."
    assert past.why("human:7")[0].text == "Lives in Ghent."
    first = moved.at(moved.log()[-1].commit)
    assert first.blocks["human"].text == "Name: Tim"
    assert len(first.notes) == 0
    assert list(first.store.newest()) == []
    assert first.store.system() == moved.store.system() != ""
    assert moved.blocks["human"].text == "Name: Tim\nLives in Utrecht."


def test_a_day_stays_as_it_was_here_when_another_place_is_taken_in(
    make: Callable[..., Agent], tmp_path: Path
) -> None:
    """Two machines learn by turns for a week, and meet then: no day is that of the other one."""
    one = make()
    git(tmp_path, "init", "-q", "--bare", "place.git")
    one.sync(str(tmp_path / "place.git"))
    two = Agent.clone(str(tmp_path / "place.git"), tmp_path / "two")
    start = datetime.now(UTC).replace(hour=12)  # when git cloned it is not ours to say
    clock = FixedClock()
    one.store.clock = two.store.clock = clock
    for day, (agent, line) in enumerate(
        [(one, "Likes tea."), (two, "Has a dog."), (one, "Owns a boat."), (two, "Has a cat.")], 1
    ):
        clock.time = start + timedelta(days=day)
        agent.blocks["human"] = f"{agent.blocks['human'].text}\n{line}"
    days = [str((start + timedelta(days=day)).date()) for day in range(1, 5)]

    def seen(agent: Agent) -> list[str]:
        return [agent.at(day).blocks["human"].text for day in days]

    before = seen(one), seen(two)
    clock.time = start + timedelta(days=6)
    one.sync()
    two.sync()
    one.sync()
    assert (seen(one), seen(two)) == before
    assert "cat" in one.blocks["human"].text
    assert "boat" in two.blocks["human"].text
    past = Agent.open(one.root).at(days[2])
    (warning,) = past.store.warnings
    dog = git(two, "log", "-n1", "--format=%H", "-SHas a dog.", "--first-parent", "--", "core")
    assert f"had is {dog[:7]}." in warning
    assert f"here is {(past.store.rev or '')[:7]};" in warning
    assert f"On {days[2]} this memory was in two places" in warning
    # from before its own beginning, a clone shows one side, and never both by turns
    shutil.rmtree(two.root / ".git/logs")
    assert "tea" not in "".join(seen(two))
    two.close()


def test_the_context_is_what_the_model_was_sent(moved: Agent) -> None:
    turn = moved.log(limit=1)[0]
    client = script(moved, "Fine.")
    moved.chat("How are you?")
    sent = client.prompts[0].messages
    past = moved.at(turn.commit)
    assert past.context().prompt.messages == sent[:-1]


def test_search_knows_what_was_there_and_no_more(moved: Agent) -> None:
    assert moved.search("Utrecht", kinds=("block",)).hits  # the files of the index follow HEAD
    for _ in range(2):
        past = moved.at("2026-11-21")
        answer = past.search("Utrecht")
        assert answer.hits == ()
        assert [word.lower() for word in answer.unknown] == ["utrecht"]
        assert answer.commit == past.store.rev
        assert {hit.doc.kind for hit in past.search("Ghent").hits} == {"block", "note", "record"}
        past.close()
    assert moved.search("Utrecht", kinds=("block",)).commit == moved.store.rev
    shutil.rmtree(moved.environment.cache_dir)  # and without any files
    assert moved.at("2026-11-21").search("Utrecht").hits == ()


def test_search_at_any_commit_is_that_of_a_fresh_index(make: Callable[..., Agent]) -> None:
    dice = random.Random(3)
    agent = make()
    words = "tea cat ghent boat rain moon".split()
    commits = []
    for _ in range(25):
        script(
            agent,
            call("archival_memory_insert", content=" ".join(dice.sample(words, 3))),
            call("memory_rethink", label="human", new_memory=" ".join(dice.sample(words, 2))),
            " ".join(dice.sample(words, 2)),
        )
        commits.append(agent.chat(" ".join(dice.sample(words, 2))).commits[-1])
        agent.search("tea")
    for commit in dice.sample(commits, 6):
        git(agent, "checkout", "-q", commit)
        fresh = Agent.open(agent.root)
        expected = [fresh.search(word, limit=100).hits for word in words]
        fresh.close()
        git(agent, "checkout", "-q", "main")
        past = agent.at(commit)
        assert [past.search(word, limit=100).hits for word in words] == expected
        past.close()


def test_talking_to_the_past_changes_nothing(moved: Agent) -> None:
    before = git(moved, "rev-parse", "HEAD"), git(moved, "status", "--short")
    files = {
        p: p.read_bytes() for p in moved.root.rglob("*") if p.is_file() and ".git" not in p.parts
    }
    script(
        moved,
        "In Ghent.",
        call("core_memory_append", label="human", content="x"),
        call("conversation_search", query="where do I live now"),
        "I cannot.",
    )
    past = moved.at("2026-11-21")
    assert past.chat("Where do I live now?").reply == "In Ghent."
    turn = past.chat("Keep x.")
    assert turn.commits == ()
    assert turn.tool_calls[0].status == "error"
    assert "as it was at" in turn.tool_calls[0].text
    assert "Where do I live now?" in turn.tool_calls[1].text  # it remembers what was said to it
    assert "Where do I live now?" in past.context().render()
    with pytest.raises(StoreError, match="which is read and not changed"):
        past.blocks["human"] = "x"
    assert before == (git(moved, "rev-parse", "HEAD"), git(moved, "status", "--short"))
    assert files == {
        p: p.read_bytes() for p in moved.root.rglob("*") if p.is_file() and ".git" not in p.parts
    }
    past.close()
    assert all("Keep" not in record.content for record in moved.store.newest())


def test_on_the_terminal(shell: Shell) -> None:
    shell.script(
        tool("core_memory_append", label="human", content="Lives in Ghent."),
        "Noted.",
        tool("core_memory_replace", label="human", old_content="Ghent", new_content="Utrecht"),
        "Moved.",
        "In Ghent.",
    )
    shell.run("chat", "sarah", "I live in Ghent.")
    turn = shell.json("log", "sarah", "--turns")[0]["turn"]
    shell.run("chat", "sarah", "I moved to Utrecht.")
    assert shell.run("show", "sarah", "human", "--at", turn)[0] == "Name: Tim\nLives in Ghent.\n"
    assert json.loads(shell.run("show", "sarah", "--at", turn, "--json")[0])["human"]["text"] == (
        "Name: Tim\nLives in Ghent."
    )
    out, _ = shell.run("search", "sarah", "Utrecht", "--at", turn)
    assert out == "Nothing found: no memory holds the word Utrecht.\n"
    assert "Lives in Ghent." in shell.run("context", "sarah", "--at", turn)[0]
    out, err = shell.run("chat", "sarah", "--at", turn, "Where do I live?")
    assert out == "In Ghent.\n"
    assert plain(err) == "sarah as of COMMIT · model scripted:script.json (FSAGENT_MODEL)\n"
    assert git(shell.home, "status", "--short") == ""
    assert len(shell.json("log", "sarah", "--turns")) == 3
    assert shell.fails("show", "sarah", "--at", "1990-01-01") == (
        "Error: sarah was not there yet on 1990-01-01."
    )


def test_an_empty_moment_is_not_the_present(shell: Shell) -> None:
    """As of a variable in a script that is not set."""
    shell.script("I would have been written down.")
    for words in (("chat", "sarah", "Hello"), ("show", "sarah"), ("search", "sarah", "Tim")):
        assert "There is no commit, change, turn or date ''" in shell.fails(*words, "--at", "")
    assert git(shell.home, "rev-list", "--count", "HEAD").strip() == "1"


def test_nothing_to_say_makes_no_fork(shell: Shell) -> None:
    assert "no text to say" in shell.fails("chat", "sarah", "--fork", "new", status=2)
    assert not (shell.folder / "new").exists()
