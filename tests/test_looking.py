"""A look for hand edits: Git's, spared where the kernel says that nothing was touched."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fsagent import Agent
from fsagent.repo import Repo, notices
from fsagent.repo.notices import Notices

from conftest import git, script, subjects

Make = Callable[..., Agent]

listening = pytest.mark.skipif(
    sys.platform != "linux" or not notices._is_local(os.path.realpath(os.curdir)),
    reason="inotify on a local file system",
)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each look that Git was asked for."""
    asked: list[str] = []
    real = Repo.status
    monkeypatch.setattr(Repo, "status", lambda self, under: asked.append("look") or real(self, under))  # fmt: skip
    return asked


def calm(make: Make, looks: list[str]) -> Agent:
    """An agent that has talked until nobody needs to look any more."""
    agent = make(*["ok"] * 30)
    for _ in range(3):
        agent.chat("hi")
    looks.clear()
    return agent


@listening
def test_a_process_that_lives_on_looks_no_more(make: Make, looks: list[str]) -> None:
    agent = calm(make, looks)
    for number in range(5):
        agent.chat("hi")
        agent.blocks["human"] = f"Name: Tim {number}"
        agent.notes.add(f"note {number}")
        assert agent.search("note").uncommitted == ()
    assert len(looks) <= 1  # the first note made a new folder
    assert git(agent, "status", "--porcelain") == ""
    assert not any(subject.startswith("hand edit") for subject in subjects(agent))


def test_a_process_that_looks_once_does_not_listen(make: Make) -> None:
    agent = make("ok")
    agent.chat("hi")
    assert agent.store.repo._looking._notices.touched() is None


def appended(path: Path) -> None:
    with path.open("a") as file:
        file.write("# more\n")


def in_place(path: Path) -> None:
    with path.open("r+") as file:
        file.write("In place")


def mapped(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:4] = b"MMAP"


def renamed_over(path: Path) -> None:
    new = path.with_name("x.tmp")
    new.write_text("renamed over\n")
    new.rename(path)


def same_size_and_time(path: Path) -> None:
    about = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "appended": (lambda root: appended(root / "core/human.md"), "core/human.md"),
    "in place": (lambda root: in_place(root / "core/human.md"), "core/human.md"),
    "mapped": (lambda root: mapped(root / "core/human.md"), "core/human.md"),
    "renamed over": (lambda root: renamed_over(root / "core/human.md"), "core/human.md"),
    "deleted": (lambda root: (root / "core/human.md").unlink(), "core/human.md"),
    "as old as before": (lambda root: same_size_and_time(root / "core/human.md"), "core/human.md"),
    "moved away": (lambda root: (root / "core/human.md").rename(root.parent / "x"), "core/human.md"),
    "made executable": (lambda root: (root / "core/human.md").chmod(0o755), "core/human.md"),
    "a new block": (lambda root: (root / "core/new.md").write_text("x\n"), "core/new.md"),
    "a new folder": (lambda root: ((root / "core/a/b").mkdir(parents=True), (root / "core/a/b/c.md").write_text("x\n")), "core/a/b/c.md"),
    "a folder moved in": (lambda root: ((root.parent / "d").mkdir(), (root.parent / "d/x.md").write_text("x\n"), (root.parent / "d").rename(root / "core/d")), "core/d/x.md"),
    "a first file of its kind": (lambda root: ((root / "files").mkdir(), (root / "files/a.txt").write_text("x\n")), "files/a.txt"),
    "system.md": (lambda root: appended(root / "system.md"), "system.md"),
    "agent.yaml": (lambda root: appended(root / "agent.yaml"), "agent.yaml"),
    "recall": (lambda root: (root / "recall/2020").mkdir(parents=True) or (root / "recall/2020/a.jsonl").write_text('{"id": "a", "role": "user", "content": "x"}\n'), "recall/2020/a.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_each_way_to_edit_by_hand_is_seen_in_the_next_turn(
    make: Make, looks: list[str], edit: str
) -> None:
    agent = calm(make, looks)
    work, path = EDITS[edit]
    work(agent.root)
    agent.chat("hi")
    change = agent.log(path, limit=1)[0]
    if not path.startswith("recall/"):  # whose lines may be those of a killed turn
        assert change.subject.startswith("hand edit: ")
        assert change.author == "Tim"
    assert git(agent, "status", "--porcelain") == ""
    looks.clear()
    agent.chat("hi")
    agent.chat("hi")
    (agent.root / "core/persona.md").write_text("Gruff.\n")  # what comes after that is seen, too
    agent.chat("hi")
    assert subjects(agent)[1] == "hand edit: core/persona.md"


