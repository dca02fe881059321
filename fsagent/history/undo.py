"""Undo: a new commit that takes back one older change, or a turn's, and nothing else.

What is taken back is looked for along the first parents of HEAD; how a text is merged says
``merge``. The commit holds the memory and, in recall, the event that tells the agent of it. Recall
itself is never rewritten.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from fsagent.change import Adopted
from fsagent.clock import stamp
from fsagent.errors import StoreError, UndoConflict
from fsagent.formats import one_line
from fsagent.history.edits import Side
from fsagent.history.merge import Clash, Merged, take_back
from fsagent.history.name import named
from fsagent.layout import is_agents
from fsagent.records import Record
from fsagent.repo import TreeChange, walk
from fsagent.repo.walk import Entry
from fsagent.secret import masked
from fsagent.store import Store
from fsagent.turn import shortened, told_of

MEMORY = ("core", "archival", "files")
"""What ``--last`` and a walk back look at. Other files of the agent's are undone by name."""

Resolve = Callable[[str, str], "str | None"]
"""Asked for a path and its text with both sides in it, a person gives the text; None: they stop."""

NOW, UNDONE, MIDDLE, END = "<<<<<<< ", ">>>>>>> ", "=======", "without the change"
_BINARY = "(a binary file)"


@dataclass(frozen=True)
class Sides:
    """A clash as a person is shown it.

    ``made`` is what the change made of the words, ``ours`` what they are today, by ``who`` in the
    commit ``commit`` with ``subject`` ("" where no commit holds it yet), and ``theirs`` what they
    were before. A whole file that is not there is "".
    """

    path: str
    line: int
    made: str
    ours: str
    theirs: str
    who: str = ""
    commit: str = ""
    subject: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Undone:
    """An undo: its commit and change id, its subject, and what it took.

    ``undoes`` is the id that was taken back, ``lines`` are the changed lines as in a diff.
    """

    commit: str
    change: str
    subject: str
    undoes: str
    paths: tuple[str, ...]
    lines: tuple[str, ...]
    adopted: tuple[Adopted, ...] = ()


@dataclass(frozen=True)
class Target:
    """What is to be taken back: one commit, or those of a turn, newest first."""

    id: str
    subject: str
    commits: tuple[Entry, ...]


class NothingLeftError(StoreError):
    """What was to be taken back is not there any more."""


# ── finding ───────────────────────────────────────────────────────────────────────────────────


def newest(store: Store, limit: int = 10) -> list[Entry]:
    """The newest commits that changed memory, undos included."""
    return list(itertools.islice(_along(store, MEMORY), limit))


def find(store: Store, what: str | None = None) -> Target:
    """The commit, change or turn that ``what`` names; None is the newest that changed memory.

    Raises:
        StoreError: there is none, or it cannot be undone.
    """
    repo = store.repo
    if what is None:
        found = newest(store, 1)
        if not found:
            raise StoreError(f"{store.root.name} has no change of memory yet: nothing to undo.")
        return _single(store, found[0])
    commit = repo.resolve(what)
    if commit:
        if not repo.descends(commit, "HEAD"):
            raise StoreError(
                f"{what} is not in the history of {store.root.name} as it is now: "
                f"see fsagent log {store.root}"
            )
        return _single(store, walk.entries(repo, [commit])[commit])
    found = list(walk.entries(repo, named(repo, what, store.rev or "HEAD")[::-1]).values())
    if not found:
        raise StoreError(
            f"{one_line(what)!r} is no commit, change or turn of {store.root.name}: "
            f"see fsagent log {store.root}"
        )
    if found[0].commit.change == what:
        return _single(store, found[0])
    of_memory = tuple(one for one in found if _files_of(one))
    if not of_memory:
        raise StoreError(f"The turn {what} changed no memory; what was said in it stays in recall.")
    said = next((one.commit.subject for one in found if not _files_of(one)), "turn")
    return Target(what, said, of_memory)


