"""What a merge without fsagent's drivers has left: conflict markers that somebody committed.

Where a merge commit of the history did it, it is known what each side had and what both had before,
so the file is merged again as ``fsagent sync`` would have done it. Other markers may be somebody's
words about Git, and only a person can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.check.finding import Finding, shown
from fsagent.check.untaken import MERGES
from fsagent.clashes import HEADING
from fsagent.errors import FsagentError
from fsagent.formats import counted
from fsagent.history.drivers import (
    Outcome,
    Version,
    merge_file,
)
from fsagent.history.sync import add_events
from fsagent.repo import sides
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from fsagent.repo import Blob
    from fsagent.store import Store

_MARKS = re.compile(
    rb"^<{7}(?: ([^\r\n]*))?\r?\n(.*?)(?:^\|{7}(?: [^\r\n]*)?\r?\n.*?)?"
    rb"^={7}\r?\n(.*?)^>{7}(?: ([^\r\n]*))?(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""A conflict as Git writes it into a file: names, and the lines of each side."""


@dataclass(frozen=True)
class Marked:
    """A file with conflict markers, taken apart: the two versions that are in it."""

    ours: Version
    theirs: Version
    line: int


def marked(data: bytes) -> Marked | None:
    """The two versions that markers tell apart; None where there are none."""
    first = _MARKS.search(data) if b"<<<<<<<" in data and b">>>>>>>" in data else None
    if not first:
        return None
    names = [(name or b"").decode(errors="replace").strip() for name in (first[1], first[4])]
    ours, theirs = (_MARKS.sub(rb"\%d" % group, data) for group in (2, 3))
    return Marked(
        Version(ours, names[0] or "one side"),
        Version(theirs, names[1] or "the other side"),
        data.count(b"\n", 0, first.start()) + 1,
    )


def without_marks(data: bytes) -> bytes:
    """The lines of both sides, and those of the markers empty: numbers of lines stay."""
    return _MARKS.sub(lambda match: re.sub(rb"(?m)^[<|=>]{7}.*$", b"", match[0]), data)


def merge_findings(store: Store) -> Iterator[Finding]:
    """Files with markers, and files in which two versions stand under headings."""
    for path, data in _files(store):
        found = marked(data)
        if found:
            sure = _base(store, path) is not None
            yield Finding(
                "problem",
                f"{shown(path)}:{found.line}",
                "A merge has left its conflict markers in it.",
                f"fsagent check {store.root} --repair makes one of the two versions, as fsagent "
                "sync does."
                if sure
                else "Keep what is right, and delete the markers.",
            )
        elif HEADING.encode() in data and path.endswith(".md"):
            line = data.count(b"\n", 0, data.index(HEADING.encode())) + 1
            yield Finding(
                "advice",
                f"{shown(path)}:{line}",
                "Two versions of the same stand in it, under headings.",
                "Keep what is right and delete the headings, or ask the agent to do it.",
            )


def merged_again(store: Store) -> Iterator[str]:
    """Merge files with markers as they would have been merged; one commit, and an event."""
    outcomes: dict[str, tuple[bytes, Outcome]] = {}
    for path, data in _files(store):
        found, base = marked(data), None
        if found:
            base = _base(store, path)
        if found and base:
            outcome = merge_file(path, base[0], found.ours, found.theirs)
            if not outcome.beside:
                outcomes[path] = data, outcome
    if not outcomes:
        return
    person = store.repo.person()
    what = f"what a merge left in {counted(len(outcomes), 'file')}"
    with store.change(f"repair: {what}", author=person) as change:
        for path, (data, outcome) in outcomes.items():
            change.seen[path], change.writes[path] = data, outcome.data
        clashes = [f"{p}: {said}" for p, (_, out) in outcomes.items() for said in out.clashes]
        if clashes:
            told = "\n".join(f"- {said}" for said in clashes)
            text = f"{person.name} mended {what}. It is for you to settle:\n{told}"
            add_events(change, [(text, change.id)])
    for path, (_, outcome) in outcomes.items():
        said = f" ({'; '.join(outcome.clashes)})" if outcome.clashes else ""
        yield f"{shown(path)}: merged again, without the markers{said}."


def _blob(store: Store, rev: str, path: str) -> Blob | None:
    return store.repo.files(rev, [path]).get(path)


def _files(store: Store) -> Iterator[tuple[str, bytes]]:
    """The files in which markers would do harm."""
    for path in ("agent.yaml", "system.md"):
        if store.has(path):
            yield path, store.read(path)
    for folder in ("core", "archival", "recall"):
        for path in store.paths(folder):
            try:
                yield path, store.read(path)
            except FsagentError:  # it is named elsewhere
                continue


def _base(store: Store, path: str) -> tuple[bytes | None] | None:
    """What both sides had before the merge that brought the markers; None where no merge did."""
    repo = store.repo
    try:
        for commit, one, two in sides.merges(repo, MERGES, path):
            held = [_blob(store, rev, path) for rev in (commit, one, two)]
            texts = [repo.read(blob.oid) if blob else b"" for blob in held]
            if marked(texts[0]) and not marked(texts[1]) and not marked(texts[2]):
                found = sides.bases(repo, one, two)
                blob = _blob(store, found[0], path) if found else None
                return (repo.read(blob.oid) if blob else None,)
    except (GitFailed, FsagentError):  # the repository is named elsewhere
        pass
    return None
