"""Moments that chance meets once in a thousand changes, met on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from child import die, line
from fsagent import Agent
from fsagent.errors import StoreError
from fsagent.repo import Made, disk
from fsagent.repo.commit import Pipeline
from fsagent.store import Store
from scene import git

HUMAN = "core/human.md"


def save(file: Path, text: str) -> None:
    """Save a file as an editor does: beside, and then in its place."""
    beside = file.with_name(f".{file.name}.swp")
    beside.write_text(text)
    beside.rename(file)


def killed(do: Callable[[], object]) -> None:
    """Do it in a fork, which is killed in the middle of it."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9, "it was not killed"


def append(store: Store, text: str) -> None:
    """A change of a tool: one line more in the block ``human``."""
    with store.change(f"human: + {text}", tool="a_tool") as change:
        line("human", text)(change)


def is_kept(sarah: Agent, commit: str) -> bool:
    """Whether some ref holds it, and a person was told."""
    told = any("is in no branch any more" in text for text in sarah.store.warnings)
    return told and bool(git(sarah.root, "for-each-ref", f"--contains={commit}"))


def missing(root: Path, *wanted: str) -> list[str]:
    """Those of the lines that no version of the block in the history has added."""
    shown = git(root, "log", "-p", "--format=%n%an", "--", HUMAN).decode()
    return [text for text in wanted if f"+{text}\n" not in shown]


# ── a commit is dropped ───────────────────────────────────────────────────────────────────────


