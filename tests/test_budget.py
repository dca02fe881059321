"""What a turn may take: it is stopped before it is passed, with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.clock import Clock
from fsagent.config import Budget, parse_config
from fsagent.errors import ConfigError, ModelError, OverBudget
from fsagent.llm import Client, Completion, Prompt
from fsagent.llm.openai import OpenAIClient
from fsagent.records import MAIN, ToolCall, Usage, Warned
from fsagent.tokens import count_tools, counter, message_texts

from conftest import FixedClock, git, subjects
from stub_openai import stub_openai, text
from test_stats import configure, records

Make = Callable[..., Agent]


class Counting(Client):
    """A client that calls a tool again and again, and answers with as many tokens as it may."""

    model = "gpt-4o"

    def __init__(self, factor: float = 1.0, tells: bool = True) -> None:
        self.prompts: list[Prompt] = []
        self.sizes: list[int] = []
        self._factor = factor
        self._tells = tells
        self._count = counter(self.model)

    def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
        self.prompts.append(prompt)
        texts = [text for message in prompt.messages for text in message_texts(message)]
        self.sizes.append(sum(map(self._count, texts)) + count_tools(self._count, prompt.tools))
        answer = min(prompt.most or 500, 500)
        calls = (ToolCall(f"c{len(self.prompts)}", "conversation_search", '{"query": "x"}'),)
        usage = Usage(int(self.sizes[-1] * self._factor), answer) if self._tells else Usage()
        yield "word " * answer
        yield Completion("word " * answer, calls, usage, self.model)


def spent(agent: Agent) -> int:
    return sum(r.usage.prompt + r.usage.completion for r in records(agent) if r.usage)


@pytest.mark.parametrize("limit", [3000, 5000, 12_000, 40_000])
def test_a_turn_stops_before_its_tokens_are_used_up(make: Make, limit: int) -> None:
    agent = make()
    configure(agent, f"budget: {{tokens_per_turn: {limit}}}\n")
    agent._client = Counting()
    events = list(agent.stream("go"))
    assert 0 < spent(agent) <= limit
    assert spent(agent) > limit - 4000  # and not long before
    (warning,) = [event.text for event in events if isinstance(event, Warned)]
    assert f"of the {limit:,} that agent.yaml allows (budget: tokens_per_turn)" in warning
    assert records(agent)[-1].role == "event"
    assert records(agent)[-1].content.startswith("The turn was stopped: This turn has used")
    assert git(agent, "status", "--porcelain") == ""


def test_a_model_that_counts_more_than_we_do_is_learnt(make: Make) -> None:
    agent = make()
    configure(agent, "budget: {tokens_per_turn: 20000}\n")
    agent._client = Counting(factor=1.5)
    agent.chat("go")
    assert 0 < spent(agent) <= 20_000


def test_a_model_that_tells_no_numbers_is_counted(make: Make) -> None:
    agent = make()
    configure(agent, "budget: {tokens_per_turn: 8000}\n")
    client = agent._client = Counting(tells=False)
    agent.chat("go")
    assert len(client.prompts) >= 2
    assert sum(client.sizes[: len(client.prompts)]) + 500 * len(client.prompts) <= 8000
    assert spent(agent) >= 4000  # so that a day has an end as well


def test_without_room_for_one_call_none_is_made(make: Make) -> None:
    agent = make("never")
    configure(agent, "budget: {tokens_per_turn: 100}\n")
    with pytest.raises(OverBudget, match=r"^This turn has used 0 tokens, and the next call would need [\d,]+ of the 100 that agent.yaml allows \(budget: tokens_per_turn\): raise it\.$"):  # fmt: skip
        agent.chat("hi")
    assert [r.role for r in records(agent)][-2:] == ["user", "event"]
    assert subjects(agent)[0] == "turn: hi"


def test_a_day_has_its_tokens_over_all_threads(make: Make) -> None:
    clock = FixedClock()
    agent = make(clock=clock)
    configure(agent, "timezone: Europe/Berlin\nbudget: {tokens_per_day: 12000, steps: 1}\n")
    client = agent._client = Counting()
    clock.move(hours=13)  # 22:30 in UTC, 23:30 in Berlin

    def talk(agent: Agent) -> int:
        """Turns in either thread, until there is no more."""
        for done in range(20):
            try:
                agent.chat("go on", thread=(MAIN, "work")[done % 2])
            except OverBudget:
                return done
        raise AssertionError("there was no end")

    assert talk(agent) >= 2
    with pytest.raises(OverBudget, match=r"^The calls of today have used [\d,]+ tokens, .*: raise it, or go on tomorrow\.$"):  # fmt: skip
        agent.chat("more")
    first = spent(agent)
    assert 8000 < first <= 12_000
    other = Agent.open(agent.root, client, clock=clock)  # another process counts the same
    assert talk(other) == 0
    clock.move(hours=1)  # a new day in Berlin, though not in UTC
    assert talk(other) >= 2
    assert 8000 < spent(agent) - first <= 12_000
    other.close()


def test_a_large_budget_asks_for_no_more_than_fits(make: Make) -> None:
    """Endpoints refuse a prompt and an answer that are too long together, or the answer alone."""
    agent = make()
    configure(agent, "budget: {tokens_per_day: 1000000, steps: 1}\n")
    path = agent.root / "agent.yaml"
    for window in (4096, 100_000):
        path.write_text(re.sub("context_window: .*", f"context_window: {window}", path.read_text()))
        client = agent._client = Counting()
        agent.chat("Hello.")
        (prompt,), (size,) = client.prompts, client.sizes
        assert prompt.most is not None
        assert 64 <= prompt.most <= min(window - size, 4096)


def test_nothing_is_folded_for_a_call_that_is_not_made(make: Make) -> None:
    agent = make(*["word " * 400] * 20)
    path = agent.root / "agent.yaml"
    path.write_text(re.sub("context_window: .*", "context_window: 4096", path.read_text()))
    for _ in range(3):
        agent.chat("go on")
    configure(agent, "budget: {tokens_per_day: 2000}\n")
    with pytest.raises(OverBudget, match="go on tomorrow"):
        agent.chat("more " * 800)
    assert not any(subject.startswith("fold") for subject in subjects(agent))


def test_the_arguments_of_calls_count(make: Make) -> None:
    agent = make()

    class Silent(type(agent.client)):  # type: ignore[misc]
        def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
            for part in super().complete(prompt):
                yield replace(part, usage=Usage()) if isinstance(part, Completion) else part

    agent._client = Silent([call("archival_memory_insert", content="word " * 3000), "Done."])
    configure(agent, "budget: {tokens_per_day: 100000}\n")
    agent.chat("go")
    assert [r.usage.completion > 3000 for r in records(agent) if r.usage] == [True, False]


def test_a_summary_that_was_broken_off_counts(make: Make) -> None:
    agent = make()

    class Breaks(type(agent.client)):  # type: ignore[misc]
        def complete(self, prompt: Prompt) -> Iterator[str | Completion]:
            if prompt.tools:
                yield from super().complete(prompt)
            else:
                yield "word " * 100
                raise ModelError("The line is down.")

    agent._client = Breaks(["word " * 300] * 20)
    for _ in range(15):
        agent.chat("go on")
    configure(agent, "budget: {tokens_per_day: 100000}\n")
    folded = agent.fold()
    assert folded
    assert folded.summary.usage
    assert folded.summary.usage.completion >= 200  # it was asked for twice
    assert folded.summary.usage.prompt > 1000
    assert folded.summary.ms is not None


def test_a_fork_has_a_day_of_its_own(make: Make, tmp_path: Path) -> None:
    agent = make("Hello.", "Well.", clock=Clock())
    configure(
        agent, "budget: {tokens_per_day: 4000, steps: 1}\nprices: {scripted: {in: 1, out: 2}}\n"
    )
    agent._client = Counting()
    agent.chat("go on")
    with pytest.raises(OverBudget):
        agent.chat("go on")
    fork = agent.fork(tmp_path / "fork")
    fork._client = Counting()
    assert fork.stats().total.calls == 0
    assert fork.chat("hi").steps == 1
    assert fork.stats().total.calls == 1
    fork.close()


def test_an_answer_that_was_broken_off_counts(make: Make) -> None:
    agent = make("word " * 300)
    configure(agent, "budget: {tokens_per_day: 100000}\n")
    stream = agent.stream("go on")
    next(stream)
    stream.close()
    assert spent(agent) > 1000


def test_steps(make: Make) -> None:
    agent = make(*[call("conversation_search", query="x")] * 9)
    configure(agent, "budget: {steps: 3}\n")
    turn = agent.chat("go")
    assert turn.steps == 3
    assert turn.warnings == (
        "The turn was stopped after 3 steps; agent.yaml may allow more (budget: steps).",
    )


def test_what_the_endpoint_is_told(make: Make) -> None:
    with stub_openai(text("hi"), text("hi"), {**text("cut"), "finish_reason": "length"}) as stub:
        agent = make()
        client = agent._client = OpenAIClient("m", base_url=stub.url, retries=0)
        agent.chat("one")
        configure(agent, "budget: {tokens_per_turn: 4000}\n")
        agent.chat("two")
        warnings = agent.chat("three").warnings
        client._url = "https://api.openai.com/v1"
        asked: list[dict[str, object]] = []
        create = client._client.chat.completions.with_raw_response
        create.create = lambda **request: asked.append(request) or 1 / 0  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            list(client.complete(Prompt(({"role": "user", "content": "x"},), most=7)))
        client.close()
    assert "max_tokens" not in stub.requests[0]
    assert 100 < stub.requests[1]["max_tokens"] < 4000
    cut = re.fullmatch(
        r"The reply was cut at ([\d,]+) tokens, as agent.yaml has a budget.", *warnings
    )
    assert cut
    assert 100 < int(cut[1].replace(",", "")) < 4000
    assert asked[0]["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    "text", ["3", "{steps: 0}", "{steps: many}", "{tokens: 5}", "{tokens_per_day: -1}", "[1]", "{steps: true}"]
)  # fmt: skip
def test_a_budget_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(ConfigError, match="budget takes tokens_per_turn, tokens_per_day, steps"):
        parse_config(f"id: a\nbudget: {text}".encode())


def test_the_default() -> None:
    assert parse_config(b"id: a").budget == Budget(None, None, 50)
    assert parse_config(b"id: a\nbudget: {steps: 5}").budget == Budget(None, None, 5)
