"""What a killed program or a power cut left half done: finished, or given up.

Run at every opening and before every commit, under the lock ``write``; doing it twice changes
nothing. Three rules decide:

- A commit whose intent is in the journal and whose files show it is finished, with its author and
  message; one that shows nowhere is dropped: nobody was told that it is done.
- A lock file is removed only where it is a second name of a file that the journal's intent laid
  ready (see ``commit``). Any other is somebody else's and stays.
- A file is ours to mend only where its state is older than our write of it. Otherwise a person
  edited it, and it stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from fsagent.records import Person
from fsagent.repo import disk
from fsagent.repo.commit import Pipeline
from fsagent.repo.gitindex import UnfitIndexError
from fsagent.repo.heads import UnfitHeadError
from fsagent.repo.journal import Entry, boot
from fsagent.repo.puts import Blob, Draft, Join, Made, Put, State
from fsagent.repo.worktree import Laid, plain_file, read, same_file


class Repository(Protocol):
    """What recovery asks of a repository."""

    @property
    def fast(self) -> bool:
        """Whether its files are of the kind that this program writes."""

    def head(self) -> str | None:
        """The commit that HEAD names."""

    def under_way(self) -> str | None:
        """The name of a person's unfinished merge or the like."""

    def compare(self, paths: Iterable[str]) -> dict[str, State]:
        """HEAD, index and work tree of these paths."""

    def make(self, draft: Draft) -> Made:
        """Make a commit."""

    def restage(self, states: Mapping[str, State]) -> None:
        """Let the index say for these paths what the work tree and HEAD hold."""

    def keep_dropped(self, commit: str | None, head: str | None) -> None:
        """Keep ``commit``, which was acknowledged, where ``head`` does not hold it any more."""

    def descends(self, old: str, new: str) -> bool:
        """Whether the commit ``new`` is ``old`` or comes after it."""

    def may_write(self, path: str) -> bool:
        """Whether the path is one of the agent's own, inside its directory."""


_SECOND = 1_000_000_000
_OID = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"refs/heads/[^\s\x00-\x1f~^:?*\[\\]+")


