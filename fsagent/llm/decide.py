"""What to do with a message: the prompt, the examples and the grammar of the model's decision.

A small model does not call tools reliably by its own chat template. It does choose well when the
choice is one short JSON object under a grammar, after worked examples. ``old_content`` can only be
a line of which the message speaks (``Situation.candidates``); what else it must not be trusted with
is in ``guards``. Pure functions: no model, no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        touched = {unmarked(text.strip()) for text in made}
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
        """Whether the message only asks, supposes or chats, so that no memory may change."""
        said = self.message
        idle = words.only_asks(said) or words.asks_for_something(said) or words.supposes(said)
        known = any(words.named(line, said) for block in self.blocks for line in lines(block))
        idle = idle or (words.tells_of_strangers(said) and not known)
        wants = words.asks_to_keep(said) or words.forgets(said) or words.sets_rule(said)
        return idle and not wants


def lines(block: Block) -> list[str]:
    """The lines of a block that say something, without their list marks."""
    return [m for m in (unmarked(line) for line in block.text.splitlines()) if m]


def unmarked(line: str) -> str:
    """A line without its list mark."""
    return re.sub(r"^\s*(?:[-*+•]\s+)?", "", line).rstrip()


def list_mark(block: Block) -> str:
    """The mark that every line of the block begins with, or nothing."""
    filled = [line for line in block.text.splitlines() if line.strip()]
    for mark in ("- ", "* "):
        if filled and all(line.startswith(mark) for line in filled):
            return mark
    return ""


def span(text: str, line: str) -> tuple[str, str] | None:
    """What to put before and after ``line`` so that it occurs once in ``text``; None if it cannot.

    The memory tools exchange text wherever it stands: "cat" would be found in "wildcat", too.
    """
    start = 0
    for row in text.splitlines(keepends=True):
        if unmarked(row) == line:
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


def appending(content: str, label: str = "human") -> Choice:
    """The choice to add a line."""
    return Choice(APPEND, {"label": label, "content": content})


def replacing(old: str, new: str, label: str = "human") -> Choice:
    """The choice to replace a line."""
    return Choice(REPLACE, {"label": label, "old_content": old, "new_content": new})


def noting(text: str) -> Choice:
    """The choice to keep a note."""
    return Choice(NOTE, {"content": text})


_ANSWER = Choice(REPLY, {})

# How many lines of memory an example shows has nothing to do with its answer: additions,
# corrections and replies come with one and with several, or the model learns to count instead of
# to read.
EXAMPLES: tuple[tuple[str, Choice], ...] = (
    (_ask([], [], [], "I'm Paula and I teach maths."), appending("Name: Paula, teaches maths")),
    (
        _ask(["human:", "- Lives in Oslo"], [], [], "We've moved to Lyon last week."),
        replacing("Lives in Oslo", "Lives in Lyon"),
    ),
    (
        _ask(["human:", "- Lives in Oslo", "- Works in a bakery"], [], [],
             "My brother Jon works in a bank in Oslo."),
        appending("Brother Jon works in a bank in Oslo"),
    ),
    (_ask([], [], [], "good morning!"), _ANSWER),
    (
        _ask(["human:", "- Drinks green tea", "- Has a meeting with Ines every Monday"], [], [],
             "I can't stand meetings before nine"),
        appending("Can't stand meetings before nine"),
    ),
    (_ask(["human:", "- Works in a bakery"], [], [], "Where do bakers work at night?"), _ANSWER),
    (
        _ask([], [], [], "Write down: the boiler was serviced on 4 March, next time in two years."),
        noting("The boiler was serviced on 4 March, next time in two years."),
    ),
    (_ask([], [], [], "From now on answer me in Italian."),
     appending("Answer in Italian", "persona")),
    (_ask([], [], [], "Ich bin allergisch gegen Haselnüsse."),
     appending("Allergisch gegen Haselnüsse")),
    (
        _ask(["human:", "- Name: Karl, drives a red Volvo", "- Sister drives a van"], [], [],
             "Correction: my car isn't red, it's blue."),
        replacing("Name: Karl, drives a red Volvo", "Name: Karl, drives a blue Volvo"),
    ),
    (_ask([], [], [], "Thanks, that was great help"), _ANSWER),
    (
        _ask(["human:", "- Plays the cello"], [], [], "my daughter plays the drums since may"),
        appending("Daughter plays the drums since May"),
    ),
    (_ask([], [], [], "Explain to me how a heat pump works."), _ANSWER),
    (
        _ask(["persona:", "- Answer in Italian", "human:", "- Speaks Italian and Greek"], [], [],
             "Stop answering in Italian, use English."),
        replacing("Answer in Italian", "Answer in English", "persona"),
    ),
    (
        _ask(["human:", "- Trabaja en un hospital", "- Su jefa se llama Rosa"], [], [],
             "Ya no trabajo en el hospital, ahora trabajo en una escuela."),
        replacing("Trabaja en un hospital", "Trabaja en una escuela"),
    ),
    (_ask([], [], [], "Me gusta mucho el ajedrez."), appending("Le gusta mucho el ajedrez")),
    (
        _ask(["human:", "- Has two cats: Mia and Tom", "- Cat food: salmon only"], [], [],
             "The cats get their food at seven and at six in the evening."),
        appending("Cats get their food at seven and at six in the evening"),
    ),
    (
        _ask(["human:", "- Phone: 555 0117"], [], [], "Please forget my phone number."),
        replacing("Phone: 555 0117", ""),
    ),
    (_ask([], [], [], "Bitte notiere: Zahnarzt am 9. Juni um 14:30 Uhr."),
     noting("Zahnarzt am 9. Juni um 14:30 Uhr.")),
    (_ask(["human:", "- Wohnt in Graz", "- Arbeitet als Koch"], [], [],
          "Ich arbeite nicht mehr als Koch, sondern als Gärtner."),
     replacing("Arbeitet als Koch", "Arbeitet als Gärtner")),
    (_ask([], [], [], "My grandmother was born in Naples, remember that"),
     appending("Grandmother was born in Naples")),
    (_ask([], ["convert(amount: number, unit: string): Convert an amount to a unit."], [],
          "How many miles are 30 km?"),
     Choice("convert", {"amount": 30, "unit": "miles"})),
    (_ask([], ["convert(amount: number, unit: string): Convert an amount to a unit."], [],
          "I run 30 km a week."), appending("Runs 30 km a week")),
    (_ask(["human:", "- Runs 30 km a week", "- Running partner: Olga"], [], [],
          "haha, I'm running, talk to you later"), _ANSWER),
    (_ask([], [], [], "sprained my ankle at judo on sunday"),
     appending("Sprained ankle at judo on Sunday")),
    (_ask([], [], [], "Je préfère que tu me tutoies et que tu restes bref."),
     appending("Tutoyer et rester bref", "persona")),
    (_ask([], [], ["Vegetarian"], "I'm vegetarian and my son Leo has started school."),
     appending("Son Leo has started school")),
    (_ask([], [], ["Plays the cello"], "I play the cello, and it's great fun."), _ANSWER),
    (_ask(["projects (what we work on):", "- Garden: plant beans in May"], [], [],
          "New project: we are building a shed behind the house."),
     appending("Shed: building one behind the house", "projects")),
    (_ask(["human:", "- Favourite food: ramen"], [], [], "Mijn lievelingseten is nu pasta."),
     replacing("Favourite food: ramen", "Favourite food: pasta")),
    (_ask([], [], [], "Keep this for me: soup = 3 leeks, 1 l stock, simmer for 20 minutes"),
     noting("Soup = 3 leeks, 1 l stock, simmer for 20 minutes")),
    (_ask([], [], [], "Ik heb een hekel aan spruitjes"),
     appending("Heeft een hekel aan spruitjes")),
    (_ask(["human:", "- Plays the guitar", "- Guitar lessons with Ines"], [], [],
          "I've switched from the guitar to the banjo"),
     replacing("Plays the guitar", "Plays the banjo")),
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


def grammar(situation: Situation, *, can_reply: bool = True) -> str:
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
        must = words.sets_rule(situation.message) and not situation.done
        if len(rules) > 1 and (must or not can_reply):
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
