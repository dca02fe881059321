"""How long things take: what of a turn is fsagent's own time, and what is the model's."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()


class Watch:
    """Runs while fsagent works, and stands while it waits for somebody else.

    ``own`` and ``model`` are seconds, since they were last set to nothing.
    """

    def __init__(self) -> None:
        self.own = self.model = 0.0
        self._since = time.perf_counter()

    def events(self, story: Generator[T, None, None]) -> Iterator[T]:
        """Pass a story on: the time that its reader takes between two events is not ours."""
        self._since = time.perf_counter()
        try:
            for event in story:
                self._stand()
                yield event
                self._since = time.perf_counter()
        finally:
            story.close()

    def answer(self, parts: Iterable[T]) -> Iterator[T]:
        """Pass an answer on as it comes: the time until each of its parts is the model's."""
        source = iter(parts)
        while True:
            self._stand()
            start = self._since
            try:
                part = next(source, _END)
            finally:
                self._since = time.perf_counter()
                self.model += self._since - start
            if part is _END:
                return
            yield part  # type: ignore[misc]

    def apart(self, work: Callable[[], T]) -> tuple[T, int]:
        """Do something whose time is counted by itself; with how many milliseconds it took."""
        self._stand()
        start = self._since
        try:
            found = work()
        finally:
            self._since = time.perf_counter()
        return found, round((self._since - start) * 1000)

    def lap(self) -> tuple[int, int]:
        """The milliseconds of the model and our own so far; both begin anew."""
        self._stand()
        found = round(self.model * 1000), round(self.own * 1000)
        self.own = self.model = 0.0
        return found

    def _stand(self) -> None:
        now = time.perf_counter()
        self.own += now - self._since
        self._since = now