class Recovery:
    """One look at the journal of ``pipeline``, and what follows from it.

    Args:
        pipeline: Whose journal it is.
        repo: The repository, whichever way its commits take.
    """

    def __init__(self, pipeline: Pipeline, repo: Repository) -> None:
        self.pipeline = pipeline
        self.repo = repo
        self.told: list[str] = []

    def run(self) -> str | None:
        """Mend what is to be mended; the id of the commit that was acknowledged last, if known."""
        journal = self.pipeline.journal
        last = journal.last()
        if last and last.kind != "intent" and last.data.get("boot") == boot():
            self.pipeline.sweep()
            commit: str | None = last.data.get("commit")
            return commit
        entries = list(journal.entries())
        if not entries:
            journal.mend()
            return None
        done = {entry.data["id"] for entry in entries if entry.kind == "done"}
        intents = [e for e in entries if e.kind == "intent" and _sound(e, self.repo.may_write)]
        cut = entries[-1].data.get("boot") != boot()
        self._free("restage", None)
        for entry in intents:
            if cut or entry.data["id"] not in done:
                self._free(entry.data["id"], entry.data["ref"])
        if self.repo.under_way():
            return _acknowledged(entries)  # the rest when that is over
        if cut:
            self._after_a_cut(intents)
        # What is finished now is acknowledged last: what was so before it is looked for first.
        self.repo.keep_dropped(_acknowledged(entries), self.repo.head())
        for entry in intents:
            if entry.data["id"] not in done:
                self._finish(entry)
        self.pipeline.sweep(again=True)
        journal.mend()
        commit = _acknowledged(journal.entries())
        if cut or len(intents) < _count(entries):
            disk.flush_all(self.pipeline.root)
            journal.begin(commit, flush=True)
        return commit

    # ── a program that was killed ─────────────────────────────────────────────────────────────

    def _free(self, ident: str, branch: str | None) -> None:
        """Remove the locks that are second names of what this commit laid ready.

        Those of its own ``branch`` too, which HEAD may have left since.
        """
        tmp, heads = f"{self.pipeline.tmp}/{ident}", self.pipeline.heads
        found = [(f"{tmp}.index", self.pipeline.index.path, self.pipeline.lock)]
        with contextlib.suppress(UnfitHeadError):
            for ref in dict.fromkeys((heads.read().ref, branch)):
                found += [(f"{tmp}.ref", heads.place(ref), lock) for lock in heads.locks(ref)]
        for ours, place, lock in found:
            # Exchanged, and not moved away yet: the lock file is the one that was in the place.
            swapped = lock == f"{place}.lock" and same_file(ours, place)
            swapped = swapped and not os.path.exists(f"{ours}.was")
            if os.path.exists(lock) and (same_file(ours, lock) or swapped):
                disk.unlink(lock)
                self.told.append(f"removed the {os.path.basename(lock)} that it left")

    def _finish(self, entry: Entry) -> None:
        """Finish the commit of this intent, or find that there is nothing of it."""
        facts, journal = entry.data, self.pipeline.journal
        puts = _puts(facts)
        head = self.repo.head()
        commit: str | None = facts["commit"]
        if commit is None or not (head and self.repo.descends(commit, head)):
            states = self.repo.compare(puts)
            commit = None
            if _shows(puts, states) and any(
                states[path].head != put.blob for path, put in puts.items()
            ):
                commit = self._again(entry, puts, states)
        self.restage(puts)
        laid = Laid(self.pipeline.root, self.pipeline.tmp, facts["id"], puts)
        for path in laid.late():
            self.told.append(f"kept {path} as somebody had saved it")
        commit = commit or _acknowledged(journal.entries())
        journal.append(Entry("done", {"id": facts["id"], "commit": commit}), flush=False)

    def _again(self, entry: Entry, puts: Mapping[str, Put], states: Mapping[str, State]) -> str:
        """Make the commit again on top of HEAD, as it stands in the journal."""
        facts = entry.data
        made = {}
        for path, put in puts.items():
            state = states[path]
            if state.work == put.blob:  # the file is written; where HEAD is not so yet, take it
                made[path] = Put("take", put.blob, None, None, put.was, state.stat)
            elif put.how == "write" and state.work == put.was:
                made[path] = Put.known(put.blob, put.was)
            else:  # edited since, by a person: theirs stays in the work tree
                made[path] = Put("take", put.blob)
        person = Person(*facts["author"])
        when = datetime.fromisoformat(facts["when"])
        # A name that is new each time: recovery may be killed too, and leave what it laid ready.
        ident = f"{facts['id']}-{time.time_ns():x}"
        join = Join(*facts["join"]) if facts.get("join") else None
        done = self.repo.make(Draft(ident, made, facts["message"], person, when, join))
        subject = facts["message"].partition("\n")[0]
        self.told.append(f"finished the commit '{subject[:60]}'")
        return done.commit

    def restage(self, puts: Mapping[str, Put]) -> None:
        """Bring index entries that were left behind to HEAD's, where the file is HEAD's too."""
        states = self.repo.compare(puts)
        behind = {
            path: state
            for path, state in states.items()
            if state.work == state.head != state.staged and state.staged == puts[path].was
        }
        if behind:
            self.repo.restage(behind)

    # ── a power cut ───────────────────────────────────────────────────────────────────────────

    def _after_a_cut(self, intents: list[Entry]) -> None:
        """The journal is on the disk, whatever else is not: bring the rest to it."""
        if not intents:
            return
        pipeline = self.pipeline
        wrong = [
            one
            for entry in intents
            for one in entry.objects
            if not pipeline.objects.sound(one.oid.hex())
        ]
        for one in wrong:
            disk.unlink(pipeline.objects.path(one.oid.hex()))
        pipeline.objects.write(wrong, settle=True)
        if wrong:
            self.told.append(f"wrote {len(wrong)} objects again that the disk had lost")
        last = intents[-1]
        self._move_on(last)
        self._mend_index()
        self._mend_files(intents)

    def _move_on(self, last: Entry) -> None:
        """Bring the branch to the last commit, where it is from before it or cannot be read."""
        commit, ref = last.data["commit"], last.data["ref"]
        heads = self.pipeline.heads
        place = heads.place(ref)
        if commit is None or not self.pipeline.objects.sound(commit):
            return
        try:
            head = heads.read()
            stale = (
                head.ref == ref
                and head.commit != commit
                and not heads.left(ref, commit)
                and os.stat(place).st_mtime_ns < last.data["time"]
                and (head.commit is None or self.repo.descends(head.commit, commit))
            )
        except UnfitHeadError:  # an empty file where the branch was that HEAD names
            stale = ref is not None and heads.names() == ref
        except FileNotFoundError:
            stale = heads.read().commit is None
        if stale:
            spare = f"{self.pipeline.tmp}/head"
            disk.mkdir(self.pipeline.tmp)
            disk.unlink(spare)
            disk.write(spare, [commit.encode() + b"\n"], 0o666, settle=True)
            disk.mkdir(os.path.dirname(place))
            disk.rename(spare, place)
            self.told.append(f"brought the branch to its last commit, {commit[:7]}")

    def _mend_index(self) -> None:
        """An index that was not on the disk is made anew from HEAD; what was staged is lost."""
        if not self.repo.fast:
            return
        try:
            self.pipeline.index.load()
        except UnfitIndexError as error:
            if "damaged" in str(error):
                disk.unlink(self.pipeline.index.path)
                disk.unlink(self.pipeline.lock)
                self.told.append("made Git's index anew, which the disk had lost")

    def _mend_files(self, intents: list[Entry]) -> None:
        """Files that are older than what was acknowledged, or empty, get their last version."""
        latest: dict[str, tuple[Put, int]] = {}
        older: dict[str, list[Blob]] = {}
        for entry in intents:
            for path, put in _puts(entry.data).items():
                if put.how != "staged":
                    latest[path] = (put, entry.data["time"])
                    older.setdefault(path, []).extend([put.was] if put.was else [])
        states = self.repo.compare(latest)
        for path, (put, when) in latest.items():
            state = states[path]
            if state.work == put.blob or state.head != put.blob:
                continue
            target = f"{self.pipeline.root}/{path}"
            stat = plain_file(target)
            if stat and stat.st_ctime_ns > when + _SECOND:
                continue  # saved since
            data = self.pipeline.objects.read(put.blob.oid) if put.blob else None
            if not _damaged(target, data, older[path]):
                continue
            if data is None:
                disk.unlink(target)
            else:
                spare = f"{self.pipeline.tmp}/mended"
                disk.unlink(spare)
                disk.write(spare, [data], 0o666, settle=True)
                disk.mkdir(os.path.dirname(target))
                disk.rename(spare, target)
            self.told.append(f"wrote {path} again, which the disk had lost")
        self.restage({path: put for path, (put, _) in latest.items()})


