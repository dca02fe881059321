"""Search, first form: it follows HEAD, finds questions' answers, and is only a cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.index import Meta
from fsagent.index.entries import analysed, docs_of
from fsagent.index.find import Query, find
from fsagent.index.words import query_terms, terms
from fsagent.records import Doc

from conftest import PERSISTENT, FixedClock, git, persistent, script

Make = Callable[..., Agent]


def found(agent: Agent, query: str, **options: object) -> list[str]:
    return [hit.doc.text for hit in agent.search(query, **options).hits]  # type: ignore[arg-type]


@pytest.fixture
def agent(make: Make) -> Agent:
    agent = make("Nice to meet you, Ada!", "Bon voyage.")
    agent.notes.add("The dentist is on Friday at ten.", ["health"])
    agent.notes.add("Lasagne: béchamel, ragù, an hour in the oven.", ["food", "family"])
    agent.chat("My cat is called Ada.")
    agent.chat("I am travelling to Zürich in March.")
    return agent


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("What is my cat's called?", "My cat is called Ada."),
        ("when do I see the dentist?", "The dentist is on Friday at ten."),
        ("ovens", "Lasagne: béchamel, ragù, an hour in the oven."),
        ("bechamel", "Lasagne: béchamel, ragù, an hour in the oven."),
        ("ZURICH (travel)?*:", "I am travelling to Zürich in March."),
        ('"unclosed AND OR NOT [', None),
    ],
)
def test_questions_find_things(agent: Agent, query: str, first: str | None) -> None:
    texts = found(agent, query)
    assert texts[0] == first if first else texts == []


def test_filters(agent: Agent) -> None:
    assert found(agent, "ada", roles=("assistant",)) == ["Nice to meet you, Ada!"]
    assert found(agent, "name tim", kinds=("block",)) == ["Name: Tim"]
    assert found(agent, "oven dentist", tags=("FOOD",)) == [
        "Lasagne: béchamel, ragù, an hour in the oven."
    ]
    assert len(found(agent, "oven dentist", tags=("food", "health"))) == 2
    assert found(agent, "oven dentist", tags=("food", "health"), all_tags=True) == []
    assert len(found(agent, "", kinds=("record",))) == 4


def test_hits_say_where_and_what_stands_around_them(agent: Agent) -> None:
    (hit,) = agent.search("zurich").hits
    assert hit.doc.path.startswith("recall/2026/11/21-")
    assert hit.doc.line == 3
    assert hit.before
    assert hit.after
    assert (hit.before.text, hit.after.text) == ("Nice to meet you, Ada!", "Bon voyage.")
    (hit,) = agent.search("lasagne").hits
    lines = (agent.root / hit.doc.path).read_text().splitlines()
    assert lines[hit.doc.line - 1] == hit.doc.text


def test_the_index_follows_whatever_moves_head(agent: Agent) -> None:
    assert found(agent, "dentist")
    note = next(n for n in agent.notes if "dentist" in n.text)
    before = git(agent, "rev-parse", "HEAD").strip()
    page = agent.root / note.path
    page.write_text(page.read_text().replace("Friday", "Monday"))
    fresh = Agent.open(agent.root, clock=FixedClock())
    assert fresh.search("dentist").uncommitted == (note.path,)
    fresh.close()
    agent.adopt()
    assert agent.search("dentist").uncommitted == ()
    assert "Monday" in found(agent, "dentist")[0]
    git(agent, "reset", "-q", "--hard", before)
    assert "Friday" in found(agent, "dentist")[0]
    git(agent, "switch", "-qc", "other")
    page.unlink()
    git(agent, "commit", "-qam", "gone")
    assert found(agent, "dentist") == []
    git(agent, "switch", "-q", "main")
    answer = agent.search("dentist")
    assert answer.commit == before
    assert len(answer.hits) == 1


def test_what_a_tool_kept_is_found_in_the_same_turn(make: Make) -> None:
    agent = make(
        call("archival_memory_insert", content="The code is 4711."),
        call("archival_memory_search", query="what was the code?"),
        "4711",
    )
    assert "The code is 4711." in agent.chat("keep this").tool_calls[1].text


# Whoosh leaves files open when it fails to read them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["delete", "garbage", "empty", "half", "old"])
def test_the_index_is_a_cache(agent: Agent, damage: str, tmp_path: Path) -> None:
    before = agent.search("cat dentist oven")
    (folder,) = (tmp_path / "cache/index").iterdir()
    if damage == "delete":
        shutil.rmtree(folder)
    elif damage == "old":
        (index,) = folder.glob("whoosh-*")
        index.rename(folder / "whoosh-0")
    else:
        for file in folder.rglob("*"):
            if file.is_file() and file.name != "lock":
                data = file.read_bytes()
                file.write_bytes(
                    {"garbage": b"\x80\x04.", "empty": b""}.get(damage, data[: len(data) // 2])
                )
    fresh = Agent.open(agent.root, clock=FixedClock())
    assert fresh.search("cat dentist oven") == before
    fresh.close()


def test_the_index_is_never_inside_the_agent(agent: Agent, tmp_path: Path) -> None:
    agent.search("cat")
    agent.index.flush()
    assert not list(agent.root.rglob("*.toc"))
    assert list((tmp_path / "cache").rglob("*.toc"))
    copy = tmp_path / "copy"
    shutil.copytree(agent.root, copy)
    other = Agent.open(copy)
    other.search("cat")
    other.index.flush()
    assert len(list((tmp_path / "cache/index").iterdir())) == 2
    other.close()


def test_without_a_cache_memory_serves(make: Make, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    agent = make("Hello Ada.")
    agent.chat("I am Ada.")
    assert found(agent, "ada") == ["I am Ada.", "Hello Ada."]
    agent.reindex()
    assert len(found(agent, "ada")) == 2


def test_progress_is_told(agent: Agent) -> None:
    told: list[tuple[int, int]] = []
    agent.progress = lambda done, total: told.append((done, total))
    agent.reindex()
    assert told == [(done, len(told) - 1) for done in range(len(told))]


def test_a_word_that_most_docs_hold_still_counts(make: Make) -> None:
    agent = make("Tea!")
    agent.chat("tea")
    assert len(found(agent, "tea")) == 2


@pytest.mark.parametrize("kind", PERSISTENT)
def test_equal_scores_go_by_id(tmp_path: Path, kind: str) -> None:
    index = persistent(kind, tmp_path / "i")
    entries = [
        analysed(Doc(f"d{n}", "note", f"archival/{n}.md", 1, "same words", blob=f"{n}"))
        for n in (3, 1, 2)
    ]
    assert index.update(entries, [], Meta("c1"))
    assert [hit.doc.id for hit in find(index, Query("words")).hits] == ["d1", "d2", "d3"]
    assert index.meta() == Meta("c1")
    assert index.update([], entries[:1], Meta("c2"))
    assert [hit.doc.id for hit in find(index, Query("words")).hits] == ["d1", "d2"]


def test_words() -> None:
    assert terms("The cats are RUNNING; it's Ada's café, isn't it?") == [
        "cat",
        "run",
        "ada",
        "cafe",
    ]
    assert query_terms("Who is it?") == []
    assert query_terms("tea, TEA and teas") == ["tea"]
    assert query_terms("東京タワー") == ["東京", "京タ", "タワ", "ワー"]
    assert query_terms("猫") == ["猫"]
    assert set(terms("猫と犬")) >= {"猫", "犬", "猫と"}
    assert terms("l'école, O'Brien, it's") == ["lecol", "ecol", "obrien", "brien"]
    assert terms("the van, my son, die, hat, Will") == ["van", "son", "die", "hat", "will"]
    assert len(terms("x" * 1_000_000)[0]) < 100
    assert terms("Straße naïve 42 foo_bar") == ["strass", "naiv", "42", "foo", "bar"]


def test_torn_lines_cost_only_themselves() -> None:
    data = b'{"id":"a","role":"user","content":"one"}\n{"id":"b\n{"id":"c","role":"event","content":"two"}\n'
    assert [(d.id, d.line) for d in docs_of("recall/x.jsonl", data)] == [("a", 1), ("c", 3)]


def test_two_agents_search_at_once(agent: Agent) -> None:
    other = Agent.open(agent.root)
    for number in range(5):
        script(agent, f"reply {number}")
        agent.chat(f"zebra {number}")
        assert len(found(other, "zebra")) == number + 1
        assert len(found(agent, "zebra")) == number + 1
    other.close()
