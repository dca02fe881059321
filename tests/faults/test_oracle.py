"""The oracle itself: a healthy agent passes, and each thing that may go wrong is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from child import Acks, line, write
from fsagent.store import Store
from scene import Report, Scene, git

Harm = Callable[[Scene], object]


def three(scene: Scene) -> None:
    """Two acknowledged changes."""
    store, acks = Store(scene.root), Acks(str(scene.acks))

    def both(change: object) -> None:
        line("human", "two")(change)  # type: ignore[arg-type]
        line("persona", "two")(change)  # type: ignore[arg-type]

    write(store, acks, "human: + one", line("human", "one"))
    write(store, acks, "both: + two", both)
    store.repo.close()


def judged(scene: Scene) -> Report:
    report = Report("oracle")
    scene.judge(report, "trial")
    return report


def amend(*options: str) -> Harm:
    def harm(scene: Scene) -> None:
        keep = git(scene.root, "diff", "--cached", "--binary")
        git(scene.root, "stash", "-q")
        git(scene.root, "commit", "-q", "--amend", "--no-edit", *options)
        git(scene.root, "stash", "pop", "-q", "--index")
        assert keep == git(scene.root, "diff", "--cached", "--binary")

    return harm


def commit_half(scene: Scene) -> None:
    """The last commit again, without one of its two files."""
    root = scene.root
    message = git(root, "log", "-1", "--format=%B")
    author = git(root, "log", "-1", "--format=%an <%ae>").decode().strip()
    git(root, "stash", "-q")
    git(root, "reset", "-q", "--soft", "HEAD~1")
    git(root, "restore", "-q", "--staged", "--worktree", "core/persona.md")
    git(root, "commit", "-q", f"--author={author}", "-F", "-", stdin=message)
    git(root, "stash", "pop", "-q", "--index")


def sweep(scene: Scene) -> None:
    git(scene.root, "commit", "-q", "--amend", "--no-edit")


def truncate_object(scene: Scene) -> None:
    oid = git(scene.root, "rev-parse", "HEAD~1:core/human.md").decode().strip()
    path = scene.root / ".git/objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(b"")


def stray(scene: Scene) -> None:
    git(scene.root, "commit", "-q", "--allow-empty", "--only", "-m", "who was that?")


def twice(scene: Scene) -> None:
    message = git(scene.root, "log", "-1", "--format=%B")
    git(scene.root, "commit", "-q", "--allow-empty", "--only", "-F", "-", stdin=message)


def unacknowledged_half(scene: Scene) -> None:
    """A change that began, and stands in the work tree and nowhere else."""
    Acks(str(scene.acks)).say(
        begin="x", subject="x", author=["x", "x"], trailers={}, paths={"core/human.md": "0" * 40}
    )
    with (scene.root / "core/human.md").open("a") as file:
        file.write("half\n")


def line_lost(scene: Scene) -> None:
    Acks(str(scene.acks)).say(line="record-1", path="recall/2026/11/21-x.jsonl")


HARMS: dict[str, tuple[Harm, str]] = {
    "a commit is dropped": (lambda s: git(s.root, "reset", "-q", "--keep", "HEAD~1"), "lost"),
    "a flushed line of recall is not there": (line_lost, "lost"),
    "the author is another": (amend("--author=Eve <eve@example.org>"), "author"),
    "the message is another": (amend("-m", "something"), "lost"),
    "the subject is another": (amend("-m", "x", "-m", "@"), "message"),
    "what was staged is swept in": (sweep, "swept"),
    "one file of two is missing": (commit_half, "half"),
    "a commit that nobody made": (stray, "stray"),
    "a change in two commits": (twice, "twice"),
    "index.lock is left": (lambda s: (s.root / ".git/index.lock").touch(), "left"),
    "a lock of a branch is left": (
        lambda s: (s.root / ".git/refs/heads/main.lock").touch(),
        "left",
    ),
    "a half-written file is left": (lambda s: (s.root / "core/.x.tmp").touch(), "status"),
    "an object is torn": (truncate_object, "fsck"),
    "a change is half in the work tree": (unacknowledged_half, "status"),
    "what was staged is not any more": (lambda s: git(s.root, "reset", "-q"), "status"),
    "an edit has lost a byte": (
        lambda s: os.truncate(s.root / "shopping.txt", 3),
        "person",
    ),
    "a staged version is another": (lambda s: git(s.root, "add", "diary.txt"), "status"),
    "a staged version is another, half edited as before": (
        lambda s: (
            (s.root / "diary.txt").write_text("other\n"),
            git(s.root, "add", "diary.txt"),
            (s.root / "diary.txt").write_text("Tuesday 1, evening\n"),
        ),
        "person",
    ),
}


def test_a_healthy_agent_passes(tmp_path: Path) -> None:
    scene = Scene.make(tmp_path / "sarah")
    three(scene)
    with Report("healthy") as report:
        scene.judge(report, "trial")
    assert report.trials == 1
    assert len(report.waits) == 2
    assert str(report).startswith(
        "healthy: 1 trials; states: between 1; lost 0; swept 0; mean wait"
    )


@pytest.mark.parametrize("name", HARMS)
def test_each_harm_is_named(tmp_path: Path, name: str) -> None:
    scene = Scene.make(tmp_path / "sarah")
    three(scene)
    harm, kind = HARMS[name]
    if name == "the subject is another":
        trailers = git(scene.root, "log", "-1", "--format=%(trailers:only,unfold)").decode()
        harm = amend("-m", "x", "-m", trailers)
    harm(scene)
    report = judged(scene)
    assert report.counts[kind], report.problems
    with pytest.raises(AssertionError, match=kind), report:
        pass


def test_a_state_names_what_shows_the_change(tmp_path: Path) -> None:
    scene = Scene.make(tmp_path / "sarah")
    three(scene)
    said = [json.loads(text) for text in scene.acks.read_text().splitlines()]
    scene.acks.write_text("".join(json.dumps(told) + "\n" for told in said[:-1]))
    assert scene.state() == "wt+index+HEAD"
    git(scene.root, "update-ref", "HEAD", "HEAD~1")
    assert scene.state() == "wt+index"
    git(scene.root, "reset", "-q", "--", "core/persona.md")
    assert scene.state() == "wt+index/part"
    git(scene.root, "reset", "-q", "--", "core")
    (scene.root / ".git/index.lock").touch()
    assert scene.state() == "wt+lock"
    git(scene.root, "show", "HEAD:core/human.md")
    (scene.root / ".git/index.lock").unlink()
    git(scene.root, "checkout", "-q", "--", "core")
    assert scene.state() == "old"
