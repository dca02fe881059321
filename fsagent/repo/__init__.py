"""Git: the only folder that knows it.

Questions are asked of ``git`` processes in an environment of their own (``run``). A commit is made
in this process, step by step (``commit``), or by Git where its files are of a kind that only Git
writes (``slow``); what is left half done is mended at the next opening (``recovery``). Objects in
packs are read through GitPython.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import threading
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.errors import AgentError, StoreError
from fsagent.layout import is_agents, is_gits, read_plain
from fsagent.repo import place as places
from fsagent.repo import worktree
from fsagent.repo.attributes import Attributes
from fsagent.repo.commit import Pipeline
from fsagent.repo.gitindex import UnfitIndexError, git_mode
from fsagent.repo.heads import Heads, UnfitHeadError
from fsagent.repo.journal import Journal, boot
from fsagent.repo.looking import Looking
from fsagent.repo.objects import Objects, object_id
from fsagent.repo.puts import Blob, ConflictError, Draft, Join, Made, MovedError, Put, State
from fsagent.repo.recovery import Recovery
from fsagent.repo.run import (
    ALWAYS,
    GitFailed,
    environment,
    parts,
    plain_environment,
    run,
)
from fsagent.repo.settings import Configuration, Settings, is_command
from fsagent.repo.slow import Slow
from fsagent.repo.snapshot import Snapshot
from fsagent.repo.trees import Entries

__all__ = [
    "Blob",
    "Draft",
    "GitFailed",
    "Join",
    "Made",
    "MovedError",
    "Put",
    "Repo",
    "Snapshot",
    "State",
    "Status",
    "TreeChange",
    "way_on",
]

if TYPE_CHECKING:
    import git

    from fsagent.records import Commit, Person

_UNDER_WAY = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "BISECT_LOG": "bisect",
}

_NO_COMMANDS = ("--no-ext-diff", "--no-textconv", "--submodule=short", "--ignore-submodules=all")
"""A diff starts nothing: no driver, and no git in a repository inside this one, whose own
configuration would count there."""

_SMALL, _KEPT = 65_536, 64
"""Bytes of a packed object that is kept once it was read, and how many are: each turn looks at the
same commit, trees and segment again."""

_UNSHARED = ("umask", "false", "no", "off", "0")
"""The values of core.sharedRepository with which files get the usual permissions."""


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

    @classmethod
    def parse(cls, raw: str, path: str) -> TreeChange:
        """A line of ``git diff --raw``: a link or a submodule is no file of ours."""
        old_mode, new_mode, old, new, _ = raw.lstrip(":").split()
        files = (
            oid if mode.startswith("100") else None
            for oid, mode in ((old, old_mode), (new, new_mode))
        )
        return cls(path, *files)


class Repo:
    """One agent's repository, at ``root`` and nowhere above it.

    ``allowed`` says that the person trusts this agent: then its own configuration counts as that
    of any repository does.

    Raises:
        AgentError: from the constructor, when there is no repository, when it is somebody else's,
            or when git may not run in it.
    """

    def __init__(self, root: Path, *, allowed: bool = False) -> None:
        self.root = root = root.resolve()
        self.allowed = allowed
        self._reading = threading.Lock()
        self._pid = os.getpid()
        self._kept: dict[str, bytes] = {}
        self.place = places.find(root)
        self.git_dir = self.place.git_dir
        self._common = str(self.place.common)
        self._plain = environment(root, self.git_dir, allowed=allowed)
        places.look_over(self.place, allowed=allowed)
        if places.is_foreign(self.place) and not self._trusted():
            raise AgentError(
                f"{root} belongs to another user. If you trust it: "
                f"git config --global --add safe.directory {shlex.quote(str(root))}"
            )
        self._configuration = Configuration(self.place, self._plain, allowed=allowed)
        self._attributes = Attributes(self.place, self._plain, allowed=allowed)
        self._judged: tuple[Settings | None, bool] = (None, False)
        self._acknowledged: str | None = None
        self._looked_at: str | None = None
        """What HEAD was when it was last asked whether it holds what was acknowledged."""
        self.told: list[str] = []
        """What recovery did, a sentence for each time."""
        self.counts: dict[tuple[str, bytes], int] = {}
        """How many files are in a folder, by its path and tree; see ``Snapshot.count``."""
        self._private = f"{self.git_dir}/fsagent"
        objects = Objects(
            f"{self._common}/objects", os.path.join(self._private, "tmp"), self._packed
        )
        heads = Heads(str(self.git_dir), self._common)
        journal = Journal(f"{self._private}/journal")
        self._pipeline = Pipeline(str(root), heads, objects, journal)
        self._pipeline.builds_on = self._builds_on
        self._looking = Looking(self, self._pipeline)
        self._slow = Slow(self._pipeline, self._git)

    @classmethod
    def init(cls, root: Path) -> Repo:
        """Make ``root`` a repository of its own, wherever it lies."""
        command = ["git", "init", "-q", "--template=", "--object-format=sha1"]
        run([*command, "--initial-branch=main", "."], plain_environment(), root)
        repo = cls(root)
        from fsagent.repo.maintain import settle

        list(settle(repo))
        return repo

    # ── configuration ─────────────────────────────────────────────────────────────────────────

    @property
    def settings(self) -> Settings:
        """Git's configuration as it is now; read again when one of its files has changed.

        Raises:
            AgentError: it cannot be read, or has come to hold what git cannot be told to ignore.
        """
        return self._configuration.now()[0]

    @property
    def _env(self) -> dict[str, str]:
        """The environment of git processes, with what undoes settings that must not count."""
        return self._configuration.now()[1]

    def person(self) -> Person:
        """Who works here, as Git is configured; a named placeholder where it is not."""
        from fsagent.records import Person

        settings = self.settings
        name, email = (settings.get(key) or "" for key in ("user.name", "user.email"))
        return Person(_ident(name) or "someone", _ident(email) or "someone@localhost")

    def filtered(self, paths: Iterable[str]) -> dict[str, str]:
        """Those of ``paths`` that have a filter attribute, with the name of its driver.

        fsagent runs no filters, so it must not write such a file: Git would call it changed for
        ever. No process is started where no file of attributes in play speaks of filters.
        """
        wanted = list(paths)
        if not self._attributes.speak_of_filters(wanted, self.settings):
            return {}
        names = b"".join(os.fsencode(path) + b"\0" for path in wanted)
        out = self._git("check-attr", "-z", "--stdin", "filter", stdin=names).split(b"\0")[:-1]
        found = zip(out[::3], out[2::3], strict=True)
        none = (b"unspecified", b"unset", b"set")
        return {os.fsdecode(path): os.fsdecode(name) for path, name in found if name not in none}

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def head(self) -> str | None:
        """The commit that HEAD names, or None before the first one."""
        try:
            return self._pipeline.heads.read().commit
        except UnfitHeadError:
            return self.resolve("HEAD")

    def resolve(self, rev: str) -> str | None:
        """The full id of the commit that ``rev`` names, or None."""
        try:
            out = self._git("rev-parse", "--verify", "-q", "--end-of-options", rev + "^{commit}")
        except GitFailed:
            return None
        return out.decode().strip()

    def head_at(self, when: float) -> tuple[str | None, str | None]:
        """See ``Heads.at``."""
        return self._pipeline.heads.at(when)

    def branch(self) -> str | None:
        """The branch that HEAD is on, or None when it is detached."""
        try:
            ref = self._pipeline.heads.read().ref
        except UnfitHeadError:
            with contextlib.suppress(GitFailed):
                return self._text("symbolic-ref", "-q", "--short", "HEAD").strip()
            return None
        return ref.removeprefix("refs/heads/") if ref else None

    def under_way(self) -> str | None:
        """The name of a person's unfinished merge, rebase or the like, or None."""
        names = os.listdir(self._pipeline.heads.git_dir)
        return next((what for name, what in _UNDER_WAY.items() if name in names), None)

    def files(self, rev: str, under: Iterable[str] = ()) -> dict[str, Blob]:
        """Every file of the commit ``rev``, by path; only those below ``under`` if it is given."""
        out = self._git("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", rev, *under)
        found = {}
        for entry in out.split(b"\0")[:-1]:
            info, path = entry.split(b"\t", 1)
            mode, kind, oid = info.decode().split()
            if kind == "blob" and mode != "120000":
                found[os.fsdecode(path)] = Blob(oid, int(mode, 8))
        return found

    def changes(self, old: str, new: str) -> list[TreeChange]:
        """The paths that differ between two commits."""
        out = self._git(
            *("diff-tree", "-r", "-z", "--no-renames", "--raw", "--no-abbrev"),
            *("--ignore-submodules=all", "--end-of-options", old, new, "--"),
        )
        parts = out.split(b"\0")[:-1]
        return [
            TreeChange.parse(raw.decode(), os.fsdecode(path))
            for raw, path in zip(parts[::2], parts[1::2], strict=True)
        ]

    def read(self, oid: str) -> bytes:
        """The bytes of a blob, or of any other object."""
        with _explained():
            return self._pipeline.objects.read(oid)

    def tree(self, oid: bytes) -> Entries:
        """The entries of a tree."""
        with _explained():
            return self._pipeline._entries(oid)

    def has(self, commit: str) -> bool:
        """Whether there is a commit of that full id. ``commit`` may be any text."""
        if not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", commit):
            return False
        try:
            return self._pipeline.objects.read(commit).startswith(b"tree ")
        except Exception:  # whatever GitPython says of an object that is nowhere
            return False

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

    def differing(self, but: Container[str] = ()) -> list[Status]:
        """The agent's own files that differ, as ``status`` has them; ``but`` may be missing.

        Git is asked only where it is not certain that it would find none.
        """
        return self._looking.differing(but)

    def log(
        self, path: str | None = None, *, rev: str = "HEAD", limit: int | None = None
    ) -> Iterator[Commit]:
        """Commits from ``rev`` backwards, newest first, only those that touch ``path`` if given."""
        from fsagent.repo.walk import log

        count = [] if limit is None else [f"-n{limit}"]
        for entry in log(self, rev, [path] if path else [], *count):
            yield entry.commit

    def log_lines(
        self,
        path: str | None = None,
        limit: int | None = None,
        rev: str = "HEAD",
        zone: tzinfo = UTC,
    ) -> Iterator[str]:
        """The same commits as lines for a person, with colours: id, time, author, subject."""
        if self.head() is None:
            return
        form = "%C(yellow)%h%C(reset)  %C(dim)%x00%ct%x00%C(reset)"
        form += "  %C(green)%<(16,trunc)%an%C(reset) %s"
        args = ["log", "-z", "--color=always", f"--format={form}", "--encoding=UTF-8"]
        args += [f"-n{limit}"] if limit else []
        lines = self._log(*args, "--end-of-options", rev, "--", *([path] if path else []))
        for before, seconds, after in zip(lines, lines, lines, strict=True):
            when = datetime.fromtimestamp(int(seconds), zone)  # of zones, git knows its own only
            line = f"{before}{when:%Y-%m-%d %H:%M}{after}"
            yield line.encode(errors="surrogateescape").decode(errors="replace")

    def _log(self, *args: str) -> Iterator[str]:
        """What ``git log -z`` prints, as it comes: the first page of a long history is there at
        once."""
        try:
            yield from parts(["git", *ALWAYS, *args], self._env, self.root)
        except GitFailed as error:
            raise StoreError(f"git log: {_line(error.text, 200)}") from None

    def diff(self, *revisions: str, colour: bool = False) -> str:
        """What ``git diff`` prints, for a person to read.

        Raises:
            StoreError: a revision names no commit.
        """
        try:
            return self._text(
                *("diff", f"--color={'always' if colour else 'never'}", *_NO_COMMANDS),
                *("--end-of-options", *revisions, "--"),
            )
        except GitFailed as error:
            raise StoreError(f"git diff: {_line(error.text, 200)}") from None

    def patch(self, commit: str, *, lines: int = 0, colour: bool = False) -> str:
        """The changed lines of one commit, with so many ``lines`` around them."""
        return self._text(
            *("show", "--format=", f"-U{lines}", "--no-renames", *_NO_COMMANDS),
            *(f"--color={'always' if colour else 'never'}", "--end-of-options", commit, "--"),
        )

    def remotes(self) -> dict[str, str]:
        """The address of each remote, by name; without the password that may be in it."""
        try:
            out = self._git("config", "--local", "-z", "--get-regexp", r"^remote\..*\.url$")
        except GitFailed:  # there is none
            return {}
        found = {}
        for entry in out.decode(errors="replace").split("\0")[:-1]:
            key, _, address = entry.partition("\n")
            name = key.removeprefix("remote.").removesuffix(".url")
            found[name] = re.sub(r"(?<=://)[^/@]*@", "", address)
        return found

    def outer(self) -> tuple[Path, bool] | None:
        """The repository that this one lies inside, and whether that one ignores it; or None."""
        for parent in self.root.parents:
            if (parent / ".git").exists():
                try:  # that one may be a stranger's as well
                    env = dict(Repo(parent)._env)
                    del env["GIT_LITERAL_PATHSPECS"]  # which this command does not know
                    ask = ["git", *ALWAYS, "check-ignore", "-q", "--no-index", "--"]
                    run([*ask, str(self.root)], env, parent)
                except (AgentError, StoreError):
                    return parent, False
                return parent, True
        return None

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def compare(self, paths: Iterable[str]) -> dict[str, State]:
        """HEAD, index and work tree of these paths.

        Raises:
            StoreError: a merge left a conflict in one of them.
        """
        paths = list(paths)
        with _explained():
            if self.fast:
                with contextlib.suppress(UnfitIndexError, UnfitHeadError):
                    if not self._pipeline.index.load() and self.head():
                        self._git("reset", "-q")  # somebody removed the index: as HEAD has it
                    return self._pipeline.compare(paths)
            return self._slow.compare(paths)

    def commit(self, draft: Draft, seen: Mapping[str, Blob | None] | None = None) -> Made:
        """Commit exactly the draft's paths on top of HEAD; all else that is staged stays staged.

        What an earlier program left half done is finished first, and what somebody dropped from the
        history since is kept under a ref; ``told`` says so. See ``commit.Pipeline.commit``.

        Raises:
            MovedError: somebody committed or saved one of the paths meanwhile.
            StoreError: Git's lock is not to be had, or the disk refuses; nothing is changed then.
        """
        self.recover()
        return self.make(draft, seen)

    def make(self, draft: Draft, seen: Mapping[str, Blob | None] | None = None) -> Made:
        """Make the commit, in this process where its files are of the kind that we write."""
        with _explained():
            if self.fast:
                with contextlib.suppress(UnfitIndexError, UnfitHeadError):
                    made = self._pipeline.commit(draft, seen)
                    self._looking.committed(made.commit)
                    return made
            return self._slow.commit(draft, seen)

    def restage(self, states: Mapping[str, State]) -> None:
        """Let the index say for these paths what the work tree and HEAD hold."""
        if self.fast:
            with contextlib.suppress(UnfitIndexError, UnfitHeadError):
                return self._pipeline.restage(states)
        return self._slow.restage(states)

    def recover(self) -> None:
        """Finish or give up what a killed program or a power cut left; ``told`` says what was done.

        The caller holds the lock ``write``.
        """
        recovery = Recovery(self._pipeline, self)
        with _explained():
            self._acknowledged = recovery.run()
        if recovery.told:
            self.told.append(f"Recovered: {', '.join(dict.fromkeys(recovery.told))}.")
        with _explained():
            self.keep_dropped(self._acknowledged, self.head())

    def overtaken(self) -> list[tuple[str, str]]:
        """Versions of the agent's files, each with its path and where it lies now, that somebody
        saved in the moment of a commit and then saved another one over; oldest first.
        """
        found = worktree.overtaken(self._private)
        return [(path, at) for path, at in found if is_agents(path) and worktree.plain_file(at)]

    def look(self, place: str) -> tuple[bytes, int]:
        """The bytes of a file that was overtaken, and its mode as Git has it."""
        with _explained():
            data, stat = worktree.read(place)
        return data, git_mode(stat)

    def forget(self, place: str) -> None:
        """Remove a version that was overtaken, once it is in the history."""
        with _explained():
            worktree.forget(self._private, place)

    def settled(self) -> bool:
        """Whether there is surely nothing to recover."""
        journal = self._pipeline.journal
        if self._pipeline.litter():
            return False
        last = journal.last()
        if last is None:
            return not os.path.exists(journal.path) or not os.path.getsize(journal.path)
        return (
            last.kind != "intent"
            and last.data.get("boot") == boot()
            and last.data.get("commit") == self.head()
        )

    def _builds_on(self, head: str | None) -> None:
        """Look again when the branch has moved since recovery: it may have moved back."""
        self._looking.builds_on(head)
        if head != self._looked_at:
            self.keep_dropped(self._acknowledged, head)

    def keep_dropped(self, commit: str | None, head: str | None) -> None:
        """Keep ``commit``, which was acknowledged, where ``head`` does not hold it; and say so.

        A person's ``git stash`` sets the branch back to where it was when the stash began, and
        ``git reset`` to where they say; a commit that fsagent made meanwhile would be lost.
        """
        self._looked_at = head
        if not commit or commit == head or (head and self.descends(commit, head)):
            return
        if not self.resolve(commit):
            return  # purged, or the directory came from elsewhere without it
        if not self._git("for-each-ref", "--count=1", f"--contains={commit}"):
            ref = f"refs/fsagent/dropped/{commit}"
            self._git("update-ref", ref, commit)
            self.told.append(
                f"The commit {commit[:7]} is in no branch any more (a reset or stash dropped it); "
                f"it is kept: git merge {ref} brings it back."
            )

    def descends(self, old: str, new: str) -> bool:
        """Whether the commit ``new`` is ``old`` or comes after it."""
        try:
            self._git("merge-base", "--is-ancestor", "--end-of-options", old, new)
        except GitFailed:
            return False
        return True

    def may_write(self, path: str) -> bool:
        """Whether ``path`` is inside the directory, not Git's, and reached through no link."""
        if is_gits(path) or any(part in ("", ".", "..") for part in path.split("/")):
            return False
        place = self.root
        for part in path.split("/"):
            place = place / part
            if place.is_symlink():
                return False
        return True

    @property
    def durable(self) -> bool:
        """Whether a commit survives a power cut; a program's end it survives in any case."""
        return self._pipeline.durable

    @durable.setter
    def durable(self, value: bool) -> None:
        self._pipeline.durable = value

    @property
    def fast(self) -> bool:
        """Whether objects, refs and permissions are of the kind that this program writes."""
        settings = self.settings
        if settings is not self._judged[0]:
            self._judged = (
                settings,
                (
                    (settings.get("extensions.objectformat") or "sha1").lower() == "sha1"
                    and (settings.get("extensions.refstorage") or "files").lower() == "files"
                    and (settings.get("core.sharedrepository") or "umask").lower() in _UNSHARED
                ),
            )
            has_bits = settings.get("core.filemode") is None or settings.flag("core.filemode")
            self._pipeline.trusts_modes = has_bits
        return self._judged[1]

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _trusted(self) -> bool:
        """Whether Git itself would work in a directory that somebody else owns."""
        env = {k: v for k, v in self._plain.items() if k not in ("GIT_DIR", "GIT_WORK_TREE")}
        try:
            run(["git", "rev-parse", "--git-dir"], env, self.root)
        except GitFailed:
            return False
        return True

    def _text(self, *args: str) -> str:
        return self._git(*args).decode(errors="replace")

    def _git(self, *args: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        return run(["git", *ALWAYS, *args], {**self._env, **(more or {})}, self.root, stdin)

    @cached_property
    def _objects(self) -> git.Repo:
        """GitPython's repository, for objects in packs: it keeps a ``cat-file --batch`` running."""
        import git

        repo = git.Repo(self.root, odbt=git.GitCmdObjectDB, search_parent_directories=False)
        # GitPython's children inherit this process's environment, which may name another
        # repository: each variable that redirects Git is set to what it has to be here.
        repo.git.update_environment(
            **{name: value for name, value in self._env.items() if name.startswith("GIT_")},
            GIT_OBJECT_DIRECTORY=f"{self._common}/objects",
            GIT_ALTERNATE_OBJECT_DIRECTORIES="",
            GIT_NAMESPACE="",
            GIT_NO_REPLACE_OBJECTS="1",
            GIT_CONFIG_PARAMETERS="",
        )
        return repo

    def _packed(self, oid: str) -> bytes:
        """The content of an object that is in a pack."""
        if len(oid) > 40:  # GitPython knows only SHA-1
            return self._git("cat-file", self._text("cat-file", "-t", oid).strip(), oid)
        data = self._kept.get(oid)
        if data is None:
            data = self._unpacked(bytes.fromhex(oid))
            if len(data) <= _SMALL:
                with self._reading:
                    self._kept[oid] = data
                    if len(self._kept) > _KEPT:
                        del self._kept[next(iter(self._kept))]
        return data

    def _unpacked(self, sha: bytes) -> bytes:
        if self._pid != os.getpid():  # forked: the pipe is the parent's
            self._pid, self._reading = os.getpid(), threading.Lock()
            self.__dict__.pop("_objects", None)
        with self._reading:  # threads would read each other's answers from one pipe
            try:
                return self._asked(sha)
            except Exception:  # Ctrl-C in a terminal ends that ``cat-file`` too: start another
                self._objects.git.clear_cache()
                return self._asked(sha)
            except BaseException:  # its answer is still in the pipe
                self._objects.git.clear_cache()
                raise

    def _asked(self, sha: bytes) -> bytes:
        """An object as ``cat-file`` gives it, proved by its name to be the one asked for."""
        stream = self._objects.odb.stream(sha)
        data: bytes = stream.read()
        if object_id(stream.type, data) != sha:
            raise ValueError(f"git answered with another object than {sha.hex()}")
        return data

    def let_go(self) -> None:
        """Let go of what was read of the repository: its objects are others now."""
        self._kept.clear()
        if "_objects" in self.__dict__:
            self._objects.close()
            del self.__dict__["_objects"]
        self._pipeline.index.forget()

    def close(self) -> None:
        """End the processes that this object keeps."""
        self._pipeline.journal.close()
        self._looking.close()
        if "_objects" in self.__dict__:
            self._objects.close()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say what went wrong below in the words of a person."""
    try:
        yield
    except ConflictError as error:
        path = error.args[0]
        raise StoreError(
            f"{path} has a conflict in it: mend it and `git add` it, or take one side "
            f"(git checkout HEAD -- {path})."
        ) from None
    except (GitFailed, ValueError) as error:
        raise StoreError(f"Git's data cannot be read: {_line(str(error), 200)}.") from error
    except OSError as error:
        raise StoreError(
            f"{error.filename or 'The journal'} cannot be read or written: "
            f"{error.strerror or error}. Make room or mend the permissions, and try again."
        ) from error


def concerns(root: Path) -> list[str]:
    """What of the repository at ``root`` counts only if the person allows it, by name.

    Raises:
        AgentError: there is none, or something in it that nobody can allow.
    """
    place = places.find(root.resolve())
    found = [doubt.name for doubt in places.doubts(place)]
    for config in place.configs:
        if config.is_file() and not config.is_symlink():
            data = read_plain(config, places.CONFIG_MAX)
            found += [key for key, value in places.entries(data, config) if is_command(key, value)]
    return list(dict.fromkeys(found))


def way_on(what: str) -> str:
    """How a person goes on from a merge or the like that is under way."""
    on, away = ("good or bad", "reset") if what == "bisect" else ("--continue", "--abort")
    return f"Finish it (git {what} {on}) or leave it (git {what} {away})"


def _line(text: str, width: int) -> str:
    """What git said, on one line; imported late, since the log needs no formats."""
    from fsagent.formats import one_line

    return one_line(text, width)


def _ident(text: str) -> str:
    """``text`` without the characters that would end a name or an address in a commit object."""
    return " ".join(text.translate({ord(c): " " for c in "<>\n\r\0"}).split())
