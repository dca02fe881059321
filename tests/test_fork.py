"""Forks: a shared past and an id of their own; and copies, which are told from them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.check import check
from fsagent.errors import AgentError, StoreError
from fsagent.history import fork as fork_of
from fsagent.history.fork import difference, parting, warning

from conftest import git, script, subjects
from test_cli import Shell, plain, shell, tool

__all__ = ["shell"]


@pytest.fixture
def moved(make: Callable[..., Agent]) -> Agent:
    agent = make(
        call("core_memory_append", label="human", content="Lives in Ghent."),
        "Noted.",
        call("core_memory_replace", label="human", old_content="Ghent", new_content="Utrecht"),
        "Moved.",
    )
    agent.chat("I live in Ghent.")
    agent.chat("I moved to Utrecht.")
    return agent


def test_a_fork_shares_the_past_and_nothing_that_follows(moved: Agent, tmp_path: Path) -> None:
    at = moved.log()[2]
    (moved.root / "core/human.md").write_text("not committed")
    fork = moved.fork(tmp_path / "bea", at=at.commit)
    assert fork.blocks["human"].text == "Name: Tim\nLives in Ghent."
    assert (fork.name, fork.config.id == moved.config.id) == ("bea", False)
    assert fork.config.tools == moved.config.tools
    assert subjects(fork)[0] == f"fork: of sarah at {at.commit[:7]}"
    assert [c.commit for c in fork.log()][1:] == [c.commit for c in moved.log()][2:]
    assert git(fork, "status", "--short") == ""
    assert "error" not in git(fork, "fsck", "--strict")
    assert git(fork, "log", "-1", "--format=%an <%ae>") == "Tim <tim@example.org>\n"
    for one, other, text in ((fork, moved, "Bea's."), (moved, fork, "Sarah's.")):
        head = git(other, "rev-parse", "HEAD")
        script(one, call("core_memory_append", label="persona", content=text), "Ok.")
        one.chat("Remember it.")
        assert git(other, "rev-parse", "HEAD") == head
    assert "Bea's." not in moved.blocks["persona"].text
    assert "Sarah's." not in fork.blocks["persona"].text
    assert fork.why("Lives in Ghent")[0].message.content == "I live in Ghent."  # type: ignore[union-attr]
    assert parting(moved.store, fork.store) == at.commit
    patch = difference(moved.store, fork.store)
    assert "--- sarah/core/persona.md\n+++ bea/core/persona.md\n" in patch
    assert "-Sarah's.\n+Bea's.\n" in patch
    fork.close()


def test_it_costs_nothing_and_outlives_the_other(moved: Agent, tmp_path: Path) -> None:
    git(moved, "repack", "-adq")
    moved.blocks["human"] = "Loose."
    fork = moved.fork(tmp_path / "bea")
    objects = fork.root / ".git/objects"
    linked = [p for p in objects.rglob("*") if p.is_file() and os.stat(p).st_nlink > 1]
    assert any(path.suffix == ".pack" for path in linked)
    assert (
        len([p for p in objects.rglob("*") if p.is_file()]) - len(linked) == 3
    )  # of its first commit
    assert not (objects / "info/alternates").exists()
    git(moved, "gc", "-q", "--prune=now")
    shutil.rmtree(moved.root)
    assert fork.blocks["human"].text == "Loose."
    assert "error" not in git(fork, "fsck", "--strict")
    assert fork.maintain()
    fork.close()


def test_the_past_can_be_gone_on_from(moved: Agent, tmp_path: Path) -> None:
    past = moved.at(moved.log()[2].commit)
    fork = past.fork(tmp_path / "bea", name="Bea: the 2nd")
    assert fork.name == "Bea: the 2nd"
    assert fork.blocks["human"].text == "Name: Tim\nLives in Ghent."
    script(fork, call("core_memory_append", label="human", content="Stays there."), "Good.")
    assert fork.chat("I stay in Ghent.").tool_calls[0].status == "success"
    fork.close()


def test_what_is_refused(moved: Agent, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="is there already: choose another name"):
        moved.fork(moved.root)
    with pytest.raises(StoreError, match="There is no commit, change, turn or date 'never'"):
        moved.fork(tmp_path / "bea", at="never")
    assert not (tmp_path / "bea").exists()
    (tmp_path / "empty").mkdir()
    moved.fork(tmp_path / "empty").close()
    (moved.root / ".git/shallow").write_text("")
    with pytest.raises(AgentError, match="does not hold all of its history"):
        moved.fork(tmp_path / "bea")


def test_a_copy_is_told_and_a_move_is_not(moved: Agent, tmp_path: Path) -> None:
    assert warning(moved.store) is None
    shutil.copytree(moved.root, tmp_path / "copy", symlinks=True)
    copy = Agent.open(tmp_path / "copy")
    for _ in range(2):
        assert warning(copy.store) == (
            f"{copy.root} is a copy of {moved.root} and has its id, so neither can be told from the "
            f"other. An agent of its own, with all that this one knows: fsagent fork {copy.root} NEW"
        )
    assert warning(moved.store) is None
    assert "is a copy of" in " ".join(f.text for f in check(copy).findings)
    fork = copy.fork(tmp_path / "fork")
    assert warning(fork.store) is None
    assert check(fork).findings == ()
    fork.close()
    copy.close()
    shutil.rmtree(copy.root)
    moved.close()
    moved.root.rename(tmp_path / "elsewhere")
    gone = Agent.open(tmp_path / "elsewhere")
    assert warning(gone.store) is None
    # The place that it left may be taken by another one now.
    shutil.copytree(gone.root, moved.root, symlinks=True)
    assert warning(gone.store) is None
    back = Agent.open(moved.root)
    assert f"is a copy of {gone.root}" in str(warning(back.store))
    # One that was made before anybody wrote down where is at home where it is found first.
    (gone.root / ".git/fsagent/home").write_text("nonsense")
    assert warning(gone.store) is None
    assert warning(gone.store) is None
    gone.close()
    back.close()


def test_a_copy_is_told_also_where_its_first_was_moved_since(moved: Agent, tmp_path: Path) -> None:
    def told(name: str, *, looks: bool = False) -> str:
        agent = Agent.open(tmp_path / name)
        if looks:
            return " ".join(f.text for f in check(agent).findings if "copy" in f.text)
        text = warning(agent.store, tmp_path / "state") or ""
        agent.close()
        return text.partition(" and has its id")[0]

    moved.close()
    clone = Agent.clone(str(moved.root), tmp_path / "clone")
    shutil.copytree(moved.root, tmp_path / "copy", symlinks=True)
    moved.root.rename(tmp_path / "first")
    # Nothing is known yet of the first, which may have been deleted.
    assert told("copy") == ""
    assert told("copy", looks=True) == ""
    # Now it is; and it is the first, whatever was seen before.
    assert told("first") == ""
    assert told("copy") == f"{tmp_path}/copy is a copy of {tmp_path}/first"
    assert "copy of" in told("copy", looks=True)
    assert told("first") == told("clone") == told("clone", looks=True) == ""
    # A clone in the place that the first had left is no copy's first.
    clone.close()
    (tmp_path / "clone").rename(moved.root)
    assert told("copy") == f"{tmp_path}/copy is a copy of {tmp_path}/first"
    # The copy may be moved, and stays one for as long as both are there.
    (tmp_path / "copy").rename(tmp_path / "moved")
    assert told("moved") == f"{tmp_path}/moved is a copy of {tmp_path}/first"
    shutil.rmtree(tmp_path / "first")
    assert told("moved") == ""
    for record in (tmp_path / "state/homes").iterdir():
        record.write_text("[1, {")
    assert told("moved") == ""


def test_on_the_terminal(shell: Shell) -> None:
    shell.script(
        tool("core_memory_append", label="human", content="Likes tea."), "Ok.", "Hm.", "Hm."
    )
    shell.run("chat", "sarah", "I like tea.")
    out, err = shell.run("fork", "sarah", "bea", "--at", "HEAD~2")
    assert (
        plain(out) == "bea lives in bea (fork: of sarah at COMMIT). Talk to it: fsagent chat bea\n"
    )
    assert err == ""
    out, err = shell.run("diff", "sarah", "bea")
    assert plain(err) == "What they share ends with COMMIT.\n"
    assert out.startswith("--- sarah/core/human.md\n+++ bea/core/human.md\n")
    assert "-Likes tea.\n" in out
    made = shell.json("fork", "sarah", "carl")
    assert made["id"] == shell.json("status", "carl")["id"] != shell.json("status", "sarah")["id"]
    assert shell.run("diff", "sarah", "carl")[0] == ""
    shell.run("chat", "sarah", "--at", "HEAD~2", "--fork", "dora", "Hello!")
    assert shell.run("show", "dora", "human")[0] == "Name: Tim\n"
    assert [one["said"] for one in shell.json("log", "dora", "--turns")] == ["Hello!", None, None]
    shutil.copytree(shell.home, shell.folder / "copy", symlinks=True)
    for command in (["status", "copy"], ["chat", "copy", "Hello!"]):
        _, err = shell.run(*command)
        assert err.count("warning:") == 1
        assert f"fsagent fork {shell.folder / 'copy'} NEW" in err
    assert "is there already" in shell.fails("fork", "sarah", "bea")
    _, err = shell.run("fork", "sarah", "sarah/sub")
    assert "sarah/sub lies inside the repository" in err
    assert "is there already" in shell.fails("fork", "sarah", "sarah/sub")


def test_a_fork_of_the_past_holds_nothing_that_was_said_since(moved: Agent, tmp_path: Path) -> None:
    """Whoever hands it out hands out that past, and no more: packed or loose, and its fork."""
    moved.blocks["persona"] = "Packed."
    git(moved, "repack", "-adq")
    moved.blocks["persona"] = "Loose."
    at = moved.log()[4].commit
    wanted = set(git(moved, "rev-list", "--objects", "--no-object-names", at).split())
    fork = moved.fork(tmp_path / "bea", at=at)
    its_own = set(git(fork, "rev-list", "--objects", "--no-object-names", f"{at}..").split())
    listed = git(fork, "cat-file", "--batch-check=%(objectname)", "--batch-all-objects").split()
    assert set(listed) == wanted | its_own
    assert git(fork, "fsck", "--strict") == ""
    assert fork.why("Lives in Ghent")[0].message
    fork.close()


def killed(monkeypatch: pytest.MonkeyPatch, at: str, act: Callable[[], object]) -> None:
    """Do something in another process, which is killed when it gets to a function."""
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(at, lambda *_: os._exit(9))
        act()
        os._exit(0)
    assert os.waitpid(child, 0)[1] >> 8 == 9


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_killed_fork_or_clone_left_goes_with_the_next(
    moved: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "forks"
    ways = {
        "fsagent.history.fork.renamed": lambda: moved.fork(place / "bea"),
        "fsagent.history.sync.settle": lambda: Agent.clone(str(moved.root), place / "bea"),
    }
    for at, act in ways.items():
        killed(monkeypatch, at, act)
        (left,) = hidden(place)
        assert (place / left / "whole/agent.yaml").exists()
        # Another one, and one that nobody knows: they stay.
        other = moved.fork(place / "be")
        (place / ".bea-0123456789ab").mkdir()
        (place / ".bea-ba9876543210").symlink_to(place / left)
        assert other.store.warnings == moved.store.warnings == []
        made = act()
        assert hidden(place) == [".bea-0123456789ab", ".bea-ba9876543210"]
        warned = [*moved.store.warnings, *made.store.warnings]
        assert warned == [f"Removed {place / left}, which an attempt that was cut short had left."]
        moved.store.warnings.clear()
        other.close()
        made.close()
        shutil.rmtree(place)


def test_an_empty_directory_that_is_there_may_become_the_fork(
    moved: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a volume, which nothing can be moved onto, in a folder that nobody may write."""
    (tmp_path / "shut/bea").mkdir(parents=True)
    inode = (tmp_path / "shut/bea").stat().st_ino
    killed(
        monkeypatch,
        "fsagent.history.sync.settle",
        lambda: Agent.clone(str(moved.root), tmp_path / "shut/bea"),
    )
    assert len(hidden(tmp_path / "shut/bea")) == 1
    (tmp_path / "shut").chmod(0o500)
    made = moved.fork(tmp_path / "shut/bea")
    (tmp_path / "shut").chmod(0o700)
    assert made.root.stat().st_ino == inode
    assert hidden(made.root) == [".git", ".gitattributes"]
    assert git(made, "status", "--porcelain") == ""
    assert warning(made.store) is None
    made.close()
    assert "which an attempt that was cut short had left" in moved.store.warnings[0]


