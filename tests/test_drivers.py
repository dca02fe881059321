"""Merging one file that two sides changed: what comes out, and what holds for any two versions."""

from __future__ import annotations

import itertools
import json
import re
import time
from difflib import SequenceMatcher
from typing import Any

import pytest
from fsagent.formats import load_yaml, parse_page
from fsagent.history import edits as comparing
from fsagent.history.drivers import Outcome, Version, merge_file
from fsagent.history.keys import merge_keys
from fsagent.history.sections import END, HEADING
from hypothesis import given, settings
from hypothesis import strategies as st

HEAD = "---\ndescription: About you.\nlimit: 2000\n---\n\n"
NOTE = "archival/2026/11/a.md"
RECALL = "recall/2026/11/21-a.jsonl"


def merged(path: str, base: str | None, ours: str | None, theirs: str | None) -> Outcome:
    old, one, two = (None if text is None else text.encode() for text in (base, ours, theirs))
    return merge_file(
        path, old, Version(one, "laptop", "2026-11-21"), Version(two, "desktop", "2026-11-20")
    )


def text(base: str | None, ours: str | None, theirs: str | None, path: str = NOTE) -> str:
    """The merged text, where there is no question left."""
    outcome = merged(path, base, ours, theirs)
    assert outcome.clashes == ()
    assert outcome.data is not None
    return outcome.data.decode()


# ── what comes out ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "both"),
    [
        ("a\n", "a\nb\n", "a\nc\n", "a\nb\nc\n"),  # both appended
        ("a\n", "a\nb\n", "a\nb\nc\n", "a\nb\nc\n"),  # the same line, once
        ("a\nb\nc\n", "b\nc\n", "a\nb\n", "b\n"),  # neighbours deleted
        ("a\nb\nc\n", "a\nB\nc\n", "a\nb\nC\n", "a\nB\nC\n"),  # neighbours edited
        ("a\nb", "a\nB", "A\nb", "A\nB"),  # no line end
        (
            "Tim lives in Ghent and likes tea.\n",
            "Tim lives in Utrecht and likes tea.\n",
            "Tim lives in Ghent and likes coffee.\n",
            "Tim lives in Utrecht and likes coffee.\n",
        ),
        ("a\r\nb\r\n", "a\r\nb\r\nc\r\n", "A\r\nb\r\n", "A\r\nb\r\nc\r\n"),
        (None, "a\nb\n", "a\nc\n", "a\nb\nc\n"),  # made on both sides
    ],
)
def test_lines_and_words_that_do_not_clash(
    base: str | None, ours: str, theirs: str, both: str
) -> None:
    assert text(base, ours, theirs) == text(base, theirs, ours) == both


def test_the_same_words_stay_in_both_versions_under_headings() -> None:
    outcome = merged(
        "core/human.md",
        HEAD + "Name: Tim\nCity: Ghent\nLikes tea.\n",
        HEAD + "Name: Tim\nCity: Utrecht\nLikes tea.\n",
        HEAD + "Name: Tim\nCity: Paris\nLikes tea.\nHas a cat.\n",
    )
    assert outcome.data is not None
    assert outcome.data.decode() == (
        HEAD + "Name: Tim\n"
        "## In conflict: from desktop, 2026-11-20\nCity: Paris\n"
        "## In conflict: from laptop, 2026-11-21\nCity: Utrecht\n"
        "## End of conflict\n"
        "Likes tea.\nHas a cat.\n"
    )
    assert outcome.clashes == (
        "desktop has 'City: Paris', laptop has 'City: Utrecht': both stay, under headings",
    )


def test_of_a_line_that_one_side_deleted_and_the_other_edited_the_edit_stays() -> None:
    outcome = merged(NOTE, "a\nLikes tea.\n", "a\n", "a\nLikes green tea.\n")
    assert outcome == Outcome(
        b"a\nLikes green tea.\n",
        ("laptop deleted what desktop changed: 'Likes green tea.' stays",),
    )


def test_of_a_file_that_one_side_deleted_and_the_other_edited_the_edit_stays() -> None:
    outcome = merged(NOTE, "a\n", None, "a\nb\n")
    assert outcome.data == b"a\nb\n"
    assert outcome.clashes == (
        "laptop deleted it, desktop changed it: it stays, as desktop has it",
    )
    assert merged(NOTE, "a\n", None, "a\n") == merged(NOTE, "a\n", "a\n", None) == Outcome(None)
    assert merged(NOTE, "a\n", None, None) == Outcome(None)


