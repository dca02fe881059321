"""An agent with a person's work in its directory, and the oracle that judges what is left of both.

Nothing here asks fsagent what it did: the oracle reads plain git, the files, and what the children
have said. A trial is: ``Scene.copy`` → children write and are disturbed → ``Scene.judge``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from child import blob, line
from fsagent import Agent
from fsagent.locks import held
from fsagent.store import Store

CHILD = Path(__file__).with_name("child.py")

TIM = ["Tim", "tim@example.org"]
STAGED = b"Staged.\n"
"""What the person staged of a file and then edited on."""

_RAW = re.compile(rb":(\d+) (\d+) ([0-9a-f]+) ([0-9a-f]+) [AMDT]\0([^\0]+)\0")


def git(root: Path, *args: str, check: bool = True, stdin: bytes = b"") -> bytes:
    """Plain git, as a person runs it."""
    done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, input=stdin)
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(args)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def only_git_writes(root: Path) -> None:
    """Give the repository an index that fsagent leaves to git, and so the slow way."""
    git(root, "update-index", "--index-version", "4")


# ── children ──────────────────────────────────────────────────────────────────────────────────


class Child:
    """A process that runs a job."""

    def __init__(self, children: Children, pid: int, root: Path) -> None:
        self.children, self.pid, self.root = children, pid, root

    def kill(self, group: bool = True) -> None:
        """Kill it without warning, and with ``group`` every git that only reads for it."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """How it ended: an exit status, or minus the signal; nothing that it ran is left.

        A git may live on for milliseconds. One that writes keeps the lock until then.
        """
        status: int = self.children.ask(wait=self.pid)["status"]
        while True:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                if not status or not held(self.root / ".git/fsagent/write.lock"):
                    return status
            time.sleep(0.001)


class Children:
    """The server that forks them; see child.py."""

    def __enter__(self) -> Children:
        self._server = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHILD.parent,
        )
        assert self._server.stdin
        assert self._server.stdout
        self._to, self._from = self._server.stdin, self._server.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._to.close()
        self._server.wait()
        self._from.close()

    def ask(self, **job: Any) -> dict[str, Any]:
        """One line to the server, one line back."""
        self._to.write(json.dumps(job, default=str) + "\n")
        self._to.flush()
        answer: dict[str, Any] = json.loads(self._from.readline())
        return answer

    def start(self, do: str, root: Path, acks: Path, **job: Any) -> Child:
        """Begin a job."""
        return Child(self, self.ask(do=do, root=root, acks=acks, **job)["pid"], root)

    def run(self, do: str, root: Path, acks: Path, **job: Any) -> int:
        """Do a job to its end."""
        return self.start(do, root, acks, **job).wait()


# ── what children said ────────────────────────────────────────────────────────────────────────


@dataclass
class Said:
    """The lines of an acks file, by kind."""

    begun: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    other: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, *files: Path, until: float = float("inf")) -> Said:
        """What was said in these files, up to a moment."""
        said = cls()
        for file in files:
            # A kill can tear the last line.
            for text in file.read_text().split("\n")[:-1] if file.exists() else ():
                told = json.loads(text)
                if told["at"] > until:
                    continue
                if "begin" in told:
                    said.begun[told["begin"]] = told
                elif "done" in told:
                    said.done[told["done"]] = told
                elif "line" in told:
                    said.lines.append((told["line"], told["path"]))
                else:
                    said.other.append(told)
        return said

    def all(self, key: str) -> list[Any]:
        """The values of one key in the lines that are neither begin, done nor line."""
        return [told[key] for told in self.other if key in told]


# ── history as git tells it ───────────────────────────────────────────────────────────────────


@dataclass
class Made:
    """A commit."""

    oid: str
    author: list[str]
    subject: str
    trailers: dict[str, str]
    paths: dict[str, str | None]

    @property
    def change(self) -> str | None:
        return self.trailers.get("Change")


def history(root: Path, *revisions: str) -> list[Made]:
    """Commits, newest first, with the blobs that each put in place."""
    form = "--format=%x1e%H%x1f%an%x1f%ae%x1f%s%x1f%(trailers:only,unfold)%x1f"
    out = git(
        root, "log", "--raw", "-z", "--no-abbrev", "--no-renames", form, *(revisions or ("HEAD",))
    )
    found = []
    for entry in out.split(b"\x1e")[1:]:
        oid, name, email, subject, trailers, raw = entry.split(b"\x1f", 5)
        pairs = [text.split(": ", 1) for text in trailers.decode().splitlines() if ": " in text]
        paths = {
            os.fsdecode(path): None if set(new) == {ord("0")} else new.decode()
            for _, _, _, new, path in _RAW.findall(raw)
        }
        found.append(
            Made(
                oid.decode(),
                [name.decode(), email.decode()],
                subject.decode(),
                dict(pairs),
                paths,
            )
        )
    return found


def locks(root: Path) -> list[str]:
    """Git's lock files; not those of a gc that runs, nor fsagent's own, which are flocks."""
    top = root / ".git"
    found = []
    for where, _, names in os.walk(top):
        for name in names:
            path = os.path.relpath(os.path.join(where, name), top)
            if name.endswith(".lock") and not path.startswith(("fsagent/", "gc.")):
                found.append(path)
    return sorted(found)


def litter(root: Path) -> list[str]:
    """Half-written files that a kill left in fsagent's own folder."""
    return sorted(path.name for path in (root / ".git/fsagent/tmp").glob("*"))


