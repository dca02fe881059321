"""The guards: what the small model's choice must pass before it is carried out.

Everything that it must not be trusted with is done here in code:

* a replacement has to change the line, keep its subject, and keep every other fact in it;
* an addition has to come from the message, with the message's own numbers, and be new;
* a question changes nothing, and nothing is done twice in a turn.

In doubt a fact is added and nothing is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from fsagent.llm import words
from fsagent.llm.decide import (
    APPEND,
    EXCHANGE,
    INSERT,
    MAX_CHANGES,
    NOTE,
    REPLACE,
    REPLY,
    VERBATIM_CHARS,
    Candidate,
    Choice,
    Situation,
    appending,
    lines,
    list_mark,
    noting,
    replacing,
    span,
    unmarked,
)
from fsagent.records import Block


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
    if _told(content, situation):
        return None
    block = next(b for b in situation.writable if b.label == label)
    content = list_mark(block) + content
    if len(content) + 1 > block.left:
        return noting(unmarked(content)) if situation.can_note else None
    return appending(content, label)


def _told(content: str, situation: Situation) -> bool:
    """Whether ``content`` speaks of a line that this message has just changed."""
    return any(
        done.tool == REPLACE and words.named(str(done.arguments["old_content"]), content)
        for done in situation.done
    )


def _guard_note(choice: Choice, situation: Situation) -> Choice | None:
    content = str(choice.arguments.get("content") or "").strip()
    message = situation.message
    left_out = len(words.missing(_own_words(message), content)) >= 2
    if left_out or len(message) > VERBATIM_CHARS or not _grounded(content, message):
        content = _own_words(message)  # a note keeps all that was said
    if not content or _repeats(content, situation):
        return None
    if _told(content, situation) and not words.asks_to_keep(situation.message):
        return None
    return noting(content)


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
    new = unmarked(new)
    if words.plain(new) == words.plain(old) or _known(new, situation.blocks):
        return None
    lost_numbers = words.numbers(old) - words.numbers(new)
    if lost_numbers - words.numbers(message) and words.numbers(new) <= words.numbers(old):
        return None  # a number goes, of which the message says nothing
    key, colon, value = old.partition(":")
    if (
        colon
        and not words.shared(key, message)
        and words.named(value, message) != words.content(value)
    ):
        return None  # it names neither what the line is about nor all that it says
    theirs = words.relations(old)
    if theirs and not theirs & words.relations(message) and not theirs <= words.relations(new):
        return None  # a line about somebody stays about them
    if words.is_elsewhere(old, new, message):
        return None
    plain = exchanges(old, new, message)
    if not plain:
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
    merged = new if plain else keep_other_facts(old, new, message)
    if merged is None or len(merged) - len(old) > block.left:
        return None
    return _spanned(block, old, merged)


def exchanges(old: str, new: str, message: str) -> bool:
    """Whether ``new`` is ``old`` with just that exchanged which the message names.

    What is lost has to be named in so many words. Where the message also says that something has
    changed, one further word may go with it ("a diesel Passat"), if the line holds a single fact;
    and who says that they left a job has changed the line about it.
    """
    lost = words.missing(old, new)
    if not lost or not words.missing(new, old):
        return False
    named = words.named(old, message)
    unnamed = [w for w in lost if w not in named]
    if named and _same_key(old, new) and not unnamed:
        return True
    if len(words.parts(old)) > 1 or not words.corrects(message):
        return False
    begins = (words.words(old)[:1], words.words(new)[:1])
    kept = begins[0] == begins[1] or not set(words.content(old)[:1]) & set(unnamed)
    if named and len(unnamed) <= 1 and kept:
        return True
    both = words.concepts(old) & words.concepts(new)
    return words.leaves(message) and bool(both & {"work", "study"})


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
    if any(c.tool == NOTE for c in changes) and len(words.requests(situation.message)) == 1:
        return False  # a note takes up all that was said
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


def _spanned(block: Block, old: str, new: str) -> Choice | None:
    """The replacement of exactly one line; with an empty ``new`` the whole line goes."""
    if not new:
        whole = next(r for r in block.text.split("\n") if unmarked(r) == old)
        for before, after in (("", "\n"), ("\n", ""), ("", "")):
            if block.text.count(f"{before}{whole}{after}") == 1:
                return replacing(f"{before}{whole}{after}", "", block.label)
        return None
    around = span(block.text, old)
    if around is None:
        return None
    before, after = around
    return replacing(f"{before}{old}{after}", f"{before}{new}{after}", block.label)


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
        return appending(str(arguments.get("new_string", "")), str(arguments.get("label", "")))
    if choice.tool == EXCHANGE:
        return replacing(
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
