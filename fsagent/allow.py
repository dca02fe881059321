"""Which agents the person allowed to use what their Git configuration names.

Kept outside of the agent's directory, or a stranger could allow his own: a file for each allowed
directory, named by its real path, that holds the agent's id. Another agent in the same place is
another one. The same holds for the directories of this machine to which the person syncs an agent:
what lies there may run hooks.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from fsagent.errors import AgentError, FsagentError
from fsagent.layout import read_plain


def is_allowed(root: Path, state_dir: Path) -> bool:
    """Whether the person allowed the agent that lies in ``root``."""
    try:
        known = read_plain(_record(root, state_dir), 4096).decode()
    except (OSError, ValueError):
        return False
    try:
        return known == f"{_ident(root)}\n"
    except FsagentError:  # the id of an agent.yaml that cannot be read is nobody's
        return False


def allow(root: Path, state_dir: Path) -> None:
    """Remember that the person trusts the agent in ``root``.

    Raises:
        AgentError: it cannot be kept.
        ConfigError: agent.yaml holds no id.
    """
    record, ident = _record(root, state_dir), _ident(root)
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{ident}\n", encoding="utf-8")
    except OSError as error:
        raise AgentError(f"{record} cannot be written: {error.strerror}.") from error


def revoke(root: Path, state_dir: Path) -> None:
    """Forget that the person trusted the agent in ``root``.

    Raises:
        AgentError: the record of it cannot be deleted.
    """
    record = _record(root, state_dir)
    try:
        record.unlink(missing_ok=True)
    except OSError as error:
        raise AgentError(f"{record} cannot be deleted: {error.strerror}.") from error


def places(root: Path, state_dir: Path, ident: str) -> list[str]:
    """The directories to which the person has synced the agent in ``root`` by naming them.

    ``ident`` is its id, "" where nobody knows it.
    """
    try:
        whose, *found = read_plain(_record(root, state_dir, "places")).decode().splitlines()
        return found if ident and whose == ident else []
    except (OSError, ValueError):
        return []


def add_place(root: Path, state_dir: Path, ident: str, place: str) -> None:
    """Remember that the person named ``place``. Where that cannot be kept, they name it again."""
    known = places(root, state_dir, ident)
    if place in known or "\n" in place:
        return
    record = _record(root, state_dir, "places")
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("".join(f"{line}\n" for line in (ident, *known, place)))


def _record(root: Path, state_dir: Path, kind: str = "allowed") -> Path:
    return state_dir / kind / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()


def _ident(root: Path) -> str:
    from fsagent.config import parse_config  # here: most agents are never allowed

    try:
        data = read_plain(root / "agent.yaml")
    except OSError as error:
        raise AgentError(f"agent.yaml cannot be read: {error.strerror}.") from error
    return parse_config(data).id
