"""A person's own git in an agent's directory: it merges what an agent's files mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent
from fsagent.cli import cli
from fsagent.repo.settings import DRIVERS

from conftest import git

Make = Callable[..., Agent]


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``fsagent`` as a command, and nothing else of that name."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "fsagent").write_text(f'#!/bin/sh\nexec {sys.executable} -m fsagent "$@"\n')
    (bin_ / "fsagent").chmod(0o755)
    others = (
        folder
        for folder in os.environ["PATH"].split(":")
        if not (Path(folder) / "fsagent").exists()
    )
    monkeypatch.setenv("PATH", ":".join([str(bin_), *others]))
    monkeypatch.setenv("FSAGENT_MACHINE", "laptop")
    return bin_ / "fsagent"


def parted(make: Make) -> Agent:
    """An agent with two branches, which appended to one segment and changed the same line."""
    agent = make("One.", "Two.", "Three.")
    agent.chat("First.")
    agent.blocks["human"] = "Name: Tim\nCity: Rome\n"
    segment = agent.root / ".git/fsagent/segment"
    mark = segment.read_text()
    for branch, city in (("other", "Paris"), ("main", "Ghent")):
        git(agent, "switch", "-q", *(["-c"] if branch == "other" else []), branch)
        segment.write_text(mark)
        agent.blocks["human"] = f"Name: Tim\nCity: {city}\n"
        agent.chat(f"In {city}.")
    return agent


def test_recall_by_its_records_and_memory_by_its_lines(make: Make, on_path: Path) -> None:
    agent = parted(make)
    assert len(agent.store.segments()) == 1
    output = git(agent, "merge", "--no-edit", "other")
    assert "Merge made by" in output
    path = agent.store.segments()[0]
    ids = [record.id for record in agent.store.records(path)]
    assert ids == sorted(set(ids))
    said = [r.content for r in agent.store.records(path) if r.role == "user"]
    assert said == ["First.", "In Paris.", "In Ghent."]
    assert agent.blocks["human"].text == (
        "Name: Tim\n## In conflict: from laptop\nCity: Ghent\n"
        "## In conflict: from other\nCity: Paris\n## End of conflict"
    )
    assert git(agent, "status", "--porcelain") == ""
    assert agent.store.warnings == []


def test_where_fsagent_is_not_there_git_merges_text(make: Make, on_path: Path) -> None:
    agent = parted(make)
    on_path.unlink()
    git(agent, "merge", "--no-edit", "other", check=False)
    assert git(agent, "diff", "--name-only", "--diff-filter=U").split() == [
        "core/human.md",
        *agent.store.segments(),
    ]
    assert "<<<<<<< ours\nCity: Ghent\n=======" in (agent.root / "core/human.md").read_text()


def test_what_a_person_has_to_decide_is_a_conflict(make: Make, on_path: Path) -> None:
    agent = make()
    git(agent, "switch", "-q", "-c", "other")
    config = (agent.root / "agent.yaml").read_text()
    (agent.root / "agent.yaml").write_text(config + "timezone: Europe/Paris\n")
    git(agent, "commit", "-qam", "a zone")
    git(agent, "switch", "-q", "main")
    (agent.root / "agent.yaml").write_text(config + "timezone: Europe/Brussels\n")
    git(agent, "commit", "-qam", "a zone")
    output = git(agent, "merge", "--no-edit", "other", check=False)
    assert "CONFLICT" in output
    assert (
        "<<<<<<< ours\ntimezone: Europe/Brussels\n======="
        in (agent.root / "agent.yaml").read_text()
    )


def test_new_agents_forks_and_clones_have_the_drivers(
    make: Make, on_path: Path, tmp_path: Path
) -> None:
    agent = make()
    fork = agent.fork(tmp_path / "fork")
    clone = Agent.clone(str(agent.root), tmp_path / "clone")
    for one in (agent, fork, clone):
        for key, value in DRIVERS.items():
            assert git(one, "config", "--local", key).strip() == value
        attributes = git(one, "check-attr", "merge", "core/a.md", "recall/a.jsonl", "agent.yaml")
        assert attributes.count("fsagent-text") == 2
        assert attributes.count("fsagent-recall") == 1
        # They are nobody's command: neither advice nor something to allow.
        assert one.store.repo.settings.commands == []
        output = CliRunner().invoke(cli, ["allow", str(one.root)]).output
        assert output.startswith("There is nothing to allow")
    git(agent, "config", "merge.fsagent-text.driver", "evil %A")
    assert agent.store.repo.settings.commands == ["merge.fsagent-text.driver"]
    output = CliRunner().invoke(cli, ["allow", str(agent.root)]).output
    assert "  merge.fsagent-text.driver\n" in output
    fork.close()
    clone.close()


def test_an_older_agent_gets_them_by_maintenance(make: Make) -> None:
    agent = make()
    for key in DRIVERS:
        git(agent, "config", "--unset", key)
    done = [one.text for one in agent.maintain() if one.what == "settings"]
    assert done == [f"{', '.join(DRIVERS)} in .git/config"]
    assert git(agent, "config", "merge.fsagent-text.driver").strip() in DRIVERS.values()


def test_the_command_is_for_git_alone() -> None:
    assert "merge-file" not in CliRunner().invoke(cli, ["--help"]).output
