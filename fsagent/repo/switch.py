"""From the old objects to the new ones: refs, reflogs, the index; then the old ones are let go.

The old tips are kept under ``BACKUP`` until the new history has proved sound. Each step may be done
twice, so a purge that was killed is finished by doing all of it again.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fsagent.errors import StoreError
from fsagent.repo import Repo, disk, maintain
from fsagent.repo.journal import boot
from fsagent.repo.rewrite import distinct
from fsagent.repo.run import GitFailed
from fsagent.repo.worktree import plain_file, same_file

BACKUP = "refs/fsagent/purge/"
"""Where the old tips are while a history is being exchanged."""

_REASON = "fsagent purge"
_ENTRY = re.compile(rb"([0-9a-f]{40,64}) ([0-9a-f]{40,64}) ([^\t\n]*)(?:\t([^\n]*))?\n?")

Now = Callable[[str], str]
"""What an object is called now."""

Words = Callable[[bytes], bytes]


@contextmanager
def no_other_git(repo: Repo, private: Path) -> Iterator[None]:
    """Hold Git's own lock of the index, so that nobody commits to the old history meanwhile.

    It is a second name of a file in ``private``: after a kill that proves that it was ours.
    """
    ours, lock = str(private / "lock"), repo._pipeline.lock
    free(repo, private)
    disk.write(ours, [])
    repo._pipeline.take(ours, lock)
    try:
        yield
    finally:
        free(repo, private)


def free(repo: Repo, private: Path) -> None:
    """Remove the lock that a killed purge left."""
    ours = str(private / "lock")
    if same_file(ours, repo._pipeline.lock):
        disk.unlink(repo._pipeline.lock)
    disk.unlink(ours)


def note_start(private: Path) -> None:
    """Note which start of the machine this is, before any git takes a lock."""
    (private / "boot").write_text(boot())


def free_after_cut(repo: Repo, private: Path) -> list[str]:
    """Remove the locks that a purge's gits left when the power was cut; the answer names them.

    A lock of Git's says nothing of who made it. But one that came after this was noted, and before
    the machine was started again, came while the purge kept others out, and whoever made it is not
    running any more.
    """
    try:
        since, start = (private / "boot").stat().st_mtime, (private / "boot").read_text()
    except OSError:
        return []
    if start in ("", boot()):
        return []
    tops, freed = dict.fromkeys((repo.git_dir, Path(repo._common))), []
    found = [top / f"{name}.lock" for top in tops for name in ("HEAD", "index", "packed-refs")]
    for folder in ("refs", "objects/info", "objects/pack"):
        found += sorted(Path(repo._common, folder).rglob("*.lock"))
    for lock in found:
        about = plain_file(str(lock))
        if about and since <= about.st_ctime < _started():
            disk.unlink(str(lock))
            freed.append(os.path.relpath(lock, repo.root))
    return freed


def _started() -> float:
    """When the machine was started; 0 where the system does not tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() - time.clock_gettime(clock) if clock is not None else 0.0


def refs(repo: Repo) -> list[tuple[str, str, bool]]:
    """Every ref: what it names, how it is called, and whether it only stands for another."""
    out = repo._text("for-each-ref", "--format=%(objectname) %(refname) %(symref)")
    found = []
    for line in out.splitlines():
        oid, name, *symbolic = line.split(" ")
        found.append((oid, name, bool(symbolic and symbolic[0])))
    return found


def move(repo: Repo, now: Now) -> list[str]:
    """Let every ref name what its object is called now; the old tips become backups.

    What a remote was known to have is forgotten, where that has changed: a fetch asks it again.
    The answer are the names of those refs. It is one transaction of Git's: all or nothing.

    Raises:
        StoreError: somebody moved a ref in this moment.
    """
    commands: list[str] = []
    dropped: list[str] = []
    symbolic: list[str] = []
    for oid, name, stands_for in refs(repo):
        new, new_name = now(oid), _renamed(name, now)
        if name.startswith(BACKUP):
            continue
        if name.startswith(("refs/remotes/", "refs/prefetch/")):
            if new != oid:
                dropped.append(name)
                if stands_for:
                    symbolic.append(name)
                else:
                    commands.append(f"delete {name} {oid}")
        elif (new, new_name) != (oid, name) and not stands_for:
            commands.append(f"update {BACKUP}{name.removeprefix('refs/')} {oid}")
            if new_name == name:
                commands.append(f"update {name} {new} {oid}")
            else:
                commands += [f"delete {name} {oid}", f"update {new_name} {new}"]
    head = repo.head()
    if head and repo.branch() is None and now(head) != head:
        commands += [f"update {BACKUP}HEAD {head}", f"update HEAD {now(head)} {head}"]
    for name in symbolic:
        repo._git("symbolic-ref", "-d", name)
    if commands:
        lines = "".join(f"{command}\n" for command in commands).encode()
        try:
            repo._git("update-ref", "--no-deref", "-m", _REASON, "--stdin", stdin=lines)
        except GitFailed as error:
            raise StoreError(
                f"Another git process changed a branch ({error.text.splitlines()[0][:200]}): "
                "try again when it is done."
            ) from error
    return dropped


