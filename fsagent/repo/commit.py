"""One commit, step by step: what a person's Git would do in thirty steps, in this process.

    plan      HEAD's trees with only these paths replaced, and the commit on top of HEAD
    objects   the new objects, each written beside its place and moved there
    lay       the files' new bytes, laid ready beside; nothing that Git sees has changed yet
    intend    one entry in the journal, one flush: from here on the change is done or not done
    lock      index.lock, so that no other git writes; if HEAD moved meanwhile, start over
    put       each file exchanged with the one that is there; what comes out is looked at later
    patch     the index's entries of these paths, and its cached trees
    move      the branch, by compare-and-swap under HEAD.lock and its own lock
    publish   the index
    done      a word in the journal; what was laid ready is cleared away

Whoever calls holds the lock ``write``, so that there is one such program at a time. A kill between
any two steps leaves what ``recovery`` can finish or give up; an error gives it up at once. Neither
hooks, signatures, filters nor line-end conversion take part.

Each lock file is a second name of a file below .git/fsagent/tmp that the journal's entry names.
While that file is there no other file can have its inode, so a left-over lock is proved to be ours
or is not ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from fsagent.errors import StoreError
from fsagent.locks import tries
from fsagent.repo import disk
from fsagent.repo.gitindex import GitIndex, git_mode, stat_bytes
from fsagent.repo.heads import Head, Heads, UnfitHeadError
from fsagent.repo.journal import Entry, Journal
from fsagent.repo.objects import Object, Objects, blob_id, encode
from fsagent.repo.puts import Blob, ConflictError, Draft, Made, MovedError, State
from fsagent.repo.run import COMMITTER
from fsagent.repo.trees import FOLDER, Entries, Surgery, parse
from fsagent.repo.worktree import Laid, as_read, plain_file, read, same_file

PATIENCE = 3.0
"""Seconds to wait for a person's git or editor plug-in that holds Git's own lock."""

_CARRIED = 8 << 20
"""Bytes of new objects up to which the journal carries them: one flush covers them all."""

_PLAIN, _USUAL = 0o10, 0o100644
"""The kind of a plain file in a mode of Git's, and the mode that most have."""

_TREES = 256
"""Parsed trees that are kept in memory."""


@dataclass
class _Plan:
    """A commit that is about to be made."""

    id: str
    draft: Draft
    head: Head
    commit: Object
    objects: list[Object]
    surgery: Surgery
    laid: Laid
    moved: bool = False
    untidy: bool = False
    """A lock could not be removed: recovery will, which needs what was laid ready."""

    @property
    def touches_index(self) -> bool:
        """Whether index and work tree take part."""
        return any(put.how != "staged" for put in self.draft.puts.values())


