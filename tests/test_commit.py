"""The commit made in this process, with Git and GitPython as oracles: same tree, same index."""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import git as gitpython
import pytest
from fsagent import Agent, call
from fsagent.errors import AgentBusy, StoreError
from fsagent.repo import Put, Repo, disk
from fsagent.repo.commit import Pipeline
from fsagent.repo.gitindex import GitIndex, UnfitIndexError, stat_bytes
from fsagent.repo.journal import Entry, Journal
from fsagent.repo.objects import blob_id
from fsagent.repo.puts import Blob
from fsagent.repo.run import run
from fsagent.repo.slow import Slow
from fsagent.repo.trees import parse, unparse
from fsagent.store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import git, script, subjects

Make = Callable[..., Agent]

NAMES = st.sampled_from(
    ["a", "a.md", "a-b", "a0", "a/x", "a/y/z", "b.c", "b/c", "b/c.d", "é", "z z", "k" * 200]
)
FILES = st.dictionaries(
    st.builds("files/{}".format, NAMES), st.none() | st.sampled_from(["", "1", "two\n"]), max_size=4
)


def index_of(root: Path) -> str:
    """The index as Git reads it: every entry with its state, and the cached trees."""
    return git(root, "ls-files", "--stage", "--debug")


def same_as_git(root: Path) -> None:
    """Nothing is staged or edited for Git, and its index is what it would have written itself."""
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "diff-files", "--name-only") == ""
    assert git(root, "diff-index", "--cached", "--name-only", "HEAD") == ""
    tree = git(root, "rev-parse", "HEAD^{tree}").strip()
    assert git(root, "write-tree").strip() == tree  # the cached trees say so,
    ours = index_of(root)
    copy = root.parent / "fresh-index"
    shutil.copy(root / ".git/index", copy)
    env = {**os.environ, "GIT_INDEX_FILE": str(copy)}

    def fresh(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=root, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    copy.unlink()
    fresh("read-tree", "HEAD")
    fresh("update-index", "-q", "--refresh")
    assert fresh("ls-files", "--stage", "--debug") == ours  # … and so does an index made anew
    assert fresh("write-tree").strip() == tree
    copy.unlink()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(FILES, min_size=1, max_size=5), st.booleans())
def test_any_history_gives_the_trees_and_the_index_that_git_gives(
    changes: list[dict[str, str | None]], packed: bool
) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        store = Store(Agent.init(home / "a").root)
        root = store.root
        git(root, "write-tree")  # the cached trees are there from the start
        for number, files in enumerate(changes):
            writes = {p: (t.encode() if t is not None else None) for p, t in files.items()}
            if any(a != b and b.startswith(a + "/") for a in writes for b in writes):
                continue  # a file and a folder of one name
            gone = [
                str(p.relative_to(root))
                for p in (root / "files").rglob("*")
                if p.is_file()
                for new in writes
                if new.startswith(f"{p.relative_to(root)}/")
                or str(p.relative_to(root)).startswith(f"{new}/")
            ]
            for path in set(gone):  # so that a folder may take the place of a file, and back
                (root / path).unlink()
            store.adopt()
            for folder in sorted((root / "files").rglob("*"), reverse=True):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
            with store.change(f"change {number}") as change:
                change.writes.update(writes)
            same_as_git(root)
            expected = {p: t for p, t in writes.items() if t is not None}
            for path, text in expected.items():
                shown = subprocess.run(
                    ["git", "show", f"HEAD:{path}"], cwd=root, capture_output=True, check=True
                )
                assert shown.stdout == text
            if packed and number == 1:
                git(root, "gc", "-q")
        assert git(root, "fsck", "--strict", "--no-dangling") == ""
        store.repo.close()
    finally:
        shutil.rmtree(home)


def test_gitpython_reads_what_we_wrote(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content="Likes tea."), "ok")
    agent.chat("hi")
    repo = gitpython.Repo(agent.root)
    commit = repo.head.commit.parents[0]
    assert commit.author.name == "sarah"
    assert commit.committer.email == "fsagent@localhost"
    assert commit.message.startswith("human: + Likes tea.\n\n")
    assert commit.tree["core/human.md"].data_stream.read().endswith(b"Likes tea.\n")
    staged = {path: entry.hexsha for (path, stage), entry in repo.index.entries.items()}
    tree = {
        blob.path: blob.hexsha for blob in repo.head.commit.tree.traverse() if blob.type == "blob"
    }
    assert staged == tree
    assert repo.head.log()[-1].newhexsha == repo.head.commit.hexsha
    assert repo.head.log()[-1].message == "turn: hi"
    repo.close()


