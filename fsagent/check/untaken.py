"""What a merge did not take of a side, although nobody had deleted it there.

Recall is a log, and a note is a page of its own: both sides' can always be there. So what one side
has and ``join`` would keep belongs into a merge, and where a merge lacks it (``git merge -s ours``,
a side chosen on the web) it was lost. Deleted on purpose is what a side deleted before the merge,
or a commit after it. Of a text that both had, a merge may mean to keep the one version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fsagent.check.finding import Finding, shown
from fsagent.errors import FsagentError, StoreError
from fsagent.formats import counted
from fsagent.history.drivers import ident, is_recall, merge_records, note_id
from fsagent.history.join import Joined, Side, join
from fsagent.repo import sides, walk
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from fsagent.repo import Blob
    from fsagent.store import Store

    Entries = Mapping[str, tuple[Blob | None, Blob | None]]

MERGES = 50
"""How many of the newest merges are looked at."""

_MEMORY = "core/", "archival/"


@dataclass
class Untaken:
    """What merges have lost, by path: the lines of records, and whole files of memory.

    ``edits`` are files of which a merge that took nothing at all of one side left that side's edits
    out, each with the commit that has them.
    """

    records: dict[str, list[bytes]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    edits: dict[str, str] = field(default_factory=dict)


def untaken_findings(store: Store) -> Iterator[Finding]:
    """What is gone since a merge did not take it."""
    found = untaken(store)
    back = f"fsagent check {store.root} --repair brings"
    for path, lines in found.records.items():
        what = f"{counted(len(lines), 'record')} of one side were lost in a merge."
        yield Finding("problem", shown(path), what, f"{back} them back.")
    for path in found.files:
        what = "One side of a merge had written it, and it was not taken."
        how = f"{back} it back. Delete it after that if it is to be gone."
        yield Finding("problem", shown(path), what, how)
    for path, commit in found.edits.items():
        what = "A merge took nothing of one side, and so not what had been edited there."
        how = f"If that was not meant: git -C {store.root} show {commit[:12]}:{path}"
        yield Finding("advice", shown(path), what, shown(how))


def brought_back(store: Store) -> Iterator[str]:
    """Put in its place again what merges have lost; one commit."""
    lost = untaken(store)
    counts = (
        (sum(map(len, lost.records.values())), "record"),
        (len(lost.files), "file"),
    )
    what = " and ".join(counted(count, name) for count, name in counts if count)
    if not what:
        return
    with store.change(f"repair: {what} that a merge lost", author=store.repo.person()) as change:
        change.refuses_secrets = False  # it is in the history: here it only comes back
        for path, lines in lost.records.items():
            now = change.seen[path] = store.now(path)
            change.writes[path] = merge_records(b"", now or b"", b"\n".join(lines))
        for path, data in lost.files.items():
            change.seen[path], change.writes[path] = None, data
    paths = ", ".join(sorted(shown(path) for path in (*lost.records, *lost.files)))
    yield f"{what} that were lost in a merge: brought back to {paths}."


def untaken(store: Store) -> Untaken:
    """What the newest merges have not taken, and nobody has brought back or deleted since."""
    look = _Look(store)
    try:
        for commit, one, two in sides.merges(store.repo, MERGES):
            look.at_merge(commit, one, two)
    except (GitFailed, FsagentError):  # the repository is named elsewhere
        return Untaken()
    return look.found


def _is_memory(path: str) -> bool:
    return path.startswith(_MEMORY) and path.endswith(".md")


class _Look:
    """Looks at one merge after the other.

    Only what a merge lacks, and what is nowhere now, is a reason to work out what it should have
    been: of most merges no more is asked than how they differ from either side.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._repo = store.repo
        self.found = Untaken()

    @cached_property
    def _records(self) -> set[str]:
        """The ids of all records that there are now."""
        lines = (line for _, data in self._files("recall") for line in set(data.split(b"\n")))
        return {ident(line) for line in lines}

    @cached_property
    def _notes(self) -> set[str]:
        """The ids of all notes that there are now."""
        return {note_id(path, data) for path, data in self._files("archival")} - {""}

    def _files(self, folder: str) -> Iterator[tuple[str, bytes]]:
        for path in self._store.paths(folder):
            with suppress(FsagentError):  # it is named elsewhere
                yield path, self._store.read(path)

    def at_merge(self, commit: str, one: str, two: str) -> None:
        """What one merge has not taken of its two sides."""
        differ = sides.entries(self._repo, one, commit), sides.entries(self._repo, two, commit)
        records = self._lacking(differ)
        records -= self._records if records else set()
        files = [path for path in _left_out(differ) if not self._store.has(path)]
        if records or files:
            self._lost(commit, (one, two), differ, records, files)
        if not any(map(_is_memory, differ[0])):
            self._edits(one, two)
        if not any(map(_is_memory, differ[1])):
            self._edits(two, one)

    def _lacking(self, differ: tuple[Entries, Entries]) -> set[str]:
        """The ids of records that a side has in a file, and the merge has not."""
        found = set()
        for entries in differ:
            for path, (old, new) in entries.items():
                if is_recall(path) and old:
                    kept = self._repo.read(new.oid) if new else b""
                    lines = {*self._repo.read(old.oid).split(b"\n")} - {*kept.split(b"\n")}
                    found |= {ident(line) for line in lines if line}
        return found

    def _lost(
        self,
        commit: str,
        parents: tuple[str, str],
        differ: tuple[Entries, Entries],
        records: set[str],
        files: list[str],
    ) -> None:
        """Note down which of these a merge should hold, if no commit has held them since."""
        joined = self._joined(*parents, ("recall/", *files))
        if joined is None:
            return
        paths = {path for entries in differ for path in entries if is_recall(path)}
        paths |= {*filter(is_recall, joined.heads), *files}
        wanted = dict[str, bytes]()
        for path in sorted(paths):
            ours = differ[0].get(path, (None, None))[0]
            data = self._repo.read(ours.oid) if ours else None
            if path in joined.heads:
                data = joined.data(self._repo, path)
            if data is not None and (is_recall(path) or not _clashes(joined, path)):
                wanted[path] = data
        later = sides.later(self._repo, commit, ("recall", *_MEMORY)) if wanted else {}
        for path, data in wanted.items():
            if is_recall(path):
                lines = [line for line in data.split(b"\n") if line and ident(line) in records]
                self._add_records(path, lines, later.get(path, []))
            elif path not in later and note_id(path, data) not in self._notes:
                self.found.files.setdefault(path, data)

    def _add_records(self, path: str, lines: list[bytes], later: list[str]) -> None:
        """Note down the lines that are in none of the ``later`` versions of the file."""
        since = {
            ident(line)
            for line in {
                line
                for data in walk.blobs(self._repo, later if lines else [])
                for line in data.split(b"\n")
            }
        }
        known = self.found.records.get(path, [])
        lines = [line for line in lines if ident(line) not in since and line not in known]
        if lines:
            self.found.records[path] = known + lines

    def _edits(self, ours: str, theirs: str) -> None:
        """Note down the files that a merge left as ``ours`` has them, and ``theirs`` had edited."""
        joined = self._joined(ours, theirs, _MEMORY) or Joined()
        for path, held in joined.heads.items():
            stays = joined.data(self._repo, path) is not None and not _clashes(joined, path)
            if held and stays and self._store.now(path) == self._repo.read(held.oid):
                self.found.edits.setdefault(path, theirs)

    def _joined(self, one: str, two: str, within: tuple[str, ...]) -> Joined | None:
        try:
            return join(self._repo, Side(one, "one"), Side(two, "two"), within=within)
        except StoreError:  # what git can merge, and join cannot
            return None


def _left_out(differ: tuple[Entries, Entries]) -> list[str]:
    """The files of memory that one of the sides alone has, and the merge has not."""
    gone = [
        {path for path, (old, new) in entries.items() if old and not new and _is_memory(path)}
        for entries in differ
    ]
    return sorted(gone[0] ^ gone[1])


def _clashes(joined: Joined, path: str) -> bool:
    """Whether it is a person's to say what becomes of a file, and so may have been said."""
    return any(said.startswith(f"{path}: ") for said in joined.clashes)
