"""A clone with a part of the history only: what it does not know, it does not make up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError

from conftest import git
from test_cli import Shell


def learned(text: str) -> list[object]:
    return [[call("core_memory_append", label="human", content=text)], "ok"]


@pytest.fixture
def clone(make: Callable[..., Agent], tmp_path: Path) -> Path:
    """Three commits of seven: they begin with the recall of the second turn."""
    agent = make(*learned("Likes tea."), *learned("Has a cat."), *learned("Lives in Ghent."))
    for text in ("tea", "cat", "Ghent"):
        agent.chat(text)
    path = tmp_path / "shallow"
    command = ["git", "clone", "-q", "--depth", "3", f"file://{agent.root}", str(path)]
    subprocess.run(command, check=True)
    return path


def test_a_line_from_before_has_no_cause(clone: Path) -> None:
    agent = Agent.open(clone)
    known = {origin.text: origin for origin in agent.why("human")}
    assert known["Lives in Ghent."].message
    tea = known["Likes tea."]
    assert tea.commit
    assert tea.commit.commit == git(clone, "rev-list", "HEAD").split()[-1]
    assert (tea.message, tea.around, tea.commit.tool, tea.commit.turn) == (None, (), None, None)
    shell = Shell(clone.parent)
    out, err = shell.run("why", str(clone), "Likes tea.")
    assert "because" not in out
    assert "fetch --unshallow" in err
    assert shell.json("why", str(clone), "human:7")[0]["message"] is None


def test_what_came_before_is_neither_undone_nor_found(clone: Path) -> None:
    agent = Agent.open(clone)
    first = git(clone, "rev-list", "HEAD").split()[-1]
    with pytest.raises(StoreError, match=r"begins with .* fetch --unshallow"):
        agent.undo(first)
    with pytest.raises(StoreError, match=r"It was there before .* fetch --unshallow"):
        agent.bisect("Likes tea.")
    assert agent.bisect("Lives in Ghent.").commit.subject == "human: + Lives in Ghent."
    assert agent.undo().lines == ("-Lives in Ghent.",)
