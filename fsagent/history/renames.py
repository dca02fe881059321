"""Files that one side of a merge renamed and the other one went on with: where each is on either.

What has the same id in its front matter is the same note, whatever else became of it, and what has
another one is another note, also where it took the place of the first. Of other files Git says
which is which, by what is in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.history.drivers import is_note, is_recall, note_id
from fsagent.repo import sides, walk

if TYPE_CHECKING:
    from fsagent.repo import Blob, Repo

Entries = Mapping[str, tuple["Blob | None", "Blob | None"]]
"""What a side has made of the paths that it changed: the entry before and after."""


@dataclass(frozen=True)
class Paths:
    """What a file is called: before the two sides parted, on ours, and on theirs."""

    base: str
    ours: str
    theirs: str

    @property
    def merged(self) -> str:
        """What it is called when the two are one; of two new names, the first of the alphabet."""
        if self.ours == self.base:
            return self.theirs
        return self.ours if self.theirs == self.base else min(self.ours, self.theirs)


def followed(
    repo: Repo, base: str, ours: tuple[str, Entries], theirs: tuple[str, Entries]
) -> list[Paths]:
    """The files that both sides touched and at least one of them renamed.

    Each side is its newest commit, and what it has changed since ``base``. A new name that the
    other side gave to another file is not followed.
    """
    both = {
        path
        for path in ours[1].keys() & theirs[1].keys()
        if (old := ours[1][path][0]) and old.is_file
    }
    mine, other = (renamed(repo, base, commit, found, both) for commit, found in (ours, theirs))
    found = [Paths(path, mine.get(path, path), other.get(path, path)) for path in sorted(both)]
    return [
        paths
        for paths in found
        if paths.ours != paths.base or paths.theirs != paths.base
        if paths.ours in (paths.base, paths.theirs) or not _there(theirs[1], paths.ours)
        if paths.theirs in (paths.base, paths.ours) or not _there(ours[1], paths.theirs)
    ]


def _there(entries: Entries, path: str) -> bool:
    return path in entries and entries[path][1] is not None


def renamed(
    repo: Repo, base: str, commit: str, entries: Entries, paths: Collection[str]
) -> dict[str, str]:
    """Those of ``paths`` that were renamed between two commits, with their new names.

    ``entries`` is what differs between these; see ``sides.entries``.
    """
    gone = {path: old for path in paths for old, new in [entries[path]] if old and not new}
    ids = _ids(repo, {path: old for path in paths if (old := entries[path][0])})
    now = _ids(repo, {path: new for path in ids if (new := entries[path][1]) and new.is_file})
    ids = {path: one for path, one in ids.items() if path in gone or now.get(path, one) != one}
    came = {path: new for path, (old, new) in entries.items() if new and new.is_file}
    notes = _ids(repo, came, set(ids.values())) if ids else {}
    found = {}
    for path, ident in ids.items():
        names = [name for name, other in notes.items() if other == ident]
        if len(names) == 1:
            found[path] = names[0]
    came = {path: new for path, new in came.items() if not entries[path][0]}
    if not gone or not came:
        return found
    alike = {
        path: name
        for path, name in sides.renames(repo, base, commit).items()
        if path in gone and name in came and is_recall(path) == is_recall(name)
    }
    others = _ids(repo, {name: came[name] for name in alike.values()})
    for path, name in alike.items():
        one_note = len({ids.get(path), others.get(name)} - {None}) < 2
        if one_note and name not in found.values():
            found.setdefault(path, name)
    return found


def _ids(repo: Repo, files: Mapping[str, Blob], wanted: Iterable[str] = ()) -> dict[str, str]:
    """The ids of those of the files that are notes and have one; with ``wanted``, only of files in
    which one of these stands."""
    pages = [path for path in files if is_note(path)]
    words = [ident.encode() for ident in wanted]
    found = {}
    for path, data in zip(pages, walk.blobs(repo, [files[p].oid for p in pages]), strict=True):
        if not words or any(word in data for word in words):
            ident = note_id(path, data)
            if ident:
                found[path] = ident
    return found
