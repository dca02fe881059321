"""agent.yaml to AgentConfig. Every key but ``id`` is optional; an unknown one is ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fsagent.clock import born
from fsagent.errors import ConfigError
from fsagent.formats import is_limit, load_yaml, scalar, words_of
from fsagent.records import Usage

DEFAULT_WINDOW = 8192
"""Tokens of context where neither agent.yaml nor the model says how many there are."""

DEFAULT_INDEX_MEMORY = 256
"""Megabytes for the postings of a process that lives on: some 300,000 docs."""

FOLD_AT = 0.9
"""The part of the window past which the oldest messages are folded away."""

INDEXES = ("whoosh", "tantivy")
DURABILITIES = ("power", "process")

MAX_STEPS = 50
"""Model calls in one turn where agent.yaml allows no other number, as in Letta."""

_FILE_MAX = 65_536


@dataclass(frozen=True)
class Budget:
    """What a turn may take at most; None is no bound."""

    tokens_per_turn: int | None = None
    tokens_per_day: int | None = None
    steps: int = MAX_STEPS


@dataclass(frozen=True)
class Price:
    """What a million tokens of a model cost: those sent, those of them cached, and answers."""

    sent: float
    cached: float
    answered: float

    def of(self, usage: Usage) -> float:
        """What these tokens cost."""
        cached = min(usage.cached, usage.prompt)  # some endpoints count the two apart
        fresh = usage.prompt - cached
        cost = fresh * self.sent + cached * self.cached + usage.completion * self.answered
        return cost / 1e6


@dataclass(frozen=True)
class AgentConfig:
    """What agent.yaml says. It never holds a secret: keys come from the environment.

    ``tools`` are the names of the tools that are on; None means all but ``send_message``.
    ``durability`` says what an acknowledged change survives: a power cut, or only the end of the
    process, which is faster. ``fold_at`` is the part of the window past which the oldest messages
    are folded into a summary. ``index`` keeps what search needs; in a process that lives on it may
    take ``index_memory`` bytes of memory. ``allow`` are patterns of what looks like a secret and is
    none: see ``secret.find``. ``budget`` bounds a turn, and ``prices`` are those of models, in
    ``currency``. ``timezone`` is an IANA name; it decides how times are
    shown and what a date means.
    """

    id: str
    name: str
    model: str = ""
    base_url: str = ""
    context_window: int | None = None
    fold_at: float = FOLD_AT
    timezone: str = "UTC"
    tools: tuple[str, ...] | None = None
    durability: str = "power"
    index: str = "whoosh"
    index_memory: int = 256 << 20
    allow: tuple[str, ...] = ()
    budget: Budget = Budget()
    prices: Mapping[str, Price] = field(default_factory=dict)
    currency: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reaches(self) -> tuple[str, ...]:
        """What in it counts only if the person trusts the agent: files of the machine, its key."""
        found = []
        if names_a_file(self.model):
            found.append(f"model: {self.model} in agent.yaml")
        if self.base_url and not is_loopback(self.base_url):
            found.append(f"base_url: {self.base_url} in agent.yaml")
        return tuple(found)

    def price(self, model: str) -> Price | None:
        """What a model costs: the price whose name its own begins with, the longest of them.

        Endpoints answer with longer names than they are asked for: gpt-5-mini-2025-08-07.
        """
        names = [name for name in self.prices if model.startswith(name)]
        return self.prices[max(names, key=len)] if names else None

    @property
    def born(self) -> datetime | None:
        """When the agent was made, as its id tells. What stands in recall from before was lived by
        another one, of which it is a fork, and was paid for there."""
        return born(self.id)

    @property
    def zone(self) -> ZoneInfo:
        """The agent's time zone."""
        return ZoneInfo(self.timezone)


