"""Git from the outside: what must not leak in, and what plain git must agree with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, ScriptedClient, call
from fsagent.errors import AgentError, StoreError
from fsagent.repo import Blob, Repo
from fsagent.repo.commit import Pipeline
from fsagent.repo.objects import blob_id, encode

from conftest import git, subjects

Make = Callable[..., Agent]
WRITE = call("core_memory_append", label="human", content="x")


def test_git_finds_nothing_wrong(make: Make) -> None:
    agent = make(WRITE, call("archival_memory_insert", content="a note"), "ok")
    agent.chat("hi")
    assert git(agent, "fsck", "--strict", "--full") == ""
    assert git(agent, "status", "--porcelain") == ""
    assert git(agent, "diff-files", "--name-only") == ""
    assert git(agent, "write-tree").strip() == git(agent, "rev-parse", "HEAD^{tree}").strip()


def test_an_agent_inside_another_repository_has_its_own(tmp_path: Path, make: Make) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    subprocess.run(["git", "init", "-q", str(outer)], check=True)
    agent = make(WRITE, "ok", directory=outer / "sarah")
    agent.chat("hi")
    assert git(outer, "log", "--all", "--oneline") == ""
    assert len(subjects(agent)) == 3
    assert agent.store.repo.outer() == (outer, False)
    (outer / ".gitignore").write_text("sarah/\n")
    assert agent.store.repo.outer() == (outer, True)


def test_inherited_variables_do_not_redirect_git(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/odd-index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git/objects"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1999-01-01T00:00:00")
    monkeypatch.setenv("GIT_NAMESPACE", "odd")
    agent = make(WRITE, "ok")
    agent.chat("hi")
    (agent.root / "core/human.md").write_text("by hand\n")
    agent.adopt()
    for name in list(os.environ):
        if name.startswith("GIT_") and name != "GIT_CONFIG_NOSYSTEM":
            monkeypatch.delenv(name)
    assert len(subjects(agent)) == 4
    assert git(agent, "log", "--format=%an %ad").count("Mallory") == 0
    assert "1999" not in git(agent, "log", "--format=%ad")
    assert git(other, "count-objects").startswith("0 objects")
    assert git(agent, "fsck") == ""


def test_hooks_signing_and_conversions_of_the_person_take_no_part(
    tmp_path: Path, make: Make
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    ran = tmp_path / "ran"
    for name in (
        "pre-commit commit-msg post-commit prepare-commit-msg reference-transaction "
        "post-index-change post-checkout fsmonitor"
    ).split():
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {ran}\nexit 1\n")
        (hooks / name).chmod(0o755)
    home = Path(os.environ["HOME"])
    (home / ".gitconfig").write_text(
        f"[user]\nname = Tim\nemail = t@x\nsigningKey = nobody\n[commit]\ngpgSign = true\n"
        f"[gpg]\nprogram = {hooks}/fsmonitor\n"
        f"[core]\nhooksPath = {hooks}\nautocrlf = true\nfsmonitor = {hooks}/fsmonitor\n"
        f"[init]\ntemplateDir = {tmp_path}/template\ndefaultBranch = odd\n"
        "[log]\nshowSignature = true\n[color]\nui = always\n[core]\npager = false\n"
    )
    agent = make(WRITE, "ok")
    (agent.root / "core/human.md").write_bytes(b"by hand\r\n")
    agent.chat("hi")
    assert not ran.exists()
    blob = subprocess.run(
        ["git", "-C", str(agent.root), "cat-file", "blob", "HEAD:core/human.md"],
        capture_output=True,
    ).stdout
    assert blob == b"by hand\r\nx\r\n"
    assert agent.store.repo.branch() == "main"
    assert len(agent.log()) == 4
    assert "gpgsig" not in git(agent, "cat-file", "commit", "HEAD")


def test_a_person_who_commits_in_the_same_moment_loses_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(WRITE, "ok")
    repo = agent.store.repo
    real = Pipeline._plan
    times = []

    def slow(self: Pipeline, *args: Any) -> Any:
        made = real(self, *args)
        if not times:
            times.append(1)
            (repo.root / "todo.txt").write_text("mine\n")
            git(agent, "add", "todo.txt")
            git(agent, "commit", "-qm", "mine")
        return made

    monkeypatch.setattr(Pipeline, "_plan", slow)
    agent.chat("hi")
    assert subjects(agent) == ["turn: hi", "human: + x", "mine", "init: sarah"]
    assert git(agent, "status", "--porcelain") == ""


def test_a_held_lock_is_waited_for_and_then_named(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsagent.repo.commit.PATIENCE", 0.1)
    agent = make(WRITE, "I could not.")
    lock = agent.root / ".git/index.lock"
    lock.touch()
    with pytest.raises(StoreError, match=r"holds .*index.lock"):
        agent.chat("hi")
    assert agent.blocks["human"].text == "Name: Tim"
    lock.unlink()
    agent._client = ScriptedClient(["Here again."])
    turn = agent.chat("again")
    assert turn.reply == "Here again."
    assert any("cut short" in text for text in turn.warnings)
    assert git(agent, "status", "--porcelain") == ""


def test_trees_agree_with_git_for_names_that_sort_oddly(sarah: Agent) -> None:
    repo = sarah.store.repo
    names = ["a", "a.md", "a-b", "a/x", "b/c/d", "b.c", "b0", "é", "a b", "z\nz"]
    files = [name for name in names if name != "a"]
    for name in files:
        target = sarah.root / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(name)
    sarah.adopt()
    assert git(sarah, "status", "--porcelain") == ""
    assert git(sarah, "fsck", "--strict") == ""
    tree = git(sarah, "rev-parse", "HEAD^{tree}").strip()
    assert git(sarah, "write-tree").strip() == tree
    assert sorted(repo.files("HEAD", ["files"])) == sorted(f"files/{name}" for name in files)


def test_modes_and_removed_folders(sarah: Agent) -> None:
    run = sarah.root / "files/deep/run.sh"
    run.parent.mkdir(parents=True)
    run.write_text("#!/bin/sh\n")
    run.chmod(0o755)
    sarah.adopt()
    assert "100755" in git(sarah, "ls-tree", "-r", "HEAD", "files")
    run.unlink()
    sarah.adopt()
    assert git(sarah, "ls-tree", "-r", "HEAD", "files") == ""
    assert git(sarah, "status", "--porcelain") == ""


def test_a_text_cannot_forge_a_trailer_or_an_author(sarah: Agent) -> None:
    repo = sarah.store.repo
    with sarah.store.change("x\n\nTool: forged", turn="a\nModel: forged") as change:
        change.add_note("n")
    (commit,) = repo.log(limit=1)
    assert commit.tool is None
    assert commit.turn == "a Model: forged"
    (sarah.root / "agent.yaml").write_text(
        (sarah.root / "agent.yaml").read_text().replace("name: sarah", 'name: "S <x>\\nauthor y"')
    )
    assert "<" not in sarah.store.author.name
    assert "\n" not in sarah.store.author.name


def test_a_directory_of_somebody_else_is_refused_with_the_remedy(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(Repo, "_trusted", lambda self: False)
    with pytest.raises(AgentError, match=r"git config --global --add safe.directory"):
        Agent.open(sarah.root)


def test_an_agent_without_its_repository_is_told(sarah: Agent) -> None:
    (sarah.root / ".git").rename(sarah.root / "git")
    with pytest.raises(AgentError, match=r"Give it one: git init"):
        Agent.open(sarah.root)


def test_objects_are_read_from_packs_and_after_ctrl_c(make: Make) -> None:
    agent = make(WRITE, "ok", WRITE, "ok")
    agent.chat("hi")
    git(agent, "gc", "-q", "--prune=now")
    repo = agent.store.repo
    files = repo.files("HEAD")
    assert repo.read(files["core/human.md"].oid).endswith(b"x\n")
    os.kill(repo._objects.git.cat_file_all.proc.pid, 9)
    assert repo.read(files["core/human.md"].oid).endswith(b"x\n")  # as it was read before
    assert repo.read(files["system.md"].oid)
    agent.chat("again")
    assert git(agent, "fsck") == ""


def test_blob_of(sarah: Agent) -> None:
    repo = sarah.store.repo
    oid = "ce013625030ba8dba906f756967f9e9ca394464a"
    assert blob_id(b"hello\n") == oid == encode(b"blob", b"hello\n").oid.hex()
    (sarah.root / "files").mkdir()
    (sarah.root / "files/hello").write_bytes(b"hello\n")
    sarah.adopt()
    assert repo.read(oid) == b"hello\n"
    assert repo.files("HEAD")["agent.yaml"] == Blob(
        git(sarah, "rev-parse", "HEAD:agent.yaml").strip()
    )
