"""Running git: its environment, and what no configuration may change in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from fsagent.errors import AgentError, StoreError
from fsagent.layout import is_agents, is_endless
from fsagent.locks import inherited

COMMITTER = "fsagent <fsagent@localhost>"
"""Who every commit of fsagent is committed by, whoever its author is."""

ALWAYS = ("--no-pager",)
"""The options of every git command. What it is told beyond them stands in its environment."""

SETTINGS = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.safecrlf", "false"),
    ("core.quotePath", "false"),
    ("core.filesRefLockTimeout", "3000"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("log.mailmap", "false"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
)
"""What no configuration may change about the commands that fsagent runs."""

_SILENT = {
    "GIT_ASKPASS": "",
    "GIT_EDITOR": ":",
    "GIT_SEQUENCE_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
}
"""Nobody is asked anything, and no editor or pager starts (git(1), "Environment Variables")."""

_NO_TRANSPORT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PROXY_COMMAND": "",
    "GIT_SSH_COMMAND": "false",
}
"""Nothing is fetched, not even an object that is missing: a transport runs commands."""

_NO_GIT = "git is not installed: install it with your package manager."

PROTOCOLS = "file:git:http:https:ssh"
"""The ways to another repository. Others, as ext, run what an address says."""

_OF_TRANSPORTS = ("GIT_ASKPASS", "GIT_HTTP_", "GIT_PROXY_", "GIT_SSH", "GIT_SSL_")
"""The variables by which a person tells git how to get to another repository."""

_GIVES_UP = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "120"}
"""Over HTTP git waits no longer than that for a server that says nothing, in seconds. Otherwise it
waits for ever, as it does over SSH (ssh_config(5), "ServerAliveInterval") and its own protocol."""

PATIENCE = 5.0
"""Seconds after which a git command that is not done is looked at: it may wait for a pipe."""


class GitFailed(StoreError):
    """A git command that failed; ``text`` is what it said, ``out`` what it printed before."""

    def __init__(self, command: str, text: str, out: bytes = b"") -> None:
        super().__init__(f"git {command}: {' '.join(text.split())[:300]}")
        self.text = text
        self.out = out


def run(
    command: list[str], env: Mapping[str, str], cwd: Path, stdin: bytes | IO[bytes] = b""
) -> bytes:
    """What a command prints; with an exit status other than 0 it raises GitFailed."""
    writing = inherited()
    try:
        with (
            _as_file(stdin) as given,
            subprocess.Popen(
                command,
                stdin=given,
                stdout=-1,
                stderr=-1,
                env=env,
                cwd=cwd,
                pass_fds=writing,
                # Neither Ctrl-C nor a kill of the whole group stops git between two of its files.
                process_group=0 if writing else None,
            ) as child,
        ):
            try:
                out, said = child.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                pipe = _pipe_in(cwd)
                if pipe:
                    raise StoreError(
                        f"{pipe} is a pipe or a device, for which git would wait for ever: "
                        "delete it."
                    ) from None
                out, said = child.communicate()
            finally:
                if child.poll() is None:  # a pipe, or Ctrl-C
                    child.terminate()  # which lets git remove its locks
    except FileNotFoundError:
        raise AgentError(_NO_GIT) from None
    except (OSError, ValueError) as error:  # a NUL cannot be handed to a command
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"git cannot be run: {why}.") from error
    if child.returncode:
        text = said.decode(errors="replace").strip() or f"exit status {child.returncode}"
        what = command[-1] if len(command) < 3 else " ".join(command[-3:])
        raise GitFailed(what, text, out)
    return out


def piped(
    first: list[str],
    second: list[str],
    envs: tuple[Mapping[str, str], ...],
    cwd: Path,
    given: bytes,
) -> None:
    """Run two commands: the first reads what is ``given``, the second what the first one prints.

    Raises:
        GitFailed: one of them failed.
    """
    import tempfile

    with tempfile.TemporaryFile() as said, _as_file(given) as file:
        try:
            one = subprocess.Popen(
                first, stdin=file, stdout=subprocess.PIPE, stderr=said, env=envs[0], cwd=cwd
            )
        except FileNotFoundError:
            raise AgentError(_NO_GIT) from None
        failed = None
        with one:
            try:
                run(second, envs[1], cwd, one.stdout or b"")
            except GitFailed as error:
                failed = error
            finally:
                if one.stdout:
                    one.stdout.close()  # which ends the first one where nobody reads on
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
        if one.returncode and text:  # the second one fails with it, and does not know why
            raise GitFailed(" ".join(first[-3:]), text)
        if failed:
            raise failed


def parts(command: list[str], env: Mapping[str, str], cwd: Path) -> Iterator[str]:
    """What a command prints, between NULs and as it comes; it ends when nobody wants more.

    Raises:
        GitFailed: it failed.
        StoreError: it could not be run.
    """
    import tempfile

    with tempfile.TemporaryFile() as said:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=-1, stderr=said, env=env, cwd=cwd
            )
        except FileNotFoundError:
            raise AgentError(_NO_GIT) from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise StoreError(f"git cannot be run: {why}.") from error
        rest = b""
        with child:
            try:
                while chunk := child.stdout.read1(1 << 16):  # type: ignore[union-attr]
                    *whole, rest = (rest + chunk).split(b"\0")
                    yield from (part.decode(errors="surrogateescape") for part in whole)
                if rest:
                    yield rest.decode(errors="surrogateescape")
            except BaseException:  # the pager was left, or Ctrl-C: git ends when its pipe does
                child.terminate()
                raise
        if child.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise GitFailed(" ".join(command[-3:]), text)


def _as_file(data: bytes | IO[bytes]) -> IO[bytes]:
    """``data`` as a file to read: ``communicate`` forgets its input when it is called again."""
    if not isinstance(data, bytes):
        return data
    if not data:
        return open(os.devnull, "rb")
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115 - its user closes it
    file.write(data)
    file.seek(0)
    return file


def _pipe_in(root: Path) -> Path | None:
    """A pipe or device below ``root`` that git opens, if there is one.

    Looked for only when a command takes long, since it means a walk through all folders.
    """
    folders = [str(root)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:  # gone meanwhile, or not ours to read
            continue
        for entry in entries:
            inside = os.path.relpath(entry.path, root)
            gits = inside.startswith(".git/") or entry.name.startswith((".git", ".mailmap"))
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif (gits or is_agents(inside)) and is_endless(entry):
                return Path(entry.path)
    return None


def plain_environment() -> dict[str, str]:
    """The process's environment without any variable that steers Git."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}


