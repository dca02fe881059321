"""Docs and questions made of real text that is at hand: what Python's own packages say of
themselves, or a folder of one's own.
"""

from __future__ import annotations

import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path

from fsagent.clock import stamp
from fsagent.index.words import STOP
from fsagent.records import Doc

SHORTEST, LONGEST = 200, 1500
"""Characters of a doc."""
SESSION = 20
"""Docs of a session, which are neighbours in one file."""
_PER_FILE = 400
"""Docs that are taken from one file at most."""
_NOTE_EVERY = 20
"""Of so many docs one is a note."""

_SAID = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|((?:^[ \t]*#[^\n]*\n)+)', re.S | re.M)
"""What a program says to people: strings in three quotes, and lines of comments."""
_BLANK = re.compile(r"\n\s*\n")
_WORD = re.compile(r"[A-Za-z][a-z]+")
_TAGS = ("work", "home", "travel", "health", "money")
_PEOPLE = (("user", "Ada"), ("assistant", "Ben"))
_OPENINGS = ("", "what is", "how does", "when was", "where is", "why does", "which", "who")


def docs(count: int, folder: Path | None = None) -> list[Doc]:
    """``count`` docs, or as many as there is text for; the same ones in every run.

    Nineteen of twenty are records in sessions, the others notes with tags.
    """
    texts: list[str] = []
    seen: set[bytes] = set()
    for file in _files(folder):
        upto = len(texts) + _PER_FILE
        for text in _paragraphs(file):
            digest = sha1(text.encode("utf-8", "replace"), usedforsecurity=False).digest()
            if digest not in seen:
                seen.add(digest)
                texts.append(text)
            if len(texts) == min(upto, count):
                break
        if len(texts) == count:
            break
    return [
        doc
        for first in range(0, len(texts), SESSION)
        for doc in _session(texts[first : first + SESSION], first)
    ]


def _session(texts: Sequence[str], first: int) -> Iterator[Doc]:
    when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=8) * (first // SESSION)
    path = f"recall/{when:%Y/%m/%d}-{first:08d}.jsonl"
    place = 0
    for number, text in enumerate(texts, first):
        when += timedelta(seconds=30)
        if number % _NOTE_EVERY == 0:
            blob = sha1(text.encode(), usedforsecurity=False).hexdigest()
            tags = (_TAGS[number // _NOTE_EVERY % len(_TAGS)],)
            name = f"archival/{number:08d}.md"
            yield Doc("", "note", name, 1, text, stamp(when), tags=tags, blob=blob, session=blob)
            continue
        role, who = _PEOPLE[place % 2]
        ident = f"d{number:08d}"
        yield Doc(
            ident,
            "record",
            path,
            place + 1,
            text,
            stamp(when),
            role=role,
            name=who,
            session=path,
            place=place,
        )
        place += 1


def questions(docs: Sequence[Doc], count: int) -> list[str]:
    """Questions of three to eight words that follow one another in a doc, stop words left out."""
    draw = random.Random(2)
    found: list[str] = []
    for _ in range(count * 20):
        words = content(draw.choice(docs).text)
        length = draw.randint(3, 8)
        if len(words) < length:
            continue
        start = draw.randint(0, len(words) - length)
        found.append(f"{draw.choice(_OPENINGS)} {' '.join(words[start : start + length])}?".strip())
        if len(found) == count:
            break
    return found


def content(text: str) -> list[str]:
    """The words of a text, in lower case, without stop words."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP]


def _files(folder: Path | None) -> list[Path]:
    """Where text is, in an order that is mixed but always the same."""
    if folder:
        roots, kinds = {folder}, {".md", ".txt", ".rst", ".jsonl"}
    else:
        roots = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
        roots |= {Path(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)}
        roots = {root for root in roots if not any(up in roots for up in root.parents)}
        kinds = {".md", ".txt", ".rst", ".py"}
    found = sorted(
        file for root in roots for file in root.rglob("*") if file.suffix.lower() in kinds
    )
    random.Random(1).shuffle(found)
    return found


def _paragraphs(file: Path) -> Iterator[str]:
    """The paragraphs of a file; short ones are joined to the next, long ones are cut."""
    try:
        data = file.read_text("utf-8", "replace")
    except OSError:
        return
    part = ""
    for block in (block for text in _texts(file, data) for block in _BLANK.split(text)):
        lines = (line.strip() for line in block.strip().splitlines())
        part = f"{part}\n{chr(10).join(lines)}".strip()
        if len(part) >= SHORTEST:
            part = part[:LONGEST]
            # Tables, data and art are no text.
            if sum(map(len, _WORD.findall(part))) > 0.6 * len(part):
                yield part
            part = ""


def _texts(file: Path, data: str) -> Iterator[str]:
    match file.suffix.lower():
        case ".py":
            for found in _SAID.finditer(data):
                yield found[1] or found[2] or re.sub(r"(?m)^[ \t]*#+", "", found[3] or "")
        case ".jsonl":
            for line in data.splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield str(record.get("content") or record.get("text") or "")
        case _:
            yield data
