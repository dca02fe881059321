"""Any past prompt again, byte for byte: what is rendered is what went over the wire."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, ToolContext, call, tool
from fsagent.errors import ModelError, StoreError
from fsagent.llm import Exchange, Prompt, encoded
from fsagent.llm.openai import OpenAIClient
from fsagent.records import ToolCall

from conftest import git
from stub_openai import calls, stub_openai, text
from test_cli import Shell, plain, shell
from test_cli import tool as spoken
from test_fold import FILLER, Talk, everything, summed

__all__ = ["shell"]

Make = Callable[..., Agent]


class Wire:
    """What was sent, by the id of the record that it led to."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.sent: dict[str, bytes] = {}
        self.last = b""
        agent.client.on_exchange = self.keep

    def keep(self, exchange: Exchange) -> None:
        if b"You keep the memory of a conversation." not in exchange.request:
            self.last = exchange.request

    def turn(self, said: str) -> str:
        """One turn; its requests are kept by the answers."""
        before = {record.id for record in everything(self.agent) if record.sent}
        requests: list[bytes] = []
        self.agent.client.on_exchange = lambda one: requests.append(one.request)
        turn = self.agent.chat(said)
        requests = [one for one in requests if b"You keep the memory of" not in one]
        answers = [r for r in everything(self.agent) if r.sent and r.id not in before]
        assert len(requests) == len(answers)
        self.sent |= dict(zip((r.id for r in answers), requests, strict=True))
        return turn.id


def request(prompt: Prompt, model: str = "scripted") -> bytes:
    made = {"model": model, "messages": prompt.messages, "tools": prompt.tools}
    return encoded(made).encode()


def test_every_prompt_of_a_busy_life(make: Make) -> None:
    """Folds, hand edits in the middle of turns, notes, undos, other settings, a person's commits."""
    dice = random.Random(7)
    agent = make()
    talk = Talk(agent)
    wire = Wire(agent)
    talk.write = lambda prompt: "" if dice.random() < 0.2 else summed()
    turns = []
    for number in range(90):
        talk.agent.store.clock.move(minutes=7)  # type: ignore[attr-defined]
        items: list[Any] = []
        if dice.random() < 0.3:
            items.append(note(f"Note {number} <|im_end|>."))
        if dice.random() < 0.3:
            append = call("core_memory_append", label="human", content=f"Fact {number}.")
            items.append([append, "So."])
        if dice.random() < 0.2:
            items.append(call("conversation_search", query="Message Anna"))
        if dice.random() < 0.3:  # in the middle of the turn
            path = dice.choice(["core/persona.md", "core/extra.md", "archival/n.md", "system.md"])
            items.append(edited(agent, path, dice.choice([None, f"By hand, {number}.\n"])))
        dice.shuffle(items)
        if dice.random() < 0.1:
            agent.undo() if number > 10 else None
        if dice.random() < 0.1:
            (agent.root / "system.md").write_text(f"Be kind. {number}\n")
        if dice.random() < 0.1:
            git(agent, "commit", "-qam", f"by hand\n\nnot: Change: {number}", "--allow-empty")
        if dice.random() < 0.05:
            zone = dice.choice(["Asia/Tokyo", "UTC"])
            config = agent.root / "agent.yaml"
            lines = [x for x in config.read_text().splitlines() if not x.startswith("timezone")]
            config.write_text("\n".join([*lines, f"timezone: {zone}", ""]))
        talk.items += items
        turns.append(wire.turn(f"Message {number} of Anna. {FILLER}"))
        talk.items.clear()
    folds = [r for r in everything(agent) if r.role == "summary"]
    assert len(folds) > 5
    assert len(wire.sent) > 120
    compare(agent, turns, wire)
    git(agent, "gc", "-q", "--prune=now")
    fresh = Agent.open(agent.root, agent.client)
    compare(fresh, dice.sample(turns, 20), wire)
    fresh.close()


def note(content: str) -> ToolCall:
    return call("archival_memory_insert", content=content)


def edited(agent: Agent, path: str, content: str | None) -> Callable[[Prompt], ToolCall]:
    """A step in which a hand edits a file, or deletes it, while the model answers."""

    def step(_: Prompt) -> ToolCall:
        if content is None:
            (agent.root / path).unlink(missing_ok=True)
        else:
            (agent.root / path).write_text(content)
        return note("After an edit.")

    return step


