"""The order of recall: by time, also where two machines were talked to on one day.

Each clone writes segments of its own, so those of one day may overlap in time once they are brought
together. Turns are never mixed: a turn stands where it began.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from fsagent.formats import parse_record
from fsagent.records import Record

_DAY = re.compile(r"recall/\d{4}/\d\d/\d\d-")

Span = tuple[str, str]
"""When the first record of a segment was written, and when the last."""

Stretch = tuple[list[str], list[Record]]
"""The records of a segment in order, or of several whose times overlap, and which these are."""


def stretches(
    paths: Iterable[str],
    span: Callable[[str], Span],
    records: Callable[[str], list[Record]],
) -> Iterator[Stretch]:
    """Recall, newest stretch first.

    Args:
        paths: The segments, newest first.
        span: From when to when one goes.
        records: The records of one, in order.
    """
    for _, day in itertools.groupby(paths, _day):
        for together in reversed(_together(list(day)[::-1], span)):
            if len(together) == 1:
                yield together, records(together[0])
            else:
                yield together, _by_turns([records(path) for path in together])


def span(data: bytes) -> Span:
    """From when to when a segment goes that holds ``data``."""
    lines = data.strip().split(b"\n", 1)
    return _time(lines[0]), _time(lines[-1].rsplit(b"\n", 1)[-1])


def _day(path: str) -> str:
    found = _DAY.match(path)
    return found[0] if found else path


def _together(paths: list[str], span: Callable[[str], Span]) -> list[list[str]]:
    """The segments of one day, those that overlap in time together."""
    if len(paths) == 1:
        return [paths]
    found: list[list[str]] = []
    end = ""
    for first, last, path in sorted((*span(path), path) for path in paths):
        if found and first < end:
            found[-1].append(path)
        else:
            found.append([path])
        end = max(end, last)
    return found


def _time(line: bytes) -> str:
    try:
        return parse_record(line.decode()).ts
    except ValueError:
        return ""


def _by_turns(segments: list[list[Record]]) -> list[Record]:
    """Segments made one, turn by turn, each segment's own order kept."""
    runs = []
    for records in segments:
        groups = itertools.groupby(records, key=lambda record: record.turn or record.id)
        runs.append([list(group) for _, group in groups])
    turns: dict[str, list[Record]] = {}
    for turn in heapq.merge(*runs, key=lambda turn: (turn[0].ts, turn[0].id)):
        turns.setdefault(turn[0].turn or turn[0].id, []).extend(turn)
    return [record for turn in turns.values() for record in turn]
