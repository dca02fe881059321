"""What a person means who wants something purged: a record, a commit, a turn, or a text."""

from __future__ import annotations

import difflib
import json
import re

from fsagent.clock import born
from fsagent.errors import StoreError
from fsagent.formats import parse_trailers
from fsagent.history.gap import MARK, SHORTEST, Gap, Target
from fsagent.history.lines import ALIKE
from fsagent.history.name import named
from fsagent.repo import walk
from fsagent.repo.rewrite import objects
from fsagent.store import Store

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_NAME = re.compile(r"[0-9a-z]{6,40}")

LEAST = 4
"""Letters and digits of a line from which on it is taken for somebody's words."""


def find(store: Store, what: str, *, text: bool = False) -> Target:
    """The target that ``what`` names; with ``text`` it is taken as a text whatever it looks like.

    Raises:
        StoreError: the text is too short, or is a part of the mark that would take its place.
    """
    if not text and _NAME.fullmatch(what):
        if _is_record(store, what):
            return Target(records=(what,))
        commits = _commits(store, what)
        if commits:
            return of_commits(store, commits)
    what = what.strip()
    if len(what) < SHORTEST:
        raise StoreError(
            f"{what!r} is too short and would be found in too many places: "
            "give more of the text around it."
        )
    target = Target(texts=(what,))
    if Gap(target).words(MARK.encode()) != MARK.encode():
        raise StoreError(f"{what!r} is a part of the mark {MARK}: give more of the text around it.")
    return target


def _is_record(store: Store, ident: str) -> bool:
    """Whether a record is called so, now or anywhere in the history."""
    for path in store.segments():
        if ident.encode() in store.read(path) and any(
            one.id == ident for one in store.records(path)
        ):
            return True
    if born(ident) is None:
        return False
    spelled = f'"{ident}"'.encode()
    return any(
        kind == b"blob" and spelled in data and _has_record(data, ident)
        for _, kind, data in objects(store.repo)
    )


def _has_record(data: bytes, ident: str) -> bool:
    for line in data.split(b"\n"):
        try:
            record = json.loads(line) if ident.encode() in line else None
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("id") == ident and "role" in record:
            return True
    return False


def _commits(store: Store, what: str) -> list[str]:
    """The commits that go by that id; none where it is a word or a date."""
    if store.rev is None:
        return []
    if _COMMIT.fullmatch(what):
        found = store.repo.resolve(what)
        if found:
            return [found]
    return named(store.repo, what, store.rev)


def of_commits(store: Store, commits: list[str]) -> Target:
    """What these commits brought: lines, records, and what was said about them.

    Raises:
        StoreError: one of them is a merge, which brought many changes at once.
    """
    records: list[str] = []
    calls: list[tuple[str, str]] = []
    lines: dict[str, None] = {}
    paths: dict[str, None] = {}
    changes: list[str] = []
    for oid in commits:
        one = walk.entries(store.repo, [oid])[oid]
        if len(one.parents) > 1:
            raise StoreError(
                f"{oid[:7]} is a merge, which brought many changes at once: purge these one by one."
            )
        changes += [oid, *([one.commit.change] if one.commit.change else [])]
        call = _call(store, oid)
        if one.commit.turn and call:
            calls.append((one.commit.turn, call))
        for path, added in _added(store, one):
            if path.startswith("recall/"):
                records += [record for record in map(_record_id, added) if record]
            elif path not in ("agent.yaml", ".gitattributes"):
                paths[path] = None
                lines |= dict.fromkeys(line for line in added if _is_words(line))
    return Target(
        records=tuple(records),
        calls=tuple(calls),
        lines=tuple(lines),
        paths=tuple(paths),
        changes=tuple(changes),
    )


def _added(store: Store, one: walk.Entry) -> list[tuple[str, list[str]]]:
    """Of each file, the lines that the commit added."""
    found = []
    for change in one.changes:
        if change.new:
            old = store.repo.read(change.old) if change.old else b""
            before = set(old.decode(errors="surrogateescape").split("\n"))
            after = store.repo.read(change.new).decode(errors="surrogateescape").split("\n")
            found.append((change.path, [line.strip() for line in after if line not in before]))
    return found


def _is_words(line: str) -> bool:
    """Whether a line is somebody's words, and not the frame of a file."""
    frame = re.match(r"(?:id|created|tags|limit|read_only):", line)
    return not frame and sum(map(str.isalnum, line)) >= LEAST


def _record_id(line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    ident = record.get("id") if isinstance(record, dict) else None
    return ident if isinstance(ident, str) else ""


def _call(store: Store, oid: str) -> str:
    """The id of the tool call that a commit came from."""
    message = store.repo.read(oid).decode(errors="replace").partition("\n\n")[2]
    return parse_trailers(message).get("Tool-Call", "")


def versions(store: Store, paths: tuple[str, ...]) -> set[str]:
    """The blobs that these files ever were, in any branch, reflog or stash."""
    if not paths or store.rev is None:
        return set()
    return walk.blobs_ever(store.repo, paths)


def words_of(store: Store, target: Target) -> list[str]:
    """The longer lines of a record, a commit or a text of several: they may stand elsewhere."""
    found = [line for line in target.lines if len(line) >= 12]
    for text in target.texts:
        parts = [line.strip() for line in text.split("\n")]
        found += [line for line in parts if 12 <= len(line) < len(text)]
    wanted = set(target.records)
    for path in store.segments() if wanted else ():
        for record in store.records(path):
            if record.id in wanted:
                found += [line for line in record.content.split("\n") if len(line.strip()) >= 12]
    return found


def reworded(store: Store, target: Target) -> list[tuple[str, str]]:
    """The commits that gave a line of a commit another wording since, each with the file.

    That one may tell the same, or may not: so it is not the target's.
    """
    found: dict[tuple[str, str], None] = {}
    own = {*target.changes}
    for path in target.paths if store.rev else ():
        versions = walk.versions(store.repo, path, store.rev or "")
        data = walk.blobs(store.repo, (one.blob for one in versions if one.blob))
        lines = {one.commit: _lines(next(data) if one.blob else b"") for one in versions}
        wordings = {*target.lines}
        for version in reversed(versions):
            for parent in version.parents:
                gone = (lines[parent] - lines[version.commit]) & wordings
                new = lines[version.commit] - lines[parent] - wordings
                alike = {line for line in new if any(_alike(old, line) for old in gone)}
                wordings |= alike
                if alike and version.commit not in own:
                    found[version.commit, path] = None
    return list(found)


def _lines(data: bytes) -> set[str]:
    """The lines of a file that are somebody's words."""
    lines = data.decode(errors="surrogateescape").split("\n")
    return {line for line in map(str.strip, lines) if _is_words(line)}


def _alike(old: str, new: str) -> bool:
    return old in new or difflib.SequenceMatcher(None, old, new, autojunk=False).ratio() > ALIKE