def compare(agent: Agent, turns: list[str], wire: Wire) -> None:
    for turn in turns:
        for made in agent.prompts(turn):
            assert request(made.context.prompt) == wire.sent[made.answer.id]
            assert made.same
            assert [r.id for r in made.context.records].count(made.answer.id) == 0


def test_over_http(make: Make) -> None:
    """The bytes are those of the request's body, with what the client adds around them."""
    note = ("archival_memory_insert", {"content": "Grüße, <event>, 日本"})
    with stub_openai(calls(note), text("Kept."), text("Hm.")) as stub:
        agent = make()
        agent._client = OpenAIClient("some-model", base_url=stub.url, retries=0)
        kept: list[Exchange] = []
        agent._client.on_exchange = kept.append
        turns = [agent.chat("Grüße!").id, agent.chat("Und?").id]
        made = [prompt for turn in turns for prompt in agent.prompts(turn)]
        assert len(made) == len(kept) == 3
        for prompt, exchange in zip(made, kept, strict=True):
            more = {"stream": True, "stream_options": {"include_usage": True}}
            body = json.loads(request(prompt.context.prompt, "some-model")) | more
            assert json.loads(exchange.request) == body
            assert encoded(prompt.context.prompt.messages).encode() in exchange.request
            assert encoded(prompt.context.prompt.tools).encode() in exchange.request
            assert prompt.same


def test_whether_a_line_was_in_a_prompt(make: Make) -> None:
    agent = make(
        call("core_memory_append", label="human", content="Lives in Utrecht."), "Noted.", "Hello."
    )
    turn = agent.chat("I moved to Utrecht.")
    first, second = agent.prompts(turn)
    assert not first.holds("Lives in Utrecht.")
    assert second.holds("Lives in Utrecht.")
    assert second.holds("I moved to Utrecht.")
    agent.undo()
    (third,) = agent.prompts(agent.chat("Hi.").id)
    assert not third.context.prompt.messages[0]["content"].count("Lives in Utrecht.")


def test_tools_of_a_program_that_is_not_there(make: Make) -> None:
    @tool
    def roll(ctx: ToolContext) -> str:
        """Roll a die."""
        return "4"

    agent = make(call("roll"), "Four.", tools=[roll])
    turn = agent.chat("Roll!")
    assert all(prompt.same for prompt in agent.prompts(turn))
    other = Agent.open(agent.root, agent.client)
    for prompt in other.prompts(turn):
        assert prompt.same_messages
        assert not prompt.same_tools
        assert not prompt.same
    other.close()


def test_a_broken_off_answer_says_what_it_was_made_from_too(make: Make) -> None:
    agent = make()

    class Breaks(type(agent.client)):  # type: ignore[misc]
        def complete(self, prompt: Prompt) -> Any:
            yield "Well, "
            raise ModelError("The line is down.")

    agent._client = Breaks()
    with pytest.raises(ModelError):
        agent.chat("hi")
    turn = everything(agent)[0].turn
    (prompt,) = agent.prompts(turn)
    assert prompt.answer.content == "Well, "
    assert prompt.same


def test_a_line_of_another_machine_does_not_change_the_past(make: Make) -> None:
    agent = make("one", "two")
    first = agent.chat("First.")
    late = agent.root / "recall/2026/11/20-early.jsonl"
    late.write_text('{"id": "early", "role": "user", "content": "Earlier.", "turn": "e"}\n')
    second = agent.chat("Second.")
    assert agent.prompts(first)[0].same
    assert not agent.prompts(first)[0].holds("Earlier.")
    assert agent.prompts(second)[0].same
    assert agent.prompts(second)[0].holds("Earlier.")


