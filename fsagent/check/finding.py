"""What a check finds: one dataclass, and how it is worded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: where, what, and what to do about it.

    A problem keeps something from working, has lost something, or must not be there; the rest is
    advice.
    """

    severity: Literal["problem", "advice"]
    place: str
    text: str
    remedy: str


def shown(path: str) -> str:
    """A path that can be printed: a name need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
