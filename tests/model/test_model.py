"""The embedded model's own suite: what it decides, what it writes, what it overwrites.

    make test-model

The utterances in cases.json were written after the prompt was frozen, by somebody who had seen
neither it nor an earlier suite. Each is asked of a fresh agent with one to four lines of core memory, whatever it is about, along
the product's own road: a whole turn, its tool calls run, its commits made. What counts is what then
stands in the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent
from fsagent.config import AgentConfig
from fsagent.environment import Environment
from fsagent.llm import Client
from fsagent.llm.choose import choose
from fsagent.records import Turn

from conftest import git

pytestmark = [pytest.mark.model, pytest.mark.timeout(3600)]

CASES = json.loads(Path(__file__).with_name("cases.json").read_text())
MACHINE = Environment.read()
"""The person's own caches, read before the tests get theirs: that is where the weights are."""

WRITES = {
    "core_memory_append": "append",
    "core_memory_replace": "replace",
    "archival_memory_insert": "note",
}


@dataclass
class Outcome:
    """What one utterance did."""

    case: dict[str, Any]
    turn: Turn
    did: list[str]
    right_tool: bool
    right_arguments: bool
    overwritten: list[str]
    written: str = field(repr=False, default="")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = choose(AgentConfig(id="suite", name="suite"), MACHINE, "local").client
    yield client
    close = getattr(client, "close", None)
    if close:
        close()


def has(text: str, words: list[str]) -> bool:
    """Whether every word, or one of its alternatives, occurs."""
    text = text.lower()
    return all(any(part in text for part in word.lower().split("|")) for word in words)


def ask(client: Client, case: dict[str, Any], folder: Path) -> Outcome:
    agent = Agent.init(folder / case["id"], human="\n".join(case["memory"]), client=client)
    persona = agent.blocks["persona"].text.split("\n")
    turn = agent.chat(case["say"])
    lines = agent.blocks["human"].text.split("\n")
    added = [line for line in lines if line not in case["memory"]]
    added += [line for line in agent.blocks["persona"].text.split("\n") if line not in persona]
    notes = [note.text for note in agent.notes]
    expect = case["expect"]
    may_go = {each["old"] for each in expect if each["do"] == "replace"}
    gone = [line for line in [*case["memory"], *persona] if line not in
            [*lines, *agent.blocks["persona"].text.split("\n")]]  # fmt: skip
    did = [
        WRITES[result.call.name]
        for result in turn.tool_calls
        if result.call.name in WRITES and result.commit
    ]
    wanted = sorted(each["do"] for each in expect)
    # Two facts in one message may be two lines or one.
    right_tool = sorted(did) == wanted or (set(did) == set(wanted) == {"append"})
    right = right_tool
    for each in expect:
        where = notes if each["do"] == "note" else added
        right &= has("\n".join(where), each["words"])
        right &= each.get("old") not in lines
    assert git(agent, "status", "--porcelain") == ""
    outcome = Outcome(
        case, turn, did, right_tool, right, [line for line in gone if line not in may_go],
        " | ".join([*added, *notes]),
    )  # fmt: skip
    agent.close()
    return outcome


def test_utterances(client: Client, tmp_path: Path) -> None:
    outcomes = []
    for case in CASES["utterances"]:
        outcome = ask(client, case, tmp_path)
        outcomes.append(outcome)
        if not outcome.right_arguments or outcome.overwritten:
            print(
                f"\n{case['id']} {case['say']!r}\n  memory {case['memory']}\n"
                f"  wanted {[e['do'] for e in case['expect']]} did {outcome.did}: {outcome.written}"
                + (f"\n  OVERWRITTEN {outcome.overwritten}" if outcome.overwritten else "")
            )
    count = len(outcomes)
    tools = sum(o.right_tool for o in outcomes)
    arguments = sum(o.right_arguments for o in outcomes)
    overwritten = [line for o in outcomes for line in o.overwritten]
    print("\nright by number of memory lines, tool / tool and arguments / of")
    for size in (1, 2, 3, 4):
        some = [o for o in outcomes if len(o.case["memory"]) == size]
        print(
            f"  {size}: {sum(o.right_tool for o in some)} / "
            f"{sum(o.right_arguments for o in some)} / {len(some)}"
        )
    for name, some in (
        ("English", [o for o in outcomes if o.case["language"] == "en"]),
        ("other languages", [o for o in outcomes if o.case["language"] != "en"]),
        ("two steps", [o for o in outcomes if len(o.case["expect"]) == 2]),
    ):
        print(
            f"  {name}: {sum(o.right_tool for o in some)} / "
            f"{sum(o.right_arguments for o in some)} / {len(some)}"
        )
    print(
        f"right tool {tools} of {count} ({tools / count:.0%}), tool and arguments {arguments} "
        f"({arguments / count:.0%}), memory lines overwritten that the message did not speak of: "
        f"{len(overwritten)}"
    )
    assert count >= 60
    assert overwritten == []
    assert tools / count >= 0.85
    assert arguments / count >= 0.80


def test_answers_from_memory(client: Client, tmp_path: Path) -> None:
    right = 0
    for case in CASES["questions"]:
        agent = Agent.init(tmp_path / case["id"], human="\n".join(case["memory"]), client=client)
        for note in case["notes"]:
            agent.notes.add(note)
        turn = agent.chat(case["say"])
        good = has(turn.reply, case["words"])
        right += good
        print(f"\n{case['id']} {'right' if good else 'WRONG'} {case['say']!r}\n  {turn.reply}")
        agent.close()
    count = len(CASES["questions"])
    print(f"answers from memory: {right} of {count}")
    assert right / count >= 0.8