@pytest.mark.parametrize(
    "commands",
    [
        ["commit -q --allow-empty -m theirs"],
        ["rm -q --cached core/persona.md"],
        ["reset -q --soft HEAD~1"],
        ["reset -q --hard HEAD~1"],
        ["switch -q -c other HEAD~2"],
        ["revert --no-edit HEAD"],
        ["gc -q"],
    ],
    ids=lambda commands: commands[0].split()[0] + commands[0].split()[-1],
)
def test_what_a_person_does_with_git_is_seen(
    make: Make, looks: list[str], commands: list[str]
) -> None:
    agent, other = calm(make, looks), None
    agent.blocks["human"] = "Name: Tom"
    agent.chat("hi")
    for command in commands:
        git(agent, *command.split())
    seen = agent.store.dirty()
    looks.clear()
    other = Agent.open(agent.root, clock=agent.store.clock)
    assert seen == other.store.dirty()  # which has nothing to go by, and asks Git
    assert looks == ["look"]
    other.close()


@listening
def test_a_purge_beside_is_no_edit(make: Make, looks: list[str]) -> None:
    """It moves HEAD, writes files of core memory and Git's index, and replaces every object."""
    agent = calm(make, looks)
    agent.blocks["human"] = "Code: Sesame-4711-open"
    agent.chat("hi")
    with closing(Agent.open(agent.root)) as other:
        assert not other.purge("Sesame-4711-open").left
    before = subjects(agent)
    agent.chat("hi")
    agent.blocks["persona"] = "Kind."
    assert [s for s in subjects(agent) if s not in before] == ["edit: core/persona.md"]
    assert "Sesame" not in git(agent, "log", "-p")
    assert "Code: (purged)" in prompt(agent)
    assert git(agent, "status", "--porcelain") == ""


@listening
def test_what_a_sync_beside_brings_is_no_edit(make: Make, looks: list[str], tmp_path: Path) -> None:
    agent = calm(make, looks)
    place = str(tmp_path / "place.git")
    git(tmp_path, "init", "-q", "--bare", place)
    agent.sync(place)
    with closing(Agent.clone(place, tmp_path / "desk")) as desk:
        desk.blocks["human"] = "Name: Tim, of Ghent"
        desk.sync()
    with closing(Agent.open(agent.root)) as other:
        other.sync()
    before = subjects(agent)
    agent.chat("hi")
    assert [s for s in subjects(agent) if s not in before] == []  # but one more of "turn: hi"
    assert "Name: Tim, of Ghent" in prompt(agent)
    assert git(agent, "status", "--porcelain") == ""


def prompt(agent: Agent) -> str:
    """The system message of the last prompt."""
    return str(agent.client.prompts[-1].messages[0]["content"])  # type: ignore[attr-defined]


@listening
def test_what_is_ignored_no_more_is_seen(make: Make, looks: list[str]) -> None:
    agent = make(*["ok"] * 9)
    (agent.root / ".gitignore").write_text("core/secret.md\n")
    git(agent, "add", ".gitignore")
    git(agent, "commit", "-qm", "ignore")
    (agent.root / "core/secret.md").write_text("x\n")
    for _ in range(3):
        agent.chat("hi")
    looks.clear()
    agent.chat("hi")
    assert looks == []
    (agent.root / ".gitignore").write_text("")
    agent.chat("hi")
    assert "hand edit: core/secret.md" in subjects(agent)


@listening
def test_links_and_odd_files_are_named_as_ever(make: Make, looks: list[str]) -> None:
    agent = calm(make, looks)
    (agent.root / "core/link.md").symlink_to("/etc/passwd")
    agent.chat("hi")
    assert any("core/link.md is or lies behind a symbolic link" in w for w in agent.store.warnings)


