"""What a query asks for besides its words: whom it names, which time it means, what must appear."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from fsagent.index.dates import WORDS, Span, span_of
from fsagent.index.words import query_terms, terms


@dataclass(frozen=True)
class Question:
    """A query, read.

    ``words`` are its terms without those of ``names``, the people in it who have spoken;
    in ``plain`` each of them is "I", as they would say it themselves.

    ``speaker`` is the name or role, in lower case, of the one person whom it speaks of or as whom
    it is asked, or "". ``when`` says that it asks for a time. ``phrases`` stood in quotation marks,
    and must occur, unless the query is a question, which quotes the titles of things; a time in
    them is none that is meant.
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
        cls,
        text: str,
        speakers: Iterable[str],
        now: datetime | None,
        zone: ZoneInfo,
        newest: datetime | None = None,
    ) -> Question:
        """Read a query.

        ``speakers`` are the names of those who have spoken; ``newest`` is when the last one did.
        """
        folded = text.casefold()
        # A question quotes a title; what is no question quotes what must be there.
        asks = folded.rstrip().endswith("?")
        phrases = [] if asks else [" ".join(p.split()) for p in _QUOTED.findall(text) if p.strip()]
        unquoted = _QUOTED.sub(" ", folded) if phrases else folded
        asked = set(WORDS.findall(folded))
        named = {name for name in speakers if _is_named(name, asked)}
        words = query_terms(text)
        # Everybody in a conversation is called by name in it: the name says who, not what.
        names = {term for name in named for term in terms(name)}
        others = [word for word in words if word not in names]
        roles = {name.casefold() for name in named} or asked & {"user", "assistant"}
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
            tuple(phrases),
            next(iter(roles)) if len(roles) == 1 else "",
            bool(_WHEN.search(unquoted)),
            span_of(unquoted, _day(now, zone), _day(newest, zone)),
        )


def _day(when: datetime | None, zone: ZoneInfo) -> date | None:
    return when.astimezone(zone).date() if when else None


def _as_said(text: str, names: Iterable[str]) -> str:
    """The query as the person whom it names would put it: "Ada's cat" as "my cat"."""
    for name in sorted(names, key=lambda name: (-len(name), name)):
        for form in dict.fromkeys((name, name.split()[0])):
            text = re.sub(rf"\b{re.escape(form)}['’]s\b", "my", text, flags=re.IGNORECASE)
            text = re.sub(rf"\b{re.escape(form)}\b", "I", text, flags=re.IGNORECASE)
    return text


_QUOTED = re.compile(r"(?<!\w)[\"“„«]([^\"“”„«»\n]{1,2000})[\"”“»](?!\w)")
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
    parts = WORDS.findall(name.casefold())
    return bool(parts) and (set(parts) <= asked or (len(parts[0]) > 2 and parts[0] in asked))
