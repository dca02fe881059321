"""The picture in the design, kept true: who imports whom, who owns what, what starts fast."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import fsagent
import pytest

PACKAGE = Path(fsagent.__file__).parent

# Each module may import those of lower rank only, and those of its own folder.
RANK = {
    "errors": 0, "marks": 0, "records": 0, "secret": 1, "clock": 0, "environment": 0, "layout": 1, "locks": 1,
    "watch": 0, "formats": 1, "config": 2, "allow": 3, "llm": 3, "tokens": 4,
    "order": 4, "repo": 4, "change": 4, "reader": 5, "index": 5, "store": 6, "spending": 7,
    "past": 7, "clashes": 7, "searching": 7, "view": 7, "tools": 7, "memory": 7, "starter": 8, "context": 8,
    "fold": 9, "turn": 10, "history": 11, "imports": 11, "agent": 12, "bench": 13, "check": 13,
    "cli": 14, "__init__": 15, "__main__": 15,
}  # fmt: skip

OWNERS = {
    "git": {"repo"},
    "gitdb": {"repo"},
    "whoosh": {"index", "bench"},
    "rank_bm25": {"index", "bench"},
    "tantivy": {"index"},
    "openai": {"llm"},
    "xllamacpp": {"llm"},
    "tiktoken": {"tokens"},
    "click": {"cli"},
    "yaml": {"formats", "starter"},
    "pydantic": {"tools"},
    "platformdirs": {"environment"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """What a module imports at run time, at its top or later; not what is for types only."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    mine = top(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "fsagent" and len(parts) > 1 and parts[1] in RANK and parts[1] != mine:
            assert RANK[parts[1]] < RANK[mine] or (mine == "store" and parts[1] == "repo"), name
            if mine == "index":
                assert parts[1] != "store", "the index does not know the store"
            if mine == "store":
                assert parts[1] != "index", "the store does not know the index"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_outside_thing_has_one_owner(path: Path) -> None:
    for name in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or top(path) in owners, name


def test_one_file_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
    }
    # repo hands git a copy without the variables that would steer it.
    assert readers == {"environment.py", "repo/run.py"}


def test_every_file_can_be_read_in_one_sitting() -> None:
    long = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 750} == {}


HEAVY = [
    "openai", "git", "whoosh", "tantivy", "tiktoken", "yaml", "numpy", "pydantic", "httpx2", "rank_bm25",
    "fsagent.history",
]  # fmt: skip


def loaded(*arguments: str) -> list[str]:
    """Which heavy modules a command has imported when it ends."""
    program = (
        "import sys, json\n"
        "from fsagent.cli import cli\n"
        f"cli({list(arguments)!r}, standalone_mode=False)\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_help_and_log_import_nothing_heavy(sarah: fsagent.Agent) -> None:
    assert loaded("--help") == []
    assert loaded("log", str(sarah.root)) == []
    assert loaded("log", str(sarah.root), "human", "--json") == []


def test_importing_the_package_does_no_work() -> None:
    program = f"import sys, fsagent; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError):
        fsagent.nothing  # noqa: B018
