"""Git's configuration as it applies to one repository, and what of it counts.

It is read by one process, as a whole, and again when one of its files has changed. What the
repository's own files say came with the directory, perhaps from a stranger: keys that name a
command, or a file outside to be read, count as if they were not there, unless the person allowed
that agent. Filters never run, whoever configured them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fsagent.errors import AgentError
from fsagent.repo.place import Place, config_doubts, refusal
from fsagent.repo.run import GitFailed, run, with_settings

_COMMANDS = re.compile(
    r"""
      core\.(pager | editor | askpass | sshcommand | gitproxy | alternaterefscommand)
    | core\.(attributesfile | excludesfile)
    | (sequence\.editor | diff\.external | diff\.orderfile | interactive\.difffilter)
    | (alias | pager | instaweb | sendemail)\..*
    | credential\.(.*\.)?helper
    | gpg\.(.*\.)?program | gpg\.ssh\.defaultkeycommand
    | diff\..*\.(command | textconv)
    | merge\..*\.driver
    | (difftool | mergetool | browser | man | guitool)\..*\.(cmd | path)
    | hook\..*\.command
    | remote\..*\.(uploadpack | receivepack | vcs | proxy)
    | protocol\.(.*\.)?allow
    | uploadpack\.packobjectshook
    | trailer\..*\.(cmd | command)
    | tar\..*\.command
    | submodule\..*\.update
    | branch\..*\.mergeoptions
    | (web\.browser | imap\.tunnel | init\.templatedir | attr\.tree)
    | extensions\.partialclone
    | (mailmap\.file | mailmap\.blob | blame\.ignorerevsfile)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Keys of the repository, in lower case, that count only if the person allowed the agent."""

_FILTER = re.compile(r"(filter\..*)\.(?:clean|smudge|process|required)", re.DOTALL)

_HARMLESS = (
    (re.compile(r"protocol\..*"), "never"),
    (re.compile(r"submodule\..*"), "none"),
    (re.compile(r"diff\.orderfile"), os.devnull),
    (re.compile(r"hook\..*"), "true"),
)
"""What undoes a key for which the empty value is an error or means something; else that does."""

_DRIVER = "fsagent merge-file %O %A %B %P || git merge-file -q -L ours -L base -L theirs %A %O %B"
DRIVERS = {"merge.fsagent-recall.driver": _DRIVER, "merge.fsagent-text.driver": _DRIVER}
"""What tells a person's own git how an agent's files are merged (gitattributes(5)): as text where
there is no fsagent, or where it leaves it to them. Nothing that fsagent does runs these."""

OVERRIDES_MAX = 100_000
"""Characters of overrides at most: they go to git in its environment, which has an end."""

Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Setting:
    """One line of the configuration; ``own`` if it is of the repository's own files."""

    key: str
    value: str
    own: bool


