"""Words of which both versions stay: how they stand in a text, and how they are merged again.

    ## In conflict: from laptop, 2026-11-21
    I am brief.
    ## In conflict: from origin, 2026-11-21
    I am chatty.
    ## End of conflict

All of that is one thing: a set of versions, each with the name of who has it. For a merge it is one
line (``Folded``), so that its headings are never taken for words. Where both sides have the same
versions there is no question, whatever they call each other; of others there is a section for each.
Names are only names: where two are known for the same words, the first of the alphabet stays. So
histories that met in several places, each with names of its own, come to the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from fsagent.clashes import END, HEADING

_PARTS = re.compile(rf"^{HEADING}([^\n]*)\n", re.MULTILINE)
_LINE = re.compile(r"conflict_[0-9a-f]{32}")


@dataclass(frozen=True)
class Section:
    """One version: who has it, and the words, as whole lines."""

    name: str
    words: str

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same in two versions that are the same."""
        return tuple(line.rstrip() for line in self.words.rstrip().split("\n"))


def united(sections: Iterable[Section]) -> list[Section]:
    """Each version once, in an order of their own."""
    found: dict[tuple[str, ...], Section] = {}
    for section in sorted(sections, key=lambda one: (one.key, one.name, one.words)):
        found.setdefault(section.key, section)
    return list(found.values())


def written(sections: Iterable[Section]) -> str:
    """The sections as they stand in a text."""
    return "".join(f"{HEADING}{one.name}\n{one.words}" for one in sections) + f"{END}\n"


class Folded:
    """Two sides of a merge, and what they come from, with each conflict in them as one line."""

    def __init__(self, base: str, one: str, two: str) -> None:
        self._known: dict[str, list[Section]] = {}
        """The sections for which a line stands."""
        self._texts: dict[str, set[str]] = {}
        """How these are written, without the last line end."""
        self.one, self.two = self._fold(one), self._fold(two)
        known, texts = dict(self._known), {line: {*has} for line, has in self._texts.items()}
        self.base = self._fold(base)
        self._known |= known  # what the sides call each other counts
        self._texts |= texts

    def _fold(self, text: str) -> str:
        if END not in text:
            return text
        lines, start = list[str](), None
        for line in text.split("\n"):
            lines.append(line)
            if line.startswith(HEADING) and start is None:
                start = len(lines) - 1
            elif line.rstrip() == END and start is not None:
                lines[start:] = [self._line("\n".join(lines[start:]))]
                start = None
        return "\n".join(lines)

    def _line(self, text: str) -> str:
        """The line that stands for a conflict."""
        _, *parts = _PARTS.split(text[: text.rindex(END)])
        pairs = zip(parts[::2], parts[1::2], strict=True)
        sections = united(Section(name.rstrip(), words) for name, words in pairs if words.strip())
        if not sections:
            return text
        digest = blake2b(repr([one.key for one in sections]).encode(), digest_size=16)
        line = f"conflict_{digest.hexdigest()}"
        self._known[line] = united([*self._known.get(line, ()), *sections])
        self._texts.setdefault(line, set()).add(text)
        return line

    def unfolded(self, text: str) -> str:
        """A text with the conflicts in it written out: as both sides write them, if they do."""
        return _LINE.sub(self._text, text)

    def _text(self, found: re.Match[str]) -> str:
        line = found[0]
        texts = self._texts.get(line, {line})
        return min(texts) if len(texts) == 1 else written(self._known[line]).removesuffix("\n")

    def versions(self, text: str, name: str) -> list[Section]:
        """What one side has in the place of a clash: its words, or the versions that it has there.

        Words around a conflict belong to each of its versions.
        """
        lines = [line for line in dict.fromkeys(_LINE.findall(text)) if line in self._known]
        inside = [self._known[line] for line in lines]
        longest = max(inside, key=len, default=[Section(name, "")])
        found = [Section(one.name, text) for one in longest]
        for line, sections in zip(lines, inside, strict=True):
            words = [*sections, *[sections[-1]] * (len(found) - len(sections))]
            found = [
                Section(one.name, one.words.replace(line, of.words.removesuffix("\n")))
                for one, of in zip(found, words, strict=True)
            ]
        return found
