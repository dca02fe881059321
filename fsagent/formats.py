"""Text to records and back: front matter, recall lines, commit messages. No I/O.

Reading is liberal, since people write these files by hand: whatever cannot be understood is kept
as text and named in ``problem``. Writing keeps every byte that was not meant to change.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeGuard, TypeVar

from fsagent.clock import moment, stamp
from fsagent.errors import StoreError
from fsagent.records import CORE_LIMIT, MAIN, Block, Covers, Note, Record, Sent, ToolCall, Usage

_T = TypeVar("_T")
_FENCE = re.compile(r"---[ \t]*(?:\r\n|\n)")
_NUMBER_MAX = 10**15
"""The largest number that is taken for one: JSON and YAML can spell far larger ones."""
_DEPTH_MAX = 64
"""Brackets of YAML within brackets: more than anyone writes."""
_FRONT_MATTER_MAX = 16_384
_KEPT_MAX = 65_536
"""Characters of front matter that are looked at: more than anyone writes, less than a YAML bomb."""


# ── text ──────────────────────────────────────────────────────────────────────────────────────


def clean(text: str) -> str:
    """``text`` as it can be kept in a UTF-8 file: no lone surrogates, no NUL, ``\\n`` line ends.

    Models and terminals produce all three; Git shows a file with a NUL as binary.
    """
    return clean_text(_line_feeds(text).replace("\0", ""))


def _line_feeds(text: str) -> str:
    """``text`` with ``\\n`` for every line end; a lone carriage return inside a line stays."""
    # From the first of several only, or a long run of them would be looked at from each.
    return re.sub(r"(?<!\r)\r+(?=\n|\Z)", "", text) if "\r" in text else text


def one_line(text: str, width: int = 60) -> str:
    """``text`` on one line of at most ``width`` characters, for subjects and lists."""
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


SLUG_MAX = 40
"""Bytes of the longest name that is made of a text."""


def slug(text: str, default: str = "note") -> str:
    """The first words of a text, as a file name: letters of any script, digits and hyphens."""
    words = re.findall(r"\w+", unicodedata.normalize("NFC", text[:200]).lower())
    name = ""
    for word in words:
        if len(f"{name}-{word}".encode()) > SLUG_MAX:
            break
        name = f"{name}-{word}" if name else word
    return name or default


def counted(number: int, noun: str) -> str:
    """So many of them, in words: ``1 message``, ``1,200 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# ── Markdown with front matter ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Page:
    """A Markdown file taken apart; ``head + body`` is its text again, character for character.

    ``problem`` names what could not be read, as "line 3: …"; then all of it is body.
    ``readable`` is False for bytes that are not UTF-8: such a page must not be written back.
    """

    head: str
    body: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    readable: bool = True

    @property
    def value(self) -> str:
        """The body as memory: ``\\n`` line ends, no newline at the end."""
        return _line_feeds(self.body).rstrip("\n")

    @property
    def value_line(self) -> int:
        """The 1-based line of the file on which the value begins."""
        return self.head.count("\n") + 1

    def with_value(self, value: str) -> str:
        """The whole file again with another value: the head untouched, line ends as they were."""
        value = _line_feeds(value).rstrip("\n")
        head = self.head
        if _FENCE.search(head) and not head.endswith("\n"):
            head += "\n"
        if value.startswith("\n") and _FENCE.search(head) and not re.search(r"\n\r?\n\Z", head):
            head += "\n"  # reading takes one blank line after the front matter as part of the head
        body = _line_ends_of(self.body or head, value + "\n" if value else "")
        if parse_page((head + body).encode()).value != value:
            head += "---\n---\n"  # an empty one, or the value would be read as front matter
            body = "\n" + body if body.startswith("\n") else body
        return head + body


def _line_ends_of(old: str, new: str) -> str:
    """``new`` with the line ends that its unchanged lines had in ``old``."""
    if "\r\n" not in old:
        return new
    import difflib

    before = old.split("\n")
    bare = [line.rstrip("\r") for line in before]
    after = new.split("\n")[:-1]
    usual = "\r\n" if old.count("\r\n") * 2 >= old.count("\n") else "\n"
    ends = [usual] * len(after)
    for a, b, size in difflib.SequenceMatcher(None, bare, after, False).get_matching_blocks():
        for i in range(size):
            if a + i < len(before) - 1:
                ends[b + i] = "\r\n" if before[a + i].endswith("\r") else "\n"
    return "".join(line + end for line, end in zip(after, ends, strict=True))


