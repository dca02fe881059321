"""The memory tools: what they mean, what they say, and what must be right where Letta is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import pytest
from fsagent import Agent, ScriptedClient, ToolContext, call, tool
from fsagent.errors import ConfigError
from fsagent.records import ToolResult
from fsagent.tools.memory import STANDARD
from fsagent.tools.toolbox import Toolbox

from conftest import FixedClock, git

Make = Callable[..., Agent]


def run(agent: Agent, name: str, /, **arguments: Any) -> ToolResult:
    """One tool call, in a turn of its own."""
    agent._client = ScriptedClient([call(name, **arguments), "ok"])
    return agent.chat("go").tool_calls[0]


def test_what_is_escaped_in_the_prompt_can_be_edited_as_it_is_seen(make: Make) -> None:
    text = "Writes <summary> tags, [INST] and &lt;b>.\nLikes <think> tanks."
    agent = make(human=text)
    seen = "Writes &lt;summary> tags, &#91;INST] and &lt;b>."
    assert seen in agent.context().prompt.messages[0]["content"]
    run(
        agent, "core_memory_replace", label="human", old_content=seen, new_content=seen + " &lt;/s>"
    )
    assert agent.blocks["human"].text == text.replace("b>.", "b>. </s>")
    run(agent, "memory_replace", label="human", old_string="Likes &lt;think>", new_string="Has")
    assert agent.blocks["human"].text == text.split("\n")[0] + " </s>\nHas tanks."
    run(agent, "memory_rethink", label="human", new_memory=seen)
    assert agent.blocks["human"].text == text.split("\n")[0]
    run(agent, "memory_rethink", label="persona", new_memory="About &lt;summary> as HTML.")
    assert agent.blocks["persona"].text == "About &lt;summary> as HTML."


@pytest.fixture
def agent(make: Make) -> Agent:
    agent = make(human="Name: Tim\nLikes tea\nLikes tea a lot")
    (agent.root / "core/locked.md").write_text("---\nread_only: true\n---\nfixed\n")
    (agent.root / "core/small.md").write_text("---\nlimit: 40\n---\ntwenty characters ..\n")
    agent.adopt()
    return agent


@pytest.mark.parametrize(
    ("name", "arguments", "text", "says"),
    [
        (
            "core_memory_append",
            {"label": "human", "content": "Dog: Rex"},
            "Name: Tim\nLikes tea\nLikes tea a lot\nDog: Rex",
            "Added to 'human'. 1,956 of 2,000 characters left.",
        ),
        (
            "core_memory_replace",
            {"label": "human", "old_content": "tea", "new_content": "rum"},
            "Name: Tim\nLikes rum\nLikes rum a lot",
            "Replaced in 'human' in 2 places. 1,965 of 2,000 characters left.",
        ),
        (
            "core_memory_replace",
            {
                "label": "human",
                "old_content": "Name: Tim\nLikes tea\nLikes tea a lot",
                "new_content": "",
            },
            "",
            "Replaced in 'human'. 2,000 of 2,000 characters left.",
        ),
        (
            "memory_replace",
            {"label": "human", "old_string": "Likes tea\n", "new_string": ""},
            "Name: Tim\nLikes tea a lot",
            "Replaced in 'human'.",
        ),
        (
            "memory_insert",
            {"label": "human", "new_string": "Top", "insert_line": 0},
            "Top\nName: Tim\nLikes tea\nLikes tea a lot",
            "after line 0",
        ),
        (
            "memory_insert",
            {"label": "human", "new_string": "a\nb", "insert_line": 1},
            "Name: Tim\na\nb\nLikes tea\nLikes tea a lot",
            "after line 1",
        ),
        (
            "memory_insert",
            {"label": "human", "new_string": "End"},
            "Name: Tim\nLikes tea\nLikes tea a lot\nEnd",
            "after line 3",
        ),
        ("memory_rethink", {"label": "human", "new_memory": "New."}, "New.", "Rewrote 'human'."),
        ("memory_rethink", {"label": "human", "new_memory": ""}, "", "Rewrote 'human'."),
    ],
)
def test_what_each_tool_does(
    agent: Agent, name: str, arguments: dict[str, Any], text: str, says: str
) -> None:
    before = len(agent.log())
    result = run(agent, name, **arguments)
    assert result.status == "success", result.text
    assert agent.blocks["human"].text == text
    assert says in result.text
    assert result.commit == agent.log()[1].commit
    assert len(agent.log()) == before + 2


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        (
            "core_memory_append",
            {"label": "dog", "content": "x"},
            "There is no block 'dog'. The blocks are: persona, human, locked, small.",
        ),
        ("core_memory_append", {"label": "locked", "content": "x"}, "Block 'locked' is read-only"),
        ("memory_rethink", {"label": "locked", "new_memory": "x"}, "Block 'locked' is read-only"),
        (
            "core_memory_append",
            {"label": "small", "content": "x" * 30},
            "Block 'small' may hold 40 characters and has 20 left; this would make it 51.",
        ),
        (
            "core_memory_replace",
            {"label": "human", "old_content": "", "new_content": "x"},
            "old_content is empty",
        ),
        (
            "core_memory_replace",
            {"label": "human", "old_content": "Likes tee", "new_content": "x"},
            "The nearest line is: Likes tea",
        ),
        (
            "memory_replace",
            {"label": "human", "old_string": "Likes tea", "new_string": "x"},
            "occurs 2 times in 'human', at lines 2, 3",
        ),
        (
            "memory_replace",
            {"label": "human", "old_string": "2→ Likes tea", "new_string": "x"},
            "old_string begins with a line number",
        ),
        (
            "memory_insert",
            {"label": "human", "new_string": "1→ x"},
            "new_string begins with a line number",
        ),
        (
            "memory_insert",
            {"label": "human", "new_string": "x", "insert_line": 9},
            "which has 3 lines: use 0 to 3, or -1",
        ),
        (
            "memory_insert",
            {"label": "human", "new_string": "x", "insert_line": -2},
            "use 0 to 3, or -1",
        ),
        ("archival_memory_insert", {"content": "  "}, "content is empty"),
        (
            "archival_memory_search",
            {"query": "x", "start_datetime": "soon"},
            "start_datetime: 'soon' is no date",
        ),
        (
            "archival_memory_search",
            {"query": "x", "tag_match_mode": "some"},
            "tag_match_mode: Input should be 'any' or 'all'",
        ),
        ("conversation_search", {"roles": ["god"]}, "roles.0: Input should be"),
    ],
)
def test_what_is_refused_says_what_to_do_and_writes_nothing(
    agent: Agent, name: str, arguments: dict[str, Any], says: str
) -> None:
    before = {path: (agent.root / path).read_bytes() for path in agent.store.paths("core")}
    result = run(agent, name, **arguments)
    assert result.status == "error"
    assert says in result.text
    assert result.commit is None
    assert {path: (agent.root / path).read_bytes() for path in before} == before
    assert len(agent.notes) == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("core_memory_append", {"label": "human", "content": " "}),
        ("core_memory_replace", {"label": "human", "old_content": "tea", "new_content": "tea"}),
        (
            "memory_rethink",
            {"label": "human", "new_memory": "Name: Tim\nLikes tea\nLikes tea a lot\n"},
        ),
    ],
)
def test_what_changes_nothing_commits_nothing(
    agent: Agent, name: str, arguments: dict[str, Any]
) -> None:
    result = run(agent, name, **arguments)
    assert result.status == "success"
    assert result.commit is None


def test_a_block_in_a_folder_can_be_edited_and_emptied(agent: Agent) -> None:
    (agent.root / "core/proj").mkdir()
    (agent.root / "core/proj/alpha.md").write_text("one\n")
    assert run(agent, "core_memory_append", label="proj/alpha", content="two").status == "success"
    assert run(agent, "memory_rethink", label="proj/alpha", new_memory="").status == "success"
    assert agent.blocks["proj/alpha"].text == ""
    assert run(agent, "core_memory_append", label="../agent", content="x").status == "error"
    assert run(agent, "core_memory_append", label="core/human.md", content="x").status == "error"


def test_a_note_is_named_filed_and_found(agent: Agent) -> None:
    result = run(
        agent,
        "archival_memory_insert",
        content="Pesto: basil, pine nuts.\n\n---\n",
        tags=["food", "food", " "],
    )
    (note,) = agent.notes
    assert result.text == f"Kept as note {note.id}, tagged food."
    assert note.text == "Pesto: basil, pine nuts.\n\n---"
    assert note.path == f"archival/2026/11/pesto-basil-pine-nuts-{note.id}.md"
    assert note.created == "2026-11-21T09:30:00.000Z"
    found = run(agent, "archival_memory_search", query="what goes into pesto?")
    assert f"note {note.id} · tags: food\nPesto: basil" in found.text
    assert found.text.startswith("1. 2026-11-21 09:30 (today)")


def test_archival_search_filters(make: Make) -> None:
    clock = FixedClock()
    agent = make(clock=clock)
    for days, tags in ((0, ["a"]), (1, ["a", "b"]), (2, ["B"])):
        clock.move(days=days and 1)
        agent.notes.add(f"the same words, day {days}", tags)

    def days(**arguments: Any) -> list[str]:
        text = run(agent, "archival_memory_search", **arguments).text
        return sorted(line[-1] for line in text.splitlines() if line.startswith("the same"))

    assert days(query="words") == ["0", "1", "2"]
    assert days(query="words", tags=["a", "b"]) == ["0", "1", "2"]
    assert days(query="words", tags=["a", "b"], tag_match_mode="all") == ["1"]
    assert days(query="", tags=["b"]) == ["1", "2"]
    assert days(query="words", end_datetime="2026-11-22") == ["0", "1"]
    assert days(query="words", start_datetime="2026-11-22", end_datetime="2026-11-22") == ["1"]
    assert days(query="words", end_datetime="2026-11-22T09:29") == ["0"]
    assert len(days(query="words", top_k=2)) == 2
    assert run(agent, "archival_memory_search", query="zebra").text == (
        "No notes found for 'zebra': nothing holds the words zebra. Try other words."
    )


def test_conversation_search_is_letta_mended(make: Make) -> None:
    clock = FixedClock()
    agent = make(clock=clock)

    def say(text: str, reply: str) -> None:
        agent._client = ScriptedClient([reply])
        agent.chat(text)

    say("hello there my friend", "Greetings.")
    clock.move(days=1)
    say("I was running in Kyoto", "How was the run?")
    clock.move(days=20)

    def found(**arguments: Any) -> list[str]:
        text = run(agent, "conversation_search", **arguments).text
        return [
            line for line in text.splitlines() if line and not line[0].isdigit() and line[0] != " "
        ]

    assert "hello there my friend" in found(query="there hello")
    assert "I was running in Kyoto" in found(query="who runs?")
    assert found(query="hello friend", end_date="1999-12-31") == [
        "No messages found for 'hello friend'. Try other, less common words, or fewer filters."
    ]
    assert found(query="kyoto", start_date="2026-11-22", end_date="2026-11-22") == [
        "I was running in Kyoto"
    ]
    assert found(query="run", roles=["assistant"]) == ["How was the run?"]
    assert "(2 weeks ago) · user" in run(agent, "conversation_search", query="kyoto").text


def test_dates_are_the_agents(make: Make) -> None:
    clock = FixedClock()
    clock.move(hours=14)  # 23:30 in UTC is the next day in Tokyo
    agent = make(clock=clock)
    config = agent.root / "agent.yaml"
    config.write_text(config.read_text() + "timezone: Asia/Tokyo\n")
    agent.notes.add("late words")
    assert (
        "late words"
        in run(agent, "archival_memory_search", query="words", start_datetime="2026-11-22").text
    )
    assert (
        "No notes"
        in run(agent, "archival_memory_search", query="words", end_datetime="2026-11-21").text
    )
    assert "[Sun 2026-11-22 08:30]" in agent.context().render()


def test_schemas_are_what_models_know() -> None:
    schemas = {tool.name: tool.schema["function"] for tool in STANDARD}
    assert list(schemas) == [
        "core_memory_append", "core_memory_replace", "memory_insert", "memory_replace",
        "memory_rethink", "archival_memory_insert", "archival_memory_search",
        "conversation_search", "send_message",
    ]  # fmt: skip
    insert = schemas["memory_insert"]["parameters"]
    assert list(insert["properties"]) == ["label", "new_string", "insert_line"]
    assert insert["required"] == ["label", "new_string"]
    assert insert["properties"]["insert_line"] == {
        "default": -1,
        "description": "Insert after this line; 0 is the top, -1 the end.",
        "type": "integer",
    }
    search = schemas["archival_memory_search"]["parameters"]["properties"]
    assert search["tags"] == {
        "description": "Only notes with these tags.",
        "items": {"type": "string"},
        "type": "array",
    }
    assert search["tag_match_mode"]["enum"] == ["any", "all"]
    assert "ctx" not in json.dumps(schemas)
    assert "title" not in json.dumps(schemas)


def test_every_parameter_is_described() -> None:
    for each in STANDARD:
        for name, about in each.schema["function"]["parameters"]["properties"].items():
            assert about.get("description"), f"{each.name}.{name}"


def test_agent_yaml_says_which_tools_are_on(agent: Agent) -> None:
    config = agent.root / "agent.yaml"
    text = config.read_text()
    config.write_text(text[: text.index("tools:")] + "tools: [memory_rethink]\n")
    assert list(agent.toolbox.on) == ["memory_rethink"]
    assert (
        "There is no tool 'core_memory_append'"
        in run(agent, "core_memory_append", label="human", content="x").text
    )
    config.write_text(text[: text.index("tools:")] + "tools: [fly]\n")
    with pytest.raises(ConfigError, match=r"turns on the tool 'fly', which does not exist"):
        agent.chat("hi")


def test_a_tool_is_checked_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="needs a docstring"):

        @tool
        def silent(ctx: ToolContext) -> str:
            return ""

    with pytest.raises(TypeError, match="needs ctx"):

        @tool
        def alone() -> str:
            """Do."""
            return ""

    with pytest.raises(TypeError, match="describes sides, which it lacks"):

        @tool
        def roll(ctx: ToolContext) -> str:
            """Roll.

            Args:
                sides: Number.
            """
            return ""


def test_a_tool_of_many_types() -> None:
    @tool
    def book(
        ctx: ToolContext,
        day: Literal["mon", "tue"],
        seats: int,
        price: float = 1.5,
        names: list[str] | None = None,
        quiet: bool = False,
    ) -> str:
        """Book seats.

        Args:
            day: Which day,
                of the two.
            seats: How many.
        """
        return f"{day} {seats} {price} {names} {quiet}"

    properties = book.schema["function"]["parameters"]["properties"]
    assert properties["day"]["description"] == "Which day, of the two."
    assert properties["quiet"] == {"default": False, "type": "boolean"}
    assert book.parse('{"day": "mon", "seats": "3", "names": null}')["seats"] == 3
    assert book(None, **book.parse('{"day": "tue", "seats": 1}')) == "tue 1 1.5 None False"


def test_results_are_cut_with_a_word(make: Make) -> None:
    @tool
    def long(ctx: ToolContext) -> str:
        """Say much."""
        return "x" * 30_000

    agent = make(tools=[long])
    assert run(agent, "long").text.endswith("[10,000 more characters are cut]")


def test_the_toolbox_knows_all_and_turns_on_some() -> None:
    box = Toolbox()
    assert set(box.known) - set(box.on) == {"send_message"}


def test_hand_made_results_are_clean(agent: Agent) -> None:
    run(agent, "core_memory_append", label="human", content="a\r\nb\x00\ud800")
    assert agent.blocks["human"].text.endswith("a\nb\ufffd")
    assert git(agent, "status", "--porcelain") == ""
