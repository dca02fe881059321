"""Git: the only file that knows it.

Commands run as ``git`` processes in an environment of their own; objects are read and written in
this process through GitPython and its object store, gitdb. A commit is made from HEAD's trees with
only the given paths replaced, never from the index, so that nothing a person has staged is swept
in; no hook, signature or line-end conversion takes part, whoever configured it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.errors import AgentError, StoreError
from fsagent.repo.run import (
    ALWAYS,
    COMMITTER,
    GitFailed,
    environment,
    git_dir_of,
    plain_environment,
    run,
)

if TYPE_CHECKING:
    from datetime import datetime

    import git
    import gitdb

    from fsagent.records import Commit, Person

_UNDER_WAY = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "BISECT_LOG": "bisect",
}

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NOTHING = "0" * 40
_LOCK_PATIENCE = 3.0
"""Seconds to wait for a person's git or editor plug-in that holds Git's own lock."""


@dataclass(frozen=True)
class Blob:
    """A file as Git holds it: object id and mode (0o100644 or 0o100755)."""

    oid: str
    mode: int = 0o100644


@dataclass(frozen=True)
class Status:
    """A path that differs. Letters are those of ``git status --porcelain=v2``; "." is no change.

    ``index`` compares HEAD with the index, ``tree`` the index with the work tree; ``staged`` is
    what the index holds, None where it holds nothing. An untracked path has ``tree`` "?".
    """

    path: str
    index: str
    tree: str
    staged: Blob | None = None
    unmerged: bool = False


@dataclass(frozen=True)
class TreeChange:
    """A path that differs between two commits: the blob before and after, None where absent."""

    path: str
    old: str | None
    new: str | None


class Repo:
    """One agent's repository, at ``root`` and nowhere above it.

    Raises:
        AgentError: from the constructor, when there is no repository or it is somebody else's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root = root.resolve()
        self._reading = threading.Lock()
        self.git_dir = git_dir_of(root)
        self._env = environment(root, self.git_dir)
        owner = self.git_dir.stat().st_uid
        if hasattr(os, "geteuid") and owner != os.geteuid() and not self._trusted():
            raise AgentError(
                f"{root} belongs to another user. If you trust it: "
                f"git config --global --add safe.directory {root}"
            )

    @classmethod
    def init(cls, root: Path) -> Repo:
        """Make ``root`` a repository of its own, wherever it lies."""
        command = ["git", "init", "-q", "--template=", "--object-format=sha1"]
        run([*command, "--initial-branch=main", "."], plain_environment(), root)
        return cls(root)

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def head(self) -> str | None:
        """The commit that HEAD names, or None before the first one."""
        found = self._head_file()
        if found:
            return found
        try:
            return self._git("rev-parse", "--verify", "-q", "HEAD^{commit}").decode().strip()
        except GitFailed:
            return None

    def _head_file(self) -> str | None:
        """HEAD as the plain files say it, which costs no process; None where they do not."""
        try:
            text = (self.git_dir / "HEAD").read_text("ascii").strip()
            if text.startswith("ref: refs/") and ".." not in text:
                text = (self.git_dir / text[5:]).read_text("ascii").strip()
        except (OSError, ValueError):  # packed, in another worktree, in a reftable, or not yet
            return None
        return text if _OID.fullmatch(text) else None

    def resolve(self, rev: str) -> str | None:
        """The full id of the commit that ``rev`` names, or None."""
        try:
            out = self._git("rev-parse", "--verify", "-q", "--end-of-options", rev + "^{commit}")
        except GitFailed:
            return None
        return out.decode().strip()

    def branch(self) -> str | None:
        """The branch that HEAD is on, or None when it is detached."""
        try:
            return self._git("symbolic-ref", "-q", "--short", "HEAD").decode().strip()
        except GitFailed:
            return None

    def under_way(self) -> str | None:
        """The name of a person's unfinished merge, rebase or the like, or None."""
        for name, what in _UNDER_WAY.items():
            if (self.git_dir / name).exists():
                return what
        return None

    def files(self, rev: str, under: Iterable[str] = ()) -> dict[str, Blob]:
        """Every file of the commit ``rev``, by path; only those below ``under`` if it is given."""
        out = self._git("ls-tree", "-r", "-z", "--full-tree", rev, "--", *under)
        found = {}
        for entry in out.split(b"\0")[:-1]:
            info, path = entry.split(b"\t", 1)
            mode, kind, oid = info.decode().split()
            if kind == "blob" and mode != "120000":
                found[os.fsdecode(path)] = Blob(oid, int(mode, 8))
        return found

    def changes(self, old: str, new: str) -> list[TreeChange]:
        """The paths that differ between two commits."""
        out = self._git("diff-tree", "-r", "-z", "--no-renames", "--raw", "--no-abbrev", old, new)
        parts = out.split(b"\0")[:-1]
        found = []
        for info, path in zip(parts[::2], parts[1::2], strict=True):
            old_mode, new_mode, before, after, _ = info.decode().lstrip(":").split()
            found.append(
                TreeChange(
                    os.fsdecode(path),
                    before if old_mode.startswith("100") else None,
                    after if new_mode.startswith("100") else None,
                )
            )
        return found

    def read(self, oid: str) -> bytes:
        """The bytes of a blob."""
        return self._object(oid)

    def status(self, under: Iterable[str]) -> list[Status]:
        """The paths below ``under`` whose work tree, index and HEAD are not all the same.

        New files are listed one by one, ignored ones not at all.
        """
        out = self._git(
            *("status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=all"),
            *("--ignore-submodules=all", "--", *under),
        )
        found = []
        for entry in out.split(b"\0"):
            kind = entry[:2]
            if kind == b"? ":
                found.append(Status(os.fsdecode(entry[2:]), ".", "?"))
            elif kind in (b"1 ", b"u "):
                fields = entry.split(b" ", 8 if kind == b"1 " else 10)
                xy, mode, oid = fields[1].decode(), int(fields[4], 8), fields[7].decode()
                staged = Blob(oid, mode) if mode and kind == b"1 " else None
                path, unmerged = os.fsdecode(fields[-1]), kind == b"u "
                found.append(Status(path, xy[0], xy[1], staged, unmerged))
        return found

    def person(self) -> Person:
        """Who works here, as Git is configured; a named placeholder where it is not."""

        def setting(name: str) -> str:
            try:
                return self._git("config", "--get", name).decode(errors="replace").strip()
            except GitFailed:
                return ""

        from fsagent.records import Person

        name, email = setting("user.name"), setting("user.email")
        return Person(_ident(name) or "someone", _ident(email) or "someone@localhost")

    def log(
        self, path: str | None = None, *, rev: str = "HEAD", limit: int | None = None
    ) -> Iterator[Commit]:
        """Commits from ``rev`` backwards, newest first, only those that touch ``path`` if given."""
        from fsagent.formats import parse_trailers
        from fsagent.records import Commit

        if self.head() is None:
            return
        args = ["log", "-z", "--name-only", "--no-renames", "--encoding=UTF-8"]
        args.append("--format=%x1e%H%x1f%cI%x1f%an%x1f%ae%x1f%s%x1f%B%x1f")
        if limit is not None:
            args.append(f"-n{limit}")
        out = self._log(*args, "--end-of-options", rev, "--", *([path] if path else []))
        for entry in out.decode(errors="surrogateescape").split("\x1e")[1:]:
            commit, ts, author, email, subject, message, names = entry.split("\x1f", 6)
            trailers = parse_trailers(message)
            yield Commit(
                commit,
                ts,
                author,
                email,
                subject,
                tool=trailers.get("Tool"),
                turn=trailers.get("Turn"),
                message=trailers.get("Message"),
                change=trailers.get("Change"),
                paths=tuple(name for name in names.lstrip("\0\n").split("\0") if name),
            )

    def log_lines(self, path: str | None = None, limit: int | None = None) -> Iterator[str]:
        """The same commits as lines for a person, with colours: id, time, author, subject."""
        if self.head() is None:
            return
        form = "%C(yellow)%h%C(reset)  %C(dim)%cd%C(reset)  %C(green)%<(16,trunc)%an%C(reset) %s"
        args = ["log", "-z", "--color=always", f"--format={form}", "--encoding=UTF-8"]
        args += ["--date=format-local:%Y-%m-%d %H:%M", *([f"-n{limit}"] if limit else [])]
        out = self._log(*args, "--end-of-options", "HEAD", "--", *([path] if path else []))
        yield from out.decode(errors="replace").rstrip("\0").split("\0")

    def _log(self, *args: str) -> bytes:
        try:
            return self._git(*args)
        except GitFailed as error:
            raise StoreError(f"git log: {_line(error.text, 200)}") from None

    def diff(self, *revisions: str) -> str:
        """What ``git diff`` prints, for a person to read.

        Raises:
            StoreError: a revision names no commit.
        """
        try:
            return self._text(
                "diff", "--no-ext-diff", "--no-textconv", "--end-of-options", *revisions, "--"
            )
        except GitFailed as error:
            raise StoreError(f"git diff: {_line(error.text, 200)}") from None

    def patch(self, commit: str) -> str:
        """The changed lines of one commit, without the lines around them."""
        return self._text(
            *("show", "--format=", "-U0", "--no-renames", "--no-ext-diff", "--no-textconv"),
            *("--end-of-options", commit),
        )

    def outer(self) -> tuple[Path, bool] | None:
        """The repository that this one lies inside, and whether that one ignores it; or None."""
        for parent in self.root.parents:
            if (parent / ".git").exists():
                env = {k: v for k, v in self._env.items() if not k.startswith("GIT_")}
                try:
                    run(["git", "check-ignore", "-q", "--", str(self.root)], env, parent)
                except GitFailed:
                    return parent, False
                return parent, True
        return None

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def store(self, data: bytes) -> str:
        """Keep ``data`` as a blob; the answer is its object id."""
        return self._put("blob", data).hex()

    def commit(
        self,
        files: Mapping[str, Blob | None],
        message: str,
        author: Person,
        when: datetime,
        *,
        index: bool = True,
    ) -> str:
        """Commit exactly ``files`` (None: the path goes) on top of HEAD; the new commit's id.

        With ``index``, the index entries of these paths are made to agree with the work tree,
        which the caller has written already; everything else that is staged stays staged. When a
        person commits in the same moment, the commit is made again on top of theirs.

        Raises:
            StoreError: when Git's lock is not to be had, or an object cannot be written.
        """
        for _ in range(20):
            parent = self.head()
            commit = self._commit_object(parent, files, message, author, when)
            if index:
                self.update_index(files)
            if self._move_head(parent, commit, message):
                return commit
        raise StoreError(f"Somebody else commits to {self.root} all the time: try again later.")

    def _commit_object(
        self,
        parent: str | None,
        files: Mapping[str, Blob | None],
        message: str,
        author: Person,
        when: datetime,
    ) -> str:
        """Write the trees and the commit (git-scm.com/docs/gitformat-pack, "Object types")."""
        old = self._object(parent)[5:45].decode() if parent else None  # "tree <40 hex digits>"
        tree = self._tree(old, {tuple(p.split("/")): blob for p, blob in files.items()})
        seconds = f"{int(when.timestamp())} +0000"
        lines = [f"tree {(tree or self._put('tree', b'')).hex()}"]
        lines += [f"parent {parent}"] if parent else []
        lines += [f"author {author.name} <{author.email}> {seconds}"]
        lines += [f"committer {COMMITTER} {seconds}", "", message]
        return self._put("commit", "\n".join(lines).encode(errors="replace")).hex()

    def _tree(self, old: str | None, files: Mapping[tuple[str, ...], Blob | None]) -> bytes | None:
        """The tree ``old`` with ``files`` replaced; None when nothing is left in it."""
        from git.objects.fun import tree_entries_from_data, tree_to_stream

        data = self._object(old) if old else b""
        entries = {name: (sha, mode) for sha, mode, name in tree_entries_from_data(data)}
        below: dict[str, dict[tuple[str, ...], Blob | None]] = {}
        for path, blob in files.items():
            if len(path) > 1:
                below.setdefault(path[0], {})[path[1:]] = blob
            elif blob:
                entries[path[0]] = (bytes.fromhex(blob.oid), blob.mode)
            else:
                entries.pop(path[0], None)
        for name, inside in below.items():
            sha, mode = entries.get(name, (None, 0))
            tree = self._tree(sha.hex() if sha and mode == 0o40000 else None, inside)
            if tree:
                entries[name] = (tree, 0o40000)
            elif mode == 0o40000:
                del entries[name]
        if not entries:
            return None
        # Git sorts names as bytes, and a directory as if its name ended with a slash.
        order = sorted(
            entries.items(), key=lambda e: os.fsencode(e[0]) + (b"/" if e[1][1] == 0o40000 else b"")
        )
        stream = BytesIO()
        # Names as bytes: a person may have committed one that is not UTF-8.
        named = [(sha, mode, os.fsencode(name)) for name, (sha, mode) in order]
        tree_to_stream(named, stream.write)  # type: ignore[arg-type]  # bytes are taken as they are
        return self._put("tree", stream.getvalue())

    def _put(self, kind: str, data: bytes) -> bytes:
        from gitdb.base import IStream

        try:
            stream = self._loose.store(IStream(kind.encode(), len(data), BytesIO(data)))
        except OSError as error:
            raise StoreError(
                f"Git cannot write to {self.git_dir}: {error.strerror or error}. "
                "Nothing was changed; make room or mend the permissions, and try again."
            ) from error
        return stream.binsha  # type: ignore[no-any-return]

    def update_index(self, paths: Iterable[str]) -> None:
        """Make the index entries of ``paths`` what stands in the work tree.

        Raises:
            StoreError: when somebody else holds the index for more than three seconds.
        """
        names = b"".join(os.fsencode(path) + b"\0" for path in paths)
        self._patiently(
            lambda: self._git(
                "update-index", "-z", "--add", "--remove", "--replace", "--stdin", stdin=names
            )
        )

    def _move_head(self, old: str | None, new: str, message: str) -> bool:
        """Compare-and-swap of the branch that HEAD is on; False when it had moved."""
        note = _line(message.split("\n", 1)[0], 100)
        try:
            self._git("update-ref", "-m", note, "HEAD", new, old or _NOTHING)
        except GitFailed as error:
            if self.head() != old:
                return False
            raise StoreError(f"Git cannot move the branch: {_line(error.text, 200)}") from error
        return True

    def _patiently(self, act: Callable[[], object]) -> None:
        """Run ``act``, again while somebody else holds index.lock, for up to three seconds."""
        wait, end = 0.001, time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                act()
                return
            except GitFailed as error:
                lock = self.git_dir / "index.lock"
                if "index.lock" not in error.text:
                    raise StoreError(f"Git refused: {_line(error.text, 200)}") from error
                if time.monotonic() > end:
                    raise StoreError(
                        f"Another git process holds {lock}. Let it finish; "
                        "if none is running, delete that file."
                    ) from error
            time.sleep(wait)
            wait = min(wait * 2, 0.05)

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _trusted(self) -> bool:
        """Whether Git itself would work in a directory that somebody else owns."""
        env = {k: v for k, v in self._env.items() if k not in ("GIT_DIR", "GIT_WORK_TREE")}
        try:
            run(["git", "rev-parse", "--git-dir"], env, self.root)
        except GitFailed:
            return False
        return True

    def _text(self, *args: str) -> str:
        return self._git(*args).decode(errors="replace")

    def _git(self, *args: str, stdin: bytes = b"") -> bytes:
        return run(["git", *ALWAYS, *args], self._env, self.root, stdin)

    @cached_property
    def _objects(self) -> git.Repo:
        """GitPython's repository, for objects in packs: it keeps a ``cat-file --batch`` running."""
        import git

        repo = git.Repo(self.root, odbt=git.GitCmdObjectDB, search_parent_directories=False)
        # GitPython's children inherit this process's environment, which may name another
        # repository: each variable that redirects Git is set to what it has to be here.
        repo.git.update_environment(
            GIT_DIR=str(self.git_dir),
            GIT_WORK_TREE=str(self.root),
            GIT_OBJECT_DIRECTORY=str(Path(repo.common_dir) / "objects"),
            GIT_ALTERNATE_OBJECT_DIRECTORIES="",
            GIT_NAMESPACE="",
            GIT_CONFIG_PARAMETERS="",
            GIT_CONFIG_COUNT="0",
        )
        return repo

    def _object(self, oid: str) -> bytes:
        """The content of any object: from its own file in this process, else from a pack."""
        sha = bytes.fromhex(oid)
        with self._reading:  # threads would read each other's answers from one pipe
            if self._loose.has_object(sha):
                return self._loose.stream(sha).read()  # type: ignore[no-any-return]
            try:
                return self._objects.odb.stream(sha).read()  # type: ignore[no-any-return]
            except Exception:  # Ctrl-C in a terminal ends that ``cat-file`` too: start another
                self._objects.git.clear_cache()
                return self._objects.odb.stream(sha).read()  # type: ignore[no-any-return]

    @cached_property
    def _loose(self) -> gitdb.LooseObjectDB:
        import gitdb

        return gitdb.LooseObjectDB(str(Path(self._objects.common_dir) / "objects"))

    def close(self) -> None:
        """End the processes that this object keeps."""
        if "_objects" in self.__dict__:
            self._objects.close()


def _line(text: str, width: int) -> str:
    """What git said, on one line; imported late, since the log needs no formats."""
    from fsagent.formats import one_line

    return one_line(text, width)


def _ident(text: str) -> str:
    """``text`` without the characters that would end a name or an address in a commit object."""
    return " ".join(text.translate({ord(c): " " for c in "<>\n\r\0"}).split())
