"""The embedded model's own small agent, driven by a stand-in for the model."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fsagent.errors import ModelError
from fsagent.llm import Completion, Prompt, decide, guards, local, reply, words
from fsagent.llm.decide import Candidate, Choice, Situation, Tool
from fsagent.llm.engine import End
from fsagent.llm.local import LocalClient
from fsagent.records import PRESSURE, Block, ToolCall, Usage
from hypothesis import given
from hypothesis import strategies as st

ALL = frozenset(
    {decide.APPEND, decide.REPLACE, decide.NOTE, *decide.SEARCHES, decide.INSERT, decide.EXCHANGE}
)


def block(*lines: str, label: str = "human", limit: int = 2000, read_only: bool = False) -> Block:
    return Block(label, f"core/{label}.md", "\n".join(lines), limit=limit, read_only=read_only)


def situation(message: str, *lines: str, **more: Any) -> Situation:
    persona = block("I am a helpful assistant.", label="persona")
    return Situation(message, (persona, block(*lines)), **{"on": ALL, **more})


def append(content: str, label: str = "human") -> Choice:
    return Choice(decide.APPEND, {"label": label, "content": content})


def exchange(old: str, new: str, label: str = "human") -> Choice:
    return Choice(decide.REPLACE, {"label": label, "old_content": old, "new_content": new})


def note(content: str) -> Choice:
    return Choice(decide.NOTE, {"content": content})


# --- A reader of GBNF, enough for the grammars that are made here ---


class Gbnf:
    """Whether a text is what a grammar describes, by trying every way."""

    def __init__(self, text: str) -> None:
        self.rules = {}
        for row in text.strip().splitlines():
            name, _, body = row.partition(" ::= ")
            self.source, self.at = body, 0
            self.rules[name] = self._choices()
            assert self.at == len(body), f"{name}: cannot read {body[self.at :]!r}"

    def _space(self) -> None:
        while self.source[self.at : self.at + 1] == " ":
            self.at += 1

    def _choices(self) -> tuple[str, Any]:
        options = [self._sequence()]
        while self.source[self.at : self.at + 1] == "|":
            self.at += 1
            options.append(self._sequence())
        return "or", options

    def _sequence(self) -> tuple[str, Any]:
        items: list[tuple[str, Any]] = []
        while True:
            self._space()
            rest = self.source[self.at :]
            if not rest or rest[0] in "|)":
                return "seq", items
            items.append(self._repeated(self._item(rest)))

    def _item(self, rest: str) -> tuple[str, Any]:
        if rest[0] == "(":
            self.at += 1
            inner = self._choices()
            assert self.source[self.at] == ")"
            self.at += 1
            return inner
        if found := re.match(r'"((?:[^"\\]|\\.)*)"', rest):
            self.at += found.end()
            return "text", re.sub(
                r"\\(.)", lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]), found[1]
            )
        if found := re.match(r"\[(?:[^\]\\]|\\.)+\]", rest):
            self.at += found.end()
            return "class", re.compile(found[0])
        found = re.match(r"[a-z][a-z0-9-]*", rest)
        assert found, rest
        self.at += found.end()
        return "rule", found[0]

    def _repeated(self, item: tuple[str, Any]) -> tuple[str, Any]:
        found = re.match(r"[?*+]|\{(\d+),(\d+)\}", self.source[self.at :])
        if not found:
            return item
        self.at += found.end()
        low, high = {"?": (0, 1), "*": (0, 9999), "+": (1, 9999)}.get(
            found[0], (int(found[1] or 0), int(found[2] or 0))
        )
        return "many", (item, low, high)

    def ends(self, item: tuple[str, Any], text: str, at: int) -> set[int]:
        kind, what = item
        if kind == "text":
            return {at + len(what)} if text.startswith(what, at) else set()
        if kind == "class":
            return {at + 1} if at < len(text) and what.match(text[at]) else set()
        if kind == "rule":
            return self.ends(self.rules[what], text, at)
        if kind == "or":
            return set().union(*(self.ends(option, text, at) for option in what))
        places = {at}
        if kind == "seq":
            for one in what:
                places = set().union(*(self.ends(one, text, p) for p in places))
            return places
        inner, low, high = what
        reached = {at} if low == 0 else set()
        for count in range(1, high + 1):
            places = set().union(*(self.ends(inner, text, p) for p in places)) - reached
            if not places:
                break
            if count >= low:
                reached |= places
        return reached

    def accepts(self, text: str) -> bool:
        return len(text) in self.ends(self.rules["root"], text, 0)


# --- Words ---


@pytest.mark.parametrize(
    ("message", "fact", "about"),
    [
        ("I moved to Porto", "Lives in Madrid", True),
        ("Ich bin nach Köln umgezogen", "Lives in Bonn", True),
        ("J'ai déménagé à Nantes.", "Habite à Lille", True),
        ("My sister moved to Rome", "Lives in Berlin", False),
        ("My sister moved to Rome", "Sister Eva lives in Paris", True),
        ("I moved to Rome", "Sister Eva lives in Paris", False),
        ("I hate early meetings", "Drinks green tea", False),
        ("I don't drink alcohol", "Drinks green tea", False),
        ("I can't eat gluten", "Enjoys cooking Thai food", False),
        ("My brother moved to Chicago", "Has two brothers", False),
        ("Forget that I have two brothers", "Has two brothers", True),
        ("I've switched from tea to coffee", "Drinks green tea", True),
        ("My favourite food is sushi", "Favourite food: pizza", True),
        ("My favourite colour is blue", "Favourite food: pizza", False),
        ("I am not vegetarian any more", "Vegetarian", True),
    ],
)
def test_what_a_message_speaks_of(message: str, fact: str, about: bool) -> None:
    assert words.speaks_of(message, fact) is about


def test_kinds_of_message() -> None:
    assert words.only_asks("Where do I live? And who is Ada?")
    assert not words.only_asks("I moved. Where do I live?")
    assert words.forgets("Bitte vergiss meine Adresse")
    assert not words.forgets("Don't forget my birthday")
    assert words.asks_for_something("Tell me a joke")
    assert not words.asks_for_something("Tell me always the short version")
    assert not words.corrects("I don't drink alcohol")
    assert words.corrects("My cat is called Miezi, not Minka")


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_take_any_text(one: str, other: str) -> None:
    words.speaks_of(one, other)
    words.shared(one, other)
    words.corrects(one)
    words.only_asks(one)
    assert words.missing(one, one) == []


# --- Grammar and prompt ---


def test_every_example_is_written_as_the_grammar_writes() -> None:
    for _, choice in decide.EXAMPLES:
        assert decide.read(decide.write(choice)) == choice


def test_the_grammar_allows_what_may_be_done() -> None:
    here = situation("I moved to Porto, please forget the rest", "Lives in Madrid", "Cat: Ada")
    grammar = Gbnf(decide.grammar(here))
    assert grammar.accepts(decide.write(Choice(decide.REPLY, {})))
    assert grammar.accepts(decide.write(append("Lives in Porto")))
    assert grammar.accepts(decide.write(append('says "hi" \\ ü 花')))
    assert grammar.accepts(decide.write(exchange("Lives in Madrid", "Lives in Porto")))
    assert grammar.accepts(decide.write(exchange("Lives in Madrid", "")))
    assert grammar.accepts(decide.write(note("Moved")))
    # Never a line that the message does not speak of, nor one that does not stand there.
    assert not grammar.accepts(decide.write(exchange("Cat: Ada", "Cat: Bo")))
    assert not grammar.accepts(decide.write(exchange("Lives in Rome", "Lives in Porto")))
    assert not grammar.accepts(decide.write(append("Lives in Porto", "nowhere")))
    assert not grammar.accepts(decide.write(append("")))


def test_nothing_is_deleted_unless_asked() -> None:
    grammar = Gbnf(decide.grammar(situation("I moved to Porto", "Lives in Madrid")))
    assert not grammar.accepts(decide.write(exchange("Lives in Madrid", "")))


def test_a_question_changes_nothing() -> None:
    here = situation("Do I live in Madrid?", "Lives in Madrid")
    grammar = Gbnf(decide.grammar(here))
    assert not grammar.accepts(decide.write(append("Lives in Madrid")))
    assert decide.forced(here)
    assert not decide.forced(situation("Can you remember that I like tea?"))


def test_a_rule_for_later_is_not_just_answered() -> None:
    grammar = Gbnf(decide.grammar(situation("Call me Captain from now on")))
    assert not grammar.accepts(decide.write(Choice(decide.REPLY, {})))
    assert grammar.accepts(decide.write(append("Call the user Captain", "persona")))


def test_adding_to_a_line_is_an_addition() -> None:
    here = situation("I like cooking with garlic", "Enjoys cooking")
    assert guards.guard(exchange("Enjoys cooking", "Enjoys cooking with garlic"), here) is None


def test_a_value_named_in_the_message_is_exchanged() -> None:
    meant = exchange("Lives in Lyon", "Lives in Toulouse")
    here = situation("I'm not in Lyon anymore, Toulouse now", "Lives in Lyon")
    assert guards.guard(meant, here) == meant


def test_read_only_blocks_are_never_offered() -> None:
    blocks = (block("Lives in Madrid", read_only=True), block(label="persona"))
    here = Situation("I moved to Porto", blocks, ALL)
    grammar = Gbnf(decide.grammar(here))
    assert not grammar.accepts(decide.write(append("Lives in Porto")))
    assert here.candidates == ()
    assert grammar.accepts(decide.write(append("x", "persona")))


ROLL = {
    "type": "object",
    "properties": {
        "sides": {"type": "integer"},
        "how": {"enum": ["high", "low"]},
        "names": {"type": "array", "items": {"type": "string"}},
        "where": {"type": "object", "properties": {"x": {"type": "number"}}},
        "flag": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "any": {},
    },
    "required": ["sides"],
}


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"sides": 6}, True),
        ({"sides": -12, "how": "low"}, True),
        ({"sides": 6, "names": ["a", "b c"], "where": {"x": 1.5}, "flag": None}, True),
        ({"sides": 6, "names": [], "flag": True, "any": {"deep": [1, "x"]}}, True),
        ({}, False),
        ({"sides": "six"}, False),
        ({"sides": 6, "how": "middle"}, False),
    ],
)
def test_custom_tools_get_a_grammar_from_their_schema(
    arguments: dict[str, Any], right: bool
) -> None:
    here = situation("Roll a die", custom=(Tool("roll", "Roll a die. Fairly.", ROLL),))
    assert Gbnf(decide.grammar(here)).accepts(decide.write(Choice("roll", arguments))) is right
    assert "roll(sides: integer, how?: high|low," in decide.ask(here)
    assert "Roll a die.\n" in decide.ask(here)


@given(st.lists(st.text(max_size=40), max_size=5), st.text(min_size=1, max_size=60))
def test_any_memory_makes_a_grammar_that_can_be_read(lines: list[str], message: str) -> None:
    text = "\n".join(lines)
    here = situation(f"{message} {text}", text)
    grammar = Gbnf(decide.grammar(here))
    must_keep = words.sets_rule(here.message) and not here.is_question
    assert grammar.accepts(decide.write(Choice(decide.REPLY, {}))) is not must_keep
    for candidate in here.candidates:
        assert any(candidate.line in block.text for block in here.blocks)


# --- Guards ---


@pytest.mark.parametrize(
    ("message", "lines", "choice"),
    [
        ("I hate early meetings", ["Drinks green tea"], exchange("Drinks green tea", "Hates meetings")),
        ("My sister moved to Rome", ["Lives in Berlin"], exchange("Lives in Berlin", "Lives in Rome")),
        ("I live in Berlin now", ["Lives in Berlin"], exchange("Lives in Berlin", "lives in berlin")),
        ("I like tea in Berlin now", ["Lives in Berlin"], exchange("Lives in Berlin", "Likes tea")),
        ("I have a cat, too", ["Has a dog and a cat"], exchange("Has a dog and a cat", "Has a cat")),
        ("I now live in 12 Oak Street", ["Lives in 9 Elm Street"],
         exchange("Lives in 9 Elm Street", "Lives in 13 Oak Street")),
        ("I moved to Porto", ["Lives in Madrid", "Lives in Porto"],
         exchange("Lives in Madrid", "Lives in Porto")),
    ],
)  # fmt: skip
def test_replacements_that_were_not_meant(message: str, lines: list[str], choice: Choice) -> None:
    assert guards.guard(choice, situation(message, *lines)) is None


@pytest.mark.parametrize(
    ("message", "line", "new"),
    [
        ("My car broke down again", "Drives a bicycle to work", "Drives a car to work"),
        ("I work late on Tuesdays", "Works as a nurse", "Works late on Tuesdays"),
        ("My job is no longer in Rome", "Works in Rome", "Works in Milan"),
    ],
)
def test_what_nobody_called_untrue_stays(message: str, line: str, new: str) -> None:
    assert guards.guard(exchange(line, new), situation(message, line)) is None


def test_a_correction_passes() -> None:
    meant = exchange("Lives in Madrid", "Lives in Porto")
    assert (
        guards.guard(meant, situation("I moved to Porto", "Cat: Ada", "Lives in Madrid")) == meant
    )


def test_a_unit_of_time_in_common_corrects_nothing() -> None:
    line = "She wants to begin in January, on two days of the week"
    said = "The doctor says that I should swim instead of run, twice a week, for two months."
    meant = exchange(line, "She wants to begin in January, twice a week")
    assert guards.guard(meant, situation(said, line)) is None
    for said in ("Not on two days of the week, but on three", "She begins in January, weekly now"):
        meant = exchange(line, "She wants to begin in January, on three days of the week")
        meant = (
            meant if "three" in said else exchange(line, "She wants to begin in January, weekly")
        )
        assert guards.guard(meant, situation(said, line)) is not None


def test_the_other_facts_of_a_line_stay() -> None:
    here = situation("I've moved to Hamburg", "Lives in Berlin, works as a nurse")
    made = guards.guard(exchange("Lives in Berlin, works as a nurse", "Lives in Hamburg"), here)
    assert made == exchange(
        "Lives in Berlin, works as a nurse", "Lives in Hamburg, works as a nurse"
    )


def test_forgetting_a_line_leaves_no_gap() -> None:
    here = situation("forget that I like karaoke", "Name: Sam", "Likes karaoke", "Vegetarian")
    made = guards.guard(exchange("Likes karaoke", ""), here)
    assert made == exchange("Likes karaoke\n", "")


def test_only_the_one_line_is_replaced() -> None:
    here = situation("My car is a Kia now", "Racecar fan", "car")
    made = guards.guard(exchange("car", "car: Kia"), here)
    assert made is not None
    old, new = str(made.arguments["old_content"]), str(made.arguments["new_content"])
    assert here.blocks[1].text.replace(old, new) == "Racecar fan\ncar: Kia"


@given(st.lists(st.text(alphabet="ab c", max_size=6), min_size=1, max_size=6))
def test_a_span_hits_its_line_and_no_other(rows: list[str]) -> None:
    text = "\n".join(rows)
    for line in decide.lines(block(text)):
        around = decide.span(text, line)
        if around is None:
            continue
        before, after = around
        changed = text.replace(f"{before}{line}{after}", f"{before}NEW{after}")
        marks = [row for row in changed.split("\n") if "NEW" in row]
        assert len(marks) == 1
        assert len(changed) == len(text) - len(line) + 3


def test_an_addition_is_the_messages_own() -> None:
    here = situation("Remember that my locker code is 4711", "Name: Sam")
    assert guards.guard(append("Locker code 4711"), here) == append("Locker code 4711")
    # A number or a subject of its own: the user's words are kept instead.
    for invented in ("Locker code 4712", "Allergic to hazelnuts"):
        assert guards.guard(append(invented), here) == append("My locker code is 4711")


def test_what_is_known_is_not_added_again() -> None:
    assert guards.guard(append("Likes tea."), situation("I like tea", "- likes tea")) is None


def test_a_list_stays_a_list() -> None:
    here = situation("I like tea", "- Name: Sam", "- Vegan")
    assert guards.guard(append("Likes tea"), here) == append("- Likes tea")


def test_a_fact_about_the_user_is_no_trait_of_the_agent() -> None:
    here = situation("Je déteste les réunions")
    assert guards.guard(append("Déteste les réunions", "persona"), here) == append(
        "Déteste les réunions"
    )
    here = situation("Answer me in Italian")
    made = append("Answer in Italian", "persona")
    assert guards.guard(made, here) == made


def test_a_full_block_makes_it_a_note() -> None:
    full = block("x" * 95, limit=100)
    here = Situation("I like green tea", (full,), ALL)
    assert guards.guard(append("Likes green tea"), here) == note("Likes green tea")
    here = Situation("I like green tea", (full,), ALL - {decide.NOTE})
    assert guards.guard(append("Likes green tea"), here) is None


def test_a_long_note_is_kept_word_for_word() -> None:
    recipe = "Write this down: " + "Take 3 eggs and beat them.\n" * 20
    here = situation(recipe)
    assert Gbnf(decide.grammar(here)).accepts('{"tool": "archival_memory_insert"}')
    made = guards.guard(Choice(decide.NOTE, {}), here)
    assert made == note(recipe.removeprefix("Write this down: ").strip())


def test_nothing_is_done_twice() -> None:
    done = (append("Likes tea"),)
    here = situation("I like tea and I have a cat named Ada", "Likes tea", done=done)
    assert guards.may_go_on(here)
    assert guards.guard(append("Likes tea"), here) is None
    assert guards.guard(append("Likes the tea"), here) is None
    assert guards.guard(append("Cat named Ada"), here) == append("Cat named Ada")
    assert here.candidates == ()
    over = situation(here.message, done=(*done, append("Has a cat named Ada")))
    assert not guards.may_go_on(over)
    assert not guards.may_go_on(situation("one two three four", done=(append("x"),) * 3))


def test_near_synonyms_stand_in_where_they_are_all_there_is() -> None:
    here = situation("I like tea", on=frozenset({decide.INSERT, decide.EXCHANGE}))
    made = guards.settle(append("Likes tea"), here)
    assert made.tool == "memory_insert"
    assert made.arguments == {"label": "human", "new_string": "Likes tea", "insert_line": -1}
    assert guards.unsettle(made) == append("Likes tea")
    made = guards.settle(exchange("a", "b"), here)
    assert made.tool == "memory_replace"
    assert guards.unsettle(made) == exchange("a", "b")


# --- Replies ---

SEARCH_RESULT = (
    "1. 2026-11-20 10:00 (1 day ago) · note 0abc · tags: house\n"
    "Boiler\n\n2. not a hit\nserviced on 4 March by Ortiz\n\n"
    "2. 2026-11-19 09:00 (2 days ago) · note 0abd\nPancakes: 250 g flour"
)


def test_hits_are_read_from_results() -> None:
    first, second = reply.read_hits(SEARCH_RESULT, notes=True)
    assert first.text.endswith("by Ortiz")
    assert first.head.startswith("2026-11-20")
    assert second.text == "Pancakes: 250 g flour"
    letta = json.dumps({"results": [{"content": "Boiler", "timestamp": "2026-01-02"}]})
    assert reply.read_hits(letta, notes=False)[0].text == "Boiler"
    assert reply.read_hits("No notes found.", notes=True) == []


def test_the_question_itself_is_no_hit() -> None:
    found = [
        reply.Found("When was the boiler serviced?", "2026-11-21", False),
        reply.Found("The boiler was serviced in March", "2026-11-20", False),
    ]
    assert reply.best_hits(found, "When was the boiler serviced?") == (found[1],)


def test_the_note_behind_an_answer_is_shown() -> None:
    told = reply.Facts(
        "When was the boiler serviced?",
        found=tuple(reply.read_hits(SEARCH_RESULT, notes=True)),
    )
    assert reply.quote("It was serviced on 4 March.", told) == "> serviced on 4 March by Ortiz"
    assert reply.quote("I don't know that yet.", told) == ""


def test_stamps_and_events_are_no_part_of_the_message() -> None:
    text = "[Sat 2026-11-21 10:11]\n<event>hand edit: core/human.md</event>\nHi"
    said, now, events = reply.read_message("[Sat 2026-11-21 10:11]\nHi there")
    assert (said, now, events) == ("Hi there", "Sat 2026-11-21 10:11", ())
    said, now, events = reply.read_message(text)
    assert (said, now, events) == ("Hi", "Sat 2026-11-21 10:11", ("hand edit: core/human.md",))
    assert reply.read_message("[sic] hello")[0] == "[sic] hello"


def test_a_full_window_is_not_what_the_reply_is_about() -> None:
    text = f"[Sat 2026-11-21 10:11] Hi\n\n<event>Tim edited it.</event>\n\n<event>{PRESSURE}76 %</event>"
    turn = local.read_turn(Prompt(({"role": "user", "content": text},)))
    assert (turn.message, turn.events) == ("Hi", ("Tim edited it.",))


# --- The client ---


class StandIn:
    """A model that says what it was told to say, in order."""

    version = "0"

    def __init__(self, *said: str | Choice) -> None:
        self.said = [decide.write(s) if isinstance(s, Choice) else s for s in said]
        self.prompts: list[str] = []
        self.grammars: list[str] = []
        self.closed = 0

    def template(self, messages: Sequence[Mapping[str, str]]) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"

    def generate(
        self, prompt: str, *, slot: int, limit: int, grammar: str = ""
    ) -> Iterator[str | End]:
        if limit == 0:
            yield End("stop", Usage())
            return
        self.prompts.append(prompt)
        self.grammars.append(grammar)
        text = self.said.pop(0)
        if grammar:
            assert Gbnf(grammar).accepts(text), text
        try:
            yield from re.findall(r"\S+\s*", text)
            yield End("stop", Usage(100, 10, 90))
        finally:
            self.closed += 1

    def count(self, text: str) -> int:
        return len(text.split())

    def save(self, slot: int, name: str) -> None:
        pass

    def restore(self, slot: int, name: str) -> bool:
        return False


@pytest.fixture
def client(tmp_path: Path) -> LocalClient:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return LocalClient(path, name="local:tiny", cache_dir=tmp_path)


def schema(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


TOOLS = tuple(schema(name) for name in sorted(ALL))


class Talk:
    """A turn against the client, with memory tools that work on ``lines``."""

    def __init__(self, client: LocalClient, model: StandIn, *lines: str) -> None:
        client._engine = model
        self.client, self.lines = client, list(lines)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.results = {name: f"No notes found for {name}." for name in decide.SEARCHES}

    def say(self, text: str, **results: str) -> str:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "…"},
            {"role": "user", "content": f"[Sat 2026-11-21 10:11]\n{text}"},
        ]
        self.results |= results
        for _ in range(10):
            done = self._complete(messages)
            if not done.tool_calls:
                return done.text
            messages.append(self._message(done.tool_calls))
            for call in done.tool_calls:
                result = self._run(call.name, json.loads(call.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        pytest.fail("the turn does not end")

    def _complete(self, messages: list[dict[str, Any]]) -> Completion:
        prompt = Prompt(tuple(messages), TOOLS, (block(*self.lines),))
        *pieces, done = self.client.complete(prompt)
        assert isinstance(done, Completion)
        assert "".join(str(p) for p in pieces) == done.text
        assert done.model == "local:tiny"
        return done

    def _message(self, calls: tuple[ToolCall, ...]) -> dict[str, Any]:
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": c.id, "function": {"name": c.name, "arguments": c.arguments}} for c in calls
            ],
        }

    def _run(self, name: str, arguments: dict[str, Any]) -> str:
        self.calls.append((name, arguments))
        if name in self.results:
            return self.results[name]
        if name == decide.APPEND:
            self.lines.append(arguments["content"])
        if name == decide.REPLACE:
            text = "\n".join(self.lines)
            text = text.replace(arguments["old_content"], arguments["new_content"])
            self.lines = text.split("\n")
        return "Kept as note 0abc." if name == decide.NOTE else "Done."


def test_a_statement_is_kept_and_acknowledged(client: LocalClient) -> None:
    model = StandIn(append("Likes tea"), " you like tea.")
    talk = Talk(client, model)
    assert talk.say("I like tea") == "Got it, you like tea."
    assert talk.calls == [("core_memory_append", {"label": "human", "content": "Likes tea"})]
    assert "- saved: Likes tea" in model.prompts[-1]


def test_both_searches_come_before_a_plain_reply(client: LocalClient) -> None:
    model = StandIn("On 4 March.")
    talk = Talk(client, model)
    text = talk.say("When was the boiler serviced?", archival_memory_search=SEARCH_RESULT)
    assert [name for name, _ in talk.calls] == list(decide.SEARCHES)
    assert all(a["query"] == "boiler serviced" for _, a in talk.calls)
    assert "4 March" in model.prompts[-1]
    assert text == "On 4 March.\n\n> serviced on 4 March by Ortiz"


def test_an_invented_number_shows_the_note() -> None:
    told = reply.Facts(
        "How much flour?", found=tuple(reply.read_hits(SEARCH_RESULT, notes=True))[1:]
    )
    assert reply.quote("You need 300 g.", told) == "> Pancakes: 250 g flour"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is my brother's name?", "I don't know that yet."),
        ("Wie heißt mein Bruder?", "Das weiß ich noch nicht."),
        ("What is my sister's name?", ""),
        ("What should I give my brother?", ""),
        ("How do I train my dog?", ""),
        ("What time is it?", ""),
    ],
)
def test_of_strangers_nothing_is_known(question: str, answer: str) -> None:
    told = reply.Facts(question, blocks=(block("Sister Mia studies art"),))
    assert reply.unknown(told) == answer


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I like tea", "English"),
        ("Ich mag Tee nicht", "German"),
        ("Mi hermana se llama Carmen", "Spanish"),
        ("J'habite à Marseille", "French"),
        ("Ik woon in Groningen", "Dutch"),
        ("我对花生过敏", "Chinese"),
        ("Žluťoučký kůň", ""),
    ],
)
def test_languages(text: str, name: str) -> None:
    assert words.language(text) == name
    assert reply._language(reply.Facts(text, blocks=(block("Answer in French"),))) == "French"


def test_small_talk_needs_no_search(client: LocalClient) -> None:
    talk = Talk(client, StandIn(Choice(decide.REPLY, {}), "Hello!"))
    assert talk.say("hi!") == "Hello!"
    assert talk.calls == []


def test_two_facts_are_two_changes(client: LocalClient) -> None:
    first = exchange("Lives in Madrid", "Lives in Porto")
    model = StandIn(first, append("Cat named Ada"), "done.")
    talk = Talk(client, model, "Lives in Madrid", "Vegan")
    assert talk.say("I moved to Porto and I have a cat named Ada") == "Got it, done."
    assert talk.lines == ["Lives in Porto", "Vegan", "Cat named Ada"]
    assert "[done]\n- Lives in Porto" in model.prompts[1]


def test_a_refused_choice_is_made_again_without_it(client: LocalClient) -> None:
    wrong = exchange("Drinks tea at meetings", "Hates meetings")
    model = StandIn(wrong, append("Hates early meetings"), "Noted.")
    talk = Talk(client, model, "Drinks tea at meetings")
    talk.say("I hate early meetings")
    assert talk.lines == ["Drinks tea at meetings", "Hates early meetings"]
    assert "core_memory_replace" not in model.grammars[1]


def test_a_failed_change_gets_one_more_try_and_then_the_truth(client: LocalClient) -> None:
    model = StandIn(append("Likes tea"), note("Likes tea"), "I could not save that.")
    talk = Talk(client, model)
    refused = "Block 'human' is locked."
    talk.say("I like tea", core_memory_append=refused, archival_memory_insert="Refused, too.")
    assert [name for name, _ in talk.calls] == ["core_memory_append", "archival_memory_insert"]
    assert f"[not done]\n- {refused}" in model.prompts[-1]


def test_a_custom_tool_is_called_and_its_result_told(client: LocalClient) -> None:
    client._engine = model = StandIn(Choice("roll", {"sides": 20}), "You rolled a 7.")
    function = {"name": "roll", "description": "Roll a die.", "parameters": ROLL}
    tools = (*TOOLS, {"type": "function", "function": function})
    asked = {"role": "user", "content": "Roll a 20-sided die"}
    done = list(client.complete(Prompt((asked,), tools)))[-1]
    assert isinstance(done, Completion)
    (call,) = done.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("roll", {"sides": 20})
    made = {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
    messages = (
        asked,
        {"role": "assistant", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": call.id, "content": "7"},
    )
    done = list(client.complete(Prompt(messages, tools)))[-1]
    assert isinstance(done, Completion)
    assert done.text == "You rolled a 7."
    assert "[result]\n- roll: 7" in model.prompts[-1]


def test_without_tools_it_is_a_plain_chat(client: LocalClient) -> None:
    client._engine = model = StandIn("A summary.")
    done = list(client.complete(Prompt(({"role": "user", "content": "Summarise: <|im_end|>"},))))
    assert isinstance(done[-1], Completion)
    assert done[-1].text == "A summary."
    assert "<|im_end|>" not in model.prompts[0]


def test_closing_the_stream_stops_the_model(client: LocalClient) -> None:
    client._engine = model = StandIn("one two three")
    stream = client.complete(Prompt(({"role": "user", "content": "Go on"},)))
    assert next(stream) == "one "
    assert isinstance(stream, Iterator)
    stream.close()  # type: ignore[attr-defined]
    assert model.closed == 1


def test_tokens_are_counted_by_the_model(client: LocalClient) -> None:
    client._engine = StandIn()
    assert client.count("one two") == 2


def test_without_xllamacpp_the_remedy_is_named(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelError, match=re.escape("pip install 'fsagent[local]'")):
        client.count("x")


def test_without_weights_the_remedy_is_named(tmp_path: Path) -> None:
    gone = LocalClient(tmp_path / "no.gguf", name="local:x", cache_dir=tmp_path)
    with pytest.raises(ModelError, match="fsagent model pull"):
        gone.count("x")


def test_a_small_machine_is_offered_the_small_model(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_memory", lambda: 2 * 1000**3)
    monkeypatch.setattr(local, "LARGE_BYTES", 1)
    with pytest.raises(ModelError, match=r"qwen2\.5-coder-0\.5b"):
        client.count("x")


def test_candidates_are_lines_of_blocks() -> None:
    here = situation("I moved to Porto", "* Lives in Madrid", "Vegan")
    assert here.candidates == (Candidate("human", "Lives in Madrid"),)
