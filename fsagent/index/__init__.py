"""The seam to search: an index holds docs, mirrors one commit, and follows HEAD.

An index is a cache. It is derived from the files and from nothing else, lives outside the agent's
directory, and may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from fsagent.formats import parse_block, parse_note, parse_page, parse_record
from fsagent.records import Doc, Hit
from fsagent.repo import Repo

SEARCHED = ("core", "archival", "recall")
"""The folders whose files become docs."""


@dataclass(frozen=True)
class Query:
    """What to look for. Filters that are empty let everything through.

    ``since`` and ``until`` are moments as ``clock.stamp`` writes them, both included. Without
    words, the newest docs are the answer.
    """

    text: str
    limit: int = 10
    kinds: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    since: str = ""
    until: str = ""


class Index(Protocol):
    """A store of docs that can be asked. One backend is one class with these four."""

    def commit(self) -> str | None:
        """The commit that the index mirrors; None when it is empty or unusable."""
        ...

    def update(self, put: Iterable[Doc], drop: Iterable[Doc], commit: str) -> None:
        """Take docs out and in, and mirror ``commit`` from now on: all at once or not at all."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def search(self, query: Query) -> list[Hit]:
        """The docs that answer ``query``, best first, ties by id."""
        ...


def follow(index: Index, repo: Repo, progress: Callable[[int, int], None] | None = None) -> None:
    """Bring ``index`` to HEAD by the difference between two trees.

    A turn, a hand edit, an undo, a pull, a checkout or a deleted cache are all the same to it: only
    where the index mirrors no commit that still exists is everything read again.
    ``progress`` is told (files done, files in all) while that goes on.
    """
    head, at = repo.head(), index.commit()
    if head is None or head == at:
        return
    put: list[Doc] = []
    drop: list[Doc] = []
    if at and repo.resolve(at):
        for change in repo.changes(at, head):
            if _searched(change.path):
                old = _docs(repo, change.path, change.old)
                new = _docs(repo, change.path, change.new)
                kept = set(old) & set(new)
                drop += [doc for doc in old if doc not in kept]
                put += [doc for doc in new if doc not in kept]
    else:
        index.clear()
        files = {p: b for p, b in repo.files(head, SEARCHED).items() if _searched(p)}
        for done, (path, blob) in enumerate(files.items()):
            if progress:
                progress(done, len(files))
            put += _docs(repo, path, blob.oid)
    index.update(put, drop, head)


def _searched(path: str) -> bool:
    top, _, rest = path.partition("/")
    return top in SEARCHED and rest.endswith(".jsonl" if top == "recall" else ".md")


def _docs(repo: Repo, path: str, oid: str | None) -> list[Doc]:
    return docs_of(path, repo.read(oid)) if oid else []


def docs_of(path: str, data: bytes) -> list[Doc]:
    """The docs that a file holds: each record of a segment, or the one note or block.

    Tool results and calls are not docs: what they found is one already.
    """
    if path.startswith("recall/"):
        found = []
        for number, line in enumerate(data.split(b"\n"), 1):
            try:
                record = parse_record(line.decode())
            except ValueError:  # a torn line; reading recall names it
                continue
            if record.content and record.role != "tool":
                found.append(
                    Doc(
                        id=record.id,
                        kind="record",
                        path=path,
                        line=number,
                        text=record.content,
                        ts=record.ts,
                        role=record.role,
                        name=record.name or "",
                        thread=record.thread or "",
                    )
                )
        return found
    page = parse_page(data)
    if path.startswith("core/"):
        block = parse_block(path, page)
        return [Doc(block.label, "block", path, page.value_line, block.text)]
    note = parse_note(path, page)
    return [Doc(note.id, "note", path, page.value_line, note.text, note.created, tags=note.tags)]
