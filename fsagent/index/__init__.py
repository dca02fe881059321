"""The seam to search: an index holds docs, mirrors one commit, and follows HEAD.

An index is a cache. It is derived from the files and from nothing else, lives outside the agent's
directory, and may be deleted at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fsagent.index.bm25 import Array
    from fsagent.index.entries import Entry
    from fsagent.index.pool import Ask, Pool, Stats
    from fsagent.records import Doc
    from fsagent.repo import Repo

Progress = Callable[[int, int], None]
"""Told (files done, files in all) while an index is built."""


@dataclass(frozen=True)
class Meta:
    """What an index mirrors: a commit; and, for blobs elsewhere than their docs say, where.

    The chunks of a note are keyed by its blob, so a note that is moved or copied is not indexed
    again: ``moved`` maps such a blob to its paths, sorted.
    """

    commit: str
    moved: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Index(Protocol):
    """A store of docs that can be asked. A second backend is one more class with these."""

    def meta(self) -> Meta | None:
        """What the index mirrors; None where it is empty or unusable."""
        ...

    def update(
        self, put: Iterable[Entry], drop: Iterable[Entry], meta: Meta, *, wait: bool = True
    ) -> bool:
        """Take docs out and in, and mirror ``meta`` from now on: all at once or not at all.

        False where nothing was done: another process writes and ``wait`` is off, or another has
        written since this one looked.
        """
        ...

    def clear(self) -> None:
        """Forget everything with the next update."""
        ...

    def refresh(self) -> None:
        """See what other processes have written. Until then an index answers from one state."""
        ...

    def stats(self, words: Sequence[str]) -> Stats:
        """How many docs there are, and how many hold each of the words."""
        ...

    def candidates(self, ask: Ask) -> Pool:
        """The docs within the limits with the best BM25 scores; without words, the newest."""
        ...

    def at(self, slots: Iterable[tuple[int, int]], ask: Ask) -> Pool:
        """The docs at these (session, place), whether or not they meet the limits."""
        ...

    def docs(self, keys: Iterable[int]) -> dict[int, Doc]:
        """The docs of these keys, those that are there."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Every doc with its analysis, in any order."""
        ...

    def rows(self) -> Array:
        """The rows of all docs, in any order."""
        ...

    def speakers(self) -> Counter[str]:
        """The names of those who have spoken, and how many docs each has."""
        ...

    def __len__(self) -> int:
        """How many docs there are."""
        ...


class Persistent(Index, Protocol):
    """An index in files, which other threads and processes look into as well."""

    def copy(self) -> Persistent:
        """The same index, to be written to in another thread; to be read there, ``refresh`` it."""
        ...


def follow(
    index: Index, repo: Repo, progress: Progress | None = None, commit: str | None = None
) -> None:
    """Bring ``index`` to ``commit`` (None: HEAD) by the difference between two trees.

    A turn, a hand edit, an undo, a pull, a checkout or a deleted cache are all the same to it: only
    where the index mirrors no commit that still exists is everything read again.
    ``progress`` is told (files done, files in all) while that goes on.
    """
    from fsagent.index.following import step

    head = commit or repo.head()
    for _ in range(5):  # again where another process has brought the index somewhere meanwhile
        meta = index.meta()
        if (
            head is None
            or (meta and meta.commit == head)
            or step(index, repo, head, meta, progress)
        ):
            return