def _renamed(name: str, now: Now) -> str:
    """A ref that is called by an object, as a dropped commit that is kept: by the new one."""
    top, _, last = name.rpartition("/")
    return f"{top}/{now(last)}" if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", last) else name


def move_logs(
    repo: Repo,
    now: Now,
    subjects: Mapping[str, tuple[bytes, bytes]],
    words: Words,
    private: Path,
) -> None:
    """Let the reflogs, and with them the stash, name what is called otherwise now."""
    for top in dict.fromkeys((Path(repo._common), repo.git_dir)):
        for log in sorted((top / "logs").rglob("*")):
            if not log.is_file() or log.is_symlink():
                continue
            old = log.read_bytes()
            lines = []
            for line in old.splitlines(keepends=True):
                found = _ENTRY.fullmatch(line)
                if not found:
                    lines.append(words(line))
                elif found[4] != _REASON.encode():
                    before, after = (now(found[n].decode()).encode() for n in (1, 2))
                    said = words(found[4] or b"")
                    said = said.replace(*subjects.get(found[2].decode(), (b"", b"")))
                    said = b"\t" + said if found[4] is not None else b""
                    lines.append(b"%s %s %s%s\n" % (before, after, words(found[3]), said))
            replace(log, b"".join(lines), private)
    for name in ("ORIG_HEAD", "FETCH_HEAD"):
        disk.unlink(f"{repo.git_dir}/{name}")


def move_shallow(repo: Repo, now: Now, private: Path) -> None:
    """Say where a shallow history begins, by the old ids and the new ones; ``git prune`` takes out
    those that are gone."""
    place = Path(repo._common, "shallow")
    if place.is_file():
        ids = place.read_text().split()
        both = dict.fromkeys([*ids, *map(now, ids)])
        replace(place, "".join(f"{oid}\n" for oid in both).encode(), private)


def move_notes(repo: Repo, now: Now) -> None:
    """Let what ``git notes`` says of a commit be said of what that is called now."""
    for _, ref, _ in refs(repo):
        if ref.startswith("refs/notes/"):
            listed = repo._text("notes", f"--ref={ref}", "list").splitlines()
            old = [line.split()[1] for line in listed]
            pairs = "".join(f"{oid} {now(oid)}\n" for oid in old if now(oid) != oid)
            if pairs:
                repo._git("notes", f"--ref={ref}", "copy", "-f", "--stdin", stdin=pairs.encode())
                gone = "".join(f"{pair.split()[0]}\n" for pair in pairs.splitlines())
                repo._git(
                    *("notes", f"--ref={ref}", "remove", "--ignore-missing", "--stdin"),
                    stdin=gone.encode(),
                )


def move_index(repo: Repo, now: Now, name: Words, private: Path) -> None:
    """Let the index name what is called otherwise now; whatever was staged stays staged."""
    place = Path(repo._pipeline.index.path)
    if not place.exists():
        return
    entries = []
    listed = [one.split(b"\t", 1) for one in repo._git("ls-files", "-s", "-z").split(b"\0")[:-1]]
    called = _called({path for _, path in listed}, name)
    for info, path in listed:
        mode, oid, stage = info.decode().split()
        new_path = called[path]
        if now(oid) != oid or new_path != path:
            if new_path != path:
                entries.append(b"0 %s\t%s\0" % (b"0" * len(oid), path))
            entries.append(f"{mode} {now(oid)} {stage}\t".encode() + new_path + b"\0")
    copy = private / "index"
    shutil.copyfile(place, copy)
    more = {"GIT_INDEX_FILE": str(copy)}
    # A shared part of it, and what was seen of files that are not in it, hold names as well.
    repo._git("update-index", "--no-split-index", "--no-untracked-cache", more=more)
    if entries:
        repo._git("update-index", "-z", "--index-info", stdin=b"".join(entries), more=more)
    with suppress(GitFailed):  # it says so where a file differs from what is staged
        repo._git("update-index", "-q", "--refresh", more=more)
    repo._git("update-index", "--clear-resolve-undo", more=more)
    with suppress(GitFailed):  # in the middle of a merge there is no tree
        repo._git("write-tree", "--missing-ok", more=more)  # it forgets folders that are gone
    disk.rename(str(copy), str(place))
    for shared in place.parent.glob("sharedindex.*"):
        disk.unlink(str(shared))
    repo._pipeline.index.forget()


