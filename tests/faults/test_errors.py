"""Errors of the disk: a refused change says so in a sentence and leaves everything as it was."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from child import KINDS, Acks, Faults, disk, failing, line, steps, write
from device import command, private_mounts, unmount
from fsagent.errors import StoreError
from fsagent.store import Store
from scene import Children, Findings, Report, Scene, git, history, locks, some, status

Record = Callable[[str, object], None]

CHANGES = [kind for kind in KINDS if kind != "first"]
NUMBERS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EACCES")}
GROWS = ("write", "fill", "append", "flush", "flush_all", "mkdir", "link")
"""What a full disk refuses; it still renames and removes."""


def one_sentence(text: str) -> bool:
    """Whether this can be shown to a person: a line that ends as a sentence does."""
    return "\n" not in text and bool(re.fullmatch(r"\S.*\.", text)) and "Errno" not in text


def attempt(
    scene: Scene, report: Report, label: str, kind: str, faults: contextlib.AbstractContextManager
) -> None:
    """A change while something is wrong, the next one when it is not, and what the oracle says."""
    found = Findings(label)
    store, acks = Store(scene.root), Acks(str(scene.acks))
    outcome = "done"
    try:
        with faults:
            KINDS[kind](store, acks)
    except StoreError as error:
        outcome = "refused"
        if not one_sentence(str(error)):
            found.add("sentence", repr(str(error)))
    except Exception as error:
        outcome = "raised"
        found.add("raised", f"{type(error).__name__}: {error}")
    if outcome == "refused" and kind not in ("adopt", "turn"):
        said = scene.said()
        there = {c.change for c in history(scene.root, f"{scene.base}..HEAD")}
        done = [b["subject"] for i, b in said.begun.items() if i not in said.done and i in there]
        if done:
            found.add("denied", f"{done} was refused and is committed")
        shown = {entry for entry in status(scene.root) if entry[3:] not in scene.hands}
        mine = {f"{v[0]} {path}" for path, v in scene.mine.items() if path not in scene.hands}
        if shown != mine and kind != "recall":
            found.add("half", f"{sorted(shown)}, not {sorted(mine)}")
        if left := locks(scene.root):
            found.add("left", f"{left} while the process lives on")
    try:
        write(store, acks, "persona: + next", line("pets", "next"))
    except Exception as error:
        found.add("stuck", f"the next change: {type(error).__name__}: {error}")
    store.repo.close()
    report.take(found)
    scene.judge(
        report, label, before=outcome, adopting=kind == "adopt", recall=kind in ("recall", "turn")
    )


def calls_of(root: Path, kind: str) -> list[str]:
    """The steps of a change of this kind."""
    scene, faults = Scene.make(root, kind), Faults()
    with faults.armed():
        KINDS[kind](Store(scene.root), Acks(str(scene.acks)))
    return [name for name, _ in faults.calls]


def failing_steps(report: Report, root: Path, kind: str, most: int = 0) -> None:
    """Each step of a change fails, with each error; once, or from then on."""
    trials = [
        (at, name, error, stay)
        for at, name in enumerate(calls_of(root, kind), 1)
        for error in NUMBERS
        for stay in ((), GROWS)
        if not stay or (error == "ENOSPC" and name in GROWS)
    ]
    for at, name, error, stay in some(trials, most, kind):
        faults = Faults(at, "before", failing(NUMBERS[error]), stay)
        label = f"{kind}, {error} at step {at}, {name}{' and after' if stay else ''}"
        attempt(Scene.make(root, kind), report, label, kind, faults.armed())


@pytest.mark.parametrize("kind", CHANGES)
def test_some_steps_fail(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report(f"errors at some steps: {kind}") as report:
        failing_steps(report, tmp_path / "sarah", kind, 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", CHANGES)
def test_every_step_fails(tmp_path: Path, kind: str, record_property: Record) -> None:
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    with Report(f"errors at every step: {kind}", record_property) as report:
        failing_steps(report, tmp_path / "sarah", kind)


def test_what_cannot_be_mended_can_be_read(tmp_path: Path) -> None:
    """On a disk that takes nothing any more, a half-done change hinders no reader."""
    pytest.importorskip("fsagent.repo.disk", reason="the steps of a change are not told apart yet")
    calls = calls_of(tmp_path / "sarah", "core")
    with Children() as children, Report("reading what cannot be mended") as report:
        for at in range(1, len(calls) + 1, 6):
            scene = Scene.make(tmp_path / "sarah", "core")
            children.run("one", scene.root, scene.acks, kind="core", at=at)
            found = Findings(f"killed before step {at}")
            everything = Faults(1, "before", failing(errno.ENOSPC), tuple(steps(disk())))
            with everything.armed():
                try:
                    store = Store(scene.root)
                    assert store.blocks()["human"].text
                    store.repo.close()
                    if not all(one_sentence(text) for text in store.warnings):
                        found.add("sentence", f"{store.warnings}")
                except Exception as error:
                    found.add("raised", f"{type(error).__name__}: {error}")
            report.take(found)
            scene.judge(report, found.label)


# ── a disk that is really full ────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def small_disk(place: Path, kind: str) -> Iterator[Path]:
    """A file system of a few megabytes at ``place``; skips where this machine does not allow it."""
    place.mkdir()
    if kind == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    else:
        image = place.with_name("small.img")
        with image.open("wb") as file:
            file.truncate(8 << 20)
        command(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image)])
        mount = ["mount", "-o", "loop", str(image), str(place)]
    private_mounts()
    command(mount)
    try:
        yield place
    finally:
        unmount(place)


@contextlib.contextmanager
def filled(place: Path, spare: int) -> Iterator[None]:
    """Nothing is free on the disk but ``spare`` pages."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
        os.fsync(file.fileno())
        file.truncate(max(os.fstat(file.fileno()).st_size - spare * 4096, 0))
        os.fsync(file.fileno())
    try:
        yield
    finally:
        filler.unlink()


def full_disk(report: Report, tmp_path: Path, kind: str, spares: range) -> None:
    """A change of several files on a disk with room for some of what it writes."""
    with small_disk(tmp_path / "small", kind) as place:
        scene = Scene.make(tmp_path / "sarah").copy(place / "sarah")
        scene.acks = tmp_path / "acks"
        for trial, spare in enumerate(spares):
            if trial:
                scene.again(str(spare))
                git(scene.root, "gc", "-q", "--prune=now")
            attempt(scene, report, f"{spare} pages free", "many", filled(place, spare))


def test_a_full_disk(tmp_path: Path) -> None:
    with Report("a full disk") as report:
        full_disk(report, tmp_path, "tmpfs", range(0, 30, 10))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_disk_with_little_room(tmp_path: Path, kind: str, record_property: Record) -> None:
    with Report(f"a full disk, {kind}", record_property) as report:
        full_disk(report, tmp_path, kind, range(40))