def parse_page(data: bytes) -> Page:
    """A Markdown file taken apart. Never fails: see ``Page.problem``."""
    return _known_page(data) if len(data) < _KEPT_MAX else _parse_page(data)


def _parse_page(data: bytes) -> Page:
    try:
        text, readable = data.decode(), True
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = data.decode(errors="replace")
        return Page("", text, problem=f"line {line}: not UTF-8 text", readable=False)
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    rest = text[len(bom) :]
    opening = _FENCE.match(rest)
    if not opening:
        return Page(bom, rest)
    start = opening.end()
    closing = re.compile(r"^---[ \t]*(?:\r?\n|\Z)", re.MULTILINE).search(rest, start)
    if not closing or closing.start() - start > _FRONT_MATTER_MAX:
        return Page(bom, rest, problem="line 1: front matter begins here and is not closed by ---")
    try:
        meta = load_yaml(rest[start : closing.start()])
    except ValueError as error:
        line, what = error.args
        return Page(bom, rest, problem=f"line {line + 1}: front matter is not valid YAML: {what}")
    if meta is None:
        meta = {}
    if not isinstance(meta, dict):
        return Page(bom, rest, problem="line 2: front matter is not `key: value` lines")
    end = closing.end()
    blank = re.compile(r"\r?\n").match(rest, end)
    end = blank.end() if blank else end
    return Page(bom + rest[:end], rest[end:], meta, readable=readable)


_known_page = lru_cache(maxsize=256)(_parse_page)  # a change reads the same blocks several times


def format_page(meta: Mapping[str, Any], value: str) -> str:
    """A new Markdown file: front matter and value."""
    return Page(f"---\n{dump_yaml(meta)}---\n\n", "", meta).with_value(value)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """``values`` as lines of YAML, in their order."""
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=10_000)


def load_yaml(text: str) -> Any:
    """``text`` as plain data: no tags, no objects, no code.

    Raises:
        ValueError: (line, reason) with the 1-based line; also for nesting without end, and for
            aliases (``*name``), of which a few lines can make more than any memory holds.
    """
    import yaml

    if _depth(text) > _DEPTH_MAX:  # for which Python's loader takes a second, to fail at its end
        raise ValueError(1, "nested too deeply")
    # libyaml is faster, but recurses in C for each level of nesting and would end the process on
    # a hostile file; Python's loader raises RecursionError. Short texts cannot nest that deep.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if len(text) < 1024 else yaml.SafeLoader
    try:
        alias = _first_alias(text, loader) if "*" in text else 0
        value = None if alias else yaml.load(text, Loader=loader)  # noqa: S506 - both are safe
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "cannot be read"
        raise ValueError(mark.line + 1 if mark else 1, one_line(reason, 80)) from None
    except Exception as error:  # its constructors raise whatever they like for odd values
        raise ValueError(1, one_line(str(error), 80)) from None
    if alias:
        raise ValueError(alias, "aliases like *name are not read")
    return value


def _depth(text: str) -> int:
    """How deeply brackets nest in a text, those in quotation marks included."""
    if text.count("[") + text.count("{") <= _DEPTH_MAX:
        return 0
    steps = (1 if c in "[{" else -1 for c in text if c in "[]{}")
    return max(itertools.accumulate(steps))


def _first_alias(text: str, loader: Any) -> int:
    """The line of the first alias in a YAML text, or 0."""
    import yaml

    events = yaml.parse(text, Loader=loader)
    marks = (e.start_mark for e in events if isinstance(e, yaml.AliasEvent))
    return next((mark.line + 1 if mark else 1 for mark in marks), 0)


def scalar(value: Any) -> str:
    """A front-matter value as text; "" for lists, mappings and nothing."""
    if isinstance(value, str):
        return value
    if hasattr(value, "isoformat"):  # YAML reads 2026-11-21 as a date
        text = str(value.isoformat())
        found = moment(text) if getattr(value, "tzinfo", None) else None
        return stamp(found) if found else text
    if isinstance(value, int) and abs(value) > _NUMBER_MAX:
        return ""  # Python refuses to write one of many thousand digits
    return str(value) if isinstance(value, int | float) else ""


