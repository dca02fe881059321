"""Taking one change out of a text that went on changing: a merge of three, by lines, then by words.

``git revert`` compares three texts, and has no answer where neighbouring lines were edited: a line
that was appended just after the one to be taken back is in conflict with it. Here each line has an
identity instead. The versions of the text, from the one before the change to the one of today, are
woven into one list of lines that keeps those that are gone (as SCCS did), so that for each line
that the change made, removed or edited it is known what became of it:

    before    the change    later     woven            taken back
    a         a             a         a                a
    b                       N         b (gone)         b
              X             X'        N                N
                                      X (made: X')     clash: the line that it made was edited

Lines are lines of bytes to the end: no text is normalised, and what nobody touched stays as it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fsagent.history.edits import Side, differences, likeness, merge_words, words_of

_PAIRS_MAX = 2500
"""Removed times added lines of a rewritten passage up to which it is asked which became which."""

_ALIKE, _ALIKE_ALONE = 0.5, 0.3
"""The part of their words that two lines share at least, where one is an edit of the other; in a
passage of many lines, and where one line took the place of one."""

_WANDERED = 0.6
"""The same where one goes in one place and the other comes in another."""


@dataclass(frozen=True)
class Clash:
    """A place where the text of today differs from what the change made in the very same words.

    ``line`` is where it stands today, 1-based; ``step`` the number of the version that touched it
    last, and ``touched`` the line in which it did (0: that one is gone). ``ours`` and ``theirs``
    are what either side makes of it, as whole lines.
    """

    made: str
    ours: str
    theirs: str
    line: int
    step: int
    touched: int = 0


@dataclass(frozen=True)
class Merged:
    """A text without the change: plain pieces, and clashes where somebody has to choose."""

    pieces: tuple[str | Clash, ...]
    open_end: bool = False
    """Whether the last line has no line end."""

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """The places where both sides changed the same words."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Clash))

    def text(self, side: Side) -> str:
        """The text with one side's words in each clash."""
        parts = (p if isinstance(p, str) else getattr(p, side) for p in self.pieces)
        text = "".join(parts)
        return _chomp(text) if self.open_end else text


@dataclass(eq=False)
class _Line:
    """One line through all versions. ``text`` is what it holds, or held when it went."""

    text: str
    alive: bool = True
    step: int = 0
    """The version that last touched it."""
    moved: _Line | None = None
    """Where it stands now, if a version moved it."""
    heirs: list[_Line] = field(default_factory=list)
    """The lines that took its place in the version in which it went."""

    @property
    def key(self) -> str:
        return _chomp(self.text)

    def now(self) -> _Line:
        """The same line where it stands now."""
        line = self
        while not line.alive and line.moved:
            line = line.moved
        return line


def _followers(lines: Iterable[_Line]) -> list[_Line]:
    """The lines of today that took the place of these, as far as they are gone."""
    found: dict[int, _Line] = {}
    waiting, seen = list(lines), set[int]()
    while waiting:
        line = waiting.pop().now()
        if id(line) in seen:
            continue
        seen.add(id(line))
        if line.alive:
            found[id(line)] = line
        elif id(line.heirs) not in seen:  # the lines of a passage have them in common
            seen.add(id(line.heirs))
            waiting += line.heirs
    return list(found.values())


@dataclass
class _Passage:
    """What one version did in one place."""

    gone: list[_Line] = field(default_factory=list)
    made: list[_Line] = field(default_factory=list)
    edited: tuple[_Line, str, str] | None = None
    moved: bool = False


def take_back(versions: Sequence[str], undos: Iterable[int] = (), at: int = 1) -> Merged:
    """The last version without what version number ``at`` changed in the one before it.

    Args:
        versions: The text through time, oldest first; those before ``at`` are asked only where a
            line that an undo brought back has been before.
        undos: The numbers of versions that took something back: a line that comes to stand where
            the same one stood is that line again, and not a new one.
        at: The number of the version whose change is taken back.
    """
    before, after, today = versions[at - 1], versions[at], versions[-1]
    if today == after:
        return Merged((before,))
    if today == before:
        return Merged((today,))
    weave, known = _Weave(versions[0]), set(undos)
    passages: list[_Passage] = []
    texts: dict[int, str] = {}
    last_before: _Line | None = None
    for number in range(1, len(versions)):
        if number == at:
            last_before = weave.last()
        done = weave.step(versions[number], number, again=number in known)
        if number == at:
            passages = done
            texts = {id(line): line.text for passage in done for line in passage.made}
    last_today = weave.last()
    taken = _Taking(weave, texts)
    for passage in passages:
        taken.back(passage)
    pieces = taken.pieces()
    was, made, is_now = map(_is_open, (before, after, today))
    last = weave.last()
    if is_now:
        open_end = (was or not made) and last in (last_before, last_today)
    else:
        open_end = was and not made and last is last_before
    return Merged(pieces, open_end)


