"""The indexes in files: each keeps the same promises and gives the same answers as memory does."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsagent import Agent
from fsagent.errors import ConfigError, SearchError
from fsagent.index import Index, Meta
from fsagent.index.choose import open_index
from fsagent.index.entries import Entry, analysed
from fsagent.index.find import Query, find
from fsagent.index.layered import Layered
from fsagent.index.pool import Ask, Limits
from fsagent.index.words import timed
from fsagent.records import Doc

from conftest import PERSISTENT, persistent

START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = """dentist lasagne oven travel zürich march cat garden river music piano guitar summer
    winter hiking mountain doctor sister brother wedding school teacher paint book story train
    ticket hotel beach coffee tea bread butter market running marathon camera picture""".split()


def corpus() -> list[Doc]:
    rng = random.Random(4)
    docs = []
    for n in range(300):
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 60))) + rng.choice(["", "?", " today."])
        docs.append(
            Doc(
                id=f"r{n:03}",
                kind="record",
                path=f"recall/{n // 20}.jsonl",
                line=n % 20 + 1,
                text=text,
                ts=(START + timedelta(hours=5 * (n // 3))).isoformat() if n % 7 else "",
                role=("user", "assistant", "event")[n % 3],
                name=("Ada", "Tim", "")[n % 3],
                session=f"s{n // 20}",
                place=n % 20,
            )
        )
    for n in range(60):
        tags = tuple(rng.sample(["Food", "health", "Straße", "two words", ""], rng.randint(0, 3)))
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))
        docs.append(
            Doc(
                id=f"n{n:02}",
                kind="note",
                path=f"archival/{n}.md",
                line=1,
                text=text,
                ts=(START + timedelta(days=n)).isoformat(),
                tags=tags,
                title="Piano" if n % 5 == 0 else "",
                blob=f"b{n}",
                session=f"b{n}",
            )
        )
    docs.append(Doc("human", "block", "core/human.md", 1, "Name: Tim", blob="h", session="h"))
    docs.append(Doc("none", "block", "core/none.md", 1, "", blob="e", session="e"))
    return docs


def in_memory(folder: Path, entries: list[Entry]) -> Layered:
    index = Layered(persistent("whoosh", folder), 0)
    assert index.update(entries, [], Meta("m"))
    return index


QUERIES = [
    Query("cat dentist oven"),
    Query("What music did Ada play in the summer?", limit=30),
    Query("piano"),
    Query("PIANO zurich", limit=5, offset=5),
    Query("piano lesson nobodysaid"),
    Query("nobodysaid"),
    Query(""),
    Query("", limit=7, offset=9),
    Query("", kinds=("note",)),
    Query('"coffee tea"'),
    Query('piano "summer"', roles=("user",)),
    Query("garden river", kinds=("note", "block")),
    Query("garden river", kinds=("record",), roles=("user", "event")),
    Query("garden river", roles=("nobody",)),
    Query("garden river", tags=("FOOD",)),
    Query("garden river", tags=("food", "STRASSE")),
    Query("garden river", tags=("food", "STRASSE"), all_tags=True),
    Query("", tags=("two words ",)),
    Query("train", tags=("unheard of",)),
    Query("train ticket", since=START + timedelta(days=3)),
    Query("train ticket", until=START + timedelta(days=3)),
    Query("", since=START + timedelta(days=3), until=START + timedelta(days=6)),
    Query("what was last week?", now=START + timedelta(days=12)),
    Query("name tim"),
]


def answers(index: Index) -> list[object]:
    found = []
    for query in QUERIES:
        answer = find(index, query)
        hits = [
            (hit.doc, round(hit.score, 6), hit.signals, hit.before, hit.after)
            for hit in answer.hits
        ]
        found.append((query, hits, answer.unknown, answer.more))
    return found


@pytest.fixture(params=PERSISTENT)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def entries() -> list[Entry]:
    return [analysed(doc) for doc in corpus()]


def ids(index: Index, query: str) -> list[str]:
    return [hit.doc.id for hit in find(index, Query(query, limit=1000)).hits]


def one(text: str, ident: str = "x") -> Entry:
    return analysed(Doc(ident, "record", "recall/x.jsonl", 1, text, session=ident))


def test_the_same_answers_as_memory(kind: str, tmp_path: Path, entries: list[Entry]) -> None:
    index = persistent(kind, tmp_path / "i")
    extra = [one(" ".join(WORDS), f"extra{n}") for n in range(40)]
    assert index.update([*entries[:200], *extra], [], Meta("c1"))
    assert index.update(entries[200:300], extra[:20], Meta("c2"))
    assert index.update(entries[300:], extra[20:], Meta("c3"))
    assert answers(index) == answers(in_memory(tmp_path / "m", entries))
    again = persistent(kind, tmp_path / "i")
    assert answers(Layered(again, 0)) == answers(index)
    stats = index.stats(["piano", "nobodysaid"])
    assert stats == in_memory(tmp_path / "n", entries).stats(["piano", "nobodysaid"])
    assert len(index) == len(entries)


def test_what_lies_around(kind: str, tmp_path: Path, entries: list[Entry]) -> None:
    index, memory = persistent(kind, tmp_path / "i"), in_memory(tmp_path / "m", entries)
    index.update(entries, [], Meta("c"))
    slots = [(int(e.row["session"]), e.doc.place) for e in entries[::3]] + [(1, 1)]
    for limits in (
        Limits(),
        Limits(kinds=("note",)),
        Limits(roles=("user",), until=int(START.timestamp() * 1000) + 10**9),
        Limits(tags=("food",)),
        Limits(tags=("food", "health"), all_tags=True),
        Limits(words=("piano",)),
    ):
        ask = Ask(("piano", "cat"), (1.0, 2.0), 20.0, limits)
        ours, theirs = index.at(slots, ask), memory.at(slots, ask)
        order = ours.rows["key"].argsort()
        assert ours.rows[order].tolist() == theirs.rows.tolist()
        assert ours.counts[order].tolist() == theirs.counts.tolist()
        assert ours.allowed[order].tolist() == theirs.allowed.tolist()
    assert len(index.at([], Ask((), (), 1.0)).rows) == 0


def test_what_goes_in_comes_out(kind: str, tmp_path: Path, entries: list[Entry]) -> None:
    index = persistent(kind, tmp_path / "i")
    index.update(entries, [], Meta("c"))
    back = {entry.key: entry for entry in index.entries()}
    assert len(back) == len(entries)
    for entry in entries:
        same = back[entry.key]
        assert (same.doc, same.terms, same.row.tobytes()) == (
            entry.doc,
            entry.terms,
            entry.row.tobytes(),
        )
    keys = [entry.key for entry in entries[:5]]
    assert index.docs([*keys, 12345]) == {entry.key: entry.doc for entry in entries[:5]}
    assert index.docs([]) == {}
    assert set(index.speakers()) == {"Ada", "Tim"}


def test_any_text_at_all(kind: str, tmp_path: Path) -> None:
    doc = Doc(
        "x",
        "record",
        "recall/a.jsonl",
        1,
        "odd\x00 \ud800 東京タワー \u200b ﬁne",
        role="",
        name="Zoë 😀",
    )
    doc = replace(doc, tags=("\x00", "", "Ünï"))
    index = persistent(kind, tmp_path / "i")
    index.update([analysed(doc)], [], Meta("c"))
    for query in ("odd", "東京", "fine", ""):
        assert [hit.doc for hit in find(index, Query(query, tags=("ünï",))).hits] == [doc]
    assert index.speakers() == {"Zoë 😀": 1}
    half = replace(doc, id="y", name="half \ud83d", tags=("\ud83d",))  # JSON can write that
    assert index.update([analysed(half)], [], Meta("d"))
    assert [hit.doc for hit in find(index, Query("odd", tags=("\ud83d",))).hits] == [half]
    assert index.speakers() == {"Zoë 😀": 1, "half ?": 1}


def test_many_ties_are_cut_by_key(kind: str, tmp_path: Path) -> None:
    same = [one("same words", f"d{n:03}") for n in range(900)]
    index, memory = persistent(kind, tmp_path / "i"), in_memory(tmp_path / "m", same)
    index.update(same[:500], [], Meta("a"))
    index.update(same[500:], [], Meta("b"))
    for words in (("word",), ()):
        ask = Ask(words, (1.0,) * len(words), 2.0, size=100)
        ours = index.candidates(ask).rows["key"].tolist()
        assert sorted(ours) == sorted(memory.candidates(ask).rows["key"].tolist())


def test_empty(kind: str, tmp_path: Path) -> None:
    index = persistent(kind, tmp_path / "i")
    assert index.meta() is None
    assert (len(index), list(index.entries()), index.speakers()) == (0, [], Counter())
    assert find(index, Query("anything")).hits == find(index, Query("")).hits == ()
    assert index.update([], [], Meta("c"))
    assert index.meta() == Meta("c")
    assert find(index, Query("anything")).hits == find(index, Query("")).hits == ()


def test_update_drop_clear_refresh(kind: str, tmp_path: Path) -> None:
    index, other = persistent(kind, tmp_path / "i"), persistent(kind, tmp_path / "i")
    a, b, c = one("apple pie", "a"), one("apple tart", "b"), one("apple cake", "c")
    assert index.update([a, b], [], Meta("c1", {"blob": ["archival/x.md", "archival/y.md"]}))
    assert other.meta() == Meta("c1", {"blob": ["archival/x.md", "archival/y.md"]})
    assert index.update([c], [a], Meta("c2"))
    assert ids(index, "apple") == ["b", "c"]
    assert ids(other, "apple") == ["a", "b"], "an index answers from one state"
    assert not other.update([], [b], Meta("c3")), "another has written since it looked"
    assert other.meta() == Meta("c2")
    assert other.update([], [b], Meta("c3"))
    index.refresh()
    assert (ids(index, "apple"), index.meta(), len(index)) == (["c"], Meta("c3"), 1)
    index.clear()
    assert index.meta() is None
    assert ids(index, "apple") == []
    assert ids(other, "apple") == ["c"]
    assert ids(index.copy(), "apple") == []
    assert index.update([a], [], Meta("c4"))
    other.refresh()
    assert (ids(other, "apple"), other.meta(), other.stats(["cake"]).holding) == (
        ["a"],
        Meta("c4"),
        {"cake": 0},
    )


def test_an_update_that_fails_leaves_the_last(kind: str, tmp_path: Path) -> None:
    index = persistent(kind, tmp_path / "i")
    index.update([one("apple", "a")], [], Meta("c1"))

    def torn() -> object:
        yield one("pear", "b")
        raise KeyError("read error")

    for _ in range(2):  # and the lock is free again
        with pytest.raises(KeyError, match="read error"):
            index.update(torn(), [], Meta("c2"))  # type: ignore[arg-type]
    assert (ids(index, ""), index.meta()) == (["a"], Meta("c1"))
    assert index.update([one("plum", "c")], [], Meta("c3"))
    assert ids(persistent(kind, tmp_path / "i"), "") == ids(index, "")
    assert len(index) == 2


def test_who_does_not_wait_is_told(kind: str, tmp_path: Path) -> None:
    index, other = persistent(kind, tmp_path / "i"), persistent(kind, tmp_path / "i")

    def slow() -> object:
        assert not other.update([], [], Meta("no"), wait=False)
        yield one("apple", "a")

    assert index.update(slow(), [], Meta("yes"))  # type: ignore[arg-type]
    other.refresh()
    assert other.meta() == Meta("yes")


# Whoosh leaves files open when it fails to read them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["garbage", "empty", "half", "delete", "one", "foreign"])
def test_damage_means_building_again(kind: str, tmp_path: Path, damage: str, entries: list[Entry]) -> None:  # fmt: skip
    persistent(kind, tmp_path / "i").update(entries[:50], [], Meta("c1"))
    (folder,) = (tmp_path / "i").iterdir()
    for file in sorted(folder.iterdir(), key=lambda path: -path.stat().st_size):
        if damage == "one":
            file.unlink()
            break
        if damage == "delete":
            file.unlink()
        elif file.name != "lock":
            data = file.read_bytes()
            file.write_bytes(
                {"garbage": b"\x80\x04.", "empty": b"", "foreign": b"{}"}.get(
                    damage, data[: len(data) // 2]
                )
            )
    index = persistent(kind, tmp_path / "i")
    assert index.meta() is None
    assert len(index) == 0
    assert find(index, Query("piano")).hits == ()
    index.clear()
    assert index.update(entries, [], Meta("c2"))
    assert len(persistent(kind, tmp_path / "i")) == len(entries)
    gc.collect()


def test_every_damaged_byte_of_tantivys_is_seen(tmp_path: Path, entries: list[Entry]) -> None:
    """Over some damage Tantivy ends the process, so it must never come to open such a file."""
    index = persistent("tantivy", tmp_path / "i")
    index.update(entries[:50], [], Meta("c1"))
    index.update([], entries[:5], Meta("c2"))
    (folder,) = (tmp_path / "i").iterdir()
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        if data and file.suffix != ".json":
            place = len(data) // 3
            file.unlink()  # others still look into the old one
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert persistent("tantivy", tmp_path / "i").meta() is None, file.name
            file.write_bytes(data)
    assert persistent("tantivy", tmp_path / "i").meta() == Meta("c2")


def test_where_nothing_can_be_written_memory_serves(kind: str, tmp_path: Path) -> None:
    (tmp_path / "i").write_text("a file where the folder should be")
    index = persistent(kind, tmp_path / "i")
    assert index.meta() is None
    assert index.update([one("apple", "a")], [], Meta("c1"))
    assert index.update([one("apple", "b")], [], Meta("c2"))
    assert ids(index, "apple") == ids(index.copy(), "apple") == ["a", "b"]
    index.clear()
    assert index.update([one("apple", "c")], [], Meta("c3"))
    assert (ids(index, "apple"), index.meta()) == (["c"], Meta("c3"))


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from conftest import persistent
from fsagent.index import Meta
from fsagent.index.entries import analysed
from fsagent.records import Doc
index = persistent(sys.argv[1], Path(sys.argv[2]))
number = 0
while True:
    docs = [Doc(f"{number}-{n}", "record", "recall/x.jsonl", 1, "apple pie") for n in range(20)]
    index.update([analysed(doc) for doc in docs], [], Meta(str(number)))
    number += 1
    print(number, flush=True)
"""


