"""The way of Git itself, for repositories whose files this program does not write.

Taken where objects are named by SHA-256, refs lie in a reftable, the index is split, sparse or of
version 4, or the repository is shared by a group. ``git commit --only`` commits the named paths
from the work tree and leaves everything else that is staged as it was
(git-scm.com/docs/git-commit). Hooks, signing and filters take no part here either.

The steps are those of ``commit``, with Git in the place of some: it works on an index of its own,
while we hold Git's lock as a second name of a file of ours, so that a kill leaves no lock but one
that is proved to be ours.

    intend    one entry in the journal; the commit's id is not known yet
    lock      index.lock; if somebody committed one of the paths meanwhile, look again
    put       each file exchanged with the one that is there
    commit    by ``git commit --only``, on a second name of the index; a merge, which that refuses,
              by ``git commit-tree`` from an index of its own, and ``git update-ref``
    publish   that index in the place of the old one
    done      a word in the journal; what was laid ready is cleared away
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from fsagent.errors import StoreError
from fsagent.locks import tries
from fsagent.repo import disk
from fsagent.repo.commit import PATIENCE, Pipeline, held, intent, refused
from fsagent.repo.heads import Head
from fsagent.repo.journal import Entry
from fsagent.repo.objects import blob_id
from fsagent.repo.puts import Blob, ConflictError, Draft, Join, Made, MovedError, Put, State
from fsagent.repo.run import GitFailed
from fsagent.repo.worktree import Laid, as_read, plain_file, read, same_file


class Git(Protocol):
    """Runs a git command in the repository; further variables of its environment may be given."""

    def __call__(
        self, *args: str, stdin: bytes = b"", more: Mapping[str, str] | None = None
    ) -> bytes:
        """What the command prints; GitFailed when it fails."""


class Slow:
    """Commits through processes of git. The same questions as ``Pipeline`` answers.

    Args:
        pipeline: The repository's other way, for what both share: the journal, the locks.
        git: Runs git in it.
    """

    def __init__(self, pipeline: Pipeline, git: Git) -> None:
        self.root = pipeline.root
        self.tmp = pipeline.tmp
        self.pipeline = pipeline
        self.git = git

    @cached_property
    def _algorithm(self) -> str:
        """What names objects here: sha1 or sha256."""
        return self._read("rev-parse", "--show-object-format")

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def compare(self, paths: Iterable[str]) -> dict[str, State]:
        """HEAD, index and work tree of these paths."""
        wanted = list(paths)
        heads = self._in_head(wanted)
        lines = self._lines("ls-files", "-s", "-t", "-z", "--", *wanted)
        staged = _blobs(line[2:] for line in lines)  # each begins with a letter
        left_out = _blobs(line[2:] for line in lines if line.startswith(b"S "))
        found = {}
        for path in wanted:
            work, data = None, None
            stat = plain_file(f"{self.root}/{path}")
            if stat:
                data, stat = read(f"{self.root}/{path}")
                mode = self.pipeline.mode(stat, staged.get(path))
                work = Blob(blob_id(data, self._algorithm), mode)
                data = data if work != staged.get(path) else None  # which may be large
            elif path in left_out:
                work = staged.get(path)
            found[path] = State(heads.get(path), staged.get(path), work, data, stat)
        return found

    def _in_head(self, paths: Iterable[str]) -> dict[str, Blob]:
        try:
            return self._listed("ls-tree", "-z", "--full-tree", "HEAD", "--", *paths)
        except GitFailed:  # no commit yet
            return {}

    def _listed(self, *args: str) -> dict[str, Blob]:
        """What ``ls-tree`` or ``ls-files -s`` lists, by path."""
        return _blobs(self._lines(*args))

    def _lines(self, *args: str) -> list[bytes]:
        return self.git(*args).split(b"\0")[:-1]

    def _read(self, *args: str) -> str:
        return self.git(*args).decode().strip()

    def _head(self) -> str | None:
        try:
            return self._read("rev-parse", "--verify", "-q", "HEAD")
        except GitFailed:  # no commit yet
            return None

    # ── the commit ────────────────────────────────────────────────────────────────────────────

    def commit(self, draft: Draft, seen: Mapping[str, Blob | None] | None = None) -> Made:
        """Commit exactly the draft's paths on top of HEAD; see ``Pipeline.commit``."""
        disk.mkdir(self.tmp)
        draft = replace(draft, puts={path: self._stored(put) for path, put in draft.puts.items()})
        ident, puts = draft.id, draft.puts
        before, laid = self._head(), Laid(self.root, self.tmp, ident, puts)
        self.pipeline.builds_on(before)
        merge = None
        try:
            if draft.join:
                merge = self._merge(draft, draft.join, before)
            if not merge and all(put.how == "staged" for put in puts.values()):
                self._commit_staged(draft)
            else:
                laid.lay(self.pipeline.objects.read, settle=self.pipeline.durable)
                disk.write(f"{self.tmp}/{ident}.index", [], 0o666)
                entry = intent(ident, draft, Head(None, before), None)
                self.pipeline.journal.append(entry, flush=self.pipeline.durable)
                self.pipeline.take(f"{self.tmp}/{ident}.index", self.pipeline.lock)
                if seen is not None and not self._is_as_seen(puts, seen):
                    raise MovedError
                laid.put()
                if merge:
                    self._move_to(merge, before, draft)
                else:
                    self._commit_only(draft)
        except BaseException as error:
            # Ctrl-C reaches git as well, and can come after its last word: only HEAD says.
            if self._head() == merge if merge else self._stands(before, puts):
                self._finish(ident, laid)
            else:
                self._give_up(ident, laid)
            if isinstance(error, OSError):
                raise refused(error, self.root) from error
            raise
        return self._finish(ident, laid)

    def _is_as_seen(self, puts: Mapping[str, Put], seen: Mapping[str, Blob | None]) -> bool:
        """Whether HEAD and the files that are taken are still what was looked at."""
        head = {path: blob for path, blob in seen.items() if blob}
        return self._in_head(puts) == head and as_read(self.root, puts)

    def _stored(self, put: Put) -> Put:
        """The same with its blob in the repository, under the name that it has there."""
        if put.data is None or put.blob is None:
            return put
        oid = self._git("hash-object", "-w", "--stdin", "--no-filters", stdin=put.data)
        return replace(put, blob=Blob(oid.decode().strip(), put.blob.mode), made=None)

    def _git(self, *args: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        """Run a command that writes, again while somebody else holds one of Git's locks."""
        sync = ("-c", "core.fsync=all") if self.pipeline.durable else ()
        for last in tries(PATIENCE):
            try:
                return self.git(*sync, *args, stdin=stdin, more=more)
            except GitFailed as error:
                lock = re.search(r"'([^']+\.lock)'", error.text)
                if last and lock:
                    raise held(lock[1]) from error
                if last or not lock:
                    said = " ".join(error.text.split())[:200]
                    raise StoreError(f"Git refused: {said}") from error
        raise AssertionError("the last of the tries returns or raises")

    def _commit_only(self, draft: Draft) -> None:
        """Commit the paths from the work tree, on an index of our own, which then is Git's."""
        puts = draft.puts
        index, work = self.pipeline.index.path, f"{self.tmp}/{draft.id}.work"
        with contextlib.suppress(FileNotFoundError):
            disk.link(index, work)  # git never changes an index in place
        mine = {"GIT_INDEX_FILE": work}
        here = [path for path in puts if plain_file(f"{self.root}/{path}")]
        known = self._listed("ls-files", "-s", "-z", "--", *puts)
        # Where a folder is now, what git puts into it takes the file's place.
        stood = [path for path in puts if path not in here and path in known]
        gone = [path for path in stood if not os.path.isdir(f"{self.root}/{path}")]
        if here:
            self._git("add", "-f", "--sparse", "--", *here, more=mine)
        self._git(
            *("commit", "-q", "--only", "--no-verify", "--no-gpg-sign", "--allow-empty"),
            *("--no-post-rewrite", "--cleanup=verbatim", "-F", "-", "--", *here, *gone),
            stdin=draft.message.encode(errors="replace"),
            more={**_who(draft), **mine},
        )

    def _commit_staged(self, draft: Draft) -> None:
        """Commit blobs that are neither in the work tree nor left in the index, as from HEAD."""
        more = {**_who(draft), **self._staged(draft, self._head())}
        self._git(
            *("commit", "-q", "--no-verify", "--no-gpg-sign", "--allow-empty"),
            *("--cleanup=verbatim", "-F", "-"),
            stdin=draft.message.encode(errors="replace"),
            more=more,
        )

    def _merge(self, draft: Draft, join: Join, before: str | None) -> str:
        """The commit that joins two histories; nothing names it yet."""
        mine = self._staged(draft, before)
        tree = self._git("write-tree", more=mine).decode().strip()
        if join.over == before and tree == self._read("rev-parse", f"{join.commit}^{{tree}}"):
            return join.commit
        parents = [word for parent in (before, join.commit) if parent for word in ("-p", parent)]
        message = draft.message.encode(errors="replace")
        made = self._git(
            *("commit-tree", "--no-gpg-sign", *parents, "-F", "-", tree),
            stdin=message,
            more=_who(draft),
        )
        return made.decode().strip()

    def _staged(self, draft: Draft, head: str | None) -> dict[str, str]:
        """An index of our own, which holds what ``head`` does, but for the draft's paths."""
        mine = {"GIT_INDEX_FILE": f"{self.tmp}/{draft.id}.staged"}
        self._git("read-tree", head or "--empty", more=mine)
        self._stage(draft.puts, mine)
        return mine

    def _stage(self, puts: Mapping[str, Put], index: Mapping[str, str]) -> None:
        """Let an index hold these blobs, whatever stands in the work tree."""
        nothing = Blob("0" * (40 if self._algorithm == "sha1" else 64), 0)
        entries = [
            f"{blob.mode:o} {blob.oid}\t".encode() + os.fsencode(path) + b"\0"
            # What goes, goes first: a file may come in the place of a folder.
            for path, put in sorted(puts.items(), key=lambda one: one[1].blob is not None)
            for blob in [put.blob or nothing]
        ]
        if entries:
            self._git("update-index", "-z", "--index-info", stdin=b"".join(entries), more=index)

    def _move_to(self, commit: str, before: str | None, draft: Draft) -> None:
        """Let the branch name a commit that is there, and the index to come hold its files.

        Raises:
            MovedError: the branch has moved meanwhile.
        """
        work = f"{self.tmp}/{draft.id}.work"
        with contextlib.suppress(FileNotFoundError):
            disk.link(self.pipeline.index.path, work)
        mine = {"GIT_INDEX_FILE": work}
        self._stage(draft.puts, mine)
        with contextlib.suppress(GitFailed):  # it says so where a file differs from what is staged
            self.git("update-index", "-q", "--refresh", more=mine)
        subject = draft.message.partition("\n")[0][:100]
        try:
            self._git("update-ref", "-m", subject, "HEAD", commit, before or "", more=_who(draft))
        except StoreError as error:
            if self._head() != before:
                raise MovedError from error
            raise

    def _stands(self, before: str | None, puts: Mapping[str, Put]) -> bool:
        """Whether HEAD has moved to a commit that holds all of this."""
        with contextlib.suppress(StoreError):
            blobs = {path: put.blob for path, put in puts.items() if put.blob}
            return self._head() != before and self._in_head(puts) == blobs
        return False

    def _finish(self, ident: str, laid: Laid) -> Made:
        """The commit is in the history; what is left can be done at any time."""
        commit, journal = self._head() or "", self.pipeline.journal
        with contextlib.suppress(FileNotFoundError):  # there is none after a commit of "staged"
            disk.rename(f"{self.tmp}/{ident}.work", self.pipeline.index.path)
        self._unlock(ident)
        late = laid.late()
        journal.append(Entry("done", {"id": ident, "commit": commit}), flush=False)
        self.pipeline.clear(ident)
        return Made(commit, late)

    def _give_up(self, ident: str, laid: Laid) -> None:
        """Leave everything as it was found: files, locks, and no intent in the journal."""
        laid.back()
        self._unlock(ident)
        self.pipeline.journal.take_back(ident, flush=self.pipeline.durable)
        self.pipeline.clear(ident)

    def _unlock(self, ident: str) -> None:
        if same_file(f"{self.tmp}/{ident}.index", self.pipeline.lock):
            disk.unlink(self.pipeline.lock)

    def restage(self, states: Mapping[str, State]) -> None:
        """Let the index say for these paths what HEAD holds."""
        self._git("reset", "-q", "HEAD", "--", *states)


def _blobs(lines: Iterable[bytes]) -> dict[str, Blob]:
    """The files in lines of ``ls-tree`` or ``ls-files -s``, by path."""
    found = {}
    for line in lines:
        info, path = line.split(b"\t", 1)
        mode, *rest = info.decode().split()
        if rest[0] not in ("blob", "tree") and rest[1] != "0":
            raise ConflictError(os.fsdecode(path))
        oid = rest[1] if rest[0] == "blob" else rest[0]
        if mode.startswith("100"):
            found[os.fsdecode(path)] = Blob(oid, int(mode, 8))
    return found


def _who(draft: Draft) -> dict[str, str]:
    """The author and the time of a commit, as Git is told them."""
    time = f"@{int(draft.when.timestamp())} +0000"
    return {
        "GIT_AUTHOR_NAME": draft.author.name,
        "GIT_AUTHOR_EMAIL": draft.author.email,
        "GIT_AUTHOR_DATE": time,
        "GIT_COMMITTER_DATE": time,
    }