def test_trees_are_read_and_written_alike(sarah: Agent) -> None:
    raw = subprocess.run(
        ["git", "cat-file", "tree", "HEAD^{tree}"], cwd=sarah.root, capture_output=True
    ).stdout
    assert unparse(parse(raw)) == raw


def test_the_persons_other_staged_work_stays_in_the_cached_trees(sarah: Agent) -> None:
    (sarah.root / "core/new.txt").write_text("staged\n")
    (sarah.root / "mine/deep").mkdir(parents=True)
    (sarah.root / "mine/deep/x").write_text("staged too\n")
    git(sarah, "add", "core/new.txt", "mine")
    before = git(sarah, "write-tree").strip()
    sarah.blocks["human"] = "Name: Tom"
    sarah.notes.add("a note in a new folder")
    assert git(sarah, "diff", "--cached", "--name-only") == "core/new.txt\nmine/deep/x\n"
    after = git(sarah, "write-tree").strip()
    assert git(sarah, "diff-tree", "-r", "--name-only", before, after).count("\n") == 2
    git(sarah, "commit", "-qm", "mine")
    assert git(sarah, "status", "--porcelain") == ""
    assert git(sarah, "show", "--format=", "--name-only", "HEAD") == "core/new.txt\nmine/deep/x\n"


