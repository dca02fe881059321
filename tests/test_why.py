"""Where memory comes from: each line's author, call, turn and message, through edits and moves."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError
from fsagent.history.lines import matched

from conftest import FixedClock, git, script, wide
from test_cli import Shell, plain, shell, tool
from test_undo_merged import head, pair

__all__ = ["pair", "shell"]


def said(agent: Agent, what: str) -> dict[str, str | None]:
    """Each line of a block, and the message that led to it."""
    found = agent.why(what)
    return {one.text: one.message.content if one.message else None for one in found}


def test_a_line_names_its_commit_its_call_and_what_was_said(make: Callable[..., Agent]) -> None:
    agent = make([call("core_memory_append", label="human", content="Likes tea.")], "Noted.", "Hm.")
    turn = agent.chat("I like tea.")
    agent.chat("And now?")
    [origin] = agent.why("human", line=7)
    assert (origin.path, origin.line, origin.text) == ("core/human.md", 7, "Likes tea.")
    assert origin.commit
    assert origin.commit.commit == turn.commits[0]
    assert origin.commit.tool == "core_memory_append"
    assert origin.commit.call == turn.tool_calls[0].call.id
    assert origin.commit.model == "scripted"
    assert origin.message
    assert origin.message.content == "I like tea."
    assert [record.role for record in origin.around] == ["user", "assistant", "tool", "assistant"]
    assert origin.before == ()
    first = agent.why("human")[0]
    assert first.commit
    assert (first.line, first.text, first.commit.author) == (6, "Name: Tim", "Tim")
    assert first.message is None


def test_what_was_said_before_midnight_is_around_it(make: Callable[..., Agent]) -> None:
    clock = FixedClock()
    agent = make(
        "Do you like tea?",
        [call("core_memory_append", label="human", content="Likes tea.")],
        "Noted.",
        clock=clock,
    )
    agent.chat("Ask me something.")
    clock.move(hours=15)
    agent.chat("Yes.")
    assert len(agent.store.segments()) == 2
    [origin] = agent.why("human:7")
    assert [record.content for record in origin.around][:2] == ["Do you like tea?", "Yes."]


def test_what_was_said_before_is_of_the_same_conversation(pair: tuple[Agent, Agent]) -> None:
    """And not what was said later, or elsewhere, on another machine or in another thread."""
    one, two = pair
    script(one, "Hello from the laptop.", "Hello from the kitchen.", "It will rain.")
    script(two, call("core_memory_append", label="human", content="Has a dog."), "Noted.", "Yes.")
    one.chat("Hello!")
    one.chat("Hello!", thread="kitchen")
    two.chat("I have a dog.")
    one.chat("What will the weather be like?")
    one.sync()
    assert two.sync().merged
    [origin] = two.why("human:7")
    assert [record.content for record in origin.around][:2] == [
        "Hello from the laptop.",
        "I have a dog.",
    ]
    script(two, call("core_memory_append", label="human", content="Has a boat."), "Noted.")
    two.chat("I have a boat.", thread="kitchen")
    [origin] = two.why("human:8")
    assert [record.content for record in origin.around][:2] == [
        "Hello from the kitchen.",
        "I have a boat.",
    ]


def test_a_line_that_a_merge_took_over_into_a_renamed_file(pair: tuple[Agent, Agent]) -> None:
    """One machine wrote it, and another one had meanwhile given the file another name."""
    one, two = pair
    script(one, call("core_memory_append", label="human", content="Has a dog."), "Noted.")
    said = one.chat("I have a dog.")
    note = one.notes.add("The boat lies in Ghent.")
    one.sync()
    two.sync()
    path = two.root / note.path
    with path.open("a") as file:
        file.write("Berth nine.\n")
    git(two, "config", "user.name", "Bob")
    two.adopt()
    wrote = head(two)
    (one.root / note.path).rename(one.root / "archival/boat.md")
    (two.root / "core/human.md").rename(two.root / "core/person.md")
    script(one, call("core_memory_append", label="human", content="Has a cat."), "Noted.")
    cat = one.chat("I have a cat.")
    one.sync()
    assert two.sync().merged
    found = {origin.text: origin for origin in two.why("person")}
    assert found["Has a dog."].commit.commit == said.commits[0]
    assert found["Has a cat."].commit.commit == cat.commits[-2]
    assert found["Has a cat."].message.content == "I have a cat."
    assert two.why("Berth nine.")[0].commit.commit == wrote


def test_a_line_is_named_in_many_ways(make: Callable[..., Agent]) -> None:
    agent = make(
        [
            call("core_memory_append", label="human", content="Likes tea."),
            call("archival_memory_insert", content="Ada is a cat.\n\nShe is four."),
        ],
        "I see.",
    )
    agent.chat("I like tea. Ada is four.")
    note = next(iter(agent.notes))
    line = agent.why("core/human.md:7")
    assert line == agent.why("human:7") == agent.why("human", 7) == agent.why("likes TEA")
    assert [one.text for one in agent.why(note.id)] == ["Ada is a cat.", "", "She is four."]
    assert agent.why(note.id) == agent.why(note.path)
    assert agent.why("She is four.")[0].path == note.path
    record = agent.why("I see.")[0]
    assert record.path.startswith("recall/")
    assert record.text == "I see."
    assert record.message
    assert record.message.content == "I like tea. Ada is four."
    assert agent.why(f"{record.path}:{record.line}") == [record]
    with pytest.raises(StoreError, match=r"core/human.md has no line 8: it has 7\."):
        agent.why("human:8")
    with pytest.raises(StoreError, match="Neither memory nor recall holds 'nonsense'"):
        agent.why("nonsense")
    with pytest.raises(StoreError, match="There is no block, note or file 'nobody'"):
        agent.why("nobody", line=1)


def test_the_newest_of_two_lines_counts(make: Callable[..., Agent]) -> None:
    """By the time, whatever zone a person's git writes it in; in one commit, the lower one."""
    agent = make()
    path = agent.root / "core/human.md"
    path.write_text(path.read_text() + "Tea in Tokyo.\nTea, too.\n")
    when = {"GIT_COMMITTER_DATE": "2026-11-21T18:00:00+0900", "PATH": os.environ["PATH"]}
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@x", "commit", "-qam", "from Tokyo"]
    subprocess.run(command, cwd=agent.root, env=when, check=True)  # at 09:00 UTC
    assert [one.text for one in agent.why("tea")] == ["Tea, too."]
    agent.blocks["human"] = agent.blocks["human"].text.replace(
        "Name: Tim", "Name: Tim\nTea at 9:30."
    )
    assert [one.text for one in agent.why("tea")] == ["Tea at 9:30."]


