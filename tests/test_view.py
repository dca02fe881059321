"""What is in view: the records that no summary stands for, however they came into recall."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fsagent import Agent
from fsagent.formats import format_record, parse_record
from fsagent.records import Covers, Record, Sent, ToolCall
from fsagent.view import code, codes, digest, read, steps, turns, uncovered
from hypothesis import given
from hypothesis import strategies as st

from conftest import git

TS = "2026-11-21T09:30:00.000Z"


def record(ident: str, role: str = "user", **more: object) -> Record:
    return Record(ident, TS, role, f"text {ident}", f"t{ident}", **more)  # type: ignore[arg-type]


def summary(ident: str, *covered: str, at: str = "", first: str = "") -> Record:
    covers = Covers("main", first or covered[0], covered[-1], len(covered), digest(covered), 0, at)
    return record(ident, "summary", covers=covers)


def ids(records: list[Record]) -> list[str]:
    return [one.id for one in records]


# ── which records ─────────────────────────────────────────────────────────────────────────────


def test_what_a_summary_covers_is_out_of_view() -> None:
    lines = [record("a"), record("b"), record("c"), summary("s", "a", "b"), record("d")]
    assert ids(uncovered(lines)) == ["c", "s", "d"]
    lines.append(summary("u", "s", "c", first="c"))
    assert ids(uncovered(lines)) == ["d", "u"]


def test_a_record_that_comes_into_the_range_later_stays_in_view() -> None:
    lines = [record("a"), record("late"), record("b"), record("c"), summary("s", "a", "b")]
    assert ids(uncovered(lines)) == ["late", "c", "s"]


def test_a_voided_summary_stands_for_nothing_until_that_is_voided() -> None:
    lines = [record("a"), record("b"), summary("s", "a"), record("v", "event", voids="s")]
    assert ids(uncovered(lines)) == ["a", "b", "v"]
    lines.append(record("w", "event", voids="v"))
    assert ids(uncovered(lines)) == ["b", "s", "v", "w"]


def test_a_voided_summary_that_another_builds_on_still_counts() -> None:
    """It can come about where two machines are synced: what the newer one says, holds."""
    lines = [record("a"), summary("s", "a"), record("b"), summary("u", "s", "b", first="b")]
    lines.append(record("v", "event", voids="s"))
    assert ids(uncovered(lines)) == ["u", "v"]


def test_two_machines_that_folded_apart_have_two_summaries_until_the_next_fold() -> None:
    lines = [record("a"), record("b"), summary("s", "a"), record("c"), summary("u", "b", "c")]
    assert ids(uncovered(lines)) == ["s", "u"]
    lines.append(summary("w", "s", "u", "d", first="d"))
    assert ids(uncovered(lines)) == ["w"]


@given(st.lists(st.text(max_size=8), max_size=40))
def test_a_digest_holds_just_its_ids(idents: list[str]) -> None:
    made = Covers("main", "", "", len(idents), digest(idents))
    assert codes(made) == {code(ident) for ident in idents}


@pytest.mark.parametrize("odd", ["", "!", "a", "äöü", "AAAA====", "\ud800"])
def test_a_digest_that_somebody_wrote_by_hand_does_no_harm(odd: str) -> None:
    covers = Covers("main", "a", "a", 1, odd)
    assert ids(uncovered([record("a"), record("s", "summary", covers=covers)]))[0] == "a"


def test_turns_and_steps() -> None:
    asked = (ToolCall("1", "x", "{}"), ToolCall("2", "x", "{}"))
    turn = [
        Record("a", TS, "user", "", "t"),
        Record("b", TS, "assistant", "", "t", tool_calls=asked),
        Record("c", TS, "tool", "", "t", tool_call_id="1"),
        Record("d", TS, "event", "", "t"),
        Record("e", TS, "tool", "", "t", tool_call_id="2"),
        Record("f", TS, "event", "", "t"),
        Record("g", TS, "assistant", "", "t"),
    ]
    assert [ids(step) for step in steps(turn)] == [["a"], ["b", "c", "d", "e"], ["f"], ["g"]]
    alone = [Record("x", TS, "event", "", ""), Record("y", TS, "event", "", "")]
    mixed = [turn[0], alone[0], *turn[1:], alone[1]]
    assert [ids(one) for one in turns(mixed)] == [ids(turn), ["x"], ["y"]]


def test_what_records_say_of_prompts_and_summaries_is_kept() -> None:
    sent = Sent("c1", "a", "b", 7, 1, "m", "t", 400)
    one = record("a", "assistant", sent=sent, extra={"mine": 1})
    assert parse_record(format_record(one)) == one
    two = summary("s", "a", "b", at="0" * 40)
    assert parse_record(format_record(two)) == two
    three = record("v", "event", voids="s")
    assert parse_record(format_record(three)) == three
    for odd in ('"x"', "{}", '{"thread": 1}', '{"first": ["a"]}', "null", '{"count": true}'):
        line = f'{{"id": "a", "role": "summary", "covers": {odd}, "sent": {odd}}}'
        assert parse_record(line).covers is None
        assert parse_record(line).sent is None


# ── read from files ───────────────────────────────────────────────────────────────────────────


class Recall:
    """Recall written by hand: segments with a few records each, and a commit for each."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def write(self, name: str, *records: Record) -> None:
        path = self.agent.root / f"recall/2026/11/{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(map(format_record, records)))

    def commit(self) -> str:
        git(self.agent, "add", "-A")
        git(self.agent, "commit", "-qm", "recall", "--allow-empty")
        return git(self.agent, "rev-parse", "HEAD").strip()

    def everything(self) -> list[Record]:
        store = self.agent.store
        return [one for path in store.segments() for one in store.records(path)]

    def read(self) -> tuple[list[str], list[Path]]:
        """The ids in view, and the segments that were looked into."""
        store, looked = self.agent.store, []
        real = store.read

        def counted(path: str) -> bytes:
            looked.append(Path(path))
            return real(path)

        store.read = counted  # type: ignore[method-assign]
        try:
            return ids(read(store)), looked
        finally:
            store.read = real  # type: ignore[method-assign]


