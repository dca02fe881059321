"""Odd things that people and strangers leave in an agent's directory: told, never fatal."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent, ToolContext, call, tool
from fsagent.cli import cli
from fsagent.errors import AgentError, StoreError
from fsagent.llm.openai import OpenAIClient, _gather

from conftest import git, script, subjects

Make = Callable[..., Agent]


def test_a_conflict_that_a_stash_left_is_not_taken_for_an_edit(make: Make) -> None:
    agent = make("no", "yes")
    git(agent, "config", "--unset", "merge.fsagent-text.driver")  # which would leave none
    human = agent.root / "core/human.md"
    human.write_text("Name: Tam\n")
    git(agent, "stash")
    agent.blocks["human"] = "Name: Tom"
    git(agent, "stash", "pop", check=False)
    before = subjects(agent)
    with pytest.raises(
        StoreError, match=r"core/human.md has a conflict in it: mend it and `git add`"
    ):
        agent.chat("hi")
    assert subjects(agent) == before
    assert "UU core/human.md" in git(agent, "status", "--porcelain")
    git(agent, "checkout", "HEAD", "--", "core/human.md")
    assert agent.chat("hi").reply == "no"


def test_a_repository_inside_files_is_left_alone(make: Make) -> None:
    agent = make("ok")
    sub = agent.root / "files/sub"
    sub.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(sub)], check=True)
    (sub / "x").write_text("x")
    git(sub, "add", "x")
    git(sub, "commit", "-qm", "x")
    assert "files/sub/ is a repository of its own" in " ".join(agent.chat("hi").warnings)


def test_a_file_becomes_a_folder(make: Make) -> None:
    agent = make("ok", "ok")
    (agent.root / "files").mkdir()
    (agent.root / "files/a").write_text("x")
    agent.chat("hi")
    (agent.root / "files/a").unlink()
    (agent.root / "files/a").mkdir()
    (agent.root / "files/a/b").write_text("x")
    agent.chat("hi")
    assert git(agent, "ls-files", "files") == "files/a/b\n"
    assert git(agent, "status", "--porcelain") == ""


def test_a_folder_that_became_a_link_is_left_alone(make: Make, tmp_path: Path) -> None:
    agent = make("ok", "ok")
    (agent.root / "files").mkdir()
    (agent.root / "files/a").write_text("x")
    agent.chat("hi")
    (agent.root / "files").rename(tmp_path / "elsewhere")
    (agent.root / "files").symlink_to(tmp_path / "elsewhere")
    turn = agent.chat("hi")
    assert "files/a is or lies behind a symbolic link" in " ".join(turn.warnings)


def test_a_name_that_is_not_utf8_stands_in_nobodys_way(make: Make) -> None:
    agent = make("ok")
    (Path(os.fsdecode(os.fsencode(agent.root) + b"/n\xff.txt"))).write_text("x")
    git(agent, "add", "-A")
    git(agent, "commit", "-qm", "odd")
    assert agent.chat("hi").reply == "ok"
    assert git(agent, "status", "--porcelain") == ""
    assert git(agent, "fsck", "--strict") == ""


def test_init_keeps_gitattributes_and_follows_no_link(tmp_path: Path) -> None:
    root = tmp_path / "ini"
    root.mkdir()
    (root / "agent.yaml").write_text("name: Ini\n")
    (root / ".gitattributes").write_text("secret -diff\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "core").symlink_to(outside)
    with pytest.raises(AgentError, match="core is in it"):
        Agent.init(root, human="I am X")
    assert list(outside.iterdir()) == []
    (root / "core").unlink()
    agent = Agent.init(root)
    assert (root / ".gitattributes").read_text().endswith("secret -diff\n")
    agent.close()


@pytest.mark.parametrize(
    "line",
    [
        '{"id":"a","role":"user","content":"\\ud83d","ts":"2026-11-21T00:00:00Z"}',
        '{"id":"a","role":"user","content":"x","ts":"0001-01-01T00:00:00+14:00"}',
        '{"id":"a","role":"user","content":"x","ts":"9999-12-31T23:59:59-14:00"}',
        '{"id":"a","role":"assistant","tool_calls":[{"id":5,"function":{"name":null}}, 7]}',
        '{"id":"a","role":"user","content":"x","usage":{"prompt":"many"},"status":"odd"}',
    ],
)
def test_odd_records_are_read(make: Make, line: str) -> None:
    agent = make("ok")
    (agent.root / "recall").mkdir()
    (agent.root / "recall/odd.jsonl").write_text(line + "\n")
    assert agent.chat("hi").reply == "ok"
    assert agent.search("x hi").hits


@pytest.mark.parametrize(
    "head",
    ["limit: !!bool nope", "limit: !!timestamp nope", "description: 0001-01-01T00:00:00+14:00"],
)
def test_odd_yaml_is_read(make: Make, head: str) -> None:
    agent = make("ok")
    (agent.root / "core/x.md").write_text(f"---\n{head}\n---\ntext\n")
    assert agent.chat("hi").reply == "ok"
    assert agent.blocks["x"].text.endswith("text")


def test_a_turn_of_long_results_fits_the_window(make: Make) -> None:
    @tool
    def long(ctx: ToolContext) -> str:
        """Say much."""
        return "word " * 4000

    agent = make(*[call("long")] * 6, "done", tools=[long])
    assert agent.chat("go").reply == "done"
    for prompt in agent.client.prompts:  # type: ignore[attr-defined]
        found = agent.window.count(str(prompt.messages))
        assert found < 8192
    records = [r for path in agent.store.segments() for r in agent.store.records(path)]
    assert all(len(r.content) == 20_000 for r in records if r.role == "tool")


def test_arguments_that_are_no_json_go_back_as_json(make: Make) -> None:
    from fsagent.records import ToolCall

    agent = make(ToolCall("", "core_memory_append", '{"label": "hu'), "sorry")
    agent.chat("hi")
    sent = agent.client.prompts[1].messages  # type: ignore[attr-defined]
    assert (
        sent[2]["tool_calls"][0]["function"]["arguments"] == '{"not_json": "{\\"label\\": \\"hu"}'
    )


def test_parallel_calls_that_share_an_index_are_kept_apart() -> None:
    calls: dict[int, dict[str, str]] = {}
    for name in ("a", "b"):
        function = {"name": name, "arguments": "{}"}
        _gather(calls, {"index": 0, "id": name, "function": function})
    assert [c["name"] for c in calls.values()] == ["a", "b"]


def test_a_strangers_address_learns_nothing_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gate: token")
    client = OpenAIClient("m", base_url="http://127.0.0.1:9/v1", own_account=False)
    sent = {k.lower() for k, v in client._client.default_headers.items() if isinstance(v, str)}
    assert not sent & {"openai-organization", "openai-project", "x-gate"}
    client.close()


def test_many_new_files_at_once(make: Make) -> None:
    agent = make("ok")
    folder = agent.root / "archival/many"
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"{number:04d}-{'x' * 200}.md").write_text(f"note {number}\n")
    agent.chat("hi")
    assert git(agent, "status", "--porcelain") == ""
    assert len(agent.notes) == 3000


def test_a_path_outside_is_an_error_of_one_sentence(sarah: Agent) -> None:
    with pytest.raises(StoreError, match="git log: fatal: "):
        sarah.log("../x")
    with pytest.raises(StoreError, match="git log: fatal: "):
        list(sarah.store.repo.log_lines("/etc/passwd"))


def test_odd_tags(sarah: Agent) -> None:
    note = sarah.notes.add("text", ["a\udcff", "b"])
    assert sarah.notes.get(note.id).tags == ("a\ufffd", "b")
    script(sarah, "ok")


def test_status_names_each_file_once_and_on_one_line(make: Make) -> None:
    agent = make()
    (agent.root / "core/a\nb.md").write_text("x")
    (agent.root / ".git/index").unlink()
    run = CliRunner().invoke(cli, ["status", str(agent.root)])
    found = re.findall(r"^edited   (.+)  \(", run.output, re.MULTILINE)
    assert sorted(found) == [
        "agent.yaml",
        "core/a b.md",
        "core/human.md",
        "core/persona.md",
        "system.md",
    ]
    assert "\nblock    a b  1 of" in run.output
    run = CliRunner().invoke(cli, ["edit", str(agent.root), "human"], env={"EDITOR": "true"})
    assert "core/a b.md" in run.output