def test_an_edited_line_keeps_its_earlier_wordings(make: Callable[..., Agent]) -> None:
    agent = make(
        call("core_memory_append", label="human", content="Lives in Ghent."),
        "Noted.",
        call("core_memory_replace", label="human", old_content="Ghent", new_content="Utrecht"),
        "Moved.",
    )
    agent.chat("I live in Ghent.")
    agent.chat("I moved to Utrecht.")
    (agent.root / "core/human.md").write_text(
        (agent.root / "core/human.md").read_text().replace("Utrecht", "Delft")
    )
    [origin] = agent.why("human:7")
    assert (origin.text, origin.commit, origin.message) == ("Lives in Delft.", None, None)
    assert [(old.text, old.message and old.message.content) for old in origin.before] == [
        ("Lives in Utrecht.", "I moved to Utrecht."),
        ("Lives in Ghent.", "I live in Ghent."),
    ]


def test_a_text_that_only_a_summary_holds(make: Callable[..., Agent]) -> None:
    agent = make(*["word " * 500] * 9, "Tim moved; he lives by the canal.")
    for number in range(9):
        agent.chat(f"Message {number}")
    assert agent.fold()
    assert agent.why("by the canal")[0].text == "Tim moved; he lives by the canal."
    assert agent.why("Message 3")[0].text == "Message 3"


def test_a_person_s_edit_has_an_author_and_no_message(sarah: Agent) -> None:
    sarah.blocks["human"] = "Name: Tim\nLikes dice."
    origin = sarah.why("human")[-1]
    assert origin.commit
    assert (origin.text, origin.commit.author, origin.message) == ("Likes dice.", "Tim", None)


def test_what_an_undo_brought_back_is_its_author_s_and_the_undo_is_named(
    make: Callable[..., Agent],
) -> None:
    agent = make(
        [
            call("core_memory_append", label="human", content="Likes tea."),
            call("core_memory_append", label="human", content="Likes tea."),
        ],
        "Noted twice.",
        call("memory_rethink", label="human", new_memory="Name: Tim\nLikes milk."),
        "Noted.",
        call("core_memory_append", label="human", content="Has a cat."),
        "Noted.",
    )
    agent.chat("I like tea, tea!")
    wrong = agent.chat("Milk, I said.")
    agent.chat("I have a cat.")
    first = agent.why("human")
    undone = agent.undo(wrong)
    found = agent.why("human")
    assert [one.text for one in found] == ["Name: Tim", "Likes tea.", "Likes tea.", "Has a cat."]
    assert [[undo.commit for undo in one.undos] for one in found] == [
        [],
        [undone.commit],
        [undone.commit],
        [],
    ]
    assert [one.message and one.message.content for one in found] == [
        *(None, "I like tea, tea!", "I like tea, tea!", "I have a cat."),
    ]
    assert found[0].commit == first[0].commit
    agent.undo(undone.commit)  # milk
    again = agent.undo()  # no milk
    [origin] = agent.why("human:8")
    assert [undo.commit for undo in origin.undos] == [again.commit, undone.commit]
    assert origin.message
    assert origin.message.content == "I like tea, tea!"