def test_a_fork_that_is_being_made_is_not_taken_for_one_that_was_killed(
    moved: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = fork_of.renamed, []

    def meanwhile(*args: object) -> bytes:
        if not seen:
            seen.append(hidden(tmp_path))
            moved.fork(tmp_path / "bea").close()
            assert hidden(tmp_path) == seen[0]
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(fork_of, "renamed", meanwhile)
    with pytest.raises(AgentError, match="bea' cannot be made: Directory not empty"):
        moved.fork(tmp_path / "bea")
    assert hidden(tmp_path) == []
    assert moved.store.warnings == []
    assert Agent.open(tmp_path / "bea").name == "bea"


def test_a_fork_that_fails_leaves_nothing_behind(
    moved: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, or an agent.yaml in an odd way: the next try is the first one."""
    before = sorted(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("fsagent.repo.copy._link", full)
        with pytest.raises(AgentError, match="bea' cannot be made: No space left on device"):
            moved.fork(tmp_path / "bea")
    with monkeypatch.context() as patched:
        patched.setattr("fsagent.history.fork.renamed", full)
        with pytest.raises(AgentError, match="bea' cannot be made: No space left on device"):
            moved.fork(tmp_path / "bea")
    assert sorted(tmp_path.iterdir()) == before
    fork = moved.fork(tmp_path / "bea")
    assert (warning(fork.store), check(fork).findings) == (None, ())
    fork.close()
