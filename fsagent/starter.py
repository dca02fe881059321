"""Making an agent's directory from a template."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from fsagent.clock import Clock
from fsagent.config import DEFAULT_WINDOW, parse_config
from fsagent.errors import AgentError, FsagentError
from fsagent.formats import clean, load_yaml, one_line, parse_page
from fsagent.layout import is_agents, is_gits, read_plain
from fsagent.repo import Repo
from fsagent.tools.memory import OFF_BY_DEFAULT, STANDARD

GIT_ATTRIBUTES = """\
* -text
recall/**/*.jsonl merge=fsagent-recall
core/**/*.md merge=fsagent-text
archival/**/*.md merge=fsagent-text
system.md merge=fsagent-text
agent.yaml merge=fsagent-text
"""
"""Bytes stay as they are; and how files are merged where those drivers are set up."""


def create(
    root: Path,
    template: str | Path | None,
    clock: Clock,
    *,
    name: str = "",
    model: str = "",
    blocks: Mapping[str, str] | None = None,
) -> None:
    """Make ``root`` an agent's directory with a repository of its own, not yet committed.

    ``blocks`` are texts, by label, for blocks that the template has or gains by it.

    Raises:
        AgentError: ``root`` is an agent already, or holds files that are not an agent's; or the
            template is none.
    """
    _refuse(root)
    source = _template(Path(template)) if template is not None else None
    try:
        root.mkdir(parents=True, exist_ok=True)
        if source is None:
            with as_file(files("fsagent") / "template") as starter:
                _copy(starter, root)
        else:
            _copy(source, root)
        _write_config(root, clock, name, model)
        for label, text in (blocks or {}).items():
            if text:
                _write_block(root / "core" / f"{label}.md", text)
        attributes = root / ".gitattributes"
        old = attributes.read_text(errors="surrogateescape") if attributes.exists() else ""
        if GIT_ATTRIBUTES not in old:  # the person's own lines come last, so they count
            text = GIT_ATTRIBUTES + old
            attributes.write_text(text, errors="surrogateescape")
    except OSError as error:
        raise AgentError(
            f"'{root}' cannot be made: {error.strerror} ({error.filename})."
        ) from error
    Repo.init(root)


def files_of(root: Path) -> list[str]:
    """The agent's own files below ``root``, and .gitattributes."""
    found = [".gitattributes"]
    for where, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(where, name), root)
            if is_agents(path) and not is_gits(path) and _is_plain(root / path):
                found.append(path)
    return found


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _refuse(root: Path) -> None:
    """Stop unless ``root`` is absent, empty, or an agent's files without a repository."""
    if not root.exists():
        return
    if not root.is_dir():
        raise AgentError(f"'{root}' is a file: choose a name for a new directory.")
    try:
        entries = sorted(entry.name for entry in root.iterdir())
    except OSError as error:
        raise AgentError(f"'{root}' cannot be read: {error.strerror}.") from error
    if ".git" in entries:
        if "agent.yaml" in entries:
            raise AgentError(f"'{root}' is an agent already. Talk to it: fsagent chat {root}")
        raise AgentError(f"'{root}' is a Git repository of something else: choose another name.")
    ours = set(files_of(root))
    if not _is_plain(root / ".gitattributes"):
        ours.remove(".gitattributes")
    for where, folders, names in os.walk(root):
        for name in [*names, *(f for f in folders if os.path.islink(os.path.join(where, f)))]:
            path = os.path.relpath(os.path.join(where, name), root)
            if path not in ours:
                raise AgentError(
                    f"'{root}' is not empty ({one_line(path, 60)} is in it) and not an agent's: "
                    "choose another directory."
                )


def _template(path: Path) -> Path:
    if not (path / "agent.yaml").is_file():
        raise AgentError(f"'{path}' is no template: it has no agent.yaml.")
    return path


def _copy(source: Path, root: Path) -> None:
    """Copy the template's agent files; what lies in ``root`` already is the person's and stays."""
    for path in files_of(source):
        target = root / path
        if path != ".gitattributes" and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_plain(source / path))


def _without(text: str, keys: Iterable[str]) -> str:
    """YAML text without these top-level keys; comments and all other lines stay as they are."""
    kept = []
    dropping = False
    for line in text.splitlines(keepends=True):
        if not line.startswith((" ", "-", "\t", "#")) and line.strip():
            dropping = line.split(":")[0].strip() in {*keys, "{}"}
        if not dropping or line.startswith("#"):
            kept.append(line)
    return "".join(kept)


def _write_block(path: Path, text: str) -> None:
    page = parse_page(path.read_bytes() if path.exists() else b"")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(page.with_value(text).encode())


def _write_config(root: Path, clock: Clock, name: str, model: str) -> None:
    """Put id, name and the like at the top of agent.yaml; every other line of it stays."""
    import yaml

    path = root / "agent.yaml"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise AgentError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    try:
        old = load_yaml(text) or {}
    except ValueError as error:
        raise AgentError(f"{path}, line {error.args[0]}: not valid YAML: mend it first.") from None
    if not isinstance(old, dict):
        raise AgentError(f"{path} holds no `key: value` lines.")
    new: dict[str, object] = {"id": clock.id()}
    new["name"] = one_line(clean(name), 80) or old.get("name") or root.resolve().name
    if model:
        new["model"] = model
    new["context_window"] = old.get("context_window") or DEFAULT_WINDOW
    on = [tool.name for tool in STANDARD if tool.name not in OFF_BY_DEFAULT]
    new["tools"] = old.get("tools") or on
    dumped = yaml.safe_dump(new, sort_keys=False, allow_unicode=True) + _without(text, new)
    try:
        parse_config(dumped.encode())
    except FsagentError as error:
        raise AgentError(f"The template cannot be used: {error}") from error
    path.write_text(dumped, encoding="utf-8")
