"""Two agents with one past; and telling a fork from a directory that was merely copied."""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsagent.config import parse_config
from fsagent.errors import AgentError, FsagentError
from fsagent.formats import clean, one_line
from fsagent.history.name import commit_of
from fsagent.layout import read_plain
from fsagent.repo import walk
from fsagent.repo.copy import fork as copy
from fsagent.repo.unborn import unborn

if TYPE_CHECKING:
    from fsagent.store import Store

_SIMPLE = re.compile(r"[A-Za-z][\w-]*(?: [\w-]+)*")
"""A name that YAML takes for text without quotation marks."""


def fork(store: Store, root: Path, at: str = "HEAD", name: str = "") -> Path:
    """Make another agent at ``root``: the past of this one up to ``at``, and an id of its own.

    What is not committed stays where it is. The answer is where the fork lives; what a killed
    attempt at the same had left is removed, and ``store`` warns of it.

    Raises:
        AgentError: ``root`` is there already, or cannot be made.
        StoreError: there is no such commit.
    """
    from fsagent.store import Store

    commit = commit_of(store, at)
    if "agent.yaml" not in store.repo.files(commit, ["agent.yaml"]):
        raise AgentError(f"There is no agent.yaml at {commit[:7]}: fork a later commit.")
    ident, told = store.clock.id(), list[str]()
    with unborn(root, "fork", told) as place:
        copy(store.repo, place, commit, store.repo.branch() or "main").close()
        new = Store(place, store.clock, allowed=store.repo.allowed)
        try:
            old_name = one_line(new.config.name, 60)
            person = new.repo.person()
            with new.change(f"fork: of {old_name} at {commit[:7]}", author=person) as change:
                change.writes["agent.yaml"] = renamed(
                    new.read("agent.yaml"), ident, one_line(clean(name), 80) or root.resolve().name
                )
        finally:
            new.repo.close()
    for text in told:
        store.warn(text)
    made = Store(root, store.clock, allowed=store.repo.allowed)
    settle_home(made)
    made.repo.close()
    return root


def renamed(data: bytes, ident: str, name: str) -> bytes:
    """agent.yaml with another id and name; every other line of it stays.

    Raises:
        AgentError: it is written in a way in which they cannot be replaced.
    """
    text = data.decode(errors="surrogateescape")
    value = name if _SIMPLE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    for key, new in (("name", value), ("id", ident)):
        line = f"{key}: {new}"
        text, count = re.subn(rf"(?m)^{key}[ \t]*:.*$", lambda _, line=line: line, text, count=1)  # type: ignore[misc]
        text = text if count else f"{line}\n{text}"
    changed = text.encode(errors="surrogateescape")
    try:
        config = parse_config(changed)
        if (config.id, config.name) == (ident, name):
            return changed
    except FsagentError:
        pass
    raise AgentError("agent.yaml writes its id or name in an odd way: put `id: …` on its own line.")


def difference(one: Store, two: Store, *, colour: bool = False) -> str:
    """What differs between two agents' memories, as a patch from the first to the second.

    Core memory, notes and instructions as they are now, hand edits included; recall is left out.
    """
    import difflib

    parts = []
    mine, others = _memory(one), _memory(two)
    for path in sorted(mine.keys() | others.keys()):
        before, after = mine.get(path), others.get(path)
        if before == after:
            continue
        lines = difflib.unified_diff(
            (before or "").splitlines(keepends=True),
            (after or "").splitlines(keepends=True),
            f"{one.root.name}/{path}" if before is not None else "/dev/null",
            f"{two.root.name}/{path}" if after is not None else "/dev/null",
        )
        for line in lines:
            parts.append(_coloured(line, colour))
            if not line.endswith("\n"):
                parts.append("\n\\ No newline at end of file\n")
    return "".join(parts)


def _memory(store: Store) -> dict[str, str]:
    paths = [path for folder in ("core", "archival") for path in store.paths(folder)]
    paths += ["system.md"] if store.has("system.md") else []
    return {path: store.read(path).decode(errors="replace") for path in paths}


