"""What to do with a message: the prompt, the grammar and the guards of the small model's decision.

A small model does not call tools reliably by its own chat template. It does choose well when the
choice is one short JSON object under a grammar, after worked examples. Everything that it must not
be trusted with is done here in code:

* ``old_content`` can only be a line of which the message speaks (``Situation.candidates``);
* a replacement has to change the line, keep its subject, and keep every other fact in it;
* an addition has to come from the message, with the message's own numbers, and be new;
* a question changes nothing, and nothing is done twice in a turn.

In doubt a fact is added and nothing is replaced. Pure functions: no model, no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fsagent.llm import words
from fsagent.records import Block

REPLY = "reply"
APPEND = "core_memory_append"
REPLACE = "core_memory_replace"
INSERT = "memory_insert"
EXCHANGE = "memory_replace"
NOTE = "archival_memory_insert"
SEARCHES = ("archival_memory_search", "conversation_search")
CHANGES = frozenset({APPEND, REPLACE, INSERT, EXCHANGE, "memory_rethink", NOTE})
BUILT_IN = CHANGES | frozenset(SEARCHES) | {"send_message"}

MESSAGE_CHARS = 1200
"""Characters of a message that the decision reads; of a longer one, its beginning and its end."""

VERBATIM_CHARS = 220
"""A longer message goes into a note word for word: copying is what a small model errs at."""

MAX_CHANGES = 3
"""Changes of memory in one turn."""

SYSTEM = """\
You look after the memory of an assistant. For the user's message choose one tool, as one JSON \
object.
core_memory_append: the message states a lasting fact about the user or the user's people, or a \
wish how to be answered. The fact goes to "human", a wish about the assistant's behaviour to \
"persona". One short line, in the language of the message.
core_memory_replace: the message says that a line of the core memory is no longer true. Repeat \
that line as old_content; new_content keeps what is still true. A line about something else is \
never replaced: append instead. To forget a line, leave new_content empty.
archival_memory_insert: the user wants something written down or noted, or gives a plan, recipe, \
list, appointment or event to keep.
reply: questions, greetings, thanks, small talk, requests to explain or write something.
Other tools, when listed under [tools], only where the message asks for just that."""


@dataclass(frozen=True)
class Tool:
    """A tool that the model may choose, with the JSON schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """What was decided: a tool (or REPLY) and its arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A line of a block that the message may correct. ``line`` is without its list mark."""

    label: str
    line: str


