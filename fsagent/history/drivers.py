"""Merging one file of an agent's that two sides changed: what each kind of file means by that.

    recall/**/*.jsonl   records by their id: all of both sides, in the order of time, each once;
                        what one side deleted stays deleted
    *.md                the body by lines, then by words (``merge``); the front matter by its keys
    agent.yaml          by its keys
    other files         by lines where that leaves no question; else both versions, side by side

Nothing is ever lost for want of a decision: where both sides changed the very same words, both
stay, under headings that name the sides, and ``Outcome.clashes`` says so. Of a value or a record,
which can be there but once, one version counts, and what is said names the commits that keep both.
Which side is called ours makes no difference to what comes out: the two are put in an order of
their own first, so that two machines that merge the same two versions get the same bytes.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from fsagent.config import parse_config
from fsagent.errors import FsagentError
from fsagent.formats import Page, counted, one_line, parse_page, scalar
from fsagent.history.keys import merge_keys
from fsagent.history.merge import Clash, Merged, take_back
from fsagent.history.sections import Folded, united, written
from fsagent.records import MAIN


@dataclass(frozen=True)
class Version:
    """A file as one side has it (None: not at all), and what that side is called.

    ``day`` is when it was made so, and ``commit`` where the history keeps it, if they are known.
    """

    data: bytes | None
    name: str
    day: str = ""
    commit: str = ""

    @property
    def title(self) -> str:
        """What the words of this side are called where both stay."""
        return one_line(", ".join(filter(None, (self.name, self.day))), 100)

    @property
    def kept(self) -> str:
        """The side, and the commit in which this version stays even if the other one counts."""
        return f"{self.name} ({self.commit[:7]})" if self.commit else self.name


Sides = tuple[Version, Version]


@dataclass(frozen=True)
class Outcome:
    """A merged file (None: it goes).

    ``clashes`` are the questions that the merge could not decide, a sentence each; ``beside`` is a
    second version of the whole file, which is to stand beside it under that name.
    """

    data: bytes | None
    clashes: tuple[str, ...] = ()
    beside: tuple[str, bytes] | None = None


def merge_file(path: str, base: bytes | None, ours: Version, theirs: Version) -> Outcome:
    """The file at ``path`` with what both sides made of ``base``."""
    if ours.data == theirs.data or theirs.data == base:
        return Outcome(ours.data)
    if ours.data == base:
        return Outcome(theirs.data)
    one, two = sorted((ours, theirs), key=lambda side: (side.data or b"", side.name))
    if is_recall(path):
        data = merge_records(base or b"", one.data or b"", two.data or b"")
        return Outcome(data or None, tuple(_settled_records(base or b"", one, two)))
    if one.data is None or two.data is None:
        kept, gone = (one, two) if two.data is None else (two, one)
        said = f"{gone.name} deleted it, {kept.name} changed it: it stays, as {kept.name} has it"
        return Outcome(kept.data, (said,))
    texts = [_text(data) for data in (base or b"", one.data, two.data)]
    if texts[0] is None or texts[1] is None or texts[2] is None:
        return _both(path, one, two)
    if len({note_id(path, side.data) for side in (one, two) if side.data} - {""}) > 1:
        return _both(path, one, two)  # one side put another note in the place of this one
    old, first, second = texts[0], texts[1], texts[2]
    if path == "agent.yaml":
        return _config(old, first, second, (one, two), ours)
    if path.endswith(".md"):
        text, clashes = _merge_page(old, first, second, (one, two))
        return Outcome(text.encode(), tuple(clashes))
    merged = _merge(old, first, second)
    if merged.clashes:
        return _both(path, one, two)
    return Outcome(merged.text("ours").encode())


def is_recall(path: str) -> bool:
    """Whether a file is one of records."""
    return path.startswith("recall/") and path.endswith(".jsonl")


def is_note(path: str) -> bool:
    """Whether a file is a note."""
    return path.startswith("archival/") and path.endswith(".md")


def note_id(path: str, data: bytes) -> str:
    """The id in the front matter of a note; "" for any other file."""
    return scalar(parse_page(data).meta.get("id")) if is_note(path) else ""


def _text(data: bytes) -> str | None:
    """The text of a file; None for a binary one."""
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _both(path: str, one: Version, two: Version) -> Outcome:
    """Both versions of a file that cannot be one."""
    place = PurePosixPath(path)
    side = re.sub(r"[^\w.-]+", "-", two.name).strip("-") or "other"
    beside = str(place.with_name(f"{place.stem}.from-{side}{place.suffix}"))
    said = f"both versions stay: that of {two.name} is {beside}"
    return Outcome(one.data, (said,), (beside, two.data or b""))


# ── text ──────────────────────────────────────────────────────────────────────────────────────


def merge_text(base: str, one: str, two: str, sides: Sides) -> tuple[str, list[str]]:
    """A text with both sides' changes, and a sentence for each place where they clash."""
    folded = Folded(base, one, two)
    merged = _merge(folded.base, folded.one, folded.two)
    parts, clashes = [], []
    for piece in merged.pieces:
        if isinstance(piece, Clash):
            text, said = _both_sides(piece, sides, folded)
            clashes += said
            parts.append(text)
        else:
            parts.append(folded.unfolded(piece))
    text = "".join(parts)
    return text.removesuffix("\n") if merged.open_end else text, clashes


