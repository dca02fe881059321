"""Several conversations over one memory: each a window of its own, one recall, one search."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError
from fsagent.formats import format_record, may_hold, parse_record, thread_name
from fsagent.records import MAIN, Record

from conftest import FixedClock, git, script

Make = Callable[..., Agent]


def said(agent: Agent) -> list[list[str]]:
    """What the model was sent of the conversation, call by call."""
    prompts = agent.client.prompts  # type: ignore[attr-defined]
    return [[str(m["content"]).partition("] ")[2] or m["content"] for m in p.messages[1:]] for p in prompts]  # fmt: skip


def test_each_thread_has_its_own_window_over_the_same_memory(make: Make) -> None:
    agent = make(
        "Hello.",
        call("core_memory_append", label="human", content="Likes tea."),
        "Noted.",
        "Here.",
        "Tea.",
    )
    agent.chat("one")
    turn = agent.chat("two: I like tea", thread="work")
    assert turn.thread == "work"
    agent.chat("three")
    agent.chat("four", thread="work")

    sent = said(agent)
    assert sent[0] == ["one"]
    assert sent[1] == ["two: I like tea"]
    begins = "Recall holds 2 messages of another conversation (main): search finds them."
    first = agent.client.prompts[1].messages[1]["content"]  # type: ignore[attr-defined]
    assert first.startswith(f"<event>This conversation begins. {begins}</event>\n\n[")
    assert "<event>" not in agent.client.prompts[0].messages[1]["content"]  # type: ignore[attr-defined]
    assert sent[3] == ["one", "Hello.", "three"]
    assert sent[4][0] == sent[1][0]
    assert sent[4][-2:] == ["Noted.", "four"]
    last = agent.client.prompts[-2].messages[0]["content"]  # type: ignore[attr-defined]
    assert "Likes tea." in last
    (path,) = agent.store.segments()
    lines = [json.loads(line) for line in (agent.root / path).read_text().splitlines()]
    threads = [line.get("thread") for line in lines]
    assert threads == [None, None, *["work"] * 5, None, None, "work", "work"]
    assert agent.store.threads() == {
        MAIN: (4, lines[0]["ts"]),
        "work": (7, lines[0]["ts"]),
    }
    assert git(agent, "status", "--porcelain") == ""


def test_records_without_a_thread_are_of_main_and_so_are_those_that_say_main(make: Make) -> None:
    agent = make("ok")
    path = agent.root / "recall/2026/11/20-a.jsonl"
    path.parent.mkdir(parents=True)
    line = {"ts": "2026-11-20T10:00:00.000Z", "role": "user", "content": "x", "turn": "t"}
    path.write_text(
        json.dumps({"id": "a", **line, "content": "bare"})
        + "\n"
        + json.dumps({"id": "b", **line, "content": "named", "thread": "main"})
        + "\n"
        + json.dumps({"id": "c", **line, "content": "other", "thread": "caf\u00e9"})
        + "\n"
    )
    assert [r.content for r in agent.store.newest(MAIN)] == ["named", "bare"]
    assert [r.content for r in agent.store.newest("café")] == ["other"]
    assert [r.content for r in agent.store.newest()] == ["other", "named", "bare"]
    agent.chat("hi")
    assert said(agent)[0] == ["bare\n\n[Fri 2026-11-20 10:00] named\n\n[Sat 2026-11-21 09:30] hi"]


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "../x", "a/b", ".x", "-x", "x" * 65, "a\nb", "é\x00"]
)
def test_what_is_no_name_for_a_thread_is_refused_before_anything_is_written(
    sarah: Agent, name: str
) -> None:
    head = sarah.store.rev
    with pytest.raises(StoreError, match="cannot be the name of a thread: use letters, digits"):
        sarah.chat("hi", thread=name)
    with pytest.raises(StoreError, match="cannot be the name"):
        sarah.context(name)
    assert sarah.store.rev == head
    assert sarah.store.segments() == []


@pytest.mark.parametrize("name", ["main", "work", "Arbeit-2", "日記", "a.b_c", "7", "x" * 64])
def test_names_of_threads(name: str) -> None:
    assert thread_name(name) == name


def test_names_that_look_the_same_are_the_same() -> None:
    assert thread_name("cafe\u0301") == "caf\u00e9"


def test_a_segment_without_the_thread_is_not_read_again_until_it_changes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FixedClock()
    agent = make("a", "b", "c", "d", clock=clock)
    agent.chat("one", thread="work")
    clock.move(days=1)
    agent.chat("two")
    read: list[str] = []
    real = agent.store.read
    monkeypatch.setattr(agent.store, "read", lambda path: read.append(path) or real(path))
    old, new = agent.store.segments()
    assert [r.content for r in agent.store.newest("work")] == ["a", "one"]
    assert [r.content for r in agent.store.newest("work")] == ["a", "one"]
    assert [p for p in read if p.startswith("recall")] == [new, old, old]
    agent.chat("three", thread="work")
    assert [r.content for r in agent.store.newest("work")] == ["c", "three", "a", "one"]


def test_no_older_folder_is_looked_into_than_is_needed(make: Make) -> None:
    clock = FixedClock()
    agent = make("a", "b", "c", clock=clock)
    for text in ("one", "two", "three"):
        agent.chat(text)
        clock.move(days=40)
    odd = agent.root / "recall/2026/11/odd.jsonl"
    odd.symlink_to("/etc/passwd")
    newest = agent.store.newest(MAIN)
    assert [next(newest).content, next(newest).content] == ["c", "three"]
    assert agent.store.warnings == []
    assert [r.content for r in newest] == ["b", "two", "a", "one"]
    assert "odd.jsonl is not a plain file" in agent.store.warnings[0]


def test_a_line_tells_quickly_whether_main_can_be_in_it() -> None:
    def line(**more: object) -> bytes:
        base = {"id": "a", "ts": "t", "role": "user", "content": 'a "b" \\ , "thread": "x"', "turn": "u"}  # fmt: skip
        return format_record(parse_record(json.dumps(base | more))).encode()

    plain, named = line(), line(thread="work", name="Tim")
    assert may_hold(plain, MAIN)
    assert not may_hold(named, MAIN)
    assert not may_hold(named + named, MAIN)
    assert may_hold(named + plain, MAIN)
    assert may_hold(named + b"torn", MAIN)
    assert may_hold(named, "work")
    assert not may_hold(plain, "work")
    assert may_hold(b'{"thread": "w\\u006frk"}', "work")
    extra = Record("a", "t", "user", "c", "u", extra={"more": {"turn": "u", "thread": "work"}})
    assert may_hold(format_record(extra).encode(), MAIN)
    assert may_hold(named.replace(b'"work"', b'"main"'), MAIN)


def test_search_sees_all_threads_and_says_which(make: Make) -> None:
    agent = make("Ada eats fish.", "Sure.", call("conversation_search", query="cat Ada"), "Fish.")
    agent.chat("My cat Ada", thread="pets")
    agent.chat("Something else about Ada")
    hits = agent.search("cat Ada", kinds=("record",)).hits
    heard = {hit.doc.text: hit.doc.thread for hit in hits if hit.doc.role != "event"}
    assert heard == {
        "My cat Ada": "pets",
        "Ada eats fish.": "pets",
        "Something else about Ada": MAIN,
        "Sure.": MAIN,
    }
    turn = agent.chat("What does she eat?")
    found = turn.tool_calls[0].text
    assert "(today) · thread pets · user · t" in found
    assert found.count("thread") == 2
    for hit in hits:  # what stands beside a hit is of its own conversation
        beside = {doc.thread for doc in (hit.before, hit.after) if doc}
        assert beside <= {hit.doc.thread}


def test_the_past_has_its_threads(make: Make) -> None:
    agent = make("a", "b", "c", "d")
    agent.chat("one", thread="work")
    agent.chat("two")
    past = agent.at("HEAD~1")
    client = script(past, "e", "f")
    past.chat("three", thread="work")
    past.chat("four")
    assert [m["content"].partition("] ")[2] or m["content"] for m in client.prompts[0].messages[1:]] == ["one", "a", "three"]  # fmt: skip
    assert len(client.prompts[1].messages) == 2
    newest = [r.content for r in agent.store.newest() if r.role != "event"]
    assert newest == ["b", "two", "a", "one"]
