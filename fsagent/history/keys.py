"""Merging YAML by its keys: front matter and agent.yaml.

What nobody changed stays as it was written, comments too; only a key that both sides changed
differently is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fsagent.formats import dump_yaml, load_yaml, one_line

_KEY = re.compile(
    r"(?P<key>[^\s#'\"\[\]{}:,&*!|>%@`-][^:#\n]*?|\"[^\"\n]*\"|'[^'\n]*')[ \t]*:(?:\s|\Z)"
)
"""A key at the beginning of its line."""


class _Missing:
    """No such key. Equal only to itself."""

    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()

_Values = Mapping[Any, Any]


def merge_keys(base: str, one: str, two: str, names: tuple[str, str]) -> tuple[str, list[str]]:
    """Three YAML texts of ``key: value`` lines made one, and a sentence for each clash.

    A key that one side changed is as that side has it. Of lists, what either side added is there
    and what either removed is not; of two numbers the greater counts, of two truths the true one;
    of other values one is chosen, and said.

    Raises:
        ValueError: one of them is not such a text.
    """
    values = [_values(text) for text in (base, one, two)]
    written = [_lines(text, found) for text, found in zip((base, one, two), values, strict=True)]
    parts, said = [], []
    for key in dict.fromkeys((*values[1], *values[2])):
        old, first, second = (found.get(key, _MISSING) for found in values)
        value, clash = _merge(old, first, second)
        if clash:
            said.append(
                f"`{key}`: {names[0]} has {_shown(first)}, {names[1]} has {_shown(second)}; "
                f"{_shown(value)} stays"
            )
        if value is _MISSING:
            continue
        lines = [found.get(key, ("", None)) for found in written]
        above, line = _comments(*(comments for comments, _ in lines)), None
        if _same(value, first) and _same(value, second):
            line = lines[2][1] if lines[1][1] == lines[0][1] else lines[1][1]
        elif _same(value, first):
            line = lines[1][1]
        elif _same(value, second):
            line = lines[2][1]
        parts += [above, dump_yaml({key: value}) if line is None else line]
    parts.append(_comments(*(found.get(_MISSING, ("", ""))[0] for found in written)))
    return "".join(part if part.endswith("\n") or not part else f"{part}\n" for part in parts), said


def _values(text: str) -> dict[Any, Any]:
    found = load_yaml(text.removeprefix("\ufeff"))
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(1, "not `key: value` lines")
    return found


def _comments(base: str, one: str, two: str) -> str:
    """What stands above a key, from whichever side the key is: what either side wrote there."""
    if one == two or two == base:
        return one
    if one == base:
        return two
    return "".join(_merge_lists(*(text.splitlines(keepends=True) for text in (base, one, two))))


def _lines(text: str, values: _Values) -> dict[Any, tuple[str, str | None]]:
    """The comments above each key, and its lines; what is left at the end stands above none.

    Empty where the text is written in a way in which they cannot be told.
    """
    found: dict[Any, str] = {}
    comments: dict[Any, str] = {}
    above, key = "", None
    for line in text.splitlines(keepends=True):
        match = _KEY.match(line)
        if match:
            (key,) = load_yaml(f"{match['key']}:") or (None,)
            if key not in values or key in found:
                return {}
            found[key], comments[key], above = line, above, ""
        elif line.startswith("#") or not line.strip():  # it may belong to what comes next
            above += line
        elif key is None:
            return {}
        else:
            found[key], above = found[key] + above + line, ""
    if found.keys() != values.keys():
        return {}
    for name, lines in found.items():
        try:
            if not _same(load_yaml(lines.removeprefix("\ufeff")), {name: values[name]}):
                return {}
        except ValueError:
            return {}
    return {key: (comments[key], found[key]) for key in found} | {_MISSING: (above, None)}


def _merge(old: Any, one: Any, two: Any) -> tuple[Any, bool]:
    """One value from three, and whether it had to be chosen."""
    if _same(one, two) or _same(two, old):
        return one, False
    if _same(one, old):
        return two, False
    if one is _MISSING or two is _MISSING:
        return (two if one is _MISSING else one), True
    if isinstance(one, list) and isinstance(two, list):
        return _merge_lists(old if isinstance(old, list) else [], one, two), False
    if isinstance(one, dict) and isinstance(two, dict):
        return _merge_dicts(old if isinstance(old, dict) else {}, one, two)
    if type(one) is type(two) and isinstance(one, int | float):
        return max(one, two), True
    return max(one, two, key=lambda value: (str(type(value)), repr(value))), True


def _merge_lists(old: list[Any], one: list[Any], two: list[Any]) -> list[Any]:
    """What both have, or one of them added."""
    kept = [item for item in one if _in(item, two) or not _in(item, old)]
    return kept + [item for item in two if not _in(item, one) and not _in(item, old)]


def _merge_dicts(old: _Values, one: _Values, two: _Values) -> tuple[dict[Any, Any], bool]:
    found, clash = {}, False
    for key in dict.fromkeys((*one, *two)):
        three = (values.get(key, _MISSING) for values in (old, one, two))
        value, chosen = _merge(*three)
        clash |= chosen
        if value is not _MISSING:
            found[key] = value
    return found, clash


def _same(one: Any, two: Any) -> bool:
    """Whether two values are one: in Python 1 is True."""
    return type(one) is type(two) and repr(one) == repr(two)


def _in(item: Any, items: Iterable[Any]) -> bool:
    return any(_same(item, other) for other in items)


def _shown(value: Any) -> str:
    return one_line(repr(value), 60)