def test_front_matter_merges_by_its_keys_and_the_body_by_its_lines() -> None:
    ours = HEAD.replace("2000", "3000  # more") + "Name: Tim\nLikes tea.\n"
    theirs = HEAD.replace("About you", "About Tim") + "Name: Tim\nCity: Ghent\n"
    both = text(HEAD + "Name: Tim\n", ours, theirs)
    assert both == (
        "---\ndescription: About Tim.\nlimit: 3000  # more\n---\n\n"
        "Name: Tim\nCity: Ghent\nLikes tea.\n"
    )


def test_tags_of_both_sides_and_without_those_that_either_removed() -> None:
    note = "---\nid: n1\ntags: [a, b]\n---\n\nText.\n"
    both = text(note, note.replace("a, b", "b, c"), note.replace("a, b", "a, b, d"))
    assert parse_page(both.encode()).meta == {"id": "n1", "tags": ["b", "d", "c"]}
    assert both.endswith("\n\nText.\n")


@pytest.mark.parametrize(
    ("key", "one", "two", "stays"),
    [
        ("limit", "3000", "4000", 4000),
        ("read_only", "true", "false", True),
        ("description", "Mine.", "Yours.", "Yours."),
    ],
)
def test_a_key_that_both_sides_changed_has_one_value_and_that_is_said(
    key: str, one: str, two: str, stays: Any
) -> None:
    ours, theirs = (f"---\n{key}: {value}\n---\n\nText.\n" for value in (one, two))
    outcome = merged("core/a.md", f"---\n{key}: old\n---\n\nText.\n", ours, theirs)
    assert outcome.data is not None
    assert parse_page(outcome.data).meta == {key: stays}
    assert f"`{key}`" in outcome.clashes[0]
    assert outcome.clashes[0].endswith(f"{stays!r} stays")


def test_agent_yaml_keeps_what_was_written_and_stays_one() -> None:
    base = "id: x\nname: sarah\ntools:  # mine\n- note_a\n\n# the end\n"
    ours = base.replace("- note_a\n", "- note_a\n- note_b\n").replace("name: sarah", "name: Sarah")
    theirs = base + "timezone: Europe/Berlin\n"
    assert text(base, ours, theirs, "agent.yaml") == (
        "id: x\nname: Sarah\ntools:  # mine\n- note_a\n- note_b\n"
        "\n# the end\ntimezone: Europe/Berlin\n"
    )
    # Each would do alone, and both together not: ours counts, and that is said.
    outcome = merged("agent.yaml", base, base + "extra: 1\n", "- a list\n")
    assert outcome.data == (base + "extra: 1\n").encode()
    assert outcome.clashes == (
        "the two cannot be made one: it stays as laptop has it, and not as desktop",
    )


def test_a_file_that_is_no_text_stays_in_both_versions() -> None:
    one, two = Version(b"\0one", "lap top"), Version(b"\0two", "desk/top")
    outcome = merge_file("files/a.pdf", b"\0", one, two)
    assert outcome.data == b"\0one"
    assert outcome.beside == ("files/a.from-desk-top.pdf", b"\0two")
    assert merge_file("files/a.pdf", b"\0", two, one) == outcome
    # No heading in the middle of a program or a table; but what does not clash is one.
    assert merged("files/a.csv", "a\nb\n", "A\nb\n", "a\nB\n").data == b"A\nB\n"
    assert merged("files/a.csv", "a\n", "b\n", "c\n").beside == (
        "files/a.from-laptop.csv",
        b"b\n",
    ) or (merged("files/a.csv", "a\n", "b\n", "c\n").beside == ("files/a.from-desktop.csv", b"c\n"))


# ── recall ────────────────────────────────────────────────────────────────────────────────────


def line(second: int, ident: str = "", content: str = "x", **more: str) -> str:
    ts = f"2026-11-21T09:{second // 60:02}:{second % 60:02}.000Z"
    made = {"id": ident or f"r{second:03}", "ts": ts, "role": "user", "content": content}
    return json.dumps(made | more)


def segment(*lines: str) -> str:
    return "".join(f"{one}\n" for one in lines)


