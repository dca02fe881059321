"""The way of Git itself, for repositories whose files this program does not write.

Taken where objects are named by SHA-256, refs lie in a reftable, the index is split, sparse or of
version 4, or the repository is shared by a group. ``git commit --only`` commits the named paths
from the work tree and leaves everything else that is staged as it was
(git-scm.com/docs/git-commit). Hooks, signing and filters take no part here either.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from fsagent.errors import StoreError
from fsagent.repo import disk
from fsagent.repo.commit import exchange, plain_file, read
from fsagent.repo.gitindex import git_mode
from fsagent.repo.puts import Blob, ConflictError, Made, Put, State
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from fsagent.records import Person

PATIENCE = 3.0


class Git(Protocol):
    """Runs a git command in the repository; further variables of its environment may be given."""

    def __call__(
        self, *args: str, stdin: bytes = b"", more: Mapping[str, str] | None = None
    ) -> bytes:
        """What the command prints; GitFailed when it fails."""


class Slow:
    """Commits through processes of git. The same two questions as ``Pipeline`` answers."""

    def __init__(self, root: str, tmp: str, git: Git, durable: bool) -> None:
        self.root = root
        self.tmp = tmp
        self.git = git
        self.durable = durable

    def compare(self, paths: Iterable[str]) -> dict[str, State]:
        """HEAD, index and work tree of these paths."""
        wanted = list(paths)
        try:
            heads = self._listed("ls-tree", "-z", "--full-tree", "HEAD", "--", *wanted)
        except GitFailed:  # no commit yet
            heads = {}
        staged = self._listed("ls-files", "-s", "-z", "--", *wanted)
        found = {}
        for path in wanted:
            work, data = None, None
            stat = plain_file(f"{self.root}/{path}")
            if stat:
                data, stat = read(f"{self.root}/{path}")
                oid = self.git("hash-object", "--stdin", "--no-filters", stdin=data)
                work = Blob(oid.decode().strip(), git_mode(stat))
            found[path] = State(heads.get(path), staged.get(path), work, data, stat)
        return found

    def _listed(self, *args: str) -> dict[str, Blob]:
        """What ``ls-tree`` or ``ls-files -s`` lists, by path."""
        found = {}
        for line in self.git(*args).split(b"\0")[:-1]:
            info, path = line.split(b"\t", 1)
            mode, *rest = info.decode().split()
            if rest[0] not in ("blob", "tree") and rest[1] != "0":
                raise ConflictError(os.fsdecode(path))
            oid = rest[1] if rest[0] == "blob" else rest[0]
            if mode.startswith("100"):
                found[os.fsdecode(path)] = Blob(oid, int(mode, 8))
        return found

    def commit(
        self, puts: Mapping[str, Put], message: str, author: Person, when: datetime, ident: str
    ) -> Made:
        """Commit exactly ``puts`` on top of HEAD; see ``Pipeline.commit``."""
        who = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_AUTHOR_DATE": f"@{int(when.timestamp())} +0000",
            "GIT_COMMITTER_DATE": f"@{int(when.timestamp())} +0000",
        }
        if all(put.how == "staged" for put in puts.values()):
            self._commit_staged(puts, message, who, ident)
            return Made(self._head())
        disk.mkdir(self.tmp)
        out: dict[str, str] = {}
        try:
            for number, (path, put) in enumerate(puts.items()):
                if put.how == "write":
                    self._put(path, put, f"{self.tmp}/{ident}.{number}", out)
            self._commit_only(list(puts), message, who)
        except BaseException as error:
            for path, spare in out.items():
                self._back(path, spare)
            if isinstance(error, OSError):
                raise StoreError(
                    f"{error.filename or self.root} cannot be written: {error.strerror}. "
                    "Nothing was changed."
                ) from error
            raise
        late = tuple(path for path, spare in out.items() if self._late(path, puts[path], spare))
        return Made(self._head(), late)

    def _head(self) -> str:
        return self.git("rev-parse", "HEAD").decode().strip()

    def _put(self, path: str, put: Put, spare: str, out: dict[str, str]) -> None:
        target = f"{self.root}/{path}"
        old = plain_file(target)
        if put.data is None:
            if old:
                disk.rename(target, spare)
                out[path] = spare
            return
        disk.write(spare, [put.data], old.st_mode & 0o777 if old else 0o666, settle=self.durable)
        disk.mkdir(os.path.dirname(target))
        if old:
            out[path] = exchange(spare, target)
        else:
            disk.rename(spare, target)
            out[path] = spare

    def _back(self, path: str, spare: str) -> None:
        target = f"{self.root}/{path}"
        if not os.path.exists(spare):
            disk.unlink(target)
        elif os.path.exists(target):
            exchange(spare, target)
            disk.unlink(spare)
        else:
            disk.rename(spare, target)

    def _late(self, path: str, put: Put, spare: str) -> bool:
        """Whether somebody saved the file in this moment; then theirs stands again."""
        if not os.path.exists(spare):
            return False
        oid = self.git("hash-object", "--stdin", "--no-filters", stdin=read(spare)[0])
        late = oid.decode().strip() not in {b.oid for b in (put.was, put.blob) if b}
        if late:
            self._back(path, spare)
        disk.unlink(spare)
        return late

    def _commit_only(self, paths: list[str], message: str, who: Mapping[str, str]) -> None:
        here = [path for path in paths if plain_file(f"{self.root}/{path}")]
        known = self._listed("ls-files", "-s", "-z", "--", *paths)
        gone = [path for path in paths if path not in here and path in known]
        if here:
            self.patiently("add", "-f", "--sparse", "--", *here)
        sync = ("-c", "core.fsync=all") if self.durable else ()
        self.patiently(
            *sync,
            *("commit", "-q", "--only", "--no-verify", "--no-gpg-sign", "--allow-empty"),
            *("--no-post-rewrite", "--cleanup=verbatim", "-F", "-", "--", *here, *gone),
            stdin=message.encode(errors="replace"),
            more=who,
        )

    def _commit_staged(
        self, puts: Mapping[str, Put], message: str, who: Mapping[str, str], ident: str
    ) -> None:
        """Commit blobs that are neither in the work tree nor left in the index, as from HEAD."""
        disk.mkdir(self.tmp)
        more = {**who, "GIT_INDEX_FILE": f"{self.tmp}/{ident}.index"}
        try:
            try:
                self.git("read-tree", "HEAD", more=more)
            except GitFailed:  # no commit yet
                self.git("read-tree", "--empty", more=more)
            for path, put in puts.items():
                if put.blob:
                    entry = f"{put.blob.mode:o},{put.blob.oid},{path}"
                    self.git("update-index", "--add", "--replace", "--cacheinfo", entry, more=more)
                else:
                    self.git("update-index", "--force-remove", "--", path, more=more)
            self.patiently(
                *("commit", "-q", "--no-verify", "--no-gpg-sign", "--allow-empty"),
                *("--cleanup=verbatim", "-F", "-"),
                stdin=message.encode(errors="replace"),
                more=more,
            )
        finally:
            disk.unlink(f"{self.tmp}/{ident}.index")

    def patiently(
        self, *args: str, stdin: bytes = b"", more: Mapping[str, str] | None = None
    ) -> None:
        """Run a command, again while somebody else holds one of Git's locks, for three seconds."""
        wait, end = 0.001, time.monotonic() + PATIENCE
        while True:
            try:
                self.git(*args, stdin=stdin, more=more)
                return
            except GitFailed as error:
                if ".lock" not in error.text or time.monotonic() > end:
                    raise StoreError(
                        f"Git refused: {' '.join(error.text.split())[:200]}"
                    ) from error
            time.sleep(wait)
            wait = min(wait * 2, 0.05)
