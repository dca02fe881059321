"""Undo: a new commit that takes back one older change, or a turn's, and nothing else.

Which changes there are says ``changes``, what became of their files ``course``, and how a text is
merged ``merge``. The commit holds the memory and, in recall, the event that tells the agent of it.
Recall itself is never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from fsagent.change import Adopted
from fsagent.errors import StoreError, UndoConflict
from fsagent.formats import one_line
from fsagent.history.changes import MEMORY, Target, back, files_of, forward, undone_by
from fsagent.history.course import Course
from fsagent.history.edits import BINARY, Side, changed_lines, data_of, legible, text_of
from fsagent.history.join import decided
from fsagent.history.lines import NOBODY, trace
from fsagent.history.merge import Clash, Merged, take_back
from fsagent.history.name import undone
from fsagent.history.renames import renamed
from fsagent.history.unfold import voiding
from fsagent.past import Past
from fsagent.records import Commit
from fsagent.repo import Repo, TreeChange, walk
from fsagent.repo.sides import entries
from fsagent.repo.walk import Entry
from fsagent.store import Store
from fsagent.turn import shortened, told_of

Resolve = Callable[[str, str], "str | None"]
"""Asked for a path and its text with both sides in it, a person gives the text; None: they stop."""

NOW, UNDONE, MIDDLE, END = "<<<<<<< ", ">>>>>>> ", "=======", "without the change"


@dataclass(frozen=True)
class Sides:
    """A clash as a person is shown it.

    ``made`` is what the change made of the words, ``ours`` what they are today, by ``who`` in the
    commit ``commit`` with ``subject`` ("" where no commit holds it yet), and ``theirs`` what they
    were before. ``back`` is the undo or redo that brought these words back since, "" if none did. A
    whole file that is not there is "".
    """

    path: str
    line: int
    made: str
    ours: str
    theirs: str
    who: str = ""
    commit: str = ""
    subject: str = ""
    back: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Undone:
    """An undo: its commit and change id, its subject, and what it took.

    ``undoes`` is the id that was taken back, ``lines`` are the changed lines as in a diff. ``told``
    are sentences about what was passed over, and of keys in a hand edit that was committed with it.
    """

    commit: str
    change: str
    subject: str
    undoes: str
    paths: tuple[str, ...]
    lines: tuple[str, ...]
    adopted: tuple[Adopted, ...] = ()
    told: tuple[str, ...] = ()


class NothingLeftError(StoreError):
    """What was to be taken back is not there any more."""


class KeptError(StoreError):
    """All that is left of it was edited since, and the person decided to keep that."""


def step_back(store: Store, *, side: Side | None = None, resolve: Resolve | None = None) -> Undone:
    """Undo the newest change that is no undo and is not undone: each time further back.

    Raises:
        UndoConflict, StoreError: as ``undo``, or since there is none left.
    """
    targets = back(store)
    for target in targets:
        try:
            return undo(store, target, side=side, resolve=resolve)
        except NothingLeftError:
            continue
        except KeptError as error:
            before = next(targets, None)
            if before is None:
                raise
            name = before.commits[0].commit.commit[:7]
            raise KeptError(f"{error} To go on with the change before it: /undo {name}") from None
    raise StoreError("There is no earlier change of memory to undo.")


def step_forward(
    store: Store, *, side: Side | None = None, resolve: Resolve | None = None
) -> Undone:
    """Give back what the newest undo took, unless memory was changed otherwise since.

    Raises:
        StoreError: there is nothing to redo.
    """
    for target in forward(store):
        try:
            return undo(store, target, side=side, resolve=resolve)
        except NothingLeftError:
            continue
    raise StoreError("There is nothing to redo: the newest change of memory is not an undo.")


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
        KeptError: what was decided leaves everything as it is.
        StoreError: nothing of it is left to take back, or it cannot be written.
    """
    if isinstance(store, Past):
        raise store.refusal()
    known = len(store.warnings)
    undoing = _unfold if target.lines else _undo
    done = undoing(store, target, _subject(target.subject), side, resolve)
    # Above all of keys and tokens in what was edited by hand, and is committed with it.
    return replace(done, told=(*done.told, *store.warnings[known:]))


def _undo(
    store: Store, target: Target, subject: str, side: Side | None, resolve: Resolve | None
) -> Undone:
    """Take back changes of files."""
    person = store.repo.person()
    with store.turn():
        store.mend()
        with store.change(subject, author=person, undoes=target.id) as change:
            change.begin()
            work = _Undoing(store, target, side)
            files = work.files(resolve)
            if not files and work.decided:
                raise KeptError(
                    f"Nothing was changed: all that is left of {one_line(target.subject)!r} was "
                    "edited since, and that stays as it is."
                )
            if not files:
                raise NothingLeftError(
                    f"Nothing of {one_line(target.subject)!r} is left to take back: memory does "
                    f"not hold it any more. {' '.join(work.told())}".strip()
                )
            adopted = store.adopt([*files, *map(work.course.committed, files)])
            change.refuses_secrets = False  # it is in the history: here it only comes back
            for path, data in files.items():
                store.name_secrets(path, data or b"", work.today[path])
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
            path, data = store.with_records(store.events(events))
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
        tuple(work.told()),
    )


