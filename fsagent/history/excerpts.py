"""Finding a text of which only a part is there, beside an ellipsis.

Subjects of commits keep the beginning of a text, a search shows the part that the question is
about, a long message keeps its two ends. Where the text is cut off, there stands … or […].
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

CUT = "…".encode()

_BEFORE = re.compile(r"\s*\[?…")
_AFTER = re.compile(r"…\]?\s*")
_SPACE = re.compile(r"\s+")
SHORT = 4
"""Characters of a beginning that counts where it is known that the text was there."""

_NEAR = 200
"""Characters in which a part has to begin, however they are indented."""


class Excerpts:
    """Parts of ``text``, which count from a length on: less may be a part of anything.

    With ``short`` very little counts already.
    """

    def __init__(self, text: str, *, short: bool = False) -> None:
        self._text = _SPACE.sub(" ", text)
        size = len(self._text)
        self._least = SHORT if short else min(12, max(SHORT, -(-2 * size // 3)))
        begin = self._text[: self._least]
        self._begin = re.compile(r"\s+".join(map(re.escape, begin.split(" "))))
        self._parts: dict[str, list[int]] = defaultdict(list)
        for at in range(size - self._least + 1):
            self._parts[self._text[at : at + self._least]].append(at)

    def replaced(self, data: bytes, mark: str) -> bytes:
        """``data`` with ``mark`` in the place of each of them; the ellipses stay."""
        text = data.decode(errors="surrogateescape")
        new = _marked(text, self._cut_off_behind(text), mark)
        new = _marked(new, self._cut_off_before(new), mark)
        return data if new == text else new.encode(errors="surrogateescape")

    def quotes(self, text: str) -> Iterator[str]:
        """Where the beginning is cut off: from the start of that line up to the ellipsis."""
        for start, end in self._cut_off_behind(text):
            if found := _BEFORE.match(text, end):
                yield text[text.rfind("\n", 0, start) + 1 : found.end()]

    def _cut_off_behind(self, text: str) -> Iterator[tuple[int, int]]:
        """Where ``text`` has the beginning, and then an ellipsis."""
        at = 0
        while found := self._begin.search(text, at):
            end, count = self._along(text, found.start(), 0)
            at = found.start() + 1
            if count < len(self._text) and _BEFORE.match(text, end):
                yield found.start(), end
                at = end

    def _cut_off_before(self, text: str) -> Iterator[tuple[int, int]]:
        """Where ``text`` has an ellipsis, and then the end, or a part and an ellipsis again."""
        for cut in _AFTER.finditer(text):
            start = cut.end()
            near = _SPACE.sub(" ", text[start : start + _NEAR])[: self._least]
            for begin in self._parts.get(near, ()):
                end, count = self._along(text, start, begin)
                if count == len(self._text) or _BEFORE.match(text, end):
                    yield start, end
                    break

    def _along(self, text: str, at: int, count: int) -> tuple[int, int]:
        """How far ``text`` goes on from ``at`` as the looked-for text does from ``count``."""
        last = at, count  # spaces at the end belong to the ellipsis
        while count < len(self._text):
            if self._text[count] == " ":
                space = _SPACE.match(text, at)
                if not space:
                    break
                at, count = space.end(), count + 1
            elif text[at : at + 1] == self._text[count]:
                at, count = at + 1, count + 1
                last = at, count
            else:
                break
        return last


def _marked(text: str, spans: Iterable[tuple[int, int]], mark: str) -> str:
    made, at = [], 0
    for start, end in spans:
        made += [text[at:start], mark]
        at = end
    return "".join([*made, text[at:]])
