"""Which changes can be taken back: the newest of memory and those before it, or one by its name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from fsagent.errors import StoreError
from fsagent.formats import one_line
from fsagent.history.name import named
from fsagent.layout import is_agents
from fsagent.repo import TreeChange, walk
from fsagent.repo.walk import Entry
from fsagent.store import Store

MEMORY = ("core", "archival", "files")
"""What ``--last`` and a walk back look at. Other files of the agent's are undone by name."""


@dataclass(frozen=True)
class Target:
    """What is to be taken back: one commit, or those of a turn, newest first."""

    id: str
    subject: str
    commits: tuple[Entry, ...]


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
    of_memory = tuple(one for one in found if files_of(one))
    if not of_memory:
        raise StoreError(f"The turn {what} changed no memory; what was said in it stays in recall.")
    said = next((one.commit.subject for one in found if not files_of(one)), "turn")
    return Target(what, said, of_memory)


def _single(store: Store, one: Entry) -> Target:
    name = one.commit.commit[:7]
    if len(one.parents) > 1:
        raise StoreError(
            f"{name} is a merge, which brought many changes at once: undo these one by one."
        )
    files = files_of(one)
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
    for one, undone in _standing(store):
        if not undone and not one.commit.undoes and len(one.parents) == 1:
            yield _single(store, one)


def forward(store: Store) -> Iterator[Target]:
    """The undos that stand, newest first, up to where memory was changed otherwise."""
    for one, undone in _standing(store):
        if undone or _is_redo(one):
            continue
        if not one.commit.undoes:
            break
        yield _single(store, one)


def undone_by(store: Store, target: Target) -> str | None:
    """The undo of just that which still stands, if there is one."""
    oldest = target.commits[-1].commit.commit
    paths = tuple({change.path for one in target.commits for change in files_of(one)})
    for one, undone in _standing(store, paths):
        if one.commit.commit == oldest:
            break
        if one.commit.undoes == target.id and not undone:
            return one.commit.commit
    return None


def _standing(store: Store, paths: tuple[str, ...] = MEMORY) -> Iterator[tuple[Entry, bool]]:
    """Changes of these paths, newest first, and whether each is undone."""
    gone: set[str] = set()
    for one in _along(store, paths):
        undone = one.is_called(gone)
        if one.commit.undoes and not undone:
            gone.add(one.commit.undoes)
        yield one, undone


def _is_redo(one: Entry) -> bool:
    return bool(one.commit.undoes) and one.commit.subject.startswith("redo: ")


def _along(store: Store, paths: tuple[str, ...]) -> Iterator[Entry]:
    """The commits along the first parents of HEAD that changed these paths, newest first."""
    if store.rev is None:
        return iter(())
    return walk.log(store.repo, store.rev, paths, "--first-parent")
