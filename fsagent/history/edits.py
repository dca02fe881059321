"""Texts, lines and lists compared: where they differ, how alike, and two edits made one."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Literal
from unicodedata import category

Side = Literal["ours", "theirs"]
"""Where both sides changed the same words: ``ours`` is the text of today, ``theirs`` undoes."""

_DIFF_MAX = 4_000_000
"""Lengths, multiplied, up to which two lists are compared item by item; longer ones are first cut
at what they share."""

_PAIRS_MAX = 250_000
"""The same for their equal items, of each with each: what compares them looks at all of these."""

_EDITS_MAX = 400
"""Items that come or go, up to which long lists are compared by the fewest edits."""

_UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"  # Han
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana and Katakana
    "\u0e01-\u0e4f\u0e81-\u0ecf\u0edc-\u0edf\u1780-\u17df"  # Thai, Lao and Khmer
    "\u1000-\u103f\u1050-\u108f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Myanmar
)
"""The letters of scripts that put no spaces between words: each is a word of its own."""

_NUMERALS = "〇零一二三四五六七八九十百千万萬億亿兆"

_WORD = rf"[^\W{_UNSPACED}]+"

_TOKEN = re.compile(
    rf"(?:[\d{_NUMERALS}]+[年月日号號時时点點分秒])+|[{_NUMERALS}]+|[{_UNSPACED}]"
    rf"|[-+]?{_WORD}(?:[-.,:/@&'’+]+{_WORD})*|\r?\n|[^\S\n]+|[^\w\s]"
)
"""A word, a line end, a space or a sign. A number, date, time or address is one word: of two edits
of it no third one is made that nobody wrote."""

_ALONE = re.compile(f"[{_UNSPACED}]")

_STACKING = "\u17d2\u1039"
"""The signs of Khmer and Burmese that put the next letter below the one before."""

_JOINED = ("Mn", "Mc", "Me", "Cf")
"""Unicode's categories of what belongs to the letter or picture before it: accents, vowel signs."""


BINARY = "(a binary file)"
"""What a person is shown in the place of a file that is no text."""


def text_of(data: bytes) -> str | None:
    """The text of a file, in whatever encoding: ``data_of`` gives its bytes back. None: binary."""
    return None if b"\0" in data else data.decode(errors="surrogateescape")


def data_of(text: str) -> bytes:
    """The bytes of a text; see ``text_of``."""
    return text.encode(errors="surrogateescape")


def legible(text: str) -> str:
    """A text as it can be printed: a byte that is not UTF-8 is a sign for itself."""
    return data_of(text).decode(errors="replace")


def changed_lines(old: bytes | None, new: bytes | None) -> list[str]:
    """The changed lines of a file."""
    texts = [text_of(data or b"") for data in (old, new)]
    if None in texts:
        return [BINARY]
    before, after = (legible(text or "").split("\n") for text in texts)
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return [line.rstrip("\r") for line in list(lines)[2:] if not line.startswith("@@") and line[1:]]