def test_a_commit_that_is_dropped_just_before_the_next_is_kept(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``git stash`` resets to the HEAD that it read before, also while a change begins."""
    sarah.blocks["human"] = "one"
    first = git(sarah.root, "rev-parse", "HEAD").decode().strip()
    make = sarah.store.repo.make

    def dropped_before(*args: object) -> Made:
        monkeypatch.undo()
        git(sarah.root, "reset", "-q", "--hard", "HEAD~1")
        return make(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sarah.store.repo, "make", dropped_before)
    sarah.notes.add("two")
    sarah.notes.add("three")
    assert is_kept(sarah, first)


def test_a_commit_that_is_dropped_while_the_next_one_starts_over_is_kept(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, after the change has planned its commit and before it has Git's lock."""
    sarah.blocks["human"] = "one"
    first = git(sarah.root, "rev-parse", "HEAD").decode().strip()
    take = Pipeline.take

    def dropped_before(*args: str) -> None:
        monkeypatch.undo()
        git(sarah.root, "reset", "-q", "--hard", "HEAD~1")
        take(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "take", dropped_before)
    sarah.notes.add("two")
    assert is_kept(sarah, first)


def test_a_commit_that_is_dropped_before_a_killed_one_is_finished_is_kept(sarah: Agent) -> None:
    """Recovery builds on what HEAD is now, and so hides that it went back."""
    sarah.blocks["human"] = "one"
    first = git(sarah.root, "rev-parse", "HEAD").decode().strip()

    def until_the_files_are_there() -> None:
        disk.fill = lambda *_, **__: die()  # type: ignore[assignment]
        Store(sarah.root).repo.close()
        sarah.notes.add("two")

    killed(until_the_files_are_there)
    git(sarah.root, "update-ref", "HEAD", "HEAD~1")
    (sarah.root / ".git/index.lock").unlink()
    git(sarah.root, "reset", "-q", "--hard")
    sarah.store.warnings += Store(sarah.root).warnings
    assert "Recovered: finished the commit" in " ".join(sarah.store.warnings)
    assert is_kept(sarah, first)


# ── a file is checked out ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
@pytest.mark.parametrize("way", ["fast", "slow"])
def test_a_file_that_git_is_just_checking_out_is_not_taken_for_a_hand_edit(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch, way: str, there: bool
) -> None:
    """``git stash`` holds index.lock, removes the file, makes it anew, and then writes it."""
    sarah.blocks["human"] = "one"
    if way == "slow":
        git(sarah.root, "update-index", "--index-version", "4")
    file = sarah.root / HUMAN
    text = file.read_text()
    take = Pipeline.take

    def checked_out_before(pipeline: Pipeline, ours: str, lock: str) -> None:
        monkeypatch.undo()
        file.write_text(text)
        take(pipeline, ours, lock)

    monkeypatch.setattr(Pipeline, "take", checked_out_before)
    file.unlink()
    if there:
        file.touch()
    sarah.adopt()
    append(sarah.store, "by tool")
    assert "hand edit" not in git(sarah.root, "log", "--format=%s").decode()
    assert file.read_text() == f"{text}by tool\n"
    assert git(sarah.root, "status", "--porcelain") == b""


# ── a file is saved ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("second", [None, "of what was there before", "of what is there now"])
def test_a_file_that_is_saved_in_the_moment_of_a_change(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch, second: str | None
) -> None:
    """Each version that somebody saved is in the history, as theirs: also a second one.

    Who saves the second one has not seen the first: the change had put its own in the place.
    """
    sarah.blocks["human"] = "one"
    file = sarah.root / HUMAN
    real, seen = disk.swap, []

    def swap(one: str, other: str) -> None:
        if not other.endswith(HUMAN) or seen:
            return real(one, other)
        seen.append(other)
        before = file.read_text()
        save(file, f"{before}by hand 1\n")
        real(one, other)
        if second:
            save(file, f"{file.read_text() if 'now' in second else before}by hand 2\n")
        return None

    monkeypatch.setattr(disk, "swap", swap)
    append(sarah.store, "by tool")
    sarah.adopt()
    assert seen
    wanted = ["by tool", "by hand 1", *(["by hand 2"] if second else [])]
    assert missing(sarah.root, *wanted) == []
    assert "(as staged)" not in git(sarah.root, "log", "--format=%s").decode(), "nobody staged it"
    assert git(sarah.root, "status", "--porcelain") == b""
    assert wanted[-1] in file.read_text(), "the version that was saved last stands in the file"


@pytest.mark.parametrize("moved", [False, True], ids=["before the branch moved", "after"])
@pytest.mark.parametrize("second", [False, True], ids=["once", "and again after the kill"])
def test_a_file_that_is_saved_in_the_moment_of_a_change_that_is_killed(
    sarah: Agent, second: bool, moved: bool
) -> None:
    """What was saved after the kill, hours later perhaps, stays; what was before it is kept."""
    sarah.blocks["human"] = "one"
    file = sarah.root / HUMAN

    def swap_and_die() -> None:
        real = disk.swap

        def swap(one: str, other: str) -> None:
            if other.endswith(HUMAN):
                save(file, f"{file.read_text()}by hand 1\n")
            real(one, other)
            if other.endswith("refs/heads/main" if moved else HUMAN):
                die()

        disk.swap = swap
        append(Store(sarah.root), "by tool")

    killed(swap_and_die)
    if second:
        save(file, f"{file.read_text()}by hand 2\n")
    now = file.read_text()
    Store(sarah.root).repo.close()
    if second:
        assert file.read_text() == now, "recovery took back what somebody saved after the kill"
    sarah.adopt()
    assert missing(sarah.root, "by hand 1", *(["by hand 2"] if second else [])) == []
    assert git(sarah.root, "status", "--porcelain") == b""


def test_what_was_overtaken_is_in_the_history_before_the_next_change(sarah: Agent) -> None:
    """The next change after the kill is the last word, whoever adopts what, and when."""
    sarah.blocks["human"] = "one"
    file = sarah.root / HUMAN

    def swap_and_die() -> None:
        real = disk.swap

        def swap(one: str, other: str) -> None:
            if other.endswith(HUMAN):
                save(file, f"{file.read_text()}by hand 1\n")
            real(one, other)
            if other.endswith("refs/heads/main"):
                die()

        disk.swap = swap
        append(Store(sarah.root), "by tool")

    killed(swap_and_die)
    save(file, f"{file.read_text()}by hand 2\n")
    store = Store(sarah.root)
    append(store, "by another")
    assert git(sarah.root, "status", "--porcelain") == b""
    assert missing(sarah.root, "by tool", "by hand 1", "by hand 2", "by another") == []
    assert git(sarah.root, "show", f"HEAD:{HUMAN}") == file.read_bytes()
    last = git(sarah.root, "log", "-1", "--format=%an", "-Sby another", "--", HUMAN).decode()
    assert last.strip() == store.author.name


@pytest.mark.parametrize("second", [False, True], ids=["once", "twice"])
def test_a_file_that_is_saved_in_the_moment_of_a_change_that_is_given_up(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch, second: bool
) -> None:
    """Nothing was changed, says the error: also what was saved meanwhile is there."""
    sarah.blocks["human"] = "one"
    file = sarah.root / HUMAN
    real = disk.swap

    def swap(one: str, other: str) -> None:
        if other.endswith(HUMAN):
            monkeypatch.setattr(disk, "swap", real)
            save(file, f"{file.read_text()}by hand 1\n")
            real(one, other)
            if second:  # within the three seconds of waiting for the lock
                save(file, f"{file.read_text()}by hand 2\n")
        else:
            real(one, other)

    monkeypatch.setattr(disk, "swap", swap)
    monkeypatch.setattr("fsagent.repo.commit.PATIENCE", 0.05)
    lock = sarah.root / ".git/refs/heads/main.lock"
    lock.touch()
    with pytest.raises(StoreError):
        append(sarah.store, "by tool")
    lock.unlink()
    sarah.adopt()
    wanted = ["by hand 1", *(["by hand 2"] if second else [])]
    assert missing(sarah.root, *wanted) == []
    assert wanted[-1] in file.read_text()
    assert git(sarah.root, "status", "--porcelain") == b""