def test_a_note_and_a_person_s_line_come_back_as_they_were(sarah: Agent) -> None:
    note = sarah.notes.add("Ada is a cat.")
    sarah.blocks["human"] = "Name: Tim\nLikes dice."
    made = sarah.log(limit=2)
    (sarah.root / note.path).unlink()
    text = (sarah.root / "core/human.md").read_text()
    (sarah.root / "core/human.md").write_text(text.replace("Likes dice.\n", ""))
    sarah.adopt()  # a person's commit has a change id, too
    git(sarah, "commit", "--amend", "-m", "by hand")  # this one has none
    undone = sarah.undo()
    for what, commit in (("human:7", made[0]), (f"{note.path}:6", made[1])):
        [origin] = sarah.why(what)
        assert origin.commit
        assert origin.commit.commit == commit.commit
        assert [undo.commit for undo in origin.undos] == [undone.commit]


def test_a_line_that_moves_keeps_its_author(make: Callable[..., Agent]) -> None:
    agent = make(call("core_memory_append", label="human", content="Be brief with him."), "Yes.")
    agent.chat("Be brief.")
    for first, second in (("persona", "human"), ("human", "persona")):
        # Within a turn the line is taken from one block and given to the other, in either order.
        add = call("core_memory_append", label="persona", content="Be brief with him.")
        drop = call(
            "core_memory_replace", label="human", old_content="\nBe brief with him.", new_content=""
        )
        script(agent, [add, drop] if first == "persona" else [drop, add], "Moved.")
        agent.chat(f"Move it to {second}.")
        assert said(agent, "persona")["Be brief with him."] == "Be brief."
        back = [
            call("core_memory_append", label="human", content="Be brief with him."),
            call(
                "core_memory_replace",
                label="persona",
                old_content="\nBe brief with him.",
                new_content="",
            ),
        ]
        script(agent, back, "Back.")
        agent.chat("Move it back.")
        assert said(agent, "human")["Be brief with him."] == "Be brief."
    # A block that is renamed by hand.
    git(agent, "mv", "core/human.md", "core/user.md")
    git(agent, "commit", "-qm", "rename")
    assert said(agent, "user")["Be brief with him."] == "Be brief."


def test_lines_of_both_sides_of_a_merge(make: Callable[..., Agent]) -> None:
    agent = make(call("core_memory_append", label="human", content="One."), "Ok.")
    git(agent, "branch", "other")
    agent.chat("Say one.")
    git(agent, "switch", "-q", "other")
    script(agent, call("core_memory_insert", label="human"), "no such tool")
    script(agent, call("memory_insert", label="human", new_string="Zero.", insert_line=0), "Ok.")
    agent.chat("Say zero.")
    git(agent, "switch", "-q", "main")
    git(agent, "merge", "-q", "--no-edit", "other")
    assert said(agent, "human") == {"Zero.": "Say zero.", "Name: Tim": None, "One.": "Say one."}


def test_a_merge_that_left_a_file_as_it_was_is_nobody_s_edit(sarah: Agent) -> None:
    git(sarah, "branch", "side")
    sarah.blocks["human"] = "Name: Tim\nLikes tea."
    git(sarah, "switch", "-q", "side")
    sarah.notes.add("Something else.")
    git(sarah, "switch", "-q", "main")
    before = sarah.why("human")
    git(sarah, "merge", "-q", "--no-edit", "side")
    assert sarah.why("human") == before
    assert before[1].commit
    sarah.blocks["human"] = "Name: Tim\nLikes tea.\nHas a cat."
    assert [one.commit for one in sarah.why("human")][:2] == [one.commit for one in before]