def environment(root: Path, git_dir: Path, *, allowed: bool = False) -> dict[str, str]:
    """A plain environment with the variables that our git processes need.

    GIT_DIR is set, so that Git looks for no repository above ``root``. Where the person ``allowed``
    the agent, Git may fetch what is missing.
    """
    env = plain_environment()
    env |= {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(root), "LC_ALL": "C"}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}
    env |= _SILENT
    env |= {} if allowed else _NO_TRANSPORT
    name, email = COMMITTER.rstrip(">").split(" <")
    env |= {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email}
    return with_settings(env)


def transport(*, ask: bool) -> dict[str, str]:
    """Variables for a command that goes to another repository: the way there is the person's own.

    With ``ask`` git may ask on the terminal for a name or a password.
    """
    own = {k: v for k, v in os.environ.items() if k.startswith(_OF_TRANSPORTS)}
    if not ask:
        own["GIT_ASKPASS"] = ""
    return {**_GIVES_UP, **own, "GIT_TERMINAL_PROMPT": str(int(ask))}


def with_settings(
    env: Mapping[str, str], overrides: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """``env`` with settings that count before those of any file: ``overrides``, then our own.

    In the environment, so that every child of git and of GitPython is told the same, and since a
    key with an equals sign in it cannot be given with ``-c`` (git-config(1), "GIT_CONFIG_COUNT").
    """
    settings = [*overrides, *SETTINGS]
    told = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings):
        told |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {**env, **told}
