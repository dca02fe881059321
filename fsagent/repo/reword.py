"""Taking words out of the repository's own configuration, so that Git can still read it.

Keys stay, and so do the values that Git needs to find things by: a path without some of its letters
is another path. Names, headers, comments and the passwords of addresses go.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.repo.run import GitFailed
from fsagent.repo.settings import DRIVERS

if TYPE_CHECKING:
    from fsagent.repo import Repo

NAMES = ("config", "config.worktree")

_NEEDED = frozenset(
    "core extensions remote branch merge diff filter include includeif submodule url init gpg "
    "fsagent".split()
)
"""Sections whose values say where things are, or how they are read."""

_ADDRESS = re.compile(rb"([a-z][a-z0-9+.-]*://)([^/@]*)(@.*)", re.DOTALL)
_SWITCH = re.compile(rb"(?:true|false|yes|no|on|off|[0-9]+[kmg]?|)", re.IGNORECASE)
_KINDS = re.compile(rb"\brefs/[a-z]+/")

Words = Callable[[bytes], bytes]


def files(repo: Repo) -> list[Path]:
    """The files that there are."""
    found = (repo.git_dir / name for name in NAMES)
    return [path for path in found if path.is_file() and not path.is_symlink()]


def named(repo: Repo, words: Words) -> list[str]:
    """The keys that somebody gave a name which holds it, as ``remote.NAME.url``."""
    found = []
    for path in files(repo):
        for key, _ in _settings(repo, path):
            middle = key.partition(b".")[2].rpartition(b".")[0]
            if words(middle) != middle:
                found.append(os.fsdecode(key))
    return list(dict.fromkeys(found))


def reworded(repo: Repo, path: Path, words: Words, private: Path) -> bytes:
    """The bytes of the file without it, as far as Git does not need them."""
    data = path.read_bytes()
    copy = private / "config"
    shutil.copyfile(path, copy)
    lines = data.splitlines(keepends=True)
    for at, line in enumerate(lines):
        if line.lstrip()[:1] in (b"#", b";") and not (at and lines[at - 1].endswith(b"\\\n")):
            lines[at] = words(line)
    copy.write_bytes(b"".join(lines))
    for key, value in list(_settings(repo, copy)):
        new = _without(key, value, words)
        if new != value:
            name, before, after = map(os.fsdecode, (key, value, new))
            repo._git(
                *("config", "--file", str(copy), "--fixed-value", "--replace-all"),
                *(name, after, before),
            )
    made = copy.read_bytes()
    copy.unlink()
    return made


def held(repo: Repo, path: Path, words: Words) -> list[str]:
    """What of the file holds it: keys whose values do, or a comment."""
    found = [
        os.fsdecode(key)
        for key, value in _settings(repo, path)
        if not _SWITCH.fullmatch(value) and words(bare := _KINDS.sub(b"", value)) != bare
    ]
    for line in path.read_bytes().splitlines():
        said = re.search(rb"[#;].*", line)
        if said and words(said[0]) != said[0] and not found:
            found.append("a comment")
    return list(dict.fromkeys(found))


def _settings(repo: Repo, path: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        listed = repo._git("config", "--file", str(path), "--no-includes", "--list", "-z")
    except GitFailed:  # nobody can work here until it is mended
        return
    for entry in listed.split(b"\0")[:-1]:
        key, _, value = entry.partition(b"\n")
        if DRIVERS.get(os.fsdecode(key)) != os.fsdecode(value):  # which is ours
            yield key, value


def _without(key: bytes, value: bytes, words: Words) -> bytes:
    section = key.partition(b".")[0].decode(errors="replace")
    if section not in _NEEDED or (section, key[-12:]) == ("branch", b".description"):
        return value if _SWITCH.fullmatch(value) else words(value)
    address = _ADDRESS.fullmatch(value)
    if section == "remote" and address:
        return address[1] + words(address[2]) + address[3]
    return value