def words_of(value: Any) -> tuple[str, ...]:
    """A front-matter value as a list of words: a YAML list, or words parted by commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list):
        return ()
    return tuple(word for word in (scalar(item).strip() for item in items[:1000]) if word)


def is_limit(value: Any) -> TypeGuard[int]:
    """Whether ``value`` can be a block's limit: a whole number of characters above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _NUMBER_MAX


def label_of(path: str) -> str:
    """The label of the block in that file, in Unicode's composed form."""
    return unicodedata.normalize("NFC", path.removeprefix("core/").removesuffix(".md"))


def parse_block(path: str, page: Page) -> Block:
    """The block that a page of core/ holds; what its front matter leaves out has defaults."""
    limit = page.meta.get("limit")
    return Block(
        label=label_of(path),
        path=path,
        text=page.value,
        description=scalar(page.meta.get("description")),
        limit=limit if is_limit(limit) else CORE_LIMIT,
        read_only=page.meta.get("read_only") is True,
    )


def parse_note(path: str, page: Page) -> Note:
    """The note that a page of archival/ holds; without an id of its own, its name is its id."""
    return Note(
        id=scalar(page.meta.get("id")) or PurePosixPath(path).stem,
        path=path,
        text=page.value,
        tags=words_of(page.meta.get("tags")),
        created=scalar(page.meta.get("created")),
        source=scalar(page.meta.get("source")),
    )


# ── recall lines ──────────────────────────────────────────────────────────────────────────────

_KEYS = frozenset(
    "id ts role content turn name thread tool_calls tool_call_id status change model usage"
    " ms own_ms sent covers voids".split()
)


_THREAD = re.compile(r"[^\W_][\w.-]{0,63}")
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_NAMED = re.compile(
    rb'\{"id": %s, "ts": %s, "role": %s, "content": %s, "turn": %s(?:, "name": %s)?'
    % ((_STRING,) * 6)
    + rb', "thread": "(?!main")'
)
"""A line as ``format_record`` writes it for any thread but ``main``."""


def format_record(record: Record) -> str:
    """``record`` as one line of JSON, newline included."""
    line: dict[str, Any] = {
        "id": record.id,
        "ts": record.ts,
        "role": record.role,
        "content": record.content,
        "turn": record.turn,
        "name": record.name,
        "thread": record.thread if record.thread != MAIN else None,
        "tool_calls": [tool_call_json(call) for call in record.tool_calls] or None,
        "tool_call_id": record.tool_call_id,
        "status": record.status,
        "change": record.change,
        "model": record.model,
        "usage": usage_json(record.usage) if record.usage else None,
        "ms": record.ms,
        "own_ms": record.own_ms,
        "sent": _fields(record.sent),
        "covers": _fields(record.covers),
        "voids": record.voids,
        **record.extra,
    }
    line = {key: value for key, value in line.items() if value is not None}
    text = json.dumps(line, ensure_ascii=False)
    if not text.isprintable():  # line separators and the like: one record must look like one line
        text = json.dumps(line)
    return text + "\n"


def parse_record(line: str) -> Record:
    """The record that a line of recall holds.

    Raises:
        ValueError: with the reason, when it holds none.
    """
    try:
        data = json.loads(line)
        content = _content(data.get("content")) if isinstance(data, dict) else ""
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    for key in ("id", "role"):
        if not isinstance(data.get(key), str) or not data[key]:
            raise ValueError(f"has no {key}")
    usage = data.get("usage")
    calls = data.get("tool_calls")
    return Record(
        id=data["id"],
        ts=_text(data.get("ts")) or "",
        role=data["role"],
        content=content,
        turn=_text(data.get("turn")) or "",
        name=_text(data.get("name")),
        thread=_text(data.get("thread")) or MAIN,
        tool_calls=tuple(
            ToolCall(
                *(
                    clean_text(str(v))
                    for v in (call.get("id", ""), f.get("name", ""), f.get("arguments", ""))
                )
            )
            for call in (calls if isinstance(calls, list) else ())
            if isinstance(call, dict) and isinstance(f := call.get("function"), dict)
        ),
        tool_call_id=_text(data.get("tool_call_id")),
        status="error" if data.get("status") == "error" else data.get("status") and "success",
        change=_text(data.get("change")),
        model=_text(data.get("model")),
        usage=Usage(*(_number(usage.get(k)) for k in ("prompt", "completion", "cached")))
        if isinstance(usage, dict)
        else None,
        ms=_number(data["ms"]) if "ms" in data else None,
        own_ms=_number(data["own_ms"]) if "own_ms" in data else None,
        sent=_made(Sent, data.get("sent")),
        covers=_made(Covers, data.get("covers")),
        voids=_text(data.get("voids")),
        extra={key: value for key, value in data.items() if key not in _KEYS},
    )


