"""Paths with a filter attribute: fsagent runs no filters, so it writes no such file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError
from fsagent.repo import Repo, run

from conftest import git, subjects

Make = Callable[..., Agent]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (".gitattributes", "core/** filter=lfs"),
        (".gitattributes", "[attr]big filter=lfs\n*.md big"),
        ("core/.gitattributes", "*.md filter=lfs"),
        (".git/info/attributes", "* filter=lfs"),
        ("../home/.config/git/attributes", "*.md filter=lfs"),
        ("../home/named", "*.md filter=lfs"),
    ],
)
def test_a_path_with_a_filter_is_refused(make: Make, file: str, line: str) -> None:
    agent = make(call("core_memory_append", label="human", content="x"), "ok")
    place = agent.root / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(line + "\n")
    if file.endswith("named"):
        git(agent, "config", "--global", "core.attributesFile", "~/named")
    before = subjects(agent)
    with pytest.raises(
        StoreError,
        match=r"core/human.md cannot be written, since it has the attribute filter=lfs and fsagent "
        r"runs no filters: end .gitattributes with the line `core/\*\* !filter`",
    ):
        agent.blocks["human"] = "Name: Tom\n"
    assert subjects(agent) == before
    assert (agent.root / "core/human.md").read_text().endswith("Name: Tim\n")
    if file == ".gitattributes":
        with place.open("a") as attributes:
            attributes.write("core/** !filter\n")
        agent.blocks["human"] = "Name: Tom\n"
        assert git(agent, "status", "--porcelain", "core") == ""


def test_a_hand_edit_of_a_path_with_a_filter_is_left_and_told(make: Make) -> None:
    agent = make("ok")
    (agent.root / ".gitattributes").write_text("*.bin filter=lfs\n")
    (agent.root / "files").mkdir()
    for name in ("a.bin", "b.bin", "c.txt"):
        (agent.root / "files" / name).write_text(name)
    turn = agent.chat("hi")
    assert any(
        text.startswith("files/a.bin and 1 more: left alone, since it has the attribute filter=lfs")
        for text in turn.warnings
    )
    assert git(agent, "ls-files", "files") == "files/c.txt\n"


def test_recall_with_a_filter_is_refused_before_a_line_is_written(make: Make) -> None:
    agent = make("ok")
    (agent.root / ".gitattributes").write_text("recall/** filter=x\n")
    with pytest.raises(StoreError, match=r"`recall/\*\* !filter`"):
        agent.chat("hi")
    assert not list((agent.root / "recall").rglob("*.jsonl"))


def test_filters_are_asked_for_only_where_a_file_speaks_of_them(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repo(sarah.root)
    repo.person()
    asked = []
    monkeypatch.setattr("fsagent.repo.run", lambda *a: asked.append(a[0]) or run(*a))
    assert repo.filtered(["core/human.md", "archival/2026/11/x.md"]) == {}
    assert asked == []
    (sarah.root / "archival/2026").mkdir(parents=True)
    (sarah.root / "archival/2026/.gitattributes").write_text("x.md filter=a=b\ny.md -filter\n")
    paths = ["core/human.md", "archival/2026/11/x.md", "archival/2026/11/y.md"]
    assert repo.filtered(paths) == {"archival/2026/11/x.md": "a=b"}
    assert len(asked) == 1
    (sarah.root / "archival/2026/.gitattributes").write_text("x.md -text\n")
    assert repo.filtered(paths) == {}
    assert len(asked) == 1


def test_a_link_or_a_pipe_as_attributes(sarah: Agent, tmp_path: Path) -> None:
    repo = Repo(sarah.root)
    attributes = sarah.root / "core/.gitattributes"
    (tmp_path / "there").write_text("* filter=x\n")
    attributes.symlink_to(tmp_path / "there")  # which git does not follow
    assert repo.filtered(["core/human.md"]) == {}
    attributes.unlink()
    attributes.mkdir()
    assert repo.filtered(["core/human.md"]) == {}
    attributes.rmdir()
    os.mkfifo(attributes)
    with pytest.raises(StoreError, match=r"core/.gitattributes is a pipe or a device"):
        repo.filtered(["core/human.md"])