def differences(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """Where two lists differ: from, to in the old and from, to in the new one."""
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    end = 0
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b = old[start : len(old) - end], new[start : len(new) - end]
    if not a and not b:
        return []
    if not a or not b:
        found = [(0, len(a), 0, len(b))]
    elif len(a) * len(b) > _DIFF_MAX or _pairs(a, b) > _PAIRS_MAX:
        few = _fewest(a, b)
        found = _between(_landmarks(a, b), a, b) if few is None else few
    else:
        codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
        found = [(i1, i2, j1, j2) for tag, i1, i2, j1, j2 in codes if tag != "equal"]
    return [(start + i1, start + i2, start + j1, start + j2) for i1, i2, j1, j2 in found]


def _pairs(a: list[str], b: list[str]) -> int:
    """How many items of one list are equal to one of the other, each counted with each."""
    others = Counter(b)
    return sum(others[item] for item in a)


def _fewest(a: list[str], b: list[str]) -> list[tuple[int, int, int, int]] | None:
    """Where two lists differ, by the fewest items that come or go; None where these are too many.

    The greedy way of Myers ("An O(ND) Difference Algorithm", 1986): ``ends[k]`` is how far into
    ``a`` one gets on the diagonal ``k``. That lines are equal to many others makes it no slower.
    """
    ends, steps = {1: 0}, list[dict[int, int]]()
    for count in range(_EDITS_MAX + 1):
        steps.append(dict(ends))
        for k in range(-count, count + 1, 2):
            down = k == -count or (k != count and ends[k - 1] < ends[k + 1])
            i = ends[k + 1] if down else ends[k - 1] + 1
            while i < len(a) and i - k < len(b) and a[i] == b[i - k]:
                i += 1
            ends[k] = i
            if i >= len(a) and i - k >= len(b):
                return _traced(steps, len(a), len(b))
    return None


def _traced(steps: list[dict[int, int]], i: int, j: int) -> list[tuple[int, int, int, int]]:
    """The way back from the end of both lists, as the passages in which they differ."""
    found: list[tuple[int, int, int, int]] = []
    for count in range(len(steps) - 1, 0, -1):
        ends, k = steps[count], i - j
        down = k == -count or (k != count and ends[k - 1] < ends[k + 1])
        before = k + 1 if down else k - 1
        i1 = ends[before]
        i, j = i1, i1 - before
        i2, j2 = (i, j + 1) if down else (i + 1, j)
        if found and (found[-1][0], found[-1][2]) == (i2, j2):
            _, i2, _, j2 = found.pop()
        found.append((i, i2, j, j2))
    return found[::-1]


def _between(
    marks: list[tuple[int, int]], a: list[str], b: list[str]
) -> list[tuple[int, int, int, int]]:
    """Where two long lists differ between the places at which they are known to be equal."""
    if not marks:
        return [(0, len(a), 0, len(b))]
    found = []
    i = j = 0
    for i_next, j_next in [*marks, (len(a), len(b))]:
        for i1, i2, j1, j2 in differences(a[i:i_next], b[j:j_next]):
            found.append((i + i1, i + i2, j + j1, j + j2))
        i, j = i_next + 1, j_next + 1
    return found


def _landmarks(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """The most items that both lists hold just once and in the same order ("patience diff")."""
    once_a, once_b = Counter(a), Counter(b)
    place = {item: j for j, item in enumerate(b) if once_b[item] == 1}
    tails: list[int] = []  # of the chains so far, by length, where the lowest one ends in b
    chains: list[tuple[int, int, int]] = []  # a place in a and in b, and the chain before it
    ends: list[int] = []
    for i, item in enumerate(a):
        if once_a[item] != 1 or item not in place:
            continue
        at = bisect_left(tails, place[item])
        chains.append((i, place[item], ends[at - 1] if at else -1))
        tails[at : at + 1] = [place[item]]
        ends[at : at + 1] = [len(chains) - 1]
    found = []
    link = ends[-1] if ends else -1
    while link >= 0:
        i, j, link = chains[link]
        found.append((i, j))
    return found[::-1]


def merge_words(base: str, ours: str, theirs: str, side: Side) -> tuple[str, bool]:
    """Two edits of one line made one, word by word; whether they clash. ``side`` wins then.

    What one side has done of what the other did is no clash.
    """
    old = _tokens(base)
    pieces = {"ours": _pieces(old, _tokens(ours)), "theirs": _pieces(old, _tokens(theirs))}
    edits = sorted(
        ((*edit, name) for name, found in pieces.items() for edit in _joined(old, found)),
        key=lambda edit: (edit[0], edit[1]),
    )
    parts: list[str] = []
    clash, at, n = False, 0, 0
    while n < len(edits):
        start, end = edits[n][:2]
        group = [edits[n]]
        while n + 1 < len(edits) and _meet(group, edits[n + 1]):
            n += 1
            group.append(edits[n])
            end = max(end, edits[n][1])
        n += 1
        parts += old[at:start]
        done = {
            name: {
                (a, b, *words)
                for a, b, words in found
                if any(i <= a and b <= j for i, j, _, by in group if by == name)
            }
            for name, found in pieces.items()
        }
        wins: str = side
        if done["ours"] <= done["theirs"]:
            wins = "theirs"
        elif done["theirs"] <= done["ours"]:
            wins = "ours"
        else:
            clash = True
        for a, b, words, by in group:
            if by == wins:
                parts += old[start:a] + words
                start = b
        parts += old[start:end]
        at = end
    parts += old[at:]
    return "".join(parts), clash


def _tokens(line: str) -> list[str]:
    """The words of a line, and what is between them."""
    found: list[str] = _TOKEN.findall(line)
    if line.isascii():
        return found
    whole: list[str] = []
    for token in found:
        if whole and _goes_on(whole[-1], token):
            whole[-1] += token
        else:
            whole.append(token)
    return whole


def _goes_on(before: str, token: str) -> bool:
    """Whether a token is the rest of a word, or of a picture made of several."""
    last, first = before[-1], token[0]
    if last.isspace():
        return False
    if category(first) in _JOINED or "\U0001f3fb" <= first <= "\U0001f3ff":  # shades of skin
        return True
    if _ALONE.match(before) or _ALONE.match(first):
        return last in _STACKING
    return category(last) in _JOINED and (first.isalnum() or last == "\u200d")


_Edit = tuple[int, int, list[str]]


def _pieces(old: list[str], new: list[str]) -> list[_Edit]:
    """What turns one line into another, word by word."""
    return [(i1, i2, new[j1:j2]) for i1, i2, j1, j2 in differences(old, new)]


def _joined(old: list[str], pieces: list[_Edit]) -> list[_Edit]:
    """The same in edits: words with only a space between them are one, and so are those with a
    single letter of a script without spaces."""
    found: list[_Edit] = []
    for begin, end, words in pieces:
        between = [word for word in old[found[-1][1] : begin] if word.strip()] if found else []
        if found and (not between or (len(between) == 1 and _ALONE.match(between[0]))):
            first, last, before = found.pop()
            words = [*before, *old[last:begin], *words]
            begin = first
        found.append((begin, end, words))
    return found


def _meet(
    group: Sequence[tuple[int, int, list[str], str]], edit: tuple[int, int, list[str], str]
) -> bool:
    """Whether an edit is of the same words as one of the other side; neighbours are not."""
    start, end, _, side = edit
    for a, b, _, other in group:
        if other != side:
            if a == b or start == end:
                same_place = a == b and start == end and a == start
                if same_place or (a < start == end < b) or (start < a == b < end):
                    return True
            elif max(a, start) < min(b, end):
                return True
    return False


_WORDS = re.compile(f"[{_UNSPACED}]|{_WORD}")


def words_of(text: str) -> Counter[str]:
    """The words of a line; its signs, where it has none."""
    words = Counter(_WORDS.findall(text))
    return words or Counter(re.findall(r"\S", text))


def likeness(one: Counter[str], other: Counter[str]) -> float:
    """The part of their words that two lines share, from 0 to 1."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0
