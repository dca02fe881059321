"""Which change put a line where it is: each line of a file followed back through its history.

A line is the same as long as its words are, wherever in the file it stands; so a reordered block
keeps its authors. (``git blame`` follows only what moves as a piece, and starts a diff for each of
ten thousand versions: this reads them from one process.)
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fsagent.history.drivers import note_id
from fsagent.history.name import undone
from fsagent.layout import is_agents
from fsagent.repo import Repo, TreeChange, walk
from fsagent.repo.walk import Entry, Version
from fsagent.store import AS_STAGED

TRAIL = 20
"""Earlier wordings of a line that are looked for."""

ALIKE = 0.5
"""How alike two lines are (of 1) from which on one is an edit of the other."""

SHORTEST = 4
"""Characters of a line that is looked for in other blocks: shorter ones are alike by chance."""

BACK = 3
"""Commits before a change in which another block may have held the line."""

NOBODY = ""
"""In the place of a commit: a hand edit that is not committed yet."""


@dataclass(frozen=True)
class Step:
    """A commit that gave a line this wording, in this file. ``NOBODY`` has not committed it yet.

    ``undos`` are the commits that brought it back since, newest first.
    """

    commit: str
    path: str
    text: str
    undos: tuple[str, ...] = ()


@dataclass
class _Token:
    """A line that is followed: the steps found so far, newest first, and the undos on the way."""

    steps: list[Step] = field(default_factory=list)
    undos: list[str] = field(default_factory=list)

    def begins(self, commit: str, path: str, text: str) -> None:
        """Note that the line came to be here, as far as is known."""
        self.steps.append(Step(commit, path, text, tuple(self.undos)))
        self.undos.clear()

    def began_before(self, *, by_undo: bool) -> None:
        """Take that back: it came from elsewhere, or an undo brought it back."""
        step = self.steps.pop()
        self.undos += [*step.undos, *([step.commit] if by_undo else [])]


def split(data: bytes) -> list[str]:
    """The lines of a file, without what is invisible at their ends."""
    lines = data.decode(errors="replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.rstrip() for line in lines]


def trace(
    repo: Repo, path: str, rev: str, now: bytes, wanted: Sequence[int], *, deep: bool = False
) -> dict[int, list[Step]]:
    """The steps of the lines ``wanted`` (from 0) of a file that now holds ``now``, by line.

    ``rev`` is the commit on which ``now`` stands. With ``deep``, the earlier wordings of a line
    follow its present one.
    """
    tokens = {number: _Token() for number in wanted}
    places = {number: [token] for number, token in tokens.items()}
    _Tracer(repo, deep).follow(path, rev, places, split(now))
    return {number: token.steps for number, token in tokens.items()}


@dataclass(frozen=True)
class _Born:
    """A line that begins with a commit: its number and words there, and what follows it."""

    commit: str
    number: int
    text: str
    tokens: list[_Token]


_Source = tuple[str, str, bool]
"""Where a line stood before: a revision, a file, and whether an undo brought it back from there."""

_Places = dict[int, list[_Token]]
"""Lines of one version that are followed, by number; two lines may have been one."""


class _Tracer:
    def __init__(self, repo: Repo, deep: bool) -> None:
        self.repo = repo
        self.deep = deep

    def follow(
        self, path: str, rev: str, places: _Places, now: list[str] | None = None, depth: int = 0
    ) -> None:
        """Follow lines of ``path`` at ``rev`` back; ``now`` is what the work tree holds.

        ``depth`` says how often the lines have come from elsewhere already.
        """
        found = walk.versions(self.repo, path, rev)
        history = _History(self.repo, found)
        if now is not None:
            first = (found[0].commit,) if found else ()
            found = [Version(NOBODY, first, None), *found]
            history.lines[NOBODY] = now
        if not found:
            return
        pending = {found[0].commit: places}
        born: list[_Born] = []
        for version in found:
            mine = pending.pop(version.commit, None)
            if mine:
                new = _back(path, version, mine, history, pending)
                if not self.deep:
                    born += new
                    new = []
                for one in new:
                    if version.commit == NOBODY or self._elsewhere(path, [one], depth):
                        _earlier(version, one, history, pending)
            if not pending:
                break
            history.forget(version.commit)
        self._elsewhere(path, born, depth)

    def _elsewhere(self, path: str, born: list[_Born], depth: int) -> list[_Born]:
        """Go on with lines that came from another file, or that an undo brought back; the others.

        What an undo brought back stood in this file until the change that was taken back.
        """
        left = [one for one in born if one.commit == NOBODY]
        born = [one for one in born if one.commit != NOBODY]
        if depth > TRAIL:
            return left + born
        entries = walk.entries(self.repo, list(dict.fromkeys(one.commit for one in born)))
        sources = {oid: self._sources(path, entry) for oid, entry in entries.items()}
        going: dict[_Source, _Places] = {}
        new: list[_Born] = []
        for one in born:
            for source, old, gone in sources[one.commit]:
                if gone[one.text] > 0:
                    place = _nth(old, one.text, gone[one.text])
                    gone[one.text] -= 1
                    going.setdefault(source, {}).setdefault(place, []).extend(one.tokens)
                    break
            else:
                new.append(one)
        left += self._in_blocks(path, new, going)
        for (rev, other, by_undo), places in going.items():
            for token in itertools.chain(*places.values()):
                token.began_before(by_undo=by_undo)
            self.follow(other, rev, places, depth=depth + 1)
        return left

    def _sources(self, path: str, entry: Entry) -> list[tuple[_Source, list[str], Counter[str]]]:
        """Where the lines that a commit put into a file may come from: there, these have gone.

        Each is a revision, a file and its lines there. A merge may have a file from another side,
        where it still had the name that its own side gave up.
        """
        commit = entry.commit.commit
        found = [(f"{commit}^", change, False) for change in entry.changes if change.path != path]
        for number, parent in enumerate(entry.parents[1:], 2):
            changes = self.repo.changes(parent, commit)
            found += [(f"{commit}^{number}", change, False) for change in changes if not change.new]
        if entry.commit.subject.endswith(AS_STAGED):
            found += [(f"{commit}^", change, False) for change in self._still_there(path, entry)]
        for one in walk.entries(self.repo, undone(self.repo, entry.commit)).values():
            changes = [change for change in one.changes if change.path == path]
            found = [(f"{one.commit.commit}^", change, True) for change in changes] + found
        found = [one for one in found if one[1].old and (one[2] or _is_text(one[1].path))]
        lines = self._split(
            {oid for _, change, _ in found for oid in (change.old, change.new) if oid}
        )
        sources = []
        for rev, change, here in found:
            old = lines[str(change.old)]
            gone = Counter(old) - Counter(lines[change.new] if change.new else [])
            if change.new and not here:  # an empty line is in every file
                gone = Counter({t: n for t, n in gone.items() if any(map(str.isalnum, t))})
            sources.append(((rev, change.path, here), old, gone))
        return sources

    def _still_there(self, path: str, entry: Entry) -> Iterator[TreeChange]:
        """The other name of a note that a person renamed: it goes only with the next commit where
        the new one was staged and then edited on."""
        new = next((one.new for one in entry.changes if one.path == path and not one.old), None)
        ident = note_id(path, self.repo.read(new)) if new else ""
        if ident:
            parent = entry.parents[0]
            pattern = f"^id:.*{re.sub('[^0-9A-Za-z]', '.', ident)}"
            names = walk.holding(self.repo, parent, pattern, ["archival"])
            for name, blob in self.repo.files(parent, names).items() if names else ():
                yield TreeChange(name, blob.oid, None)

    def _split(self, blobs: Collection[str]) -> dict[str, list[str]]:
        """The lines of these blobs, all read by one process."""
        return dict(zip(blobs, map(split, walk.blobs(self.repo, blobs)), strict=True))

    def _in_blocks(
        self, path: str, born: list[_Born], going: dict[_Source, _Places]
    ) -> list[_Born]:
        """Find lines that stood in another block shortly before; the others.

        A model moves a line by two calls, so by two commits, in either order.
        """
        commits = list(dict.fromkeys(one.commit for one in born if len(one.text) >= SHORTEST))
        found = walk.earlier(self.repo, commits, "core", BACK)
        blobs = {blob for revs in found.values() for _, files in revs for blob in files.values()}
        lines = self._split(blobs)
        left = []
        for one in born:
            text = one.text
            for rev, files in found.get(one.commit, ()) if len(text) >= SHORTEST else ():
                other = next((p for p, b in files.items() if p != path and text in lines[b]), None)
                if other:
                    places = going.setdefault((rev, other, False), {})
                    places.setdefault(lines[files[other]].index(text), []).extend(one.tokens)
                    break
            else:
                left.append(one)
        return left


class _History:
    """The lines of each version, read in the order of the walk and forgotten after it."""

    def __init__(self, repo: Repo, versions: Sequence[Version]) -> None:
        self.lines: dict[str, list[str]] = {}
        self._coming = self._read(repo, versions)

    def _read(self, repo: Repo, versions: Sequence[Version]) -> Iterator[tuple[str, list[str]]]:
        data = walk.blobs(repo, (version.blob for version in versions if version.blob))
        for version in versions:
            yield version.commit, split(next(data)) if version.blob else []

    def of(self, commit: str) -> list[str]:
        """The lines of a version; those on the way to it are read, too."""
        while commit not in self.lines:
            name, lines = next(self._coming)
            self.lines[name] = lines
        return self.lines[commit]

    def forget(self, commit: str) -> None:
        """Let go of a version that nobody will ask for again."""
        self.lines.pop(commit, None)


def _back(
    path: str, version: Version, mine: _Places, history: _History, pending: dict[str, _Places]
) -> list[_Born]:
    """One version back: lines that a parent has go on there; the others, which begin here."""
    new = history.of(version.commit)
    for parent in version.parents:
        pairs = matched(history.of(parent), new)
        there = pending.setdefault(parent, {})
        for number in list(mine):
            if number in pairs:
                there.setdefault(pairs[number], []).extend(mine.pop(number))
        if not there:
            del pending[parent]
    for number, tokens in mine.items():
        for token in tokens:
            token.begins(version.commit, path, new[number])
    return [_Born(version.commit, number, new[number], mine[number]) for number in mine]


def _earlier(version: Version, born: _Born, history: _History, pending: dict[str, _Places]) -> None:
    """Go on with the line that this one was an edit of, if there is one."""
    tokens = [token for token in born.tokens if len(token.steps) <= TRAIL]
    if not version.parents or not tokens:
        return
    parent = version.parents[0]
    old = history.of(parent)
    taken = set(matched(old, history.of(version.commit)).values())
    likest, best = ALIKE, None
    for other, text in enumerate(old):
        if other not in taken and text:
            matcher = difflib.SequenceMatcher(None, text, born.text, autojunk=False)
            if matcher.real_quick_ratio() > likest and (alike := matcher.ratio()) > likest:
                likest, best = alike, other
    if best is not None:
        pending.setdefault(parent, {}).setdefault(best, []).extend(tokens)


def _nth(lines: Sequence[str], text: str, number: int) -> int:
    """Where ``text`` stands for the ``number``-th time."""
    places = [at for at, line in enumerate(lines) if line == text]
    return places[min(number, len(places)) - 1]


def _is_text(path: str) -> bool:
    return is_agents(path) and path.split("/")[0] in ("core", "archival", "system.md")


def matched(old: Sequence[str], new: Sequence[str]) -> Mapping[int, int]:
    """Which line of ``new`` is which of ``old``, by number: the same words, at any place."""
    most = min(len(old), len(new))
    top = 0
    while top < most and old[top] == new[top]:
        top += 1
    end = 0
    while end < most - top and old[-1 - end] == new[-1 - end]:
        end += 1
    pairs = {number: number for number in range(top)}
    shift = len(old) - len(new)
    pairs |= {number: number + shift for number in range(len(new) - end, len(new))}
    if top + end < most:
        _moved(pairs, old, new, range(top, len(old) - end), range(top, len(new) - end))
    return pairs


def _moved(
    pairs: dict[int, int], old: Sequence[str], new: Sequence[str], before: range, after: range
) -> None:
    """Pair the lines between an equal beginning and an equal end."""
    there: dict[str, list[int]] = {}
    here: dict[str, list[int]] = {}
    for number in before:
        there.setdefault(old[number], []).append(number)
    for number in after:
        here.setdefault(new[number], []).append(number)
    unequal = False
    for text, numbers in here.items():
        others = there.get(text, ())
        if len(others) == len(numbers):
            pairs.update(zip(numbers, others, strict=True))
        else:
            unequal = unequal or bool(others)
    if not unequal:
        return
    # Lines that are there several times, and not as often as before: those in order come first.
    one = [old[number] for number in before]
    two = [new[number] for number in after]
    for block in difflib.SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks():
        for at in range(block.size):
            number = after[block.b + at]
            if number not in pairs:
                pairs[number] = before[block.a + at]
    taken = set(pairs.values())
    for text, numbers in here.items():
        free = [number for number in there.get(text, ()) if number not in taken]
        for number in numbers:
            if number not in pairs and free:
                pairs[number] = free.pop(0)
