"""What an agent's life costs, and how it grows: sums over recall and over the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from fsagent.clock import moment
from fsagent.formats import label_of, parse_page
from fsagent.layout import is_agents
from fsagent.records import Record
from fsagent.repo import walk

if TYPE_CHECKING:
    from fsagent.config import AgentConfig, Price
    from fsagent.store import Store


@dataclass
class Calls:
    """Calls of models: their tokens, the time that they and fsagent took, and what they cost.

    ``cost`` is that of the calls whose price is known, None where no price is.
    """

    turns: int = 0
    calls: int = 0
    sent: int = 0
    cached: int = 0
    answered: int = 0
    model_ms: int = 0
    own_ms: int = 0
    cost: float | None = None

    def add(self, record: Record, price: Price | None, *, new: bool) -> None:
        """Count a record that a call of a model left; ``new`` says that its turn begins."""
        assert record.usage  # noqa: S101 - that is how such a record is known
        self.turns += new and bool(record.turn)  # a fold by hand belongs to none
        self.calls += 1
        self.sent += record.usage.prompt
        self.cached += record.usage.cached
        self.answered += record.usage.completion
        self.model_ms += record.ms or 0
        self.own_ms += record.own_ms or 0
        if price:
            self.cost = (self.cost or 0.0) + price.of(record.usage)

    def join(self, other: Calls) -> None:
        """Count what another one has counted."""
        self.turns += other.turns
        self.calls += other.calls
        self.sent += other.sent
        self.cached += other.cached
        self.answered += other.answered
        self.model_ms += other.model_ms
        self.own_ms += other.own_ms
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost


@dataclass
class Runs:
    """Calls of a tool: how many, how many failed, how many changed something, their time."""

    calls: int = 0
    failed: int = 0
    changes: int = 0
    ms: int = 0


@dataclass
class Growth:
    """What there was at the end of each day, from the first day on.

    ``blocks`` has the characters of each block, None where there was no such block.
    """

    days: list[str] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)
    notes: list[int] = field(default_factory=list)
    blocks: dict[str, list[int | None]] = field(default_factory=dict)


@dataclass
class Stats:
    """Sums over all calls, by day, model and tool; the models without a price; and the growth."""

    total: Calls = field(default_factory=Calls)
    days: dict[str, Calls] = field(default_factory=dict)
    models: dict[str, Calls] = field(default_factory=dict)
    tools: dict[str, Runs] = field(default_factory=dict)
    unpriced: list[str] = field(default_factory=list)
    growth: Growth = field(default_factory=Growth)


def stats(store: Store, since: datetime | None = None) -> Stats:
    """What all calls cost that were made since then, and how memory has grown."""
    found, config = Stats(), store.config
    turns: dict[str, set[str]] = {"": set()}
    for record, day in _made_here(store, config, since):
        if record.usage:
            model = record.model or "unknown"
            price = config.price(model)
            if not price and config.prices and model not in found.unpriced:
                found.unpriced.append(model)
            groups = (
                ("", found.total),
                (day, found.days.setdefault(day, Calls())),
                (model, found.models.setdefault(model, Calls())),
            )
            for name, calls in groups:
                seen = turns.setdefault(name, set())
                calls.add(record, price, new=record.turn not in seen)
                seen.add(record.turn)
        if record.role == "tool" and record.status:
            runs = found.tools.setdefault(record.name or "unknown", Runs())
            runs.calls += 1
            runs.failed += record.status == "error"
            runs.changes += record.change is not None
            runs.ms += record.ms or 0
    found.growth = _growth(store, config, since)
    return found


def _made_here(
    store: Store, config: AgentConfig, since: datetime | None
) -> Iterator[tuple[Record, str]]:
    """The records of calls, oldest first, with their day; what was imported is not among them, nor
    what another agent lived, of which this one is a fork."""
    since = max(filter(None, (since, config.born)), default=None)
    first = f"{since - timedelta(days=2):recall/%Y/%m/%d}" if since else ""
    for path in store.segments():
        if path < first:  # it is called by the day of its first record, in UTC
            continue
        for record in store.records(path):
            when = moment(record.ts)
            if not when or (since and when < since):
                continue
            if record.usage or record.role == "tool":
                yield record, str(when.astimezone(config.zone).date())


# ── growth ────────────────────────────────────────────────────────────────────────────────────


def _growth(store: Store, config: AgentConfig, since: datetime | None) -> Growth:
    """Commits, notes and block sizes by day, along the branch itself."""
    found = Growth()
    if store.rev is None:
        return found
    begin = since.astimezone(config.zone).date() if since else None
    commits: dict[date, int] = {}
    notes: dict[date, int] = {}
    states: dict[date, dict[str, str]] = {}
    count = 0
    blocks: dict[str, str | None] = {}
    today = store.clock.now().astimezone(config.zone).date()
    for entry in reversed([*walk.log(store.repo, store.rev, (), "--first-parent")]):
        when = moment(entry.commit.ts)
        day = min(when.astimezone(config.zone).date(), today) if when else today
        commits[day] = commits.get(day, 0) + 1
        for change in entry.changes:
            if not is_agents(change.path):
                continue
            if change.path.startswith("archival/"):
                count += (change.new is not None) - (change.old is not None)
            elif change.path.startswith("core/"):
                blocks[label_of(change.path)] = change.new
        notes[day] = count
        states[day] = {label: blob for label, blob in blocks.items() if blob}
    # The last day's is what there is now, whatever a clock that went wrong has said.
    last = max(states, default=today)
    notes[last], states[last] = count, {label: blob for label, blob in blocks.items() if blob}
    sizes = _sizes(store, {blob for state in states.values() for blob in state.values()})
    known = {label for state in states.values() for label in state}
    labels = [label for label in store.blocks() if label in known]  # in the order of the prompt
    labels += sorted(known - set(labels))
    at, count = min(states, default=today), 0
    state: dict[str, str] = {}
    found.blocks = {label: [] for label in labels}
    while at <= last:
        count, state = notes.get(at, count), states.get(at, state)
        if not begin or at >= begin:
            found.days.append(str(at))
            found.commits.append(commits.get(at, 0))
            found.notes.append(count)
            for label, values in found.blocks.items():
                values.append(sizes[state[label]] if label in state else None)
        at += timedelta(days=1)
    return found


def _sizes(store: Store, blobs: Iterable[str]) -> dict[str, int]:
    """How many characters of text the blocks in these blobs hold."""
    wanted = sorted(blobs)
    texts = walk.blobs(store.repo, wanted)
    return {blob: len(parse_page(data).value) for blob, data in zip(wanted, texts, strict=True)}