@dataclass(frozen=True)
class Situation:
    """All that a decision depends on.

    ``on`` names the tools that are on; ``custom`` are those that the model is told about under
    [tools]; ``done`` are the changes that this message has already led to.
    """

    message: str
    blocks: tuple[Block, ...] = ()
    on: frozenset[str] = frozenset()
    custom: tuple[Tool, ...] = ()
    done: tuple[Choice, ...] = ()
    without: frozenset[str] = frozenset()

    @property
    def writable(self) -> tuple[Block, ...]:
        """The blocks that may be changed."""
        return tuple(b for b in self.blocks if not b.read_only)

    @property
    def can_append(self) -> bool:
        """Whether a line can be added to a block."""
        return bool(self.writable) and bool(self.on & {APPEND, INSERT}) and self._offers(APPEND)

    @property
    def can_replace(self) -> bool:
        """Whether a line of a block can be exchanged."""
        return bool(self.on & {REPLACE, EXCHANGE}) and self._offers(REPLACE)

    @property
    def can_note(self) -> bool:
        """Whether a note can be stored."""
        return NOTE in self.on and self._offers(NOTE)

    def _offers(self, tool: str) -> bool:
        return tool not in self.without

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The lines that the message may be about, in order; each can be replaced unmistakably."""
        if not self.can_replace:
            return ()
        # A line that this message has just led to is not to be changed again by it.
        made = [
            str(c.arguments.get("new_content") or c.arguments.get("content")) for c in self.done
        ]
        touched = {_unmarked(text.strip()) for text in made}
        found = []
        for block in self.writable:
            for line in lines(block):
                if line in touched or span(block.text, line) is None:
                    continue
                if any(words.speaks_of(self.message, fact) for fact in words.parts(line)):
                    found.append(Candidate(block.label, line))
        return tuple(dict.fromkeys(found))

    @property
    def is_question(self) -> bool:
        """Whether the message only asks, so that no memory may change."""
        asks = words.only_asks(self.message) or words.asks_for_something(self.message)
        return asks and not (words.asks_to_keep(self.message) or words.forgets(self.message))


def lines(block: Block) -> list[str]:
    """The lines of a block that say something, without their list marks."""
    return [m for m in (_unmarked(line) for line in block.text.splitlines()) if m]


def _unmarked(line: str) -> str:
    return re.sub(r"^\s*(?:[-*+•]\s+)?", "", line).rstrip()


def list_mark(block: Block) -> str:
    """The mark that every line of the block begins with, or nothing."""
    filled = [line for line in block.text.splitlines() if line.strip()]
    for mark in ("- ", "* "):
        if filled and all(line.startswith(mark) for line in filled):
            return mark
    return ""


# --- Prompt ---------------------------------------------------------------------------------------


def custom_tools(schemas: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """The tools among OpenAI's ``schemas`` that are not fsagent's own."""
    found = []
    for schema in schemas:
        function = schema.get("function", {})
        name = str(function.get("name", ""))
        if name and name not in BUILT_IN:
            parameters = function.get("parameters") or {}
            found.append(Tool(name, str(function.get("description") or ""), parameters))
    return tuple(found)


def ask(situation: Situation) -> str:
    """The user message of the decision, in the form of the worked examples."""
    shown: dict[str, list[str]] = {
        b.label: [] for b in situation.writable if b.label not in ("human", "persona")
    }
    for candidate in situation.candidates:
        shown.setdefault(candidate.label, []).append(candidate.line)
    about = {b.label: _sentence(b.description, 80) for b in situation.writable}
    rows = []
    for label, block_lines in sorted(shown.items(), key=lambda item: item[0] == "human"):
        told = label not in ("human", "persona") and about.get(label)
        rows.append(f"{label} ({told}):" if told else f"{label}:")
        rows += [f"- {line}" for line in block_lines]
    return _ask(
        rows,
        [signature(tool) for tool in situation.custom],
        [str(c.arguments.get("new_content") or c.arguments.get("content") or c.tool)
         for c in situation.done],
        situation.message,
    )  # fmt: skip


def _ask(memory: Sequence[str], tools: Sequence[str], done: Sequence[str], message: str) -> str:
    text = ""
    if tools:
        text += "[tools]\n" + "".join(f"{t}\n" for t in tools)
    if memory:
        text += "[core memory]\n" + "".join(f"{row}\n" for row in memory)
    if done:
        text += "[done]\n" + "".join(f"- {row}\n" for row in done)
    return f"{text}[user]\n{shorten(message, MESSAGE_CHARS)}"


def shorten(text: str, limit: int) -> str:
    """``text``, or its beginning and its end where it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    return text[: limit * 3 // 4] + " … " + text[-(limit // 4) :]


def _sentence(text: str, limit: int) -> str:
    first = re.split(r"(?<=[.!?])\s|\n", text.strip(), maxsplit=1)[0]
    return first if len(first) <= limit else first[: limit - 1] + "…"


def signature(tool: Tool) -> str:
    """One line that says what a custom tool is called, takes and does."""
    properties = tool.parameters.get("properties") or {}
    required = tool.parameters.get("required") or []
    arguments = ", ".join(
        f"{name}{'' if name in required else '?'}: {_type_name(schema)}"
        for name, schema in properties.items()
    )
    told = _sentence(tool.description, 120)
    return f"{tool.name}({arguments})" + (f": {told}" if told else "")


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "|".join(str(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    return "|".join(kind) if isinstance(kind, list) else str(kind)


def write(choice: Choice) -> str:
    """A choice as the model writes it: the one serialiser of examples and grammar alike."""
    return json.dumps({"tool": choice.tool, **choice.arguments}, ensure_ascii=False)


def read(text: str) -> Choice | None:
    """The choice that ``text`` writes down, or None where it was cut short or is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("tool"), str):
        return None
    return Choice(value["tool"], {k: v for k, v in value.items() if k != "tool"})


def _append(content: str, label: str = "human") -> Choice:
    return Choice(APPEND, {"label": label, "content": content})


def _replace(old: str, new: str, label: str = "human") -> Choice:
    return Choice(REPLACE, {"label": label, "old_content": old, "new_content": new})


def _note(text: str) -> Choice:
    return Choice(NOTE, {"content": text})


_ANSWER = Choice(REPLY, {})

# How many lines of memory an example shows has nothing to do with its answer: additions,
# corrections and replies come with one and with several, or the model learns to count instead of
# to read.
EXAMPLES: tuple[tuple[str, Choice], ...] = (
    (_ask([], [], [], "I'm Paula and I teach maths."), _append("Name: Paula, teaches maths")),
    (
        _ask(["human:", "- Lives in Oslo"], [], [], "We've moved to Lyon last week."),
        _replace("Lives in Oslo", "Lives in Lyon"),
    ),
    (
        _ask(["human:", "- Lives in Oslo", "- Works in a bakery"], [], [],
             "My brother Jon works in a bank in Oslo."),
        _append("Brother Jon works in a bank in Oslo"),
    ),
    (_ask([], [], [], "good morning!"), _ANSWER),
    (
        _ask(["human:", "- Drinks green tea", "- Has a meeting with Ines every Monday"], [], [],
             "I can't stand meetings before nine"),
        _append("Can't stand meetings before nine"),
    ),
    (_ask(["human:", "- Works in a bakery"], [], [], "Where do bakers work at night?"), _ANSWER),
    (
        _ask([], [], [], "Write down: the boiler was serviced on 4 March, next time in two years."),
        _note("The boiler was serviced on 4 March, next time in two years."),
    ),
    (_ask([], [], [], "From now on answer me in Italian."),
     _append("Answer in Italian", "persona")),
    (_ask([], [], [], "Ich bin allergisch gegen Haselnüsse."),
     _append("Allergisch gegen Haselnüsse")),
    (
        _ask(["human:", "- Name: Karl, drives a red Volvo", "- Sister drives a van"], [], [],
             "Correction: my car isn't red, it's blue."),
        _replace("Name: Karl, drives a red Volvo", "Name: Karl, drives a blue Volvo"),
    ),
    (_ask([], [], [], "Thanks, that was great help"), _ANSWER),
    (
        _ask(["human:", "- Plays the cello"], [], [], "my daughter plays the drums since may"),
        _append("Daughter plays the drums since May"),
    ),
    (_ask([], [], [], "Explain to me how a heat pump works."), _ANSWER),
    (
        _ask(["persona:", "- Answer in Italian", "human:", "- Speaks Italian and Greek"], [], [],
             "Stop answering in Italian, use English."),
        _replace("Answer in Italian", "Answer in English", "persona"),
    ),
    (
        _ask(["human:", "- Trabaja en un hospital", "- Su jefa se llama Rosa"], [], [],
             "Ya no trabajo en el hospital, ahora trabajo en una escuela."),
        _replace("Trabaja en un hospital", "Trabaja en una escuela"),
    ),
    (_ask([], [], [], "Me gusta mucho el ajedrez."), _append("Le gusta mucho el ajedrez")),
    (
        _ask(["human:", "- Has two cats: Mia and Tom", "- Cat food: salmon only"], [], [],
             "The cats get their food at seven and at six in the evening."),
        _append("Cats get their food at seven and at six in the evening"),
    ),
    (
        _ask(["human:", "- Phone: 555 0117"], [], [], "Please forget my phone number."),
        _replace("Phone: 555 0117", ""),
    ),
    (_ask([], [], [], "Bitte notiere: Zahnarzt am 9. Juni um 14:30 Uhr."),
     _note("Zahnarzt am 9. Juni um 14:30 Uhr.")),
    (_ask(["human:", "- Wohnt in Graz", "- Arbeitet als Koch"], [], [],
          "Ich arbeite nicht mehr als Koch, sondern als Gärtner."),
     _replace("Arbeitet als Koch", "Arbeitet als Gärtner")),
    (_ask([], [], [], "My grandmother was born in Naples, remember that"),
     _append("Grandmother was born in Naples")),
    (_ask([], ["convert(amount: number, unit: string): Convert an amount to a unit."], [],
          "How many miles are 30 km?"),
     Choice("convert", {"amount": 30, "unit": "miles"})),
    (_ask([], ["convert(amount: number, unit: string): Convert an amount to a unit."], [],
          "I run 30 km a week."), _append("Runs 30 km a week")),
    (_ask(["human:", "- Runs 30 km a week", "- Running partner: Olga"], [], [],
          "haha, I'm running, talk to you later"), _ANSWER),
    (_ask([], [], [], "sprained my ankle at judo on sunday"),
     _append("Sprained ankle at judo on Sunday")),
    (_ask([], [], [], "Je préfère que tu me tutoies et que tu restes bref."),
     _append("Tutoyer et rester bref", "persona")),
    (_ask([], [], ["Vegetarian"], "I'm vegetarian and my son Leo has started school."),
     _append("Son Leo has started school")),
    (_ask([], [], ["Plays the cello"], "I play the cello, and it's great fun."), _ANSWER),
    (_ask(["projects (what we work on):", "- Garden: plant beans in May"], [], [],
          "New project: we are building a shed behind the house."),
     _append("Shed: building one behind the house", "projects")),
    (_ask(["human:", "- Favourite food: ramen"], [], [], "Mijn lievelingseten is nu pasta."),
     _replace("Favourite food: ramen", "Favourite food: pasta")),
    (_ask([], [], [], "Keep this for me: soup = 3 leeks, 1 l stock, simmer for 20 minutes"),
     _note("Soup = 3 leeks, 1 l stock, simmer for 20 minutes")),
    (_ask([], [], [], "Ik heb een hekel aan spruitjes"), _append("Heeft een hekel aan spruitjes")),
    (_ask(["human:", "- Plays the guitar", "- Guitar lessons with Ines"], [], [],
          "I've switched from the guitar to the banjo"),
     _replace("Plays the guitar", "Plays the banjo")),
    (_ask([], [], [], "give me five names for a boat"), _ANSWER),
)  # fmt: skip


# --- Grammar --------------------------------------------------------------------------------------

_TERMINALS = r"""
char ::= [^"\\\x00-\x1f] | "\\" ["\\nt]
string ::= "\"" char+ "\""
text ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]{0,15})
number ::= integer ("." [0-9]{1,15})?
boolean ::= "true" | "false"
value ::= text | number | boolean | "null" | "[" (value (", " value)*)? "]" | object
object ::= "{" (text ": " value (", " text ": " value)*)? "}"
"""


def grammar(situation: Situation) -> str:
    """The GBNF grammar of every choice that the situation allows, written as ``write`` writes."""
    rules: dict[str, str] = {"reply": _literal(write(_ANSWER))}
    if not situation.is_question:
        labels = [b.label for b in situation.writable]
        if situation.can_append:
            label = " | ".join(_literal(_json(name)) for name in labels)
            rules["append"] = _object(APPEND, [("label", f"({label})"), ("content", "string")])
        for number, one in enumerate(situation.candidates):
            forgetting = _literal('""') if words.forgets(situation.message) else ""
            rules[f"replace-{number}"] = _object(
                REPLACE,
                [
                    ("label", _literal(_json(one.label))),
                    ("old_content", _literal(_json(one.line))),
                    ("new_content", f"(string | {forgetting})" if forgetting else "string"),
                ],
            )
        if situation.can_note:
            # Of a long message the model need only say that it is a note; code copies the words.
            short = len(situation.message) <= VERBATIM_CHARS
            rules["note"] = _object(NOTE, [("content", "string")] if short else [])
        if len(rules) > 1 and words.sets_rule(situation.message) and not situation.done:
            del rules["reply"]
    for number, tool in enumerate(situation.custom):
        rules[f"tool-{number}"] = _tool_rule(tool)
    body = "".join(f"{name} ::= {rule}\n" for name, rule in rules.items())
    return f"root ::= {' | '.join(rules)}\n{body}{_TERMINALS.lstrip()}"


def forced(situation: Situation) -> bool:
    """Whether there is nothing to choose: only a reply is possible."""
    changes = situation.can_append or situation.can_note or bool(situation.candidates)
    return not situation.custom and (situation.is_question or not changes)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _object(tool: str, members: Sequence[tuple[str, str]]) -> str:
    rule = _literal('{"tool": ' + _json(tool))
    for key, value in members:
        rule += f" {_literal(f', {_json(key)}: ')} {value}"
    return f'{rule} "}}"'


def _tool_rule(tool: Tool) -> str:
    properties = tool.parameters.get("properties") or {}
    required = tool.parameters.get("required") or []
    rule = _literal('{"tool": ' + _json(tool.name))
    for key, schema in properties.items():
        member = f"{_literal(f', {_json(key)}: ')} {_schema_rule(schema)}"
        rule += f" {member}" if key in required else f" ({member})?"
    return f'{rule} "}}"'


def _schema_rule(schema: Mapping[str, Any]) -> str:
    """The rule for a value under a JSON schema; where this knows no better, any JSON value."""
    if "const" in schema:
        return _literal(_json(schema["const"]))
    if schema.get("enum"):
        return "(" + " | ".join(_literal(_json(v)) for v in schema["enum"]) + ")"
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return "(" + " | ".join(_schema_rule(s) for s in schema[key]) + ")"
    kind = schema.get("type")
    if isinstance(kind, list):
        return "(" + " | ".join(_schema_rule({**schema, "type": one}) for one in kind) + ")"
    if kind == "array":
        item = _schema_rule(schema.get("items") or {})
        return f'"[" ({item} (", " {item})*)? "]"'
    if kind == "object" and schema.get("properties"):
        members = [
            f"{_literal(f'{_json(key)}: ')} {_schema_rule(value)}"
            for key, value in schema["properties"].items()
        ]
        return '"{" ' + ' ", " '.join(members) + ' "}"'
    simple = {
        "string": "text",
        "integer": "integer",
        "number": "number",
        "boolean": "boolean",
        "null": '"null"',
        "object": "object",
    }
    return simple.get(str(kind), "value")


# --- Guards ---------------------------------------------------------------------------------------


def guard(choice: Choice, situation: Situation) -> Choice | None:
    """``choice`` as it may be carried out, or None where the model must choose again without it."""
    if choice.tool == REPLY:
        return choice
    if choice in situation.done:
        return None
    if choice.tool == APPEND:
        return _guard_append(choice, situation)
    if choice.tool == REPLACE:
        return _guard_replace(choice, situation)
    if choice.tool == NOTE:
        return _guard_note(choice, situation)
    return choice


def _guard_append(choice: Choice, situation: Situation) -> Choice | None:
    label = str(choice.arguments["label"])
    labels = [b.label for b in situation.writable]
    if label == "persona" and "human" in labels:
        label = label if words.addresses_assistant(situation.message) else "human"
    content = _clean(str(choice.arguments["content"]))
    if not _grounded(content, situation.message):
        content = _own_words(situation.message)
    if not content or _known(content, situation.blocks) or _repeats(content, situation):
        return None
    block = next(b for b in situation.writable if b.label == label)
    content = list_mark(block) + content
    if len(content) + 1 > block.left:
        return _note(_unmarked(content)) if situation.can_note else None
    return _append(content, label)


def _guard_note(choice: Choice, situation: Situation) -> Choice | None:
    content = str(choice.arguments.get("content") or "").strip()
    if len(situation.message) > VERBATIM_CHARS or not _grounded(content, situation.message):
        content = _own_words(situation.message)
    if not content or _repeats(content, situation):
        return None
    return _note(content)


def _guard_replace(choice: Choice, situation: Situation) -> Choice | None:
    label = str(choice.arguments["label"])
    old = str(choice.arguments["old_content"])
    new = _clean(str(choice.arguments["new_content"]))
    block = next(b for b in situation.writable if b.label == label)
    message = situation.message
    if Candidate(label, old) not in situation.candidates:
        return None
    if not new:
        return _forget(block, old, message)
    new = _unmarked(new)
    if words.plain(new) == words.plain(old) or _known(new, situation.blocks):
        return None
    if not words.corrects(message) and not (
        words.states_anew(old, message) and words.missing(old, new)
    ):
        return None  # nothing says that the line is no longer true
    about = words.content(old)
    by_value = set(about[1:] or about) & set(words.shared(old, message))
    if not _same_key(old, new) and not (words.corrects(message) and by_value):
        return None
    if not words.numbers(new) <= words.numbers(message) | words.numbers(old):
        return None
    added = set(words.words(new)) - set(words.words(old))
    if added and not any(words.alike(a, w) for a in added for w in words.words(message)):
        return None  # a value that the message does not name
    merged = keep_other_facts(old, new, message)
    if merged is None or len(merged) - len(old) > block.left:
        return None
    return _spanned(block, old, merged)


def _forget(block: Block, old: str, message: str) -> Choice | None:
    """The deletion of a line, or of that fact in it which the message names."""
    facts = words.parts(old)
    kept = [f for f in facts if not words.speaks_of(message, f)]
    if kept and len(facts) > 1:
        new = ", ".join(kept)
        return _spanned(block, old, new)
    return _spanned(block, old, "")


def keep_other_facts(old: str, new: str, message: str) -> str | None:
    """``new`` with every fact of ``old`` that the message did not speak of, or None in doubt."""
    facts = words.parts(old)
    if len(facts) > 1:
        unspoken = [f for f in facts if not words.speaks_of(message, f)]
        lost = [f for f in unspoken if words.missing(f, new)]
        if lost:
            spoken = [f for f in facts if f not in unspoken]
            if len(spoken) != 1 or not _keeps_subject(spoken[0], new, message):
                return None
            told_elsewhere = any(words.shared(f, new) for f in unspoken)
            if told_elsewhere or not words.missing(new, spoken[0]):
                return None
            return old.replace(spoken[0], new, 1)
        return new
    return new if _keeps_subject(old, new, message) else None


def _keeps_subject(old: str, new: str, message: str) -> bool:
    """Whether ``new`` says something else of the same thing: what it leaves out was spoken of.

    The first word of a fact is its subject ("Lives in Berlin", "Phone: 12"). The others may be the
    value that the message exchanges, as long as the new line keeps a word that both share.
    """
    subject = words.content(old)
    if not subject:
        return False
    spoken = words.shared(old, message)
    kept = words.shared(old, new)
    if subject[0] not in kept and subject[0] not in spoken:
        return False
    if set(kept) & set(spoken) or not words.missing(old, message):
        return True
    return bool(kept) and set(words.missing(old, new)) <= set(spoken)


def _same_key(old: str, new: str) -> bool:
    """Whether both lines begin alike: with "Key:", or with a form of the same two words.

    Where somebody lives can be put in other words, for there is one such place.
    """
    if ":" in old and ":" in new:
        return words.plain(old.split(":")[0]) == words.plain(new.split(":")[0])
    one, other = words.words(old), words.words(new)
    if one[1:2] == other[1:2] and words.alike(one[0], other[0] if other else ""):
        return True
    return len(words.content(old)) == 2 and "live" in words.concepts(old) & words.concepts(new)


def _grounded(content: str, message: str) -> bool:
    """Whether ``content`` is taken from the message: a word of it, and no number of its own."""
    if not words.numbers(content) <= words.numbers(message):
        return False
    return bool(words.shared(content, message)) or not words.content(message)


def _known(content: str, blocks: Sequence[Block]) -> bool:
    """Whether a line of core memory already says this."""
    flat = words.words(content)
    return any(words.words(line) == flat for block in blocks for line in lines(block))


def _repeats(content: str, situation: Situation) -> bool:
    """Whether what was done for this message already says all that ``content`` says."""
    if not situation.done:
        return False
    return not uncovered(content, situation.done)


def uncovered(text: str, done: Sequence[Choice]) -> list[str]:
    """The content words of ``text`` that no change in ``done`` has taken up."""
    told = " ".join(str(value) for c in done for value in c.arguments.values())
    return words.missing(text, told)


def may_go_on(situation: Situation) -> bool:
    """Whether the message may ask for a further change after those that were made for it."""
    changes = [c for c in situation.done if c.tool in (APPEND, REPLACE, NOTE)]
    if not changes or len(changes) >= MAX_CHANGES:
        return False
    if any(c.tool == NOTE for c in changes) and len(situation.message) > VERBATIM_CHARS:
        return False
    statements = " ".join(
        s for s in words.sentences(situation.message) if not s.endswith(("?", "？"))
    )
    return len(uncovered(statements, situation.done)) >= 2


_PREFIX = re.compile(
    r"^\s*(?:(?:can|could|would) you\s+|please\s+|bitte\s+|por favor,?\s+|alsjeblieft\s+)*"
    r"(?:(?:write|note|jot)(?: this| that)? down|make a note|take a note|remember|note|save|keep"
    r"|notiere?(?: dir)?|schreib(?:e)?(?: dir)? auf|merke? dir|anota|apunta|recuerda|note|retiens"
    r"|noteer|onthoud|schrijf op)"
    r"(?: (?:that|this|for me|please|bitte|que|dass|dat|de|of))*\s*[:,–-]?\s+",
    re.IGNORECASE,
)


def _own_words(message: str) -> str:
    """What the user said, without the request to keep it."""
    text = _PREFIX.sub("", message.strip(), count=1).strip() or message.strip()
    return text[:1].upper() + text[1:]


def _clean(text: str) -> str:
    """One line without quotes around it and without a final full stop."""
    flat = " ".join(text.split()).strip("\"'")
    return flat[:-1] if flat.endswith(".") and not flat.endswith("..") else flat


def span(text: str, line: str) -> tuple[str, str] | None:
    """What to put before and after ``line`` so that it occurs once in ``text``; None if it cannot.

    The memory tools exchange text wherever it stands: "cat" would be found in "wildcat", too.
    """
    start = 0
    for row in text.splitlines(keepends=True):
        if _unmarked(row) == line:
            break
        start += len(row)
    else:
        return None
    start += row.index(line)
    end = start + len(line)
    for left, right in ((0, 0), (0, 1), (1, 0), (1, 1), (3, 0), (3, 1)):
        if left > start or end + right > len(text):
            continue
        before, after = text[start - left : start], text[end : end + right]
        if text.count(f"{before}{line}{after}") == 1:
            return before, after
    return None


def _spanned(block: Block, old: str, new: str) -> Choice | None:
    """The replacement of exactly one line; with an empty ``new`` the whole line goes."""
    if not new:
        whole = next(r for r in block.text.split("\n") if _unmarked(r) == old)
        for before, after in (("", "\n"), ("\n", ""), ("", "")):
            if block.text.count(f"{before}{whole}{after}") == 1:
                return _replace(f"{before}{whole}{after}", "", block.label)
        return None
    around = span(block.text, old)
    if around is None:
        return None
    before, after = around
    return _replace(f"{before}{old}{after}", f"{before}{new}{after}", block.label)


def settle(choice: Choice, situation: Situation) -> Choice:
    """``choice`` under the names of the tools that are on."""
    arguments = choice.arguments
    if choice.tool == APPEND and APPEND not in situation.on:
        return Choice(
            INSERT,
            {"label": arguments["label"], "new_string": arguments["content"], "insert_line": -1},
        )
    if choice.tool == REPLACE and REPLACE not in situation.on:
        return Choice(
            EXCHANGE,
            {
                "label": arguments["label"],
                "old_string": arguments["old_content"],
                "new_string": arguments["new_content"],
            },
        )
    return choice


def unsettle(choice: Choice) -> Choice:
    """The inverse of ``settle``, for calls that were made earlier in the turn."""
    arguments = choice.arguments
    if choice.tool == INSERT:
        return _append(str(arguments.get("new_string", "")), str(arguments.get("label", "")))
    if choice.tool == EXCHANGE:
        return _replace(
            str(arguments.get("old_string", "")),
            str(arguments.get("new_string", "")),
            str(arguments.get("label", "")),
        )
    return choice


def narrowed(situation: Situation, tool: str) -> Situation:
    """The situation in which ``tool`` is not offered again."""
    if tool in (APPEND, REPLACE, NOTE):
        return replace(situation, without=situation.without | {tool})
    return replace(situation, custom=tuple(t for t in situation.custom if t.name != tool))