def _merge(base: str, one: str, two: str) -> Merged:
    """A merge of three: from what ``one`` made of the base, to the base, to what ``two`` made of
    it, with the first step taken back. A line that both put in the same place is one line."""
    return take_back((one, base, two), undos=(2,))


def _both_sides(clash: Clash, sides: Sides, folded: Folded) -> tuple[str, list[str]]:
    one, two = clash.theirs, clash.ours
    if not one or not two:
        kept, gone = sides if one else sides[::-1]
        text = folded.unfolded(one or two)
        return text, [f"{gone.name} deleted what {kept.name} changed: {one_line(text)!r} stays"]
    versions = zip((one, two), sides, strict=True)
    found = united(each for text, side in versions for each in folded.versions(text, side.title))
    if len(found) == 1:
        return found[0].words, []
    names = {side.title: side.name for side in sides}
    has = [f"{names.get(each.name, each.name)} has {one_line(each.words)!r}" for each in found]
    stay = "both stay" if len(found) == 2 else f"all {len(found)} stay"
    return written(found), [f"{', '.join(has)}: {stay}, under headings"]


# ── front matter and agent.yaml ───────────────────────────────────────────────────────────────

_FENCES = re.compile(r"(\ufeff?---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z)(?:\r?\n)?)", re.S | re.M)


def _merge_page(base: str, one: str, two: str, sides: Sides) -> tuple[str, list[str]]:
    """A Markdown file: its front matter by keys, its body by lines."""
    pages = [parse_page(text.encode()) for text in (base, one, two)]
    if any(page.problem for page in pages[1:]):
        return merge_text(base, one, two, sides)
    old, first, second = pages
    head, said = _merge_heads(old, first, second, sides)
    body, clashes = merge_text(old.body, first.body, second.body, sides)
    found = parse_page((head + body).encode())
    if found.body == body:
        return head + body, said + clashes
    return Page(head, "", found.meta).with_value(Page("", body).value), said + clashes


def _merge_heads(base: Page, one: Page, two: Page, sides: Sides) -> tuple[str, list[str]]:
    if one.head == two.head or two.head == base.head:
        return one.head, []
    if one.head == base.head:
        return two.head, []
    names = sides[0].kept, sides[1].kept
    inside = [match[2] if (match := _FENCES.match(page.head)) else "" for page in (base, one, two)]
    text, said = merge_keys(inside[0], inside[1], inside[2], names)
    fences = _FENCES.match(one.head) or _FENCES.match(two.head)
    return (f"{fences[1]}{text}{fences[3]}" if fences and text else ""), said


def _config(base: str, one: str, two: str, sides: Sides, ours: Version) -> Outcome:
    """agent.yaml; where what comes out is none, ours stays."""
    try:
        text, said = merge_keys(base, one, two, (sides[0].kept, sides[1].kept))
        parse_config(text.encode())
        return Outcome(text.encode(), tuple(said))
    except (FsagentError, ValueError):
        stays = f"the two cannot be made one: it stays as {ours.kept} has it"
        lost = next(side.kept for side in sides if side is not ours)
        return Outcome(ours.data, (f"{stays}, and not as {lost}",))


# ── recall ────────────────────────────────────────────────────────────────────────────────────

_Key = tuple[str, int]
"""A record: its id (the line itself where it holds none), and which of several lines with it."""

_Records = Mapping[_Key, bytes]