def _single(store: Store, one: Entry) -> Target:
    name = one.commit.commit[:7]
    if len(one.parents) > 1:
        raise StoreError(
            f"{name} is a merge, which brought many changes at once: undo these one by one."
        )
    files = _files_of(one)
    if not files:
        turn = one.commit.turn
        what = "recall, which is never rewritten" if one.changes else "nothing"
        more = f" What its turn did to memory: fsagent undo {store.root} {turn}" if turn else ""
        raise StoreError(f"{name} changed {what}, so there is nothing to undo in it.{more}")
    if one.commit.commit in walk.cut(store.repo):
        raise StoreError(
            f"The history that is here begins with {name}, so what that one changed is unknown: "
            f"bring in the rest ({walk.whole_again(store.repo)})."
        )
    if any(change.path == "agent.yaml" and not change.old for change in files):
        raise StoreError(
            f"{name} made the agent, and cannot be undone; to be rid of it, delete the directory."
        )
    return Target(one.id, one.commit.subject, (one,))


def _files_of(one: Entry) -> list[TreeChange]:
    """The agent's own files that a commit changed, recall apart."""
    return [
        change
        for change in one.changes
        if is_agents(change.path)
        and not change.path.startswith("recall/")
        and (change.old or change.new)
    ]


# ── walking ───────────────────────────────────────────────────────────────────────────────────


def step_back(store: Store, *, side: Side | None = None, resolve: Resolve | None = None) -> Undone:
    """Undo the newest change that is no undo and is not undone: each time further back.

    Raises:
        UndoConflict, StoreError: as ``undo``, or since there is none left.
    """
    for one, undone in _standing(store):
        if not undone and not one.commit.undoes and len(one.parents) == 1:
            try:
                return undo(store, _single(store, one), side=side, resolve=resolve)
            except NothingLeftError:
                continue
    raise StoreError("There is no earlier change of memory to undo.")


def step_forward(
    store: Store, *, side: Side | None = None, resolve: Resolve | None = None
) -> Undone:
    """Give back what the newest undo took, unless memory was changed otherwise since.

    Raises:
        StoreError: there is nothing to redo.
    """
    for one, undone in _standing(store):
        if undone or _is_redo(one):
            continue
        if not one.commit.undoes:
            break
        return undo(store, _single(store, one), side=side, resolve=resolve)
    raise StoreError("There is nothing to redo: the newest change of memory is not an undo.")


def _standing(store: Store, paths: tuple[str, ...] = MEMORY) -> Iterator[tuple[Entry, bool]]:
    """Changes of these paths, newest first, and whether each is undone."""
    gone: set[str] = set()
    for one in _along(store, paths):
        undone = one.is_called(gone)
        if one.commit.undoes and not undone:
            gone.add(one.commit.undoes)
        yield one, undone


def _undone_by(store: Store, target: Target) -> str | None:
    """The undo of just that which still stands, if there is one."""
    oldest = target.commits[-1].commit.commit
    paths = tuple({change.path for one in target.commits for change in _files_of(one)})
    for one, undone in _standing(store, paths):
        if one.commit.commit == oldest:
            break
        if one.commit.undoes == target.id and not undone:
            return one.commit.commit
    return None


def _is_redo(one: Entry) -> bool:
    return bool(one.commit.undoes) and one.commit.subject.startswith("redo: ")


def _along(store: Store, paths: tuple[str, ...]) -> Iterator[Entry]:
    """The commits along the first parents of HEAD that changed these paths, newest first."""
    if store.rev is None:
        return iter(())
    return walk.log(store.repo, store.rev, paths, "--first-parent")


# ── undoing ───────────────────────────────────────────────────────────────────────────────────


