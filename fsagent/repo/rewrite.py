"""Rewriting a history: every object that holds what is to go is made again without it.

Objects are named by their content, so a changed file gives other trees, and these other commits,
up to each branch. Nothing else about a commit changes: its author, its times, its message and with
it the id of its change. The new objects come into one pack beside the old ones, so until the
branches are moved (``switch``) nothing has changed.

This is done here and not by ``git filter-branch`` or git-filter-repo: those go through ``git
fast-export``, which drops headers that it does not know, and they run git without what undoes a
stranger's settings. It costs one look at each object and each tree.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import IO, TYPE_CHECKING, Protocol, cast

from fsagent.errors import StoreError
from fsagent.repo import disk
from fsagent.repo.health import fsck
from fsagent.repo.run import ALWAYS, GitFailed
from fsagent.repo.trees import FOLDER

if TYPE_CHECKING:
    from fsagent.repo import Repo

_KEPT = 128 << 20
"""Bytes of trees that are kept in memory: asking for each takes longer than rewriting it."""

_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}
_ID = re.compile(rb"\b(?:[0-9a-f]{64}|[0-9a-f]{7,40})\b")
_SIGNED = (b"gpgsig", b"gpgsig-sha256", b"mergetag")
"""Headers that are true of the old commit alone."""
_FAULT = re.compile(r": ([a-z]\w+): ")
"""What ``git fsck`` calls what is wrong with an object, as ``badDate``."""
_SIGNATURE = re.compile(rb"-----BEGIN (?:PGP|SSH|SIGNED) (?:SIGNATURE|MESSAGE)-----")


class Redactor(Protocol):
    """What is taken out of objects; each function gives back what holds nothing as it is."""

    def content(self, data: bytes, oid: str = "") -> bytes:
        """The bytes of a blob."""

    def message(self, data: bytes, oid: str = "") -> bytes:
        """The message of a commit or tag."""

    def header(self, line: bytes) -> bytes:
        """A header of a commit or tag, that is still one: ids and times stay."""

    def name(self, name: bytes) -> bytes:
        """The name of an entry of a tree."""


class _Missing(StoreError):
    """An object that another one names is not there."""


class Rewrite:
    """The new objects of one repository.

    Args:
        repo: Whose objects they are.
        redactor: What is taken out.
        pack: Where the pack of the new ones is written, without its suffix.
    """

    def __init__(self, repo: Repo, redactor: Redactor, pack: str) -> None:
        self.repo = repo
        self.redactor = redactor
        self.new: dict[bytes, bytes] = {}
        """Old ids to new ones, of all that changed."""
        self.counts = {"blob": 0, "tree": 0, "commit": 0, "tag": 0}
        """How many of each kind were made again."""
        self.subjects: dict[str, tuple[bytes, bytes]] = {}
        """By their old ids, the first lines of messages that changed: reflogs quote them."""
        self.first: list[str] = []
        """The old ids of commits that changed though none of their parents did."""
        self.unsigned = 0
        """Signatures that had to go."""
        self._hash = "sha256" if len(self._empty_tree()) > 40 else "sha1"
        self._size = hashlib.new(self._hash, usedforsecurity=False).digest_size
        self._commits: dict[bytes, bytes] = {}
        self._tags: dict[bytes, bytes] = {}
        self._sorted: list[bytes] = []
        self._trees: dict[bytes, bytes] = {}
        self._read: dict[bytes, bytes] = {}
        self._pack = _Pack(f"{pack}.pack", self._hash)

    def run(self) -> None:
        """Make all new objects, in a pack that Git has not been shown yet."""
        room = _KEPT
        with closing(self._pack):
            for oid, kind, data in objects(self.repo):
                if kind == b"commit":
                    self._commits[oid] = data
                elif kind == b"tag":
                    self._tags[oid] = data
                elif kind == b"tree":
                    room -= len(data)
                    if room > 0:
                        self._read[oid] = data
                else:
                    self._keep(oid, b"blob", data, self.redactor.content(data, oid.hex()))
            self._sorted = sorted(self._commits)
            with closing(_Reader(self.repo)) as reader:
                for oid in self._in_order():
                    try:
                        self._commit(oid, reader)
                    except _Missing:
                        self._is_left_over()
                for oid in self._named_trees():
                    self._tree(oid, reader)
                for oid in list(self._tags):
                    self._tag(oid)
            self._commits.clear()
            self._tags.clear()
            self._trees.clear()
            self._read.clear()

    def _named_trees(self) -> list[bytes]:
        """The trees that a ref or a tag names, and no commit has to."""
        out = self.repo._text("for-each-ref", "--format=%(objecttype) %(objectname)")
        found = [line[5:] for line in out.splitlines() if line.startswith("tree ")]
        for data in self._tags.values():
            tree = re.match(rb"object ([0-9a-f]+)\ntype tree\n", data)
            found += [tree[1].decode()] if tree else []
        return [bytes.fromhex(oid) for oid in found]

    def _is_left_over(self) -> None:
        """Make sure that a commit of which a part is missing is one that nothing names: a prune
        that was killed leaves such, and the next one deletes them. What is in it does not count.

        Raises:
            _Missing: something that is named is not whole.
        """
        try:
            self.repo._git(
                *("rev-list", "--objects", "--all", "--reflog", "--indexed-objects", "--quiet")
            )
        except GitFailed as error:
            raise _Missing(
                "An object is missing from the repository: "
                f"fsagent check {self.repo.root} says what helps."
            ) from error

    def publish(self) -> None:
        """Show Git the new objects; nothing names them yet.

        Raises:
            StoreError: one of them is none that Git would read.
        """
        if self._pack.count:
            self._index_pack()
            stem = self._pack.path.removesuffix(".pack")
            name = f"{self.repo._common}/objects/pack/pack-{self._pack.digest}"
            disk.mkdir(os.path.dirname(name))
            for suffix in (".pack", ".rev", ".idx"):  # the index last: it is what Git looks for
                if os.path.exists(stem + suffix):
                    disk.rename(stem + suffix, name + suffix)

    def _index_pack(self) -> None:
        try:
            self.repo._git("index-pack", "--fsck-objects", self._pack.path)
        except GitFailed as error:
            wrong = set(_FAULT.findall(error.text))
            old = set(_FAULT.findall("\n".join(fsck(self.repo)))) if wrong else set()
            if not wrong or wrong - old:
                said = error.text.partition("\n")[0][:200]
                raise StoreError(
                    f"Without the text Git could not read the history any more ({said}): "
                    "give more of the text around it."
                ) from error
            self.repo._git("index-pack", self._pack.path)  # what was odd before may stay odd

    def now(self, oid: str) -> str:
        """What an object is called now."""
        new = self.new.get(bytes.fromhex(oid))
        return new.hex() if new else oid

    # ── kinds of objects ──────────────────────────────────────────────────────────────────────

    def _keep(self, old: bytes, kind: bytes, before: bytes, after: bytes) -> bytes:
        """What ``old`` is called with this content."""
        if after == before:
            return old
        whole = hashlib.new(self._hash, b"%s %d\0" % (kind, len(after)), usedforsecurity=False)
        whole.update(after)
        new = whole.digest()
        self._pack.add(new, kind, after)
        self.new[old] = new
        self.counts[kind.decode()] += 1
        return new

    def _in_order(self) -> Iterator[bytes]:
        """The commits, each after its parents."""
        done: set[bytes] = set()
        for start in self._sorted:
            stack = [start]
            while stack:
                oid = stack[-1]
                waiting = (
                    []
                    if oid in done
                    else [
                        one
                        for one in _parents(self._commits[oid])
                        if one in self._commits and one not in done
                    ]
                )
                if waiting:
                    stack += waiting
                    continue
                stack.pop()
                if oid not in done:
                    done.add(oid)
                    yield oid

    def _commit(self, oid: bytes, reader: _Reader) -> None:
        data = self._commits[oid]
        head, gap, message = data.partition(b"\n\n")
        lines = []
        for key, line in headers(head):
            if key == b"tree":
                tree = bytes.fromhex(line[5:].decode())
                lines.append(b"tree " + self._tree(tree, reader).hex().encode())
            elif key == b"parent":
                lines.append(b"parent " + self.now(line[7:].decode()).encode())
            else:
                lines.append(self.redactor.header(line))
        said = self.redactor.message(message, oid.hex())
        if said != message:
            first = (text.lstrip(b"\n").partition(b"\n")[0] for text in (message, said))
            self.subjects[oid.hex()] = (next(first), next(first))
        after = self._mentions(said)
        new = b"\n".join(lines) + gap + after
        if new != data:
            signed = [line for line in lines if line.split(b" ")[0] in _SIGNED]
            self.unsigned += len(signed)
            lines = [line for line in lines if line not in signed]
            new = b"\n".join(lines) + gap + after
            if not any(one in self.new for one in _parents(data)):
                self.first.append(oid.hex())
        self._keep(oid, b"commit", data, new)

    def _tag(self, oid: bytes) -> bytes:
        data = self._tags.pop(oid, None)
        if data is None:
            return self.new.get(oid, oid)
        head, gap, message = data.partition(b"\n\n")
        lines = []
        for key, line in headers(head):
            if key == b"object":
                named = bytes.fromhex(line[7:].decode())
                if named in self._tags:
                    self._tag(named)
                lines.append(b"object " + self.now(named.hex()).encode())
            else:
                lines.append(self.redactor.header(line))
        new = b"\n".join(lines) + gap + self._mentions(self.redactor.message(message, oid.hex()))
        if new != data:
            signature = _SIGNATURE.search(new)
            if signature:
                self.unsigned += 1
                new = new[: signature.start()]
        return self._keep(oid, b"tag", data, new)

    def _tree(self, oid: bytes, reader: _Reader) -> bytes:
        """The new id of a tree; each is looked at once."""
        found = self._trees.get(oid)
        if found is not None:
            return found
        data = self._read.pop(oid, None) or reader.read(oid)
        changed = False
        entries = []
        for mode, name, entry in _entries(data, self._size):
            new = entry
            if mode == FOLDER:
                new = self._tree(entry, reader)
            elif mode != b"160000":  # of another repository
                new = self.new.get(entry, entry)
            called = self.redactor.name(name)
            changed = changed or new != entry or called != name
            entries.append((mode, called, new))
        after = data
        if changed:
            if len({name for _, name, _ in entries}) < len(entries):
                old = names_in(data, self._size)
                names = distinct(old, self.redactor.name)
                entries = [
                    (mode, names[name], new)
                    for name, (mode, _, new) in zip(old, entries, strict=True)
                ]
            entries.sort(key=lambda entry: entry[1] + b"/" if entry[0] == FOLDER else entry[1])
            after = b"".join(b"%s %s\0%s" % entry for entry in entries)
        new = self._trees[oid] = self._keep(oid, b"tree", data, after)
        return new

    def _mentions(self, message: bytes) -> bytes:
        """A message with the new ids of the commits that it names, in full or shortened."""
        if not self.new:
            return message

        def renamed(found: re.Match[bytes]) -> bytes:
            word = found[0]
            low = bytes.fromhex((word + b"0" * (len(word) % 2)).decode())
            at = bisect.bisect_left(self._sorted, low)
            near = [one for one in self._sorted[at : at + 2] if one.hex().encode().startswith(word)]
            if len(near) != 1:  # none, or of two nobody knows which
                return word
            return self.new.get(near[0], near[0]).hex().encode()[: len(word)]

        return _ID.sub(renamed, message)

    def _empty_tree(self) -> str:
        return self.repo._text("hash-object", "-t", "tree", os.devnull).strip()


def _entries(tree: bytes, size: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Mode, name and id of each entry; ids have ``size`` bytes."""
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        mode, _, name = tree[at:end].partition(b" ")
        at = end + 1 + size
        yield mode, name, tree[end + 1 : at]


