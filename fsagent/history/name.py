"""What a person calls a commit: a revision of Git's, a change, a turn, or a date."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsagent.clock import born, day, moment
from fsagent.errors import StoreError
from fsagent.formats import one_line
from fsagent.repo import walk

if TYPE_CHECKING:
    from fsagent.records import Commit
    from fsagent.repo import Repo
    from fsagent.store import Store

_ID = re.compile(r"[0-9a-z]{6,40}")
"""Ids of changes and turns: 18 characters of Crockford's alphabet, those of tests fewer."""


def commit_of(store: Store, text: str) -> str:
    """The id of the commit that ``text`` names; of a turn, its last one. See ``commits_of``."""
    return commits_of(store, text)[-1]


def commits_of(store: Store, text: str) -> list[str]:
    """The ids of the commits that ``text`` names: one, or all of a turn, oldest first.

    Args:
        store: The agent's files.
        text: A revision (``HEAD~3``, ``main``, ``3f8be31``), the id of a change or a turn, or a
            date: then what was here at its end, and the store warns of what was elsewhere.

    Raises:
        StoreError: there is no such commit.
    """
    rev = store.rev
    if rev is None:
        raise StoreError(f"{store.root} has no commits yet.")
    if text in ("HEAD", "@"):
        return [rev]
    found = store.repo.resolve(text)
    if found:
        return [found]
    if moment(text.strip()):
        when = day(text, store.config.zone, end=True)
        made = walk.before(store.repo, when, rev)
        if made:
            here, there = made
            if there:
                store.warn(
                    f"On {text.strip()} this memory was in two places, which met later: here is "
                    f"{here[:7]}; what the other place had is {there[:7]}."
                )
            return [here]
        raise StoreError(f"{store.config.name} was not there yet on {text.strip()}.")
    made_so = named(store.repo, text, rev)
    if made_so:
        return made_so
    raise StoreError(
        f"There is no commit, change, turn or date {one_line(text)!r}. "
        f"See: fsagent log {store.root}"
    )


def named(repo: Repo, ident: str, rev: str) -> list[str]:
    """The commits of a change or a turn up to ``rev``, oldest first; none if there is no such."""
    if not _ID.fullmatch(ident):
        return []
    keys, near = ("Change", "Turn"), born(ident)
    found = walk.with_trailer(repo, keys, ident, rev, near) if near else []
    return (found or walk.with_trailer(repo, keys, ident, rev))[::-1]


def undone(repo: Repo, commit: Commit) -> list[str]:
    """The commits that an undo took back, oldest first; none if it is no undo."""
    if not commit.undoes:
        return []
    if len(commit.undoes) == len(commit.commit):  # a person's commit
        found = repo.resolve(commit.undoes)
        return [found] if found else []
    return named(repo, commit.undoes, commit.commit)


def pair_of(store: Store, revisions: str) -> list[str]:
    """What ``git diff`` is asked for: the commit ``REV``, or the two of ``REV..REV``.

    Raises:
        StoreError: one of them names no commit.
    """
    first, dots, second = revisions.partition("..")
    if not dots:
        return [commit_of(store, first)]
    three = second.startswith(".")
    ends = [commit_of(store, one or "HEAD") for one in (first, second.lstrip("."))]
    return ["...".join(ends)] if three else ends
