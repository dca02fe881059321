"""Docs run: every block of README and docs/ is executed, or read by the code that reads its kind.

``console`` blocks run as a session in bash; how, says docs/session.py. ``make`` is asked what it
would do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from fsagent import Agent
from fsagent.config import parse_config
from fsagent.formats import parse_page, parse_record
from session import Session, blocks, program

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "agents_example/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
KINDS = {"console", "python", "yaml", "markdown", "jsonl", "text"}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout as a reader has it, with fsagent on the PATH."""
    world = tmp_path / "checkout"
    world.mkdir()
    for name in ("Makefile", "agents_example", "pyproject.toml", "docs"):
        (world / name).symlink_to(ROOT / name)
    bin_ = tmp_path / "bin"
    program(bin_)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.chdir(world)
    return world


def run(command: str) -> str:
    if command.startswith("make "):
        command = command.replace("make ", "make -n ", 1)
    done = subprocess.run(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout


def session(text: str, session: Session | None = None) -> None:
    """Run each ``$`` line, and compare what it prints with the lines that follow it."""
    session = session or Session()
    for command, shown in session.steps(text):
        printed = run(command)
        if not command.startswith("make "):
            shows = f"$ {command}\n{printed}\nbut the page shows\n{shown}"
            assert session.same(printed, shown), shows


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda p: p.name if p.parent.name != "agents_example" else "examples"
)
def test_every_block(page: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python: dict[str, object] = {}
    typed = Session()
    for block in blocks(page):
        kind, text = block.kind, block.text
        assert kind in KINDS, f"{page.name} has a block of kind {kind!r}, which no test reads"
        for name, value in block.settings(world).items():
            monkeypatch.setenv(name, value)
        if kind == "console":
            session(text, typed)
        elif kind == "python":
            source = str(page.relative_to(ROOT))
            exec(compile(text, source, "exec", dont_inherit=True), python)
        elif kind == "yaml":
            assert parse_config(text.encode()).id
        elif kind == "markdown":
            found = parse_page(text.encode())
            assert found.meta
            assert not found.problem
        elif kind == "jsonl":
            assert all(parse_record(line).id for line in text.splitlines())
    for made in python.values():
        if isinstance(made, Agent):
            made.close()


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda p: p.name if p.parent.name != "agents_example" else "examples"
)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_pages_made_from_the_program_are_what_it_says() -> None:
    import make

    for name, made in make.PAGES.items():
        assert (ROOT / "docs" / name).read_text() == made(), f"python docs/make.py writes {name}"


def test_this_test_can_fail(world: Path) -> None:
    with pytest.raises(AssertionError, match="but the page shows"):
        session("$ echo one\ntwo\n")
    with pytest.raises(AssertionError, match="make -n nowhere"):
        session("$ make nowhere\n")
    session("$ echo one 1234abc\none 7654fed\n$ echo a; echo b\na\n…\n")
    with pytest.raises(AssertionError, match="but the page shows"):
        session("$ echo one 1234abc\none 7654fed\n$ echo 7654fed\nnot 1234abc\n")
    session("$ echo one 1234abc\none 7654fed\n$ test 7654fed = 1234abc\n")


@pytest.mark.parametrize("name", ["personal-assistant", "research-assistant", "customer-success"])
def test_the_examples_are_agents(name: str, tmp_path: Path) -> None:
    template = ROOT / "agents_example" / name
    agent = Agent.init(tmp_path / name, template=template)
    config = (template / "agent.yaml").read_text()
    assert all(
        line in (agent.root / "agent.yaml").read_text()
        for line in config.splitlines()
        if line.startswith("#")
    )
    assert len(agent.blocks) >= 2
    assert len(agent.notes) >= 3
    assert sum(len(agent.store.records(path)) for path in agent.store.segments()) >= 10
    context = agent.context()
    assert context.tokens["total"] < context.tokens["window"]
    assert agent.search("").hits
    assert agent.store.warnings == []
    assert [c.subject for c in agent.log()] == [f"init: {agent.name}"]
    ids = [r.id for path in agent.store.segments() for r in agent.store.records(path)]
    assert ids == sorted(set(ids))
    calls = {
        c.id for p in agent.store.segments() for r in agent.store.records(p) for c in r.tool_calls
    }
    results = {
        r.tool_call_id
        for p in agent.store.segments()
        for r in agent.store.records(p)
        if r.role == "tool"
    }
    assert calls == results
    assert json.dumps(context.json())
    agent.close()


@pytest.mark.parametrize(
    ("name", "query", "part"),
    [
        ("personal-assistant", "when is the dentist?", "dentist"),
        ("research-assistant", "where in a long prompt is the answer lost?", "iddle"),
        ("customer-success", "duplicates after the outage", "duplicate"),
    ],
)
def test_the_examples_have_something_to_find(
    name: str, query: str, part: str, tmp_path: Path
) -> None:
    agent = Agent.init(tmp_path / name, template=ROOT / "agents_example" / name)
    assert any(part in hit.doc.text for hit in agent.search(query, limit=3).hits)
    agent.close()