def names_a_file(model: str) -> bool:
    """Whether the name of a model is that of a file: a script, or weights of one's own."""
    return model.startswith("scripted:") or (model.startswith("local:") and model.endswith(".gguf"))


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    from urllib.parse import urlsplit

    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def parse_config(data: bytes, path: str = "agent.yaml") -> AgentConfig:
    """The configuration that the bytes of agent.yaml hold.

    Raises:
        ConfigError: naming the line or the key, and what it should be.
    """
    if len(data) > _FILE_MAX:
        raise ConfigError(f"{path} has {len(data):,} bytes, more than any agent needs: shorten it.")
    try:
        raw = load_yaml(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    except ValueError as error:
        line, reason = error.args
        message = f"{path}, line {line}: not valid YAML ({reason}). Mend that line and try again."
        raise ConfigError(message) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no `key: value` lines: it needs at least `id` and `name`.")
    known = dict(raw)

    def text(key: str, default: str = "") -> str:
        value = known.pop(key, None)
        if value is None:
            return default
        if isinstance(value, list | dict | bool):
            raise ConfigError(f"{path}: {key} must be text.")
        return scalar(value)

    def number(key: str) -> int | None:
        value = known.pop(key, None)
        if value is None:
            return None
        if not is_limit(value):
            raise ConfigError(f"{path}: {key} must be a whole number above 0, like {key}: 8192.")
        return value

    fold_at = known.pop("fold_at", FOLD_AT)
    if not isinstance(fold_at, int | float) or not 0.2 <= fold_at <= 0.98:
        raise ConfigError(f"{path}: fold_at must be a part of the window, like fold_at: 0.9.")
    tools = known.pop("tools", None)
    if tools is not None and not isinstance(tools, str | list):
        raise ConfigError(f"{path}: tools must be a list of names, like tools: [memory_insert].")
    allow = known.pop("allow", None)
    if allow is not None and not isinstance(allow, str | list):
        raise ConfigError(f'{path}: allow must be a list of patterns, like allow: ["test-*"].')
    currency, prices = _prices(known.pop("prices", None), path)
    budget = _budget(known.pop("budget", None), path)
    ident = text("id")
    if not ident:
        raise ConfigError(f"{path} has no id: add a line `id:` with any unique word.")
    config = AgentConfig(
        id=ident,
        name=text("name") or "agent",
        model=text("model"),
        base_url=text("base_url"),
        context_window=number("context_window"),
        fold_at=fold_at,
        timezone=text("timezone") or "UTC",
        tools=None if tools is None else words_of(tools),
        durability=text("durability") or "power",
        index=text("index") or "whoosh",
        index_memory=(number("index_memory") or DEFAULT_INDEX_MEMORY) << 20,
        allow=() if allow is None else words_of(allow),
        budget=budget,
        prices=prices,
        currency=currency,
        extra=known,
    )
    if config.durability not in DURABILITIES:
        raise ConfigError(f"{path}: durability must be {' or '.join(DURABILITIES)}.")
    if config.index not in INDEXES:
        raise ConfigError(f"{path}: index must be {' or '.join(INDEXES)}.")
    try:
        config.zone  # noqa: B018 - raises for a name that is no zone
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        message = f"{path}: timezone {config.timezone!r} is unknown: use a name like Europe/Berlin."
        raise ConfigError(message) from None
    return config


def _budget(raw: Any, path: str) -> Budget:
    raw = {} if raw is None else raw
    names = [one.name for one in fields(Budget)]
    if not isinstance(raw, dict) or not all(key in names and is_limit(raw[key]) for key in raw):
        raise ConfigError(
            f"{path}: budget takes {', '.join(names)}, each a whole number above 0, like "
            "budget: {tokens_per_turn: 50000}."
        )
    return Budget(**raw)


def _prices(raw: Any, path: str) -> tuple[str, dict[str, Price]]:
    """The currency, and prices by the names of models."""
    problem = ConfigError(
        f"{path}: prices takes for each model what a million tokens cost, like "
        "prices: {gpt-5-mini: {in: 0.25, cached: 0.025, out: 2}}."
    )
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise problem
    found = {}
    for name, costs in raw.items():
        if name == "currency":
            continue
        if not isinstance(costs, dict) or not {"in", "out"} <= set(costs) <= {
            "in",
            "cached",
            "out",
        }:
            raise problem
        if not all(type(one) in (int, float) and 0 <= one < 1e9 for one in costs.values()):
            raise problem
        sent = float(costs["in"])
        found[str(name)] = Price(sent, float(costs.get("cached", sent)), float(costs["out"]))
    return scalar(raw.get("currency")), found
