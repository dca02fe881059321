"""The index that agent.yaml names. Another backend is one more file and one more name here."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from fsagent.index.layered import Layered


def open_index(name: str, memory: int, cache: Path, root: Path, ident: str) -> Layered:
    """The index of one agent, in the user's cache directory.

    Args:
        name: ``whoosh``.
        memory: Bytes that postings may take in a process that lives on.
        cache: The user's cache directory.
        root: The agent's directory.
        ident: Its id: a copy elsewhere, or another agent in its place, has an index of its own.
    """
    key = sha256(f"{root.resolve()}\n{ident}".encode("utf-8", "surrogateescape")).hexdigest()
    folder = cache / "index" / key[:32]
    from fsagent.index.whoosh import WhooshIndex

    return Layered(WhooshIndex(folder), memory, folder)
