"""What a purge takes out of files, messages and names, and the mark that it leaves there.

A text is found however it is spelled: as it is, with the escapes of JSON and YAML (also of JSON
within JSON, as the arguments of tool calls are), in an address, in HTML, as its bytes (in octal as
some line histories have it), in UTF-16 and Latin-1, and with other white space between its words.
Records of recall stay records: they keep their ids, times and turns, so that all that refers to
them still does.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from fsagent.errors import StoreError
from fsagent.formats import SLUG_MAX, parse_trailers, slug
from fsagent.history.excerpts import CUT, Excerpts
from fsagent.layout import OURS
from fsagent.records import Block, Covers, Note, Record, Sent, ToolCall, Usage
from fsagent.repo.rewrite import headers

MARK = "(purged)"
"""Plain in Markdown, YAML, JSON and file names alike."""

SHORTEST = 5
"""Characters of the shortest text: less would be a part of too many others."""

_CALLED = (
    *("id", "ts", "role", "turn", "thread", "tool_call_id", "status", "change"),
    *("covers", "voids"),
)
"""Of a record, what others refer to, or what it refers to."""

_KEPT = (*_CALLED, "model", "usage", "ms", "own_ms", "sent")
"""Of a record that goes, that, and what tells nothing of it."""

_OURS = frozenset(name.encode() for name in (*OURS, ".git", ".gitattributes", ".gitignore"))
"""Names that are the same in every agent: nobody's words, though a text may be spelled so."""

FORMAT = (
    *(
        one.name
        for kind in (Record, ToolCall, Usage, Sent, Covers, Note, Block)
        for one in fields(kind)
    ),
    *("function", "assistant", "summary", "jsonl"),
    *("commit", "parent", "author", "committer", "tagger", "object", "encoding", "gpgsig"),
    *("false", "fsagent"),
)
"""Words that the files and their history are made of, as keys and the like."""

_PEOPLE = (b"author", b"committer", b"tagger")
_BARE = (b"tree", b"parent", b"object", b"type", b"encoding")
"""Headers of commits and tags that hold nobody's words."""

_TRAILERS = ("Change", "Turn", "Message", "Tool-Call")


@dataclass(frozen=True)
class Target:
    """What is to go.

    ``texts`` go wherever they stand, and ``records`` by their id. ``calls`` are turn and id of tool
    calls whose arguments go. ``lines`` go from every version of the files ``paths``. ``changes``
    are commits (by their id or that of their change) whose message loses its words, as does the
    event that told of it. ``answers`` are records that lose the hash of their prompt: with it, and
    all the rest of the prompt, a short text that is gone could be found by trying. ``quotes`` are
    lines up to an ellipsis before which so little of a text stands that only where they come from
    tells what it is the beginning of.
    """

    texts: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()

    def dump(self) -> str:
        """It as JSON, for a purge that may be cut short."""
        return json.dumps(asdict(self))

    def __or__(self, other: Target) -> Target:
        both = {
            field.name: tuple(dict.fromkeys(getattr(self, field.name) + getattr(other, field.name)))
            for field in fields(self)
        }
        return Target(**both)

    @classmethod
    def load(cls, text: str) -> Target:
        """What ``dump`` made.

        Raises:
            ValueError: it is none.
        """
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not an object")
        values: dict[str, tuple[Any, ...]] = {}
        for field in fields(cls):
            value = data.get(field.name, [])
            items = [tuple(one) if isinstance(one, list) else one for one in value]
            flat = [part for one in items for part in (one if isinstance(one, tuple) else [one])]
            if not all(isinstance(part, str) and part for part in flat):
                raise ValueError(f"{field.name} are not texts")
            values[field.name] = tuple(items)
        return cls(**values)


