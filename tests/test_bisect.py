"""When something came to be: by a text, by what a search finds, by what the agent answers."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Callable
from math import ceil, log2

import pytest
from fsagent import Agent, ScriptedClient, call
from fsagent.errors import SearchError, StoreError
from fsagent.llm import Completion, Prompt

from conftest import git, script
from test_cli import Shell, plain, shell, tool
from test_undo_merged import head, learn, pair, together

__all__ = ["pair", "shell"]


@pytest.fixture
def diary(make: Callable[..., Agent]) -> Agent:
    """Ten turns, each with a line of its own in the block human."""
    agent = make()
    for number in range(10):
        script(agent, call("core_memory_append", label="human", content=f'Fact "{number}".'), "Ok.")
        agent.chat(f"Learn the fact {number}.")
    return agent


def test_a_text(diary: Agent) -> None:
    commits = diary.log()
    for number in random.Random(1).sample(range(10), 4):
        found = diary.bisect(f'fact "{number}".')
        assert found.commit.subject == f'human: + Fact "{number}".'
        assert found.message
        assert found.message.content == f"Learn the fact {number}."
        assert found.steps <= ceil(log2(len(commits))) + 1
        at = [commit.commit for commit in commits].index(found.commit.commit)
        assert found.before == commits[at + 1].commit
    assert diary.bisect("Learn the fact 3.").commit.subject == "turn: Learn the fact 3."
    assert diary.bisect("Name: Tim").before is None
    with pytest.raises(StoreError, match="'Fact 10' is not there now"):
        diary.bisect("Fact 10")
    with pytest.raises(StoreError, match="one line"):
        diary.bisect("a\nb")
    assert diary.at(commits[-1].commit).bisect("Name: Tim").steps == 1
    with pytest.raises(StoreError, match="is not there now"):
        diary.at(commits[-1].commit).bisect('Fact "1".')


def test_a_text_in_any_case_and_with_any_sign(sarah: Agent) -> None:
    sarah.blocks["human"] = 'Name: Tim\nSagt "Österreich" (a+b)? [x] \\d $1\n'
    sarah.notes.add("later")
    first = sarah.log()[1].commit
    for text in ('sagt "österreich" (A+B)?', "ÖSTERREICH", "[X]", "\\d $", 'T "Ö'):
        assert sarah.bisect(text).commit.commit == first
    for text in ("Osterreich", "a+c", "sagt.*ö", "(a+b)?]"):
        with pytest.raises(StoreError, match="is not there now"):
            sarah.bisect(text)
    script(sarah, "Ok.")
    sarah.chat('Über "Äpfel"!')
    assert sarah.bisect('über "äpfel"!').commit.subject.startswith("turn: ")


def test_a_thousand_commits(make: Callable[..., Agent]) -> None:
    import subprocess

    agent = make()
    parts = []
    for number in range(1000):
        body = f"Before {number}.\n" + ("It is here.\n" if number >= 617 else "")
        parts.append(
            f"commit refs/heads/main\ncommitter f <f@x> {1_700_000_000 + number} +0000\n"
            f"data {len(str(number))}\n{number}\n"
            + ("from refs/heads/main^0\n" if not number else "")
            + f"M 100644 inline core/human.md\ndata {len(body)}\n{body}\n"
        )
    subprocess.run(
        ["git", "-C", str(agent.root), "fast-import", "--quiet"],
        input="".join(parts).encode(),
        check=True,
    )
    git(agent, "reset", "-q", "--hard")
    found = agent.bisect("it is HERE")
    assert (found.commit.subject, found.message) == ("617", None)
    assert found.steps <= 12


def test_beyond_a_merge(pair: tuple[Agent, Agent]) -> None:
    """What another side of a merge brought is found where it was learned, and not at the merge."""
    one, two = pair
    for number in range(4):
        learn(one, f"Shared {number}.")
    one.sync()
    two.sync()
    script(one, call("core_memory_append", label="human", content="Has a cat."), "Ok.")
    cat = one.chat("I have a cat.").commits[0]
    learn(one, "Has a dog.")
    learn(two, "Likes tea.")
    together(one, two)
    assert cat not in git(one, "rev-list", "--first-parent", "HEAD").split()
    for agent in pair:
        found = agent.bisect("Has a cat.")
        assert found.commit.commit == cat
        assert found.before == git(one, "rev-parse", f"{cat}^").strip()
        assert found.message
        assert found.message.content == "I have a cat."
        assert found.steps < 10
    # A merge that lies on the other side of a merge, and a second side of that one.
    learn(two, "Likes milk.")
    boat = learn(one, "Owns a boat.")
    together(one, two)
    git(one, "branch", "other", f"{boat}^")
    git(one, "checkout", "-q", "other")
    learn(one, "Sings.")
    git(one, "merge", "-q", "-s", "ours", "main")
    git(one, "checkout", "-q", "main", "--", ".")
    git(one, "commit", "-q", "--amend", "--no-edit")
    assert one.bisect("Owns a boat.").commit.commit == boat


def test_a_merge_that_brought_back_what_one_side_took_away(sarah: Agent) -> None:
    came = learn(sarah, "Likes tea.")
    sarah.notes.add("later")
    git(sarah, "branch", "side")
    sarah.blocks["human"] = "Name: Tim"
    git(sarah, "checkout", "-q", "side")
    sarah.notes.add("on the side")
    git(sarah, "checkout", "-q", "main")
    git(sarah, "merge", "-q", "-s", "ours", "--no-commit", "side")
    git(sarah, "checkout", "-q", "side", "--", ".")
    git(sarah, "commit", "-q", "-m", "both")
    assert sarah.bisect("Likes tea.").commit.commit == came


def test_what_only_a_merge_holds(sarah: Agent) -> None:
    git(sarah, "branch", "side")
    sarah.notes.add("here")
    git(sarah, "checkout", "-q", "side")
    sarah.notes.add("on the side")
    git(sarah, "checkout", "-q", "main")
    git(sarah, "merge", "-q", "--no-commit", "side")
    (sarah.root / "core/human.md").write_text("Likes tea.\n")
    git(sarah, "commit", "-q", "-a", "-m", "both, and tea")
    assert sarah.bisect("Likes tea.").commit.commit == head(sarah)


def test_what_a_search_finds(diary: Agent) -> None:
    script(diary, call("archival_memory_insert", content="Ada takes her tablet on Mondays."), "Ok.")
    turn = diary.chat("Note the tablet.")
    script(diary, *["Ok."] * 5)
    for _ in range(5):
        diary.chat("And so on.")
    found = diary.bisect("when does Ada get the tablet?", search=True)
    assert found.commit.commit == turn.commits[0]
    with pytest.raises(SearchError, match="finds nothing now"):
        diary.bisect("xylophone", search=True)


class Reader(ScriptedClient):
    """A model that answers with the facts that it sees."""

    def complete(self, prompt: Prompt):  # type: ignore[no-untyped-def]
        block = next(block for block in prompt.blocks if block.label == "human")
        yield Completion(f"I know {block.text.count('Fact')} facts: {block.text}")


def test_what_it_answers(diary: Agent) -> None:
    diary._client = Reader([])
    before = git(diary, "rev-parse", "HEAD")
    found = diary.bisect("What do you know?", ask=True, expect=r"fact .5.")
    assert found.commit.subject == 'human: + Fact "5".'
    found = diary.bisect("What do you know?", ask=True, run="grep -q 'know [89]\\|know 10'")
    assert found.commit.subject == 'human: + Fact "7".'
    assert git(diary, "rev-parse", "HEAD") == before
    assert git(diary, "status", "--short") == ""
    for options, problem in (
        ({"ask": True}, "how to judge"),
        ({"ask": True, "expect": "("}, "is no regular expression"),
        ({"expect": "x"}, "judges a reply"),
        ({"ask": True, "search": True}, "one of the two"),
    ):
        with pytest.raises(StoreError, match=problem):
            diary.bisect("x", **options)  # type: ignore[arg-type]


def test_a_setting_that_hides_first_commits(diary: Agent) -> None:
    git(diary, "config", "log.showRoot", "false")
    git(diary, "config", "color.ui", "always")
    found = diary.why("human")
    assert found[0].commit
    assert found[0].commit.subject == "init: sarah"
    assert found[1].message
    assert diary.bisect('Fact "2".').message


def test_on_the_terminal(shell: Shell) -> None:
    shell.script(tool("core_memory_append", label="human", content="Likes tea."), "Ok.", "Hm.")
    shell.run("chat", "sarah", "I like tea.")
    shell.run("chat", "sarah", "Hello!")
    out, err = shell.run("bisect", "sarah", "likes", "tea")
    commit = shell.json("log", "sarah")[2]
    assert plain(err) == (
        "COMMIT  there, 2 more at most\nCOMMIT  there, 1 more at most\nCOMMIT  not there\n"
    )
    assert plain(out) == (
        "commit   COMMIT  TIME  human: + Likes tea.\n"
        "by       sarah, with core_memory_append, model scripted:script.json\n"
        f"change   {commit['change']}\n"
        f"turn     {commit['turn']}\n"
        "because  “I like tea.”\n"
        "\n"
        "  user       I like tea.\n"
        '  assistant  → core_memory_append({"label": "human", "content": "Likes tea."})\n'
        "  result     Added to 'human'. 1,980 of 2,000 characters left.\n"
        "  assistant  Ok.\n"
    )
    found = shell.json("bisect", "sarah", "tea")
    assert found["commit"]["commit"] == commit["commit"]
    assert found["message"]["content"] == "I like tea."
    assert shell.fails("bisect", "sarah", "coffee").startswith("Error: 'coffee' is not there now")


def test_a_text_that_is_gone(shell: Shell) -> None:
    """When it went is said, with a command that finds how it had come."""
    for text in ("Likes Österreich's tea.", "Likes milk.", "Sings."):
        shell.run("edit", "sarah", "human", "--text", f"Name: Tim\n{text}")
    problem = shell.fails("bisect", "sarah", "likes ÖSTERREICH's")
    gone = shell.json("log", "sarah")[1]["commit"][:7]
    assert f"is not there now: it went with {gone} (edit: core/human.md)." in problem
    command = shlex.split(problem.strip().partition("How it had come: fsagent ")[2])
    found = json.loads(shell.run(*command[:2], "--json", *command[2:])[0])
    assert found["commit"]["commit"] == shell.json("log", "sarah")[2]["commit"]
    assert "What comes near it: fsagent search" in shell.fails("bisect", "sarah", "beer")
    assert shell.json("bisect", "sarah", "Likes milk", "--at", "HEAD~1")["before"]


def test_a_command_that_cannot_be_run_judges_nothing(diary: Agent) -> None:
    diary._client = Reader([])
    for command in ("no-such-command-at-all", "kill -9 $$"):
        with pytest.raises(StoreError, match=r"could not be run to its end .*: try it by hand"):
            diary.bisect("What do you know?", ask=True, run=command)
    with pytest.raises(StoreError, match="is not there now"):
        diary.bisect("What do you know?", ask=True, run="false")