class _Taking:
    """Takes back the passages of one change in a weave that has gone on."""

    def __init__(self, weave: _Weave, texts: dict[int, str]) -> None:
        self.weave = weave
        self.texts = texts
        self.numbers: dict[int, int] = {}
        for number, line in enumerate(weave.alive(), 1):
            self.numbers[id(line)] = number
        self.clashes: dict[int, Clash] = {}
        """By the line in whose place they are shown."""
        self.hidden: set[int] = set()
        """Lines that a clash shows."""

    def back(self, passage: _Passage) -> None:
        if passage.edited:
            self._edited(*passage.edited)
            return
        if passage.moved:
            self._moved(passage.gone[0], passage.made[0])
            return
        gone = [line.now() for line in passage.gone]  # they may have come back, and moved since
        if not gone:
            for line in passage.made:
                self._made([line], [])
        elif not passage.made:
            for line in gone:
                line.alive = True
        elif any(line.now().alive for line in passage.made) or not all(line.alive for line in gone):
            self._made(passage.made, gone)

    def _made(self, made: list[_Line], gone: list[_Line]) -> None:
        """Lines that the change put there, in the place of those that it removed."""
        now = [line.now() for line in made]
        intact = [
            line.alive and line.text == self.texts[id(origin)]
            for origin, line in zip(made, now, strict=True)
        ]
        if all(intact):
            for line in now:
                line.alive = False
            for line in gone:
                line.alive = True
            return
        followers = _followers(now)
        if not gone and not followers:
            return  # somebody has removed them already
        self._clash(
            "".join(self.texts[id(line)] for line in made),
            followers,
            [line for line in gone if not line.alive],
            "".join(line.text for line in gone),
            now[0],
        )

    def _moved(self, gone: _Line, made: _Line) -> None:
        """A line that the change moved goes back, with what others made of it since."""
        now, after = made.now(), self.texts[id(made)]
        if not now.alive:
            followers = _followers([now])
            if followers or gone.text != after:
                self._clash(after, followers, [gone], gone.text, now)
            return
        text = self._words_back(now, after, gone.text)
        if text is not None:
            now.alive, gone.alive, gone.text = False, True, text

    def _edited(self, line: _Line, before: str, after: str) -> None:
        """Words that the change edited inside of a line."""
        now = line.now()
        if not now.alive:
            self._clash(after, _followers([now]), [], before, now)
        elif now.text != before:
            text = self._words_back(now, after, before)
            if text is not None:
                now.text = text

    def _words_back(self, now: _Line, after: str, before: str) -> str | None:
        """A line without the words of the change; None, and a clash, where they were edited."""
        ours, clash = merge_words(after, now.text, before, "ours")
        if not clash:
            return ours
        theirs, _ = merge_words(after, now.text, before, "theirs")
        self._clash(after, [now], [], theirs, now, ours)
        return None

    def _clash(
        self,
        made: str,
        ours: list[_Line],
        gone: list[_Line],
        theirs: str,
        at: _Line,
        text: str = "",
    ) -> None:
        """Note a clash; it is shown where today's lines stand, or where the lost ones stood."""
        order = self.weave.order()
        ours = [line for line in ours if id(line) not in self.hidden]
        ours.sort(key=lambda line: order[id(line)])
        places = [*ours, *gone, at]
        first = min(places, key=lambda line: order[id(line)]) if not ours else ours[0]
        while id(first) in self.clashes:  # another clash is shown there already
            first = self.weave.insert_after(first)
            order = self.weave.order()
        number = self.numbers.get(id(ours[0]), 0) if ours else self._line_at(order[id(first)])
        last = max(ours or [at], key=lambda line: line.step)
        touched = self.numbers.get(id(last), 0)
        self.hidden |= {id(line) for line in ours}
        shown = text or "".join(line.text for line in ours)
        self.clashes[id(first)] = Clash(made, shown, theirs, number, last.step, touched)

    def _line_at(self, place: int) -> int:
        """The number that a line in that place of the weave would have today."""
        return 1 + sum(1 for line in self.weave.lines[:place] if id(line) in self.numbers)

    def pieces(self) -> tuple[str | Clash, ...]:
        """The text as it stands now."""
        found: list[str | Clash] = []
        for line in self.weave.lines:
            piece: str | Clash | None = self.clashes.get(id(line))
            if piece is None and line.alive and id(line) not in self.hidden:
                piece = line.text
            if isinstance(piece, str) and found and isinstance(found[-1], str):
                found[-1] += piece
            elif piece is not None:
                found.append(piece)
        return tuple(found)


