"""The log in turns: a turn's commits as one, with what was said."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.history.why import Recall
from fsagent.records import Commit

if TYPE_CHECKING:
    from fsagent.store import Store


@dataclass(frozen=True)
class Happening:
    """A turn's commits, newest first, with what was said; or a commit that is no turn's."""

    turn: str | None
    said: str
    commits: tuple[Commit, ...]

    @property
    def tools(self) -> Counter[str]:
        """The tools that changed something, and how often, in the order of their first calls."""
        return Counter(commit.tool for commit in reversed(self.commits) if commit.tool)


def happenings(store: Store, commits: Iterable[Commit]) -> Iterator[Happening]:
    """Commits, newest first, by turns, as they come."""
    recall = Recall(store)
    number = itertools.count()
    # What is no turn's stands alone.
    for _, group in itertools.groupby(commits, lambda one: one.turn or next(number)):
        found = tuple(group)
        yield Happening(found[0].turn, _said(recall, found), found)


def _said(recall: Recall, commits: tuple[Commit, ...]) -> str:
    """What was said: the subject of the recall commit has it, unless that one is left out."""
    if not commits[0].turn:
        return ""
    for commit in commits:
        if not commit.tool and commit.subject.startswith("turn: "):
            return commit.subject.removeprefix("turn: ")
    message = next((commit.message for commit in commits if commit.message), None)
    if message:
        for record in recall.turn(commits[0].turn, message, commits[0].ts):
            if record.id == message:
                return record.content
    return ""
