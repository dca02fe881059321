"""agent.yaml, the instructions, blocks and notes: whether each can be read as what it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.check.finding import MEGABYTE, Finding, shown
from fsagent.errors import FsagentError
from fsagent.formats import counted, is_limit, parse_block, parse_note, parse_page
from fsagent.layout import OURS, is_agents
from fsagent.records import CORE_LIMIT
from fsagent.store import Store

if TYPE_CHECKING:
    from fsagent.agent import Agent


def config_findings(agent: Agent) -> Iterator[Finding]:
    """What agent.yaml says that cannot be meant."""
    try:
        agent.config  # noqa: B018 - raises where it cannot be used
        agent.toolbox  # noqa: B018 - the same, for the names of tools
    except FsagentError as error:
        how = f"Mend it in an editor; what changed: git -C {agent.root} log -p -- agent.yaml"
        yield Finding("problem", "agent.yaml", str(error), how)


class Files:
    """The instructions, blocks, notes and other files, looked at one by one."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bytes = 0
        self._labels: dict[str, str] = {}
        self._notes: dict[str, str] = {}

    def findings(self, checked: list[str]) -> Iterator[Finding]:
        """What is wrong with them."""
        for path, odd in _walk(self.store.root):
            if odd:
                yield Finding("advice", shown(path), *_ODD[odd])
                continue
            try:
                size = (self.store.root / path).stat().st_size
            except FileNotFoundError:  # it has just been removed
                continue
            self.bytes += size
            if size > MEGABYTE:  # worth a remark
                yield Finding(
                    "advice",
                    path,
                    f"It has {size / MEGABYTE:,.1f} MB, and every version of it is kept for ever.",
                    "Cut it into smaller files, or keep it elsewhere.",
                )
            if path.endswith(".md") and not path.startswith("files/"):
                yield from self._page(path)
        checked.append(counted(len(self._labels), "block"))
        checked.append(counted(len(self._notes), "note"))

    def _page(self, path: str) -> Iterator[Finding]:
        try:
            page = parse_page(self.store.read(path))
        except FsagentError as error:
            yield Finding("problem", path, str(error), f"Let yourself read it: chmod u+r {path}")
            return
        if page.problem:
            yield Finding(
                "problem",
                path,
                f"{page.problem}; all of it is taken as text.",
                "Mend that line."
                if page.readable
                else "Save it as UTF-8: until then it is read, but never changed.",
            )
        if path.startswith("core/"):
            block = parse_block(path, page)
            if "limit" in page.meta and not is_limit(page.meta["limit"]):
                text = f"limit must be a whole number above 0; {CORE_LIMIT:,} is used."
                yield Finding("problem", path, text, "Mend that line of its front matter.")
            if block.left < 0:
                text = f"It is {-block.left:,} characters over its limit of {block.limit:,}."
                yield Finding("advice", path, text, "Shorten it, or raise `limit` in it.")
            first = self._labels.setdefault(block.label, path)
            if first != path:
                text = f"It has the same label as {shown(first)}, so only one of them is read."
                yield Finding("problem", shown(path), text, "Rename one of them.")
        elif path.startswith("archival/"):
            note = parse_note(path, page)
            first = self._notes.setdefault(note.id, path)
            if first != path:
                text = f"It has the same id as {first}: {note.id}."
                how = "Delete one if it is a copy, or else the line `id:` in its front matter."
                yield Finding("problem", path, text, how)


_ODD = {
    "link": (
        "It is a symbolic link and is not read.",
        "Put a real file or folder there, or remove it.",
    ),
    "odd": ("It is not a plain file and is not read.", "Remove it."),
    "name": ("Its name is not UTF-8, so it is not read.", "Rename it."),
    "repo": (
        "It is a repository of its own and is left alone.",
        "Move it elsewhere, or remove the .git in it to make its files the agent's.",
    ),
    "stray": (
        "It is of no kind that belongs there: it is neither read nor committed.",
        "Notes and blocks end with .md, recall with .jsonl; for other files there is files/.",
    ),
}


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """Every file where an agent's files are, with what is odd about it; but no hidden ones."""
    for name in OURS:
        top = root / name
        if top.is_symlink():
            yield name, "link"
        elif top.is_file():
            yield name, ""
        for where, folders, names in os.walk(top) if not top.is_symlink() else ():
            inside = os.path.relpath(where, root)
            for folder in sorted(folders):
                full = Path(where, folder)
                if full.is_symlink() or folder.startswith(".") or (full / ".git").exists():
                    folders.remove(folder)
                    if not folder.startswith("."):
                        yield f"{inside}/{folder}", "link" if full.is_symlink() else "repo"
            folders.sort()
            for file in sorted(names):
                path = f"{inside}/{file}"
                if is_agents(f"files/{file}"):  # else it is hidden, or what an editor left
                    yield path, _odd(root, path)


def _odd(root: Path, path: str) -> str:
    try:
        mode = os.lstat(root / path).st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(mode):
        return "link"
    if not stat.S_ISREG(mode):
        return "odd"
    if not is_agents(path):
        return "stray"
    return "" if shown(path) == path else "name"
