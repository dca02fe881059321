"""Running git: the command line, its environment, and what no configuration may change in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fsagent.errors import AgentError, StoreError

COMMITTER = "fsagent <fsagent@localhost>"
"""Who every commit of fsagent is committed by, whoever its author is."""

ALWAYS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.autocrlf=false"),
    *("-c", "core.safecrlf=false"),
    *("-c", "core.quotePath=false"),
    *("-c", "core.filesRefLockTimeout=3000"),
    *("-c", "commit.gpgSign=false"),
    *("-c", "log.showSignature=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)
"""What no configuration may change about the commands that fsagent runs."""


class GitFailed(Exception):
    """A git command that failed; ``text`` is what it said."""

    def __init__(self, command: str, text: str) -> None:
        super().__init__(f"git {command}: {text}")
        self.text = text


def run(command: list[str], env: Mapping[str, str], cwd: Path, stdin: bytes = b"") -> bytes:
    """What a command prints; with an exit status other than 0 it raises GitFailed."""
    try:
        done = subprocess.run(command, input=stdin, env=env, cwd=cwd, capture_output=True)
    except FileNotFoundError:
        raise AgentError("git is not installed: install it with your package manager.") from None
    except OSError as error:
        raise StoreError(f"git cannot be run: {error.strerror}.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise GitFailed(command[-1] if len(command) < 3 else " ".join(command[-3:]), said)
    return done.stdout


def plain_environment() -> dict[str, str]:
    """The process's environment without any variable that steers Git."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}


def git_dir_of(root: Path) -> Path:
    """Where the repository of ``root`` keeps its data: .git, or what a .git file points to."""
    place = root / ".git"
    if place.is_file():
        text = place.read_text(errors="replace").strip()
        place = (root / text.removeprefix("gitdir: ")).resolve()
    if not place.is_dir():
        raise AgentError(
            f"{root} is not a Git repository, so its memory has no history. "
            f"Give it one: git init {root}"
        )
    return place


def environment(root: Path, git_dir: Path) -> dict[str, str]:
    """A plain environment with the variables that our git processes need.

    GIT_DIR is set, so that Git looks for no repository above ``root``.
    """
    env = plain_environment()
    env |= {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(root), "LC_ALL": "C"}
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}
    name, email = COMMITTER.rstrip(">").split(" <")
    env |= {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email}
    return env