@pytest.fixture
def recall(sarah: Agent) -> Recall:
    return Recall(sarah)


def test_old_segments_are_not_read(recall: Recall) -> None:
    for number in range(20):
        recall.write(f"{number + 1:02}-00", record(f"{number:02}a"), record(f"{number:02}b"))
    at = recall.commit()
    covered = [f"{n:02}{x}" for n in range(18) for x in "ab"]
    recall.write("21-00", record("20a"), summary("20s", *covered[-4:], at=at), record("20b"))
    recall.commit()
    found, looked = recall.read()
    assert found == ["18a", "18b", "19a", "19b", "20a", "20s", "20b"]
    assert [path.stem for path in looked] == ["21-00", "20-00", "19-00", "18-00", "17-00"]
    assert found == ids(uncovered(recall.everything()))[-7:]


def test_what_comes_into_old_segments_later_is_in_view(recall: Recall) -> None:
    for number in range(8):
        recall.write(f"01-{number:02}", record(f"{number:02}a"), record(f"{number:02}b"))
    at = recall.commit()
    recall.write("01-08", summary("08s", "05a", "05b", "06a", "06b", at=at))
    recall.commit()
    assert recall.read()[0] == ["07a", "07b", "08s"]
    recall.write("01-02", record("02a"), record("02x"), record("02b"))  # a line by hand
    recall.write("01-03x", record("03x"), record("03y"))  # a sync
    recall.commit()
    found, looked = recall.read()
    assert found == ["02x", "03x", "03y", "07a", "07b", "08s"]
    assert Path("recall/2026/11/01-04.jsonl") not in looked


def test_without_the_commit_everything_is_looked_at(recall: Recall) -> None:
    """A purge or a rebase gives commits other ids; the digests still say what is covered."""
    recall.write("01-00", record("00a"), record("00b"))
    recall.write("01-01", summary("01s", "00a", "00b", at="f" * 40))
    recall.write("01-02", record("02a"))
    recall.write("01-03", summary("03s", "01s", "02a", at="../../x", first="02a"), record("03a"))
    recall.commit()
    assert recall.read()[0] == ["03s", "03a"]


def test_other_threads_are_other_windows(recall: Recall) -> None:
    recall.write("01-00", record("a"), record("b", thread="work"), record("c", thread="main"))
    recall.commit()
    assert ids(read(recall.agent.store)) == ["a", "c"]
    assert ids(read(recall.agent.store, "work")) == ["b"]


@pytest.mark.parametrize("seed", range(8))
def test_reading_backwards_finds_what_reading_everything_finds(recall: Recall, seed: int) -> None:
    """Random lives: turns, folds of the oldest in view, undone folds, and lines that come late."""
    dice = random.Random(seed)
    lines: dict[str, list[Record]] = {}
    at = recall.commit()
    number = 0
    for round_ in range(60):
        name = f"{round_ // 4 + 1:02}-{round_:03}"
        fresh = lines.setdefault(name, [])
        for _ in range(dice.randrange(1, 4)):
            number += 1
            fresh.append(record(f"{number:04}"))
        view = uncovered([one for key in sorted(lines) for one in lines[key]])
        said = [one for one in view if one.role != "summary"]
        if dice.random() < 0.35 and len(said) > 3:
            old = said[: dice.randrange(1, len(said))]
            before = [one.id for one in view if one.role == "summary"]
            number += 1
            made = summary(f"{number:04}s", *before, *ids(old), at=at, first=old[0].id)
            fresh.append(made)
            lines.setdefault("made", [])
        heads = [one for one in view if one.role == "summary"]
        if heads and dice.random() < 0.15:
            number += 1
            fresh.append(record(f"{number:04}v", "event", voids=heads[-1].id))
        if dice.random() < 0.15:
            number += 1
            target = dice.choice(sorted(key for key in lines if key != "made"))
            where = dice.randrange(len(lines[target]) + 1)
            lines[target].insert(where, record(f"late{number:04}"))
        for key, records in lines.items():
            if records:
                recall.write(key, *records)
        at = recall.commit()
        assert recall.read()[0] == ids(uncovered(recall.everything()))