class Pipeline:
    """The way of one repository's commits.

    Args:
        root: The work tree.
        heads: HEAD and its branch.
        objects: Where objects are.
        journal: What is under way.
    """

    durable = True
    """Whether a commit survives a power cut; a program's end it survives in any case."""

    def __init__(self, root: str, heads: Heads, objects: Objects, journal: Journal) -> None:
        self.root = root
        self.heads = heads
        self.objects = objects
        self.journal = journal
        self.tmp = f"{heads.git_dir}/fsagent/tmp"
        self.lock = f"{heads.git_dir}/index.lock"
        self.index = GitIndex(f"{heads.git_dir}/index", root)
        self.trusts_modes = True
        self.builds_on: Callable[[str | None], None] = lambda head: None
        """Told of each commit that the next one is about to stand on."""
        self._trees: dict[bytes, Entries] = {}
        self._swept = False

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def compare(self, paths: Iterable[str]) -> dict[str, State]:
        """HEAD, index and work tree of these paths, without a process.

        Raises:
            ConflictError: naming a path that a merge left in conflict.
            UnfitIndexError, UnfitHeadError: only Git can read them.
        """
        self.index.load()
        head = self.heads.read()
        tree = self._tree_of(head.commit)
        found = {}
        for path in paths:
            name = os.fsencode(path)
            if self.index.unmerged(name):
                raise ConflictError(path)
            entry = self.index.get(name)
            is_file = entry and not entry.intent and entry.mode >> 12 == _PLAIN
            staged = Blob(entry.oid.hex(), entry.mode) if entry and is_file else None
            work, data, stat = None, None, plain_file(f"{self.root}/{path}")
            if stat:
                mode = self.mode(stat, staged)
                if staged and entry and self.index.fresh(entry, stat, mode):
                    work = staged
                else:
                    data, stat = read(f"{self.root}/{path}")
                    work = Blob(blob_id(data), mode)
                    data = data if work != staged else None  # which may be large
            elif entry and entry.left_out:
                work = staged
            found[path] = State(self._in_tree(tree, name), staged, work, data, stat)
        return found

    def mode(self, stat: os.stat_result, staged: Blob | None) -> int:
        """The mode of a file: what is staged, where the file system's bits say nothing."""
        if self.trusts_modes:
            return git_mode(stat)
        return staged.mode if staged else _USUAL

    def _tree_of(self, commit: str | None) -> bytes | None:
        """The tree of a commit, whose object begins with "tree <40 hex digits>"."""
        return bytes.fromhex(self.objects.read(commit)[5:45].decode("ascii")) if commit else None

    def _entries(self, tree: bytes) -> Entries:
        found = self._trees.get(tree)
        if found is None:
            found = parse(self.objects.read(tree.hex()))
            self._remember({tree: found})
        return found

    def _remember(self, trees: Mapping[bytes, Entries]) -> None:
        self._trees.update(trees)
        while len(self._trees) > _TREES:
            del self._trees[next(iter(self._trees))]

    def _in_tree(self, tree: bytes | None, path: bytes) -> Blob | None:
        mode, oid = FOLDER, tree
        for name in path.split(b"/"):
            if mode != FOLDER or oid is None:
                return None
            mode, oid = self._entries(oid).get(name, (b"", None))
        return Blob(oid.hex(), int(mode, 8)) if oid and mode.startswith(b"100") else None

    # ── the commit ────────────────────────────────────────────────────────────────────────────

    def commit(self, draft: Draft, seen: Mapping[str, Blob | None] | None = None) -> Made:
        """Commit exactly the draft's paths on top of HEAD, starting over when it moves meanwhile.

        Args:
            draft: The commit.
            seen: What HEAD held for its paths when they were looked at; None: what it holds now.

        Raises:
            MovedError: somebody committed or saved one of these paths meanwhile.
            ConflictError: a merge left a conflict in one of them.
            UnfitIndexError, UnfitHeadError: only Git can write here.
            StoreError: a lock is not to be had, or the disk refuses; nothing is changed then.
        """
        end = time.monotonic() + PATIENCE
        attempt, looked = 0, seen is not None
        while attempt == 0 or time.monotonic() < end:
            head = self.heads.read()
            self.builds_on(head.commit)
            tree = self._tree_of(head.commit)
            known = {path: self._in_tree(tree, os.fsencode(path)) for path in draft.puts}
            if (seen := known if seen is None else seen) != known:
                raise MovedError
            plan = self._plan(draft, head, tree, attempt)
            try:
                made = self._carry_out(plan, looked)
                if made:
                    return made
            except OSError as error:
                raise refused(error, self.root) from error
            attempt += 1
        raise StoreError(f"Somebody else commits to {self.root} all the time: try again later.")

    def _carry_out(self, plan: _Plan, looked: bool) -> Made | None:
        """The steps, in order; None when HEAD moved before ours, and nothing was changed.

        ``looked`` says that the files were read for this commit, and not by a program before.
        """
        disk.mkdir(self.tmp)
        try:
            self.objects.write(plan.objects, settle=self.durable)
            self._lay(plan)
            self._intend(plan)
            if plan.touches_index:
                self.take(f"{self.tmp}/{plan.id}.index", self.lock)
                if self.heads.read() != plan.head:
                    self._give_up(plan)
                    return None
                if looked and not as_read(self.root, plan.draft.puts):
                    raise MovedError
                plan.laid.put()
                self._patch(plan)
            if not self._move(plan):
                self._give_up(plan)
                return None
        except BaseException:
            # Ctrl-C can come between a step and the next word here: only the branch itself says.
            if plan.moved or self._stands(plan):
                self._finish(plan)
            else:
                self._give_up(plan)
            raise
        return self._finish(plan)

    def _stands(self, plan: _Plan) -> bool:
        """Whether the branch has moved to this commit."""
        try:
            return self.heads.read().commit == plan.commit.oid.hex()
        except UnfitHeadError:
            return False

    def _finish(self, plan: _Plan) -> Made:
        """The commit is in the history; what is left can be done at any time."""
        self._publish(plan)
        late = plan.laid.late()
        self._done(plan)
        return Made(plan.commit.oid.hex(), late)

    def _plan(self, draft: Draft, head: Head, tree: bytes | None, attempt: int) -> _Plan:
        """Trees and commit (git-scm.com/docs/gitformat-pack, "object types"), in memory."""
        surgery, join = Surgery(self._entries), draft.join
        root = surgery.root(
            tree,
            {
                os.fsencode(path): (b"%o" % put.blob.mode, bytes.fromhex(put.blob.oid))
                if put.blob
                else None
                for path, put in draft.puts.items()
            },
        )
        stamp = f"{int(draft.when.timestamp())} +0000"
        lines = [f"tree {root.hex()}"]
        lines += [f"parent {parent}" for parent in (head.commit, join and join.commit) if parent]
        lines += [f"author {draft.author.name} <{draft.author.email}> {stamp}"]
        lines += [f"committer {COMMITTER} {stamp}", "", draft.message]
        commit = encode(b"commit", "\n".join(lines).encode(errors="replace"))
        blobs = [put.made for put in draft.puts.values() if put.made]
        objects = [*blobs, *surgery.made, commit]
        if join and join.over == head.commit and root == self._tree_of(join.commit):
            commit, objects = Object(bytes.fromhex(join.commit), b""), []  # which is there
        ident = f"{draft.id}-{attempt}"
        laid = Laid(self.root, self.tmp, ident, draft.puts)
        return _Plan(ident, draft, head, commit, objects, surgery, laid)

    def _lay(self, plan: _Plan) -> None:
        """Lay everything ready beside: the files' new bytes, the branch's, and an empty index."""
        plan.laid.lay(self.objects.read, settle=self.durable)
        commit = plan.commit.oid.hex().encode() + b"\n"
        disk.write(f"{self.tmp}/{plan.id}.ref", [commit], 0o666, settle=self.durable)
        if plan.touches_index:
            disk.write(f"{self.tmp}/{plan.id}.index", [], 0o666)

    def _intend(self, plan: _Plan) -> None:
        """Say in the journal what is about to be done."""
        small = [one for one in plan.objects if len(one.packed) <= disk.LARGE]
        if self.durable and sum(len(one.packed) for one in small) > _CARRIED:
            disk.flush_all(self.root)
            small = []
        entry = intent(plan.id, plan.draft, plan.head, plan.commit.oid.hex())
        self.journal.append(replace(entry, objects=tuple(small)), flush=self.durable)
        plan.objects.clear()

    def take(self, ours: str, lock: str) -> None:
        """Take a lock of Git's as a second name of ``ours``; wait while somebody else holds it."""
        for last in tries(PATIENCE):
            try:
                disk.link(ours, lock)
                return
            except FileExistsError:
                if last:
                    raise held(lock) from None
            except FileNotFoundError:  # ``git pack-refs`` removes folders of refs that are empty
                if last or not os.path.exists(ours):
                    raise
                disk.mkdir(os.path.dirname(lock))

    def _patch(self, plan: _Plan) -> None:
        """The index's entries of these paths, from the files as they are now."""
        self.index.load()
        entries: dict[bytes, tuple[bytes, bytes] | None] = {}
        for path, put in plan.draft.puts.items():
            name = os.fsencode(path)
            if self.index.unmerged(name):
                raise ConflictError(path)
            entries[name] = None
            if put.blob:
                stat = put.stat if put.how == "take" else plan.laid.stat(path)
                entries[name] = (bytes.fromhex(put.blob.oid), stat_bytes(stat, put.blob.mode))
        self.index.change(entries, plan.surgery.folders)
        disk.fill(f"{self.tmp}/{plan.id}.index", self.index.image(), settle=self.durable)

    def _move(self, plan: _Plan) -> bool:
        """Compare-and-swap of the branch, under Git's own locks; False when HEAD had moved."""
        ours = f"{self.tmp}/{plan.id}.ref"
        ref = plan.head.ref
        locks = self.heads.locks(ref)
        taken: list[str] = []
        try:
            for lock in locks:
                self.take(ours, lock)
                taken.append(lock)
            if self.heads.read() != plan.head:
                return False
            subject = plan.draft.message.partition("\n")[0][:100]
            line = f"{COMMITTER} {int(plan.draft.when.timestamp())} +0000\t{subject}"
            self.heads.note(ref, plan.head.commit, plan.commit.oid.hex(), line)
            self._swap_in(plan, taken[-1], self.heads.place(ref), f"{ours}.was")
            taken.pop()
            plan.moved = True
        finally:
            for lock in taken:
                try:
                    disk.unlink(lock)
                except OSError:
                    plan.untidy = True
        return True

    def _publish(self, plan: _Plan) -> None:
        """Put the new index in its place, which frees Git's lock."""
        if not plan.touches_index:
            return
        try:
            stat = os.stat(self.lock)
            self._swap_in(plan, self.lock, self.index.path, f"{self.tmp}/{plan.id}.index.was")
            self.index.written(stat)
        except OSError:  # the commit stands; the next recovery brings the index along
            self.index.forget()
            plan.untidy = True
        except BaseException:
            self.index.forget()
            raise

    def _swap_in(self, plan: _Plan, lock: str, target: str, was: str) -> None:
        """Put a lock file in the place of what it locks, and so free the lock.

        The old file becomes ``was`` last: where that is, a lock that is found is not ours. Not by a
        rename over the old one: ``disk.swap`` says what that costs.
        """
        try:
            disk.swap(lock, target)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOENT):
                raise
            disk.link(target if os.path.exists(target) else lock, was)
            disk.rename(lock, target)
            return
        try:
            disk.rename(lock, was)
        except OSError:
            plan.untidy = True

    def _done(self, plan: _Plan) -> None:
        """Say so in the journal, and clear away what was laid ready."""
        self._remember(plan.surgery.entries)
        if plan.untidy:
            return
        with contextlib.suppress(OSError):  # recovery finds the commit done without this word
            facts = {"id": plan.id, "commit": plan.commit.oid.hex()}
            self.journal.append(Entry("done", facts), flush=False)
            self.clear(plan.id)
            if self.journal.full:  # all of it is done: once the disk has it, it may go
                if self.durable:
                    disk.flush_all(self.root)
                self.journal.begin(facts["commit"], flush=self.durable)

    def _give_up(self, plan: _Plan) -> None:
        """Leave everything as it was found: files, locks, and no intent in the journal."""
        self.index.forget()
        plan.laid.back()
        if plan.touches_index and same_file(f"{self.tmp}/{plan.id}.index", self.lock):
            disk.unlink(self.lock)
        if plan.untidy:
            for lock in self.heads.locks(plan.head.ref):
                if same_file(f"{self.tmp}/{plan.id}.ref", lock):
                    disk.unlink(lock)
        self.journal.take_back(plan.id, flush=self.durable)
        self.clear(plan.id)

    def clear(self, ident: str) -> None:
        """Remove what was laid ready for a commit; with "" for any."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.tmp):
                if name.startswith(f"{ident}." if ident else ""):
                    disk.unlink(f"{self.tmp}/{name}")

    def litter(self) -> bool:
        """Whether something is laid ready: by a commit under way, or by one that was killed."""
        try:
            return bool(os.listdir(self.tmp))
        except FileNotFoundError:
            return False

    def sweep(self, *, again: bool = False) -> None:
        """Remove what earlier programs left of commits that are done, once in this one's life."""
        if again or not self._swept:
            self.clear("")
            self._swept = True

    def restage(self, states: Mapping[str, State]) -> None:
        """Let the index say for these paths what the work tree holds, as ``git add`` would."""
        ours = f"{self.tmp}/restage.index"
        disk.mkdir(self.tmp)
        disk.unlink(ours)
        disk.write(ours, [], 0o666)
        self.take(ours, self.lock)
        try:
            self.index.load()
            entries: dict[bytes, tuple[bytes, bytes] | None] = {}
            folders: dict[bytes, None] = {b"": None}
            for path, state in states.items():
                name, blob = os.fsencode(path), state.work
                entries[name] = None
                if blob:
                    entries[name] = bytes.fromhex(blob.oid), stat_bytes(state.stat, blob.mode)
                for end in (at for at, byte in enumerate(name) if byte == 0x2F):
                    folders[name[:end]] = None
            self.index.change(entries, folders)
            disk.fill(ours, self.index.image(), settle=self.durable)
            disk.rename(self.lock, self.index.path)
        finally:
            self.index.forget()
            if same_file(ours, self.lock):
                disk.unlink(self.lock)
            disk.unlink(ours)


