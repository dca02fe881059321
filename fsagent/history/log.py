"""The log in turns: a turn's commits as one, with what was said."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.clock import born, moment
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
    """Commits, newest first, by turns, as they come, each turn once, where its last commit stands.

    Others may have committed in the midst of a turn. So it is held back until a commit comes that
    is older than the turn, whose id tells when it began.
    """
    recall = Recall(store)
    number = itertools.count()
    held: dict[str | int, list[Commit]] = {}
    for commit in commits:
        # What is no turn's stands alone.
        held.setdefault(commit.turn or next(number), []).append(commit)
        while held and _is_whole(held[first := next(iter(held))], commit):
            yield _happening(recall, held.pop(first))
    yield from (_happening(recall, found) for found in held.values())


def _is_whole(found: Sequence[Commit], now: Commit) -> bool:
    """Whether none of the commits that come after ``now`` can belong to these."""
    turn = found[0].turn
    if turn is None or now.turn == turn:
        return turn is None
    begun, when = born(turn), moment(now.ts)
    # A commit knows whole seconds only.
    return begun is None or when is None or when < begun.replace(microsecond=0)


def _happening(recall: Recall, found: Sequence[Commit]) -> Happening:
    return Happening(found[0].turn, _said(recall, found), tuple(found))


def _said(recall: Recall, commits: Sequence[Commit]) -> str:
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
