"""Time and ids: the one place both come from, so that a test can fix them."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread
_RANDOM_BITS = 40
_INSTANT = timedelta(microseconds=1)
CHANCE = _RANDOM_BITS // 5
"""Characters at the end of an id that say nothing about the time."""


class Clock:
    """The real time, and ids that sort by it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC)

    def id(self) -> str:
        """A new id: 18 characters, 48 bits of milliseconds and then 40 random bits.

        Ids of one process rise strictly even within a millisecond, so records sort as they were
        written; two machines never need to agree on a number, so their branches never collide.
        (The layout is that of ULID, github.com/ulid/spec, with a shorter random part.)
        """
        milliseconds = int(self.now().timestamp() * 1000)
        value = milliseconds << _RANDOM_BITS | int.from_bytes(os.urandom(_RANDOM_BITS // 8))
        with self._lock:
            value = max(value, self._last + 1)
            self._last = value
        return _spelt(value)


def _spelt(value: int) -> str:
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(85, -5, -5))


def id_of(when: datetime, name: str) -> str:
    """An id like those of ``Clock.id``, but always the same for the same moment and name."""
    chance = hashlib.sha256(name.encode(errors="surrogatepass")).digest()[: _RANDOM_BITS // 8]
    return _spelt(int(when.timestamp() * 1000) << _RANDOM_BITS | int.from_bytes(chance))


def born(ident: str) -> datetime | None:
    """When an id that ``Clock.id`` made was made; None for any other one."""
    if len(ident) != 18 or not set(ident) <= set(_ALPHABET):
        return None
    value = 0
    for letter in ident:
        value = value << 5 | _ALPHABET.index(letter)
    seconds = (value >> _RANDOM_BITS) / 1000
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 1e11 else None


def stamp(moment: datetime) -> str:
    """``moment`` as records write it: ISO 8601, UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime | None:
    """The time that ``text`` (ISO 8601) names, UTC where it has no zone; None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 2 <= found.year <= 9998:  # at the edges, another zone may have no such time
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def day(text: str, zone: ZoneInfo, *, end: bool) -> datetime:
    """A date or time that a person or a model wrote, in ``zone`` where it names none.

    A bare date is its first moment, or with ``end`` its last: an end date includes that day, and
    18:30 as an end that minute.

    Raises:
        ValueError: saying what a date looks like.
    """
    text = text.strip()
    found = moment(text)
    if not found:
        raise ValueError(f"{text!r} is no date: write one like 2026-11-21 or 2026-11-21T18:30.")
    if datetime.fromisoformat(text).tzinfo is None:  # moment() has taken it for UTC
        found = found.replace(tzinfo=zone)
    return found + _span(text) - timedelta(microseconds=1) if end else found


def _span(text: str) -> timedelta:
    """How long the day, hour, minute or second is that an ISO 8601 text names."""
    clock = re.match(r"\d[\d:.,]*", text[11:] if "-" in text[:10] else text[9:])
    digits = clock[0].replace(":", "") if clock else ""
    spans = {0: timedelta(days=1), 2: timedelta(hours=1), 4: timedelta(minutes=1)}
    return spans.get(len(digits), timedelta(seconds=1) if len(digits) == 6 else _INSTANT)