class _Weave:
    """All lines that a text ever had, in their order, those that are gone included."""

    def __init__(self, text: str) -> None:
        self.lines = [_Line(line) for line in lines_of(text)]

    def alive(self) -> list[_Line]:
        return [line for line in self.lines if line.alive]

    def last(self) -> _Line | None:
        return next((line for line in reversed(self.lines) if line.alive), None)

    def order(self) -> dict[int, int]:
        return {id(line): place for place, line in enumerate(self.lines)}

    def insert_after(self, line: _Line) -> _Line:
        """A place of its own behind a line."""
        new = _Line("", alive=False)
        self.lines.insert(self.order()[id(line)] + 1, new)
        return new

    def step(self, text: str, number: int, *, again: bool) -> list[_Passage]:
        """Weave in the next version; what it did, place by place.

        With ``again``, lines that stood in the same place before come back as themselves.
        """
        old, new = self.alive(), lines_of(text)
        keys = [_chomp(line) for line in new]
        done: list[_Passage] = []
        raw = differences([line.key for line in old], keys)
        for line, text_now in _same(old, new, raw):
            if line.text != text_now:  # another line end
                done.append(_Passage(edited=(line, line.text, text_now)))
                line.text, line.step = text_now, number
        moves = _moves(raw, old, new)
        holes = [
            hole
            for i1, i2, j1, j2 in raw
            for hole in _paired(old[i1:i2], list(range(j1, j2)), new, i1, moves)
        ]
        moves |= _wandered(holes, new, moves)
        going = {id(line) for line, _ in moves.values()}
        order = self.order()
        ends = [order[id(line)] for line in old] + [len(self.lines)]
        added: list[tuple[int, _Line]] = []
        for at, gone, coming in holes:
            if at < 0:
                line, text_now = gone[0], new[coming[0]]
                done.append(_Passage(edited=(line, line.text, text_now)))
                line.text, line.step = text_now, number
                continue
            begin = ends[at - 1] + 1 if at else 0
            end = ends[at + len(gone)]
            made = self._come(begin, end, [new[j] for j in coming], number, added, again=again)
            by_number = dict(zip(coming, made, strict=True))
            for line in gone:
                line.alive, line.step, line.moved, line.heirs = False, number, None, []
            for j in [j for j in coming if j in moves]:
                moves[j][1].append(by_number.pop(j))
            left = [line for line in gone if id(line) not in going]
            heirs = list(by_number.values())
            for line in left:
                line.heirs = heirs
            if left or heirs:
                done.append(_Passage(left, heirs))
        for line, found in moves.values():
            line.moved = found[0] if found[0] is not line else None
            done.append(_Passage([line], [found[0]], moved=True))
        for place, line in sorted(added, key=lambda one: one[0], reverse=True):
            self.lines.insert(place, line)
        return done

    def _come(
        self,
        begin: int,
        end: int,
        texts: list[str],
        number: int,
        added: list[tuple[int, _Line]],
        *,
        again: bool,
    ) -> list[_Line]:
        """New lines between two places: behind those that are gone, or as one of these again."""
        gone: dict[str, list[int]] = {}
        for spot in range(begin, end) if again else ():
            if not self.lines[spot].alive:
                gone.setdefault(self.lines[spot].key, []).append(spot)
        made: list[_Line] = []
        waiting: list[_Line] = []
        place = begin
        for text in texts:
            spots = gone.get(_chomp(text), [])
            found = bisect_left(spots, place)
            if found < len(spots):
                line = self.lines[spots[found]]
                line.alive, line.text, line.step = True, text, number
                line.moved, line.heirs = None, []
                added += [(spots[found], one) for one in reversed(waiting)]
                waiting, place = [], spots[found] + 1
            else:
                line = _Line(text, step=number)
                waiting.append(line)
            made.append(line)
        added += [(end, one) for one in reversed(waiting)]
        return made