def _coloured(line: str, colour: bool) -> str:
    code = {"+": 32, "-": 31, "@": 36}.get(line[:1])
    if line.startswith(("+++ ", "--- ")):
        code = 1
    return f"\x1b[{code}m{line.rstrip(chr(10))}\x1b[0m\n" if colour and code else line


def parting(one: Store, two: Store) -> str | None:
    """The newest commit that two agents share, or None."""
    mine = set(walk.line_of(one.repo)) if one.rev else set()
    theirs = reversed(walk.line_of(two.repo)) if two.rev else ()
    return next((commit for commit in theirs if commit in mine), None)


# ── copies ────────────────────────────────────────────────────────────────────────────────────
#
# .git/fsagent/home says where the agent lives. It is copied with the rest, so it tells a copy from
# its first: it names another place, and that is still there. Where the first has been moved since,
# both are found by the mark that a copy shares and a clone does not: the person's own directory of
# state keeps for each mark where it has been seen.

_MARK = re.compile("[0-9a-f]{16}")


def settle_home(store: Store) -> None:
    """Write down in .git/fsagent where this agent lives, if that can be written."""
    here = _here(store)
    home = {
        "mark": secrets.token_hex(8),
        "born": here["inode"],
        **_home(store.repo.git_dir),
        **here,
    }
    with suppress(OSError):
        place = store.repo.git_dir / "fsagent"
        place.mkdir(exist_ok=True)
        (place / "home").write_text(json.dumps(home) + "\n")


def copied_from(store: Store, state_dir: Path | None = None, *, settle: bool = True) -> Path | None:
    """The directory that this one was copied from, if that is still an agent with the same id.

    A directory that was moved, or brought back from a backup, is at home where it is now: with
    ``settle`` that is written down, and in ``state_dir``.
    """
    home, here = _home(store.repo.git_dir), _here(store)
    if home and home["path"] != here["path"] and home["inode"] != here["inode"]:
        first = Path(home["path"])
        with suppress(FsagentError, OSError):
            same = parse_config(read_plain(first / "agent.yaml")).id == store.config.id
            if same and _home(first / ".git").get("mark") in (None, home.get("mark")):
                return first
    if settle and ("mark" not in home or {**home, **here} != home):
        settle_home(store)
        home = _home(store.repo.git_dir)
    if state_dir is None or not _MARK.fullmatch(home.get("mark", "")):
        return None
    others = _seen(home["mark"], store.root, state_dir, settle=settle)
    return others[0] if others and home.get("born") != here["inode"] else None


def _seen(mark: str, root: Path, state_dir: Path, *, settle: bool) -> list[Path]:
    """The other directories with the same mark that this person has used, and that are there."""
    record, known = state_dir / "homes" / mark, list[str]()
    with suppress(OSError, ValueError, RecursionError):
        known = [path for path in json.loads(read_plain(record, 65_536)) if isinstance(path, str)]
    others = [
        path
        for path in known
        if path != str(root) and _home(Path(path, ".git")).get("mark") == mark
    ]
    if settle and known != (now := [*others, str(root)]):
        with suppress(OSError):
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(now) + "\n")
    return [Path(path) for path in others]


def warning(store: Store, state_dir: Path | None = None, *, settle: bool = True) -> str | None:
    """What a person is told about a copy, or None."""
    try:
        first = copied_from(store, state_dir, settle=settle)
    except FsagentError:  # agent.yaml cannot be read: others say so
        return None
    if first is None:
        return None
    return (
        f"{store.root} is a copy of {first} and has its id, so neither can be told from the other. "
        f"An agent of its own, with all that this one knows: fsagent fork {store.root} NEW"
    )


def _home(git_dir: Path) -> dict[str, Any]:
    """What is written down of where an agent lives; empty where nothing is that can be read."""
    try:
        home = json.loads(read_plain(git_dir / "fsagent" / "home", 65_536))
    except (OSError, ValueError, RecursionError):
        return {}
    right = isinstance(home, dict) and isinstance(home.get("path"), str)
    return home if right and isinstance(home.get("mark", ""), str) and "inode" in home else {}


def _here(store: Store) -> dict[str, Any]:
    return {"path": str(store.root), "inode": os.stat(store.repo.git_dir).st_ino}