def test_a_kill_leaves_the_last_commit_and_readers_never_fail(kind: str, tmp_path: Path) -> None:
    persistent(kind, tmp_path / "i")
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", WRITER, kind, str(tmp_path / "i"), here]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout
        writer.stdout.readline()
        reader, end, seen = persistent(kind, tmp_path / "i"), time.monotonic() + 1.5, set()
        while time.monotonic() < end:
            reader.refresh()
            meta = reader.meta()
            assert meta
            assert len(reader) == 20 * (int(meta.commit) + 1)
            seen.add(meta.commit)
        writer.send_signal(signal.SIGKILL)
        done = [1, *map(int, writer.stdout)]
    assert len(seen) > 1
    index = persistent(kind, tmp_path / "i")
    meta = index.meta()
    assert meta
    assert int(meta.commit) + 1 >= done[-1]
    assert len(index) == 20 * (int(meta.commit) + 1)
    assert index.update([one("pear")], [], Meta("after"), wait=False)


def test_agent_yaml_chooses(make: Callable[..., Agent], tmp_path: Path, kind: str) -> None:
    persistent(kind, tmp_path / "probe")
    agent = make("Hello Ada.")
    page = agent.root / "agent.yaml"
    page.write_text(page.read_text() + f"index: {kind}\n")
    agent.chat("I am Ada.")
    other = Agent.open(agent.root)
    assert [hit.doc.text for hit in other.search("ada").hits] == ["I am Ada.", "Hello Ada."]
    other.index.flush()
    assert next((tmp_path / "cache/index").glob(f"*/{kind}-*"))
    other.close()


def test_an_index_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tantivy", None)
    monkeypatch.delitem(sys.modules, "fsagent.index.tantivy", raising=False)
    with pytest.raises(SearchError, match=r"index: tantivy.*pip install 'fsagent\[fast\]'"):
        open_index("tantivy", 0, tmp_path, tmp_path, "a")


def test_an_index_that_there_is_not(make: Callable[..., Agent]) -> None:
    agent = make()
    page = agent.root / "agent.yaml"
    page.write_text(page.read_text() + "index: sphinx\n")
    with pytest.raises(ConfigError, match="whoosh or tantivy"):
        Agent.open(agent.root).search("x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See you LAST week", True),
        ("at 9:30", True),
        ("in 2024", True),
        ("a wee\u212a or so", True),  # the sign of the kelvin
        ("todayish, everlasting", False),
        ("_today_ 123456", False),
    ],
)
def test_what_speaks_of_a_time(text: str, expected: bool) -> None:
    assert timed(text) is expected
