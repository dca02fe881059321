"""A turn, from the user's text to the commits it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, ScriptedClient, ToolContext, call, tool
from fsagent.errors import AgentBusy, ConfigError, ModelError, StoreError
from fsagent.formats import parse_record
from fsagent.records import Record, TextDelta, ToolCall, ToolResult, Turn, Warned

from conftest import FixedClock, git, script, subjects

Make = Callable[..., Agent]


def records(agent: Agent) -> list[Record]:
    return [record for path in agent.store.segments() for record in agent.store.records(path)]


def test_a_turn_with_two_writes_leaves_three_commits(make: Make) -> None:
    agent = make(
        call("core_memory_append", label="human", content="Lives in Utrecht."),
        call("archival_memory_insert", content="The cat is Ada.", tags=["pets"]),
        "Noted.",
    )
    turn = agent.chat("I moved to Utrecht, and my cat is Ada.")

    assert turn.reply == "Noted."
    assert turn.steps == 3
    assert [r.status for r in turn.tool_calls] == ["success", "success"]
    assert subjects(agent) == [
        "turn: I moved to Utrecht, and my cat is Ada.",
        "note: The cat is Ada.",
        "human: + Lives in Utrecht.",
        "init: sarah",
    ]
    log = git(agent, "log", "--format=%H").split()
    assert list(turn.commits) == log[2::-1]
    assert [r.commit for r in turn.tool_calls] == log[2:0:-1]
    assert git(agent, "status", "--porcelain") == ""
    assert agent.blocks["human"].text == "Name: Tim\nLives in Utrecht."


def test_calls_with_one_id_get_a_result_each(make: Make) -> None:
    dup = [
        ToolCall("dup", "archival_memory_insert", '{"content": "A first note."}'),
        ToolCall("dup", "conversation_search", '{"query": "zebra"}'),
        ToolCall("2-dup", "conversation_search", '{"query": "yak"}'),
    ]
    agent = make(dup, "Done.")
    agent.chat("go")
    asked, *results = agent.context().prompt.messages[-5:-1]
    ids = [one["id"] for one in asked["tool_calls"]]
    assert len(set(ids)) == 3
    assert [one["tool_call_id"] for one in results] == ids
    assert "Kept as note" in results[0]["content"]
    assert "zebra" in results[1]["content"]
    assert "yak" in results[2]["content"]


def test_the_commit_of_a_tool_call_says_where_it_came_from(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content="Likes tea."), "Yes.")
    turn = agent.chat("I like tea.")
    first = agent.log()[1]
    user = records(agent)[0]
    result = records(agent)[2]

    assert first.author == "sarah"
    assert first.tool == "core_memory_append"
    assert first.turn == turn.id
    assert first.message == user.id
    assert first.paths == ("core/human.md",)
    assert first.change == result.change
    body = git(agent, "log", "-1", "--skip=1", "--format=%B")
    assert "Tool-Call: call_1" in body
    assert "Model: scripted" in body
    assert git(agent, "interpret-trailers", "--parse", "/dev/null") == ""


def test_recall_holds_the_turn_in_openais_shapes(make: Make) -> None:
    agent = make([call("core_memory_append", label="human", content="x"), "Hm."], "Done.")
    turn = agent.chat("remember x")
    (path,) = agent.store.segments()
    lines = [json.loads(line) for line in (agent.root / path).read_text().splitlines()]

    assert [line["role"] for line in lines] == ["user", "assistant", "tool", "assistant"]
    assert {line["turn"] for line in lines} == {turn.id}
    assert lines[1]["tool_calls"][0]["function"]["name"] == "core_memory_append"
    assert lines[2]["tool_call_id"] == lines[1]["tool_calls"][0]["id"]
    assert lines[2]["status"] == "success"
    assert lines[3]["model"] == "scripted"
    assert lines[3]["usage"]["completion"] == 1
    assert path == "recall/2026/11/21-" + lines[0]["id"] + ".jsonl"


def test_events_come_as_they_happen(make: Make) -> None:
    agent = make(["Let me see. ", call("core_memory_append", label="human", content="x")], "Good.")
    events = list(agent.stream("go"))

    kinds = [type(event) for event in events]
    assert kinds.index(ToolCall) < kinds.index(ToolResult)
    assert kinds[0] is TextDelta
    assert kinds[-1] is Turn
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "Let me see. Good."


def test_calls_of_one_step_run_in_order_and_each_is_a_commit(make: Make) -> None:
    agent = make(
        [
            call("core_memory_append", label="human", content="one"),
            call("core_memory_append", label="human", content="two"),
            call("core_memory_replace", label="human", old_content="one", new_content="1"),
        ],
        "ok",
    )
    turn = agent.chat("go")
    assert agent.blocks["human"].text == "Name: Tim\n1\ntwo"
    assert len(turn.commits) == 4


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (call("no_such_tool"), "There is no tool 'no_such_tool'. There are: core_memory_append"),
        (ToolCall("", "core_memory_append", "{label: human"), "were not valid JSON"),
        (ToolCall("", "core_memory_append", "[1]"), "must be one JSON object"),
        (call("core_memory_append", label="human"), "content: Field required"),
        (call("core_memory_append", label="human", content="x", more=1), "more: Extra inputs"),
        (call("core_memory_append", label="dog", content="x"), "The blocks are: persona, human"),
        (call("roll", sides=0), "roll failed: ZeroDivisionError"),
        (call("core_memory_append", label="human", content="x" * 3000), "2,000 characters"),
    ],
)
def test_what_goes_wrong_in_a_call_is_a_result_for_the_model(
    make: Make, item: ToolCall, says: str
) -> None:
    @tool
    def roll(ctx: ToolContext, sides: int) -> str:
        """Roll a die.

        Args:
            sides: Number of sides.
        """
        ctx.change.add_note("this is never written")
        return str(7 % sides)

    agent = make(item, "I see.", tools=[roll])
    turn = agent.chat("go")

    assert turn.reply == "I see."
    assert turn.tool_calls[0].status == "error"
    assert says in turn.tool_calls[0].text
    assert turn.tool_calls[0].commit is None
    assert len(turn.commits) == 1
    assert len(agent.notes) == 0
    assert git(agent, "status", "--porcelain") == ""


def test_a_program_adds_a_tool(make: Make) -> None:
    @tool
    def roll(ctx: ToolContext, sides: int = 6) -> dict[str, int]:
        """Roll a die.

        Args:
            sides: Number of sides.
        """
        ctx.change.add_note(f"rolled a die of {sides}")
        return {"rolled": 4}

    agent = make(call("roll", sides="20"), "Four.", tools=[roll])
    turn = agent.chat("roll")
    assert turn.tool_calls[0].text == '{"rolled": 4}'
    assert turn.tool_calls[0].commit
    assert [note.text for note in agent.notes] == ["rolled a die of 20"]


def test_send_message_ends_the_turn_where_it_is_on(make: Make) -> None:
    agent = make(call("send_message", message="Hello!"), "never said")
    config = agent.root / "agent.yaml"
    config.write_text(config.read_text().replace("tools:", "tools:\n- send_message"))
    turn = agent.chat("hi")
    assert turn.reply == "Hello!"
    assert turn.steps == 1


def test_a_model_that_never_stops_is_stopped(make: Make) -> None:
    agent = make(*[call("conversation_search", query="x")] * 60)
    turn = agent.chat("go")
    assert turn.steps == 50
    assert "stopped after 50 steps" in turn.warnings[0]


def test_a_model_that_is_down_leaves_the_message_and_the_next_turn_goes_on(make: Make) -> None:
    agent = make(ModelError("The endpoint cannot be reached."), "Good morning.")
    with pytest.raises(ModelError, match="cannot be reached"):
        agent.chat("hello?")
    assert [r.role for r in records(agent)] == ["user", "event"]
    assert subjects(agent)[0] == "turn: hello?"
    assert git(agent, "status", "--porcelain") == ""

    assert agent.chat("again").reply == "Good morning."
    sent = agent.client.prompts[-1].messages  # type: ignore[attr-defined]
    assert [m["role"] for m in sent] == ["system", "user"]
    assert "hello?" in sent[1]["content"]
    assert "<event>The turn broke off: The endpoint" in sent[1]["content"]


def test_an_interrupted_reply_is_kept_as_far_as_it_was_heard(make: Make) -> None:
    agent = make("one two three four", "five")
    stream = agent.stream("count")
    for event in stream:
        if isinstance(event, TextDelta) and "two" in event.text:
            break
    stream.close()
    assert [(r.role, r.content) for r in records(agent)] == [
        ("user", "count"),
        ("assistant", "one two"),
        ("event", "The user interrupted the turn."),
    ]
    assert git(agent, "status", "--porcelain") == ""
    assert agent.chat("go on").reply == "five"


def test_the_message_is_on_disk_before_the_model_is_asked(make: Make) -> None:
    seen: list[str] = []

    def look(_: object) -> str:
        (path,) = agent.store.segments()
        seen.append((agent.root / path).read_text())
        return "yes"

    agent = make(look)
    agent.chat("are you there?")
    assert "are you there?" in seen[0]


def test_the_lines_of_a_killed_turn_are_committed_as_that(make: Make) -> None:
    agent = make("hello")
    record = Record("t1", "2026-11-21T09:00:00.000Z", "user", "before the kill", "turn1")
    path = agent.store.append(record)
    with (agent.root / path).open("ab") as file:
        file.write(b'{"id": "t2", "role": "assist')
    turn = agent.chat("hi")

    assert subjects(agent)[1] == "turn (recovered)"
    assert agent.log()[1].author == "sarah"
    assert "the last line was torn" in turn.warnings[0]
    assert "its lines" in turn.warnings[1]
    assert [r.content for r in records(agent)] == ["before the kill", "hi", "hello"]
    torn = list((agent.root / ".git/fsagent/torn").iterdir())
    assert torn[0].read_bytes() == b'{"id": "t2", "role": "assist'


def test_a_call_without_its_result_is_answered_in_the_next_prompt(make: Make) -> None:
    agent = make("ok")
    calls = (ToolCall("call_1", "roll", "{}"),)
    agent.store.append(Record("t1", "2026-11-21T09:00:00.000Z", "user", "go", "a"))
    agent.store.append(
        Record("t2", "2026-11-21T09:00:00.000Z", "assistant", "", "a", tool_calls=calls)
    )
    agent.chat("and?")
    sent = agent.client.prompts[0].messages  # type: ignore[attr-defined]
    assert [m["role"] for m in sent] == ["system", "user", "assistant", "tool", "user"]
    assert "ended before this call" in sent[3]["content"]


def test_one_turn_at_a_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsagent.store.TURN_PATIENCE", 0.05)
    agent = make("one two", "three")
    other = Agent.open(agent.root, ScriptedClient(["x"]))
    stream = agent.stream("first")
    next(stream)
    with pytest.raises(AgentBusy, match="in the middle of another turn"):
        other.chat("second")
    other.blocks["human"] = "Name: Tom"  # a person's write need not wait for the turn
    list(stream)
    assert other.chat("second").reply == "x"
    assert "Name: Tom" in git(agent, "show", "HEAD:core/human.md")
    other.close()


def test_invalid_yaml_stops_the_turn_before_anything_is_written(make: Make) -> None:
    agent = make("never")
    good = (agent.root / "agent.yaml").read_text()
    (agent.root / "agent.yaml").write_text(good + "tools: [a\nname: x\n")
    before = subjects(agent)
    with pytest.raises(ConfigError, match=r"agent.yaml, line \d+: not valid YAML"):
        agent.chat("hi")
    assert subjects(agent) == before
    (agent.root / "agent.yaml").write_text(good)
    assert agent.chat("hi").reply == "never"


def test_a_turn_waits_for_a_persons_merge(make: Make) -> None:
    agent = make("no", "yes")
    git(agent, "switch", "-qc", "side")
    agent.blocks["human"] = "Name: Tom"
    git(agent, "switch", "-q", "main")
    agent.blocks["human"] = "Name: Tam"
    git(
        agent, "merge", "-q", "--no-commit", "side", check=False
    )  # 1: a conflict, without the driver
    with pytest.raises(StoreError, match="A merge is under way"):
        agent.chat("hi")
    assert records(agent) == []
    git(agent, "merge", "--abort")
    assert agent.chat("hi").reply == "no"


def test_a_detached_head_is_told(make: Make) -> None:
    agent = make("ok")
    git(agent, "checkout", "-q", "--detach")
    assert "HEAD is detached" in agent.chat("hi").warnings[0]


def test_events_and_warnings_of_a_broken_block(make: Make) -> None:
    agent = make("ok", "ok")
    (agent.root / "core/odd.md").write_text("---\nlimit: [\n---\ntext\n")
    events = list(agent.stream("hi"))
    warned = [e.text for e in events if isinstance(e, Warned)]
    assert len(warned) == 1
    assert warned[0].startswith("core/odd.md, line 3: front matter is not valid YAML")
    assert not [e for e in agent.stream("hi") if isinstance(e, Warned)]


def test_a_new_day_begins_a_new_segment(make: Make) -> None:
    clock = FixedClock()
    agent = make("a", "b", "c", clock=clock)
    agent.chat("one")
    agent.chat("two")
    clock.move(days=1)
    agent.chat("three")
    counts = [(agent.root / p).read_text().count("\n") for p in agent.store.segments()]
    assert counts == [4, 2]


def test_a_clone_begins_a_segment_of_its_own(make: Make, tmp_path: Path) -> None:
    agent = make("a")
    agent.chat("one")
    git(agent, "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Agent.open(tmp_path / "clone", ScriptedClient(["b"]), clock=agent.store.clock)
    clone.chat("two")
    assert len(clone.store.segments()) == 2
    clone.close()


def test_a_segment_is_full_at_a_hundred_records(make: Make) -> None:
    agent = make(*["ok"] * 60)
    for number in range(60):
        agent.chat(f"message {number}")
    counts = [(agent.root / p).read_text().count("\n") for p in agent.store.segments()]
    assert counts == [100, 20]


def test_the_reply_of_the_wrong_kind_is_told(make: Make) -> None:
    assert "empty reply" in make("").chat("hi").warnings[0]


def test_records_survive_every_character(make: Make) -> None:
    odd = 'a\u2028b\x85c \U0001f600 \x07 "quoted" \\ end\x00\ud800'
    agent = make("ok")
    agent.chat(odd)
    (path,) = agent.store.segments()
    lines = (agent.root / path).read_bytes().split(b"\n")
    assert len(lines) == 3
    assert parse_record(lines[0].decode()).content == odd.replace("\x00", "").replace(
        "\ud800", "\ufffd"
    )


def test_scripts_end(sarah: Agent) -> None:
    with pytest.raises(ModelError, match="come to its end"):
        sarah.chat("hi")
    script(sarah, "hello")
    assert sarah.chat("hi").reply == "hello"