def status(root: Path) -> list[str]:
    out = git(root, "status", "--porcelain", "-z", "-uall", "--ignored", "--no-renames")
    return sorted(os.fsdecode(out).split("\0")[:-1])


# ── the scene ─────────────────────────────────────────────────────────────────────────────────


class Scene:
    """One agent's directory, the person's own work in it, and the files of what children said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.acks = root.with_name(root.name + ".acks")
        self.base = ""
        self.mine: dict[str, tuple[str, bytes, bytes]] = {}
        """The person's files: letters of ``git status``, bytes staged, bytes in the work tree."""
        self.hands: dict[str, bytes | None] = {}
        """The agent's files that the person has edited by hand."""

    @classmethod
    def make(cls, root: Path, kind: str = "", durability: str = "") -> Scene:
        """A scene as ``build`` makes it, copied from one that was made before."""
        key = kind, durability
        if key not in _TEMPLATES:
            place = root.parent.parent / "scenes" / f"{kind or 'plain'}-{durability or 'default'}"
            _TEMPLATES[key] = cls.build(place, kind, durability)
        return _TEMPLATES[key].copy(root)

    @classmethod
    def build(cls, root: Path, kind: str = "", durability: str = "") -> Scene:
        """An agent with some memory, a person's files, and what a change of ``kind`` needs."""
        agent = Agent.init(root, name="sarah", human="Name: Tim")
        agent.close()
        if durability:
            with (root / "agent.yaml").open("a") as config:
                config.write(f"durability: {durability}\n")
        for name in ("human", "persona"):
            page = (root / f"core/{name}.md").read_text()
            limited = re.sub(r"^limit: .*\n", "", page, flags=re.M)
            limited = limited.replace("---\n", "---\nlimit: 1000000\n", 1)
            (root / f"core/{name}.md").write_text(limited)
        (root / "core/pets.md").write_text("---\nlimit: 1000000\n---\nAda\n")
        for path, text in (
            ("archival/old.md", "An old note.\n"),
            ("archival/2026/01/older.md", "Older.\n"),
            ("diary.txt", "Monday\n"),
            ("shopping.txt", "milk\n"),
            ("busy/a.txt", "a\n"),
            ("busy/b.txt", "b\n"),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "a person's files")
        scene = cls(root)
        scene.prepare(kind)
        scene.work()
        return scene

    def prepare(self, kind: str) -> None:
        """The hand edits that a change of this kind meets."""
        root, edits = self.root, self.hands
        if kind in ("edited", "adopt"):
            edits["core/human.md"] = (root / "core/human.md").read_bytes() + b"By hand.\n"
        if kind == "adopt":
            (root / "core/persona.md").write_bytes(STAGED)
            git(root, "add", "core/persona.md")
            edits["core/persona.md"] = b"Staged, and edited on.\n"
            edits["archival/by-hand.md"] = b"A note by hand.\n"
            edits["archival/old.md"] = None
        for path, data in edits.items():
            if data is None:
                (root / path).unlink()
            else:
                (root / path).write_bytes(data)

    def work(self, mark: str = "1") -> None:
        """The person stages one file, edits another, half edits a third, and begins a fourth."""
        root = self.root
        (root / f"todo-{mark}.txt").write_text(f"todo {mark}\n")
        (root / "diary.txt").write_text(f"Tuesday {mark}\n")
        git(root, "add", f"todo-{mark}.txt", "diary.txt")
        (root / "diary.txt").write_text(f"Tuesday {mark}, evening\n")
        (root / "shopping.txt").write_text(f"bread {mark}\n")
        (root / f"scratch-{mark}.txt").write_text(f"scratch {mark}\n")
        self.remember()

    def remember(self) -> None:
        """Everything that differs now is the person's, and everything committed is known."""
        self.mine = self.found()
        self.base = git(self.root, "rev-parse", "HEAD").decode().strip()

    def found(self) -> dict[str, tuple[str, bytes, bytes]]:
        """Every file that differs now, as ``mine`` describes it."""
        found = {}
        for entry in status(self.root):
            letters, path = entry[:2], entry[3:]
            staged = git(self.root, "show", f":{path}") if letters[0] not in "?D" else b""
            file = self.root / path
            found[path] = (letters, staged, file.read_bytes() if file.exists() else b"")
        return found

    def copy(self, to: Path) -> Scene:
        """The same scene in another directory, with Git's notes of files brought up to date."""
        if to.exists():
            shutil.rmtree(to)
        shutil.copytree(self.root, to, symlinks=True)
        scene = Scene(to)
        scene.acks.unlink(missing_ok=True)
        scene.base, scene.mine, scene.hands = self.base, dict(self.mine), self.hands
        git(to, "update-index", "-q", "--refresh", check=False)
        return scene

    def said(self) -> Said:
        """What the children said."""
        return Said.read(self.acks)

    # ── before recovery ───────────────────────────────────────────────────────────────────────

    def state(self) -> str:
        """What a kill left: which of work tree, index and HEAD show the change that was begun."""
        said = self.said()
        last = next((b for b in reversed(said.begun.values()) if b["begin"] not in said.done), None)
        held = "+lock" if locks(self.root) else ""
        if last is None:
            return "between" + held
        asked = "".join(f"{at}:{path}\n" for at in ("", "HEAD") for path in last["paths"])
        answers = git(self.root, "cat-file", "--batch-check", check=False, stdin=asked.encode())
        found = answers.decode().splitlines()
        new = list(last["paths"].values()) * 2
        shown = [
            (oid is None and "missing" in told) or (oid is not None and told.startswith(oid))
            for told, oid in zip(found, new, strict=False)
        ]
        half = len(last["paths"])
        tree = [_same(self.root / path, oid) for path, oid in last["paths"].items()]
        parts = [
            name + ("" if all(seen) else "/part")
            for name, seen in (("wt", tree), ("index", shown[:half]), ("HEAD", shown[half:]))
            if any(seen)
        ]
        if len(found) < 2 * half:
            parts.append("unreadable")
        return ("+".join(parts) or "old") + held

    # ── the oracle ────────────────────────────────────────────────────────────────────────────

    def judge(
        self,
        report: Report,
        label: str,
        *,
        acks: Iterable[Path] = (),
        until: float = float("inf"),
        before: str | None = None,
        adopting: bool = False,
        others: Callable[[Made], bool] | None = None,
        dropped: bool = False,
        lasting: bool = True,
        recall: bool = False,
    ) -> None:
        """Open the agent again and compare what there is with what was said and what was there.

        ``others`` are commits of other people that may be there, ``dropped`` says that a commit
        may also be kept under refs/fsagent/dropped, ``lasting`` that a commit by hand and a next
        change are tried at the end, ``recall`` that recall is recovered as the next turn does it.
        """
        said = Said.read(*(acks or (self.acks,)), until=until)
        found = Findings(label)
        report.trials += 1
        report.states[before if before is not None else self.state()] += 1
        report.waits += [done["seconds"] for done in said.done.values()]
        try:
            self._reopen(found, recall=recall)
            if adopting:
                Store(self.root).adopt()
            self._changes(found, said, others, dropped=dropped)
            self._lines(found, said)
            self._adopted(found, said, adopting=adopting)
            self._clean(found)
            if lasting and not found.problems:
                self._goes_on(found)
        except Exception as error:  # a tool that breaks on what is left is a finding too
            found.add("broken", f"{type(error).__name__}: {error}")
        report.take(found)

    def _reopen(self, found: Findings, *, recall: bool) -> None:
        """Open twice: the first time mends, in one line of report; the second changes nothing."""

        def opened() -> list[str]:
            store = Store(self.root)
            told = list(store.warnings)
            if recall:
                with store.turn():
                    told += store.settle()[0]
            store.repo.close()
            return told

        told = opened()
        if len(told) > 1 or any("\n" in text for text in told):
            found.add("report", f"not one line: {told}")
        once = self._everything()
        again = opened()
        if again:
            found.add("again", f"the second opening said {again}")
        twice = self._everything()
        if once != twice:
            different = sorted(k for k in {*once, *twice} if once.get(k) != twice.get(k))
            found.add("again", f"the second opening changed {different}")

    def _everything(self) -> dict[str, bytes]:
        """All that counts: refs, index, reflogs, files."""
        found = {
            "refs": git(self.root, "for-each-ref"),
            "HEAD": (self.root / ".git/HEAD").read_bytes(),
            "index": git(self.root, "ls-files", "-s", "-z"),
            "locks": "\n".join(locks(self.root) + litter(self.root)).encode(),
        }
        for where, folders, names in os.walk(self.root):
            if ".git" in folders and Path(where) == self.root:
                folders.remove(".git")
            for name in names:
                path = os.path.join(where, name)
                found[os.path.relpath(path, self.root)] = Path(path).read_bytes()
        for path in (self.root / ".git/logs").rglob("*"):
            if path.is_file():
                found[str(path.relative_to(self.root))] = path.read_bytes()
        return found

    def _changes(
        self,
        found: Findings,
        said: Said,
        others: Callable[[Made], bool] | None,
        *,
        dropped: bool,
    ) -> None:
        """Every acknowledged change is there, whole and as its author's; none is half there."""
        refs = ["HEAD"]
        if dropped:
            kept = git(self.root, "for-each-ref", "--format=%(objectname)", "refs/fsagent/dropped")
            refs += kept.decode().split()
        since = [f"^{self.base}"] if self.base else []
        commits = history(self.root, *refs, *since)
        by_change: dict[str, list[Made]] = {}
        for commit in commits:
            if commit.change:
                by_change.setdefault(commit.change, []).append(commit)
        for ident in said.done:
            if ident not in by_change:
                what = said.begun.get(ident, {}).get("subject", "?")
                found.add("lost", f"{what!r} ({ident}) was acknowledged and is in no commit")
        for ident, begun in said.begun.items():
            here = by_change.pop(ident, [])
            if len({c.oid for c in here}) > 1 and not dropped:
                found.add("twice", f"{begun['subject']!r} is in {len(here)} commits")
            for commit in here[:1]:
                self.as_begun(found, commit, begun)
        for commit in commits:
            if commit.change in said.begun:
                continue
            if others and others(commit):
                continue
            by_hand = commit.author == TIM and commit.subject.startswith("hand edit: ")
            if by_hand and set(commit.paths.items()) <= set(self._saved()):
                continue
            if commit.subject == "turn (recovered)" and set(commit.paths) <= {
                path for _, path in said.lines
            }:
                continue
            found.add("stray", f"{commit.subject!r} by {commit.author[0]}: {list(commit.paths)}")

    def as_begun(self, found: Findings, commit: Made, begun: dict[str, Any]) -> None:
        subject = begun["subject"]
        if commit.author != begun["author"]:
            found.add("author", f"{subject!r} is by {commit.author}")
        if commit.subject != subject or commit.trailers != begun["trailers"]:
            found.add("message", f"{subject!r}: {commit.subject!r} {commit.trailers}")
        swept = set(commit.paths) - set(begun["paths"])
        if swept:
            found.add("swept", f"{subject!r} took {sorted(swept)}", len(swept))
        wrong = [p for p, oid in begun["paths"].items() if commit.paths.get(p, "-") != oid]
        if wrong:
            found.add("half", f"{subject!r} lacks or alters {wrong}")

    def _lines(self, found: Findings, said: Said) -> None:
        """Every line of recall that was flushed is committed, once."""
        for path in {path for _, path in said.lines}:
            text = git(self.root, "show", f"HEAD:{path}", check=False).decode(errors="replace")
            for ident, where in said.lines:
                if where == path and text.count(f'"{ident}"') != 1:
                    found.add("lost", f"line {ident} is {text.count(ident)} times in {path}")

    def _adopted(self, found: Findings, said: Said, *, adopting: bool) -> None:
        """Each hand edit is in history as the person's, or with ``adopting`` False in the file."""
        since = [c for c in history(self.root, f"{self.base}..HEAD") if c.author == TIM]
        here = {(path, oid) for commit in since for path, oid in commit.paths.items()}
        for path, oid in self._saved():
            if (path, oid) in here:
                self.mine.pop(path, None)
            elif adopting:
                found.add("lost", f"no hand edit holds {path} as {oid}, {self.hands[path]!r}")
        if self.hands and len(since) > 3:
            found.add("twice", f"{[c.subject for c in since]}")
        acked = {commit for made in said.all("adopted") for commit, _, _ in made}
        if not acked <= {c.oid for c in since}:
            found.add("lost", f"hand edits {acked}")

    def _saved(self) -> list[tuple[str, str | None]]:
        """Every version that the person saved or staged of the agent's files, as blobs."""
        staged = [("core/persona.md", blob(STAGED))] if "core/persona.md" in self.hands else []
        return [*((path, data and blob(data)) for path, data in self.hands.items()), *staged]

    def _clean(self, found: Findings) -> None:
        """The person's work is as it was, to the byte; nothing else differs; nothing is broken."""
        if held := locks(self.root):
            found.add("left", f"{held}")
        if lying := litter(self.root):
            found.add("litter", f"{lying}")
        self._status(found, {path: letters for path, (letters, _, _) in self.mine.items()})
        for path, (letters, staged, tree) in self.mine.items():
            file = self.root / path
            if "D" not in letters and (not file.exists() or file.read_bytes() != tree):
                found.add("person", f"{path} in the work tree is not as it was")
            if letters != "??" and git(self.root, "show", f":{path}", check=False) != staged:
                found.add("person", f"{path} in the index is not as it was")
        done = subprocess.run(
            ["git", "-C", str(self.root), "fsck", "--strict", "--no-dangling", "--no-progress"],
            capture_output=True,
            text=True,
        )
        complaints = [text for text in done.stderr.splitlines() if text.strip()]
        complaints += [text for text in done.stdout.splitlines() if text.strip()]
        if done.returncode or complaints:
            found.add("fsck", f"{done.returncode}: {complaints[:3]}")

    def _status(self, found: Findings, wanted: dict[str, str]) -> None:
        shown = status(self.root)
        expected = sorted(f"{letters} {path}" for path, letters in wanted.items())
        if shown != expected:
            found.add("status", f"{shown}, not {expected}")

    def _goes_on(self, found: Findings) -> None:
        """A next change and a plain ``git commit`` of what is staged work, and take only theirs."""
        store = Store(self.root)
        path = "core/pets.md"
        with store.change("pets: + after", tool="a_tool") as change:
            line("pets", f"after {found.label}")(change)
        (after,) = history(self.root, "-1")
        if list(after.paths) != [path] or after.author != [store.author.name, store.author.email]:
            found.add("swept", f"the next change: {after.author} {list(after.paths)}")
        store.repo.close()
        staged = {path for path, (letters, _, _) in self.mine.items() if letters[0] in "AMD"}
        if staged:
            git(self.root, "commit", "-q", "-m", "what I staged")
            (mine,) = history(self.root, "-1")
            if set(mine.paths) != staged or mine.author != TIM:
                found.add("swept", f"git commit took {list(mine.paths)}")
        left = {
            path: " " + letters[1] if letters != "??" else letters
            for path, (letters, _, _) in self.mine.items()
            if letters[1] != " "
        }
        self._status(found, left)

    def again(self, mark: str) -> None:
        """Let the person go on working, for the next trial in the same directory."""
        self.acks.unlink(missing_ok=True)
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", f"all of it, before {mark}")
        self.work(mark)