def _same(
    old: list[_Line], new: list[str], holes: list[tuple[int, int, int, int]]
) -> list[tuple[_Line, str]]:
    """The lines that a version left as they were, but for their line ends."""
    found: list[tuple[_Line, str]] = []
    i = j = 0
    for i1, i2, j1, j2 in [*holes, (len(old), len(old), len(new), len(new))]:
        found += zip(old[i:i1], new[j:j1], strict=True)
        i, j = i2, j2
    return found


_Hole = tuple[int, list[_Line], list[int]]
"""From which of the old lines on, those that go, the numbers of those that come; from -1 on where
the one line became the other."""


def _paired(
    gone: list[_Line], coming: list[int], new: list[str], at: int, moves: _Moves
) -> list[_Hole]:
    """A rewritten passage, taken apart at the lines that are edits of each other."""
    if not gone or not coming or len(gone) * len(coming) > _PAIRS_MAX:
        return [(at, gone, coming)]
    moved = {id(line) for line, _ in moves.values()}
    old_words = [words_of("" if id(line) in moved else line.text) for line in gone]
    new_words = [words_of("" if j in moves else new[j]) for j in coming]
    rows, columns = len(gone), len(coming)
    enough = _ALIKE_ALONE if rows == columns == 1 else _ALIKE
    alike = [[likeness(a, b) for b in new_words] for a in old_words]
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            both = alike[i][j] + best[i + 1][j + 1] if alike[i][j] >= enough else -1.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], both)
    found: list[_Hole] = []
    i = j = i0 = j0 = 0
    while i < rows and j < columns:
        if alike[i][j] >= enough and best[i][j] == alike[i][j] + best[i + 1][j + 1]:
            found += [(at + i0, gone[i0:i], coming[j0:j]), (-1, [gone[i]], [coming[j]])]
            i, j = i + 1, j + 1
            i0, j0 = i, j
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    found.append((at + i0, gone[i0:], coming[j0:]))
    return [hole for hole in found if hole[1] or hole[2]]


_Moves = dict[int, tuple[_Line, list[_Line]]]
"""Lines that moved: by the number of the one that comes, the one that goes, and its new place."""


def _moves(holes: list[tuple[int, int, int, int]], old: list[_Line], new: list[str]) -> _Moves:
    """The lines that go in one place and come in another, word for word, and only once."""
    going = [line for i1, i2, _, _ in holes for line in old[i1:i2]]
    coming = [j for _, _, j1, j2 in holes for j in range(j1, j2)]
    gone = Counter(line.key for line in going)
    come = Counter(_chomp(new[j]) for j in coming)
    by_key = {line.key: line for line in going}
    found: _Moves = {}
    for j in coming:
        key = _chomp(new[j])
        if key.strip() and gone[key] == come[key] == 1:
            found[j] = by_key[key], []
    return found


def _wandered(holes: list[_Hole], new: list[str], moves: _Moves) -> _Moves:
    """The lines that moved and were edited on the way: those that are most alike, first."""
    moved = {id(line) for line, _ in moves.values()}
    gone = [line for at, lines, _ in holes if at >= 0 for line in lines if id(line) not in moved]
    coming = [j for at, _, numbers in holes if at >= 0 for j in numbers if j not in moves]
    if len(gone) * len(coming) > _PAIRS_MAX:
        return {}
    old_words = [words_of(line.text) for line in gone]
    new_words = [words_of(new[j]) for j in coming]
    alike = [
        (share, -i, -j)
        for i, a in enumerate(old_words)
        for j, b in enumerate(new_words)
        if (share := likeness(a, b)) >= _WANDERED and gone[i].key != _chomp(new[coming[j]])
    ]
    found: _Moves = {}
    taken: set[int] = set()
    for _, i, j in sorted(alike, reverse=True):
        if -i not in taken and coming[-j] not in found:
            taken.add(-i)
            found[coming[-j]] = gone[-i], []
    return found


def lines_of(text: str) -> list[str]:
    """The lines of a text with their ends; a last one that has none gets the usual one."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    if last:
        dos = text.count("\r\n") * 2 > text.count("\n")
        lines.append(last + ("\r\n" if dos else "\n"))
    return lines


def _is_open(text: str) -> bool:
    return bool(text) and not text.endswith("\n")


def _chomp(text: str) -> str:
    """A line, or a text, without its last line end."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