def thread_name(name: str) -> str:
    """The name of a thread as records carry it, in Unicode's composed form.

    Raises:
        StoreError: it is no word of letters, digits, ``-``, ``_`` and ``.``, or a long one.
    """
    name = unicodedata.normalize("NFC", name)
    if not _THREAD.fullmatch(name):
        raise StoreError(
            f"{one_line(name)!r} cannot be the name of a thread: use letters, digits, -, _ and ., "
            "64 at most."
        )
    return name


def may_hold(data: bytes, thread: str) -> bool:
    """Whether a segment can hold a record of the thread. False is certain, and quickly found."""
    if thread != MAIN:  # JSON spells a letter as itself or as \\u…
        return thread.encode() in data or b"\\u" in data
    return not all(_NAMED.match(line) for line in data.split(b"\n") if line)


def _fields(value: Sent | Covers | None) -> dict[str, Any] | None:
    """What a summary covers, or a prompt was made from, as JSON; what has no value is left out."""
    return {k: v for k, v in asdict(value).items() if v not in (None, "")} if value else None


def _made(kind: type[_T], value: Any) -> _T | None:
    """The same from JSON; None where something that it needs is missing or of another type."""
    if not isinstance(value, dict):
        return None
    known = {}
    for each in fields(kind):  # type: ignore[arg-type]
        one, text = value.get(each.name), "str" in str(each.type)
        if isinstance(one, str) if text else type(one) is int:
            known[each.name] = clean_text(one) if isinstance(one, str) else _number(one)
    try:
        return kind(**known)
    except TypeError:
        return None


def _content(value: Any) -> str:
    if isinstance(value, str):
        return clean_text(value)
    return json.dumps(value) if value else ""


def _text(value: Any) -> str | None:
    return clean_text(value) if isinstance(value, str) else None


def clean_text(text: str) -> str:
    """``text`` without lone surrogates, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(value: Any) -> int:
    return value if isinstance(value, int) and abs(value) <= _NUMBER_MAX else 0


def tool_call_json(call: ToolCall) -> dict[str, Any]:
    """``call`` in OpenAI's shape."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def usage_json(usage: Usage) -> dict[str, int]:
    """``usage`` as JSON prints it: tokens, ``cached`` being a part of ``prompt``."""
    return {"prompt": usage.prompt, "completion": usage.completion, "cached": usage.cached}


# ── commit messages ───────────────────────────────────────────────────────────────────────────

TRAILERS = ("Change", "Tool", "Tool-Call", "Turn", "Message", "Model", "Undoes")


def format_message(subject: str, trailers: Mapping[str, str | None], body: str = "") -> str:
    """A commit message: subject in words, body, then the trailers that have a value.

    A trailer is one line whatever it is given, so no text can forge another one.
    """
    parts = [one_line(subject, 72) or "change"]
    if body:
        parts.append(body)
    values = {key: one_line(value or "", 200) for key, value in trailers.items()}
    lines = [f"{key}: {value}" for key, value in values.items() if value]
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def parse_trailers(message: str) -> dict[str, str]:
    """The trailers of a commit message, by name: the ``Key: value`` lines of its last paragraph."""
    found = {}
    if "\n\n" in message:
        for line in message.rstrip().rsplit("\n\n", 1)[1].splitlines():
            key, colon, value = line.partition(": ")
            if colon and key in TRAILERS:
                found[key] = value.strip()
    return found
