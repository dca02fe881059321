"""Files to docs, and docs to what an index keeps of them.

A doc is keyed by what it is: a record by its path and id, a chunk of a note by its blob and number,
a block by its path and blob. So what has not changed is never indexed again, wherever it is moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from fsagent.clock import moment
from fsagent.formats import parse_block, parse_note, parse_page, parse_record, scalar
from fsagent.index.bm25 import Array
from fsagent.index.pool import KINDS, ROW, hashed
from fsagent.index.words import terms, timed
from fsagent.layout import is_agents
from fsagent.records import Doc

RECIPE = "8"
"""Raised whenever docs or terms are made differently: an index of another recipe is rebuilt."""

SEARCHED = ("core", "archival", "recall")
"""The folders whose files become docs."""

_NAMES = tuple(ROW.names or ())

SESSION_GAP = timedelta(hours=1)
"""A longer silence ends a session."""

CHUNK = 1500
"""Characters past which a section of a note is cut at its paragraphs."""

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.*)$")
_FENCE = re.compile(r"^[ \t]*(```|~~~)")
_SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？]+|[^.!?。！？\n]+")


@dataclass(frozen=True)
class Entry:
    """A doc and its analysis: the terms of its text and titles, and its row."""

    doc: Doc
    key: int
    terms: tuple[str, ...]
    row: Array


def searched(path: str) -> bool:
    """Whether the docs of a file are in the index."""
    return path.split("/")[0] in SEARCHED and is_agents(path)


def key(doc: Doc) -> int:
    """What the doc is, as a number."""
    if doc.kind == "note":
        return hashed(f"{doc.blob}\n{doc.place}")
    return hashed(f"{doc.path}\n{doc.blob or doc.id}")


def analysed(doc: Doc) -> Entry:
    """The doc with its terms and its row."""
    words = terms("\n".join((doc.title, *doc.tags, doc.text)))
    when = moment(doc.ts)
    number = key(doc)
    values = {
        "key": number,
        "text": hashed(doc.text),
        "session": hashed(doc.session),
        "time": int(when.timestamp() * 1000) if when else 0,
        "role": hashed(doc.role),
        "name": hashed(doc.name.casefold()),
        "place": doc.place,
        "length": len(words),
        "asked": _asked(doc.text, len(words)),
        "kind": KINDS.index(doc.kind),
        "timed": timed(doc.text),
    }
    return Entry(doc, number, tuple(words), np.array(tuple(values[name] for name in _NAMES), ROW))


def _asked(text: str, words: int) -> float:
    if not words or ("?" not in text and "？" not in text):
        return 0.0
    asked = [s for s in _SENTENCE.findall(text) if s.endswith(("?", "？"))]
    return min(1.0, len(terms(" ".join(asked))) / words)


def docs_of(path: str, data: bytes, blob: str = "") -> list[Doc]:
    """The docs that a file holds: its records, the chunks of its note, or its block.

    Results of tools are not docs: what they found is one already. ``blob`` is the file's object id.
    """
    if path.startswith("recall/"):
        return list(_records(path, data))
    page = parse_page(data)
    if path.startswith("core/"):
        block = parse_block(path, page)
        if not block.text.strip():
            return []
        doc = Doc(block.label, "block", path, page.value_line, block.text)
        return [replace(doc, blob=blob, session=path)]
    note = parse_note(path, page)
    # Without an id of its own a note is called by its file, which may be moved.
    ident = scalar(page.meta.get("id"))
    return [
        Doc(
            id=ident,
            kind="note",
            path=path,
            line=page.value_line + line,
            text=text,
            ts=note.created,
            tags=note.tags,
            title=title,
            blob=blob,
            session=blob,
            place=place,
        )
        for place, (line, title, text) in enumerate(chunks(note.text))
    ]


def _records(path: str, data: bytes) -> Iterator[Doc]:
    sessions: dict[str, tuple[str, str, str, int]] = {}
    seen = set()
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            record = parse_record(line.decode())
        except ValueError:  # a torn line; reading recall names it
            continue
        thread, name = record.thread, str(record.extra.get("session") or "")
        if record.role == "summary":  # it stands beside what was said, and not within it
            thread = f"{thread}\nsummaries"
        session, before, last, place = sessions.get(thread, ("", "", "", 0))
        if not session or name != before or (not name and _far(last, record.ts)):
            # A line that somebody copied may begin a second session with the same id.
            again = f"\n{number}" if record.id in seen else ""
            session, place = f"{path}\n{thread}\n{record.id}{again}", 0
        is_doc = record.content and record.role != "tool" and record.id not in seen
        sessions[thread] = (session, name, record.ts or last, place + 1 if is_doc else place)
        if is_doc:
            seen.add(record.id)
            yield Doc(
                id=record.id,
                kind="record",
                path=path,
                line=number,
                text=record.content,
                ts=record.ts,
                role=record.role,
                name=record.name or "",
                thread=record.thread or "",
                session=session,
                place=place,
            )


def _far(before: str, after: str) -> bool:
    first, second = moment(before), moment(after)
    return bool(first and second and abs(second - first) > SESSION_GAP)


def chunks(text: str) -> Iterator[tuple[int, str, str]]:
    """A note cut at its headings: for each chunk its first line from 0, its titles, its text.

    The titles are those of the sections around it, outermost first. A section longer than
    ``CHUNK`` is cut further, at empty lines, or past twice that at any. What looks
    like a heading in fenced code is none.
    """
    titles: list[tuple[int, str]] = []
    part: list[str] = []
    start, size, above, fence = 0, 0, "", ""
    lines = text.split("\n")
    marks = [found[1] if (found := _FENCE.match(line)) else "" for line in lines]
    last = {mark: number for number, mark in enumerate(marks)}
    for number, (line, mark) in enumerate(zip(lines, marks, strict=True)):
        heading = None if fence or mark else _HEADING.match(line)
        if mark and mark == fence:
            fence = ""
        elif mark and not fence and last[mark] > number:  # one that is never closed is none
            fence = mark
        full = (size > CHUNK and not line.strip() and not fence) or size > 2 * CHUNK
        if heading or full:
            deeper = heading and titles and len(heading[1]) > titles[-1][0]
            bare = sum(1 for one in part if one.strip()) == 1 and _HEADING.match(part[0])
            if any(one.strip() for one in part) and not (deeper and bare):
                yield start, above, "\n".join(part).rstrip("\n")
            part, start, size = [], number, 0
            if heading:
                titles = [one for one in titles if one[0] < len(heading[1])]
            above = " > ".join(title for _, title in titles)
            if heading:
                titles.append((len(heading[1]), heading[2].rstrip(" \t#")))
        if part or line.strip():
            part.append(line)
            size += len(line) + 1
        else:
            start = number + 1
    if any(one.strip() for one in part):
        yield start, above, "\n".join(part).rstrip("\n")
