"""What the small model answers from: the prompt of a reply, and the notes shown under it.

The reply is written without tools, from facts that are put before the model: core memory, what a
search found, what was just changed. Pure functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsagent.llm import words
from fsagent.llm.decide import Choice, lines, shorten
from fsagent.records import Block

HITS = 5
"""Search hits that go into a reply's prompt."""

_HIT_CHARS = 320
_CORE_CHARS = 2400

ANSWER = """\
You are an assistant with a memory. Answer the user's last message briefly, in the language named \
under [answer in], and speak to the user as "you" (du, tú, tu, je). What you know about the user \
and about earlier talk is only what stands under [core memory], [found] and [before]; a line \
without a subject is about the user. Copy names and numbers exactly as they stand there. If a \
question about the user is not answered there, say that you don't know that yet. Never invent \
facts about the user."""

ANSWERS: tuple[tuple[str, str], ...] = (
    ("[core memory]\n- Works in a bakery\n- Lives in Lyon\n[user]\nWhat do I do for a living?\n"
     "[answer in]\nEnglish",
     "You work in a bakery."),
    ("[core memory]\n- Works in a bakery\n- Lives in Lyon\n[user]\nWo arbeite ich?\n"
     "[answer in]\nGerman",
     "Du arbeitest in einer Bäckerei."),
    ("[core memory]\n- Name: Paula\n[found]\n- (2026-05-02) Boiler: serviced on 4 March for "
     "90 euros, next time in 2 years.\n[user]\nWhen was the boiler serviced?\n[answer in]\nEnglish",
     "The boiler was serviced on 4 March."),
    ("[core memory]\n- Lives in Lyon\n- Sister Jana plays the drums\n[user]\n"
     "What does my cousin play?\n[answer in]\nEnglish",
     "I don't know that yet."),
    ("[core memory]\n- Sister Jana plays the drums\n[user]\n¿Qué toca mi hermana?\n"
     "[answer in]\nSpanish",
     "Tu hermana toca la batería."),
    ("[core memory]\n- Allergic to milk\n[found]\n- (2026-05-02) Garage: bring the car on 3 May "
     "at 9:00\n[user]\nQuand est-ce que j'amène la voiture au garage ?\n[answer in]\nFrench",
     "Tu amènes la voiture au garage le 3 mai à 9 h."),
    ("[core memory]\n- Lives in Lyon\n- Works in a bakery\n[user]\nWelche Schuhgröße habe ich?\n"
     "[answer in]\nGerman",
     "Das weiß ich noch nicht."),
    ("[core memory]\n- Lives in Lyon\n- Allergic to milk\n[user]\nWaar woon ik?\n"
     "[answer in]\nDutch",
     "Je woont in Lyon."),
    ("[core memory]\n- Lives in Lyon\n[user]\nHow many days are there in a leap year?\n"
     "[answer in]\nEnglish",
     "A leap year has 366 days."),
    ("[result]\n- convert: 18.6 miles\n[user]\nHow many miles are 30 km?\n[answer in]\nEnglish",
     "30 km are 18.6 miles."),
)  # fmt: skip

ACKNOWLEDGE = """\
You are an assistant with a memory. Say in one short sentence what you have just saved, changed or \
forgotten: only what stands under [done]. Speak to the user as "you" (du, tú, tu, je), in the \
language named under [answer in]. Where [not done] names a problem, say that it was not saved, and \
why."""

ACKNOWLEDGEMENTS: tuple[tuple[str, str], ...] = (
    ("[done]\n- saved: Has a canary named Fips\n[user]\nMy canary is called Fips.\n"
     "[answer in]\nEnglish",
     "Got it, your canary is called Fips."),
    ("[done]\n- changed: Lives in Oslo → Lives in Graz\n[user]\nIch bin nach Graz gezogen.\n"
     "[answer in]\nGerman",
     "Alles klar, du wohnst jetzt in Graz."),
    ("[done]\n- saved: Déteste l'avion\n[user]\nJe déteste l'avion\n[answer in]\nFrench",
     "C'est noté, tu détestes l'avion."),
    ("[done]\n- saved: Mi perro se llama Nico\n[user]\nMi perro se llama Nico\n"
     "[answer in]\nSpanish",
     "Entendido, tu perro se llama Nico."),
    ("[done]\n- noted: Tandarts op 9 juni om 14:30\n[user]\nNoteer: tandarts op 9 juni om 14:30\n"
     "[answer in]\nDutch",
     "Genoteerd, je tandarts is op 9 juni om 14:30."),
    ("[done]\n- forgotten: Phone: 555 0117\n[user]\nPlease forget my phone number.\n"
     "[answer in]\nEnglish",
     "Got it, I have forgotten your phone number."),
    ("[not done]\n- Block 'human' is full.\n[user]\nI like pears.\n[answer in]\nEnglish",
     "I could not save that: my memory block \"human\" is full."),
    ("[done]\n- saved: Mag keinen Käse\n[user]\nIch mag keinen Käse.\n[answer in]\nGerman",
     "Alles klar, du magst keinen Käse."),
    ("[done]\n- saved: Ben vegetariër\n[user]\nik ben vegetariër\n[answer in]\nDutch",
     "Genoteerd, je bent vegetariër."),
    ("[done]\n- saved: Habite à Lyon\n[user]\nJ'habite à Lyon.\n[answer in]\nFrench",
     "C'est noté, tu habites à Lyon."),
    ("[done]\n- saved: Answer in short sentences\n[user]\nUse short sentences.\n"
     "[answer in]\nEnglish",
     "Got it, I will answer in short sentences."),
    ("[done]\n- saved: Hates flying\n- saved: Brother is a pilot\n"
     "[user]\nI hate flying, but my brother is a pilot.\n[answer in]\nEnglish",
     "Got it, you hate flying, and your brother is a pilot."),
)  # fmt: skip