def test_a_late_save_is_kept_as_a_commit_on_top(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsagent.repo import disk

    real = disk.swap
    human = sarah.root / "core/human.md"

    def late(one: str, other: str) -> None:
        if other == str(human):
            monkeypatch.setattr(disk, "swap", real)
            human.write_text("saved in this very moment\n")
        real(one, other)

    monkeypatch.setattr(disk, "swap", late)
    with sarah.store.change("human: by a tool") as change:
        change.set_block("human", "by a tool")
    assert subjects(sarah)[:2] == ["hand edit: core/human.md", "human: by a tool"]
    assert human.read_text() == "saved in this very moment\n"
    assert git(sarah, "show", "HEAD~1:core/human.md").endswith("by a tool\n")
    assert git(sarah, "status", "--porcelain") == ""
    assert [a.paths for a in change.adopted] == [("core/human.md",)]


def test_a_save_of_the_same_size_in_the_same_moment_is_seen(sarah: Agent) -> None:
    """Racy Git: an edit that leaves size and, nearly, time as they were."""
    for number in range(30):
        sarah.blocks["human"] = f"Name: {number:03}"
        human = sarah.root / "core/human.md"
        human.write_bytes(human.read_bytes().replace(b"Name", b"NAME"))
        sarah.blocks["persona"] = f"I am {number}"
        assert "core/human.md" in git(sarah, "status", "--porcelain")
        assert sarah.adopt()


@pytest.mark.parametrize("way", ["sha256", "split", "sparse", "version 4", "shared"])
def test_where_only_git_may_write_git_writes(
    tmp_path: Path, make: Make, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make("ok")
    root = agent.root
    if way == "sha256":
        agent.close()
        shutil.rmtree(root / ".git")
        git(root, "init", "-q", "--object-format=sha256", "-b", "main")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "init: sarah")
        agent = Agent.open(root)
    elif way == "split":
        git(root, "update-index", "--split-index")
    elif way == "sparse":
        (root / "other/deep").mkdir(parents=True)
        (root / "other/deep/x").write_text("x")
        git(root, "add", "other")
        git(root, "commit", "-qm", "other")
        git(
            root, "sparse-checkout", "set", "--cone", "--sparse-index", "core", "archival", "recall"
        )
    elif way == "version 4":
        git(root, "update-index", "--index-version", "4")
    else:
        git(root, "config", "core.sharedRepository", "group")
    used = []
    real = Slow.commit
    monkeypatch.setattr(Slow, "commit", lambda *a, **k: used.append(1) or real(*a, **k))
    ran = tmp_path / "ran"
    hook = root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    git(root, "config", "commit.gpgSign", "true")
    (root / "todo.txt").write_text("staged\n")
    git(root, "add", "todo.txt", *(["--sparse"] if way == "sparse" else []))
    (root / "todo.txt").write_text("staged and edited\n")
    (root / "core/human.md").write_text("staged by hand\n")
    git(root, "add", "core/human.md")
    (root / "core/human.md").write_text("edited by hand\n")

    script(agent, call("core_memory_append", label="human", content="By tool."),
           call("archival_memory_insert", content="a note"), "ok")  # fmt: skip
    agent.chat("hi")
    assert used
    assert not ran.exists()
    assert subjects(agent)[:5] == [
        "turn: hi",
        "note: a note",
        "human: + By tool.",
        "hand edit: core/human.md",
        "hand edit: core/human.md (as staged)",
    ]
    assert agent.log()[2].tool == "core_memory_append"
    assert (agent.log()[2].author, agent.log()[3].author) == ("sarah", "Tim")
    assert git(root, "show", "HEAD~4:core/human.md") == "staged by hand\n"
    assert git(root, "status", "--porcelain") == "AM todo.txt\n"
    assert git(root, "show", ":todo.txt") == "staged\n"
    assert "todo.txt" not in git(root, "ls-tree", "-r", "--name-only", "HEAD")
    (note,) = agent.notes
    (root / note.path).unlink()
    agent.adopt()
    assert subjects(agent)[0] == f"hand edit: {note.path}"
    assert git(root, "fsck", "--strict", "--no-dangling") == ""
    assert agent.search("tool", kinds=("block",)).hits
    agent.close()


def test_an_index_that_somebody_removed_is_made_again(sarah: Agent) -> None:
    (sarah.root / ".git/index").unlink()
    sarah.blocks["human"] = "Name: Tom"
    assert git(sarah, "status", "--porcelain") == ""


def test_a_damaged_index_is_left_to_git(sarah: Agent) -> None:
    index = sarah.root / ".git/index"
    data = bytearray(index.read_bytes())
    data[40] ^= 1
    index.write_bytes(data)
    with pytest.raises(UnfitIndexError, match="damaged"):
        GitIndex(str(index), str(sarah.root)).load()
    sarah.blocks["human"] = "Name: Tom"
    assert git(sarah, "status", "--porcelain") == ""
    index.write_bytes(data[:100])
    human = (sarah.root / "core/human.md").read_bytes()
    with pytest.raises(StoreError, match="Git refused"):
        sarah.blocks["human"] = "Name: Tim"
    assert (sarah.root / "core/human.md").read_bytes() == human
    assert len(subjects(sarah)) == 2


def test_detached_heads_packed_refs_and_linked_work_trees(make: Make, tmp_path: Path) -> None:
    agent = make("ok")
    git(agent, "pack-refs", "--all")
    agent.blocks["human"] = "one"
    assert git(agent, "rev-parse", "main") == git(agent, "rev-parse", "HEAD")
    git(agent, "checkout", "-q", "--detach")
    agent.blocks["human"] = "two"
    assert git(agent, "rev-parse", "main") == git(agent, "rev-parse", "HEAD~1")
    assert git(agent, "reflog", "-1", "--format=%gs").strip() == subjects(agent)[0]
    git(agent, "checkout", "-q", "main")
    git(agent, "worktree", "add", "-q", "-b", "side/way", str(tmp_path / "linked"))
    linked = Agent.open(tmp_path / "linked")
    linked.blocks["human"] = "three"
    assert git(linked, "status", "--porcelain") == ""
    assert git(agent, "log", "-1", "--format=%s", "side/way").strip() == subjects(linked)[0]
    assert git(agent, "show", "main:core/human.md").endswith("one\n")
    assert git(agent, "fsck", "--strict", "--no-dangling") == ""
    linked.close()


def test_what_a_reset_drops_is_kept_and_told_once(sarah: Agent) -> None:
    sarah.blocks["human"] = "kept"
    dropped = git(sarah, "rev-parse", "HEAD").strip()
    git(sarah, "reset", "-q", "--hard", "HEAD~1")
    sarah.blocks["persona"] = "I go on."
    assert git(sarah, "rev-parse", f"refs/fsagent/dropped/{dropped}").strip() == dropped
    (told,) = [line for line in sarah.store.warnings if "is in no branch any more" in line]
    assert f"git merge refs/fsagent/dropped/{dropped}" in told
    git(sarah, "merge", "-q", "--no-edit", f"refs/fsagent/dropped/{dropped}")
    assert "kept" in sarah.blocks["human"].text
    assert Store(sarah.root).warnings == []


def test_a_persons_branch_is_not_taken_for_a_loss(sarah: Agent) -> None:
    sarah.blocks["human"] = "on main"
    git(sarah, "checkout", "-q", "-b", "other", "HEAD~1")
    store = Store(sarah.root)
    with store.change("x") as change:
        change.set_block("human", "on other")
    assert store.warnings == []
    assert git(sarah, "for-each-ref", "refs/fsagent") == ""


def test_the_journal_is_begun_anew_when_it_is_full(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsagent.repo.journal.FULL", 20_000)
    journal = sarah.root / ".git/fsagent/journal"
    sizes = []
    for number in range(40):
        sarah.blocks["human"] = f"{number} " + os.urandom(300).hex()
        sizes.append(journal.stat().st_size)
    assert max(sizes) < 30_000
    assert sizes != sorted(sizes)
    assert Repo(sarah.root).settled()


def test_a_change_is_there_at_once_for_everybody(make: Make) -> None:
    """Each call of a turn leaves HEAD, index and files alike, so that a person may commit then."""
    seen = []

    def look(_: object) -> object:
        seen.append(git(agent, "status", "--porcelain", "--", "core"))
        return call("core_memory_append", label="human", content=f"line {len(seen)}")

    agent = make(look, look, look, "ok")
    agent.chat("hi")
    assert seen == ["", "", ""]


def test_a_put_of_another_commit_in_between_is_looked_at_again(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Pipeline._intend
    once: list[int] = []

    def meanwhile(self: Pipeline, plan: object) -> None:
        real(self, plan)  # type: ignore[arg-type]
        if not once:
            once.append(1)
            (sarah.root / "core/human.md").write_text("by the person\n")
            git(sarah, "commit", "-qam", "by the person")

    monkeypatch.setattr(Pipeline, "_intend", meanwhile)
    with (
        pytest.raises(StoreError, match="edited in this very moment"),
        sarah.store.change("x") as c,
    ):
        c.set_block("human", "by a tool")
    assert subjects(sarah)[0] == "by the person"
    assert (sarah.root / "core/human.md").read_text() == "by the person\n"
    assert git(sarah, "status", "--porcelain") == ""


def test_patience_with_a_held_lock(sarah: Agent) -> None:
    lock = sarah.root / ".git/index.lock"
    lock.touch()
    release = subprocess.Popen(["sh", "-c", f"sleep 0.3; rm {lock}"])
    start = time.monotonic()
    sarah.blocks["human"] = "patient"
    assert time.monotonic() - start > 0.2
    release.wait()
    assert subjects(sarah)[0] == "edit: core/human.md"


def test_puts_by_hand() -> None:
    assert Put.write(None, Blob("0" * 40)).blob is None
    made = Put.write(b"x", Blob("0" * 40, 0o100755)).blob
    assert made == Blob("c1b0730e0133447badcfd47fd144e254807b06e1", 0o100755)


# ── what was wrong once ───────────────────────────────────────────────────────────────────────


def test_a_strangers_journal_writes_nowhere_else(make: Make, tmp_path: Path) -> None:
    agent = make("ok")
    root, victim = agent.root, tmp_path / "victim.txt"
    victim.write_text("mine\n")
    head = git(agent, "rev-parse", "HEAD").strip()
    agent.close()
    branch = root / ".git/refs/heads/main"
    for odd in ({"ref": "../../../victim.txt"}, {"commit": "../x"}, {"commit": [1]}, {"id": 5}):
        (root / ".git/fsagent/journal").unlink(missing_ok=True)
        journal = Journal(f"{root}/.git/fsagent/journal")
        facts = {
            "id": "x-0", "time": 0, "ref": "refs/heads/main", "parent": None, "commit": head,
            "author": ["a", "b"], "when": "2026-01-01T00:00:00+00:00", "message": "m",
            "puts": [["core/human.md", "take", None, None]], "boot": "another",
        }  # fmt: skip
        journal.append(Entry("intent", {**facts, **odd}), flush=False)
        journal.close()
        branch.write_text("garbage\n")
        for _ in range(2):
            Store(root)
        assert victim.read_text() == "mine\n"
        branch.write_text(f"{head}\n")
    assert git(agent, "status", "--porcelain") == ""


def test_what_is_saved_between_adoption_and_write_is_kept(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    human = sarah.root / "core/human.md"
    human.write_text("first save\n")
    real = Repo.commit

    def saved_again(self: Repo, *args: object) -> object:
        made = real(self, *args)  # type: ignore[arg-type]
        if human.read_text() == "first save\n":
            human.write_text("second save\n")
        return made

    monkeypatch.setattr(Repo, "commit", saved_again)
    with sarah.store.change("by a program") as change:
        change.writes["core/human.md"] = b"agent\n"
    assert subjects(sarah)[:3] == ["by a program", *["hand edit: core/human.md"] * 2]
    assert git(sarah, "show", "HEAD~1:core/human.md") == "second save\n"


def test_ctrl_c_just_after_the_branch_moved_takes_nothing_back(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.swap

    def interrupted(one: str, other: str) -> None:
        real(one, other)
        if other.endswith("refs/heads/main"):
            monkeypatch.setattr(disk, "swap", real)
            raise KeyboardInterrupt

    monkeypatch.setattr(disk, "swap", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sarah.blocks["human"] = "kept"
    assert sarah.adopt() == []
    assert sarah.blocks["human"].text == "kept"
    assert subjects(sarah) == ["edit: core/human.md", "init: sarah"]
    assert git(sarah, "status", "--porcelain") == ""
    assert not list((sarah.root / ".git").glob("**/main.lock"))


def test_of_two_late_saves_the_later_one_stands(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.swap
    human = sarah.root / "core/human.md"
    saves = ["first late save\n", "second late save\n"]

    def late(one: str, other: str) -> None:
        if other == str(human) and saves:
            spare = human.with_name("spare")
            spare.write_text(saves.pop(0))
            spare.replace(human)
        real(one, other)

    monkeypatch.setattr(disk, "swap", late)
    with sarah.store.change("by a tool") as change:
        change.set_block("human", "by a tool")
    assert human.read_text() == "second late save\n"
    assert git(sarah, "show", "HEAD:core/human.md") == "second late save\n"
    assert git(sarah, "status", "--porcelain") == ""


def test_a_file_in_the_place_of_a_folder_with_a_hidden_file(sarah: Agent) -> None:
    folder = sarah.root / "files/a"
    folder.mkdir(parents=True)
    (folder / ".gitkeep").touch()
    (folder / "b.txt").write_text("b\n")
    git(sarah, "add", "files")
    git(sarah, "commit", "-qm", "mine")
    shutil.rmtree(folder)
    folder.write_text("words\n")
    sarah.adopt()
    assert git(sarah, "ls-tree", "-r", "--name-only", "HEAD", "files") == "files/a\n"
    same_as_git(sarah.root)


def test_a_pipe_in_the_place_of_a_young_file_is_not_waited_for(sarah: Agent) -> None:
    odd = sarah.root / "odd.txt"
    odd.write_text("x\n")
    git(sarah, "add", "odd.txt")
    git(sarah, "commit", "-qm", "mine")
    odd.unlink()
    os.mkfifo(odd)
    sarah.blocks["human"] = "not stuck"
    odd.unlink()
    odd.symlink_to("/dev/zero")
    sarah.blocks["human"] = "nor drowned"
    assert subjects(sarah)[0] == "edit: core/human.md"


def test_a_forked_process_reads_its_own_answers(make: Make) -> None:
    agent = make("ok")
    for number in range(5):
        agent.notes.add(f"note {number}")
    git(agent, "gc", "-q", "--prune=now")
    repo = agent.store.repo
    blobs = list(repo.files("HEAD").values())
    assert all(blob_id(repo.read(blob.oid)) == blob.oid for blob in blobs)
    child = os.fork()
    for _ in range(40):
        right = all(blob_id(repo.read(blob.oid)) == blob.oid for blob in blobs)
        if not right:
            break
    if child == 0:
        os._exit(0 if right else 1)
    assert right
    assert os.waitpid(child, 0)[1] == 0


def test_one_thread_takes_one_turn_at_a_time(make: Make) -> None:
    agent = make("one", "two")
    first = agent.stream("first")
    next(first)
    with pytest.raises(AgentBusy, match="in the middle of another turn"):
        agent.chat("second")
    first.close()  # type: ignore[attr-defined]


ENTRIES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "/x", "/y", "0", "-"])))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(ENTRIES, ENTRIES, ENTRIES)
def test_many_entries_at_once_are_what_git_makes_of_them(
    before: list[tuple[str, str]], gone: list[tuple[str, str]], new: list[tuple[str, str]]
) -> None:
    blob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"

    def lines(names: list[tuple[str, str]], mode: str) -> str:
        return "".join(f"{mode} {blob if mode != '0' else '0' * 40}\t{a}{b}\n" for a, b in names)

    new = [name for name in new if name[1] or all(other[0] != name[0] for other in new if other[1])]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        git(root, "init", "-q")

        def told(lines: str) -> str:
            command = ["git", "update-index", "--replace", "--add", "--index-info"]
            subprocess.run(command, cwd=root, input=lines.encode(), check=True)
            return git(root, "ls-files", "-s")

        told(lines(before, "100644"))
        index = GitIndex(f"{root}/.git/index", str(root))
        index.load()
        changes: dict[bytes, tuple[bytes, bytes] | None] = {
            f"{a}{b}".encode(): None for a, b in gone
        }
        entry = bytes.fromhex(blob), stat_bytes(None, 0o100644)
        index.change(changes | {f"{a}{b}".encode(): entry for a, b in new}, {})
        image = b"".join(index.image())
        removed = [name for name in gone if name not in new]
        expected = told(lines(removed, "0") + lines(new, "100644"))
        (root / ".git/index").write_bytes(image)
        assert git(root, "ls-files", "-s") == expected


def slow(agent: Agent) -> None:
    git(agent, "update-index", "--index-version", "4")


@pytest.mark.parametrize("at", ["_commit_only", "_finish"])
def test_a_kill_in_gits_own_way_keeps_author_and_message(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    slow(sarah)
    (sarah.root / "core/persona.md").write_text("by hand\n")
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Slow, at, lambda *a: os._exit(9))
        sarah.blocks["human"] = "By a program."
        os._exit(0)
    assert os.waitpid(child, 0)[1] >> 8 == 9
    again = Agent.open(sarah.root)
    assert again.blocks["human"].text == "By a program."
    assert subjects(again) == ["edit: core/human.md", "init: sarah"]
    assert git(again, "status", "--porcelain") == " M core/persona.md\n"
    assert not (sarah.root / ".git/index.lock").exists()
    assert os.listdir(sarah.root / ".git/fsagent/tmp") == []
    again.close()


def test_ctrl_c_after_gits_own_commit_takes_nothing_back(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(sarah)
    real = Slow._commit_only

    def interrupted(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(Slow, "_commit_only", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sarah.blocks["human"] = "kept"
    assert subjects(sarah) == ["edit: core/human.md", "init: sarah"]
    assert git(sarah, "status", "--porcelain") == ""


def test_a_commit_of_a_person_in_gits_own_way_is_looked_at_again(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(sarah)
    real = Slow._stored
    once: list[int] = []

    def meanwhile(self: Slow, put: Put) -> Put:
        if not once:
            once.append(1)
            (sarah.root / "core/human.md").write_text("by the person\n")
            git(sarah, "commit", "-qam", "by the person")
        return real(self, put)

    monkeypatch.setattr(Slow, "_stored", meanwhile)
    with (
        pytest.raises(StoreError, match="edited in this very moment"),
        sarah.store.change("x") as change,
    ):
        change.set_block("human", "by a tool")
    assert subjects(sarah)[0] == "by the person"
    assert (sarah.root / "core/human.md").read_text() == "by the person\n"
    assert git(sarah, "status", "--porcelain") == ""


def test_a_file_in_the_place_of_a_link_is_adopted(sarah: Agent) -> None:
    link = sarah.root / "files/link.md"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("../core/human.md")
    git(sarah, "add", "files/link.md")
    git(sarah, "commit", "-qm", "a link")
    link.unlink()
    link.write_text("a file\n")
    sarah.adopt()
    assert subjects(sarah)[:2] == ["hand edit: files/link.md", "a link"]
    assert git(sarah, "ls-tree", "HEAD", "files/link.md").startswith("100644 blob")
    assert git(sarah, "status", "--porcelain") == ""


def test_settings_of_the_person_count_as_those_of_the_repository(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("[core]\nsharedRepository = group\nfileMode = false\n")
    agent = make("ok")
    git(agent, "config", "--unset", "core.fileMode")
    assert agent.store.repo.fast
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(mine))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(mine.read_text())
    repo = Repo(agent.root)
    assert not repo.fast
    (agent.root / "files").mkdir(exist_ok=True)
    new = agent.root / "files/run.sh"
    new.write_text("x")
    new.chmod(0o755)
    for looked in (repo.compare(["files/run.sh"]), repo._pipeline.compare(["files/run.sh"])):
        assert looked["files/run.sh"].work == Blob(blob_id(b"x"), 0o100644)


def test_two_file_systems_are_named_as_the_reason(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    human = (sarah.root / "core/human.md").read_bytes()
    real = disk.swap

    def elsewhere(one: str, other: str) -> None:
        if other.endswith("human.md"):
            raise OSError(errno.EXDEV, "Invalid cross-device link", other)
        real(one, other)

    monkeypatch.setattr(disk, "swap", elsewhere)
    with pytest.raises(StoreError, match=r"keep the work tree and \.git on one file system"):
        sarah.blocks["human"] = "Name: Tom"
    assert (sarah.root / "core/human.md").read_bytes() == human
    assert git(sarah, "status", "--porcelain") == ""


def test_the_journal_carries_no_more_than_it_should(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = importlib.import_module("fsagent.repo.commit")
    monkeypatch.setattr(commit, "_CARRIED", 3000)
    (sarah.root / "files").mkdir(exist_ok=True)
    for number in range(20):
        (sarah.root / f"files/{number}.txt").write_text(os.urandom(300).hex())
    sarah.adopt()
    sarah.blocks["human"] = "small"
    journal = Journal(f"{sarah.root}/.git/fsagent/journal")
    many, few = [e for e in journal.entries() if e.kind == "intent"][-2:]
    assert many.objects == ()
    assert few.objects
    assert git(sarah, "fsck", "--strict", "--no-dangling") == ""


def test_a_reset_is_not_taken_for_a_power_cut(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    sarah.blocks["human"] = "taken back"
    before = git(sarah, "rev-parse", "HEAD~1").strip()
    git(sarah, "reset", "-q", "--hard", before)
    os.utime(sarah.root / ".git/refs/heads/main", (1, 1))  # a clock that was set back
    sarah.close()
    monkeypatch.setattr("fsagent.repo.recovery.boot", lambda: "another")
    again = Agent.open(sarah.root)
    assert git(again, "rev-parse", "HEAD").strip() == before
    again.close()


def test_a_git_that_outlives_a_killed_program_keeps_the_lock(sarah: Agent, tmp_path: Path) -> None:
    store, said = sarah.store, tmp_path / "said"
    child = os.fork()
    if child == 0:
        with store._writing():
            run(["sh", "-c", f"touch {said}; sleep 1"], dict(os.environ), sarah.root)
    while not said.exists():
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    with pytest.raises(AgentBusy), store.locks.hold("write", 0.1, "busy"):
        pass
    with store.locks.hold("write", 5.0, "busy"):
        pass


@pytest.mark.parametrize("way", ["fast", "slow"])
def test_a_program_that_lives_on_recovers_before_it_looks(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Another one was killed between the branch and the index: nobody had staged the old text."""
    if way == "slow":
        slow(sarah)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Slow, "_finish", lambda *a: os._exit(9))
        monkeypatch.setattr(Pipeline, "_publish", lambda *a: os._exit(9))
        sarah.blocks["human"] = "By another program."
        os._exit(0)
    assert os.waitpid(child, 0)[1] >> 8 == 9
    sarah.blocks["human"] = "By this one."
    assert subjects(sarah) == ["edit: core/human.md", "edit: core/human.md", "init: sarah"]
    assert "By another program." in git(sarah, "show", "HEAD~1:core/human.md")
    assert git(sarah, "status", "--porcelain") == ""


def test_a_lock_that_nobody_frees_is_named_in_gits_own_way(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(sarah)
    monkeypatch.setattr("fsagent.repo.slow.PATIENCE", 0.1)
    (sarah.root / ".git/HEAD.lock").touch()
    with pytest.raises(StoreError, match=r"holds .*HEAD\.lock. Let it finish; if none is running"):
        sarah.blocks["human"] = "By a program."
    (sarah.root / ".git/HEAD.lock").unlink()
    assert git(sarah, "status", "--porcelain") == ""
    sarah.blocks["human"] = "By a program."