def _unfold(store: Store, target: Target, subject: str, *_: object) -> Undone:
    """Take back a fold, in one commit by the person that adds an event to recall."""
    person = store.repo.person()
    with store.turn():
        store.mend()
        with store.change(subject, author=person, undoes=target.id) as change:
            change.begin()
            records = voiding(store, target.lines, person.name, change.id)
            path, data = store.with_records(records)
            change.writes[path] = data
    assert change.commit is not None  # noqa: S101 - recall has a new line
    lines = [
        f"{'-' if record.covers else '+'}{line}"
        for record in target.lines
        for line in record.content.split("\n")
    ]
    return Undone(change.commit, change.id, subject, target.id, (path,), tuple(lines))


def _subject(of: str) -> str:
    """The subject of an undo; one of an undo gives back, and is called so."""
    return f"redo: {of[6:]}" if of.startswith("undo: ") else f"undo: {_bare(of)}"


def _bare(subject: str) -> str:
    return subject.removeprefix("undo: ").removeprefix("redo: ")


def _named(paths: Collection[str]) -> str:
    """The first of some files by name, and how many more there are."""
    first, more = sorted(paths)[:5], len(paths) - 5
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


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
    decided: bool = False
    """Whether there was a clash: one that nobody decides is raised."""
    again: dict[str, list[bytes | None]] = field(default_factory=dict)
    """What each step of a turn has made of a file so far."""
    moves: dict[str, tuple[Entry, str]] = field(default_factory=dict)
    """Files that the change renamed, by today's name: the commit, and where each goes back to."""

    def __post_init__(self) -> None:
        self.course = Course(self.store, self.target.commits[-1])

    def files(self, resolve: Resolve | None) -> dict[str, bytes | None]:
        """The files that change, with what they will hold (None: they go)."""
        for one in self.target.commits:
            changes = {change.path: change for change in files_of(one)}
            for old, new in _renamed(self.store.repo, one, changes).items():
                self._take_name(one, changes.pop(old), changes.pop(new), resolve)
            for change in changes.values():
                self._take(one, change, resolve)
        for path, (one, old) in self.moves.items():
            self._move(one, path, old, resolve)
        if self.clashes:
            done = undone_by(self.store, self.target)
            if done:
                raise NothingLeftError(
                    f"{one_line(self.target.subject)!r} is undone already, by {done[:7]}: "
                    "undo that one to have it again."
                )
            said = [_explained(self.target, self.clashes, self.editable), *self.course.likely]
            raise UndoConflict(" ".join(said), tuple(self.clashes))
        changed = {path: d for path, d in self.result.items() if d != self.today[path]}
        if "agent.yaml" in changed and changed["agent.yaml"] is None:
            raise StoreError("An agent without agent.yaml is none: this cannot be undone.")
        return changed

    def told(self) -> Iterator[str]:
        """A sentence for each merge that was passed over and changed something by itself, and for
        each file that may have another name by now."""
        root, repo = self.store.root, self.store.repo
        for merge in self.target.passed:
            paths = decided(repo, merge, MEMORY)
            if paths:
                name = merge.commit.commit[:7]
                yield (
                    f"Passed over {name} ({one_line(merge.commit.subject, 50)}), a merge in which "
                    f"{_named(paths)} had to be settled: fsagent show {root} {name}"
                )
        yield from self.course.likely

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

    def _take_name(
        self, one: Entry, old: TreeChange, new: TreeChange, resolve: Resolve | None
    ) -> None:
        """Take back a rename: the file is one, and goes back with what it holds today."""
        path = self.course.place(new)
        self.course.came(new, old.path, path)
        if self.store.now(path) is None:  # it was deleted since
            return
        self.moves[path] = one, old.path
        self._take(one, replace(new, old=old.old), resolve)

    def _move(self, one: Entry, path: str, old: str, resolve: Resolve | None) -> None:
        """Give a file its old name back; another one that has it by now is a clash."""
        data = self.result[path]
        if path == old or data is None:
            return
        there = self._now(old)
        if there is not None:
            made = self._merge(one, old, (data, None, there), resolve)
            if made == there:
                return
            data = made
        self.result[old], self.result[path] = data, None

    def _now(self, path: str) -> bytes | None:
        """What a file holds so far."""
        if path not in self.today:
            self.today[path] = self.result[path] = self.store.now(path)
        return self.result[path]

    def _take(self, one: Entry, change: TreeChange, resolve: Resolve | None) -> None:
        path = self.course.place(change)
        today = self._now(path)
        before, after = self._read(change.old), self._read(change.new)
        if today == after:
            made: bytes | None = before
        elif today == before:
            return
        else:
            made = self._merge(one, path, (before, after, today), resolve)
        self.result[path] = made
        self.again.setdefault(path, []).append(made)

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
        texts = [None if data is None else text_of(data) for data in three]
        way = self.course.way(one, path, before, after)
        if way.texts[-1] != self.today[path]:
            way.add(self.today[path], None)
        for made in self.again.get(path, ()):
            way.add(made, self.target.commits[0], undo=True)
        names = [by.commit.commit if by else "" for by in way.commits]
        place = names.index(one.commit.commit)
        if None in texts:
            first = way.texts.index(way.texts[-1], place)  # it may have come back since
            return self._whole(path, way.commits[first], way.commits[-1], three, resolve)
        versions = [text_of(data or b"") or "" for data in way.texts]
        merged = take_back(versions, way.undos, place)
        self.decided = self.decided or bool(merged.clashes)
        if not merged.clashes or self.side:
            return data_of(merged.text(self.side or "ours"))
        sides = [
            Sides(
                path,
                c.line,
                legible(c.made),
                legible(c.ours),
                legible(c.theirs),
                *self._who(path, way.commits[c.step], c.touched),
            )
            for c in merged.clashes
        ]
        marked = _marked(merged, sides)
        if resolve and legible(marked) == marked:  # an editor would not give the bytes back
            return self._asked(path, marked, resolve)
        self.editable = self.editable and legible(marked) == marked
        self.clashes += sides
        return today

    def _whole(
        self,
        path: str,
        first: Entry | None,
        last: Entry | None,
        three: tuple[bytes | None, bytes | None, bytes | None],
        resolve: Resolve | None,
    ) -> bytes | None:
        """A file of which one side has the whole or nothing, or that is no text.

        ``first`` made it what it is today, and ``last`` did so last.
        """
        before, after, today = three
        self.decided = True
        if self.side:
            return today if self.side == "ours" else before
        made, ours, theirs = (("" if d is None else text_of(d)) for d in (after, today, before))
        words = [BINARY if text is None else legible(text) for text in (made, ours, theirs)]
        is_text = None not in (made, ours, theirs) and words == [made, ours, theirs]
        self.editable = self.editable and is_text
        sides = Sides(path, 0, words[0], words[1], words[2], *self._who(path, first), whole=True)
        if last and last is not first:
            sides = replace(sides, back=last.commit.commit)
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
        self.store.refuse_secrets(data_of(answer), data_of(text))  # what the person typed is new
        return data_of(answer)

    def _read(self, oid: str | None) -> bytes | None:
        return None if oid is None else self.store.repo.read(oid)

    def _who(self, path: str, one: Entry | None, line: int = 0) -> tuple[str, str, str, str]:
        """Whose words stand there, which ``one`` touched last: see ``Sides``."""
        if one is None:
            return self.store.repo.person().name, "", "not committed yet", ""
        commit, back = self._written(path, one, line)
        return commit.author, commit.commit, commit.subject, back

    def _written(self, path: str, one: Entry, line: int) -> tuple[Commit, str]:
        """The commit that wrote the words of a line, and the undo that brought them back since.

        An undo, a redo and a merge only bring the words of another one.
        """
        repo = self.store.repo
        if line and (one.commit.undoes or len(one.parents) > 1):
            name, data = self.course.committed(path), self.result[path] or b""
            steps = trace(repo, name, self.course.rev, data, [line - 1])
            for step in steps[line - 1][:1]:
                if step.commit not in (NOBODY, one.commit.commit):
                    commit = walk.commits(repo, [step.commit])[step.commit]
                    return commit, step.undos[0] if step.undos else ""
        side = self.course.brought(one, path)
        commit = next((by for by in side if len(by.parents) == 1), one).commit
        last = commit.commit
        while again := self._undone(self._undone(commit)):  # a redo does what was first done
            commit = again
        return commit, last if commit.commit != last else ""

    def _undone(self, commit: Commit | None) -> Commit | None:
        """What an undo took back, of a turn the last commit; None if it is no undo."""
        found = undone(self.store.repo, commit)[-1:] if commit else []
        return walk.commits(self.store.repo, found)[found[0]] if found else None


def _renamed(repo: Repo, one: Entry, changes: Collection[str]) -> dict[str, str]:
    """The files that a commit renamed, with their new names."""
    if not one.parents or len(changes) < 2:
        return {}
    ends = one.parents[0], one.commit.commit
    found = {path: pair for path, pair in entries(repo, *ends).items() if path in changes}
    gone = {path for path, (old, new) in found.items() if old and old.is_file and not new}
    return renamed(repo, *ends, found, gone)


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
    by += f", back with {first.back[:7]}" if first.back else ""
    return (
        f"{one_line(target.subject)!r} cannot be taken back as it is, since a later change "
        f"edited the same words ({where}; {by}). Nothing was changed: keep the later words with "
        f"--ours{',' if editable else ' or'} put back what was there before with --theirs"
        f"{', or decide with --edit' if editable else ''}."
    )
