"""Packing, the commit-graph and expiry: smaller, quicker, nothing lost, also beside a writer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent
from fsagent.bench.texts import docs
from fsagent.cli import care
from fsagent.errors import AgentBusy, StoreError
from fsagent.formats import format_message, format_record
from fsagent.index import caches
from fsagent.index.entries import RECIPE
from fsagent.records import Record, Usage
from fsagent.repo import Repo, health, maintain
from fsagent.store import SEGMENT_BYTES, SEGMENT_RECORDS

from conftest import FixedClock, git, wide

Make = Callable[..., Agent]
DAY = 86400.0


@cache
def text() -> str:
    """Real text, to be said."""
    return " ".join(doc.text for doc in docs(4000)).replace("\n", " ")


class Said:
    """A long conversation, committed as turns are, and as quickly as Git can.

    A turn has some 1.1 KB, as in the figures of docs/care.md.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = 0
        self.count = 0
        self.clock = FixedClock()
        self.text = text()
        self.at = 0
        self.segment, self.data, self.day = "", b"", ""

    def _take(self, length: int) -> str:
        length += self.count * 37 % length
        self.at = (self.at + length) % (len(self.text) - 2000)
        return self.text[self.at : self.at + length]

    def turns(self, count: int) -> None:
        """Say more. The objects are loose afterwards, as the agent leaves them."""
        command = ["git", "-C", str(self.root), "-c", "fastimport.unpackLimit=1000000"]
        command += ["-c", "core.fsync=none"]
        with subprocess.Popen([*command, "fast-import", "--quiet"], stdin=subprocess.PIPE) as to:
            assert to.stdin
            for number in range(count):
                for line in self._turn(first=number == 0):
                    to.stdin.write(line)
            to.stdin.close()
            assert to.wait() == 0
        git(self.root, "reset", "-q", "--hard")

    def _turn(self, first: bool) -> Iterator[bytes]:
        if self.count % 40 == 0:
            self.clock.move(days=1)
        self.clock.move(seconds=30)
        self.count += 1
        ids = [f"01m{self.count * 7919 + n:015x}" for n in range(4)]
        when = self.clock.now()
        ts = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = Record(ids[0], ts, "user", self._take(90), ids[1])
        usage = Usage(1400 + self.count % 500, 31 + self.count % 77, 1024)
        answer = Record(
            ids[2], ts, "assistant", self._take(400), ids[1], model="gpt-5-mini", usage=usage
        )
        lines = (format_record(said) + format_record(answer)).encode()
        full = len(self.data) + len(lines) > SEGMENT_BYTES
        if self.day != ts[:10] or full or self.data.count(b"\n") >= SEGMENT_RECORDS:
            self.day, self.data = ts[:10], b""
            year, month, rest = self.day.split("-")
            self.segment = f"recall/{year}/{month}/{rest}-{ids[0]}.jsonl"
        self.data += lines
        self.log += len(lines)
        trailers = {"Change": ids[3], "Turn": ids[1], "Message": ids[0], "Model": "gpt-5-mini"}
        message = format_message(f"turn: {said.content}", trailers).encode()
        seconds = int(when.timestamp())
        yield b"commit refs/heads/main\n"
        yield b"author sarah <01m7yyt87xy2jngf9a@fsagent.local> %d +0000\n" % seconds
        yield b"committer fsagent <fsagent@localhost> %d +0000\n" % seconds
        yield b"data %d\n%s\n" % (len(message), message)
        if first:
            yield b"from refs/heads/main^0\n"
        yield b"M 100644 inline %s\n" % self.segment.encode()
        yield b"data %d\n%s\n" % (len(self.data), self.data)


_templates: dict[int, dict[str, Any]] = {}