@listening
def test_the_lines_of_a_turn_that_was_not_committed_are_recovered(
    make: Make, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = calm(make, looks)
    with monkeypatch.context() as broken:
        broken.setattr("fsagent.turn.TurnRun._commit", lambda self: None)
        agent.chat("lost?")
    agent.chat("hi")
    assert subjects(agent)[1] == "turn (recovered)"


def test_where_nobody_listens_git_is_asked_each_time(
    make: Make, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_is_local", lambda root: False)
    agent = calm(make, looks)
    agent.chat("hi")
    assert looks == ["look"]
    (agent.root / "core/human.md").write_text("x\n")
    agent.chat("hi")
    assert subjects(agent)[1] == "hand edit: core/human.md"


@listening
def test_a_child_process_does_not_believe_what_its_parent_hears(
    make: Make, looks: list[str]
) -> None:
    agent = calm(make, looks)
    script(agent, *["ok"] * 9)
    (agent.root / "core/human.md").write_text("x\n")
    child = os.fork()
    if not child:
        os._exit(0 if agent.store.dirty() == ["core/human.md"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert agent.store.dirty() == ["core/human.md"]  # and what the child has read is not lost


@listening
def test_searches_of_other_threads_lose_nothing(make: Make, looks: list[str]) -> None:
    agent = calm(make, looks)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            agent.store.dirty(live=False)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(15):
            (agent.root / "core/human.md").write_text(f"Name: {number}\n")
            assert agent.store.dirty() == ["core/human.md"]
            agent.adopt()
            assert agent.store.dirty() == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# ── the kernel's notices ──────────────────────────────────────────────────────────────────────


@listening
def test_notices(tmp_path: Path) -> None:
    (tmp_path / "core/a").mkdir(parents=True)
    heard = Notices(str(tmp_path), ["core", "recall", "agent.yaml"])
    assert heard.touched() is None
    assert heard.begin()
    assert heard.touched() == set()
    (tmp_path / "core/a/x.md").write_text("x")
    (tmp_path / "agent.yaml").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "other").mkdir()
    assert heard.touched() == {"core/a/x.md", "agent.yaml"}
    heard.forget(["agent.yaml"])
    assert heard.touched() == {"core/a/x.md"}
    (tmp_path / "core/a/x.md").read_text()
    heard.forget(["core/a/x.md"])
    assert heard.touched() == set()
    (tmp_path / "recall").mkdir()  # a folder: whatever was put into it at once, nobody was told
    assert heard.touched() is None
    assert heard.begin()
    heard._hear(struct.pack("iIII", -1, 0x4000, 0, 0))  # the kernel's queue has overflown
    assert heard.touched() is None
    assert heard.begin()
    shutil.rmtree(tmp_path / "core")
    assert heard.touched() is None
    heard.close()
    heard.close()


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:30 / /home/tim/net rw - nfs4 server:/x rw
24 22 0:31 / /home/tim/with\\040space rw - fuse.sshfs x rw
25 22 0:32 / /tmp rw - tmpfs tmpfs rw
26 22 0:33 / /home/tim/both/files rw - 9p x rw
27 22 0:34 / /over rw - ext4 x rw
28 27 0:35 / /over rw - nfs x rw
"""


@pytest.mark.parametrize(
    ("root", "local"),
    [
        ("/home/tim/sarah", True),
        ("/tmp/sarah", True),
        ("/home/tim/net", False),
        ("/home/tim/net/sarah", False),
        ("/home/tim/network/sarah", True),
        ("/home/tim/with space/sarah", False),
        ("/home/tim/both", False),
        ("/over/sarah", False),
    ],
)
def test_only_file_systems_of_this_machine_are_believed(
    root: str, local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(notices, "MOUNTS", str(tmp_path / "mounts"))
    assert notices._is_local(root) is local


def test_no_file_of_mounts_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOUNTS", "/nowhere/mounts")
    assert not notices._is_local("/")


@listening
def test_what_is_kept_open_is_given_back(make: Make, looks: list[str]) -> None:
    agent = calm(make, looks)
    before = len(os.listdir("/proc/self/fd"))
    agent.close()
    assert len(os.listdir("/proc/self/fd")) < before