def held(lock: str) -> StoreError:
    """What a person is told of one of Git's locks that nobody lets go of."""
    return StoreError(
        f"Another git process holds {lock}. Let it finish; if none is running, delete that file."
    )


def refused(error: OSError, root: str) -> StoreError:
    """What a person is told when the disk refused a step, and everything is as it was."""
    what = error.filename2 or error.filename or root
    if error.errno == errno.EXDEV:
        return StoreError(
            f"{what} is not on the file system of {root}/.git, so no file can be exchanged in one "
            "step. Nothing was changed; keep the work tree and .git on one file system."
        )
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
        return StoreError(
            f"{what} is in the way: a file stands where a folder is needed, or a folder with other "
            "files where a file is. Nothing was changed; move it away, and try again."
        )
    return StoreError(
        f"{what} cannot be written: {error.strerror or error}. Nothing was changed; make room or "
        "mend the permissions, and try again."
    )


def intent(ident: str, draft: Draft, head: Head, commit: str | None) -> Entry:
    """What the journal says of a commit that is about to be made on ``head``.

    ``ident`` names the attempt; ``commit`` is None while its id is unknown.
    """

    def blob(of: Blob | None) -> list[object] | None:
        return [of.oid, of.mode] if of else None

    facts = {
        "id": ident,
        "time": time.time_ns(),
        "ref": head.ref,
        "parent": head.commit,
        "commit": commit,
        "author": [draft.author.name, draft.author.email],
        "when": draft.when.isoformat(),
        "message": draft.message,
        "puts": [
            [path, put.how, blob(put.blob), blob(put.was)] for path, put in draft.puts.items()
        ],
        "join": [draft.join.commit, draft.join.over] if draft.join else None,
    }
    return Entry("intent", facts)