def _called(paths: Collection[bytes], name: Words) -> dict[bytes, bytes]:
    """What these paths become, folder by folder, as their trees do."""
    inside: dict[bytes, set[bytes]] = {}
    for path in paths:
        first, _, rest = path.partition(b"/")
        inside.setdefault(first, set()).add(rest)
    names = distinct(inside, name)
    made = {}
    for first, rests in inside.items():
        if b"" in rests:
            made[first] = names[first]
        below = _called(rests - {b""}, name)
        made |= {b"%s/%s" % (first, one): b"%s/%s" % (names[first], below[one]) for one in below}
    return made


def in_index(repo: Repo, words: Words) -> bool:
    """Whether the index, with whatever else Git keeps in it, holds what ``words`` takes out."""
    place = Path(repo._pipeline.index.path)
    if not place.exists():
        return False
    data, names = place.read_bytes(), repo._git("ls-files", "-z")  # version 4 shortens names
    return words(data) != data or words(names) != names


def relink(path: Path, target: bytes) -> None:
    """Let a symbolic link point elsewhere, in one step."""
    spare = f"{path}.purge.tmp"
    os.symlink(os.fsdecode(target), spare)
    disk.rename(spare, str(path))


def begin_journal(repo: Repo) -> None:
    """Begin the journal anew: it holds what was committed lately, object by object."""
    disk.mkdir(repo._pipeline.tmp)
    repo._pipeline.clear("")
    repo._pipeline.journal.begin(repo.head(), flush=True)


def proved(repo: Repo) -> None:
    """Check that all that the refs name is there.

    Raises:
        StoreError: it is not.
    """
    try:
        repo._git("rev-list", "--objects", "--all", "--indexed-objects", "--quiet")
    except GitFailed as error:
        raise StoreError(f"The new history is not whole, and the old one stays: {error}") from error


def go_back(repo: Repo) -> None:
    """Let every ref name again what it named before ``move``."""
    lines = []
    for oid, name, _ in refs(repo):
        if name.startswith(BACKUP):
            old = name.removeprefix(BACKUP)
            lines.append(f"update {old if old == 'HEAD' else f'refs/{old}'} {oid}\n")
            lines.append(f"delete {name}\n")
    if lines:
        repo._git("update-ref", "--no-deref", "--stdin", stdin="".join(lines).encode())


def forget(repo: Repo) -> list[str]:
    """Delete the backups, and every object that nothing names then; what cannot be deleted."""
    names = [name for _, name, _ in refs(repo) if name.startswith(BACKUP)]
    if names:
        repo._git("update-ref", "--stdin", stdin="".join(f"delete {n}\n" for n in names).encode())
    objects = Path(repo._common, "objects")
    told = []
    bitmap = any(objects.glob("pack/pack-*.bitmap"))
    joined = (objects / "pack/multi-pack-index").exists()
    joined_bitmap = any(objects.glob("pack/multi-pack-index-*.bitmap"))
    for pattern in ("info/commit-graph", "pack/multi-pack-index*", "pack/*.keep", "pack/*.bitmap"):
        for path in objects.glob(pattern):
            disk.unlink(str(path))
    shutil.rmtree(objects / "info/commit-graphs", ignore_errors=True)
    # -f: of two whole objects in one pack, as ours are, Git takes no difference otherwise.
    repo._git("repack", "-a", "-d", "-f", "-n", "-q", *(["-b"] if bitmap else []))
    alternates = objects / "info/alternates"
    if alternates.exists():
        told += [f"the repository {line}" for line in alternates.read_text().splitlines() if line]
        disk.unlink(str(alternates))
    repo._git("prune", "--expire=now")
    for pattern in ("pack/tmp_*", "pack/.tmp-*", "??/tmp_obj_*"):
        for path in objects.glob(pattern):
            disk.unlink(str(path))
    if joined and any(objects.glob("pack/*.pack")):
        repo._git("multi-pack-index", "write", *(["--bitmap"] if joined_bitmap else []))
    list(maintain.graph(repo, anew=True))
    repo.let_go()
    return told


def replace(path: Path, data: bytes, private: Path) -> bool:
    """Give a file other bytes, in one step; its permissions stay. Whether they are other ones."""
    if path.read_bytes() == data:
        return False
    spare = str(private / "spare")
    disk.unlink(spare)
    disk.write(spare, [data])
    os.chmod(spare, path.stat().st_mode & 0o7777)
    try:
        disk.rename(spare, str(path))
    except OSError:  # another file system: beside it, then
        beside = f"{path}.purge.tmp"
        shutil.copy(spare, beside)
        disk.rename(beside, str(path))
        disk.unlink(spare)
    return True
