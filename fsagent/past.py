"""The agent as it was: its files read from a commit and not from the disk, and never changed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

from fsagent.change import Adopted, Change
from fsagent.clock import moment
from fsagent.errors import StoreError
from fsagent.formats import format_record, parse_trailers
from fsagent.layout import is_agents, is_gits
from fsagent.records import Person, Record
from fsagent.repo import Blob, Snapshot, walk
from fsagent.store import Store


class Past(Store):
    """A store of the files of one commit. What is said to it is kept in memory, and goes with it.

    Every write is refused; the work tree, the locks and the journal are left alone.
    """

    is_past = True

    def __init__(self, now: Store, commit: str) -> None:
        self._commit_id = commit
        self._said: dict[str, bytes] = {}
        """What was said to the past, by segment."""
        self._snapshot = Snapshot(now.repo, commit)
        self._tops: dict[str, dict[str, Blob]] = {}
        super().__init__(now.root, now.clock, mend=False, repo=now.repo)
        self.spans = now.spans
        self._config = now._config

    @property
    def rev(self) -> str | None:
        """See ``Store.rev``."""
        return self._commit_id

    @property
    def newest_change(self) -> str:
        """The id of the commit's change, or the commit's where a person made it."""
        return parse_trailers(self._snapshot.message()).get("Change") or self._commit_id

    def _files_in(self, path: str) -> dict[str, Blob]:
        """The agent's own files in the folder at the top in which ``path`` is, or at the top."""
        top = path.split("/")[0]
        if top not in self._tops:
            files = self._snapshot.files(top)
            self._tops[top] = {
                p: files[p] for p in sorted(files) if is_agents(p) and not is_gits(p)
            }
        return self._tops[top]

    def has(self, path: str) -> bool:
        """See ``Store.has``."""
        return path in self._files_in(path)

    def paths(self, folder: str, *, backwards: bool = False) -> Iterator[str]:
        """See ``Store.paths``."""
        top = f"{folder}/"
        files = self._files_in(folder)
        found = [path for path in files if path.startswith(top)]
        found += (p for p in self._said if p.startswith(top) and p not in files)
        yield from reversed(found) if backwards else found

    def state(self, path: str) -> Hashable | None:
        """See ``Store.state``."""
        return None if path in self._said else self._files_in(path)[path].oid

    def count(self, folder: str) -> int:
        """See ``Store.count``."""
        return self._snapshot.count(folder)

    def read(self, path: str) -> bytes:
        """See ``Store.read``."""
        if path in self._said:
            return self._said[path]
        blob = self._files_in(path).get(path)
        if blob is None:
            raise StoreError(f"{path} was not there at {self._commit_id[:7]}.")
        return self.repo.read(blob.oid)

    def now(self, path: str) -> bytes | None:
        """See ``Store.now``."""
        return self.read(path) if self.has(path) else None

    def append(self, record: Record, *, flush: bool = False) -> str:
        """Keep a record in memory: the past is talked to, and stays what it is."""
        day = record.ts[:10].replace("-", "/")
        path = next(iter(self._said), f"recall/{day}-{record.id}.jsonl")
        self._said[path] = self._said.get(path, b"") + format_record(record).encode()
        self.live.setdefault(path, set()).add(record.id)
        return path

    def dirty(self, *, recall: bool = True, live: bool = True) -> list[str]:
        """Nothing: what a hand edits now was not there then."""
        return []

    def adopt(self, paths: Iterable[str] | None = None) -> list[Adopted]:
        """See ``dirty``."""
        return []

    def settle(self) -> tuple[list[str], list[Adopted]]:
        """See ``dirty``."""
        return [], []

    def mend(self) -> list[str]:
        """See ``dirty``."""
        return []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for nobody: no other turn is disturbed."""
        yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        yield

    def _commit(self, change: Change, author: Person) -> None:
        if change.writes:
            raise self.refusal()

    def refusal(self) -> StoreError:
        """Why nothing is written here, and what can be done instead."""
        commit = walk.commits(self.repo, [self._commit_id])[self._commit_id]
        name, when = self._commit_id[:7], moment(commit.ts)
        date = f" of {when.astimezone(self.config.zone):%Y-%m-%d %H:%M}" if when else ""
        return StoreError(
            f"This is {self.config.name} as it was at {name}{date}, which is read and not changed. "
            f"To go on from there: fsagent chat {self.root} --at {name} --fork NEW"
        )