def names_in(tree: bytes, size: int) -> list[bytes]:
    """The names in a tree whose ids have ``size`` bytes."""
    return [name for _, name, _ in _entries(tree, size)]


def distinct(names: Iterable[bytes], renamed: Callable[[bytes], bytes]) -> dict[bytes, bytes]:
    """What the names in one folder become: where two would be the same, one gets a number."""
    new = {name: renamed(name) for name in sorted(names)}
    taken = {name for name, called in new.items() if name == called}
    for name, called in new.items():
        if called != name:
            new[name] = next(one for one in numbered(called) if one not in taken)
            taken.add(new[name])
    return new


def numbered(name: bytes) -> Iterator[bytes]:
    """A name, and then the same with numbers from 2 on."""
    yield name
    stem, dot = os.path.splitext(name)
    yield from (b"%s-%d%s" % (stem, number, dot) for number in itertools.count(2))


def _parents(commit: bytes) -> list[bytes]:
    head = commit.partition(b"\n\n")[0]
    return [bytes.fromhex(line[7:].decode()) for key, line in headers(head) if key == b"parent"]


def headers(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each header with its key; the lines that go on with one belong to it."""
    lines: list[bytes] = []
    for line in head.split(b"\n"):
        if line.startswith(b" ") and lines:
            lines[-1] += b"\n" + line
        else:
            lines.append(line)
    for line in lines:
        yield line.partition(b" ")[0], line


# ── reading and writing many objects ──────────────────────────────────────────────────────────


def objects(repo: Repo) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Every object that there is, also those that nothing names: id, kind, content."""
    command = ["cat-file", "--batch-all-objects", "--unordered", "--buffer", "--batch"]
    with closing(_Git(repo, *command)) as git:
        git.input.close()
        while len(head := git.output.readline().split()) == 3:
            data = git.output.read(int(head[2]))
            git.output.read(1)
            yield bytes.fromhex(head[0].decode()), head[1], data
        if head or git.wait():
            raise StoreError(
                "Git cannot read all objects of the repository: fsagent check "
                f"{repo.root} says what helps."
            )


class _Git:
    """A git process that is talked to."""

    def __init__(self, repo: Repo, *args: str) -> None:
        # Objects as they are, and not what ``git replace`` puts in their place.
        env = {**repo._env, "GIT_NO_REPLACE_OBJECTS": "1"}
        command = ["git", *ALWAYS, *args]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=nowhere, env=env, cwd=repo.root
        )
        self.input = cast("IO[bytes]", self._process.stdin)  # a pipe, so it is there
        self.output = cast("IO[bytes]", self._process.stdout)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def close(self) -> None:
        """End it."""
        self.input.close()
        self.output.close()
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()