def test_three_hundred_turns_in_any_order(make: Callable[..., Agent]) -> None:
    """Lines are added, edited, reordered, moved and deleted; each knows its own message."""
    dice = random.Random(5)
    agent = wide(make())
    limit = "---\nlimit: 100000\n---\n\n"
    config = agent.root / "agent.yaml"
    config.write_text(config.read_text() + "durability: process\n")
    for label in ("human", "persona"):
        (agent.root / f"core/{label}.md").write_text(limit)
    agent.adopt()
    memory: dict[str, list[str]] = {"human": [], "persona": []}
    truth: dict[str, str] = {}
    for number in range(300):
        label, other = dice.sample(["human", "persona"], 2)
        lines = memory[label]
        text = f"message {number}"
        what = dice.choice(["add", "add", "add", "edit", "order", "move", "drop"])
        line = dice.choice(lines) if lines else ""
        if what == "add" or not lines:
            new = f"Fact {number} of {dice.randrange(1000)}."
            at = dice.randrange(len(lines) + 1)
            lines.insert(at, new)
            truth[new] = text
            script(agent, call("memory_insert", label=label, new_string=new, insert_line=at), "ok")
        elif what == "edit":
            new = line.replace("of", "or", 1) + f" ({number})"
            lines[lines.index(line)] = new
            truth[new] = text
            script(
                agent, call("memory_replace", label=label, old_string=line, new_string=new), "ok"
            )
        elif what in ("order", "drop"):
            dice.shuffle(lines)
            if what == "drop" and len(lines) > 5:
                lines.pop()
            script(agent, call("memory_rethink", label=label, new_memory="\n".join(lines)), "ok")
        else:
            lines.remove(line)
            memory[other].append(line)
            rest = call("memory_rethink", label=label, new_memory="\n".join(lines))
            add = call("core_memory_append", label=other, content=line)
            script(agent, dice.sample([rest, add], 2), "ok")
        agent.chat(text)
    for label, lines in memory.items():
        assert agent.blocks[label].text.split("\n") == lines
        assert said(agent, label) == {line: truth[line] for line in lines}
        for origin in agent.why(label)[::7]:
            [one] = agent.why(label, line=origin.line)
            assert (one.commit, one.message) == (origin.commit, origin.message)


def history(root: Path, commits: int) -> dict[str, str]:
    """Give an agent a history of so many commits to one block; each line's commit, by its text."""
    dice = random.Random(9)
    parts = []
    lines = [f"Line {number} as at first." for number in range(40)]
    truth = dict.fromkeys(lines, "c0")
    for number in range(commits):
        if number:
            kind = dice.random()
            if kind < 0.2:
                dice.shuffle(lines)
            else:
                at = dice.randrange(10)  # some lines stay from the beginning
                lines[at] = f"Line {at} as of {number}."
                truth[lines[at]] = f"c{number}"
        body = "\n".join(lines) + "\n"
        message = f"c{number}\n\nChange: x{number}\nMessage: m{number}\n"
        when = 1_700_000_000 + number
        parts.append(
            f"commit refs/heads/main\nauthor sarah <s@x> {when} +0000\ncommitter f <f@x> {when} +0000\n"
            f"data {len(message)}\n{message}"
            + ("from refs/heads/main^0\n" if not number else "")
            + f"M 100644 inline core/human.md\ndata {len(body)}\n{body}\n"
        )
    subprocess.run(
        ["git", "-C", str(root), "fast-import", "--quiet"],
        input="".join(parts).encode(),
        check=True,
    )
    git(root, "reset", "-q", "--hard")
    return {line: truth[line] for line in lines}


def test_ten_thousand_commits(sarah: Agent) -> None:
    truth = history(sarah.root, 10_000)
    sarah.maintain()
    program = (
        "import sys, resource\n"
        "from fsagent import Agent\n"
        "found = Agent.open(sys.argv[1]).why('human')\n"
        "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "print(sum(one.ru_utime + one.ru_stime for one in used))\n"
        "print(*(f'{one.text}\\t{one.commit.subject}' for one in found), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(sarah.root)], capture_output=True, text=True, check=True
    )
    seconds, *rows = done.stdout.splitlines()
    assert dict(row.split("\t") for row in rows) == truth
    assert float(seconds) < 1.5  # 0.5 on a machine that has nothing else to do


def test_clocks_that_went_wrong(make: Callable[..., Agent]) -> None:
    """A merge whose sides were written by clocks that differ by years."""
    agent = make()
    base = git(agent, "rev-parse", "HEAD").strip()
    for name, line, year in (("old", "One.", 1999), ("new", "Two.", 2040)):
        git(agent, "switch", "-qc", name, base)
        for number in range(3):
            script(
                agent,
                call(
                    "memory_insert",
                    label="human",
                    new_string=f"{line} {number}",
                    insert_line=0 if name == "old" else -1,
                ),
                "Ok.",
            )
            agent.store.clock.time = agent.store.clock.time.replace(year=year - number)  # type: ignore[attr-defined]
            agent.chat(f"Say {line} {number}")
    git(agent, "switch", "-q", "main")
    git(agent, "merge", "-q", "old")
    git(agent, "merge", "-q", "--no-edit", "new")
    assert said(agent, "human") == {"Name: Tim": None} | {
        f"{line} {number}": f"Say {line} {number}"
        for line in ("One.", "Two.")
        for number in range(3)
    }


