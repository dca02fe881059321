"""A long life: conversations replayed turn by turn through a small window.

The short form talks about made-up things and runs every time. The long form, marked slow, replays
LoCoMo's conversations from the file that the variable LOCOMO names (or from ../shared/data).
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, ScriptedClient, call
from fsagent.bench.locomo import load
from fsagent.llm import Exchange, Prompt, encoded
from fsagent.records import Folded, Record
from fsagent.tokens import count_message, count_tools
from fsagent.view import code, codes, uncovered

from conftest import SHARED, FixedClock, git

Make = Callable[..., Agent]

LOCOMO = Path(os.environ.get("LOCOMO") or SHARED / "data/locomo-dev.json")


class Replay:
    """What was said, turn by turn, through one agent; every prompt is looked at as it is made."""

    def __init__(self, agent: Agent, seed: int = 1) -> None:
        self.agent = agent
        self.dice = random.Random(seed)
        self.client = ScriptedClient(itertools.repeat(self.answer))
        agent._client = self.client
        self.client.on_exchange = self.keep
        self.requests: list[bytes] = []
        self.wire: dict[str, str] = {}
        """By answer, a hash of the request's bytes."""
        self.turns: list[str] = []
        self.said: list[tuple[str, str]] = []
        """Everything that went in, as role and text."""
        self.writes = 0
        self.calls: list[Any] = []
        self.most = 0
        self.text = ""
        self.before = b""
        self.reused: list[float] = []

    def keep(self, exchange: Exchange) -> None:
        """Keep a hash of what was sent, and how much of it was sent before."""
        request = exchange.request
        if b"You keep the memory of a conversation." in request:
            return
        self.requests.append(request)
        pairs = enumerate(zip(self.before, request, strict=False))
        same = next((at for at, (a, b) in pairs if a != b), len(self.before))
        self.reused.append(same / max(len(self.before), 1))
        self.before = request.rsplit(b'],"tools"', 1)[0]

    def answer(self, prompt: Prompt) -> Any:
        self.client.prompts.clear()
        self.look(prompt)
        if not prompt.tools:
            return self.summary(prompt)
        if self.calls:
            made = self.calls.pop(0)
            self.said.append(("assistant", made[0] if isinstance(made, list) else ""))
            return made
        reply = f"I see, {len(self.turns)}. {' '.join(self.text.split()[:9])}."
        self.said.append(("assistant", reply))
        return reply

    def look(self, prompt: Prompt) -> None:
        """No prompt is too long, and each call is followed by its result."""
        count = self.agent.window.count
        size = sum(count_message(count, one) for one in prompt.messages)
        size += count_tools(count, prompt.tools)
        self.most = max(self.most, size)
        assert size <= self.agent.window.limit
        open_calls: list[str] = []
        for message in prompt.messages[1:]:
            if message["role"] == "tool":
                assert message["tool_call_id"] == open_calls.pop(0)
                assert "gave a result" not in message["content"]
            else:
                assert open_calls == []
                open_calls = [one["id"] for one in message.get("tool_calls", ())]
        assert open_calls == []

    def summary(self, prompt: Prompt) -> str:
        """A summary such as a model writes; now and then none."""
        if self.dice.random() < 0.1:
            return ""
        said = str(prompt.messages[1]["content"])
        lines = [line for line in said.split("\n") if re.search("[A-Z0-9]", line)]
        picked = self.dice.sample(lines, min(len(lines), 8))
        names = dict.fromkeys(re.findall(r"\b[A-Z]\w+\b|\d[\d:.-]+\d", said))
        return "\n".join([" ".join(names)[:600], *(line[:120] for line in picked)])

    def writing(self, text: str) -> list[Any]:
        """What the model does before it answers: mostly nothing."""
        chance = self.dice.random()
        if chance < 0.08:
            return [call("archival_memory_insert", content=text, tags=["said"])]
        if chance < 0.12:
            block = self.agent.blocks["human"]
            if block.left < 200:
                return [call("memory_rethink", label="human", new_memory=text[:100])]
            fact = call("core_memory_append", label="human", content=text[:90])
            return [["Let me keep that.", fact]]
        if chance < 0.15:
            return [call("conversation_search", query=" ".join(text.split()[:6]), limit=3)]
        return []

    def turn(self, text: str) -> None:
        self.agent.store.clock.move(seconds=90)  # type: ignore[attr-defined]
        self.text, self.calls, self.requests = text, self.writing(text), []
        self.said.append(("user", text))
        answers: list[Record] = []
        turn = None
        for event in self.agent.stream(text):
            turn = event
            self.writes += isinstance(event, Folded)
        assert turn is not None
        self.writes += sum(bool(result.commit) for result in turn.tool_calls)  # type: ignore[union-attr]
        self.turns.append(turn.id)  # type: ignore[union-attr]
        path = self.agent.store.segments()[-2:]
        records = [r for one in path for r in self.agent.store.records(one)]
        answers = [r for r in records if r.sent and r.turn == self.turns[-1]]
        for record, request in zip(answers, self.requests, strict=True):
            self.wire[record.id] = sha256(request).hexdigest()


