"""What a query asks for besides its words: whom it names, which time it means, what must appear."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from fsagent.index.words import query_terms, terms


@dataclass(frozen=True)
class Span:
    """The days, both included, that a query means. ``whole`` is how many they are as it said it."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How long it is."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True)
class Question:
    """A query, read.

    ``words`` are its terms without those of ``names``, the people in it who have spoken;
    in ``plain`` each of them is "I", as they would say it themselves.

    ``speaker`` is the name or role, in lower case, of the one person whom it speaks of or as whom
    it is asked, or "". ``when`` says that it asks for a time. ``phrases`` stood in quotation marks,
    and must occur, unless the query is a question, which quotes the titles of things.
    """

    text: str
    words: tuple[str, ...]
    names: tuple[str, ...] = ()
    plain: str = ""
    phrases: tuple[str, ...] = ()
    speaker: str = ""
    when: bool = False
    span: Span | None = None

    @classmethod
    def of(
        cls, text: str, speakers: Iterable[str], now: datetime | None, zone: ZoneInfo
    ) -> Question:
        """Read a query. ``speakers`` are the names of those who have spoken."""
        folded = text.casefold()
        # A question quotes a title; what is no question quotes what must be there.
        asks = folded.rstrip().endswith("?")
        asked = set(_WORDS.findall(folded))
        named = {name for name in speakers if _is_named(name, asked)}
        words = query_terms(text)
        # Everybody in a conversation is called by name in it: the name says who, not what.
        names = {term for name in named for term in terms(name)}
        others = [word for word in words if word not in names]
        roles = named or {role for role in ("user", "assistant") if role in asked}
        if not roles:
            if _YOU_SAID.search(folded):
                roles = {"assistant"}
            elif _I.search(folded):
                roles = {"user"}
        return cls(
            text,
            tuple(others or words),
            tuple(names),
            _as_said(text, named),
            () if asks else tuple(" ".join(p.split()) for p in _QUOTED.findall(text) if p.strip()),
            next(iter(roles)).casefold() if len(roles) == 1 else "",
            bool(_WHEN.search(folded)),
            span_of(folded, now.astimezone(zone).date() if now else None),
        )


def _as_said(text: str, names: Iterable[str]) -> str:
    """The query as the person whom it names would put it: "Ada's cat" as "my cat"."""
    for name in sorted(names, key=len, reverse=True):
        for form in dict.fromkeys((name, name.split()[0])):
            text = re.sub(rf"\b{re.escape(form)}['’]s\b", "my", text, flags=re.IGNORECASE)
            text = re.sub(rf"\b{re.escape(form)}\b", "I", text, flags=re.IGNORECASE)
    return text


_WORDS = re.compile(r"[^\W_]+")
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»\n]{2,200})[\"”“»]")
_I = re.compile(r"\b(?:i|i'm|i've|i'd|me|my|mine|we|our|ours)\b")
_YOU_SAID = re.compile(
    r"\b(?:did|have|had|were|was) you\b[^?]*\b(?:say|said|tell|told|suggest\w*|recommend\w*"
    r"|advise\w*"
    r"|explain\w*|propose\w*|mention\w*|write|written|wrote|give|given|call\w*)\b"
    r"|\byou (?:said|told|suggested|recommended|advised|explained|proposed|mentioned|wrote|gave)\b"
    r"|\byour (?:advice|answer|suggestion|recommendation|explanation|proposal|reply)\b"
)
_WHEN = re.compile(
    r"\b(?:when|since|until|how long|how recently|what (?:year|month|date|day|time)"
    r"|which (?:year|month|date|day|week)|how many (?:days|weeks|months|years)"
    r"|wann|quand|cuándo|wanneer|quando)\b"
)


def _is_named(name: str, asked: set[str]) -> bool:
    """Whether a query with these words names that person, by the whole name or the first one."""
    parts = _WORDS.findall(name.casefold())
    return bool(parts) and (set(parts) <= asked or (len(parts[0]) > 2 and parts[0] in asked))


_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_MONTH = "|".join(_MONTHS)
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_ISO = re.compile(r"\b((?:19|20)\d\d)-(\d\d?)(?:-(\d\d?))?\b")
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
_DAY_MONTH = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH})\b"
    rf"|\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b"
)
_ONLY_MONTH = re.compile(
    # "may" and "march" are other words, too.
    rf"\b({'|'.join(m for m in _MONTHS if m not in ('may', 'march'))})\b"
    r"|\b(?:in|of|during|since|last|this|early|late|mid|by|until) (may|march)\b"
    r"|\b(may|march),? (?:19|20)\d\d"
)
_AGO = re.compile(r"\b(\d{1,3}|a|an|one|two|three|four|five|six) (day|week|month|year)s? ago\b")
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


def span_of(text: str, today: date | None) -> Span | None:
    """The days that a query in lower case names, or None.

    A month without a year is the last one of that name before ``today``; without ``today`` it is
    not known. Words like "last week" are counted from ``today``.
    """
    iso = _ISO.search(text)
    if iso:
        return _span(int(iso[1]), int(iso[2]), int(iso[3]) if iso[3] else None)
    year = _YEAR.search(text)
    days = [
        _dated(year, _MONTHS.index(found[2] or found[3]) + 1, int(found[1] or found[4]), today)
        for found in _DAY_MONTH.finditer(text)
    ]
    if days:  # two of them are the ends of a longer time
        known = [day for day in days if day]
        return Span(min(d.first for d in known), max(d.last for d in known)) if known else None
    only = _ONLY_MONTH.search(text)
    if only:
        return _dated(year, _MONTHS.index(only[1] or only[2] or only[3]) + 1, None, today)
    if year:
        return Span(date(int(year[1]), 1, 1), date(int(year[1]), 12, 31))
    return _relative(text, today) if today else None


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
    asked = set(_WORDS.findall(text))
    if "today" in asked:
        return Span(today, today)
    if "yesterday" in asked:
        return Span(today - one, today - one)
    monday = today - today.weekday() * one
    month = today.replace(day=1)
    spans = {
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
    ago = _AGO.search(text)
    if ago:
        count = _NUMBERS.get(ago[1]) or int(ago[1])
        size = {"day": 1, "week": 7, "month": 30, "year": 365}[ago[2]]
        slack = {"day": 0, "week": 3, "month": 10, "year": 60}[ago[2]] * one
        return Span(today - count * size * one - slack, today - count * size * one + slack)
    return None