@pytest.fixture
def said(
    request: pytest.FixtureRequest,
    make: Make,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Said:
    """A conversation in tmp_path/sandra, of 60 turns or of as many as a test asks for."""
    count = getattr(request, "param", 60)
    if count not in _templates:  # once for all tests, but where the environment is a test's
        folder = tmp_path_factory.mktemp("said") / "sandra"
        first = Said(wide(make(directory=folder)).root)
        first.turns(count)
        _templates[count] = vars(first)
    shutil.copytree(_templates[count]["root"], tmp_path / "sandra")
    found = Said(tmp_path / "sandra")
    clock = FixedClock()
    clock.time = _templates[count]["clock"].time
    vars(found).update(_templates[count] | {"root": tmp_path / "sandra", "clock": clock})
    return found


@pytest.fixture
def sandra(said: Said) -> Iterator[Agent]:
    """The agent of that conversation."""
    agent = Agent.open(said.root)
    yield agent
    agent.close()


ENOUGH = pytest.mark.parametrize("said", [420], indirect=True)
"""As many as make it worth packing."""


def did(agent: Agent) -> list[str]:
    """What maintenance did, in words."""
    return [done.what for done in agent.maintain()]


def sound(agent: Agent | Path) -> bool:
    return git(agent, "fsck", "--full", "--strict", "--no-dangling") == ""


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let maintenance think that it is so many days later: nobody can set a ctime."""
    now = time.time() + days * DAY
    monkeypatch.setattr(maintain.time, "time", lambda: now)


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


# ── settings ──────────────────────────────────────────────────────────────────────────────────


def test_a_new_agent_has_its_settings(sarah: Agent) -> None:
    for key, value in maintain.SETTINGS.items():
        assert git(sarah, "config", "--local", key) == f"{value}\n"


def test_a_value_that_a_person_set_stays(make: Make, tmp_path: Path) -> None:
    with (tmp_path / "home/.gitconfig").open("a") as config:
        config.write("[gc]\n\tauto = 500\n")
    agent = make()
    assert git(agent, "config", "gc.auto") == "500\n"
    git(agent, "config", "--local", "core.fsync", "none")
    git(agent, "config", "--local", "--unset", "maintenance.auto")
    (done, *_) = agent.maintain()
    assert (done.what, done.text) == ("settings", "maintenance.auto=false in .git/config")
    assert git(agent, "config", "core.fsync") == "none\n"
    assert git(agent, "config", "gc.auto") == "500\n"
    assert git(agent, "config", "maintenance.auto") == "false\n"


# ── packing ───────────────────────────────────────────────────────────────────────────────────


def test_it_packs_and_nothing_is_lost(sandra: Agent) -> None:
    sandra.notes.add("Ada is a cat.")
    before = git(sandra, "log", "--format=%H %T")
    done = {one.what: one for one in sandra.maintain()}
    assert list(done) == ["packed", "graph"]
    packed = done["packed"]
    count = git(sandra, "count-objects", "-v").split("in-pack: ")[1].split()[0]
    assert packed.text == f"{int(count):,} loose objects"
    assert packed.before is not None
    assert packed.after is not None
    assert packed.after < packed.before / 8
    assert maintain.loose(sandra.store.repo) == (0, 0)
    assert git(sandra, "log", "--format=%H %T") == before
    assert sound(sandra)
    assert sandra.search("cat").hits
    assert did(sandra) == []


def test_packs_are_joined_when_they_have_grown_by_half(sandra: Agent, said: Said) -> None:
    assert did(sandra) == ["packed", "graph"]
    joined = []
    for _ in range(4):
        said.turns(15)
        joined.append("joined" in did(sandra))
        sizes = [path.stat().st_size for path in maintain.packs(sandra.store.repo)]
        assert sum(sizes[:-1]) < sizes[-1]
    assert any(joined)
    assert not all(joined)
    assert sound(sandra)


@pytest.fixture(params=[800, pytest.param(8000, marks=pytest.mark.slow)])
def many(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.timeout(300)
def test_the_packs_are_no_larger_than_the_log(make: Make, tmp_path: Path, many: int) -> None:
    agent = make()
    said = Said(agent.root)
    for _ in range(many // 400):
        said.turns(400)
        if said.count == 400:
            shutil.copytree(agent.root, tmp_path / "other")
        agent.maintain()
        if said.count == 400:
            ours = health.packed(agent.store.repo)
    assert sound(agent)
    assert health.packed(agent.store.repo) <= said.log
    graphs = agent.store.repo.git_dir.rglob("*.graph")
    assert sum(path.stat().st_size for path in graphs) < 0.1 * said.log
    # Why not Git's own way: it does not know which blobs are versions of one file.
    other = Repo(tmp_path / "other")
    git(other.root, "repack", "--geometric=2", "-d", "-q")
    assert health.packed(other) > 3 * ours


def test_a_log_of_one_path_skips_commits_by_their_filters(sandra: Agent, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def skipped() -> int:
        trace.unlink(missing_ok=True)
        command = ["git", "-C", str(sandra.root), "log", "--format=%H", "--", "core/human.md"]
        env = {**os.environ, "GIT_TRACE2_PERF": str(trace)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert len(done.stdout.split()) == 1
        filters = [line for line in trace.read_text().splitlines() if '"definitely_not":' in line]
        return sum(int(line.split('"definitely_not":')[1].split(",")[0]) for line in filters)

    assert skipped() == 0
    sandra.maintain()
    assert skipped() == 61  # the turns, and the commit of the window


def test_an_agent_without_a_commit(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/agent.yaml").write_text("id: new\n")
    Repo.init(tmp_path / "new")
    assert did(Agent.open(tmp_path / "new")) == []


# ── letting go ────────────────────────────────────────────────────────────────────────────────


def path_of(agent: Agent, oid: str) -> Path:
    return agent.root / f".git/objects/{oid[:2]}/{oid[2:]}"


def test_what_nothing_names_goes_after_two_weeks(sarah: Agent) -> None:
    def keep(text: str, days: float) -> Path:
        (sarah.root / "x").write_text(text)
        path = path_of(sarah, git(sarah, "hash-object", "-w", "x").strip())
        age(path, days)
        return path

    old, young = keep("nobody wants this", 15), keep("somebody may be about to name this", 13)
    (sarah.root / "x").write_text("staged long ago")
    git(sarah, "add", "x")
    done = {one.what: one.text for one in sarah.maintain()}
    assert done["pruned"] == "1 object that nothing has named for two weeks"
    assert not old.exists()
    assert young.exists()
    assert git(sarah, "show", ":x") == "staged long ago"


def test_the_reflog_forgets_after_90_days_but_not_a_stash(sarah: Agent) -> None:
    for idea in ("half an idea", "another half"):
        (sarah.root / "core/human.md").write_text(f"Name: Tim\n{idea}\n")
        git(sarah, "stash")
    now = int(time.time())
    for name, days in (("HEAD", (100, 80)), ("refs/heads/main", (100, 80)), ("refs/stash", (100,))):
        log = sarah.root / ".git/logs" / name
        written = ""
        for line in log.read_text().splitlines(keepends=True):
            who, _, rest = line.partition("> ")
            for ago in days:
                written += f"{who}> {now - ago * 86400} {rest.partition(' ')[2]}"
        log.write_text(written)
    before = len(git(sarah, "reflog", "show", "main").splitlines())
    assert "reflog" in did(sarah)
    assert len(git(sarah, "reflog", "show", "main").splitlines()) == before / 2
    assert len(git(sarah, "stash", "list").splitlines()) == 2
    assert "half an idea" in git(sarah, "stash", "show", "-p", "stash@{1}")


@pytest.mark.parametrize(("days", "kept"), [(60, True), (100, False)])
def test_what_was_reset_away_is_kept_for_90_days(sarah: Agent, days: int, kept: bool) -> None:
    sarah.notes.add("a note too many")
    lost = git(sarah, "rev-parse", "HEAD").strip()
    git(sarah, "reset", "-q", "--hard", "HEAD~1")
    for name in ("HEAD", "refs/heads/main"):
        log = sarah.root / ".git/logs" / name
        lines = [line.partition("> ") for line in log.read_text().splitlines(keepends=True)]
        then = int(time.time()) - days * 86400
        log.write_text("".join(f"{who}> {then} {rest.partition(' ')[2]}" for who, _, rest in lines))
    for file in (sarah.root / ".git/objects").glob("??/*"):
        age(file, days)
    sarah.maintain()
    there = git(sarah, "cat-file", "-t", lost, check=False)
    assert (there == "commit\n") is kept
    assert sound(sarah)


def test_a_pruned_commit_leaves_the_commit_graph(sandra: Agent) -> None:
    git(sandra, "checkout", "-q", "-b", "side")
    sandra.notes.add("a note that goes")
    commit = git(sandra, "rev-parse", "side").strip()
    git(sandra, "commit-graph", "write", "--reachable", "--changed-paths", "--split")
    git(sandra, "checkout", "-q", "main")
    git(sandra, "branch", "-q", "-D", "side")
    shutil.rmtree(sandra.root / ".git/logs")
    for file in (sandra.root / ".git/objects").glob("??/*"):
        age(file, 20)
    assert did(sandra) == ["packed", "pruned", "graph"]
    assert git(sandra, "cat-file", "-t", commit, check=False) == ""
    assert sound(sandra)  # a chain that names what is gone would be an error
    git(sandra, "commit-graph", "verify")


def test_what_was_dropped_lately_outlives_a_join(sandra: Agent, said: Said) -> None:
    sandra.notes.add("a note that goes")
    lost = git(sandra, "rev-parse", "HEAD").strip()
    sandra.maintain()
    git(sandra, "reset", "-q", "--hard", "HEAD~1")
    shutil.rmtree(sandra.root / ".git/logs")
    joined = False
    for _ in range(4):
        said.turns(40)
        joined = "joined" in did(sandra) or joined
    assert joined
    assert "a note that goes" in git(sandra, "show", lost)


def test_dropped_commits_are_kept_and_told(sarah: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(sarah, "rev-parse", "HEAD").strip()
    ref = f"refs/fsagent/dropped/{head}"
    git(sarah, "update-ref", ref, head)
    later(monkeypatch, 365 * 3)  # FixedClock lives in 2026
    told = [done.text for done in sarah.maintain() if done.what == "kept"]
    assert told == [
        f"{ref}, made more than 90 days ago; to let it go: git -C {sarah.root} update-ref -d {ref}"
    ]
    assert git(sarah, "rev-parse", ref).strip() == head


def test_half_made_packs_go_after_a_day(sarah: Agent) -> None:
    pack = sarah.root / ".git/objects/pack/.tmp-123-pack-4.pack"
    pack.write_text("half a pack")
    idx = pack.with_suffix(".idx")
    idx.write_text("and its index")
    age(idx, 0.9)
    ours = sarah.root / ".git/fsagent/tmp/x"  # the write door's own
    ours.write_text("x")
    age(ours, 10)
    age(pack, 1.1)
    done = {one.what: one for one in sarah.maintain()}
    assert done["leftovers"].text == "1 temporary file removed"
    assert done["leftovers"].before
    assert ours.exists()
    assert idx.exists()
    assert not pack.exists()
    assert any(path.name.startswith("pack-") for path in pack.parent.iterdir())


# ── caches ────────────────────────────────────────────────────────────────────────────────────


def test_indexes_of_vanished_agents_go(make: Make, tmp_path: Path) -> None:
    here, gone, other = (make(directory=tmp_path / name) for name in ("here", "gone", "other"))
    folders = {}
    for agent in (here, gone, other):
        agent.search("x")
        folders[agent.name] = agent.index.folder
        assert (folders[agent.name] / caches.OWNER).read_text() == str(agent.root)
    shutil.rmtree(gone.root)
    yaml = other.root / "agent.yaml"  # another agent in the place of one that was there
    yaml.write_text(yaml.read_text().replace(other.config.id, "somebody-else"))
    (folders["here"] / "whoosh-1").mkdir()
    (folders["here"] / "whoosh-1/x").write_text("x" * 5000)
    (folders["here"] / "whoosh-99").mkdir()
    (tmp_path / "cache/index/mine").mkdir()
    (done,) = [done for done in here.maintain() if done.what == "caches"]
    assert done.text == "1 index that no agent needs any more"
    for folder in folders.values():  # a disk that is not there today may come back
        assert folder.is_dir()
        age(folder / caches.OWNER, 15)
    (done,) = [done for done in here.maintain() if done.what == "caches"]
    assert done.text == "2 indexes that no agent needs any more"
    left = {path.name for path in (tmp_path / "cache/index").iterdir()}
    assert left == {folders["here"].name, "mine"}
    names = {path.name for path in folders["here"].iterdir()}
    assert names == {caches.OWNER, f"whoosh-{RECIPE}", "whoosh-99"}


def test_a_cache_of_former_days_without_an_owner_goes(sarah: Agent, tmp_path: Path) -> None:
    old = tmp_path / "cache/index" / ("ab" * 16)
    old.mkdir(parents=True)
    link = tmp_path / "cache/index" / ("cd" * 16)
    link.symlink_to(sarah.root)
    assert caches.sweep(tmp_path / "cache")[0] == 0
    age(old, 15)
    assert caches.sweep(tmp_path / "cache")[0] == 1
    assert not old.exists()
    assert sarah.root.is_dir()
    assert sarah.name


# ── when, and who else ────────────────────────────────────────────────────────────────────────


@ENOUGH
def test_due(sandra: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = sandra.store.repo

    def no_process(*_: Any, **__: Any) -> Any:
        raise AssertionError("that costs a process")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", no_process)
        patch.setattr(subprocess, "Popen", no_process)
        assert maintain.due(repo)
    sandra.maintain(auto=True)
    assert not maintain.due(repo)
    assert sandra.maintain(auto=True) == []
    # What cannot be packed, since nothing names it, is no reason to try again and again.
    folder = sandra.root / ".git/objects/17"
    folder.mkdir(exist_ok=True)
    for number in range(8):
        (folder / f"{number:038x}").write_text("")
    assert maintain.due(repo)
    (sandra.root / ".git/fsagent/maintained").write_text("8\n")
    assert not maintain.due(repo)
    shutil.rmtree(folder)
    assert not maintain.due(repo)


def test_an_agent_with_few_commits_is_not_due(sarah: Agent) -> None:
    assert not maintain.due(sarah.store.repo)
    assert sarah.maintain(auto=True) == []
    assert maintain.loose(sarah.store.repo)[0] > 0


def test_only_one_at_a_time(sandra: Agent) -> None:
    with maintain._alone(sandra.store.repo):
        with pytest.raises(AgentBusy, match="is being maintained already"):
            sandra.maintain()
        assert sandra.maintain(auto=True) == []
    assert did(sandra) == ["packed", "graph"]


def test_it_needs_no_lock_that_a_turn_or_a_write_needs(sandra: Agent) -> None:
    done: list[str] = []
    with sandra.store.turn(), sandra.store.locks.hold("write", 1.0, "busy"):
        thread = threading.Thread(target=lambda: done.extend(did(Agent.open(sandra.root))))
        thread.start()
        thread.join(60)
    assert done == ["packed", "graph"]


@ENOUGH
def test_a_failure_is_told_and_not_tried_after_every_turn(sandra: Agent) -> None:
    blob = git(sandra, "rev-parse", "HEAD~200:core/human.md").strip()
    path_of(sandra, blob).chmod(0o644)
    path_of(sandra, blob).write_bytes(b"not an object")
    with pytest.raises(StoreError, match=r"git could not go on .*fsagent check"):
        sandra.maintain()
    assert not maintain.due(sandra.store.repo)
    assert maintain.loose(sandra.store.repo)[0] > maintain.DUE
    assert path_of(sandra, git(sandra, "rev-parse", "HEAD").strip()).exists()


def test_objects_that_move_into_a_pack_stay_readable(sandra: Agent) -> None:
    repo = sandra.store.repo
    files = repo.files("HEAD")
    assert all(repo.read(blob.oid) for blob in files.values())
    Agent.open(sandra.root).maintain()  # another process's, as far as this Repo knows
    assert maintain.loose(repo)[0] == 0
    for path, blob in files.items():
        assert repo.read(blob.oid) == (sandra.root / path).read_bytes()
    sandra.blocks["human"] = "Name: Tim, still\n"
    assert sandra.log(limit=1)[0].paths == ("core/human.md",)


WRITER = """
import sys
from fsagent import Agent, ScriptedClient, call
agent = Agent.open(sys.argv[1])
n = 0
while True:
    agent._client = ScriptedClient([call("core_memory_append", label="human", content=f"fact {n}"),
        call("memory_rethink", label="human", new_memory="Name: Tim"), "ok"])
    turn = agent.chat(f"number {n}")
    agent.notes.add(f"note number {n}")
    assert len(turn.commits) == 3, turn
    n += 1
    print(" ".join(turn.commits), flush=True)
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [6.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_beside_a_writer_nothing_is_lost(sandra: Agent, seconds: float) -> None:
    command = [sys.executable, "-c", WRITER, str(sandra.root)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout
    acknowledged: list[str] = []

    def listen() -> None:
        for line in writer.stdout or ():
            acknowledged.extend(line.split())

    listener = threading.Thread(target=listen)
    listener.start()
    reader = Agent.open(sandra.root)
    end, rounds = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end or len(acknowledged) < 3:
            assert writer.poll() is None, writer.stderr and writer.stderr.read()
            sandra.maintain()
            rounds += 1
            head = reader.store.repo.head()
            assert head
            blobs = reader.store.repo.files(head)
            assert all(reader.store.repo.read(blob.oid) for blob in blobs.values())
    finally:
        writer.terminate()
        listener.join()
        writer.communicate()
    assert rounds > 2
    there = set(git(sandra, "rev-list", "HEAD").split())
    assert set(acknowledged) <= there
    for name in ("HEAD", "main"):  # what expires is old; no line was lost to the rewriting
        assert set(acknowledged) <= set(git(sandra, "reflog", name, "--format=%H").split())
    Agent.open(sandra.root).maintain()
    assert sound(sandra)
    reader.close()


def test_a_work_tree_of_its_own_shares_the_objects(sandra: Agent, tmp_path: Path) -> None:
    git(sandra, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = Agent.open(tmp_path / "side")
    assert did(side) == ["packed", "graph"]
    assert maintain.loose(sandra.store.repo) == (0, 0)
    lock = sandra.root / ".git/worktrees/side/index.lock"
    lock.touch()
    assert [found.path for found in health.locks(side.store.repo)] == [lock]
    assert health.locks(sandra.store.repo) == []


# ── by itself ─────────────────────────────────────────────────────────────────────────────────


def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *items: str) -> None:
    (tmp_path / "script.json").write_text(json.dumps(items))
    monkeypatch.setenv("FSAGENT_MODEL", f"scripted:{tmp_path / 'script.json'}")


def cli(*arguments: str, status: int = 0, said: str = "") -> str:
    command = [sys.executable, "-m", "fsagent", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, input=said)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@ENOUGH
@pytest.mark.parametrize("conversation", [False, True])
def test_chat_starts_it_in_the_background(
    sandra: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversation: bool
) -> None:
    scripted(tmp_path, monkeypatch, "Hello.", "Again.")
    # What stands in the folder that somebody is in is not run.
    (tmp_path / "fsagent.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')\n")
    mark = sandra.root / ".git/fsagent/maintained"
    said = ("-i",) if conversation else ("Hi!",)
    command = ["from fsagent.cli import main; main()"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", *command, "chat", str(sandra.root), *said],
        cwd=tmp_path,
        input="Hi!\nHo!\n" if conversation else "",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Hello." in done.stdout
    wait_for(mark.exists)
    assert maintain.packs(sandra.store.repo)
    assert maintain.loose(sandra.store.repo)[0] < 50
    assert sound(sandra)


def test_it_is_started_once_and_only_when_due(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Running:
        def __init__(self, command: list[str], **options: Any) -> None:
            assert options["start_new_session"]
            assert options["stdin"] == options["stdout"] == options["stderr"] == -3
            started.append(command)

        def poll(self) -> int | None:
            return None

    monkeypatch.setattr(subprocess, "Popen", Running)
    monkeypatch.setattr(care, "_started", [])
    care.tend(sarah.store.repo)
    assert started == []
    monkeypatch.setattr(maintain, "due", lambda repo: True)
    care.tend(sarah.store.repo)
    care.tend(sarah.store.repo)
    assert [command[2:] for command in started] == [
        ["-m", "fsagent", "maintain", str(sarah.root), "--auto"]
    ]


def test_the_command(sandra: Agent, said: Said) -> None:
    screen = cli("maintain", str(sandra.root)).splitlines()
    assert len(screen) == 2
    assert screen[0].startswith("packed      ")
    assert " loose objects  " in screen[0]
    assert screen[0].endswith("KB")
    assert " → " in screen[0]
    assert screen[1].startswith("graph       what `log -- PATH` looks commits up in  0 B → ")
    assert cli("maintain", str(sandra.root)) == "Nothing to do.\n"
    assert cli("maintain", str(sandra.root), "--auto") == "Nothing to do.\n"
    said.turns(5)
    done = json.loads(cli("maintain", str(sandra.root), "--json"))
    assert [one["what"] for one in done] == ["packed", "graph"]
    assert done[0]["after"] < done[0]["before"]
    err = cli("maintain", str(sandra.root.parent), status=1)
    assert "is not an agent" in err
