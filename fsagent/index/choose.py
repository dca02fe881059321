"""The index that agent.yaml names. Another backend is one more file and one more name here."""

from __future__ import annotations

from pathlib import Path

from fsagent.errors import SearchError
from fsagent.index import Persistent
from fsagent.index.caches import claim, folder_of
from fsagent.index.layered import Layered


def open_index(
    name: str, memory: int, cache: Path, root: Path, ident: str, *, fixed: bool = False
) -> Layered:
    """The index of one agent, in the user's cache directory.

    Args:
        name: ``whoosh`` or ``tantivy``.
        memory: Bytes that postings may take in a process that lives on.
        cache: The user's cache directory.
        root: The agent's directory.
        ident: Its id: a copy elsewhere, or another agent in its place, has an index of its own.
        fixed: Write nothing: what differs from the files is kept in memory.

    Raises:
        SearchError: the index is not installed.
    """
    folder = folder_of(cache, root, ident)
    index = persistent(name, folder)
    claim(folder, root)
    bound = 0 if name == "tantivy" else memory  # it needs no postings
    return Layered(index, bound, folder, fixed=fixed)


def persistent(name: str, folder: Path) -> Persistent:
    """The index in files that has that name.

    Raises:
        SearchError: the index is not installed.
    """
    if name == "tantivy":
        try:
            from fsagent.index.tantivy import TantivyIndex
        except ModuleNotFoundError:
            raise SearchError(
                "agent.yaml asks for `index: tantivy`, which is not installed: "
                "pip install 'fsagent[fast]'"
            ) from None
        return TantivyIndex(folder)
    from fsagent.index.whoosh import WhooshIndex

    return WhooshIndex(folder)