class _Reader:
    """Single objects, by one process that goes on running."""

    def __init__(self, repo: Repo) -> None:
        self._git = _Git(repo, "cat-file", "--batch")
        self._root = repo.root

    def read(self, oid: bytes) -> bytes:
        """The content of an object."""
        self._git.input.write(oid.hex().encode() + b"\n")
        self._git.input.flush()
        head = self._git.output.readline().split()
        if len(head) != 3:
            raise _Missing(
                f"The object {oid.hex()} is missing from the repository: "
                f"fsagent check {self._root} says what helps."
            )
        data = self._git.output.read(int(head[2]))
        self._git.output.read(1)
        return data

    def close(self) -> None:
        """End the process."""
        self._git.close()


class _Pack:
    """A pack of whole objects (git-scm.com/docs/gitformat-pack); Git makes differences of them
    when it packs them again."""

    def __init__(self, path: str, algorithm: str) -> None:
        self.path = path
        self.count = 0
        self.digest = ""
        self._algorithm = algorithm
        self._there: set[bytes] = set()
        disk.unlink(path)
        self._file = open(path, "w+b")  # noqa: SIM115 - closed by ``close``
        self._file.write(struct.pack(">4sII", b"PACK", 2, 0))

    def add(self, oid: bytes, kind: bytes, data: bytes) -> None:
        """Add an object, once."""
        if oid in self._there:
            return
        self._there.add(oid)
        size = len(data)
        byte = (_KINDS[kind] << 4) | (size & 15)
        size >>= 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte = size & 0x7F
            size >>= 7
        head.append(byte)
        self._file.write(head)
        self._file.write(zlib.compress(data, 1))
        self.count += 1

    def close(self) -> None:
        """Write how many objects there are, and the digest of it all."""
        if self._file.closed:
            return
        with self._file as file:
            file.seek(8)
            file.write(struct.pack(">I", self.count))
            file.seek(0)
            digest = hashlib.new(self._algorithm, usedforsecurity=False)
            while part := file.read(1 << 20):
                digest.update(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
            self.digest = digest.hexdigest()
