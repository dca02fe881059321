"""Every test runs on real git in its own directory, with settings and caches of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, ScriptedClient
from fsagent.clock import Clock
from fsagent.index import Persistent

SHARED = Path(__file__).resolve().parents[2] / "shared"

_real_connect = socket.socket.connect


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the person's own settings, caches or network."""
    for name in list(os.environ):
        if name.startswith(("GIT_", "FSAGENT_", "OPENAI_", "OLLAMA_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = Tim\nemail = tim@example.org\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("FSAGENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FSAGENT_EMBED", "0")
    monkeypatch.setenv("FSAGENT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # a port on which nothing ever answers

    def connect(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address[0]}")
        return _real_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


class FixedClock(Clock):
    """A clock that stands still until it is moved, and counts its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.time = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
        self.count = 0

    def now(self) -> datetime:
        return self.time

    def id(self) -> str:
        self.count += 1
        return f"t{self.count:05d}"

    def move(self, **delta: float) -> None:
        self.time += timedelta(**delta)


def wide(agent: Agent) -> Agent:
    """The agent with so large a window that nothing is ever folded."""
    config = agent.root / "agent.yaml"
    config.write_text(config.read_text().replace("8192", "1000000"))
    agent.adopt()
    return agent


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """A function that makes an agent in tmp_path/sarah with a scripted client."""
    made: list[Agent] = []

    def init(*script: Any, **options: Any) -> Agent:
        options.setdefault("clock", FixedClock())
        options.setdefault("human", "Name: Tim")
        directory = options.pop("directory", tmp_path / "sarah")
        made.append(Agent.init(directory, client=ScriptedClient(script), **options))
        return made[-1]

    yield init
    for agent in made:
        agent.close()


@pytest.fixture
def sarah(make: Callable[..., Agent]) -> Agent:
    """An agent that knows its user's name and has nothing to say."""
    return make()


PERSISTENT = ("whoosh", "tantivy")
"""The indexes in files, which all pass the same tests."""


def persistent(kind: str, folder: Path) -> Persistent:
    """An index of one kind in a folder."""
    if kind == "whoosh":
        from fsagent.index.whoosh import WhooshIndex

        return WhooshIndex(folder)
    pytest.importorskip("tantivy", reason="pip install 'fsagent[fast]'")
    from fsagent.index.tantivy import TantivyIndex

    return TantivyIndex(folder)


def git(agent: Agent | Path, *args: str, check: bool = True) -> str:
    """Plain git, as a person runs it."""
    root = agent if isinstance(agent, Path) else agent.root
    done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(args)}: {done.stderr}")
    return done.stdout


def subjects(agent: Agent | Path) -> list[str]:
    """The subjects of all commits, newest first."""
    return git(agent, "log", "--format=%s").splitlines()


def script(agent: Agent, *items: Any) -> ScriptedClient:
    """Give the agent other things to say."""
    agent._client = ScriptedClient(items)
    return agent._client


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what long tests have counted, also where each ran in a process of its own."""
    for outcome in ("passed", "failed"):
        for test in terminalreporter.getreports(outcome):
            for name, text in getattr(test, "user_properties", ()):
                if name == "report":
                    terminalreporter.write_line(text)