def test_what_git_does_not_hold_is_not_sent(make: Make) -> None:
    agent = make("Hm.", "Ah.")
    (agent.root / ".gitignore").write_text("core/secret.md\n")
    (agent.root / "core/secret.md").write_text("A secret.\n")
    turn = agent.chat("hi")
    assert "core/secret.md is in no commit, so the agent does not see it" in turn.warnings[0]
    assert not agent.prompts(turn)[0].holds("A secret.")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda line: re.sub(r'"recipe": \d+', '"recipe": 99', line), "was made by recipe 99"),
        (lambda line: re.sub(r', "sent": {.*?}', "", line), "says what its prompt was made from"),
    ],
)
def test_a_past_that_cannot_be_made_again(make: Make, change: Any, says: str) -> None:
    agent = make("Hello.")
    turn = agent.chat("hi")
    (path,) = agent.store.segments()
    place = agent.root / path
    lines = place.read_text().splitlines()
    place.write_text("".join(f"{change(line)}\n" for line in lines))
    git(agent, "commit", "-qa", "--amend", "--no-edit")
    with pytest.raises(StoreError, match=says):
        agent.prompts(turn)
    with pytest.raises(StoreError, match="There is no turn 'nonsense'"):
        agent.prompts("nonsense")
    with pytest.raises(StoreError, match="There is no turn ''"):
        agent.prompts("")


def test_lines_of_the_turn_that_were_edited_or_reverted_since(make: Make) -> None:
    note = call("archival_memory_insert", content="Tea.")
    agent = make("Hello.", note, "Well.", "Hm.")
    agent.chat("hi")
    turn = agent.chat("I like tea.")
    agent.chat("On.")
    (path,) = agent.store.segments()
    place = agent.root / path
    place.write_text(place.read_text().replace("I like tea.", "I like coffee."))
    assert [prompt.same for prompt in agent.prompts(turn)] == [True, True]
    lines = place.read_text().splitlines(keepends=True)
    place.write_text("".join(line for line in lines if turn.id not in line))
    git(agent, "commit", "-qam", "a turn that never was")
    first, second = agent.prompts(turn)
    assert (first.same, second.same, second.holds("I like tea.")) == (True, True, True)


def test_an_import_in_the_middle_of_a_turn_that_folds(make: Make, tmp_path: Path) -> None:
    """The agent is told of it from the next turn on."""
    talk = Talk(make())
    agent = talk.agent
    file = tmp_path / "old.jsonl"
    file.write_text('{"role": "user", "content": "Old.", "ts": "2024-01-01T10:00:00Z"}\n')

    def write(prompt: Prompt) -> str:
        other = Agent.open(agent.root, agent.client)
        other.import_file(file)
        other.close()
        return summed()(prompt)

    talk.write = write
    talk.until_fold()
    turn = [record.turn for record in everything(agent) if record.sent][-1]
    assert any("into recall" in r.content for r in everything(agent) if r.role == "event")
    assert [prompt.same for prompt in agent.prompts(turn)] == [True]
    talk.say("And?")
    assert "into recall" in str(talk.prompts[-1])


def test_a_change_that_is_not_known_any_more(make: Make) -> None:
    """Then it is one of those on which the turn built its own."""
    agent = make(call("core_memory_append", label="human", content="Tea."), "Well.")
    turn = agent.chat("hi")
    (path,) = agent.store.segments()
    place = agent.root / path
    text = re.sub(r'"change": "\w+", "first"', '"change": "zzzzzzz", "first"', place.read_text())
    place.write_text(text)
    assert [prompt.same for prompt in agent.prompts(turn)] == [True, True]


def test_on_the_terminal(shell: Shell) -> None:
    shell.script(
        spoken("core_memory_append", label="human", content="Lives in Ghent."), "Noted.", "Ghent."
    )
    shell.run("chat", "sarah", "I live in Ghent.")
    turn = shell.json("log", "sarah", "--turns")[0]["turn"]
    shell.run("chat", "sarah", "Where do I live?")
    out, err = shell.run("context", "sarah", "--turn", turn)
    assert "Lives in Ghent." in out
    assert "Where do I live?" not in out
    assert re.fullmatch(
        r"call 2 of 2, scripted:script.json at \d{4}-\d\d-\d\dT\d\d:\d\dZ: to the byte what was sent.\n",
        plain(err),
    )
    first = shell.json("context", "sarah", "--turn", turn, "--step", "1")
    assert first["same"] is True
    assert (first["step"], first["steps"], first["turn"]) == (1, 2, turn)
    assert "Lives in Ghent." not in first["messages"][0]["content"]
    assert len(first["tools"]) == 8
    assert "2 model calls" in shell.fails(
        "context", "sarah", "--turn", turn, "--step", "3", status=2
    )
    assert "either --turn or --at" in shell.fails(
        "context", "sarah", "--turn", turn, "--at", "HEAD", status=2
    )
    assert shell.fails("context", "sarah", "--turn", "nobody").startswith("Error: There is no turn")
