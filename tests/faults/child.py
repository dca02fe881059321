"""What the child processes of these tests do, and how they die.

Run as a program this file is a server: for each line of JSON on stdin it forks a child that does
one job, and says its pid; told to wait for one, it says how that one ended. Forking costs
milliseconds, a fresh interpreter a third of a second, and a thousand of them are wanted. Each
child is a process of its own that opens the agent anew.

Children tell what they do in an append-only file, one line of JSON each: ``begin`` before a change
is written, with all that its commit must hold, and ``done`` after ``Store.change`` has returned.
What is ``done`` may never be lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import importlib
import inspect
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import fsagent
from fsagent import Agent, ScriptedClient, call, starter
from fsagent.change import Change
from fsagent.clock import Clock, stamp
from fsagent.errors import StoreError
from fsagent.history.sync import sync
from fsagent.records import Person, Record
from fsagent.store import Store
from person import Acks, busy
from unflushed import Recorder

PACKAGE = Path(fsagent.__file__).parent


def blob(data: bytes) -> str:
    """The id that Git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def write(
    store: Store,
    acks: Acks,
    subject: str,
    fill: Callable[[Change], object],
    author: Person | None = None,
    turn: str = "turn-1",
) -> None:
    """One change through the door, announced before and acknowledged after."""
    began = time.monotonic()
    with store.change(
        subject,
        author=author,
        tool="a_tool",
        call=f"call-{subject}",
        turn=turn,
        message="message-1",
        model="scripted",
    ) as change:
        fill(change)
        who = author or store.author
        paths = {path: data and blob(data) for path, data in change.writes.items()}
        paths |= {path: blob((store.root / path).read_bytes()) for path in change.included}
        trailers = {"Change": change.id, "Tool": "a_tool", "Tool-Call": f"call-{subject}"}
        trailers |= {"Turn": turn, "Message": "message-1", "Model": "scripted"}
        acks.say(
            begin=change.id,
            subject=subject,
            author=[who.name, who.email],
            trailers=trailers,
            paths=paths,
        )
    acks.say(done=change.id, commit=change.commit, seconds=time.monotonic() - began)


def line(label: str, text: str, keep: int = 0) -> Callable[[Change], object]:
    """Add a line to a block; with ``keep``, only that many last lines stay."""

    def fill(change: Change) -> None:
        lines = [*change.block(label).text.splitlines(), text]
        change.set_block(label, "\n".join(lines[-keep:]))

    return fill


# ── one change of each kind ───────────────────────────────────────────────────────────────────


def core(store: Store, acks: Acks) -> None:
    write(store, acks, "human: + line 7", line("human", "line 7"))


def note(store: Store, acks: Acks) -> None:
    write(store, acks, "note: A cat", lambda c: c.add_note("A cat named Ada.", ["pets"]))


def many(store: Store, acks: Acks) -> None:
    def fill(change: Change) -> None:
        line("human", "line 8")(change)
        line("persona", "I count lines.")(change)
        change.add_note("Three files in one change.")

    write(store, acks, "two blocks and a note", fill)


def delete(store: Store, acks: Acks) -> None:
    write(store, acks, "forget: old", lambda c: c.writes.update({"archival/old.md": None}))


def recall(store: Store, acks: Acks) -> None:
    with store.turn():
        clock = store.clock
        for role, text in (("user", "hello"), ("assistant", "hi there")):
            record = Record(clock.id(), stamp(clock.now()), role, text, "turn-1")
            path = store.append(record, flush=True)
            acks.say(line=record.id, path=path)
        write(store, acks, "turn: hello", lambda c: c.included.append(path))


def edited(store: Store, acks: Acks) -> None:
    write(store, acks, "human: + line 9", line("human", "line 9"))


def adopt(store: Store, acks: Acks) -> None:
    made = store.adopt()
    acks.say(adopted=[[a.commit, a.change, list(a.paths)] for a in made])


def turn(store: Store, acks: Acks) -> None:
    with store.turn():
        for n in range(3):
            write(store, acks, f"human: + of three, {n}", line("human", f"of three, {n}"))
        recall_line(store, acks)


def recall_line(store: Store, acks: Acks) -> None:
    clock = store.clock
    record = Record(clock.id(), stamp(clock.now()), "assistant", "done", "turn-1")
    path = store.append(record, flush=True)
    acks.say(line=record.id, path=path)
    write(store, acks, "turn: of three", lambda c: c.included.append(path))


def first(store: Store, acks: Acks) -> None:
    names = starter.files_of(store.root)
    write(store, acks, "init: sarah", lambda c: c.included.extend(names), store.repo.person())


