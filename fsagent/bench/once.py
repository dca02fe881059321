"""One question to a store in a process of its own, which prints how many megabytes it takes.

python -m fsagent.bench.once STORE FOLDER QUESTION [live]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsagent.index.layered import Layered

DEPTH = 10
FTS5 = "select id, text from t where t match ? order by rank limit ?"


def opened(name: str, folder: Path) -> Layered:
    """The index ``name`` in ``folder``, as an agent asks it.

    Raises:
        ImportError: it is not there, or what it needs is not.
    """
    from importlib import import_module

    from fsagent.index.layered import Layered

    kind: Any = getattr(import_module(f"fsagent.index.{name}"), f"{name.title()}Index")
    return Layered(kind(folder), 1 << 40)


def any_of(words: list[str]) -> str:
    """The FTS5 query for docs that hold any of some words."""
    return " OR ".join(f'"{word}"' for word in words)


def main(store: str, folder: Path, question: str, live: bool) -> None:
    """Open, ask, tell."""
    words = question.split()
    if store == "fts5":
        import sqlite3

        base = sqlite3.connect(folder / "fts5.db")
        found: Any = base.execute(FTS5, (any_of(words), DEPTH)).fetchall()
    elif store == "rank-bm25":
        import json

        from rank_bm25 import BM25Okapi

        texts = json.loads((folder / "texts.json").read_text())
        found = BM25Okapi([text.lower().split() for text in texts]).get_scores(words)
    else:
        from fsagent.index.find import Query, find

        index = opened(store, folder)
        if live:
            index.warm()
        found = find(index, Query(question, limit=DEPTH)).hits
    if not len(found):
        raise SystemExit("Nothing was found.")
    sys.stdout.write(str(megabytes()))


def megabytes(line: str = "VmRSS") -> float:
    """The memory that this process takes now, or took at most where that cannot be told.

    With ``VmHWM``, what it took at most, in any case.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return round(int(status.partition(f"{line}:")[2].split()[0]) / 1024, 1)
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(most / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:] == ["live"])