def test_records_of_both_sides_in_the_order_of_time_and_each_once() -> None:
    base = segment(line(1), line(2))
    ours = segment(line(1), line(2), line(3), line(7))
    theirs = segment(line(1), line(2), line(5), line(8))
    assert text(base, ours, theirs, RECALL) == segment(*map(line, (1, 2, 3, 5, 7, 8)))
    assert text(None, ours, theirs, RECALL) == segment(*map(line, (1, 2, 3, 5, 7, 8)))


def test_a_record_that_one_side_deleted_stays_deleted_and_an_edit_stays_made() -> None:
    base = segment(line(1), line(2), line(3))
    ours = segment(line(1), line(3), line(4))
    theirs = segment(line(1), line(2), line(3, content="[taken out]"), line(5))
    both = segment(line(1), line(3, content="[taken out]"), line(4), line(5))
    assert text(base, ours, theirs, RECALL) == text(base, theirs, ours, RECALL) == both
    # All of it, while the other side went on.
    assert text(base, None, base + line(9) + "\n", RECALL) == segment(line(9))
    assert merged(RECALL, base, None, base).data is None
    assert merged(RECALL, base, segment(line(1)), segment(line(2), line(3))).data is None


def test_of_a_record_that_both_sides_edited_one_counts_and_the_other_is_told() -> None:
    base = segment(line(1), line(2), line(3))
    ours = Version(segment(line(1, content="mine"), line(2)).encode(), "laptop", "", "a" * 40)
    theirs = segment(line(1, content="yours"), line(2, content="secret"), line(3, content="x y"))
    other = Version(theirs.encode(), "desktop", "", "b" * 40)
    outcome = merge_file(RECALL, base.encode(), ours, other)
    assert outcome == merge_file(RECALL, base.encode(), other, ours)
    assert outcome.data == segment(line(1, content="yours"), line(2, content="secret")).encode()
    # What was deleted is named and not quoted: it would be in recall again.
    assert outcome.clashes == (
        "record r001: laptop (aaaaaaa) has 'mine', desktop (bbbbbbb) has 'yours'; "
        "that of desktop counts",
        "record r003: laptop deleted it, desktop (bbbbbbb) changed it; it stays deleted",
    )
    # The same edit, an edit that only one made, and a line that both deleted are no question.
    assert text(base, theirs, theirs, RECALL) == theirs
    assert text(base, theirs, base, RECALL) == theirs
    assert text(base, segment(line(1)), segment(line(1)), RECALL) == segment(line(1))


def test_of_records_that_are_in_different_threads_all_are_told_in_one_sentence() -> None:
    """As where an export was taken in on both machines, and a conversation was renamed between."""
    ours, theirs = (
        Version(segment(*(line(n, thread=name) for n in range(9))).encode(), side, "", side[0] * 40)
        for side, name in (("laptop", "claude-pears"), ("desktop", "claude-figs"))
    )
    outcome = merge_file(RECALL, None, ours, theirs)
    assert outcome == merge_file(RECALL, None, theirs, ours)
    assert outcome.data == ours.data
    assert outcome.clashes == (
        "9 records: the thread is 'claude-figs' at desktop (ddddddd), 'claude-pears' at laptop "
        "(lllllll); that of laptop counts",
    )


def test_what_is_no_record_stays_and_so_does_an_order_that_somebody_made() -> None:
    odd = "not json\n"
    base = segment(line(9, "z"), line(1, "b")) + odd
    ours = base + segment(line(10, "m"))
    theirs = base + segment(line(2, "c"))
    assert text(base, ours, theirs, RECALL) == base + segment(line(2, "c"), line(10, "m"))
    torn = base + line(11, "t")  # without its end
    assert text(base, ours, torn, RECALL) == base + segment(line(10, "m"), line(11, "t"))


# ── what always holds ─────────────────────────────────────────────────────────────────────────

WORDS = [f"w{number}" for number in range(12)]
LINES = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), max_size=6)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["\n", ""]))


@st.composite
def edited(draw: st.DrawFn, base: str) -> str:
    """A text with a few lines of it deleted, edited, moved, and others added."""
    lines = base.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines)))
        match draw(st.sampled_from(["add", "delete", "edit", "move"])):
            case "add":
                lines.insert(at, draw(st.sampled_from(WORDS)))
            case "delete":
                del lines[at : at + 1]
            case "edit" if at < len(lines):
                lines[at] = f"{lines[at]} {draw(st.sampled_from(WORDS))}"
            case "move" if at < len(lines):
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    return "\n".join(lines)


