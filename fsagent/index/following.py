"""One step of an index from the commit that it mirrors to another, by the trees of the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fsagent.index import Index, Meta, Progress
from fsagent.index.entries import SEARCHED, Entry, analysed, docs_of, key, searched
from fsagent.records import Doc
from fsagent.repo import Repo, TreeChange


def step(index: Index, repo: Repo, head: str, meta: Meta | None, progress: Progress | None) -> bool:
    """Bring ``index`` from ``meta`` to ``head``; False where another process was faster."""
    if meta is None or not repo.resolve(meta.commit):
        return _rebuild(index, repo, head, progress)
    changes = [change for change in repo.changes(meta.commit, head) if searched(change.path)]
    put: list[Doc] = []
    drop: list[Doc] = []
    for change in changes:
        if not change.path.startswith("archival/"):
            old = _docs(repo, change.path, change.old)
            new = _docs(repo, change.path, change.new)
            kept = set(old) & set(new)
            drop += [doc for doc in old if doc not in kept]
            put += [doc for doc in new if doc not in kept]
    moved = dict(meta.moved)
    _notes(index, repo, changes, put, drop, moved)
    return index.update(map(analysed, put), map(analysed, drop), Meta(head, moved))


def _notes(
    index: Index,
    repo: Repo,
    changes: list[TreeChange],
    put: list[Doc],
    drop: list[Doc],
    moved: dict[str, Sequence[str]],
) -> None:
    """Notes by their blobs: one that is only moved or copied is neither put nor dropped."""
    gone: dict[str, set[str]] = {}
    come: dict[str, set[str]] = {}
    for change in changes:
        if change.path.startswith("archival/"):
            if change.old:
                gone.setdefault(change.old, set()).add(change.path)
            if change.new:
                come.setdefault(change.new, set()).add(change.path)
    for blob in gone.keys() | come.keys():
        first = _first(index, blob)
        known = moved.get(blob) or ([first.path] if first else [])
        paths = sorted(set(known) - gone.get(blob, set()) | come.get(blob, set()))
        if first and not paths:
            drop += _docs(repo, first.path, blob)
        if paths and not first:
            put += _docs(repo, paths[0], blob)
        home = first.path if first else paths[0] if paths else ""
        if paths and paths != [home]:
            moved[blob] = paths
        else:
            moved.pop(blob, None)


def _first(index: Index, blob: str) -> Doc | None:
    """The first chunk of a note, if the index holds it."""
    wanted = key(Doc("", "note", "", 0, "", blob=blob))
    return index.docs([wanted]).get(wanted)


def _rebuild(index: Index, repo: Repo, head: str, progress: Progress | None) -> bool:
    files = {path: blob.oid for path, blob in repo.files(head, SEARCHED).items() if searched(path)}
    paths: dict[str, list[str]] = {}
    for path, blob in sorted(files.items()):
        if path.startswith("archival/"):
            paths.setdefault(blob, []).append(path)
    index.clear()
    moved = {blob: where for blob, where in paths.items() if len(where) > 1}
    return index.update(_read(repo, files, paths, progress), (), Meta(head, moved))


def _read(
    repo: Repo, files: Mapping[str, str], paths: Mapping[str, list[str]], progress: Progress | None
) -> Iterator[Entry]:
    for done, (path, blob) in enumerate(sorted(files.items())):
        if progress:
            progress(done, len(files))
        if not path.startswith("archival/") or path == paths[blob][0]:
            yield from map(analysed, _docs(repo, path, blob))
    if progress:
        progress(len(files), len(files))


def _docs(repo: Repo, path: str, blob: str | None) -> list[Doc]:
    return docs_of(path, repo.read(blob), blob) if blob else []
