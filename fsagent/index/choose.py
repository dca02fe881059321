"""The index that agent.yaml names. Another backend is one more file and one more name here."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from fsagent.errors import SearchError
from fsagent.index.layered import Layered


def open_index(name: str, memory: int, cache: Path, root: Path, ident: str) -> Layered:
    """The index of one agent, in the user's cache directory.

    Args:
        name: ``whoosh`` or ``tantivy``.
        memory: Bytes that postings may take in a process that lives on.
        cache: The user's cache directory.
        root: The agent's directory.
        ident: Its id: a copy elsewhere, or another agent in its place, has an index of its own.

    Raises:
        SearchError: the index is not installed.
    """
    key = sha256(f"{root.resolve()}\n{ident}".encode("utf-8", "surrogateescape")).hexdigest()
    folder = cache / "index" / key[:32]
    if name == "tantivy":
        try:
            from fsagent.index.tantivy import TantivyIndex
        except ModuleNotFoundError:
            raise SearchError(
                "agent.yaml asks for `index: tantivy`, which is not installed: "
                "pip install 'fsagent[fast]'"
            ) from None
        return Layered(TantivyIndex(folder), 0, folder)  # it needs no postings in memory
    from fsagent.index.whoosh import WhooshIndex

    return Layered(WhooshIndex(folder), memory, folder)