@st.composite
def three(draw: st.DrawFn) -> tuple[str, str, str]:
    base = draw(TEXTS)
    return base, draw(edited(base)), draw(edited(base))


@given(three())
@settings(max_examples=400)
def test_it_does_not_matter_whose_side_is_ours(texts: tuple[str, str, str]) -> None:
    base, one, two = (text.encode() for text in texts)
    ours, theirs = Version(one, "laptop"), Version(two, "desktop")
    assert merge_file(NOTE, base, ours, theirs) == merge_file(NOTE, base, theirs, ours)


@given(three())
@settings(max_examples=300)
def test_to_merge_again_what_is_merged_changes_nothing(texts: tuple[str, str, str]) -> None:
    base, one, two = texts
    assert merged(NOTE, base, one, one).data == one.encode()
    assert merged(NOTE, base, one, base).data == one.encode()
    outcome = merged(NOTE, base, one, two)
    assert outcome.data is not None
    both = outcome.data.decode()
    # A merge that was made knows both; from then on either of them is the base.
    for old in (one, two):
        assert merged(NOTE, old, both, old).data == both.encode()


@given(three())
@settings(max_examples=400)
def test_no_word_that_somebody_wrote_is_lost(texts: tuple[str, str, str]) -> None:
    base, one, two = texts
    outcome = merged(NOTE, base, one, two)
    assert outcome.data is not None
    left = outcome.data.decode().split()
    for side in (one, two):
        for word in set(side.split()):
            if side.split().count(word) > max(base.split().count(word), 0):
                assert word in left, (texts, outcome.data)
    assert not any(mark in outcome.data.decode() for mark in ("<<<<", ">>>>", "===="))
    heads = outcome.data.decode().count(HEADING)
    assert heads == 2 * outcome.data.decode().count(END)
    assert (heads > 0) == any("under headings" in said for said in outcome.clashes)


@given(three())
@settings(max_examples=300)
def test_the_same_merge_made_in_two_places_is_one(texts: tuple[str, str, str]) -> None:
    """What the sides are called differs from place to place, and is no question of its own."""
    base, one, two = (text.encode() for text in texts)
    here, there, past = (
        merge_file(NOTE, base, Version(one, first), Version(two, second)).data
        for first, second in (("laptop", "origin"), ("place", "desktop"), ("one", "two"))
    )
    again = merge_file(NOTE, past, Version(here, "laptop"), Version(there, "origin"))
    assert again == merge_file(NOTE, past, Version(there, "place"), Version(here, "desktop"))
    assert again.clashes == ()
    names = f"(?m)^{HEADING}.*$".encode()
    assert re.sub(names, b"", again.data or b"") == re.sub(names, b"", here or b"")


def conflict(*versions: tuple[str, str]) -> str:
    return "".join(f"{HEADING}{name}\n{words}\n" for name, words in versions) + f"{END}\n"


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "both"),
    [
        (  # two that are the same, under other names
            "I am.\n",
            conflict(("lap", "I am brief."), ("origin", "I am chatty.")),
            conflict(("p2", "I am brief."), ("desk", "I am chatty.")),
            conflict(("lap", "I am brief."), ("desk", "I am chatty.")),
        ),
        (  # one of them is known to the other side as well
            "I am.\n",
            conflict(("lap", "I am brief."), ("origin", "I am chatty.")),
            "I am chatty.\n",
            conflict(("lap", "I am brief."), ("desktop, 2026-11-20", "I am chatty.")),
        ),
        (  # three versions are three sections, and none is within another one
            "I am.\n",
            conflict(("lap", "I am brief."), ("origin", "I am chatty.")),
            conflict(("desk", "I am chatty."), ("third", "I am shy.")),
            conflict(("lap", "I am brief."), ("desk", "I am chatty."), ("third", "I am shy.")),
        ),
        (  # settled on one side
            "a\n" + conflict(("one", "I am brief."), ("two", "I am chatty.")),
            "a\nI am brief and chatty.\n",
            "A\n" + conflict(("p2", "I am brief."), ("desk", "I am chatty.")),
            "A\nI am brief and chatty.\n",
        ),
        (  # settled on both sides, each in its own way
            conflict(("one", "I am brief."), ("two", "I am chatty.")),
            "I am brief.\n",
            "I am chatty.\n",
            conflict(
                ("laptop, 2026-11-21", "I am brief."), ("desktop, 2026-11-20", "I am chatty.")
            ),
        ),
        (  # words around a conflict belong to all of it
            "I am.\n",
            "Hello.\n"
            + conflict(("lap", "I am brief."), ("origin", "I am chatty."))
            + "So long.\n",
            "I am shy.\n",
            conflict(
                ("lap", "Hello.\nI am brief.\nSo long."),
                ("origin", "Hello.\nI am chatty.\nSo long."),
                ("desktop, 2026-11-20", "I am shy."),
            ),
        ),
    ],
)
def test_versions_under_headings_are_one_thing(
    base: str, ours: str, theirs: str, both: str
) -> None:
    outcome = merged("core/persona.md", base, ours, theirs)
    assert outcome.data is not None
    assert outcome.data.decode() == both