def test_matched_lines() -> None:
    assert matched(["a", "b", "c"], ["c", "b", "a"]) == {0: 2, 1: 1, 2: 0}
    assert matched(["a"], ["a", "a"]) == {0: 0}
    assert matched(["a", "b"], ["x", "a", "b"]) == {1: 0, 2: 1}
    assert matched(["a", "a", "b"], ["b", "x", "a"]) == {0: 2, 2: 0}
    assert matched([], ["a"]) == {}
    assert matched(["a"], []) == {}


def test_the_terminal_names_an_undo(shell: Shell) -> None:
    shell.script(
        tool("core_memory_append", label="human", content="Likes tea."),
        *("Noted.", tool("memory_rethink", label="human", new_memory="Name: Tim"), "Gone."),
    )
    shell.run("chat", "sarah", "I like tea.")
    shell.run("chat", "sarah", "Forget it.")
    undone = shell.json("undo", "sarah", "--last")
    name = f"{undone['commit'][:7]}"
    out, _ = shell.run("why", "sarah", "human:7")
    assert "because  “I like tea.”\nback     COMMIT  TIME  undo: " in plain(out)
    assert f"back     {name}" in out
    out, _ = shell.run("why", "sarah", "human")
    assert f"core_memory_append ← “I like tea.”; back with {name}, undo: " in out
    [found] = shell.json("why", "sarah", "human:7")
    assert [undo["commit"] for undo in found["undos"]] == [undone["commit"]]


def test_why_on_the_terminal(shell: Shell) -> None:
    shell.script(
        tool("core_memory_append", label="human", content="Lives in Ghent."),
        "Noted.",
        tool("core_memory_replace", label="human", old_content="Ghent", new_content="Utrecht"),
        "Moved.",
    )
    shell.run("chat", "sarah", "I live in Ghent.")
    shell.run("chat", "sarah", "I moved to Utrecht.")
    with open(shell.home / "core/human.md", "a") as file:
        file.write("Likes dice.\n")
    out, err = shell.run("why", "sarah", "human")
    assert err == ""
    assert plain(out) == (
        "6  COMMIT  TIME  Tim      Name: Tim\n"
        "7  COMMIT  TIME  sarah    Lives in Utrecht.\n"
        "   core_memory_replace ← “I moved to Utrecht.”\n"
        "8  ·······  not committed     by hand  Likes dice.\n"
    )
    out, _ = shell.run("why", "sarah", "human:7")
    commit = shell.json("log", "sarah", "human")[0]
    assert plain(out) == (
        "core/human.md:7  Lives in Utrecht.\n"
        "commit   COMMIT  TIME  human: Ghent → Utrecht\n"
        f"by       sarah, with core_memory_replace, model scripted:script.json\n"
        f"change   {commit['change']}\n"
        f"turn     {commit['turn']}\n"
        "because  “I moved to Utrecht.”\n"
        "\n"
        "  assistant  Noted.\n"
        "  user       I moved to Utrecht.\n"
        '  assistant  → core_memory_replace({"label": "human", "old_content": "Ghent", "new_content": "Utrecht"})\n'
        "  result     Replaced in 'human'. 1,973 of 2,000 characters left.\n"
        "  assistant  Moved.\n"
        "\n"
        "before   COMMIT  TIME  Lives in Ghent.\n"
        "         core_memory_append ← “I live in Ghent.”\n"
    )
    out, _ = shell.run("why", "sarah", "dice")
    assert plain(out) == (
        "core/human.md:8  Likes dice.\n"
        "edited by hand, and not committed yet: the next turn does it\n"
    )
    found = shell.json("why", "sarah", "in Utrecht")
    assert [(one["path"], one["line"], one["text"]) for one in found] == [
        ("core/human.md", 7, "Lives in Utrecht.")
    ]
    assert found[0]["message"]["content"] == "I moved to Utrecht."
    assert found[0]["before"][0]["message"]["content"] == "I live in Ghent."
    assert (
        shell.fails("why", "sarah", "human:70") == "Error: core/human.md has no line 70: it has 8."
    )