class Gap:
    """Takes ``target`` out of what it is given; what does not hold it comes back as it is.

    ``versions`` are the blobs that its ``paths`` ever had.
    """

    def __init__(self, target: Target, versions: Iterable[str] = ()) -> None:
        self.target = target
        self.versions = frozenset(versions)
        self._records = frozenset(target.records)
        self._calls = frozenset(target.calls)
        self._changes = frozenset(target.changes)
        self._answers = frozenset(one.encode() for one in target.answers)
        self._named: dict[bytes, bytes] = {}
        """Names that were looked at: a history has few of them, each many thousand times."""
        self._lines = frozenset(line.strip() for line in target.lines)
        self._ids = [one.encode() for one in (*target.records, *target.changes)]
        self._ids += [call.encode() for _, call in target.calls]

    # ── content ───────────────────────────────────────────────────────────────────────────────

    def content(self, data: bytes, oid: str = "", path: str = "") -> bytes:
        """The bytes of a file, of a blob ``oid`` or at ``path``.

        Raises:
            StoreError: a text of the target is a part of what other things are called by.
        """
        if b"\0" in data[:8000]:
            return self._binary(data)
        if any(one in data for one in self._ids) or self._may_hold(data) or self._answered(data):
            data = self._text(data)
        if self._lines and (oid in self.versions or path in self.target.paths):
            data = b"".join(self._of_lines(line) for line in data.splitlines(keepends=True))
        return data

    def _answered(self, data: bytes) -> bool:
        """Whether one of the answers, of which there may be thousands, is in a segment."""
        return bool(self._answers) and not self._answers.isdisjoint(_IDENT.findall(data))

    def _text(self, data: bytes) -> bytes:
        if data.lstrip()[:1] != b"{":
            return self.words(data)
        lines = data.split(b"\n")
        made = [self._record(line) for line in lines]
        if not any(made):
            return self.words(data)
        return b"\n".join(
            new if new is not None else self.words(line)
            for line, new in zip(lines, made, strict=True)
        )

    def _record(self, line: bytes) -> bytes | None:
        """A line of recall without what is to go; None where it is no record."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("role"), str):
            return None
        ident, turn = record.get("id"), record.get("turn")
        if ident in self._records or (
            record["role"] == "event" and record.get("change") in self._changes
        ):
            new = self._emptied(record)
        else:
            new = self._within(record)
            for call in _calls(new):
                if (turn, call.get("id")) in self._calls:
                    call["function"]["arguments"] = _emptied_arguments(call["function"])
        if isinstance(ident, str) and ident.encode() in self._answers and _sent(new):
            new["sent"] = {**new["sent"], "messages": MARK}
        if new == record:
            return line
        called = any(new.get(key) != record.get(key) for key in _CALLED)
        if called or _sent(new) != _sent(record) or not new.keys() <= record.keys() | {"content"}:
            raise StoreError(
                "The text is a part of what records are called by, so that nothing would be found "
                "any more without it: give more of the text around it."
            )
        text = json.dumps(new, ensure_ascii=False)
        return (text if text.isprintable() else json.dumps(new)).encode()

    def _emptied(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record without its words."""
        new = {key: value for key, value in record.items() if key in _KEPT}
        new["content"] = MARK
        if "name" in record:
            new["name"] = self._within(record["name"])
        if isinstance(record.get("tool_calls"), list):
            new["tool_calls"] = json.loads(json.dumps(record["tool_calls"]))
            for call in _calls(new):
                call["function"]["arguments"] = _emptied_arguments(call["function"])
        # as it was ordered
        return {key: new[key] for key in [*record, "content"] if key in new}

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return (
                self.words(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
                if (self._may_hold(value.encode("utf-8", "surrogatepass")))
                else value
            )
        if isinstance(value, list):
            return [self._within(inner) for inner in value]
        if isinstance(value, dict):
            return {self._within(key): self._within(inner) for key, inner in value.items()}
        return value

    def _of_lines(self, line: bytes) -> bytes:
        """A line of a versioned file: what is before and after the text stays."""
        text = line.decode(errors="surrogateescape")
        bare = text.strip()
        if bare not in self._lines:
            return line
        bullet = re.match(r"(?:[-*+>#]+|\d+[.)]|(?:source|description):)[ \t]+", bare)
        new = (bullet[0] if bullet else "") + MARK
        return text.replace(bare, new).encode(errors="surrogateescape")

    def _binary(self, data: bytes) -> bytes:
        """The same with marks of the same length, since such files often count their bytes."""

        def mark(found: re.Match[bytes]) -> bytes:
            size = len(found[0])
            for code in ("utf-16-le", "utf-16-be") if b"\0" in found[0] else ("ascii",):
                if len(MARK.encode(code)) <= size and (code[-2:] != "be" or found[0][0] == 0):
                    return MARK.ljust(size).encode(code)[:size]
            return b"*" * size

        for pattern in self._patterns:
            data = pattern.sub(mark, data)
        return data

    # ── words ─────────────────────────────────────────────────────────────────────────────────

    def words(self, data: bytes) -> bytes:
        """Any text that is not taken apart further."""
        if self._may_call(data):
            data = _QUOTED_NOTE.sub(lambda quoted: self.name(quoted[0]), data)
            data = _CUT_NOTE.sub(lambda quoted: quoted[1] + self._cut_name(quoted[2]), data)
        if CUT in data:
            for quote, new in self._quotes:
                data = data.replace(quote, new)
        if self._may_hold(data):
            for pattern in self._patterns:
                data = pattern.sub(MARK.encode(), data)
        if CUT in data:
            for excerpts in self._excerpts:
                data = excerpts.replaced(data, MARK)
        return data

    def quotes(self, text: str) -> list[str]:
        """What may be the beginning of a text, cut off: each as ``Target.quotes`` are."""
        return [one for excerpts in self._short for one in excerpts.quotes(text)]

    def head(self, data: bytes) -> bytes:
        """The headers of a commit or tag."""
        return b"\n".join(self.header(line) for _, line in headers(data))

    def header(self, line: bytes) -> bytes:
        """A header of a commit or tag: who it was goes, and an id or a time never."""
        key, space, value = line.partition(b" ")
        if key in _BARE:
            return line
        if key not in _PEOPLE:
            return key + space + self.words(value)
        who, close, when = value.rpartition(b">")
        name, open_, address = who.partition(b"<")
        new = self.words(name), self.words(address)
        if self.words(b"<".join(new) + close) != b"<".join(new) + close:  # it is in both of them
            new = MARK.encode(), MARK.encode()
        if not open_ or new == (name, address):
            return line
        called = new[0].strip() + b" " if new[0].strip() else b""
        return b"%s %s<%s>%s" % (key, called, new[1], when)

    def message(self, data: bytes, oid: str = "") -> bytes:
        """The message of a commit or tag; its trailers stay.

        Raises:
            StoreError: a text of the target is a part of them.
        """
        new = self.words(data)
        trailers = parse_trailers(data.decode(errors="replace"))
        if trailers:
            after = parse_trailers(new.decode(errors="replace"))
            if any(trailers.get(key) != after.get(key) for key in _TRAILERS):
                raise StoreError(
                    "The text is a part of what changes are called by, so that nothing could say "
                    "where they come from without it: give more of the text around it."
                )
        said = not trailers.get("Tool") and trailers.get("Message") in self._records
        if said or oid in self._changes or trailers.get("Change") in self._changes:
            new = _without_words(new, bool(trailers))
        return new

    def name(self, name: bytes) -> bytes:
        """A file's or a folder's name: a note is called by its first words."""
        if name in _OURS:
            return name
        new = self._named.get(name)
        if new is None:
            new = name
            for pattern in (*self._patterns, *self._slugs):
                new = pattern.sub(MARK.strip("()").encode(), new)
            new = self._of_note(new)
            self._named[name] = new
        return new

    def _of_note(self, name: bytes) -> bytes:
        """The name of a note without the beginning of a text that was too long for it, and without
        the words of a line that goes."""
        found = _NOTE.fullmatch(name.decode(errors="surrogateescape"))
        if not found:
            return name
        called = found[1]
        if any(slug(one, "") == called for one in self._titles):
            called = MARK.strip("()")
        for words in self._slugged:
            for count in range(len(words) - 1, 0, -1):
                begin = "-".join(words[:count])
                longer = f"{called}-{words[count]}"
                if (
                    len(begin) >= SHORTEST
                    and (called == begin or called.endswith(f"-{begin}"))
                    and len(longer.encode()) > SLUG_MAX
                ):
                    called = called.removesuffix(begin) + MARK.strip("()")
                    break
        quoted = _PATH_IN_NAME.fullmatch(called)
        if quoted:
            called = quoted[1] + self._of_beginning(quoted[2])
        return (called + found[2]).encode(errors="surrogateescape") if called != found[1] else name

    def _cut_name(self, name: bytes) -> bytes:
        """The beginning of a note's name, as subjects have it."""
        for pattern in self._slugs:
            name = pattern.sub(MARK.strip("()").encode(), name)
        called = name.decode(errors="surrogateescape")
        return self._of_beginning(called).encode(errors="surrogateescape")

    def _of_beginning(self, called: str) -> str:
        """What a note is called by, as far as it is there."""
        for one in (slug(title, "") for title in self._titles):
            if f"{one}-".startswith(called[: len(one) + 1]) and len(called) >= min(12, len(one)):
                called = MARK.strip("()")
        for one in map("-".join, self._slugged):
            for size in range(min(len(one) - 1, len(called)), SHORTEST - 1, -1):
                if called == one[:size] or called.endswith(f"-{one[:size]}"):
                    called = called[: len(called) - size] + MARK.strip("()")
                    break
        return called

    def holds(self, data: bytes, oid: str = "") -> bool:
        """Whether anything of the target is in a file."""
        return self.content(data, oid) != data

    def _may_hold(self, data: bytes) -> bool:
        return (
            any(one in data for one in self._anchors)
            or (bool(self._anchors) and (_ESCAPE.search(data) is not None or CUT in data))
            or self._may_call(data)
        )

    def _may_call(self, data: bytes) -> bool:
        """Whether a note may be called by its file's name in it, and one by what is to go."""
        return bool(self._slugs or self._titles) and (
            b".md" in data or (CUT in data and b"archival/" in data)
        )

    @cached_property
    def _anchors(self) -> list[bytes]:
        """Of each text, a part that is spelled as it is where nothing is escaped."""
        return [
            max(
                re.findall(r"[A-Za-z0-9]+", form) or re.findall(r"[^\x00-\x7f\s]+", form) or [""],
                key=len,
            ).encode()
            for form in self._forms
        ] + [one for form in self._forms for one in _encoded(form)]

    @cached_property
    def _forms(self) -> list[str]:
        return [
            form
            for text in self.target.texts
            for form in dict.fromkeys(
                [text, *(unicodedata.normalize(kind, text) for kind in ("NFC", "NFD"))]
            )
        ]

    @cached_property
    def _patterns(self) -> list[re.Pattern[bytes]]:
        found = []
        for form in self._forms:
            spelled = _BREAK.join(
                _spaced(part) if part.isspace() else _spelled(part)
                for part in re.findall(r"\s+|\S", form)
            )
            others = b"|".join(map(re.escape, _encoded(form)))
            found.append(re.compile(b"%s|%s" % (spelled, others)))
        return found

    @cached_property
    def _excerpts(self) -> list[Excerpts]:
        return [Excerpts(form) for form in self._forms]

    @cached_property
    def _short(self) -> list[Excerpts]:
        return [Excerpts(form, short=True) for form in self._forms]

    @cached_property
    def _quotes(self) -> list[tuple[bytes, bytes]]:
        """The quotes with what takes their place, the longest first: one may be within another."""
        found = []
        for quote in sorted(self.target.quotes, key=len, reverse=True):
            old = new = quote.encode(errors="surrogateescape")
            for excerpts in self._short:
                new = excerpts.replaced(new, MARK)
            found.append((old, new))
        return found

    @cached_property
    def _slugged(self) -> list[list[str]]:
        return [re.findall(r"\w+", form.lower()) for form in self._forms]

    @cached_property
    def _titles(self) -> list[str]:
        """The lines that go and that a note may be called by."""
        notes = any(path.startswith("archival/") for path in self.target.paths)
        return [line for line in self.target.lines if notes and slug(line, "")]

    @cached_property
    def _slugs(self) -> list[re.Pattern[bytes]]:
        """The words of a text as ``change`` makes names of them."""
        found = []
        for text in self._forms:
            slug = "-".join(re.findall(r"\w+", text.lower()))
            if len(slug) >= SHORTEST:
                found.append(re.compile(re.escape(slug.encode("utf-8", "replace"))))
        return found


_NOTE = re.compile(r"(.+)(-[0-9a-z]{6,40}\.md)", re.DOTALL)
_PATH_IN_NAME = re.compile(r"((?:.+-)?archival-\d+-\d+-)(.+)", re.DOTALL)
_QUOTED_NOTE = re.compile(rb"(?<![\w\x80-\xff-])[\w\x80-\xff-]{1,300}-[0-9a-z]{6,40}\.md(?!\w)")
_CUT_NOTE = re.compile(rb"(archival/(?:\d+/)*)([\w\x80-\xff-]{1,300}?)(?=(?:\.m?)?" + CUT + b")")

_IDENT = re.compile(rb'"id"\s*:\s*"([^"\\]*)"')

_ESCAPE = re.compile(rb"\\[uUx0-7N_LP]|\\\r?\n|%[0-9A-Fa-f]{2}|&[#a-z]")
"""What a text may be spelled with, so that none of it is there as it is."""

_BREAK = rb"(?:\\\r?\n[ \t]*)?"
"""YAML breaks a long text in quotation marks anywhere."""

# Sixteen backslashes are JSON four times within itself; without an end, a file of nothing but
# backslashes would be looked through from each of them.
_SPACES = (
    rb"(?:\s|\\{1,16}(?:[nrt ]|[uU](?:0000)?00[02][9adAD0]|x[02][9adAD0]|0[14][0-5])"
    rb"|%[02][09ADad]|\+|\xc2\xa0)"
)

_QUOTED = rb"(?:(?<=\n)|(?<=\\n))"
"""Where a line begins, also in JSON: there a hand edit is told of with +, a quotation has >, and
a comment # or the like."""

_LETTERS = dict(zip("\a\b\v\f\x1b\x85\xa0\u2028\u2029", "abvfeN_LP", strict=True))
"""How JSON and YAML write some characters, after a backslash."""

_ENTITIES = {'"': b"&quot;", "'": b"&#39;", "<": b"&lt;", ">": b"&gt;", "&": b"&amp;"}


def _spelled(char: str) -> bytes:
    """A pattern for every way in which a character is written."""
    raw = char.encode("utf-8", "surrogatepass")
    code = ord(char)
    ways = [re.escape(raw)]
    if raw.isascii() and not char.isalnum():
        ways = [rb"\\{0,16}" + re.escape(raw)] if char != "\\" else [rb"\\{1,16}"]
        if char == "'":
            ways.append(b"''")
    units = char.encode("utf-16-be", "surrogatepass")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    ways.append(b"".join(rb"\\{1,16}u" + _any_case(pair) for pair in pairs))
    ways.append(rb"\\{1,16}U" + _any_case(f"{code:08x}"))
    if code < 256:
        ways.append(rb"\\{1,16}x" + _any_case(f"{code:02x}"))
    ways.append(b"".join(rb"\\{1,16}%03o" % byte for byte in raw))
    ways.append(b"".join(b"%" + _any_case(f"{byte:02x}") for byte in raw))
    ways.append(b"".join(rb"\\{1,16}x" + _any_case(f"{byte:02x}") for byte in raw))
    ways.append(b"&#(?:0*%d|[xX]0*%s);" % (code, _any_case(f"{code:x}")))
    if char in _LETTERS:
        ways.append(rb"\\{1,16}" + _LETTERS[char].encode())
    if char in _ENTITIES:
        ways.append(_ENTITIES[char])
    return b"(?:" + b"|".join(ways) + b")"


def _spaced(spaces: str) -> bytes:
    """A pattern for white space between words, which a file may break or indent otherwise."""
    odd = [_spelled(char) for char in sorted(set(spaces) - set(" \t\n\r\v\f"))]
    begin = _QUOTED + (rb"(?:[+>#*|;%-]|//)[> ]*" if "\n" in spaces else rb"[>#][> ]*")
    return b"(?:" + b"|".join([_SPACES, *odd, begin]) + b")+"


def _any_case(digits: str) -> bytes:
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in digits).encode()