def undo(
    store: Store, target: Target, *, side: Side | None = None, resolve: Resolve | None = None
) -> Undone:
    """Take back ``target`` in one commit by the person; see ``find``.

    Args:
        store: The agent's files.
        target: What to take back.
        side: What counts where a later change edited the same words: "ours", that change, or
            "theirs", what was there before.
        resolve: Asked instead for each file with such a place.

    Raises:
        UndoConflict: there is such a place, and neither is given; nothing was written.
        StoreError: nothing of it is left to take back, or it cannot be written.
    """
    subject = _subject(target.subject)
    person = store.repo.person()
    with store.turn():
        store.mend()
        with store.change(subject, author=person, undoes=target.id) as change:
            change.begin()
            work = _Undoing(store, target, side)
            files = work.files(resolve)
            if not files:
                raise NothingLeftError(
                    f"Nothing of {one_line(target.subject)!r} is left to take back: memory does "
                    "not hold it any more."
                )
            adopted = store.adopt(files)
            change.seen.update({path: work.today[path] for path in files})
            change.writes.update(files)
            change.modes.update(work.modes(files))
            lines = [
                line for path in files for line in changed_lines(work.today[path], files[path])
            ]
            verb = "redid" if subject.startswith("redo: ") else "undid"
            where = "" if len(files) == 1 and lines else f" in {_named(files)}"
            told = f"{person.name} {verb} {_bare(target.subject)!r}{where}:\n{shortened(lines)}"
            events = [(told_of(store, one), one.change) for one in adopted] + [(told, change.id)]
            clock = store.clock
            records = [
                Record(clock.id(), stamp(clock.now()), "event", kept, "", change=ident)
                for text, ident in events
                for kept, _ in [masked(text, store.config.allow)]
            ]
            path, data = store.with_records(records)
            change.writes[path] = data
    assert change.commit is not None  # noqa: S101 - recall has a new line
    return Undone(
        change.commit,
        change.id,
        subject,
        target.id,
        tuple(files),
        tuple(lines),
        (*adopted, *change.adopted),
    )


def _subject(of: str) -> str:
    """The subject of an undo; one of an undo gives back, and is called so."""
    return f"redo: {of[6:]}" if of.startswith("undo: ") else f"undo: {_bare(of)}"


def _bare(subject: str) -> str:
    return subject.removeprefix("undo: ").removeprefix("redo: ")


def _named(paths: Collection[str]) -> str:
    """The first of some files by name, and how many more there are."""
    first, more = sorted(paths)[:5], len(paths) - 5
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def changed_lines(old: bytes | None, new: bytes | None) -> list[str]:
    """The changed lines of a file."""
    texts = [_text(data or b"") for data in (old, new)]
    if None in texts:
        return [_BINARY]
    before, after = (_legible(text or "").split("\n") for text in texts)
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return [line.rstrip("\r") for line in list(lines)[2:] if not line.startswith("@@") and line[1:]]


def _text(data: bytes) -> str | None:
    """The text of a file, in whatever encoding: ``_data`` gives its bytes back. None: binary."""
    return None if b"\0" in data else data.decode(errors="surrogateescape")


