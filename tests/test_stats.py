"""What a life costs and how it grows: what recall keeps of each call, and what stats makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fsagent import Agent, ToolContext, call, tool
from fsagent.cli.common import columns
from fsagent.cli.stats import _sparkline
from fsagent.config import Price, parse_config
from fsagent.errors import ConfigError
from fsagent.llm import Client, Completion, Prompt
from fsagent.records import Record, TextDelta, Usage

from conftest import FixedClock, git
from test_cli import Shell, plain, shell

Make = Callable[..., Agent]
__all__ = ["shell"]


def configure(agent: Agent, text: str) -> None:
    path = agent.root / "agent.yaml"
    path.write_text(path.read_text() + text)


def records(agent: Agent) -> list[Record]:
    return [r for path in agent.store.segments() for r in agent.store.records(path)]


class Metered(Client):
    """A client that takes its time and says what it used."""

    def __init__(self, *answers: Any, seconds: float = 0.0, usage: Usage | None = None) -> None:
        self.model = "gpt-5-mini-2025-08-07"
        self._answers = iter(answers)
        self._seconds = seconds
        self.usage = usage or Usage(1000, 100, 600)

    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        answer = next(self._answers)
        time.sleep(self._seconds)
        calls = (answer,) if not isinstance(answer, str) else ()
        text = answer if isinstance(answer, str) else ""
        if text:
            yield text
        yield Completion(text, calls, self.usage, self.model)


def test_each_call_says_what_it_took(make: Make) -> None:
    @tool
    def nap(ctx: ToolContext) -> str:
        """Sleep a little."""
        time.sleep(0.2)
        return "slept"

    agent = make(tools=[nap])
    agent._client = Metered(call("nap"), "Good.", seconds=0.3)
    for event in agent.stream("sleep"):
        if isinstance(event, TextDelta):
            time.sleep(0.4)  # whoever reads the stream takes their time, which is not ours
    asked, slept, answered = records(agent)[1:]
    assert asked.ms is not None
    assert asked.own_ms is not None
    assert answered.ms is not None
    assert answered.own_ms is not None
    assert slept.ms is not None
    assert 300 <= asked.ms < 400
    assert 200 <= slept.ms < 300
    assert 300 <= answered.ms < 400
    assert answered.own_ms < 200  # neither the model's time, nor the tool's, nor the reader's
    assert asked.usage == Usage(1000, 100, 600)
    line = json.loads((agent.root / agent.store.segments()[0]).read_text().splitlines()[-1])
    assert list(line)[-5:] == ["model", "usage", "ms", "own_ms", "sent"]


def test_a_turn_that_is_broken_off_counts_what_was_called(make: Make) -> None:
    agent = make()
    agent._client = Metered("one two", usage=Usage(10, 2))
    stream = agent.stream("count")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert git(agent, "status", "--porcelain") == ""
    assert agent.stats().total.calls == 0


def lived(make: Make) -> Agent:
    """An agent of three days, with an import and a tool that failed."""
    clock = FixedClock()
    agent = make(clock=clock)
    configure(agent, "prices:\n  currency: EUR\n  gpt-5: {in: 1, out: 10, cached: 0.5}\n  gpt-5-mini: {in: 0.25, out: 2}\n")  # fmt: skip
    append = call("core_memory_append", label="human", content="Likes tea.")
    agent._client = Metered(append, "Noted.", call("fly"), "No.")
    agent.chat("I like tea")
    agent.notes.add("A note")
    clock.move(days=2)
    agent.chat("Fly!")
    agent._client = Metered("Hm.", usage=Usage(500, 50))
    agent._client.model = "other"
    agent.chat("more")
    path = agent.root.parent / "old.jsonl"
    path.write_text('{"role": "assistant", "content": "x", "ts": "2020-01-01", "model": "gpt-4"}')
    agent.import_file(path)
    return agent


def test_sums_by_day_model_and_tool(make: Make) -> None:
    agent = lived(make)
    found = agent.stats()
    assert sum(found.growth.commits) == len(git(agent, "log", "--format=%h").split())
    assert (found.total.turns, found.total.calls) == (3, 5)
    assert (found.total.sent, found.total.cached, found.total.answered) == (4500, 2400, 450)
    assert {day: calls.calls for day, calls in found.days.items()} == {
        "2026-11-21": 2,
        "2026-11-23": 3,
    }
    assert list(found.models) == ["gpt-5-mini-2025-08-07", "other"]
    # 1,000 sent of which 600 cached, for which nothing else is said, and 100 answered, four times
    assert found.total.cost == pytest.approx(4 * (1000 * 0.25 + 100 * 2) / 1e6)
    assert found.models["other"].cost is None
    assert found.unpriced == ["other"]
    append, fly = found.tools["core_memory_append"], found.tools["fly"]
    assert (append.calls, append.failed, append.changes) == (1, 0, 1)
    assert (fly.calls, fly.failed, fly.changes) == (1, 1, 0)
    assert found.growth.days == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert found.growth.notes == [1, 1, 1]
    assert found.growth.blocks["human"] == [20, 20, 20]


def test_only_since_a_day(make: Make) -> None:
    found = lived(make).stats(datetime(2026, 11, 22, tzinfo=UTC))
    assert list(found.days) == ["2026-11-23"]
    assert found.total.calls == 3
    assert found.growth.days == ["2026-11-22", "2026-11-23"]
    assert found.growth.notes == [1, 1]


def test_growth_of_blocks_that_come_and_go(make: Make) -> None:
    clock = FixedClock()
    agent = make(clock=clock)
    (agent.root / "core/work.md").write_text("---\nlimit: 100\n---\n\nA dike.\n")
    agent.adopt()
    clock.move(days=1)
    agent.blocks["human"] = "Name: Timothy"
    clock.move(days=1)
    (agent.root / "core/work.md").unlink()
    agent.adopt()
    growth = agent.stats().growth
    assert growth.blocks == {"persona": [39] * 3, "human": [9, 13, 13], "work": [7, 7, None]}
    assert growth.commits == [2, 1, 1]


def test_a_clock_that_goes_wrong_is_forgiven(make: Make) -> None:
    clock = FixedClock()
    agent = make(clock=clock)
    clock.move(days=300)
    agent.notes.add("from the future")
    clock.move(days=-298)
    agent.blocks["human"] = "Name: Timothy"
    growth = agent.stats().growth
    assert growth.days == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert growth.commits == [1, 0, 2]
    assert growth.notes == [0, 0, 1]
    assert growth.blocks["human"] == [9, 9, 13]


def test_prices() -> None:
    config = parse_config(b"id: a\nprices: {gpt-5: {in: 2, out: 8}, gpt-5-mini: {in: 1, cached: 0, out: 4}}")  # fmt: skip
    assert config.price("gpt-5-mini-2025") == Price(1.0, 0.0, 4.0)
    assert config.price("gpt-5.2") == Price(2.0, 2.0, 8.0)
    assert config.price("claude") is None
    assert Price(1, 0.1, 4).of(Usage(1_000_000, 500_000, 400_000)) == pytest.approx(2.64)


@pytest.mark.parametrize(
    "text",
    ["prices: 3", "prices: {a: 1}", "prices: {a: {in: 1}}", "prices: {a: {in: x, out: 1}}",
     "prices: {a: {in: -1, out: 1}}", "prices: {a: {in: .inf, out: 1}}", "prices: {a: {in: 1, out: true}}",
     "prices: {a: {in: 1, out: 1, more: 2}}"],
)  # fmt: skip
def test_prices_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(ConfigError, match=r"prices takes for each model what a million tokens"):
        parse_config(b"id: a\n" + text.encode())


def test_sparklines() -> None:
    assert _sparkline([0, 1, 4, 8], 8) == " ▁▄█"
    assert _sparkline([0.001, 20], 8) == "▁█"
    assert _sparkline([0, 0], 0) == "  "


def test_the_screen(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain(shell.run("stats", "sarah")[0]) == (
        "No model was called.\n\n"
        "commits  █  1\n"
        "notes       0\n"
        "persona  ▁  39 of 2,000 characters\n"
        "human    ▁  9 of 2,000 characters\n"
        f"         {time.strftime('%Y-%m-%d', time.gmtime())} to {time.strftime('%Y-%m-%d', time.gmtime())}\n"
    )
    with (shell.home / "agent.yaml").open("a") as file:
        file.write("prices: {scripted: {in: 1000, out: 2000}}\n")
    shell.script({"tool": "core_memory_append", "arguments": {"label": "human", "content": "Tea."}}, "Noted.")  # fmt: skip
    shell.run("chat", "sarah", "I like tea")
    out, err = shell.run("stats", "sarah")
    lines = out.splitlines()
    assert lines[0].split() == ["day", "turns", "calls", "sent", "cached", "answered", "model", "fsagent", "cost"]  # fmt: skip
    assert lines[1].split()[1:3] == ["1", "2"]
    assert lines[2].startswith("all ")
    assert lines[4].startswith("model ")
    assert lines[5].startswith("scripted:script.json  ")
    assert lines[7].split() == ["tool", "calls", "failed", "changes", "time"]
    assert lines[8].startswith("core_memory_append      1       0        1")
    assert "\x1b" not in out  # no colour where nobody sees it
    assert err == ""
    found = shell.json("stats", "sarah", "--since", "2026-01-01")
    assert list(found) == ["total", "days", "models", "tools", "unpriced", "growth"]
    assert list(found["total"]) == [
        "turns", "calls", "sent", "cached", "answered", "model_ms", "own_ms", "cost",
    ]  # fmt: skip
    assert shell.json("stats", "sarah", "--since", "2999-01-01")["total"]["calls"] == 0
    assert "is no date" in shell.fails("stats", "sarah", "--since", "soon", status=2)


def test_names_of_any_length_and_script(make: Make, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    for label in ("项目", "x" * 60):
        (shell.home / f"core/{label}.md").write_text("Tea.\n")
    git(shell.home, "add", "-A")
    git(shell.home, "commit", "-qm", "blocks", "--author", "田中太郎 <t@example.org>")
    lines = plain(shell.run("stats", "sarah")[0]).splitlines()
    bars = [columns(line[: line.index("▁")]) for line in lines if "▁" in line]
    assert len(bars) == 4
    assert set(bars) == {42}
    assert max(map(columns, lines)) <= 80
    assert plain(shell.run("why", "sarah", "项目")[0]).count("田中太郎") == 1


def test_a_long_life_fits_the_terminal(make: Make, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    clock = FixedClock()
    clock.move(days=-400)
    agent = make(*["ok"] * 40, clock=clock, directory=shell.folder / "old")
    for _ in range(40):
        agent.chat("hi")
        clock.move(days=10)
    for wide in (60, 100):
        monkeypatch.setenv("COLUMNS", str(wide))
        out, _ = shell.run("stats", "old")
        drawn = [
            line for line in out.splitlines() if line.startswith(("commits", "notes", "human"))
        ]
        assert len(drawn) == 3
        assert max(map(len, drawn)) <= wide
        assert len(drawn[0]) > wide - 30
        assert out.splitlines()[1].startswith("to 20")
        assert len([line for line in out.splitlines() if line.startswith("202")]) == 14
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    out, _ = shell.run("stats", "old")
    assert "?" not in out