class Settings:
    """A snapshot of Git's configuration for one repository."""

    def __init__(self, entries: list[Setting], files: list[Path]) -> None:
        self.entries = entries
        self.files = files
        """The person's own files that were read."""

    @classmethod
    def read(cls, env: Mapping[str, str], root: Path) -> Settings:
        """The configuration as it is now. ``env`` holds settings of fsagent's own.

        Raises:
            AgentError: it cannot be read, or git is too old to be told what must not count.
        """
        command = ["git", "--no-pager", "config", "--list", "-z", "--show-scope", "--show-origin"]
        try:
            out = run(command, env, root)
        except GitFailed as error:
            raise AgentError(
                f"Git's configuration for {root} cannot be read ({error.text}): mend it."
            ) from None
        parts = [os.fsdecode(part) for part in out.split(b"\0")[:-1]]
        entries, told = [], False
        files: dict[Path, None] = {}
        for scope, origin, line in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            key, equals, value = line.partition("\n")
            if scope == "command":  # what fsagent itself says, in the environment
                told = True
                continue
            own = scope in ("local", "worktree")
            entries.append(Setting(key, value if equals else "true", own))
            if not own and origin.startswith("file:"):
                files[Path(origin.removeprefix("file:"))] = None
        if not told:
            raise AgentError("This git is too old: install git 2.31 or later.")
        return cls(entries, list(files))

    def get(self, key: str, *, allowed: bool = True) -> str | None:
        """The value that counts: the last one. ``key`` is lower case, but for its middle part.

        With ``allowed`` False, a key that names a command counts only where the person set it.
        """
        found = [e.value for e in self.entries if e.key == key and (allowed or not _names(e))]
        return found[-1] if found else None

    def flag(self, key: str) -> bool:
        """Whether a key is on, as Git reads it: true, yes, on, or a number other than 0."""
        value = (self.get(key) or "").lower()
        return value in ("true", "yes", "on") or (value.isdecimal() and int(value[:9]) != 0)

    @property
    def filters(self) -> set[str]:
        """The names of the filter drivers, whoever configured them."""
        found = (_FILTER.fullmatch(entry.key) for entry in self.entries)
        return {match[1].removeprefix("filter.") for match in found if match}

    @property
    def commands(self) -> list[str]:
        """The repository's keys that count only if the person allowed the agent."""
        return sorted({entry.key for entry in self.entries if _names(entry)})

    def overrides(self, env: Mapping[str, str], *, allowed: bool) -> list[tuple[str, str]]:
        """What undoes the settings that must not count, as keys and values.

        Raises:
            AgentError: there are too many of them to tell git.
        """
        found = []
        for name in sorted(self.filters):
            found += [(f"filter.{name}.{key}", "") for key in ("clean", "smudge", "process")]
            found.append((f"filter.{name}.required", "false"))
        for key in () if allowed else self.commands:
            harmless = (value for pattern, value in _HARMLESS if pattern.fullmatch(key.lower()))
            found.append((key, _usual(key, env) or next(harmless, "")))
            # A list begins anew with an empty value; then the person's own settings count again.
            found += [(e.key, e.value) for e in self.entries if e.key == key and not e.own]
        if sum(len(key) + len(value) + 40 for key, value in found) > OVERRIDES_MAX:
            raise AgentError(
                f"Git's configuration names {len(found):,} commands, too many to leave out: "
                "delete what is not needed from .git/config."
            )
        return found


def names_a_command(key: str) -> bool:
    """Whether a key names a command, or a file that git reads, and the person may allow it."""
    return _COMMANDS.fullmatch(key.lower()) is not None


def is_command(key: str, value: str) -> bool:
    """Whether a setting counts only if the person allows it; what ``init`` writes does anyway."""
    return names_a_command(key) and DRIVERS.get(key) != value


def _names(entry: Setting) -> bool:
    return entry.own and is_command(entry.key, entry.value)


def _usual(key: str, env: Mapping[str, str]) -> str:
    """The file that Git reads where no setting names another one (gitignore(5))."""
    name = {"core.attributesfile": "attributes", "core.excludesfile": "ignore"}.get(key)
    return str(config_home(env) / name) if name else ""


def config_home(env: Mapping[str, str]) -> Path:
    """The folder of the person's own Git configuration."""
    home = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/"), ".config")
    return Path(home) / "git"


def signature(files: Iterable[str]) -> Signature:
    """What tells one state of these files from another."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            about = os.stat(file)
        except OSError:
            found.append(None)
        else:
            found.append((about.st_mtime_ns, about.st_size, about.st_ino))
    return tuple(found)


class Configuration:
    """The settings of one repository, and the environment that follows from them.

    Both are kept as long as no file of the configuration changes. ``env`` is the environment of
    git processes without what undoes settings.
    """

    def __init__(self, place: Place, env: Mapping[str, str], *, allowed: bool) -> None:
        self._place = place
        self._env = env
        self._allowed = allowed
        # Files that git would read if they came to be; it says itself which others it read.
        usual = (Path(env.get("HOME", "/"), ".gitconfig"), config_home(env) / "config")
        self._usual = [str(file) for file in (*place.configs, *usual, "/etc/gitconfig")]
        self._watched: list[str] = []
        self._known: tuple[Signature, Settings, dict[str, str]] | None = None

    def now(self) -> tuple[Settings, dict[str, str]]:
        """The settings as they are now, and the environment for the next git process.

        Raises:
            AgentError: they cannot be read, or have come to hold what cannot be overridden.
        """
        known = self._known
        if known and known[0] == signature(self._watched):
            return known[1:]
        for doubt in config_doubts(self._place) if known else ():  # at first it is looked over
            if not self._allowed:
                raise AgentError(refusal(self._place, doubt))
        before = signature(self._usual)
        settings = Settings.read(self._env, self._place.root)
        overrides = settings.overrides(self._env, allowed=self._allowed)
        env = with_settings(self._env, overrides)
        others = [str(file) for file in settings.files]
        self._watched = self._usual + others
        self._known = before + signature(others), settings, env
        return settings, env
