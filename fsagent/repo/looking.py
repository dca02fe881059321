"""Which of the agent's own files differ from HEAD: Git's look, spared where it would find none."""

from __future__ import annotations

import os
import threading
from collections.abc import Container
from typing import TYPE_CHECKING

from fsagent.layout import OURS, is_agents
from fsagent.repo.gitindex import UnfitIndexError
from fsagent.repo.heads import UnfitHeadError
from fsagent.repo.notices import Notices
from fsagent.repo.puts import ConflictError

if TYPE_CHECKING:
    from fsagent.repo import Repo, Status
    from fsagent.repo.commit import Pipeline


class Looking:
    """Looks at one repository's work tree.

    When Git has found nothing, that stays so until the kernel tells of a touched file, somebody
    else commits, or somebody else writes the index; of what was touched, this process compares
    what it needs to.
    """

    def __init__(self, repo: Repo, pipeline: Pipeline) -> None:
        self._repo = repo
        self._pipeline = pipeline
        self._notices = Notices(str(repo.root), OURS)
        self._lock = threading.Lock()
        self._looks = 0
        self._calm: tuple[str | None, int] | None = None
        """HEAD, and how often the index was read, when nothing differed; None: who knows."""

    def differing(self, but: Container[str] = ()) -> list[Status]:
        """The agent's own files that differ, as ``Repo.status`` has them; ``but`` may be missing.

        From the second look on, somebody listens: a process that only looks once need not.
        """
        with self._lock:
            if self._undisturbed(but):
                return []
            self._calm, head = None, self._repo.head()
            touched = self._notices.touched()
            listening = touched is not None or (self._looks > 0 and self._notices.begin())
            self._notices.forget(touched or ())  # before Git looks: it will see them
            self._looks += 1
            found = self._repo.status(OURS)
            if listening and not found and self._repo.fast:
                try:
                    self._pipeline.index.load()
                    self._calm = head, self._pipeline.index.loads
                except (UnfitIndexError, OSError):
                    pass
            return found

    def committed(self, commit: str) -> None:
        """We have made a commit, on top of what ``builds_on`` was told of."""
        if self._calm:
            self._calm = commit, self._calm[1]

    def builds_on(self, head: str | None) -> None:
        """A commit is about to be made on ``head``."""
        if self._calm and self._calm[0] != head:  # somebody else has committed
            self._calm = None

    def close(self) -> None:
        """Listen no more."""
        self._calm = None
        self._notices.close()

    def _undisturbed(self, but: Container[str]) -> bool:
        """Whether all is as it was when Git found nothing, but for what we committed since."""
        touched = self._notices.touched() if self._calm else None
        if touched is None or not self._repo.fast:
            return False
        done = [path for path in touched if path not in but]
        try:
            states = self._pipeline.compare(path for path in done if is_agents(path))
            if (self._repo.head(), self._pipeline.index.loads) != self._calm:
                return False
        except (ConflictError, UnfitIndexError, UnfitHeadError, OSError, ValueError):
            return False
        for path, state in states.items():
            odd = state.work is None and os.path.lexists(f"{self._repo.root}/{path}")
            if odd or not state.head == state.staged == state.work:
                return False
        self._notices.forget(done)
        return True
