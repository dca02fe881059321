"""The days that a query names: 7 May 2023, in March, 2024-05, yesterday, last week, 3 days ago."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Span:
    """Some days, the first and the last included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many they are."""
        return (self.last - self.first).days + 1


_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_SHORT = {"sept": 9} | {name[:3]: number for number, name in enumerate(_MONTHS, 1)}
_NUMBER = {name: number for number, name in enumerate(_MONTHS, 1)} | _SHORT
_MONTH = "|".join(sorted(_NUMBER, key=len, reverse=True))
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_ISO = re.compile(r"\b((?:19|20)\d\d)-(\d\d?)(?:-(\d\d?))?\b")
_DOTTED = re.compile(r"\b(\d\d?)\.(\d\d?)\.((?:19|20)\d\d)\b")
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
_DAY_MONTH = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH})\b"
    rf"|\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?\b"
)
_OTHERWORDS = {"may", "march", "mar", "jan", "dec", "sep"}  # as verbs, names, or short for others
_ONLY_MONTH = re.compile(
    rf"\b({'|'.join(sorted(_NUMBER.keys() - _OTHERWORDS, key=len, reverse=True))})\b"
    rf"|\b(?:in|of|during|since|last|this|early|late|mid|by|until) ({'|'.join(_OTHERWORDS)})\b"
    rf"|\b({'|'.join(_OTHERWORDS)}),? (?:19|20)\d\d"
)
_COUNT = r"(\d{1,3}|a|an|one|two|three|four|five|six|seven|ten)"
_AGO = re.compile(rf"\b{_COUNT} (day|week|month|year)s? ago\b")
_PAST = re.compile(rf"\b(?:last|past) {_COUNT} (day|week|month|year)s?\b")
_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_COUNTS |= {"seven": 7, "ten": 10}
_SIZE = {"day": 1, "week": 7, "month": 30, "year": 365}
WORDS = re.compile(r"[^\W_]+")


def span_of(text: str, today: date | None, newest: date | None = None) -> Span | None:
    """The days that a query in lower case names, or None.

    A month without a year is the last one of that name before ``today``, or before ``newest``,
    the day of the newest record, if that is long ago. Words like "last week" are counted from
    ``today``.
    """
    iso = _ISO.search(text)
    if iso:
        return _span(int(iso[1]), int(iso[2]), int(iso[3]) if iso[3] else None)
    dotted = _DOTTED.search(text)
    if dotted:
        return _span(int(dotted[3]), int(dotted[2]), int(dotted[1]))
    year = _YEAR.search(text)
    before = min(filter(None, (today, newest)), default=None)
    days = [
        _dated(year, _NUMBER[found[2] or found[3]], int(found[1] or found[4]), before)
        for found in _DAY_MONTH.finditer(text)
    ]
    if days:  # two of them are the ends of a longer time
        known = [day for day in days if day]
        return Span(min(d.first for d in known), max(d.last for d in known)) if known else None
    only = _ONLY_MONTH.search(text)
    if only:
        return _dated(year, _NUMBER[only[1] or only[2] or only[3]], None, before)
    if year:
        return Span(date(int(year[1]), 1, 1), date(int(year[1]), 12, 31))
    try:
        return _relative(text, today) if today else None
    except OverflowError:  # at the edge of time there is no last year
        return None


def is_month(word: str) -> bool:
    """Whether a word names a month."""
    return word.casefold() in _NUMBER


def _dated(
    year: re.Match[str] | None, month: int, day: int | None, today: date | None
) -> Span | None:
    if year:
        return _span(int(year[1]), month, day)
    if not today:
        return None
    return _span(today.year - (month > today.month), month, day)


def _span(year: int, month: int, day: int | None) -> Span | None:
    try:
        first = date(year, month, day or 1)
    except ValueError:
        return None
    return Span(first, first if day else _month_end(first))


def _month_end(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def _relative(text: str, today: date) -> Span | None:
    one = timedelta(days=1)
    asked = set(WORDS.findall(text))
    if "today" in asked:
        return Span(today, today)
    if "yesterday" in asked:
        return Span(today - one, today - one)
    monday = today - today.weekday() * one
    month = today.replace(day=1)
    spans = {
        "last night": Span(today - one, today),
        "past week": Span(today - 7 * one, today),
        "past month": Span(today - 30 * one, today),
        "past year": Span(today - 365 * one, today),
        "this week": Span(monday, today),
        "last week": Span(monday - 7 * one, monday - one),
        "last weekend": Span(monday - 2 * one, monday - one),
        "this month": Span(month, today),
        "last month": Span((month - one).replace(day=1), month - one),
        "this year": Span(date(today.year, 1, 1), today),
        "last year": Span(date(today.year - 1, 1, 1), date(today.year - 1, 12, 31)),
    }
    for words, span in sorted(spans.items(), key=lambda item: -len(item[0])):
        if words in text:
            return span
    for number, name in enumerate(_DAYS):
        if f"last {name}" in text or f"on {name}" in text:
            day = today - ((today.weekday() - number - 1) % 7 + 1) * one
            return Span(day, day)
    past = _PAST.search(text)
    if past:
        return Span(today - _days(past) * one, today)
    ago = _AGO.search(text)
    if ago:
        slack = {"day": 0, "week": 3, "month": 10, "year": 60}[ago[2]] * one
        then = today - _days(ago) * one
        return Span(then - slack, then + slack)
    return None


def _days(found: re.Match[str]) -> int:
    return (_COUNTS.get(found[1]) or int(found[1])) * _SIZE[found[2]]