def _data(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _legible(text: str) -> str:
    """A text as it can be printed: a byte that is not UTF-8 is a sign for itself."""
    return _data(text).decode(errors="replace")


@dataclass
class _Way:
    """The versions of one file, oldest first, each with the commit that made it."""

    texts: list[bytes | None]
    commits: list[Entry | None]

    undos: set[int] = field(default_factory=set)
    """The numbers of versions that took something back."""

    def add(self, data: bytes | None, by: Entry | None, *, undo: bool = False) -> None:
        self.texts.append(data)
        self.commits.append(by)
        if undo or (by and by.commit.undoes):
            self.undos.add(len(self.texts) - 1)


@dataclass
class _Undoing:
    """One undo, in memory: nothing is written here."""

    store: Store
    target: Target
    side: Side | None
    today: dict[str, bytes | None] = field(default_factory=dict)
    """The files as they are, hand edits included."""
    result: dict[str, bytes | None] = field(default_factory=dict)
    clashes: list[Sides] = field(default_factory=list)
    editable: bool = True
    """Whether all that clashes is text that an editor can show."""
    again: dict[str, list[bytes | None]] = field(default_factory=dict)
    """What each step of a turn has made of a file so far."""
    renames: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The commit that gave a file its name, and the name that it had before."""

    def files(self, resolve: Resolve | None) -> dict[str, bytes | None]:
        """The files that change, with what they will hold (None: they go)."""
        for one in self.target.commits:
            for change in _files_of(one):
                self._take(one, change, resolve)
        if self.clashes:
            done = _undone_by(self.store, self.target)
            if done:
                raise NothingLeftError(
                    f"{one_line(self.target.subject)!r} is undone already, by {done[:7]}: "
                    "undo that one to have it again."
                )
            raise UndoConflict(
                _explained(self.target, self.clashes, self.editable), tuple(self.clashes)
            )
        changed = {path: d for path, d in self.result.items() if d != self.today[path]}
        if "agent.yaml" in changed and changed["agent.yaml"] is None:
            raise StoreError("An agent without agent.yaml is none: this cannot be undone.")
        return changed

    def modes(self, files: Iterable[str]) -> dict[str, int]:
        """The modes that files which come back had."""
        found = {}
        for path in files:
            gone = [
                one
                for one in self.target.commits
                if any(change.path == path and change.old for change in one.changes)
            ]
            if gone and self.today[path] is None:
                before = f"{gone[-1].commit.commit}^"
                found[path] = self.store.repo.files(before, [path])[path].mode
        return found

    def _take(self, one: Entry, change: TreeChange, resolve: Resolve | None) -> None:
        path = self._place(change)
        if path not in self.today:
            self.today[path] = self.result[path] = self.store.now(path)
        before, after = self._read(change.old), self._read(change.new)
        today = self.result[path]
        if today == after:
            made: bytes | None = before
        elif today == before:
            return
        else:
            made = self._merge(one, path, (before, after, today), resolve)
        self.result[path] = made
        self.again.setdefault(path, []).append(made)

    def _place(self, change: TreeChange) -> str:
        """Where the file is today that a change left: later ones may have given it another name."""
        path, repo = change.path, self.store.repo
        met = {path}
        while change.new and self.store.now(path) is None:
            gone = next((one for one in _along(self.store, (path,)) if _removes(one, path)), None)
            new = walk.renamed(repo, gone.commit.commit, path) if gone else None
            if gone is None or new is None or new in met:
                return change.path
            self.renames[new] = (gone.commit.commit, path)
            met.add(path := new)
        return path

    def _merge(
        self,
        one: Entry,
        path: str,
        three: tuple[bytes | None, bytes | None, bytes | None],
        resolve: Resolve | None,
    ) -> bytes | None:
        """A file that went on changing after the change."""
        before, after, today = three
        if before is None and today is None:
            return None
        texts = [None if data is None else _text(data) for data in three]
        way = self._way(one, path, before, after)
        if None in texts:
            return self._whole(path, way, three, resolve)
        names = [by.commit.commit if by else "" for by in way.commits]
        place = names.index(one.commit.commit)
        versions = [_text(data or b"") or "" for data in way.texts]
        merged = take_back(versions, way.undos, place)
        if not merged.clashes or self.side:
            return _data(merged.text(self.side or "ours"))
        sides = [
            Sides(
                path,
                c.line,
                _legible(c.made),
                _legible(c.ours),
                _legible(c.theirs),
                *self._who(way.commits[c.step]),
            )
            for c in merged.clashes
        ]
        marked = _marked(merged, sides)
        if resolve and _legible(marked) == marked:  # an editor would not give the bytes back
            return self._asked(path, marked, resolve)
        self.editable = self.editable and _legible(marked) == marked
        self.clashes += sides
        return today

    def _whole(
        self,
        path: str,
        way: _Way,
        three: tuple[bytes | None, bytes | None, bytes | None],
        resolve: Resolve | None,
    ) -> bytes | None:
        """A file of which one side has the whole or nothing, or that is no text."""
        before, after, today = three
        if self.side:
            return today if self.side == "ours" else before
        made, ours, theirs = (("" if d is None else _text(d)) for d in (after, today, before))
        who = self._who(way.commits[-1])
        words = [_BINARY if text is None else _legible(text) for text in (made, ours, theirs)]
        is_text = None not in (made, ours, theirs) and words == [made, ours, theirs]
        self.editable = self.editable and is_text
        sides = Sides(path, 0, words[0], words[1], words[2], *who, whole=True)
        if resolve and is_text:
            clash = Clash(made or "", ours or "", theirs or "", 1, 0)
            return self._asked(path, _marked(Merged((clash,)), [sides]), resolve) or None
        self.clashes.append(sides)
        return today

    def _asked(self, path: str, text: str, resolve: Resolve) -> bytes:
        answer = resolve(path, text)
        if answer is None:
            raise StoreError("Nothing was changed: the text was not saved.")
        marks = tuple(mark for mark in (NOW, UNDONE) if f"\n{mark}" in f"\n{answer}")
        if marks:
            raise StoreError(
                f"Nothing was changed: a heading {marks[0].strip()} is still in the text of {path}."
            )
        return _data(answer)

    def _read(self, oid: str | None) -> bytes | None:
        return None if oid is None else self.store.repo.read(oid)

    def _who(self, one: Entry | None) -> tuple[str, str, str]:
        if one is None:
            return self.store.repo.person().name, "", "not committed yet"
        return one.commit.author, one.commit.commit, one.commit.subject

    def _way(self, one: Entry, path: str, before: bytes | None, after: bytes | None) -> _Way:
        """How a file went from before the change to today.

        It begins earlier where an undo is on it: before what that one took back, so that a line
        which came back is known for the same.
        """
        chain = self._chain(one, path)
        if chain:
            way = _Way([self._read(chain[0][1].old)], [None])
            for step, change in chain:
                way.add(self._read(change.new), step)
        else:  # it came in by a merge: there is no single way
            way = _Way([before, after], [None, one])
            head = self.store.repo.files("HEAD", [path]).get(path)
            last = next(_along(self.store, (path,)), None)
            way.add(self._read(head.oid if head else None), last)
        if way.texts[-1] != self.today[path]:
            way.add(self.today[path], None)
        for made in self.again.get(path, ()):
            way.add(made, self.target.commits[0], undo=True)
        return way

    def _names(self, path: str) -> tuple[str, ...]:
        """The names of a file, newest first."""
        names = [path]
        while names[-1] in self.renames and self.renames[names[-1]][1] not in names:
            names.append(self.renames[names[-1]][1])
        return tuple(names)

    def _chain(self, one: Entry, path: str) -> list[tuple[Entry, TreeChange]]:
        """The commits that changed a file since before the change, oldest first; [] if unknown."""
        found: list[tuple[Entry, TreeChange]] = []
        wanted = {one.commit.commit}
        met: set[str] = set()
        for step in _along(self.store, self._names(path)):
            changes = {change.path: change for change in step.changes}
            change = changes.get(path)
            if change is None:
                continue
            commit, before = self.renames.get(path, ("", ""))
            if commit == step.commit.commit:
                path, change = before, replace(change, old=changes[before].old)
            if found and found[-1][1].old != change.new:
                break
            if met >= wanted and not step.is_called(wanted):
                break
            found.append((step, change))
            met |= {name for name in wanted if step.is_called({name})}
            if step.commit.undoes:
                wanted.add(step.commit.undoes)
        found.reverse()
        return found if any(s.commit.commit == one.commit.commit for s, _ in found) else []


def _removes(one: Entry, path: str) -> bool:
    return any(change.path == path and change.new is None for change in one.changes)


def _marked(merged: Merged, sides: list[Sides]) -> str:
    """A text with both sides of each clash under headings, for a person to settle."""
    parts, left = [], list(sides)
    for piece in merged.pieces:
        if isinstance(piece, str):
            parts.append(piece)
            continue
        side = left.pop(0)
        by = f" ({side.who}: {one_line(side.subject)})" if side.who else ""
        parts.append(f"{NOW}as it is now{by}\n{_ended(piece.ours)}{MIDDLE}\n")
        parts.append(f"{_ended(piece.theirs)}{UNDONE}{END}\n")
    return "".join(parts)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _explained(target: Target, clashes: list[Sides], editable: bool) -> str:
    first = clashes[0]
    more = f" and {len(clashes) - 1} more" if len(clashes) > 1 else ""
    where = f"{first.path}{f', line {first.line}' if first.line else ''}{more}"
    by = f"{first.who}: {one_line(first.subject, 50)}"
    by += f", {first.commit[:7]}" if first.commit else ""
    return (
        f"{one_line(target.subject)!r} cannot be taken back as it is, since a later change "
        f"edited the same words ({where}; {by}). Nothing was changed: keep the later words with "
        f"--ours{',' if editable else ' or'} put back what was there before with --theirs"
        f"{', or decide with --edit' if editable else ''}."
    )
