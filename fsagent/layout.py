"""What an agent's directory looks like from outside: which paths are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsagent.errors import NotAnAgent

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("agent.yaml", "system.md", "core", "archival", "recall", "files")
"""What of a directory is the agent's: files and folders at its top."""


def is_agents(path: str) -> bool:
    """Whether ``path``, relative to the root, is one of the agent's own kinds of file.

    Hidden files and editors' leavings (``x~``, ``#x#``, ``x.swp``) are nobody's memory.
    """
    parts = path.split("/")
    name = parts[-1]
    if any(part.startswith(".") for part in parts) or name.endswith(("~", ".swp", ".tmp")):
        return False
    if name.startswith("#") and name.endswith("#"):
        return False
    match parts:
        case ["agent.yaml" | "system.md"]:
            return True
        case ["core" | "archival", _, *_]:
            return name.endswith(".md")
        case ["recall", _, *_]:
            return name.endswith(".jsonl")
        case ["files", _, *_]:
            return True
    return False


def require_agent(root: Path) -> None:
    """Raises NotAnAgent, with the remedy, unless ``root`` is an agent's directory."""
    try:
        found = (root / "agent.yaml").is_file()
        why = "no agent.yaml" if root.is_dir() else "there is no such directory"
    except OSError as error:
        raise NotAnAgent(f"'{root}' cannot be looked into: {error.strerror}.") from error
    if not found:
        raise NotAnAgent(f"'{root}' is not an agent ({why}). Create one: fsagent init {root}")
