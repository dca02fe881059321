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
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from fsagent import Agent
from fsagent.index import Meta, follow
from fsagent.index.find import Query, find
from fsagent.index.layered import OFTEN, Layered
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


# ── what was wrong once ───────────────────────────────────────────────────────────────────────


def small(home: Path, files: dict[str, str]) -> tuple[Repo, Layered]:
    """A repository with these files, and an index that followed it."""
    root = home / "agent"
    if not root.exists():
        root.mkdir()
        Repo.init(root)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@x", "-C", str(root)]
    subprocess.run([*command, "add", "-A"], check=True)
    subprocess.run([*command, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    repo = Repo(root)
    index = Layered(WhooshIndex(home / f"index-{time.monotonic_ns()}"), 0)
    follow(index, repo)
    return repo, index


def test_an_update_while_flush_runs_is_not_lost(tmp_path: Path) -> None:
    repo, index = small(tmp_path, {f"archival/{n}.md": f"tea number {n}" for n in range(60)})
    old = repo.head()
    update = WhooshIndex.update
    raced: list[bool] = []

    def slow(self: WhooshIndex, *arguments: Any, **more: Any) -> bool:
        done = update(self, *arguments, **more)
        if not raced:  # a search comes in between, after all notes but one are gone
            raced.append(True)
            for n in range(1, 60):
                (repo.root / f"archival/{n}.md").unlink()
            small(tmp_path, {})
            follow(index, repo)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhooshIndex, "update", slow)
        index.flush()
    follow(index, repo)
    assert repo.head() != old
    assert len(find(index, Query("tea", limit=100)).hits) == 1
    index.flush()
    assert len(index) == 1


def test_an_update_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    repo, index = small(tmp_path, {"archival/a.md": "green tea", "archival/b.md": "red tea"})
    entries = list(index.entries())

    def broken() -> Iterator[Any]:
        yield entries[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.update((), broken(), Meta("elsewhere"))
    assert index.meta() != Meta("elsewhere")
    follow(index, repo)
    assert len(find(index, Query("tea")).hits) == 2


def test_files_of_the_same_bytes_are_all_found(tmp_path: Path) -> None:
    line = json.dumps({"id": "r", "role": "user", "content": "tea"})
    files = {"core/human.md": "tea", "archival/n.md": "tea", "recall/a.jsonl": line}
    _, index = small(tmp_path, files | {"archival/line.md": line})
    assert len(find(index, Query("tea", limit=9)).hits) == 4


def test_a_note_that_is_called_like_its_file_keeps_its_id(tmp_path: Path) -> None:
    repo, index = small(tmp_path, {"archival/n1.md": "---\nid: n1\n---\ntea"})
    (repo.root / "archival/n1.md").rename(repo.root / "archival/tea.md")
    _, fresh = small(tmp_path, {})
    follow(index, repo)
    assert find(index, Query("tea")).hits == find(fresh, Query("tea")).hits
    assert find(index, Query("tea")).hits[0].doc.id == "n1"


def test_counts_are_the_same_in_every_index(tmp_path: Path) -> None:
    _, index = small(tmp_path, {"archival/a.md": "tea " * 1000, "archival/b.md": "tea cup"})
    before = find(index, Query("tea cup")).hits
    index.flush()
    assert find(index, Query("tea cup")).hits == before


def test_postings_are_read_into_memory_where_that_pays(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[int] = []
    monkeypatch.setattr(Layered, "warm", lambda self: warmed.append(self._asked))
    sarah.notes.add("Loves lilacs.")
    sarah.reindex()
    for _ in range(10):
        assert sarah.search("lilacs")
    assert warmed == []
    sarah.index._asked = OFTEN - 2
    sarah.search("lilacs")
    assert warmed == []
    sarah.search("lilacs")
    sarah.close()
    assert warmed == [OFTEN]


def test_a_disk_that_is_full_leaves_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsagent.index import layered

    def full(*_: Any, **__: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layered, "SMALL", 3)
    monkeypatch.setattr(WhooshIndex, "update", full)
    _, index = small(tmp_path, {f"archival/{n}.md": f"tea {n}" for n in range(9)})
    assert len(find(index, Query("tea", limit=20)).hits) == 9
    index.close()


def test_the_cache_may_go_while_it_is_used(tmp_path: Path) -> None:
    repo, index = small(tmp_path, {"archival/a.md": "tea"})
    index.flush()
    for folder in tmp_path.glob("index-*"):
        shutil.rmtree(folder)
    index.clear()
    follow(index, repo)
    index.flush()
    assert len(find(index, Query("tea")).hits) == 1


def test_a_branch_without_a_commit_has_no_answers(sarah: Agent) -> None:
    sarah.notes.add("green tea")
    assert sarah.search("tea").hits
    subprocess.run(["git", "-C", sarah.root, "checkout", "-q", "--orphan", "new"], check=True)
    answer = sarah.search("tea")
    assert (answer.commit, answer.hits) == (None, ())


def test_threads_read_packed_objects(sarah: Agent) -> None:
    blobs = {}
    for n in range(20):
        note = sarah.notes.add(f"tea {n}")
        blobs[n] = sarah.store.repo.files("HEAD", [note.path])[note.path].oid
    subprocess.run(["git", "-C", sarah.root, "gc", "-q"], check=True)
    wrong: list[int] = []

    def read() -> None:
        for _ in range(10):
            for n, blob in blobs.items():
                if f"tea {n}\n".encode() not in sarah.store.repo.read(blob):
                    wrong.append(n)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
