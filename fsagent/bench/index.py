"""What an index costs at several sizes, and what SQLite's FTS5 costs beside it.

Times are those of the processor, not of the clock on the wall, so that other programs disturb them
less; what is worth comparing between machines is the ratio to FTS5.
"""

from __future__ import annotations

import gc
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from fsagent.bench.once import DEPTH, FTS5, any_of, opened
from fsagent.bench.texts import content, docs, questions
from fsagent.errors import FsagentError
from fsagent.index import Meta
from fsagent.index.entries import analysed
from fsagent.index.find import CANDIDATES, Query, find
from fsagent.index.layered import Layered
from fsagent.index.pool import Ask, Limits
from fsagent.index.words import query_terms
from fsagent.records import Doc

SMALLEST = 10
"""With fewer docs there is nothing to measure."""
BASE = "SQLite FTS5"
QUERIES = 200
ADDED = 50
"""Docs that are added one by one, and then committed together."""
OKAPI_MOST = 10_000
"""Docs up to which rank-bm25 is asked as it comes: it walks all of them for every word."""

MEASURES = {
    "build_s": "build, s",
    "add_ms": "add one doc, ms",
    "found_ms": "… until it is found, ms",
    "commit_ms": f"commit {ADDED} docs, ms",
    "query_p50_ms": "query p50, ms",
    "query_p95_ms": "query p95, ms",
    "candidates_p50_ms": "candidates p50, ms",
    "candidates_p95_ms": "candidates p95, ms",
    "cold_s": "start, open, ask, s",
    "warm_s": "read into memory, s",
    "memory_mb": "memory, MB",
    "disk_mb": "disk, MB",
}
"""What each figure is called."""

Row = dict[str, float]
Tell = Callable[[str], None]
T = TypeVar("T")


def measure(
    sizes: Sequence[int], folder: Path | None = None, tell: Tell = lambda text: None
) -> dict[str, Any]:
    """Every figure of ``fsagent bench index``, as its ``--json`` prints it.

    ``folder`` holds the text to use instead of that of Python's packages.
    """
    sizes = sorted(set(sizes))
    found = docs(sizes[-1] + ADDED, folder)
    added = [
        replace(
            doc, id=f"new{n}", session="new", place=n, text=f"{doc.text} {_mark(n)}", kind="record"
        )
        for n, doc in enumerate(found[-ADDED:])
    ]
    found = found[:-ADDED]
    if len(found) < SMALLEST:
        raise FsagentError(f"{folder or 'Python'} has too little text: name a folder with more.")
    if len(found) < sizes[-1]:
        tell(f"There is text for {len(found):,} docs only.")
    made: dict[str, Any] = {}
    for size in sizes:
        chosen = found[:size]
        if any(one["docs"] == len(chosen) for one in made.values()):
            continue  # there is no more text than at the size before
        gc.collect()
        gc.freeze()  # these docs are the bench's own: no collection should walk them
        with tempfile.TemporaryDirectory() as place:
            rows = _rows(Path(place), chosen, questions(chosen, QUERIES), added, tell)
        gc.unfreeze()
        made[str(size)] = {
            "docs": len(chosen),
            "characters": sum(len(doc.text) for doc in chosen),
            "rows": rows,
            "ratios": {name: _ratios(row, rows[BASE]) for name, row in rows.items()},
        }
    return {
        "sizes": made,
        "config": {
            "text": str(folder or "Python's packages"),
            "docs": len(found),
            "queries": QUERIES,
            "base": BASE,
        },
    }


def _ratios(row: Row, base: Row) -> Row:
    """Every figure over that of FTS5, which does not tell candidates from a query."""
    bases = base | {f"candidates_{p}_ms": base[f"query_{p}_ms"] for p in ("p50", "p95")}
    return {
        name: round(value / max(bases[name], 1e-9), 3)
        for name, value in row.items()
        if name in bases
    }


def _rows(
    place: Path, chosen: Sequence[Doc], asked: Sequence[str], added: Sequence[Doc], tell: Tell
) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for name in ("fts5", "whoosh", "tantivy", "rank-bm25"):
        folder = place / name
        folder.mkdir()
        try:
            if name == "fts5":
                tell(f"{len(chosen):,} docs: SQLite FTS5")
                rows[BASE] = _fts5(folder, chosen, asked, added)
            elif name == "rank-bm25":
                if len(chosen) <= OKAPI_MOST:
                    tell(f"{len(chosen):,} docs: rank-bm25")
                    rows[name] = _okapi(folder, chosen, asked)
            else:
                opened(name, folder)  # or it is not installed
                tell(f"{len(chosen):,} docs: {name}")
                cold, live = _ours(name, folder, chosen, asked, added)
                rows |= {f"{name}, cold": cold, f"{name}, live": live}
        except ImportError:
            continue
    return rows


