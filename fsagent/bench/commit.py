"""What a change costs through the write door, and what plain git takes for the same change.

Every figure comes from twins: repositories with the same files, of which one gets its changes by
``git add`` and ``git commit``, the others by ``Store.change``. They take turns, so that whatever
else the machine does meanwhile disturbs all of them alike.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fsagent import starter
from fsagent.bench.figures import CONFIG, Cost, Row, Tell, environment, rounded, timed
from fsagent.bench.life import Moment
from fsagent.bench.locomo import BenchClock
from fsagent.bench.texts import docs
from fsagent.change import Change
from fsagent.clock import stamp
from fsagent.records import Record
from fsagent.store import Store

BASE = "git add, git commit"
ROADS = {BASE: "", "durability: process": "process", "durability: power": "power"}
"""How a change gets into a twin: by plain git, or by fsagent with that line in agent.yaml."""

KINDS = {
    "core": "core edit",
    "archival": "archival edit",
    "note": "new note",
    "turn": "turn of five",
}
FIVE = ("core", "archival", "note", "archival", "core")
"""The changes of a turn."""
FIGURES = {"p50_ms": "p50, ms", "p95_ms": "p95, ms", "cpu_ms": "CPU p50, ms"}
MEASURES = {f"{kind}_{key}": f"{KINDS[kind]}, {FIGURES[key]}" for kind in KINDS for key in FIGURES}
RECALL = {
    "first_cpu_ms": "CPU of a turn in the first tenth, ms",
    "last_cpu_ms": "… in the last tenth, ms",
    "log_mb": "recall itself, MB",
    "loose_mb": "objects as they are made, MB",
    "packed_mb": "objects when packed, MB",
    "git_mb": "all of .git then, MB",
}
"""What each figure is called, of changes and of recall."""

PART = 5
"""Rounds that twins make before those of the next size have their turn: so all sizes are measured
in the same minutes, and yet most of what a round needs is in the processor's caches.
"""
MONTHS = 120
"""Folders over which notes are spread: ten years."""
HISTORY_FILES = 10_000
"""Files of the twins that have a long history, or fewer where no such size was asked for."""
TURN_EVERY = timedelta(minutes=3)

_NOW = datetime(2024, 12, 31, tzinfo=UTC)
_WORDS = [
    first + last
    for first in "har mel tor vin sul bran kel dos".split()
    for last in "bour ting den low ster by wick mere".split()
]


def measure(
    sizes: Sequence[int],
    rounds: int = 30,
    history: int = 10_000,
    turns: int = 8_000,
    tell: Tell = lambda text: None,
) -> dict[str, Any]:
    """Every figure of ``fsagent bench commit``, as its ``--json`` prints it.

    Args:
        sizes: How many notes the agents have.
        rounds: How often each kind of change is made in each twin.
        history: Commits of the twins with a long history; 0 leaves them out.
        turns: Turns over which recall grows; 0 leaves that out.
        tell: Is told how far it is.
    """
    sizes = sorted(set(sizes))
    shapes = [(size, 1) for size in sizes]
    if history:
        shapes.append(
            (max([size for size in sizes if size <= HISTORY_FILES] or sizes[:1]), history)
        )
    with tempfile.TemporaryDirectory() as place:
        made = {}
        for shape in shapes:
            tell(f"making twins: {_called(*shape)}")
            made[shape] = Twins(Path(place, "-".join(map(str, shape))), *shape)
        draw = random.Random(3)
        for done in range(0, rounds, PART):
            for shape, twins in draw.sample(list(made.items()), len(made)):
                tell(f"{_called(*shape)}: round {done + 1} of {rounds}")
                twins.run(min(rounds - done, PART))
        rows = {shape: twins.rows() for shape, twins in made.items()}
        for twins in made.values():
            twins.close()
    found: dict[str, Any] = {"sizes": {str(size): _size(size, rows[size, 1]) for size in sizes}}
    if len(sizes) > 1:
        found["growth"] = _growth(rows[sizes[0], 1], rows[sizes[-1], 1])
    if history:
        files, _ = shapes[-1]
        found["history"] = _size(files, rows[shapes[-1]]) | {
            "commits": history,
            "growth": _growth(rows[files, 1], rows[shapes[-1]]),
        }
    if turns:
        with tempfile.TemporaryDirectory() as place:
            found["recall"] = recall(Path(place), turns, tell)
    git = subprocess.run(["git", "version"], check=True, stdout=subprocess.PIPE, text=True)
    found["config"] = {"base": BASE, "rounds": rounds, "git": git.stdout.strip()}
    return found


def _called(files: int, commits: int) -> str:
    return f"{files:,} notes" + (f" after {commits:,} commits" if commits > 1 else "")


def _size(files: int, rows: dict[str, Row]) -> dict[str, Any]:
    ratios = {road: _ratios(row, rows[BASE]) for road, row in rows.items()}
    return {"files": files, "rows": rows, "ratios": ratios}


# ── the twins ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Wanted:
    """A change that every twin is to make: the text for a block, a note's file, or a new note."""

    kind: str
    name: str
    text: str
    when: datetime

    def fill(self, change: Change) -> None:
        """Write it into ``change``."""
        change.store.clock = BenchClock(self.when)  # which gives the same ids in every twin
        if self.kind == "core":
            change.set_block(self.name, self.text)
        elif self.kind == "note":
            change.add_note(self.text)
        else:  # for which there is no tool
            change.writes[self.name] = self.text.encode()


