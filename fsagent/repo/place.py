"""Where a repository keeps its data, and whether git may run there at all.

An agent's directory may come from a stranger, and git does much that its files say: it runs the
commands that the configuration names, follows links, waits for pipes. Most of it git can be told to
leave alone, and is (``settings.py``). What it cannot be told is looked for here, in this process,
before the first git process runs in the directory: a person may allow it, once.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fsagent.errors import AgentError
from fsagent.layout import is_endless, read_plain
from fsagent.repo.run import GitFailed, plain_environment, run

CONFIG_MAX = 1 << 20
"""Bytes of a configuration: more than anyone writes."""

_WATCHED = ("info", "refs", "logs", "reftable", "fsagent")
"""The folders of .git all of whose files git or fsagent may open."""

_NEVER_OPENED = ("hooks", "modules", "worktrees")
"""The folders of .git in which fsagent's git opens nothing: hooks never run, nor is any submodule
or other work tree looked into."""

_CANNOT_BE_OVERRIDDEN = ("include.path", "gc.recentobjectshook")
"""Keys that no later setting takes back, as Git takes back others (git-config(1), "Includes")."""


@dataclass(frozen=True)
class Place:
    """A repository: the work tree, its own data, and what all its work trees share."""

    root: Path
    git_dir: Path
    common: Path

    @property
    def configs(self) -> tuple[Path, Path]:
        """The configuration of the repository and that of this work tree; neither has to be."""
        return self.common / "config", self.git_dir / "config.worktree"


@dataclass(frozen=True)
class Doubt:
    """Something in .git that only a person may allow: its name, and a sentence about it."""

    name: str
    sentence: str


def find(root: Path) -> Place:
    """The repository of ``root``: its .git, or what a file of that name points to.

    Raises:
        AgentError: there is none.
    """
    git_dir = root / ".git"
    if git_dir.is_file():
        git_dir = _pointed_to(git_dir, root, "gitdir: ")
    if not git_dir.is_dir():
        raise AgentError(
            f"{root} is not a Git repository, so its memory has no history. "
            f"Give it one: git init {root}"
        )
    git_dir = git_dir.resolve()
    common = git_dir
    if (git_dir / "commondir").exists():
        common = _pointed_to(git_dir / "commondir", git_dir)
    return Place(root, git_dir, common)


def look_over(place: Place, *, allowed: bool) -> None:
    """Refuse what git cannot be told to leave alone.

    Raises:
        AgentError: with the remedy, for what the person has not ``allowed`` and for what waits for
            ever: pipes and devices.
    """
    for doubt in doubts(place):
        if not allowed:
            raise AgentError(refusal(place, doubt))


def refusal(place: Place, doubt: Doubt) -> str:
    """What a person reads about a doubt that is not allowed."""
    root = shlex.quote(str(place.root))
    return f"{doubt.sentence}, or if you trust this agent: fsagent allow {root}"


def doubts(place: Place) -> Iterator[Doubt]:
    """What of this repository a person has to allow.

    Raises:
        AgentError: there is something in it that nobody can allow.
    """
    yield from _elsewhere(place)
    for entry, name in _entries(place):
        if entry.is_symlink():
            yield Doubt(name, f"{name} is a symbolic link: put the real file or folder there")
        elif is_endless(entry):
            raise AgentError(
                f"{place.root}/{name} is a pipe or a device, for which git would wait for ever: "
                "delete it."
            )
    alternates = place.common / "objects/info/alternates"
    if not alternates.is_symlink() and alternates.exists() and _read(alternates).strip():
        name = ".git/objects/info/alternates"
        yield Doubt(
            name,
            f"{name} makes git read another repository: take its objects in "
            f"(git -C {shlex.quote(str(place.root))} repack -a -d) and delete that file",
        )
    yield from config_doubts(place)


def config_doubts(place: Place) -> Iterator[Doubt]:
    """Keys of the configuration that cannot be overridden.

    The file is read here and never by name: what ``include.path`` names may be a pipe.

    Raises:
        AgentError: the configuration is no plain file, too large, or not one.
    """
    for config in place.configs:
        if config.is_symlink() or not config.exists():
            continue  # a link is a doubt of its own
        data = _read(config)
        # A key is letters, digits and hyphens, never quoted or escaped, in any case.
        if any(word in data.lower() for word in (b"include", b"recentobjectshook")):
            for key, _ in entries(data, config):
                if key in _CANNOT_BE_OVERRIDDEN or key.startswith("includeif."):
                    name = f"{key} in .git/{config.name}"
                    yield Doubt(name, f"{name} lets git read or run what it names: take it out")


def entries(data: bytes, config: Path) -> list[tuple[str, str]]:
    """The keys of a configuration, in lower case, and their values, as Git itself reads them."""
    # The root of the file system and no repository: nothing of the agent's has a say in this.
    env = plain_environment() | {"GIT_DIR": os.devnull, "LC_ALL": "C"}
    command = ["git", "config", "--file", "-", "--no-includes", "--list", "-z"]
    try:
        out = run(command, env, Path("/"), data)
    except GitFailed as error:
        raise AgentError(f"{config} cannot be used: {error.text}. Mend it.") from None
    found = (os.fsdecode(line).partition("\n") for line in out.split(b"\0")[:-1])
    return [(key.lower(), value) for key, _, value in found]


def is_foreign(place: Place) -> bool:
    """Whether the directory, its .git or its data belong to somebody else (git-config(1), safe)."""
    places = (place.root, place.root / ".git", place.git_dir)
    return any(path.lstat().st_uid != os.geteuid() for path in places)


def _elsewhere(place: Place) -> Iterator[Doubt]:
    """A .git that leads elsewhere.

    That of a linked work tree may: both ends of the link name each other, and a stranger can write
    only one of them (gitrepository-layout(5), "worktrees").
    """
    git = place.root / ".git"
    linked = (
        not git.is_symlink()
        and git.is_file()
        and (place.git_dir / "gitdir").exists()
        and _pointed_to(place.git_dir / "gitdir", place.git_dir) == git
        and place.git_dir.parent == place.common / "worktrees"
    )
    if linked:
        return
    if place.git_dir != git:
        yield Doubt(".git", f"{git} leads to {place.git_dir}: put the repository itself there")
    elif place.common != git:
        name = ".git/commondir"
        yield Doubt(name, f"{name} leads to {place.common}: delete that file")


def _entries(place: Place) -> Iterator[tuple[os.DirEntry[str], str]]:
    """The files and folders of .git that git or fsagent may open, with their names.

    Loose objects are left out: there may be many thousands.
    """
    try:
        for top in dict.fromkeys((place.git_dir, place.common)):
            folders = [(top, ".git")]
            while folders:
                folder, name = folders.pop()
                with os.scandir(folder) as found:
                    for entry in found:
                        below = f"{name}/{entry.name}"
                        if name == ".git" and entry.name in _NEVER_OPENED:
                            continue
                        yield entry, below
                        deeper = below.split("/")[1] in _WATCHED or below in (
                            ".git/objects",
                            ".git/objects/info",
                            ".git/objects/pack",
                        )
                        if deeper and entry.is_dir(follow_symlinks=False):
                            folders.append((Path(entry.path), below))
    except OSError as error:
        raise AgentError(f"{error.filename} cannot be looked into: {error.strerror}.") from error


def _pointed_to(file: Path, base: Path, prefix: str = "") -> Path:
    """The place that the one line of ``file`` names, relative to ``base``."""
    text = _read(file).decode(errors="surrogateescape").rstrip("\r\n").removeprefix(prefix)
    try:
        return (base / text).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL; links in a ring
        raise AgentError(f"{file} names no place: mend it or delete it.") from None


def _read(file: Path) -> bytes:
    try:
        return read_plain(file, CONFIG_MAX)
    except OSError as error:
        raise AgentError(f"{file} cannot be used: {error.strerror}. Mend or delete it.") from error
