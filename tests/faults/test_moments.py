"""Moments that chance meets once in a thousand changes, met on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from child import die
from fsagent import Agent
from fsagent.repo import disk
from fsagent.repo.commit import Pipeline
from fsagent.store import Store
from scene import git


def killed(do: Callable[[], object]) -> None:
    """Do it in a fork, which is killed in the middle of it."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9, "it was not killed"


def is_kept(sarah: Agent, commit: str) -> bool:
    """Whether some ref holds it, and a person was told."""
    told = any("is in no branch any more" in text for text in sarah.store.warnings)
    return told and bool(git(sarah.root, "for-each-ref", f"--contains={commit}"))


# ── a commit is dropped ───────────────────────────────────────────────────────────────────────


def test_a_commit_that_is_dropped_just_before_the_next_is_kept(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``git stash`` resets to the HEAD that it read before, also while a change begins."""
    sarah.blocks["human"] = "one"
    first = git(sarah.root, "rev-parse", "HEAD").decode().strip()
    recover = sarah.store.repo.recover

    def dropped_after() -> None:
        recover()
        git(sarah.root, "reset", "-q", "--hard", "HEAD~1")
        monkeypatch.undo()

    monkeypatch.setattr(sarah.store.repo, "recover", dropped_after)
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