class Twin:
    """An agent with so many notes and so much history, and the road by which it is changed."""

    def __init__(self, root: Path, road: str, files: int, commits: int = 1) -> None:
        self.root = root
        self.road = road
        self.env = environment()
        starter.create(root, None, BenchClock(_NOW), name="bench")
        with open(root / ".git/config", "a") as config:
            config.write(CONFIG)
        if ROADS[road]:
            with open(root / "agent.yaml", "a") as config:
                config.write(f"durability: {ROADS[road]}\n")
        own = {path: (root / path).read_bytes() for path in starter.files_of(root)}
        self.git("fast-import", "--quiet", stdin=b"".join(_stream(own, files, commits)))
        self.git("reset", "-q", "--hard")
        self.store = Store(root, BenchClock(_NOW))

    def make(self, block: Sequence[Wanted]) -> Cost:
        """Make these changes, a commit each; what that cost."""
        if self.road != BASE:
            return timed(self._by_store, block)
        writes = []
        for wanted in block:
            change = Change(self.store, wanted.kind)
            wanted.fill(change)
            writes.append(change.writes)
        return timed(self._by_git, writes)

    def _by_store(self, block: Sequence[Wanted]) -> None:
        """As a tool call does it, or as a turn with several."""
        if len(block) > 1:
            with self.store.turn():
                for wanted in block:
                    self._by_store([wanted])
        else:
            with self.store.change(block[0].kind) as change:
                block[0].fill(change)

    def _by_git(self, block: Sequence[Mapping[str, bytes | None]]) -> None:
        """As a script of one's own would do it."""
        spare = self.root / ".git/spare"
        for writes in block:
            for path, data in writes.items():
                spare.write_bytes(data or b"")
                target = self.root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                spare.replace(target)
            self.git("add", "--", *writes)
            self.git("commit", "-q", "-m", "bench")

    def git(self, *command: str, stdin: bytes | None = None) -> None:
        """Run git as it comes."""
        subprocess.run(["git", *command], cwd=self.root, env=self.env, check=True, input=stdin)

    def state(self) -> bytes:
        """The trees of memory in HEAD, and what in the directory differs from HEAD."""
        asked = ["rev-parse", "HEAD:core", "HEAD:archival"], ["status", "--porcelain"]
        env = self.env | {"GIT_OPTIONAL_LOCKS": "0"}  # or status would tidy the index up
        return b"".join(
            subprocess.run(
                ["git", *command], cwd=self.root, env=env, check=True, stdout=subprocess.PIPE
            ).stdout
            for command in asked
        )


class Twins:
    """One twin for each road, and what their changes have cost so far."""

    def __init__(self, place: Path, files: int, commits: int = 1) -> None:
        self.files = files
        self.each = {
            road: Twin(place / str(n), road, files, commits) for n, road in enumerate(ROADS)
        }
        self.costs: dict[str, dict[str, list[Cost]]] = {
            road: {kind: [] for kind in KINDS} for road in ROADS
        }
        self._draw = random.Random(2)
        self._made = 0

    def run(self, rounds: int) -> None:
        """So many rounds, and one before them that is not counted.

        In a round each twin makes one change of every kind, and a turn of five. The order of the
        kinds and of the twins is drawn anew each time.
        """
        os.sync()  # what others have left to be written must not burden these
        draw = self._draw
        for number in range(rounds + 1):
            blocks = {kind: [self._want(kind)] for kind in KINDS if kind != "turn"}
            blocks["turn"] = [self._want(kind) for kind in FIVE]
            kinds = draw.sample(list(KINDS), len(KINDS))
            for road in draw.sample(list(ROADS), len(ROADS)):
                for kind in kinds:
                    cost = self.each[road].make(blocks[kind])
                    if number:
                        self.costs[road][kind].append(cost)
        self.check()

    def _want(self, kind: str) -> Wanted:
        self._made += 1
        when, text = _NOW + timedelta(seconds=self._made), _text(self._draw)
        if kind != "archival":
            return Wanted(kind, "human", text, when)
        number = self._draw.randrange(self.files)
        return Wanted(kind, _path(number, self.files), _page(number, text), when)

    def check(self) -> None:
        """Raise unless all have the same memory, committed to the last byte."""
        states = {twin.state() for twin in self.each.values()}
        if len(states) > 1 or states.pop().count(b"\n") != 2:
            raise AssertionError("The twins have not made the same changes.")

    def close(self) -> None:
        """End the processes that they keep."""
        for twin in self.each.values():
            twin.store.repo.close()

    def rows(self) -> dict[str, Row]:
        """Their figures, by road."""
        rows: dict[str, Row] = {}
        for road, kinds in self.costs.items():
            rows[road] = {}
            for kind, costs in kinds.items():
                walls = sorted(wall for wall, _ in costs)
                p95 = walls[int(0.95 * (len(walls) - 1))]
                cpu = statistics.median(cpu for _, cpu in costs)
                for key, value in zip(FIGURES, (statistics.median(walls), p95, cpu), strict=True):
                    rows[road][f"{kind}_{key}"] = rounded(value)
        return rows