def merge_records(base: bytes, one: bytes, two: bytes) -> bytes:
    """The records of both sides in the order of time, each once; what either deleted is gone.

    Each side's own order stays: only where one has records between two that both have, and so has
    the other, is it asked which are older. Of a record that both edited, one edit counts.
    """
    old, first, second = (dict(_lines(data)) for data in (base, one, two))
    lines: dict[_Key, bytes] = {}
    for key in dict.fromkeys((*first, *second)):
        if key in old and not (key in first and key in second):
            continue
        lines[key] = max(_edits(key, old, first, second))
    runs = [[key for key in found if key in lines] for found in (first, second)]
    return b"".join(lines[key] + b"\n" for key in _in_order(runs[0], runs[1], lines))


def _edits(key: _Key, old: _Records, first: _Records, second: _Records) -> set[bytes]:
    """The versions of a record that count: those that a side has made, if any has."""
    versions = {found[key] for found in (first, second) if key in found}
    return versions - {old.get(key, b"")} or versions


def _settled_records(base: bytes, one: Version, two: Version) -> Iterator[str]:
    """A sentence for each record of which one version counts and another one does not.

    What a side deleted is not quoted: what is said here gets into recall again. Of records that
    are in different threads, and else the same, as an import on both sides leaves them where a
    conversation was renamed in between, there is one for all.
    """
    apart: Counter[tuple[str, str, str]] = Counter()
    old, first, second = (dict(_lines(data or b"")) for data in (base, one.data, two.data))
    for key in dict.fromkeys((*first, *second)):
        versions = _edits(key, old, first, second)
        if key in first and key in second:
            if len(versions) == 1:
                continue
            kept = one if max(versions) == first[key] else two
            mine, other = (_of(found[key], "thread") or MAIN for found in (first, second))
            if mine != other and _but_thread(first[key]) == _but_thread(second[key]):
                apart[mine, other, kept.name] += 1
                continue
            has = f"{one.kept} has {_shown(first[key])}, {two.kept} has {_shown(second[key])}"
            yield f"record {one_line(key[0], 60)}: {has}; that of {kept.name} counts"
        elif key in old and old[key] not in versions:
            kept, gone = (one, two) if key in first else (two, one)
            yield (
                f"record {one_line(key[0], 60)}: {gone.name} deleted it, {kept.kept} changed it; "
                "it stays deleted"
            )
    for (mine, other, name), count in apart.items():
        yield (
            f"{counted(count, 'record')}: the thread is {one_line(mine)!r} at {one.kept}, "
            f"{one_line(other)!r} at {two.kept}; that of {name} counts"
        )


def _but_thread(line: bytes) -> object:
    """A record without its thread."""
    found = _parsed(line)
    return {**found, "thread": None} if isinstance(found, dict) else line


def _shown(line: bytes) -> str:
    """What a record says; the whole of its line where it says nothing."""
    return repr(one_line(_of(line, "content") or line.decode(errors="replace"), 200))


def _lines(data: bytes) -> Iterator[tuple[_Key, bytes]]:
    """The lines of a segment, the same record only once."""
    seen: dict[str, list[bytes]] = {}
    for line in data.split(b"\n"):
        if line.strip():
            before = seen.setdefault(ident(line), [])
            if line not in before:
                before.append(line)
                yield (ident(line), len(before)), line


def ident(line: bytes) -> str:
    """The id of the record in a line; the line itself where it holds none."""
    return _of(line, "id") or line.decode(errors="surrogateescape")


def _of(line: bytes, key: str) -> str:
    """A text in a line of JSON, or ""."""
    found = _parsed(line)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _parsed(line: bytes) -> object:
    """What a line of JSON holds; None where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _in_order(one: list[_Key], two: list[_Key], lines: Mapping[_Key, bytes]) -> Iterable[_Key]:
    """Two sequences made one."""

    def age(key: _Key) -> tuple[str, str, bytes]:
        return _of(lines[key], "ts"), key[0], lines[key]

    both = set(one) & set(two)
    if [key for key in one if key in both] != [key for key in two if key in both]:
        return sorted(lines, key=age)  # somebody has put them in another order
    found: list[_Key] = []
    shared = iter([key for key in one if key in both])
    for first, second in zip(_runs(one, both), _runs(two, both), strict=True):
        found += heapq.merge(first, second, key=age)
        found += itertools.islice(shared, 1)
    return found


def _runs(keys: list[_Key], both: set[_Key]) -> list[list[_Key]]:
    """A sequence cut at the records that both sides have, which are left out."""
    found: list[list[_Key]] = [[]]
    for key in keys:
        if key in both:
            found.append([])
        else:
            found[-1].append(key)
    return found