KINDS: dict[str, Callable[[Store, Acks], None]] = {
    "core": core,
    "note": note,
    "many": many,
    "delete": delete,
    "recall": recall,
    "edited": edited,
    "adopt": adopt,
    "turn": turn,
    "first": first,
}


# ── ways to fail ──────────────────────────────────────────────────────────────────────────────


def die() -> None:
    """What the kernel does to a process that is in the way: no cleanup of any kind."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def steps(module: ModuleType) -> list[str]:
    """The public functions of a module: the only ways in which the pipeline changes the disk."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def disk() -> ModuleType:
    """The module through which every change to the disk goes."""
    from fsagent.repo import disk

    return disk


def _bytes(argument: Any) -> bytes | None:
    """The bytes that an argument is, alone or in a list of parts."""
    if isinstance(argument, bytes | bytearray | memoryview):
        return bytes(argument)
    if isinstance(argument, list | tuple) and argument:
        parts = [_bytes(part) for part in argument]
        return None if None in parts else b"".join(part for part in parts if part)
    return None


def has_bytes(arguments: tuple[Any, ...]) -> bool:
    """Whether a call writes bytes, so that half of them can be written."""
    return any(len(_bytes(argument) or b"") > 1 for argument in arguments)


def _halved(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments with half of the bytes."""
    found = []
    for argument in arguments:
        data = _bytes(argument)
        half = data and data[: len(data) // 2]
        found.append(
            argument if half is None else [half] if type(argument) in (list, tuple) else half
        )
    return tuple(found)


class Faults:
    """Count the calls of disk's functions, and let one of them go wrong.

    ``at`` is the number of that call, from 1, or the name of the function; ``mode`` is "before", "after" or "half" (half of the
    bytes are written). ``how`` is called then; it kills, or it raises. With ``stay``, all later
    calls of those in ``names`` fail too.
    """

    def __init__(
        self,
        at: int | str = 0,
        mode: str = "before",
        how: Callable[[], None] = die,
        stay: tuple[str, ...] = (),
    ) -> None:
        self.at, self.mode, self.how, self.stay = at, mode, how, stay
        self.calls: list[tuple[str, bool]] = []
        self.names = steps(disk())

    @contextlib.contextmanager
    def armed(self) -> Iterator[Faults]:
        """The functions stand in for the real ones until the end."""
        real = {name: getattr(disk(), name) for name in self.names}
        for name, function in real.items():
            setattr(disk(), name, self._wrapped(name, function))
        try:
            yield self
        finally:
            for name, function in real.items():
                setattr(disk(), name, function)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, has_bytes(arguments)))
            if name == self.at:
                self.at = len(self.calls)
            there = name == "mkdir" and os.path.isdir(arguments[0])  # takes no room
            later = isinstance(self.at, int) and 0 < self.at < len(self.calls)
            if later and name in self.stay and not there:
                self.how()
            if len(self.calls) != self.at:
                return real(*arguments, **options)
            if self.mode == "before":
                self.how()
            elif self.mode == "half" and has_bytes(arguments):
                arguments = _halved(arguments)
            try:
                return real(*arguments, **options)
            finally:
                self.how()

        return step


def failing(number: int) -> Callable[[], None]:
    """Raise what the system call would raise."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


@contextlib.contextmanager
def lines_counted(at: int) -> Iterator[list[int]]:
    """Die at the ``at``-th line that runs in the store or below: between any two steps."""
    places = (str(PACKAGE / "repo"), str(PACKAGE / "store.py"))
    count = [0]

    def inside(_: FrameType, event: str, __: Any) -> Any:
        if event == "line":
            count[0] += 1
            if count[0] == at:
                die()
        return inside

    def enter(frame: FrameType, _: str, __: Any) -> Any:
        return inside if frame.f_code.co_filename.startswith(places) else None

    sys.settrace(enter)
    try:
        yield count
    finally:
        sys.settrace(None)


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────


def one(acks: Acks, job: dict[str, Any]) -> None:
    """Open the agent and make one change of a kind; killed at a step or a line where told."""
    kind = KINDS[job["kind"]] if job.get("kind") else None
    root = Path(job["root"])
    if job.get("line") is not None:
        with lines_counted(job["line"]) as count:
            store = Store(root)
            if kind:
                kind(store, acks)
        acks.say(lines=count[0])
        return
    faults = Faults(job.get("at", 0), job.get("mode", "before"))
    with faults.armed():
        store = Store(root)
        if kind:
            kind(store, acks)
    acks.say(calls=faults.calls)


def before_the_cut() -> None:
    """Be a process of an earlier start of the machine, whose name for that time is another."""
    with contextlib.suppress(ImportError):
        importlib.import_module("fsagent.repo.journal")
    for name, module in list(sys.modules.items()):
        if name.startswith("fsagent.repo") and hasattr(module, "boot"):
            module.boot = lambda: "before-the-cut"  # type: ignore[attr-defined]


def loop(acks: Acks, job: dict[str, Any]) -> None:
    """Write changes of several kinds, one after the other, for ever or ``count`` times."""
    if job.get("cut"):
        before_the_cut()
    if notes := job.get("notes"):
        Recorder(disk(), job["root"], notes).install(steps(disk()))
    store, name = Store(Path(job["root"])), job["name"]
    dice = random.Random(name)
    count, pause, stop = job.get("count", 1 << 30), job.get("pause", (0.0, 0.0)), job.get("stop")
    busy, only, keep = StoreError if job.get("retry") else (), job.get("only"), job.get("keep", 30)
    acks.say(ready=name)
    for n in range(count):
        text = f"{name} line {n}"

        def three(change: Change, text: str = text) -> None:
            line("human", text, keep)(change)
            line("persona", text, keep)(change)
            change.add_note(text, ["loop"])

        what = only or dice.choice(["line", "line", "note", "three"])
        fill: Callable[[Change], object] = line("human", text, keep)
        if what == "note":
            fill = lambda change, text=text: change.add_note(text, ["loop"])  # noqa: E731
        elif what == "three":
            fill = three
        for attempt in range(100):
            try:
                write(store, acks, f"{what}: + {text}", fill)
                break
            except busy as error:
                acks.say(again=str(error), attempt=attempt)
                time.sleep(dice.uniform(0.001, 0.02))
        time.sleep(dice.uniform(*pause))
        if stop and os.path.exists(stop):
            break
    acks.say(finished=name)


def chats(acks: Acks, job: dict[str, Any]) -> None:
    """Turns of a scripted model, each with two calls, and the person's own writes between."""
    name, count = job["name"], job["count"]
    script: list[Any] = []
    for n in range(count):
        script.append(call("core_memory_append", label="human", content=f"{name} turn {n}"))
        script.append(call("archival_memory_insert", content=f"{name} note {n}"))
        script.append(f"{name} said {n}")
    agent = Agent.open(job["root"], client=ScriptedClient(script))
    acks.say(ready=name)
    for n in range(count):
        began = time.monotonic()
        turn = agent.chat(f"{name} asks {n}")
        assert [result.status for result in turn.tool_calls] == ["success"] * 2, turn.tool_calls
        acks.say(turn=n, name=name, commits=turn.commits, seconds=time.monotonic() - began)
        began = time.monotonic()
        agent.blocks[job["block"]] = f"{agent.blocks[job['block']].text}\n{name} wrote {n}"
        acks.say(wrote=n, name=name, seconds=time.monotonic() - began)
    agent.close()
    acks.say(finished=name)


def holds(acks: Acks, job: dict[str, Any]) -> None:
    """Hold the turn for a while."""
    with Store(Path(job["root"])).turn():
        acks.say(ready="holds")
        time.sleep(job["seconds"])


def makes(acks: Acks, job: dict[str, Any]) -> None:
    """Make an agent from the starter; killed at a step of its first commit where told."""
    root = Path(job["root"])
    starter.create(root, None, Clock(), name="sarah")
    one(acks, job | {"kind": "first"})


def syncs(acks: Acks, job: dict[str, Any]) -> None:
    """Sync with a place; killed at a step of the merge where told."""
    faults = Faults(job.get("at", 0), job.get("mode", "before"))
    with faults.armed():
        done = sync(
            *(Store(Path(job["root"])), job["place"]),
            machine="here",
            state_dir=Path(job["state"]),
        )
    acks.say(calls=faults.calls, commit=done.commit)


JOBS = {job.__name__: job for job in (one, loop, chats, holds, makes, syncs, busy)}


def dies_with_its_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, where it can (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def serve() -> None:
    """Read jobs, fork, and answer."""
    dies_with_its_parent()
    running: dict[int, int] = {}
    for text in sys.stdin:
        job = json.loads(text)
        if "wait" in job:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])}
        else:
            pid = os.fork()
            if pid == 0:
                _run(job)
            running[pid] = 1
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _run(job: dict[str, Any]) -> None:
    """In the fork: a group of its own, so that it can be killed with every git that it runs."""
    code = 1
    try:
        os.setsid()
        dies_with_its_parent()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        if until := job.get("when"):  # a gate: all begin in the same moment
            while not os.path.exists(until):
                time.sleep(0.001)
        JOBS[job["do"]](Acks(job["acks"]), job)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}


if __name__ == "__main__":
    serve()