def _stream(own: Mapping[str, bytes], files: int, commits: int) -> Iterator[bytes]:
    """For git fast-import: a commit of all files, edits of notes, a commit that takes them back."""
    draw = random.Random(1)
    notes = {_path(n, files): _page(n, _text(draw)).encode() for n in range(files)}
    for number in range(commits):
        seconds = int(_NOW.timestamp()) - commits + number
        who = f"Bench <bench@localhost> {seconds} +0000"
        yield f"commit refs/heads/main\ncommitter {who}\ndata 5\nbench\n".encode()
        if 0 < number < commits - 1:
            edited = draw.randrange(files)
            blobs = {_path(edited, files): _page(edited, _text(draw)).encode()}
        else:
            blobs = {**own, **notes}
        for path, data in blobs.items():
            yield f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"


def _path(number: int, files: int) -> str:
    month = number * MONTHS // files
    return f"archival/{2015 + month // 12}/{month % 12 + 1:02}/n{number:06}.md"


def _page(number: int, text: str) -> str:
    created = stamp(_NOW - timedelta(minutes=number))
    return f"---\nid: n{number:06}\ncreated: {created}\ntags: []\n---\n{text}\n"


def _text(draw: random.Random) -> str:
    return " ".join(draw.choices(_WORDS, k=45))


# ── recall ────────────────────────────────────────────────────────────────────────────────────


def recall(place: Path, turns: int, tell: Tell = lambda text: None) -> dict[str, Any]:
    """What the last tenth of so many turns costs over a first tenth, and what they leave on disk.

    The first tenth is that of a second agent, which begins when the first one is nine tenths
    through: so both are measured in the same minute.
    """
    old, young = (Twin(place / name, "durability: power", 1) for name in ("old", "young"))
    said = [doc.text for doc in docs(3 * turns)]
    before = turns - max(turns // 10, 1)
    costs: dict[Twin, list[float]] = {old: [], young: []}
    old.store.clock = young.store.clock = clock = Moment()
    for number in range(turns):
        if number % 1000 == 0:
            tell(f"{turns - number:,} turns to go")
        clock.at += TURN_EVERY
        texts = [said[n % len(said)] for n in range(3 * number, 3 * number + 3)]
        for twin in (old, young) if number >= before else (old,):
            costs[twin].append(timed(_turn, twin.store, *texts)[1])
    first, last = (statistics.fmean(some) for some in (costs[young], costs[old][before:]))
    for twin in costs:
        twin.store.repo.close()
    git_dir = old.root / ".git"
    log, loose = _megabytes(old.root / "recall"), _megabytes(git_dir / "objects")
    old.git("repack", "-adq")
    old.git("prune-packed")
    packed, whole = _megabytes(git_dir / "objects"), _megabytes(git_dir)
    figures = {  # each with what it is compared to
        "first_cpu_ms": (first, first),
        "last_cpu_ms": (last, first),
        "log_mb": (log, log),
        "loose_mb": (loose, log),
        "packed_mb": (packed, log),
        "git_mb": (whole, log),
    }
    return {
        "turns": turns,
        "rows": {"fsagent": {name: rounded(a) for name, (a, _) in figures.items()}},
        "ratios": {"fsagent": {name: rounded(a / b) for name, (a, b) in figures.items()}},
    }


def _turn(store: Store, asked: str, *answered: str) -> None:
    """What a plain turn writes: a message, which is flushed, its answer, and a commit of both."""
    turn = store.clock.id()
    with store.turn():
        paths = []
        for role, text in (("user", asked), ("assistant", "\n\n".join(answered))):
            record = Record(store.clock.id(), stamp(store.clock.now()), role, text, turn)
            paths.append(store.append(record, flush=role == "user"))
        with store.change(f"turn: {asked}", turn=turn) as change:
            change.included += dict.fromkeys(paths)


# ── how it is measured ────────────────────────────────────────────────────────────────────────


def _ratios(row: Row, base: Row) -> Row:
    """Every figure over that of plain git, a p95 over git's p50."""
    return {name: rounded(value / base[name.replace("p95", "p50")]) for name, value in row.items()}


def _growth(before: Mapping[str, Row], after: Mapping[str, Row]) -> dict[str, Row]:
    """What each p50 is over the p50 before, by road."""
    names = [name for name in MEASURES if not name.endswith("p95_ms")]
    return {
        road: {name: rounded(after[road][name] / before[road][name]) for name in names}
        for road in ROADS
    }


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / (1 << 20)
