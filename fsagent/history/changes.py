"""Which changes can be taken back: the newest of memory and those before it, or one by its name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fsagent.errors import StoreError
from fsagent.formats import one_line
from fsagent.history.name import named
from fsagent.history.unfold import lines_of
from fsagent.layout import is_agents
from fsagent.records import Record
from fsagent.repo import TreeChange, walk
from fsagent.repo.walk import Entry
from fsagent.store import Store

MEMORY = ("core/", "archival/", "files/")
"""What ``--last`` and a walk back look at. Other files of the agent's are undone by name."""


@dataclass(frozen=True)
class Target:
    """What is to be taken back: one commit, or those of a turn, newest first.

    ``passed`` are merges that were passed over to come to it. ``lines`` are the summaries that a
    fold added to recall, and such like; see ``unfold``.
    """

    id: str
    subject: str
    commits: tuple[Entry, ...]
    passed: tuple[Entry, ...] = ()
    lines: tuple[Record, ...] = ()


def newest(store: Store, limit: int = 10) -> list[Entry]:
    """The newest commits that changed memory, undos included and merges left out."""
    found = (one for one in _of_memory(store) if not _is_merge(one))
    return list(itertools.islice(found, limit))


def find(store: Store, what: str | None = None) -> Target:
    """The commit, change or turn that ``what`` names; None is the newest that changed memory.

    Raises:
        StoreError: there is none, or it cannot be undone.
    """
    repo = store.repo
    if what is None:
        passed: list[Entry] = []
        for one in _of_memory(store):
            if not _is_merge(one):
                return replace(_single(store, one), passed=tuple(passed))
            passed.append(one)
        raise StoreError(f"{store.root.name} has no change of memory yet: nothing to undo.")
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
    of_memory = tuple(one for one in found if files_of(one))
    if not of_memory:
        raise StoreError(f"The turn {what} changed no memory; what was said in it stays in recall.")
    said = next((one.commit.subject for one in found if not files_of(one)), "turn")
    return Target(what, said, of_memory)


def _single(store: Store, one: Entry) -> Target:
    name = one.commit.commit[:7]
    if _is_merge(one):
        raise StoreError(
            f"{name} is a merge, which brought many changes at once: undo these one by one."
        )
    files = files_of(one)
    begins = one.commit.commit in walk.cut(store.repo)
    lines = () if files or begins else tuple(lines_of(store, one))
    if lines:
        return Target(one.id, one.commit.subject, (one,), lines=lines)
    if not files:
        turn = one.commit.turn
        what = "recall, which is never rewritten" if one.changes else "nothing"
        more = f" What its turn did to memory: fsagent undo {store.root} {turn}" if turn else ""
        if one.changes and not turn:  # an import
            more = f" To have its records gone from view: git -C {store.root} revert {name}"
        raise StoreError(f"{name} changed {what}, so there is nothing to undo in it.{more}")
    if begins:
        raise StoreError(
            f"The history that is here begins with {name}, so what that one changed is unknown: "
            f"bring in the rest ({walk.whole_again(store.repo)})."
        )
    if any(change.path == "agent.yaml" and not change.old for change in files):
        raise StoreError(
            f"{name} made the agent, and cannot be undone; to be rid of it, delete the directory."
        )
    return Target(one.id, one.commit.subject, (one,))


def files_of(one: Entry) -> list[TreeChange]:
    """The agent's own files that a commit changed, recall apart."""
    return [
        change
        for change in one.changes
        if is_agents(change.path)
        and not change.path.startswith("recall/")
        and (change.old or change.new)
    ]


# ── walking ───────────────────────────────────────────────────────────────────────────────────


def back(store: Store) -> Iterator[Target]:
    """The changes that stand and are no undos, newest first."""
    passed: list[Entry] = []
    for one, undone in _standing(store):
        if _is_merge(one):
            passed.append(one)
        elif undone:
            passed.clear()  # the way has come by here before
        elif one.parents and not one.commit.undoes:
            yield replace(_single(store, one), passed=tuple(passed))


def forward(store: Store) -> Iterator[Target]:
    """The undos that stand, newest first, up to where memory was changed otherwise."""
    for one, undone in _standing(store):
        if undone or _is_merge(one) or _is_redo(one):
            continue
        if not one.commit.undoes:
            break
        yield _single(store, one)


def _standing(store: Store) -> Iterator[tuple[Entry, bool]]:
    """Changes of memory, newest first, and whether each is undone.

    Two machines may have undone the same: where it was brought back, both undos are undone.
    """
    gone: set[str] = set()
    back: set[str] = set()
    for one in _of_memory(store):
        undone = bool(one.names & gone) or one.commit.undoes in back
        if one.commit.undoes:
            (back if undone else gone).add(one.commit.undoes)
        yield one, undone


def _of_memory(store: Store) -> Iterator[Entry]:
    """The commits that changed memory, and all merges, newest first; see ``walk.history``."""
    for one in walk.history(store.repo, store.rev) if store.rev else ():
        if _is_merge(one) or any(change.path.startswith(MEMORY) for change in files_of(one)):
            yield one


def undone_by(store: Store, target: Target) -> str | None:
    """The undo of just that which still stands, if there is one."""
    return _undo_of(store, target.id, f"{target.commits[-1].commit.commit}..{store.rev}")


def _undo_of(store: Store, ident: str, since: str) -> str | None:
    undos = walk.with_trailer(store.repo, ["Undoes"], ident, since)
    entries = walk.entries(store.repo, undos)
    return next((oid for oid in undos if not _undo_of(store, entries[oid].id, since)), None)


def _is_merge(one: Entry) -> bool:
    return len(one.parents) > 1


def _is_redo(one: Entry) -> bool:
    return bool(one.commit.undoes) and one.commit.subject.startswith("redo: ")