def test_each_of_three_versions_is_named() -> None:
    ours = conflict(("Ann at lap, 2026-11-20", "Brief."), ("origin", "Chatty."))
    assert merged("core/persona.md", "I am.\n", ours, "Shy.\n").clashes == (
        "Ann at lap, 2026-11-20 has 'Brief.', origin has 'Chatty.', desktop has 'Shy.': "
        "all 3 stay, under headings",
    )


@pytest.mark.parametrize("rest", ["", f"{HEADING}lap\n" * 3, f"{END}\n" * 3])
def test_headings_of_which_no_conflict_is_left_are_words(rest: str) -> None:
    base, ours, theirs = f"a\n{rest}z\n", f"a\nb\n{rest}z\n", f"a\n{rest}z\ny\n"
    assert text(base, ours, theirs) == f"a\nb\n{rest}z\ny\n"


UNIQUE = [f"only{number}" for number in range(40)]


@st.composite
def with_identities(draw: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """A text of lines that are all different, and two sides that only add and delete lines."""
    fresh = iter(draw(st.permutations(UNIQUE)))
    base = list(itertools.islice(fresh, draw(st.integers(0, 6))))
    sides = []
    for _ in range(2):
        lines = [one for one in base if draw(st.integers(0, 3))]
        for _ in range(draw(st.integers(0, 4))):
            lines.insert(draw(st.integers(0, len(lines))), next(fresh))
        sides.append(lines)
    return base, sides[0], sides[1]


@given(with_identities())
@settings(max_examples=400)
def test_each_line_added_is_there_and_each_deleted_gone(
    lines: tuple[list[str], list[str], list[str]],
) -> None:
    base, one, two = lines
    texts = ["".join(f"{line}\n" for line in side) for side in lines]
    outcome = merged(NOTE, *texts)
    assert outcome.data is not None
    if outcome.clashes:  # a line deleted by one was replaced by the other: they are neighbours
        return
    found = outcome.data.decode().split()
    deleted = (set(base) - set(one)) | (set(base) - set(two))
    assert sorted(found) == sorted((set(one) | set(two)) - deleted)
    for side in (one, two):  # and in the order in which each side has them
        kept = [line for line in side if line in found]
        assert [line for line in found if line in kept] == kept


@st.composite
def recalls(draw: st.DrawFn, sides: int = 2) -> list[list[str]]:
    """Segments of records: what all know, and what each side deleted, edited and added."""
    seconds = iter(range(1, 60))
    base = [line(second) for second in itertools.islice(seconds, draw(st.integers(0, 5)))]
    owners = draw(st.lists(st.integers(0, sides - 1), max_size=8))
    added: list[list[str]] = [[] for _ in range(sides)]
    for owner, second in zip(owners, seconds, strict=False):
        added[owner].append(line(second))
    found = [base]
    for own in added:
        gone = draw(st.sets(st.integers(0, max(len(base) - 1, 0)), max_size=2))
        found.append([one for at, one in enumerate(base) if at not in gone] + own)
    return found


def records(base: list[str] | None, one: list[str], two: list[str]) -> list[str]:
    old = None if base is None else segment(*base)
    data = merged(RECALL, old, segment(*one) or None, segment(*two) or None).data
    return (data or b"").decode().splitlines()


@given(recalls())
@settings(max_examples=300)
def test_recall_is_the_union_in_the_order_of_time_without_what_was_deleted(
    lines: list[list[str]],
) -> None:
    base, one, two = lines
    found = records(base, one, two)
    deleted = (set(base) - set(one)) | (set(base) - set(two))
    assert found == sorted((set(one) | set(two)) - deleted, key=lambda text: json.loads(text)["ts"])
    assert found == records(base, two, one)
    assert found == records(base, found, two) or set(base) - set(two)
    assert records(base, one, one) == one
    assert records(base, one, base) == one


@given(recalls(sides=3))
@settings(max_examples=300)
def test_recall_of_three_machines_is_the_same_in_whichever_order_they_meet(
    lines: list[list[str]],
) -> None:
    base, one, two, other = lines
    both = records(base, records(base, one, two), other)
    assert both == records(base, one, records(base, two, other))
    assert both == records(base, records(base, other, one), two)


VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 7, 1.5, "a", "b c", "1", "# no", "x: y", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = st.dictionaries(
    st.sampled_from(["limit", "tags", "a b", "x", "on", "1"]), VALUES, max_size=4
)


@given(KEYS, KEYS, KEYS, st.booleans())
@settings(max_examples=300)
def test_of_keys_each_change_counts_whoever_made_it(
    base: dict[str, Any], one: dict[str, Any], two: dict[str, Any], flow: bool
) -> None:
    import yaml

    texts = [
        "# above\n" * bool(values)
        + yaml.safe_dump(values, sort_keys=False, default_flow_style=flow and None)
        for values in (base, one, two)
    ]
    text, said = merge_keys(*texts, ("laptop", "desktop"))
    found = load_yaml(text) or {}
    gone = object()
    for key in {*base, *one, *two}:
        old, mine, other = (repr(values.get(key, gone)) for values in (base, one, two))
        now = repr(found.get(key, gone))
        if mine in (old, other):
            assert now == other
        elif other == old:
            assert now == mine
        elif now not in (mine, other):
            assert isinstance(found[key], list | dict)
    assert found.keys() <= one.keys() | two.keys()
    again, back = merge_keys(texts[0], texts[2], texts[1], ("desktop", "laptop"))
    swapped = load_yaml(again) or {}
    for key in found:
        if not isinstance(found[key], list | dict):
            assert repr(swapped[key]) == repr(found[key])
    assert len(said) == len(back)


def test_comments_stay_whoever_changed_the_key_below() -> None:
    base = "# who\nname: A\n# which\nmodel: x\n# the end\n"
    one = "# who\n# it is\nname: A\n# which\n# (a large one)\nmodel: x\n# the end\n# of it\n"
    two = "# who\n# named so in May\nname: B\n# which\nmodel: y\nlimit: 2\n# the very end\n"
    text, said = merge_keys(base, one, two, ("laptop", "desktop"))
    assert text == (
        "# who\n# it is\n# named so in May\nname: B\n# which\n# (a large one)\nmodel: y\nlimit: 2\n"
        "# of it\n# the very end\n"
    )
    assert said == []
    # A comment that one side took away is gone, also where both changed the value.
    text, _ = merge_keys(base, "name: C\n# which\nmodel: x\n", two, ("laptop", "desktop"))
    assert text.startswith("# named so in May\nname: C\n")


# ── what it costs ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "kinds", "edits"), [(4000, 1, 40), (8000, 10, 40), (8000, 10, 2000)]
)
def test_many_equal_lines_cost_a_moment(lines: int, kinds: int, edits: int) -> None:
    base = [f"state {n * 7919 % 10007 % kinds}" for n in range(lines)]

    def edited(name: str, first: int) -> Version:
        step = lines // edits
        text = [f"{name} {n}" if n % step == first else line for n, line in enumerate(base)]
        return Version("\n".join(text).encode(), name)

    start = time.process_time()
    done = merge_file("files/t.csv", "\n".join(base).encode(), edited("one", 1), edited("two", 3))
    assert time.process_time() - start < 5  # it was between ten seconds and hours
    if kinds > 1 and edits == 40:
        assert not done.clashes
        assert (done.data or b"").count(b"one ") == (done.data or b"").count(b"two ") == edits


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_fewest_edits_make_the_one_list_of_the_other(old: list[str], new: list[str]) -> None:
    found = comparing._fewest(old, new)
    assert found is not None
    made, at = list[str](), 0
    for i1, i2, j1, j2 in found:
        made += old[at:i1] + new[j1:j2]
        at = i2
    assert made + old[at:] == new
    least = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    cost = sum(i2 - i1 + j2 - j1 for tag, i1, i2, j1, j2 in least if tag != "equal")
    assert sum(i2 - i1 + j2 - j1 for i1, i2, j1, j2 in found) <= cost