def everything(agent: Agent) -> list[Record]:
    return [r for path in agent.store.segments() for r in agent.store.records(path)]


def found(agent: Agent, query: str, text: str) -> bool:
    """Whether a text is in the first list of hits."""
    return text in {hit.doc.text for hit in agent.search(query, kinds=("record",)).hits}


def check(replay: Replay, prompts: int) -> str:
    """All that must be true of a life, when it is over."""
    agent = replay.agent
    records = everything(agent)
    # recall is what went in
    spoken = [(r.role, r.content) for r in records if r.role in ("user", "assistant")]
    assert spoken == replay.said
    # each fold covers what stands together, and all of them what is not in view
    order = [code(record.id) for record in records if record.role != "summary"]
    folds = [record.covers for record in records if record.covers]
    at = 0
    for covers in folds:
        mine = codes(covers)
        assert set(order[at : at + covers.count]) <= mine
        assert code(covers.first) == order[at]
        at += covers.count
        assert code(covers.last) == order[at - 1]
        assert covers.total == at
    view = agent.context().records
    assert list(view) == uncovered(records)
    assert [code(r.id) for r in view if r.role != "summary"] == order[at:]
    # any past prompt again
    for turn in replay.dice.sample(replay.turns, prompts):
        for made in agent.prompts(turn):
            prompt = made.context.prompt
            request = {"model": "scripted", "messages": prompt.messages, "tools": prompt.tools}
            assert sha256(encoded(request).encode()).hexdigest() == replay.wire[made.answer.id]
            assert made.same
    # nothing is lost: each turn is found by its own words, nearly always even without quotes
    # ("yesterday" in a query is looked for in what was said yesterday)
    texts = list(dict.fromkeys(text for role, text in replay.said if role == "user"))
    missed = [text for text in texts if not found(agent, text.replace('"', " "), text)]
    for text in missed:
        assert found(agent, f'"{max(text.split(chr(34)), key=len)}"', text), text
    assert len(missed) <= len(texts) * 0.02
    # and it is small
    agent.maintain()
    assert git(agent, "fsck", "--strict") == ""
    log = sum((agent.root / path).stat().st_size for path in agent.store.segments())
    packs = sum(p.stat().st_size for p in (agent.root / ".git/objects").rglob("*") if p.is_file())
    assert packs <= log + 1024 * replay.writes
    reused = sorted(replay.reused[1:])
    mean = sum(reused) / len(reused)
    return (
        f"{len(replay.turns):,} turns, {len(replay.wire):,} prompts, longest {replay.most:,} of "
        f"{agent.window.size:,} tokens; {len(folds)} folds, {replay.writes:,} memory commits; "
        f"{len(missed)} turns found only in quotes; log {log / 1e6:.2f} MB, objects {packs / 1e6:.2f} MB; of a prompt {mean:.1%} is a prefix "
        f"of the next one, in {sum(r == 1 for r in reused) / len(reused):.0%} all of it"
    )


def made_up(count: int) -> Iterator[str]:
    """Sentences about people and things, no two alike."""
    dice = random.Random(4)
    names = "Anna Berta Carla Dora Emil Fritz Gustav Hanna Ida Jonas".split()
    verbs = "met saw called helped painted taught visited thanked".split()
    things = "boat garden violin kitchen bicycle letter market river bridge lantern".split()
    places = "Ghent Utrecht Porto Bremen Turin Lyon Graz Basel".split()
    for number in range(count):
        who, other = dice.sample(names, 2)
        yield (
            f"{who}: I {dice.choice(verbs)} {other} in {dice.choice(places)} on day {number}, and "
            f"we spoke about the {dice.choice(things)} and the {dice.choice(things)} at "
            f"{dice.randrange(24)}:{dice.randrange(10, 60)} until it was time to leave. "
            * dice.choice([1, 1, 1, 3])
        ).strip()


def test_a_short_life(make: Make, record_property: Callable[[str, object], None]) -> None:
    replay = Replay(make(clock=FixedClock()))
    config = replay.agent.root / "agent.yaml"
    config.write_text(config.read_text().replace("8192", "4096"))
    for text in made_up(120):
        replay.turn(text)
    record_property("report", check(replay, 30))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_conversations(make: Make, record_property: Callable[[str, object], None]) -> None:
    if not LOCOMO.is_file():
        pytest.skip("set LOCOMO to the file locomo10.json, or a part of it")
    replay = Replay(make())
    for conversation in load(LOCOMO)[:5]:
        for record in conversation.turns:
            replay.turn(f"{record.name}: {record.content}")
    record_property("report", check(replay, 500))