def _encoded(text: str) -> list[bytes]:
    """A text in other encodings than UTF-8, where it is other bytes there."""
    found = [text.encode(code, "surrogatepass") for code in ("utf-16-le", "utf-16-be")]
    for code in ("latin-1", "cp1252") if not text.isascii() else ():
        with suppress(UnicodeEncodeError):
            found.append(text.encode(code))
    return list(dict.fromkeys(found))


def _calls(record: Any) -> list[dict[str, Any]]:
    calls = record.get("tool_calls")
    return [
        call
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]


def _sent(record: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of its prompt, but for the hash of what was said in it."""
    sent = record.get("sent")
    return {k: v for k, v in sent.items() if k != "messages"} if isinstance(sent, dict) else {}


def _emptied_arguments(function: dict[str, Any]) -> str:
    """The arguments of a call with a mark in the place of each text."""

    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [emptied(inner) for inner in value]
        return MARK if isinstance(value, str) else value

    try:
        arguments = json.loads(function.get("arguments", ""))
    except (TypeError, ValueError, RecursionError):
        arguments = {"purged": MARK}
    return json.dumps(emptied(arguments))


def _without_words(message: bytes, has_trailers: bool) -> bytes:
    """A message of which only what kind of change it was stays, and the trailers."""
    head, gap, last = message.rstrip(b"\n").rpartition(b"\n\n")
    if not has_trailers or not gap:
        head, last = message, b""
    kind = re.match(rb"[\w /.-]{1,60}: ", head)
    subject = (kind[0] if kind else b"") + MARK.encode()
    return subject + (b"\n\n" + last if last else b"") + b"\n"