def _damaged(target: str, data: bytes | None, older: list[Blob]) -> bool:
    """Whether a file is one that a power cut left: an older version, empty, or only its start."""
    if not os.path.exists(target):
        return data is not None
    now = read(target)[0]
    if any(blob.holds(now) for blob in older) or not now.strip(b"\0"):
        return True
    return data is not None and data.startswith(now.rstrip(b"\0"))


def _shows(puts: Mapping[str, Put], states: Mapping[str, State]) -> bool:
    """Whether anything of a commit is in the work tree."""
    written = [path for path, put in puts.items() if put.how == "write"]
    if written:
        return any(
            states[path].work == puts[path].blob and puts[path].blob != puts[path].was
            for path in written
        )
    return all(put.how == "take" and states[path].work == put.blob for path, put in puts.items())


def _puts(facts: Mapping[str, Any]) -> dict[str, Put]:
    def blob(of: list[Any] | None) -> Blob | None:
        return Blob(*of) if of else None

    return {path: Put(how, blob(new), was=blob(was)) for path, how, new, was in facts["puts"]}


def _sound(entry: Entry, inside: Callable[[str], bool]) -> bool:
    """Whether an intent is one that fsagent may have written: a directory can come from anyone."""
    try:
        ident, puts = entry.data["id"], _puts(entry.data)
        datetime.fromisoformat(entry.data["when"])
        ref = entry.data["ref"]
        if ref is not None and (not _REF.fullmatch(ref) or ".." in ref):
            return False
        if entry.data.get("join"):
            commit, over = entry.data["join"]
            if not _OID.fullmatch(commit) or not (over is None or _OID.fullmatch(over)):
                return False
        known = isinstance(entry.data["time"], int) and isinstance(entry.data["message"], str)
        return known and ident.replace("-", "").isalnum() and all(inside(path) for path in puts)
    except (KeyError, TypeError, ValueError):
        return False


def _count(entries: list[Entry]) -> int:
    return sum(entry.kind == "intent" for entry in entries)


def _acknowledged(entries: Iterable[Entry]) -> str | None:
    found = None
    for entry in entries:
        if entry.kind in ("done", "begun"):
            found = entry.data.get("commit") or found
    return found
