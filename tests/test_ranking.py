"""What a query asks for, what a doc is made of, and what each signal does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import numpy as np
import pytest
from fsagent import Agent
from fsagent.errors import SearchError
from fsagent.index.bm25 import BM25, idf
from fsagent.index.dates import Span, span_of
from fsagent.index.entries import analysed, chunks, docs_of
from fsagent.index.find import Query, find
from fsagent.index.layered import Layered
from fsagent.index.memory import Memory
from fsagent.index.question import Question
from fsagent.index.whoosh import WhooshIndex
from fsagent.index.words import excerpt, nowhere
from fsagent.records import Doc
from hypothesis import given

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday
ZONE = ZoneInfo("UTC")


def read(text: str, *speakers: str) -> Question:
    return Question.of(text, speakers, NOW, ZONE)


# ── BM25 ──────────────────────────────────────────────────────────────────────────────────────

CORPUS = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), max_size=8)


@given(CORPUS, CORPUS, st.lists(st.sampled_from("abcde"), max_size=3))
def test_adding_and_removing_is_the_same_as_beginning_anew(
    kept: list[list[str]], gone: list[list[str]], query: list[str]
) -> None:
    grown = BM25(gone)
    for document in kept:
        grown.add(document)
    for number in range(len(gone)):
        grown.remove(number)
    assert np.allclose(grown.get_scores(query)[len(gone) :], BM25(kept).get_scores(query))
    assert not grown.get_scores(query)[: len(gone)].any()


@given(CORPUS, st.lists(st.sampled_from("abcd"), min_size=1, max_size=1))
def test_what_holds_a_word_scores_above_nought(corpus: list[list[str]], query: list[str]) -> None:
    scores = BM25(corpus).get_scores(query)
    assert [score > 0 for score in scores] == [query[0] in document for document in corpus]


def test_bm25_by_hand() -> None:
    scores = BM25([["tea", "tea", "cup"], ["cup"]]).get_scores(["tea"])
    weight = np.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert scores[0] == pytest.approx(weight * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)))
    assert BM25([["tea"], ["cup"]]).get_batch_scores(["cup"], [1, 0])[1] == 0
    assert idf(10, 10) > 0
    assert len(BM25().get_scores(["tea"])) == 0


# ── questions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "speaker"),
    [
        ("What does Ada drink?", "ada"),
        ("what did ADA LEE say", "ada lee"),
        ("What do Ada and Ben drink?", ""),
        ("What is my cat called?", "user"),
        ("What did you tell me about Rome?", "assistant"),
        ("Can you tell me when I moved?", "user"),
        ("your advice on tea", "assistant"),
        ("the user likes tea", "user"),
        ("kettle", ""),
    ],
)
def test_who_is_meant(text: str, speaker: str) -> None:
    names = ["Ada Lee", "Ben"] if "LEE" in text else ["Ada", "Ben"]
    assert read(text, *names).speaker == speaker


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("what happened on 7 May 2023?", "2023-05-07", "2023-05-07"),
        ("on May 7th", "2026-05-07", "2026-05-07"),
        ("2023-05-07", "2023-05-07", "2023-05-07"),
        ("in 2023-02", "2023-02-01", "2023-02-28"),
        ("in december", "2025-12-01", "2025-12-31"),
        ("in may", "2026-05-01", "2026-05-31"),
        ("plans for 2024", "2024-01-01", "2024-12-31"),
        ("yesterday's talk", "2026-11-20", "2026-11-20"),
        ("last week", "2026-11-09", "2026-11-15"),
        ("last weekend", "2026-11-14", "2026-11-15"),
        ("last month", "2026-10-01", "2026-10-31"),
        ("last year", "2025-01-01", "2025-12-31"),
        ("on friday", "2026-11-20", "2026-11-20"),
        ("last saturday", "2026-11-14", "2026-11-14"),
        ("two weeks ago", "2026-11-04", "2026-11-10"),
        ("3 days ago", "2026-11-18", "2026-11-18"),
    ],
)
def test_which_days_are_meant(text: str, first: str, last: str) -> None:
    assert span_of(text.casefold(), NOW.date()) == Span(
        date.fromisoformat(first), date.fromisoformat(last)
    )


@pytest.mark.parametrize(
    "text", ["I may go", "march on", "31 February 2023", "2023-13", "the 5th time", "tea"]
)
def test_no_days_are_meant(text: str) -> None:
    assert span_of(text.casefold(), NOW.date()) in (
        None,
        Span(date(2023, 1, 1), date(2023, 12, 31)),
    )


@given(st.text(max_size=60))
def test_any_text_is_a_question(text: str) -> None:
    question = read(text, "Ada")
    assert isinstance(question.words, tuple)
    nowhere(text, ())
    excerpt(text * 9, text, 50)


def test_names_say_who_and_not_what() -> None:
    assert read("Where does Ada live?", "Ada").words == ("live",)
    assert read("Ada", "Ada").words == ("ada",)
    assert read("Ada's cat and Ada", "Ada").plain == "my cat and I"
    assert read('say "green tea" 12" or 14"').phrases == ("green tea",)
    assert read('Who wrote "Green Tea"?').phrases == ()
    assert read('"when I was in Ghent yesterday"').span is None  # in the words of then
    assert not read('"when I was in Ghent yesterday"').when
    assert read('yesterday "in Ghent"').span
    assert read('Who sang "Yesterday"?').span  # which may be one
    assert read(f'"{"what was said, " * 60}"').phrases == (("what was said, " * 60).strip(),)


def test_what_is_quoted_as_a_whole_comes_first(make: Callable[..., Agent]) -> None:
    agent = make(*["Yes."] * 30)
    agent.chat("So it is!")
    for number in range(20):
        agent.store.clock.move(hours=1)  # type: ignore[attr-defined]
        agent.chat(f"So it is! Lesson {number}.")
    assert agent.search('"So it is!"').hits[0].doc.text == "So it is!"
    texts = [hit.doc.text for hit in agent.search('"So it is!"', limit=30).hits]
    assert len(texts) == len(set(texts)) == 21


# ── docs ──────────────────────────────────────────────────────────────────────────────────────


def test_chunks_carry_their_titles() -> None:
    text = (
        "Intro\n\n# Trip\n## Packing\nsocks\n\n```\n# not a heading\n```\n## Cost\n90\n# End\nbye"
    )
    assert list(chunks(text)) == [
        (0, "", "Intro"),
        (3, "Trip", "## Packing\nsocks\n\n```\n# not a heading\n```"),
        (9, "Trip", "## Cost\n90"),
        (11, "", "# End\nbye"),
    ]
    assert list(chunks("")) == []
    assert list(chunks("\n\n")) == []


def test_long_sections_are_cut_at_paragraphs() -> None:
    paragraph = "word " * 150
    parts = list(chunks("# One\n" + "\n\n".join([paragraph] * 6)))
    assert len(parts) == 3
    assert [title for _, title, _ in parts] == ["", "One", "One"]
    assert sum(part.count("word") for _, _, part in parts) == 900


@given(st.text(alphabet="#a \n`", max_size=80))
def test_chunks_lose_nothing_but_titles(text: str) -> None:
    lines = text.split("\n")
    for line, titles, part in chunks(text):
        assert part.split("\n")[0] == lines[line]
        assert isinstance(titles, str)
    kept = "".join(part + titles for _, titles, part in chunks(text))
    assert kept.count("a") >= text.count("a")


def segment(*records: dict[str, object]) -> bytes:
    return b"".join(json.dumps({"role": "user", **one}).encode() + b"\n" for one in records)


def test_sessions_end_after_an_hour_or_by_name() -> None:
    at = "2026-11-21T{}:00Z".format
    data = segment(
        {"id": "a", "ts": at("10:00"), "content": "1"},
        {"id": "b", "ts": at("10:59"), "content": "2"},
        {"id": "t", "ts": at("11:30"), "content": "x", "role": "tool"},
        {"id": "c", "ts": at("12:20"), "content": "3"},
        {"id": "d", "ts": at("13:30"), "content": "4"},
        {"id": "e", "ts": at("13:31"), "content": "5", "thread": "other"},
        {"id": "f", "ts": at("13:32"), "content": "6", "session": "named"},
        {"id": "g", "ts": at("19:32"), "content": "7", "session": "named"},
        {"id": "g", "ts": at("19:33"), "content": "a copied line"},
    )
    docs = docs_of("recall/x.jsonl", data)
    groups: dict[str, list[tuple[str, int]]] = {}
    for doc in docs:
        groups.setdefault(doc.session, []).append((doc.id, doc.place))
    assert list(groups.values()) == [
        [("a", 0), ("b", 1), ("c", 2)], [("d", 0)], [("e", 0)], [("f", 0), ("g", 1)]
    ]  # fmt: skip


# ── signals ───────────────────────────────────────────────────────────────────────────────────


def talk(*said: tuple[str, str], day: str = "2026-11-20") -> list[Doc]:
    return [
        Doc(
            f"{day}-{place}", "record", "recall/x.jsonl", place + 1, text, f"{day}T10:0{place}:00Z",
            role="user", name=name, session=day, place=place,
        )
        for place, (name, text) in enumerate(said)
    ]  # fmt: skip


def ask(docs: list[Doc], text: str, **more: object) -> list[str]:
    memory = Index(docs)
    return [hit.doc.text for hit in find(memory, Query(text, now=NOW, **more)).hits]  # type: ignore[arg-type]


class Index(Layered):
    """Docs in memory only."""

    def __init__(self, docs: list[Doc]) -> None:
        super().__init__(WhooshIndex(Path("/dev/null/nowhere")), 0)
        from fsagent.index import Meta

        self.update(map(analysed, docs), (), Meta("c"))


def test_the_one_who_is_named_comes_first() -> None:
    docs = talk(("Ada", "I like green tea."), ("Ben", "I like green tea."))
    assert ask(docs, "What tea does Ben like?")[0] == "I like green tea."
    hits = find(Index(docs), Query("What tea does Ben like?")).hits
    assert [hit.doc.name for hit in hits] == ["Ben", "Ada"]
    assert hits[0].signals["speaker"] > hits[1].signals["speaker"] == 0


def test_an_answer_is_found_by_its_question() -> None:
    docs = talk(
        ("Ada", "What is the name of your cat?"), ("Ben", "Minka."), ("Ada", "Lovely weather.")
    )
    docs += talk(("Ada", "Some cat ran by."), ("Ben", "Really."), day="2026-11-10")
    assert ask(docs, "What is the name of Ben's cat?")[0] == "Minka."


def test_the_time_that_is_named_counts() -> None:
    docs = talk(("Ada", "I went to the doctor."), day="2026-05-07")
    docs += talk(("Ada", "I went to the doctor again."), day="2026-08-07")
    assert ask(docs, "doctor in august")[0] == "I went to the doctor again."
    assert ask(docs, "doctor on 7 may")[0] == "I went to the doctor."
    assert ask(docs, "what did I say on 7 may 2026?")[0] == "I went to the doctor."


def test_a_phrase_must_appear() -> None:
    docs = talk(
        ("Ada", "tea that is green"), ("Ada", "Green  Tea, please"), ("Ada", "evergreen team")
    )
    assert ask(docs, '"green tea"') == ["Green  Tea, please"]
    assert ask(docs, '"green tea" kettle') == ["Green  Tea, please"]
    assert ask(docs, '"that is"') == ["tea that is green"]
    assert ask(docs, '"black tea"') == []


def test_pages_go_on_where_the_last_one_ended() -> None:
    docs = [d for n in range(7) for d in talk(("Ada", f"tea {n}"), day=f"2026-11-{n + 10}")]
    index = Index(docs)
    whole = find(index, Query("tea", limit=7))
    pages = [find(index, Query("tea", limit=3, offset=offset)) for offset in (0, 3, 6)]
    assert [hit.doc.id for page in pages for hit in page.hits] == [h.doc.id for h in whole.hits]
    assert [page.more for page in pages] == [True, True, False]
    newest = find(index, Query("", limit=2))
    assert [hit.doc.text for hit in newest.hits] == ["tea 6", "tea 5"]


def test_words_that_are_nowhere_are_named_as_they_were_typed() -> None:
    docs = talk(("Ada", "green tea"))
    assert find(Index(docs), Query("Running zebras like tea")).unknown == ("Running", "zebras")
    assert find(Index(docs), Query("zebras")).hits == ()


def test_a_note_is_one_hit(make: Callable[..., Agent]) -> None:
    agent = make()
    agent.notes.add("# Trip\n## Packing\ntea and a kettle\n## Food\ntea in the morning")
    (hit,) = agent.search("tea in the morning").hits
    assert (hit.doc.title, hit.doc.text) == ("Trip", "## Food\ntea in the morning")
    assert hit.before
    assert hit.before.text == "## Packing\ntea and a kettle"
    lines = (agent.root / hit.doc.path).read_text().splitlines()
    assert lines[hit.doc.line - 1] == "## Food"


def test_memory_replaces_a_doc_of_the_same_key() -> None:
    first, second = (
        analysed(Doc("a", "record", "recall/x.jsonl", 1, text)) for text in ("tea", "cat")
    )
    memory = Memory([first, second])
    assert len(memory) == 1
    assert memory.stats(["tea", "cat"]).holding == {"tea": 0, "cat": 1}


def test_phrases_do_not_mind_accents_apostrophes_and_spaces() -> None:
    docs = talk(("A", "Ada’s  cat"), ("B", "un café, ici"), ("C", "我们的猫在这里"), ("D", "to be"))
    assert ask(docs, '"ada\'s cat"') == ["Ada’s  cat"]
    assert ask(docs, '"un cafe"') == ["un café, ici"]
    assert ask(docs, '"猫"') == ["我们的猫在这里"]
    assert ask(docs, '"to be" kettle') == ["to be"]


def test_what_was_said_twice_is_shown_once_where_that_is_asked() -> None:
    docs = talk(("A", "green tea"), ("A", "Green  tea"), ("A", "red tea"))
    assert len(ask(docs, "tea")) == 3
    assert sorted(ask(docs, "tea", distinct=True)) == ["green tea", "red tea"]


def test_a_long_text_is_shown_where_it_matches() -> None:
    text = "filler words here " * 100 + "the okapi sleeps " + "more filler text " * 100
    begin, shown = excerpt(text, "where does the okapi sleep?", 200)
    assert "okapi sleeps" in shown
    assert shown.startswith("[…] ")
    assert text[begin:].startswith(shown[4:20])
    assert excerpt("short", "x", 100) == (0, "short")


def test_words_of_a_date_are_not_called_missing() -> None:
    docs = talk(("Ada", "green tea"), day="2023-07-03")
    found = find(Index(docs), Query("what tea on 3 July 2023? zebra", now=NOW))
    assert found.unknown == ("zebra",)
    assert find(Index(docs), Query("tea on 3 July", now=NOW)).hits[0].signals["date"] > 0


def test_a_copied_line_begins_a_session_of_its_own() -> None:
    at = "2026-11-21T{}:00Z".format
    data = segment(
        {"id": "a", "ts": at("10:00"), "content": "1"},
        {"id": "b", "ts": at("10:01"), "content": "2"},
        {"id": "a", "ts": at("12:00"), "content": "1"},
        {"id": "c", "ts": at("12:01"), "content": "3"},
    )
    docs = docs_of("recall/2026/11/x.jsonl", data)
    assert len({(doc.session, doc.place) for doc in docs}) == len(docs) == 3


def test_a_note_stands_for_what_is_not_beside_it(make: Callable[..., Agent]) -> None:
    agent = make("Lentils it is.", "I will remember that.")
    agent.notes.add("# Lentil soup\nLentils, onions, cumin.")
    agent.chat("We had soup yesterday, was it lentil?")
    agent.chat("My sister is called Carla.")
    assert agent.search("lentil soup").hits[0].doc.kind == "note"


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"offset": -1},
        {"kinds": ("notes",)},
        {"kinds": "note"},
        {"since": "2026-01-01"},
    ],
)
def test_wrong_arguments_are_named(make: Callable[..., Agent], wrong: dict[str, object]) -> None:
    with pytest.raises(SearchError):
        make().search("tea", **wrong)  # type: ignore[arg-type]


def test_a_note_of_many_chunks_does_not_hide_the_others(make: Callable[..., Agent]) -> None:
    agent = make()
    agent.notes.add("\n".join(f"# Tea {n}\ngreen tea" for n in range(300)))
    for n in range(3):
        agent.notes.add(f"green tea and a longer text about something else, number {n}")
    assert len(agent.search("green tea", kinds=("note",)).hits) == 4
    assert len(agent.search("", kinds=("note",)).hits) == 4


def test_tags_are_words_and_empty_blocks_are_not_found(make: Callable[..., Agent]) -> None:
    agent = make()
    agent.notes.add("The van is behind the garage.", tags=["vehicle"])
    assert [hit.doc.kind for hit in agent.search("vehicle").hits] == ["note"]
    (agent.root / "core/empty.md").write_text("---\nlimit: 9\n---\n\n")
    agent.adopt()
    assert "empty" not in [hit.doc.id for hit in agent.search("").hits]