_OPENINGS = {
    "English": "Got it, ",
    "German": "Alles klar, ",
    "Spanish": "Entendido, ",
    "French": "C'est noté, ",
    "Dutch": "Genoteerd, ",
    "Italian": "Capito, ",
    "Portuguese": "Entendido, ",
}

_UNKNOWN = {
    "English": "I don't know that yet.",
    "German": "Das weiß ich noch nicht.",
    "Spanish": "Todavía no lo sé.",
    "French": "Je ne le sais pas encore.",
    "Dutch": "Dat weet ik nog niet.",
    "Italian": "Non lo so ancora.",
    "Portuguese": "Ainda não sei.",
}


@dataclass(frozen=True)
class Found:
    """One hit of a search, as its tool showed it. ``note`` tells notes from things said."""

    text: str
    head: str
    note: bool


@dataclass(frozen=True)
class Facts:
    """All that a reply is made from."""

    message: str
    blocks: tuple[Block, ...] = ()
    found: tuple[Found, ...] = ()
    done: tuple[Choice, ...] = ()
    failed: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    events: tuple[str, ...] = ()
    now: str = ""


_HEAD = re.compile(r"(?:\A|\n\n)(\d+)\. (?=\d{4}-\d\d-\d\d|[^\n]*\bnote \w)([^\n]*)\n")


# What stands beside a hit, and the remarks after the last one.
_BESIDE = re.compile(
    r"^   (?:before|after): .*\n?|^\((?:Nothing holds|There is more).*\)\n?", re.MULTILINE
)


