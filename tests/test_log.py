"""The log in turns, tools and people; what a commit, a change or a turn did; revisions by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from fsagent import Agent, ScriptedClient, ToolContext, call
from fsagent import tool as agent_tool
from fsagent.clock import id_of, stamp
from fsagent.errors import StoreError
from fsagent.history.log import happenings
from fsagent.history.name import commit_of
from fsagent.records import Commit

from conftest import git, script
from test_cli import Shell, plain, shell, tool
from test_undo_merged import pair

__all__ = ["pair", "shell"]


@pytest.fixture
def utrecht(shell: Shell) -> Shell:
    shell.script(
        [
            tool("core_memory_append", label="human", content="Lives in Utrecht."),
            tool("core_memory_append", label="human", content="Has a cat."),
        ],
        "Noted.",
        "Hello.",
    )
    shell.run("chat", "sarah", "I live in Utrecht. I have a cat.")
    shell.run("edit", "sarah", "human", "--text", "Name: Tim\nLives in Utrecht.\nHas two cats.")
    shell.run("chat", "sarah", "Hello!")
    return shell


def test_turns(utrecht: Shell) -> None:
    out, _ = utrecht.run("log", "sarah", "--turns")
    assert plain(out) == (
        "COMMIT  TIME  sarah            “Hello!”\n"
        "COMMIT  TIME  Tim              edit: core/human.md\n"
        "COMMIT  TIME  sarah            “I live in Utrecht. I have a cat.”  core_memory_append ×2\n"
        "COMMIT  TIME  Tim              init: sarah\n"
    )
    # Where the commit of recall is left out, recall itself says what was said.
    out, _ = utrecht.run("log", "sarah", "human", "--turns", "-n2")
    assert plain(out) == (
        "COMMIT  TIME  Tim              edit: core/human.md\n"
        "COMMIT  TIME  sarah            “I live in Utrecht. I have a cat.”  core_memory_append ×2\n"
    )
    found = utrecht.json("log", "sarah", "--turns")
    assert [len(one["commits"]) for one in found] == [1, 1, 3, 1]
    assert found[2]["said"] == "I live in Utrecht. I have a cat."
    assert found[2]["tools"] == {"core_memory_append": 2}
    assert found[3] | {"commits": []} == {
        "turn": None, "said": None, "author": "Tim", "tools": {}, "commits": [],
    }  # fmt: skip


def test_a_turn_is_one_line_whatever_was_committed_in_its_midst(
    pair: tuple[Agent, Agent],
) -> None:
    @agent_tool
    def look_up(ctx: ToolContext) -> str:
        """Look it up, while a person writes to the files."""
        (agent.root / "core/persona.md").write_text("I am Sarah.\n")
        with closing(Agent.open(agent.root, clock=agent.store.clock)) as other:
            other.notes.add("By the way.")
        return "Found."

    client = ScriptedClient([])
    agent = Agent.open(pair[0].root, client, tools=[look_up], clock=pair[0].store.clock)
    script(
        agent,
        call("core_memory_append", label="human", content="Lives in Utrecht."),
        [call("look_up"), call("core_memory_append", label="human", content="Has a cat.")],
        "Noted.",
        "Hello.",
    )
    agent.chat("I live in Utrecht. I have a cat.")
    agent.chat("Hello!")
    kinds = ["note" if "note" in one.subject else one.tool or "recall" for one in agent.log()]
    assert kinds.index("note") > kinds.index("core_memory_append")  # it is in the midst
    log = list(agent.turns())
    assert sum(len(one.commits) for one in log) == len(agent.log())
    turns = [one for one in log if one.turn]
    assert [one.said for one in turns] == ["Hello!", "I live in Utrecht. I have a cat."]
    assert turns[1].tools == {"core_memory_append": 2}
    assert len(turns[1].commits) == 3


def test_turns_of_two_machines_at_one_time(make: Callable[..., Agent]) -> None:
    """Each is told once, and a long log begins to appear at once."""
    store = make().store
    begin = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    read = []

    def commits() -> Iterator[Commit]:
        for hour in range(1000):
            one, two = (begin - timedelta(hours=hour, seconds=n) for n in (30, 40))
            turns = (id_of(one, "one"), id_of(two, "two"), None)
            for number in range(12):
                read.append(number)
                ts = stamp(begin - timedelta(hours=hour, seconds=2 * number))
                turn = turns[number % 3]
                yield Commit(f"{hour}-{number}", ts, "sarah", "", "turn: Hi!", turn=turn)

    found = happenings(store, commits())
    first = next(found)
    assert [one.commit for one in first.commits] == ["0-0", "0-3", "0-6", "0-9"]
    assert len(read) == 13
    rest = list(found)
    assert [one.commits[0].commit for one in rest[:4]] == ["0-1", "0-2", "0-5", "0-8"]
    assert len({one.turn for one in rest if one.turn}) == sum(1 for one in rest if one.turn) == 1999
    assert sum(len(one.commits) for one in rest) == 12_000 - 4
    # An id that tells no time: what follows it directly.
    odd = [
        Commit(str(n), stamp(begin), "sarah", "", "turn: Hi!", turn=t)
        for n, t in enumerate("aabba")
    ]
    assert [len(one.commits) for one in happenings(store, odd)] == [2, 2, 1]


def test_show_a_commit_a_change_and_a_turn(utrecht: Shell) -> None:
    log = utrecht.json("log", "sarah")
    commit = log[-3]
    expected = (
        "commit   COMMIT  TIME  human: + Lives in Utrecht.\n"
        "by       sarah, with core_memory_append, model scripted:script.json\n"
        f"change   {commit['change']}\n"
        f"turn     {commit['turn']}\n"
    ).replace("Lives in Utrecht", "Has a cat")
    out, _ = utrecht.run("show", "sarah", commit["commit"])
    assert plain(out).startswith(
        f"{expected}because  “I live in Utrecht. I have a cat.”\n\ndiff --git a/core/human.md"
    )
    assert out.endswith(" Name: Tim\n Lives in Utrecht.\n+Has a cat.\n")
    for name in (commit["commit"][:7], commit["change"], "HEAD~3"):
        assert utrecht.run("show", "sarah", name)[0] == out
    turn, _ = utrecht.run("show", "sarah", commit["turn"])
    assert plain(turn).startswith(
        "user       I live in Utrecht. I have a cat.\n"
        'assistant  → core_memory_append({"label": "human", "content": "Lives in Utrecht."})\n'
    )
    assert plain(turn).count("\ncommit ") == 2
    found = utrecht.json("show", "sarah", commit["turn"])
    assert [one["paths"] for one in found["commits"]][:2] == [["core/human.md"]] * 2
    assert found["message"]["content"] == "I live in Utrecht. I have a cat."
    assert "+Has a cat.\n" in found["commits"][1]["patch"]
    # What has a label or an id keeps its meaning.
    git(utrecht.home, "branch", "human")
    assert (
        utrecht.run("show", "sarah", "human")[0] == "Name: Tim\nLives in Utrecht.\nHas two cats.\n"
    )
    assert "has no block, note, commit or turn 'nobody'" in utrecht.fails("show", "sarah", "nobody")


def test_diff_by_change_turn_and_date(utrecht: Shell) -> None:
    log = utrecht.json("log", "sarah", "human")
    first = utrecht.json("log", "sarah")[-1]["commit"]
    found = utrecht.json("diff", "sarah", f"{first}..{log[0]['change']}")
    assert found["revisions"] == [first, log[0]["commit"]]
    assert " Name: Tim\n+Lives in Utrecht.\n+Has two cats.\n" in found["patch"]
    out, _ = utrecht.run("diff", "sarah", f"{log[1]['turn']}..")
    assert "-Has a cat.\n+Has two cats.\n" in out
    assert "There is no commit, change, turn or date 'x'" in utrecht.fails("diff", "sarah", "x")


def test_a_date_is_the_last_commit_up_to_its_end(make: Callable[..., Agent]) -> None:
    agent = make("One.", "Two.")
    agent.store.clock.move(days=1)  # type: ignore[attr-defined]
    one = agent.chat("1").commits[-1]
    agent.store.clock.move(days=2)  # type: ignore[attr-defined]
    two = agent.chat("2").commits[-1]
    store = agent.store
    assert commit_of(store, "2026-11-22") == commit_of(store, "2026-11-23") == one
    assert commit_of(store, "2026-11-24") == commit_of(store, "2027-01-01") == two
    assert commit_of(store, "2026-11-24T09:00:00Z") == one
    with pytest.raises(StoreError, match=r"^sarah was not there yet on 2026-11-20\.$"):
        commit_of(store, "2026-11-20")


def test_a_message_may_hold_any_character(make: Callable[..., Agent]) -> None:
    agent = make(call("core_memory_append", label="human", content="x"), "Ok.")
    git(
        agent,
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "odd \x1e one\n\nbody \x1f \x1e\n\nTurn: t\x1e",
    )
    assert [commit.subject for commit in agent.log()] == ["odd \x1e one", "init: sarah"]
    assert agent.log()[1].paths


def test_a_long_log_may_be_left(make: Callable[..., Agent]) -> None:
    agent = make()
    for number in range(5):
        agent.blocks["human"] = f"{number}"
    lines = agent.store.repo.log_lines()
    assert "edit: core/human.md" in next(lines)
    lines.close()  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="git log"):
        list(agent.store.repo.log(rev="nowhere"))


def test_a_time_that_is_printed_is_the_same_moment_when_it_is_read(
    utrecht: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the zone of the machine is: that of the agent counts."""
    monkeypatch.setenv("TZ", "America/New_York")
    config = utrecht.home / "agent.yaml"
    config.write_text(f"{config.read_text()}timezone: Asia/Tokyo\n")
    git(utrecht.home, "add", "agent.yaml")
    moment = "2026-03-03T23:45:40+00:00"
    monkeypatch.setenv("GIT_COMMITTER_DATE", moment)
    (utrecht.home / "core/human.md").write_text("Likes tea.\n")
    git(utrecht.home, "commit", "-qam", "tea")
    git(utrecht.home, "branch", "tea")
    shown = "2026-03-04 08:45"
    for command in (("log", "-n1"), ("log", "-n1", "--turns"), ("show", "HEAD"), ("why", "tea")):
        assert shown in utrecht.run(command[0], "sarah", *command[1:])[0]
    assert shown in utrecht.run("status", "sarah")[0]
    assert shown in utrecht.run("undo", "sarah")[0]
    assert shown in utrecht.run("bisect", "sarah", "likes", "tea")[0]
    assert utrecht.run("show", "sarah", "human", "--at", shown)[0] == "Likes tea.\n"
    assert "not there yet" in utrecht.fails("show", "sarah", "human", "--at", "2026-03-04 08:44")


def test_a_log_needs_no_agent_yaml_that_can_be_read(utrecht: Shell) -> None:
    (utrecht.home / "agent.yaml").write_text("timezone: [")
    assert "init: sarah" in utrecht.run("log", "sarah")[0]


def test_the_log_of_what_is_gone_and_of_what_never_was(utrecht: Shell) -> None:
    """A label means its block, whether that is still there or not."""
    before = utrecht.json("log", "sarah", "human")
    git(utrecht.home, "rm", "-q", "core/human.md")
    git(utrecht.home, "commit", "-qm", "gone")
    for name in ("human", "core/human.md"):
        assert utrecht.json("log", "sarah", name)[1:] == before
        assert "gone\n" in utrecht.run("log", "sarah", name, "--turns")[0]
        assert "gone\n" in utrecht.run("log", "sarah", name)[0]
    agent = Agent.open(utrecht.home)
    assert [one.commit for one in agent.log("human")[1:]] == [one["commit"] for one in before]
    assert agent.at("HEAD~1").log("human") == agent.log("human")[1:]
    agent.close()
    problem = "There never was a file or a block 'humen' in sarah"
    assert problem in utrecht.fails("log", "sarah", "humen")