def _ours(
    name: str, folder: Path, chosen: Sequence[Doc], asked: Sequence[str], added: Sequence[Doc]
) -> tuple[Row, Row]:
    """One of fsagent's indexes: asked from its files, and once it has been read into memory."""
    cold: Row = {}
    live: Row = {}

    def build() -> None:
        index = opened(name, folder)
        index.update(map(analysed, chosen), (), Meta("built"))
        index.flush()

    def add(some: Sequence[Doc]) -> tuple[list[float], list[float]]:
        adding, finding = [], []
        for doc in some:
            meta = Meta(f"with {doc.id}")
            adding.append(_cpu(lambda d=doc, m=meta: index.update([analysed(d)], (), m)))  # type: ignore[misc]
            mark = Query(doc.text.split()[-1])
            finding.append(adding[-1] + _cpu(lambda q=mark: find(index, q)))  # type: ignore[misc]
            if find(index, mark).hits[0].doc.id != doc.id:
                raise AssertionError(f"{name} did not find what was added to it")
        return adding, finding

    cold["build_s"] = _cpu(build) / 1000
    cold["disk_mb"] = _size(folder)
    cold["cold_s"], cold["memory_mb"] = _alone(name, folder, asked[0])
    _, live["memory_mb"] = _alone(name, folder, asked[0], "live", rounds=1)
    index = opened(name, folder)
    half = len(added) // 2
    for row, more in ((cold, added[:half]), (live, added[half:])):
        if row is live:
            row["warm_s"] = _cpu(index.warm) / 1000
        _asked(row, lambda text: find(index, Query(text, limit=DEPTH)), asked)
        asks = [_ask(index, text) for text in asked]
        _asked(row, index.candidates, asks, "candidates")
        adding, finding = add(more)
        row["add_ms"], row["found_ms"] = statistics.median(adding), statistics.median(finding)
    cold["commit_ms"] = _cpu(index.flush)
    return _rounded(cold), _rounded(live)


def _ask(index: Layered, text: str) -> Ask:
    words = query_terms(text)
    return Ask.of(words, index.stats(words), Limits(), CANDIDATES + DEPTH)


def _fts5(folder: Path, chosen: Sequence[Doc], asked: Sequence[str], added: Sequence[Doc]) -> Row:
    """FTS5 with porter stems, any of the words that are no stop words; texts come with the ids."""
    base = sqlite3.connect(folder / "fts5.db", isolation_level=None)
    base.execute("pragma journal_mode = wal")
    base.execute("pragma synchronous = normal")
    base.execute("create virtual table t using fts5(id unindexed, text, tokenize='porter')")

    def insert(docs: Iterable[Doc]) -> None:
        base.execute("begin")
        base.executemany("insert into t values (?, ?)", ((doc.id, doc.text) for doc in docs))
        base.execute("commit")

    def ask(words: list[str]) -> list[Any]:
        return base.execute(FTS5, (any_of(words), DEPTH)).fetchall()

    row: Row = {"build_s": _cpu(lambda: insert(chosen)) / 1000}
    base.execute("pragma wal_checkpoint(truncate)")
    row["disk_mb"] = _size(folder)
    row["cold_s"], row["memory_mb"] = _alone("fts5", folder, " ".join(content(asked[0])))
    _asked(row, ask, [content(text) for text in asked])
    adding = [_cpu(lambda d=doc: insert([d])) for doc in added]  # type: ignore[misc]
    finding = [_cpu(lambda d=doc: ask([d.text.split()[-1]])) for doc in added]  # type: ignore[misc]
    row["add_ms"] = statistics.median(adding)
    row["found_ms"] = row["add_ms"] + statistics.median(finding)
    row["commit_ms"] = _cpu(lambda: insert(added))
    base.close()
    return _rounded(row)


def _okapi(folder: Path, chosen: Sequence[Doc], asked: Sequence[str]) -> Row:
    """rank-bm25 as it comes. A doc is added by building it again."""
    import numpy as np
    from rank_bm25 import BM25Okapi

    made: list[Any] = []
    texts = [doc.text for doc in chosen]
    (folder / "texts.json").write_text(json.dumps(texts))
    build = _cpu(lambda: made.append(BM25Okapi([text.lower().split() for text in texts])))
    row: Row = {"build_s": build / 1000, "add_ms": build}
    row["cold_s"], row["memory_mb"] = _alone("rank-bm25", folder, " ".join(content(asked[0])))
    _asked(
        row,
        lambda words: np.argsort(-made[0].get_scores(words), kind="stable")[:DEPTH],
        [content(text) for text in asked],
    )
    return _rounded(row)


# ── how each is measured ──────────────────────────────────────────────────────────────────────


def _cpu(work: Callable[[], Any]) -> float:
    """Milliseconds of the processor."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


def _asked(row: Row, ask: Callable[[T], Any], asked: Sequence[T], name: str = "query") -> None:
    ask(asked[0])
    times = sorted(_cpu(lambda q=one: ask(q)) for one in asked)  # type: ignore[misc]
    row[f"{name}_p50_ms"] = statistics.median(times)
    row[f"{name}_p95_ms"] = times[int(0.95 * (len(times) - 1))]


def _alone(
    name: str, folder: Path, question: str, *live: str, rounds: int = 5
) -> tuple[float, float]:
    """The p50 of the seconds that a process takes from its start to an answer; its megabytes."""
    command = [sys.executable, "-m", "fsagent.bench.once", name, str(folder), question, *live]
    seconds, sizes = [], []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        sizes.append(float(done.stdout))
    return statistics.median(seconds), statistics.median(sizes)


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / (1 << 20)


def _mark(number: int) -> str:
    """A word that no other doc holds."""
    return f"zq{number}zq"


def _rounded(row: Row) -> Row:
    return {name: float(f"{row[name]:.4g}") for name in MEASURES if name in row}