def read_hits(text: str, *, notes: bool) -> list[Found]:
    """The hits in the text of a search result: numbered, or Letta's JSON; else none."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = value.get("results") or value.get("message")
    if isinstance(value, list):
        return [
            Found(str(one["content"]), str(one.get("timestamp", "")), notes)
            for one in value
            if isinstance(one, Mapping) and one.get("content")
        ]
    heads: list[re.Match[str]] = []
    for head in _HEAD.finditer(text):
        # A note may hold a numbered list of its own: only the next number begins a hit.
        if int(head[1]) == len(heads) + 1:
            heads.append(head)
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [
        Found(_BESIDE.sub("", text[head.end() : ends[i]]).strip(), head[2].strip(), notes)
        for i, head in enumerate(heads)
    ]


def best_hits(found: Sequence[Found], message: str, known: Sequence[str] = ()) -> tuple[Found, ...]:
    """The hits that help with the message, best first, without the message itself.

    ``known`` are the lines of core memory. What was said once about a thing that one of them speaks
    of may have changed since: the line is what is true now, so such a hit is left out.
    """
    asked = words.words(message)
    current = {w for line in known for w in words.shared(line, message)}
    seen: list[list[str]] = []
    scored = []
    for place, one in enumerate(found):
        said = words.words(one.text)
        if not said or said == asked or said in seen:
            continue
        if not one.note and any(words.shared(w, one.text) for w in current):
            continue
        seen.append(said)
        common = len(words.shared(message, one.text))
        # What was said as a question seldom holds an answer.
        rank = common + (0.5 if one.note else 0) - (1.5 if words.only_asks(one.text) else 0)
        scored.append((-rank, place, one))
    scored.sort(key=lambda item: item[:2])
    return tuple(one for _, _, one in scored[:HITS])


def acknowledges(facts: Facts) -> bool:
    """Whether the reply has only to say what became of a change."""
    return bool(facts.done or facts.failed) and not words.asks(facts.message)


def ask(facts: Facts) -> str:
    """The user message of a reply, in the form of the worked examples."""
    rows: list[str] = []
    about = [line for b in facts.blocks if b.label == "persona" for line in lines(b)]
    known = [line for b in facts.blocks if b.label != "persona" for line in lines(b)]
    if not acknowledges(facts):
        if about:
            rows += ["[about you]", *_rows(about, _CORE_CHARS // 3)]
        if facts.now:
            rows += ["[now]", facts.now]
        if known:
            rows += ["[core memory]", *_rows(known, _CORE_CHARS)]
        if facts.found:
            rows += ["[found]", *(f"- {_shown(one, facts.message)}" for one in facts.found)]
        if facts.before:
            rows += ["[before]", *(f"{who}: {shorten(said, 240)}" for who, said in facts.before)]
        if facts.events:
            rows += ["[happened]", *(f"- {shorten(event, 240)}" for event in facts.events)]
        if facts.results:
            rows += ["[result]", *(f"- {shorten(result, 1200)}" for result in facts.results)]
    if facts.done:
        rows += ["[done]", *(f"- {_told(choice)}" for choice in facts.done)]
    if facts.failed:
        rows += ["[not done]", *(f"- {shorten(reason, 300)}" for reason in facts.failed)]
    rows += ["[user]", shorten(facts.message, 3000)]
    rows += ["[answer in]", _language(facts) or "the user's language"]
    return "\n".join(rows)


def _language(facts: Facts) -> str:
    wishes = (words.language_asked_for(line) for b in facts.blocks for line in lines(b))
    return next(filter(None, wishes), "") or words.language(facts.message)


def opening(facts: Facts) -> str:
    """How the reply begins, where that can be said beforehand: it keeps a model in its language."""
    if facts.done and acknowledges(facts):
        return _OPENINGS.get(_language(facts), "")
    return ""


def unknown(facts: Facts) -> str:
    """The whole answer to a question about somebody of whom nothing is known, or nothing.

    Asked about a brother, a small model answers with what it knows of a sister.
    """
    asked = words.relations(facts.message)
    if not asked or facts.done or facts.results or not words.asks_for_fact(facts.message):
        return ""
    told = [line for b in facts.blocks for line in lines(b)]
    told += [one.text for one in facts.found if not words.only_asks(one.text)]
    told += [said for _, said in facts.before]
    return "" if asked & words.relations("\n".join(told)) else _UNKNOWN.get(_language(facts), "")


def _rows(said: Sequence[str], room: int) -> list[str]:
    rows = []
    for line in said:
        room -= len(line)
        if room < 0:
            break
        rows.append(f"- {shorten(line, 400)}")
    return rows


def _shown(one: Found, message: str) -> str:
    day = re.match(r"\d{4}-\d\d-\d\d", one.head)
    who = "" if one.note else ("you said: " if "assistant" in one.head else "the user said: ")
    text = " ".join(_around(one.text, message).split())
    return (f"({day[0]}) " if day else "") + who + text


def _around(text: str, message: str) -> str:
    """The text, or the part of a long one that shares most with the message."""
    if len(text) <= _HIT_CHARS:
        return text
    best, most = 0, -1
    for start in range(0, len(text), _HIT_CHARS // 2):
        common = len(words.shared(message, text[start : start + _HIT_CHARS]))
        if common > most:
            best, most = start, common
    return text[best : best + _HIT_CHARS]


def _told(choice: Choice) -> str:
    a: Mapping[str, Any] = choice.arguments
    if "old_content" in a:
        old, new = str(a["old_content"]).strip(), str(a["new_content"]).strip()
        return f"changed: {old} → {new}" if new else f"forgotten: {old}"
    if "label" in a:
        return f"saved: {str(a.get('content', '')).strip()}"
    return f"noted: {shorten(str(a.get('content', '')).strip(), 300)}"


def quote(answer: str, facts: Facts) -> str:
    """The line of a note that the answer drew on, as a Markdown quotation, or nothing.

    Small models misread numbers; the note's own line lets a person see that.
    """
    known = " ".join(line for b in facts.blocks for line in lines(b))
    notes = [one for one in facts.found if one.note]
    said = words.numbers(" ".join([facts.message, known, facts.now, *(n.text for n in notes)]))
    if notes and words.numbers(answer) - said:
        # A number that stands nowhere: let the person see what does.
        return f"> {shorten(' '.join(notes[0].text.split()), 400)}"
    fresh = words.missing(answer, f"{facts.message} {known}")
    fresh += sorted(words.numbers(answer) - words.numbers(facts.message) - words.numbers(known))
    best, most = "", 0
    for one in notes:
        for line in one.text.splitlines():
            common = len([w for w in fresh if words.shared(w, line) or w in words.numbers(line)])
            near = len(words.shared(facts.message, line))
            if common and common * 4 + near > most:
                best, most = line.strip(), common * 4 + near
    return f"> {shorten(best, 400)}" if best else ""


_STAMP = re.compile(
    r"\A\s*\[([A-Z][a-z]{2} \d{4}-\d\d-\d\d(?: \d\d:\d\d)?[^\]\n]{0,12})\][ \t]*\n?"
)
_EVENT = re.compile(r"<event\b[^>]*>(.*?)</event>", re.DOTALL)


def read_message(text: str) -> tuple[str, str, tuple[str, ...]]:
    """What a user message says, its time stamp, and the events it tells of."""
    events = tuple(e.strip() for e in _EVENT.findall(text) if e.strip())
    said = _EVENT.sub("", text).strip()
    stamp = _STAMP.match(said)
    if stamp:
        return said[stamp.end() :].strip(), stamp[1], events
    return said, "", events
