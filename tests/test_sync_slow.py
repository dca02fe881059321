"""Two machines in step where only Git writes the repository's files: SHA-256, a split index, …"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsagent import Agent, ScriptedClient
from fsagent.errors import StoreError
from fsagent.repo.slow import Slow

from conftest import git, subjects

Two = Callable[[str], tuple[Agent, Agent]]

WAYS = ["sha256", "split", "sparse", "version 4", "shared"]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """Makes an agent on two machines, whose repositories are written in one such way."""
    made: list[Agent] = []

    def make(way: str) -> tuple[Agent, Agent]:
        kind = "sha256" if way == "sha256" else "sha1"
        place, here, there = (tmp_path / name for name in ("place.git", "here", "there"))
        git(tmp_path, "init", "-q", "--bare", f"--object-format={kind}", str(place))
        Agent.init(here, name="sarah", human="Name: Tim\nCity: Rome\n").close()
        (here / "files").mkdir()
        (here / "files/old.txt").write_text("old\n")
        (here / "diary.txt").write_text("Monday\n")
        if way == "sha256":
            shutil.rmtree(here / ".git")
            git(here, "init", "-q", "--object-format=sha256", "-b", "main")
        git(here, "add", "-A")
        git(here, "commit", "-qm", "mine")
        made.append(Agent.open(here, ScriptedClient(["Hi."] * 9)))
        made[0].sync(str(place))
        made.append(Agent.clone(str(place), there, ScriptedClient(["Ho."] * 9)))
        for agent in made:
            only_git(agent.root, way)
        return made[0], made[1]

    yield make
    for agent in made:
        agent.close()


def only_git(root: Path, way: str) -> None:
    if way == "split":
        git(root, "update-index", "--split-index")
    elif way == "sparse":
        git(root, "sparse-checkout", "set", "--cone", "--sparse-index", "core", "recall")
        assert not (root / "files").exists()
    elif way == "version 4":
        git(root, "update-index", "--index-version", "4")
    elif way == "shared":
        git(root, "config", "core.sharedRepository", "group")


def went_on(here: Agent, there: Agent) -> None:
    """Both go on: something new, something gone, and the same line."""
    here.chat("Hello from here.")
    here.notes.add("A note from here.")
    here.blocks["human"] = "Name: Tim\nCity: Ghent\n"
    here.sync()
    there.chat("Hello from there.")
    there.blocks["human"] = "Name: Tim\nCity: Paris\n"
    (there.root / "core/persona.md").unlink()
    # What a person has under way stays as it is.
    (there.root / "diary.txt").write_text("Tuesday\n")
    git(there, "add", "--sparse", "diary.txt")
    (there.root / "diary.txt").write_text("Tuesday, evening\n")


def tree(agent: Agent) -> str:
    return git(agent, "rev-parse", "HEAD^{tree}")


@pytest.mark.parametrize("way", WAYS)
def test_both_sides_are_joined(two: Two, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = two(way)
    used = []
    real = Slow.commit
    monkeypatch.setattr(Slow, "commit", lambda *a, **k: used.append(1) or real(*a, **k))
    went_on(here, there)
    done = there.sync()
    assert used
    assert (len(done.clashes), bool(done.merged)) == (1, True)
    assert git(there, "rev-parse", "HEAD^1", "HEAD^2").split() == [
        git(there, "rev-parse", "HEAD~1").strip(),
        git(here, "rev-parse", "HEAD").strip(),
    ]
    assert subjects(there)[0] == "sync: what came from origin"
    assert (there.log(limit=1)[0].author, there.log(limit=1)[0].change) > ("Tim", "")
    assert git(there, "status", "--porcelain") == "MM diary.txt\n"
    assert git(there, "show", ":diary.txt") == "Tuesday\n"
    if way != "sparse":  # there Git's own index names trees that it has not written
        assert git(there, "fsck", "--strict", "--no-dangling") == ""
    git(there, "rev-list", "--objects", "--quiet", "HEAD")

    # The other one has nothing new, and moves on to that commit.
    done = here.sync()
    assert (done.merged, done.commit) == (None, git(there, "rev-parse", "HEAD").strip())
    assert tree(here) == tree(there)
    assert git(here, "status", "--porcelain") == ""
    assert "City: Ghent" in here.blocks["human"].text
    assert "City: Paris" in here.blocks["human"].text
    said = [record.content for record in here.store.newest()]
    assert {"Hello from here.", "Hello from there."} <= set(said)
    assert [note.text for note in there.notes] == ["A note from here."]
    assert os.listdir(there.root / ".git/fsagent/tmp") == []


@pytest.mark.parametrize("way", ["sha256", "version 4"])
@pytest.mark.parametrize("at", ["_merge", "_move_to", "_finish"])
def test_a_kill_leaves_the_old_or_the_new(
    two: Two, way: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two(way)
    went_on(here, there)
    there.adopt()
    there.store.repo.close()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Slow, at, lambda *a: os._exit(9))
        there.sync()
        os._exit(0)
    assert os.waitpid(child, 0)[1] >> 8 == 9
    again = Agent.open(there.root)
    assert not (again.root / ".git/index.lock").exists()
    done = again.sync()
    assert git(again, "rev-list", "--count", "--min-parents=2", "HEAD") == "1\n"
    here.sync()
    assert tree(here) == tree(again)
    assert done.commit == git(here, "rev-parse", "HEAD").strip()
    assert git(again, "status", "--porcelain") == "MM diary.txt\n"
    again.close()


def test_somebody_who_commits_in_that_moment_is_kept(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two("version 4")
    went_on(here, there)
    real, rounds = Slow._move_to, iter([1])

    def late(*args: object) -> None:
        for _ in rounds:
            tree_now = git(there, "rev-parse", "HEAD^{tree}").strip()
            made = git(there, "commit-tree", "-p", "HEAD", "-m", "a person's", tree_now).strip()
            git(there, "update-ref", "HEAD", made)
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Slow, "_move_to", late)
    done = there.sync()
    assert done.merged
    assert subjects(there)[:2] == ["sync: what came from origin", "a person's"]
    assert git(there, "status", "--porcelain") == "MM diary.txt\n"
    here.sync()
    assert tree(here) == tree(there)


def test_ctrl_c_after_the_branch_has_moved_takes_nothing_back(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two("version 4")
    went_on(here, there)
    real = Slow._move_to

    def interrupted(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(Slow, "_move_to", interrupted)
        with pytest.raises(KeyboardInterrupt):
            there.sync()
    assert git(there, "rev-list", "--count", "--min-parents=2", "HEAD") == "1\n"
    assert git(there, "status", "--porcelain") == "MM diary.txt\n"
    assert there.sync().given > 0


@pytest.mark.parametrize("index", ["usual", "version 4"])
def test_the_command_for_what_git_has_to_merge_is_right_as_it_is_printed(
    two: Two, index: str
) -> None:
    here, there = two(index)
    (here.root / "link").symlink_to("agent.yaml")
    git(here, "add", "link")
    git(here, "commit", "-qm", "a link")
    here.sync()
    there.chat("Hello from there.")
    with pytest.raises(StoreError, match="link is a link or a repository of its own") as caught:
        there.sync()
    command = str(caught.value).rpartition(": ")[2]
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    assert there.sync().given == 2
    here.sync()
    assert tree(here) == tree(there)
    assert (there.root / "link").is_symlink()


@pytest.mark.parametrize("kind", ["--sparse-index", "--no-sparse-index"])
def test_a_file_that_a_sparse_checkout_leaves_out_is_not_deleted_by_hand(
    two: Two, kind: str
) -> None:
    here, there = two("usual")
    git(there, "sparse-checkout", "set", "--cone", kind, "core", "recall")
    (here.root / "files/old.txt").write_text("new\n")
    (here.root / "diary.txt").write_text("Tuesday\n")
    git(here, "commit", "-qam", "both")
    here.sync()
    there.chat("Hello.")
    assert there.sync().clashes == ()
    assert git(there, "show", "HEAD:files/old.txt") == "new\n"
    assert git(there, "status", "--porcelain") == ""
    assert "hand edit" not in "".join(subjects(there))