_TEMPLATES: dict[tuple[str, str], Scene] = {}


def _same(file: Path, oid: str | None) -> bool:
    return blob(file.read_bytes()) == oid if file.is_file() else oid is None


def some(trials: list[Any], most: int, seed: str) -> list[Any]:
    """All of the trials, or with ``most`` so many of them, spread evenly, others for each seed."""
    if not most or len(trials) <= most:
        return trials
    step = len(trials) / most
    return [trials[int((n + (sum(map(ord, seed)) % 7) / 7) * step)] for n in range(most)]


# ── report ────────────────────────────────────────────────────────────────────────────────────


class Findings:
    """What is wrong after one trial."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.problems: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, text: str, count: int = 1) -> None:
        """One more thing that is wrong."""
        self.problems.append((kind, text))
        self.counts[kind] += count


class Report:
    """One line for a test: trials, states seen, lost, swept, mean wait; and what went wrong.

    ``with Report(name, record_property) as report`` prints the line at the end and fails when
    anything was found. Long tests show their line at the end of the run as well.
    """

    def __init__(self, name: str, record: Callable[[str, object], None] | None = None) -> None:
        self.name, self.record = name, record
        self.trials = 0
        self.states: Counter[str] = Counter()
        self.waits: list[float] = []
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.more: list[str] = []

    def take(self, found: Findings) -> None:
        """Add the findings of a trial."""
        self.counts += found.counts
        self.problems += [f"{found.label}: {kind}: {text}" for kind, text in found.problems]

    def wrong(self, kind: str, text: str) -> None:
        """Something that is wrong with all of it."""
        self.counts[kind] += 1
        self.problems.append(f"{kind}: {text}")

    def _few_of_each(self) -> list[str]:
        """Some problems of each kind, so that many of one do not hide another."""
        seen: Counter[str] = Counter()
        found = []
        for problem in self.problems:
            kind = next((kind for kind in self.counts if f"{kind}: " in problem), "")
            seen[kind] += 1
            if seen[kind] <= 8:
                found.append(problem)
        return found

    def __str__(self) -> str:
        states = ", ".join(f"{name} {count}" for name, count in self.states.most_common())
        wait = f"{sum(self.waits) / len(self.waits) * 1000:.1f} ms" if self.waits else "none"
        rest = {k: v for k, v in self.counts.items() if k not in ("lost", "swept")}
        parts = [
            f"{self.trials} trials",
            f"states: {states or 'none'}",
            f"lost {self.counts['lost']}",
            f"swept {self.counts['swept']}",
            f"mean wait {wait} of {len(self.waits)}",
            *self.more,
            *([f"also wrong: {rest}"] if rest else []),
        ]
        return f"{self.name}: " + "; ".join(parts)

    def __enter__(self) -> Report:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | object) -> None:
        text = str(self)
        print(text)
        if self.record:
            self.record("report", text)
        if kind is None and self.problems:
            shown = "\n".join(self._few_of_each())
            raise AssertionError(f"{text}\n{shown}\n({len(self.problems)} problems)")
