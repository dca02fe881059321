"""The index that followed any history equals a fresh one, while others write, and after kill -9."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from fsagent import Agent
from fsagent.index import Meta, follow
from fsagent.index.find import Query, find
from fsagent.index.layered import Layered
from fsagent.index.tantivy import TantivyIndex
from fsagent.index.whoosh import WhooshIndex
from fsagent.repo import Repo
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

WORDS = st.lists(
    st.sampled_from(["tea", "green", "cat", "Ada", "kettle", "Lyon", "went", "yesterday"]),
    min_size=1,
    max_size=6,
).map(" ".join)
NOTES = st.sampled_from([f"archival/{n}.md" for n in ("a", "b", "sub/c", "sub/d e")])
SEGMENTS = st.sampled_from([f"recall/2026/11/2{n}-x.jsonl" for n in (0, 1)])
QUERIES = ["green tea", "what does Ada drink?", "when was the cat in Lyon?", "kettle", ""]


def seen(index: Any) -> list[Any]:
    """All that a searcher sees."""
    return [find(index, Query(query, limit=50)) for query in QUERIES]


class History(RuleBasedStateMachine):
    """Random commits, branches and resets; three indexes follow, and one is always new."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "agent"
        self.root.mkdir()
        self.repo = Repo.init(self.root)
        self.count = 0
        (self.root / "agent.yaml").write_text("id: x\nname: x\n")
        self.commit()
        self.layered = Layered(WhooshIndex(self.home / "one"), 1 << 20)
        self.plain = WhooshIndex(self.home / "two")
        self.fast = TantivyIndex(self.home / "three")

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=T", "-c", "user.email=t@x", "-C", str(self.root)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")

    @rule(path=NOTES, first=WORDS, second=WORDS, ident=st.booleans(), tag=st.booleans())
    def note(self, path: str, first: str, second: str, ident: bool, tag: bool) -> None:
        head = "".join([f"id: n-{first[:3]}\n"] * ident + ["tags: [pets]\n"] * tag)
        text = f"---\n{head}---\n" if head else ""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(f"{text}{first}\n\n# About\n{second}\n")
        self.commit()

    @rule(path=SEGMENTS, texts=st.lists(WORDS, min_size=1, max_size=4))
    def say(self, path: str, texts: list[str]) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as segment:
            for text in texts:
                self.count += 1
                record = {
                    "id": f"r{self.count:04}",
                    "ts": f"2026-11-2{self.count % 9}T0{self.count % 3}:00:00Z",
                    "role": "user" if self.count % 2 else "assistant",
                    "content": text,
                    "turn": "t",
                    "name": "Ada" if self.count % 4 == 0 else None,
                }
                segment.write(json.dumps({k: v for k, v in record.items() if v}) + "\n")
        self.commit()

    @rule(path=SEGMENTS, data=st.data())
    def edit_recall(self, path: str, data: st.DataObject) -> None:
        file = self.root / path
        if file.exists():
            lines = file.read_text().splitlines(keepends=True)
            at = data.draw(st.integers(0, len(lines) - 1))
            lines[at] = data.draw(
                st.sampled_from(["", "torn {\n", lines[0], lines[at].replace("tea", "cat")])
            )
            file.write_text("".join(lines) or "\n")
            self.commit()

    @rule(old=NOTES, new=NOTES, copy=st.booleans())
    def move(self, old: str, new: str, copy: bool) -> None:
        if (self.root / old).exists() and old != new:
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copy if copy else shutil.move)(str(self.root / old), str(self.root / new))
            self.commit()

    @rule(path=st.one_of(NOTES, SEGMENTS))
    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)
        self.commit()

    @rule(text=WORDS)
    def block(self, text: str) -> None:
        (self.root / "core").mkdir(exist_ok=True)
        (self.root / "core/human.md").write_text(text)
        self.commit()

    @rule(data=st.data())
    def elsewhere(self, data: st.DataObject) -> None:
        commits = self.git("log", "--all", "--format=%H").split()
        to = data.draw(st.sampled_from(commits))
        if data.draw(st.booleans()):
            self.git("switch", "-q", "-c", f"b{len(self.git('branch').split())}", to)
        else:
            self.git("reset", "-q", "--hard", to)

    @rule()
    def flush(self) -> None:
        self.layered.flush()

    @rule()
    def warm(self) -> None:
        self.layered.warm()

    @rule()
    def reopen(self) -> None:
        self.layered = Layered(WhooshIndex(self.home / "one"), 1 << 20)

    @invariant()
    def a_followed_index_is_a_fresh_one(self) -> None:
        if not hasattr(self, "layered"):
            return
        fresh = Layered(WhooshIndex(self.home / f"fresh-{time.monotonic_ns()}"), 0)
        follow(fresh, self.repo)
        expected = seen(fresh)
        for index in (self.layered, self.plain, self.fast):
            follow(index, self.repo)
            assert index.meta() is not None
            assert index.meta().commit == self.repo.head()
            assert seen(index) == expected

    def teardown(self) -> None:
        if hasattr(self, "repo"):
            self.repo.close()
            shutil.rmtree(self.home)


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_what_has_not_changed_is_not_indexed_again(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        sarah.notes.add(f"The cat number {n} sleeps.")
    sarah.search("cat")
    made: list[str] = []
    from fsagent.index import following

    analysed = following.analysed
    monkeypatch.setattr(following, "analysed", lambda doc: made.append(doc.text) or analysed(doc))
    paths = [note.path for note in sarah.notes]
    (sarah.root / "archival/elsewhere").mkdir()
    (sarah.root / paths[0]).rename(sarah.root / "archival/elsewhere/cat.md")
    shutil.copy(sarah.root / paths[1], sarah.root / "archival/elsewhere/copy.md")
    sarah.adopt()
    found = {hit.doc.path for hit in sarah.search("cat").hits}
    assert found == {"archival/elsewhere/cat.md", paths[1], paths[2]}
    assert made == []
    (sarah.root / paths[1]).unlink()
    sarah.adopt()
    found = {hit.doc.path for hit in sarah.search("cat").hits}
    assert found == {"archival/elsewhere/cat.md", "archival/elsewhere/copy.md", paths[2]}
    assert made == []


# ── others write, and die ─────────────────────────────────────────────────────────────────────

WRITER = """
import sys
from fsagent import Agent
agent = Agent.open(sys.argv[1])
n = int(sys.argv[2])
while True:
    agent.notes.add(f"marker number {n}")
    agent.search("marker")
    if n % 3 == 0:
        agent.index.flush()
    n += 1
    print(n, flush=True)
"""

SEARCHER = """
import subprocess, sys, time
from fsagent import Agent
agent = Agent.open(sys.argv[1])
end, rounds = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < end:
    if rounds % 5 == 0:
        agent.close()
        agent = Agent.open(sys.argv[1])
    answer = agent.search("marker", limit=100000, kinds=("note",))
    listed = ["git", "-C", sys.argv[1], "ls-tree", "-r", "--name-only", answer.commit, "archival"]
    there = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    assert sorted(hit.doc.path for hit in answer.hits) == sorted(there), answer.commit
    rounds += 1
print(rounds)
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(params=[4, pytest.param(60, marks=pytest.mark.slow)])
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.mark.timeout(240)
def test_two_search_while_one_writes(sarah: Agent, seconds: float) -> None:
    sarah.notes.add("marker of the beginning")
    writer = start(WRITER, sarah.root, 0)
    searchers = [start(SEARCHER, sarah.root, seconds) for _ in range(2)]
    for searcher in searchers:
        out, err = searcher.communicate()
        assert searcher.returncode == 0, err
        assert int(out) > 0
    assert writer.poll() is None, writer.stderr and writer.stderr.read()
    writer.kill()
    writer.communicate()


@pytest.fixture(params=[4, pytest.param(100, marks=pytest.mark.slow)])
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.timeout(600)
def test_a_killed_writer_costs_nothing_that_was_kept(sarah: Agent, kills: int) -> None:
    chance = random.Random(7)
    sarah.notes.add("marker of the beginning")
    for round_ in range(kills):
        writer = start(WRITER, sarah.root, round_ * 1000)
        assert writer.stdout
        assert writer.stdout.readline(), writer.stderr and writer.stderr.read()
        time.sleep(chance.random() * 0.4)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        for lock in (sarah.root / ".git").rglob("*.lock"):
            if "fsagent" not in lock.parts:
                lock.unlink()  # Git's own, of the process that was killed
        again = Agent.open(sarah.root)
        again.adopt()
        answer = again.search("marker", limit=100_000)
        whole = Layered(WhooshIndex(again.environment.cache_dir / f"whole-{round_}"), 0)
        follow(whole, again.store.repo)
        assert answer.commit == again.store.repo.head()
        assert answer.hits == find(whole, Query("marker", limit=100_000)).hits
        again.close()


def test_an_update_is_whole_or_not_at_all(tmp_path: Path) -> None:
    index = WhooshIndex(tmp_path)

    def broken() -> Iterator[Any]:
        raise RuntimeError("no more")
        yield

    with pytest.raises(RuntimeError):
        index.update(broken(), (), Meta("c"))
    assert WhooshIndex(tmp_path).meta() is None
    assert index.update((), (), Meta("c"))
    assert WhooshIndex(tmp_path).meta() == Meta("c")
