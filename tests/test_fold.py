"""Folding: the window never overflows, and nothing that was folded is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, ToolContext, Turn, call, tool
from fsagent.errors import ModelError, PromptTooLong, StoreError, UndoConflict
from fsagent.fold import EXTRACT, facts
from fsagent.formats import format_record
from fsagent.llm import Prompt
from fsagent.records import PRESSURE, Folded, Record
from fsagent.view import code, codes

from conftest import FixedClock, git, script, subjects
from test_cli import Shell, plain, shell

__all__ = ["shell"]

Make = Callable[..., Agent]

FILLER = "the weather was as it was and we went on with what we had begun before "


def is_summary(prompt: Prompt) -> bool:
    """Whether a prompt asks for a summary."""
    return prompt.messages[0]["content"].startswith("You keep the memory of a conversation.")


def summed(text: str = "") -> Callable[[Prompt], str]:
    """A summary with all names and numbers of what is to be summarised."""

    def write(prompt: Prompt) -> str:
        assert is_summary(prompt)
        said = prompt.messages[1]["content"]
        words = dict.fromkeys(re.findall(r"\b(?:[A-Z]\w+|\d[\d:-]*\d)\b", said))
        return text or " ".join(words)[:1200]

    return write


class Talk:
    """A conversation with an agent of a small window; the model folds when it is asked to."""

    def __init__(self, agent: Agent, window: int = 4096) -> None:
        self.agent = agent
        self.write: Any = summed()
        self.summaries: list[Prompt] = []
        self.prompts: list[Prompt] = []
        self.items: list[Any] = []
        config = agent.root / "agent.yaml"
        text = re.sub(r"context_window: \d+", f"context_window: {window}", config.read_text())
        config.write_text(text)
        agent.adopt()
        script(agent, *[self.answer] * 10_000)

    def answer(self, prompt: Prompt) -> Any:
        if is_summary(prompt):
            self.summaries.append(prompt)
            return self.write
        self.prompts.append(prompt)
        return self.items.pop(0) if self.items else f"Reply {len(self.prompts)}. {FILLER}"

    def say(self, text: str, *items: Any) -> list[Any]:
        self.agent.store.clock.move(minutes=10)  # type: ignore[attr-defined]
        self.items += items
        return list(self.agent.stream(text))

    def until_fold(self, words: int = 1) -> tuple[Folded, list[str]]:
        """Talk on until there is a fold; that, and what was said."""
        said = []
        for number in range(200):
            said.append(f"Message number {number}00 of Anna. " + FILLER * words)
            for event in self.say(said[-1]):
                if isinstance(event, Folded):
                    return event, said
        raise AssertionError("nothing was folded")

    def total(self, prompt: Prompt) -> int:
        from fsagent.tokens import count_message, count_tools

        count = self.agent.window.count
        tokens = sum(count_message(count, message) for message in prompt.messages)
        return tokens + count_tools(count, prompt.tools)


def everything(agent: Agent) -> list[Record]:
    return [r for path in agent.store.segments() for r in agent.store.records(path)]


@pytest.fixture
def talk(make: Make) -> Talk:
    return Talk(make())


def test_the_oldest_messages_become_a_summary(talk: Talk) -> None:
    folded, said = talk.until_fold()
    agent, covers = talk.agent, folded.summary.covers
    assert covers
    records = everything(agent)
    old = records[: covers.count]
    assert [covers.first, covers.last] == [old[0].id, old[-1].id]
    assert codes(covers) == {code(record.id) for record in old}
    assert covers.total == covers.count
    assert records[covers.count].role == "user"  # cut before a turn
    assert folded.after < folded.before > agent.window.limit
    assert folded.after <= agent.window.limit
    prompt = talk.prompts[-1]
    assert folded.summary.content in prompt.messages[0]["content"]
    assert f"Recall holds {covers.count} earlier messages" in prompt.messages[0]["content"]
    assert said[0] not in str(prompt.messages[1:])
    assert prompt.messages[-1]["content"].endswith(said[-1])
    # in Git, as a commit of its own
    assert folded.commit
    assert folded.commit in git(agent, "log", "--format=%H").split()
    assert subjects(agent)[1].startswith(f"fold: {covers.count} messages: ")
    assert '"role": "summary"' in git(agent, "show", folded.commit)
    assert git(agent, "status", "--porcelain") == ""
    # and all of it is found
    for hit in (said[0], folded.summary.content):
        assert hit in {h.doc.text for h in agent.search(hit, kinds=("record",)).hits}
    first = next(h for h in agent.search(said[0]).hits if h.doc.text == said[0])
    assert first.after
    assert first.after.role == "assistant"
    assert agent.why("Message number 000 of Anna")[0].text == said[0]  # not the summary


def test_no_prompt_is_ever_over_the_window(make: Make, tmp_path: Path) -> None:
    for window in (3200, 4096, 8192):
        talk = Talk(make(directory=tmp_path / f"w{window}"), window)
        for _ in range(3):
            talk.until_fold(2)
        limit = talk.agent.window.limit
        assert limit < window
        assert max(map(talk.total, talk.prompts)) <= limit
        assert max(map(talk.total, talk.summaries)) <= limit
        assert len(talk.summaries) >= 3


def test_each_summary_builds_on_the_one_before(talk: Talk) -> None:
    talk.write = summed("Anna has 300 horses and 100 dogs. FIRST")
    first, _ = talk.until_fold()
    talk.write = summed()
    second, _ = talk.until_fold()
    assert "<summary>\nAnna has 300 horses" in talk.summaries[-1].messages[1]["content"]
    assert "FIRST" in second.summary.content
    assert first.summary.covers
    assert second.summary.covers
    assert code(first.summary.id) in codes(second.summary.covers)
    total = first.summary.covers.total + second.summary.covers.count
    assert second.summary.covers.total == total
    assert talk.prompts[-1].messages[0]["content"].count("<summary>\n") == 1
    records = [r for r in everything(talk.agent) if r.role != "summary"]
    place = [r.id for r in records].index(second.summary.covers.first)
    assert records[place - 1].id == first.summary.covers.last  # contiguous


def test_the_agent_is_told_once_before_a_fold(talk: Talk) -> None:
    talk.until_fold()
    talk.until_fold()
    told = [r for r in everything(talk.agent) if r.content.startswith(PRESSURE)]
    roles = [r.role for r in everything(talk.agent) if r in told or r.role == "summary"]
    assert roles == ["event", "summary", "event", "summary"]
    assert re.match(PRESSURE + r"\d\d % of the window is used\. .*Save now", told[0].content)
    seen = [p for p in talk.prompts if f"<event>{PRESSURE}" in str(p.messages[-1])]
    assert len(seen) == 2  # at once, with the user's own words


def test_a_long_turn_keeps_its_own_messages_and_their_results(talk: Talk) -> None:
    """The turn under way is never folded, and no call loses its result."""
    for number in range(4):
        talk.say(f"Message {number}. {FILLER}")
    found = call("conversation_search", query="Message number of Anna")
    items = [[call("archival_memory_insert", content=f"{FILLER * 3}{n}"), found] for n in range(8)]
    events = talk.say("Keep many notes, please.", *items, "All kept.")
    assert any(isinstance(event, Folded) for event in events)
    limit = talk.agent.window.limit
    for prompt in talk.prompts:
        assert talk.total(prompt) <= limit
        asked = [c["id"] for m in prompt.messages for c in m.get("tool_calls", ())]
        answered = [m["tool_call_id"] for m in prompt.messages if m["role"] == "tool"]
        assert asked == answered
        assert "gave a result" not in str(prompt.messages)
    last = talk.prompts[-1].messages
    assert "Keep many notes, please." in str([m for m in last if m["role"] == "user"])
    assert sum("archival_memory_insert" in str(m.get("tool_calls")) for m in last) == 8


def test_a_turn_that_alone_was_too_long_is_cut_between_its_steps(talk: Talk) -> None:
    items = [call("archival_memory_insert", content=FILLER * 5 + str(n)) for n in range(8)]
    talk.say("Many notes.", *items, "Done.")
    folded, _ = talk.until_fold()
    records = [r for r in everything(talk.agent) if r.role != "summary"]
    assert folded.summary.covers
    at = [r.id for r in records].index(folded.summary.covers.last) + 1
    assert records[at].role in ("user", "assistant", "event")
    view = talk.agent.context().prompt.messages
    asked = [c["id"] for m in view for c in m.get("tool_calls", ())]
    assert asked == [m["tool_call_id"] for m in view if m["role"] == "tool"]
    assert view[1]["role"] == "user"


def test_results_that_are_too_long_are_cut_in_the_prompt_only(make: Make) -> None:
    @tool
    def long(ctx: ToolContext) -> str:
        """Say much."""
        return "word " * 3000

    agent = make(tools=[long])
    talk = Talk(agent)
    talk.say("go", *[call("long")] * 3, "done")
    assert max(map(talk.total, talk.prompts)) <= agent.window.limit
    cut = [r.sent.cut for r in everything(agent) if r.sent]
    assert cut[0] is None
    assert cut[-1] in (4000, 2000, 1000, 400)
    assert "the rest is cut: the window is full" in talk.prompts[-1].messages[-1]["content"]
    assert [len(r.content) for r in everything(agent) if r.role == "tool"] == [15_000] * 3


def test_a_message_that_fits_no_window_is_kept_and_said_to_be_too_long(talk: Talk) -> None:
    with pytest.raises(PromptTooLong, match=r"needs [\d,]+ tokens and the window of 4,096 has"):
        talk.say("word " * 5000)
    assert talk.prompts == []
    talk.say("Shorter, then.")  # and the next turn folds it away
    assert len(talk.summaries) == 1
    assert talk.total(talk.summaries[0]) <= talk.agent.window.limit
    assert talk.prompts[-1].messages[-1]["content"].endswith("Shorter, then.")


def test_a_message_that_just_fits_is_taken_whatever_was_said_before(talk: Talk) -> None:
    talk.until_fold()
    window = talk.agent.window
    free = window.limit - talk.agent.context().fixed
    text = "word " * (1000 * (free - 200) // window.count("word " * 1000))
    assert free - 250 < window.count(text) < free - 150
    events = talk.say(text)
    folded = next(event for event in events if isinstance(event, Folded))
    assert window.count(folded.summary.content) < 150
    assert isinstance(events[-1], Turn)
    assert talk.total(talk.prompts[-1]) <= window.limit
    with pytest.raises(PromptTooLong, match=r"needs ([\d,]+) tokens") as caught:
        talk.say("word " * free)
    assert "say it in parts" in str(caught.value)
    folds = [one for one in subjects(talk.agent) if one.startswith("fold: ")]
    with pytest.raises(PromptTooLong):
        talk.say("word " * free)
    assert [one for one in subjects(talk.agent) if one.startswith("fold: ")] == folds


def test_steps_that_fill_the_window_end_the_turn(talk: Talk) -> None:
    talk.say("Hello.")
    notes = [call("archival_memory_insert", content=f"Fact {n}: {FILLER}") for n in range(90)]
    config = talk.agent.root / "agent.yaml"
    config.write_text(config.read_text() + "budget: {steps: 99}\n")
    last = talk.say("Keep all of this.", *notes)[-1]
    assert isinstance(last, Turn)
    assert 20 < last.steps < 90
    assert "ask for less at once" in last.warnings[0]
    assert max(map(talk.total, talk.prompts)) <= talk.agent.window.limit
    assert everything(talk.agent)[-1].content.startswith("The turn was stopped: This turn needs")
    talk.items.clear()
    assert talk.say("And now?")[-1].reply.startswith("Reply")


def test_nothing_is_folded_for_a_turn_that_is_too_long_all_the_same(talk: Talk) -> None:
    for number in range(6):
        talk.say(f"Message {number} of Anna. {FILLER * 2}")
    script(talk.agent, *[PromptTooLong("No model of ours takes that.")] * 20)
    with pytest.raises(PromptTooLong, match="No model of ours takes that"):
        talk.say("hi")
    with pytest.raises(PromptTooLong, match="say it in parts"):
        talk.say("word " * 5000)
    assert not any(subject.startswith("fold") for subject in subjects(talk.agent))


# ── summaries that cannot be used ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("", "It was empty"),
        ("   \n", "It was empty"),
        ("blah " * 6000, "It was longer than the messages"),
        ("Anna 100 200 300. " * 150, "It was too long"),
        ("They talked about this and that.", "It left out: Anna, "),
        (ModelError("The model is down."), "The model is down"),
        (PromptTooLong("Too long."), "Too long"),
        (call("core_memory_append", label="human", content="x"), "It was empty"),
    ],
)
def test_a_bad_summary_is_asked_for_again_and_then_replaced(talk: Talk, bad: Any, why: str) -> None:
    talk.write = bad
    folded, said = talk.until_fold()
    assert len(talk.summaries) == 2
    second = talk.summaries[1].messages[1]["content"]
    if not isinstance(bad, Exception):
        assert f"could not be used: {why}" in second
    assert why in folded.problem
    assert folded.summary.name == EXTRACT
    assert "Message number 000 of Anna" in folded.summary.content
    assert folded.after <= talk.agent.window.limit
    assert talk.prompts[-1].messages[-1]["content"].endswith(said[-1])  # the turn went on
    records = everything(talk.agent)
    assert [r.role for r in records[-2:]] == ["summary", "assistant"]


def test_the_second_try_may_be_the_right_one(talk: Talk) -> None:
    answers = iter(["", summed()])
    talk.write = lambda prompt: next(answers)
    folded, _ = talk.until_fold()
    assert folded.problem == ""
    assert folded.summary.name is None
    assert folded.summary.model == "scripted"
    assert len(talk.summaries) == 2


def test_a_summary_that_forgets_the_one_before_is_not_taken(talk: Talk) -> None:
    talk.write = summed("Said of 100 200: Anna; and Berta, Carla, Dora and 30559 Hannover.")
    talk.until_fold()
    talk.write = lambda prompt: " ".join(
        re.findall(r"number (\d+) of", prompt.messages[1]["content"].split("<messages>")[1])
    )
    folded, _ = talk.until_fold()
    assert "It left out, of the summary so far: Berta, Carla" in folded.problem
    assert "Hannover" in folded.summary.content


def test_the_times_in_an_extract_are_no_facts(talk: Talk) -> None:
    talk.write = ""
    first, _ = talk.until_fold()
    assert re.match(r"\[Sat 2026-11-21 ", first.summary.content)
    talk.write = lambda prompt: " ".join(
        dict.fromkeys(re.findall(r"Anna|(?<=number )\d+", prompt.messages[1]["content"]))
    )
    folded, _ = talk.until_fold()
    assert folded.problem == ""


def test_an_extract_of_an_extract_keeps_both(talk: Talk) -> None:
    talk.write = ""
    talk.say("My sister Berta lives in 30559 Hannover.")
    first, _ = talk.until_fold()
    second, _ = talk.until_fold()
    for folded in (first, second):
        assert "30559 Hannover" in folded.summary.content
    assert "Message number" in second.summary.content


def test_an_interrupt_leaves_no_half_fold(talk: Talk) -> None:
    talk.write = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        talk.until_fold()
    assert not [r for r in everything(talk.agent) if r.role == "summary"]
    assert git(talk.agent, "status", "--porcelain") == ""
    talk.write = summed()
    assert any(isinstance(event, Folded) for event in talk.say("Once more."))


def test_facts_are_names_and_numbers() -> None:
    said = [
        "Yesterday Anna went to Ghent. Then she came back at 14:30.",
        "It was Anna's birthday, 2026-11-21, and I gave her 3 books.",
        "Tell Berta: Anna is fine.",
    ]
    assert facts(said) == ["Anna", "Ghent", "Berta", "14:30", "2026-11-21"]
    assert facts(["Anna. 12", "Nothing."]) == []
    assert facts([]) == []


def test_a_conversation_that_never_was_folded_takes_few_calls(make: Make) -> None:
    """Ten thousand imported messages must not be ten thousand tokens of calls each."""
    agent = make()
    talk = Talk(agent, 100_000)
    for number in range(120):
        talk.say(f"Message {number} of Anna. {FILLER * 4}")
    Talk(agent, 4096)
    talk = Talk(agent, 4096)
    events = talk.say("And now?")
    folded = next(event for event in events if isinstance(event, Folded))
    assert 1 < len(talk.summaries) <= 3
    assert max(map(talk.total, talk.summaries)) <= agent.window.limit
    assert folded.summary.covers
    assert folded.summary.covers.count > 200
    assert folded.after <= agent.window.limit


# ── the provider says it is too long ──────────────────────────────────────────────────────────


def test_a_window_that_is_smaller_than_was_said(make: Make) -> None:
    talk = Talk(make(), 16_384)
    real = 5000

    def refusing(prompt: Prompt) -> Any:
        if talk.total(prompt) > real:
            return PromptTooLong("The prompt is too long for this model.")
        return talk.answer(prompt)

    script(talk.agent, *[refusing] * 500)
    folds = 0
    for number in range(70):
        events = talk.say(f"Message {number} of Anna. {FILLER * 2}")
        folds += sum(isinstance(event, Folded) for event in events)
    assert folds >= 2
    assert len(talk.prompts) == 70


def test_one_that_is_too_small_for_anything_is_an_error(talk: Talk) -> None:
    script(talk.agent, *[PromptTooLong("Too long for this model: set context_window.")] * 20)
    with pytest.raises(PromptTooLong):
        talk.say("hi")
    assert everything(talk.agent)[0].content == "hi"


# ── by hand, and taken back ───────────────────────────────────────────────────────────────────


def test_by_hand(talk: Talk) -> None:
    for number in range(8):
        talk.say(f"Message {number} of Anna. {FILLER}")
    agent = talk.agent
    head = git(agent, "rev-parse", "HEAD")
    (agent.root / "core/human.md").write_text("Edited by hand.\n")
    plan = agent.fold_plan()
    assert plan
    assert git(agent, "rev-parse", "HEAD") == head
    folded = agent.fold()
    assert folded
    assert folded.summary.covers
    assert folded.summary.covers.count == len(plan.records)
    assert folded.before == plan.now
    assert folded.after <= plan.then
    assert agent.context().tokens["total"] == folded.after
    assert git(agent, "status", "--porcelain").split() == ["M", "core/human.md"]  # not swept in
    assert agent.fold() is None


def test_small_windows_of_words_without_names(talk: Talk) -> None:
    """Chinese, and a conversation in which nothing is named."""
    talk.write = summed("没有什么特别的事情发生。")
    for number in range(60):
        talk.say("今天天气很好，我们去了公园，然后吃了午饭。" * 3 + str(number % 9))
    assert len([r for r in everything(talk.agent) if r.role == "summary" and not r.name]) >= 2
    assert max(map(talk.total, talk.prompts + talk.summaries)) <= talk.agent.window.limit


def test_a_fold_is_undone_and_redone(talk: Talk) -> None:
    for number in range(8):
        talk.say(f"Message {number} of Anna. {FILLER}")
    agent = talk.agent
    before = agent.context().prompt.messages
    folded = agent.fold()
    assert folded
    after = agent.context().prompt.messages
    assert len(after) < len(before)
    undone = agent.undo(folded.commit)
    assert undone.subject == f"undo: fold: {subjects(agent)[1].removeprefix('fold: ')}"[:72]
    assert undone.lines == tuple(f"-{line}" for line in folded.summary.content.split("\n"))
    again = agent.context().prompt.messages
    assert again[: len(before)] == before
    assert "took a summary back" in again[-1]["content"]
    assert git(agent, "status", "--porcelain") == ""
    with pytest.raises(StoreError, match="undone already"):
        agent.undo(folded.commit)
    redone = agent.undo(undone.commit)
    assert redone.subject.startswith("redo: fold: ")
    assert agent.context().prompt.messages[0] == after[0]
    with pytest.raises(StoreError, match="undone already"):
        agent.undo(undone.commit)
    assert agent.search(folded.summary.content[:80]).hits
    agent.undo(redone.commit)
    anew = agent.fold()
    assert anew
    with pytest.raises(StoreError, match="stands for the same messages now"):
        agent.undo(agent.log(limit=2)[1].commit)
    assert talk.say("And on it goes.")


def test_a_fold_that_another_builds_on_is_not_undone_before_it(talk: Talk) -> None:
    first, _ = talk.until_fold()
    second, _ = talk.until_fold()
    agent = talk.agent
    head = git(agent, "rev-parse", "HEAD")
    with pytest.raises(
        UndoConflict, match=rf"builds on this one: .*fsagent undo .* {second.commit[:7]}\)"
    ):
        agent.undo(first.commit)
    assert git(agent, "rev-parse", "HEAD") == head
    agent.undo(second.commit)
    agent.undo(first.commit)
    assert everything(agent)[0].content in str(agent.context().prompt.messages)
    with pytest.raises(StoreError, match="made the agent"):  # --last is about memory
        agent.undo()
    assert talk.say("What now?")  # and what is too long is folded again
    assert max(map(talk.total, talk.prompts)) <= agent.window.limit


def test_undo_last_passes_folds_over(talk: Talk) -> None:
    talk.say("I like tea.", call("core_memory_append", label="human", content="Likes tea."))
    talk.until_fold()
    assert talk.agent.undo().lines == ("-Likes tea.",)
    assert talk.agent.context().prompt.messages[0]["content"].count("<summary>\n") == 1


# ── lines that come late ──────────────────────────────────────────────────────────────────────


def test_what_a_sync_brings_into_a_folded_range_stays_in_view_and_is_folded_next(
    talk: Talk,
) -> None:
    talk.until_fold()
    agent = talk.agent
    late = [
        Record(f"late{n}", "2026-11-21T09:35:00.000Z", role, f"{word} from the laptop", "laptop")
        for n, (role, word) in enumerate((("user", "Hello"), ("assistant", "Greetings")))
    ]
    path = agent.root / "recall/2026/11/21-late.jsonl"
    path.write_text("".join(map(format_record, late)))
    git(agent, "add", "-A")
    git(agent, "commit", "-qm", "as a merge would bring it")
    talk.say("Did you hear from my laptop?")
    roles = [message["role"] for message in talk.prompts[-1].messages]
    assert "Hello from the laptop" in str(talk.prompts[-1].messages[1:])
    assert roles == ["system", *(["user", "assistant"] * 99)[: len(roles) - 1]]
    second, _ = talk.until_fold()
    assert second.summary.covers
    assert codes(second.summary.covers) >= {code("late0"), code("late1")}
    assert "Hello from the laptop" in talk.summaries[-1].messages[1]["content"]
    assert "Hello from the laptop" not in str(talk.prompts[-1].messages[1:])
    assert second.summary.covers.total == len(
        [r for r in everything(agent) if code(r.id) in covered(agent) and r.role != "summary"]
    )


def covered(agent: Agent) -> set[bytes]:
    return {one for r in everything(agent) if r.covers for one in codes(r.covers)}


def test_two_machines_that_folded_apart(talk: Talk, tmp_path: Path) -> None:
    talk.say("Before we part.")
    git(tmp_path, "clone", "-q", str(talk.agent.root), str(tmp_path / "other"))
    other = Talk(Agent.open(tmp_path / "other", clock=Later()))
    for one, name in ((talk, "Berta"), (other, "Carla")):
        one.write = summed(f"100 200 300 Anna and {name} were spoken of.")
        one.until_fold()
    git(talk.agent, "-c", "merge.fsagent-recall.driver=", "pull", "-q", "--no-rebase", "--no-edit",
        str(other.agent.root), "main")  # fmt: skip
    talk.write = summed()
    talk.say("What do you know of both?")
    first = talk.prompts[-1].messages[0]["content"]
    summaries = [r for r in everything(talk.agent) if r.role == "summary"]
    assert first.count("<summary>\n") == (1 if len(summaries) > 2 else 2)
    talk.until_fold()
    assert "Berta" in str(talk.summaries[-1].messages)
    assert talk.prompts[-1].messages[0]["content"].count("<summary>\n") == 1
    assert max(map(talk.total, talk.prompts)) <= talk.agent.window.limit
    view = {record.id for record in talk.agent.context().records}
    for record in everything(talk.agent):
        assert (record.id in view) != (code(record.id) in covered(talk.agent))
    other.agent.close()


class Later(FixedClock):
    """The clock of another machine, whose ids are others."""

    def id(self) -> str:
        return f"u{super().id()[1:]}"


# ── on the terminal ───────────────────────────────────────────────────────────────────────────


def test_on_the_terminal(shell: Shell) -> None:
    replies = [f"Reply {n} to Anna. {FILLER * 2}" for n in range(8)]
    shell.script(*replies, "Anna and Tim spoke.", "Well, that was that.")
    said = "".join(f"Message {number} of Anna. {FILLER}\n" for number in range(8))
    shell.run("chat", "sarah", "-i", stdin=said)
    config = shell.home / "agent.yaml"
    config.write_text(config.read_text().replace("8192", "4096"))
    out, err = shell.run("fold", "sarah", "--dry-run")
    assert out.splitlines()[0].startswith("user: Message 0 of Anna. the weather was")
    assert re.fullmatch(
        r"These \d+ messages would be folded: [\d,]+ tokens now, at most [\d,]+ then, of 4,096\.\n",
        plain(err),
    )
    planned = shell.json("fold", "sarah", "--dry-run")
    assert len(planned["records"]) == planned["count"] >= 4
    assert planned["after"] < planned["before"]
    assert len(subjects(shell.home)) == 9
    out, err = shell.run("fold", "sarah")
    assert out == "Anna and Tim spoke.\n"
    assert re.fullmatch(
        rf"· folded {planned['count']} messages into a summary: [\d,]+ → [\d,]+ tokens COMMIT\n",
        plain(err),
    )
    assert subjects(shell.home)[0].startswith("fold: ")
    assert "Anna and Tim spoke." in shell.run("context", "sarah")[0]
    assert shell.json("search", "sarah", "spoke Tim", "--role", "summary")["hits"]
    out, err = shell.run("fold", "sarah")
    assert plain(err).startswith("There is nothing to fold: the window is ")
    assert shell.json("fold", "sarah") is None
    out, _ = shell.run("undo", "sarah", "HEAD")
    assert plain(out).splitlines()[1] == "  -Anna and Tim spoke."
    assert shell.json("context", "sarah")["tokens"]["summary"] == 0


def test_a_fold_in_a_conversation_is_one_line(shell: Shell) -> None:
    long = "The window fills, and Anna talks on about 300 things. " * 30
    shell.script(*["Yes, Anna."] * 6, "Anna talks about 300 things.", *["Yes, Anna."] * 9)
    config = shell.home / "agent.yaml"
    config.write_text(config.read_text().replace("8192", "4096"))
    shown = plain(shell.run("chat", "sarah", "-i", stdin=f"{long}\n" * 8)[1])
    assert re.search(
        r"^· folded \d+ messages into a summary: [\d,]+ → [\d,]+ tokens COMMIT$", shown, re.M
    )
