"""Keeping a repository small and quick: packing, the commit-graph, and letting old things go.

Each commit leaves five or six small files in ``.git/objects``, each of them in 4 KB of disk. This
packs them, outside of any turn: by ``fsagent maintain``, or by a process in the background once
``due`` says so. Git's own automatic gc is off (``SETTINGS``), since it would start within a commit.

It takes neither the turn nor the write lock. That is safe beside a writer for the reason for which
``git gc`` is: an object that nothing names yet is left alone for two weeks, and one that moves into
a pack is there before its file goes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.errors import AgentBusy, StoreError
from fsagent.formats import counted, one_line
from fsagent.repo.incoming import cleared
from fsagent.repo.run import GitFailed
from fsagent.repo.settings import DRIVERS

if TYPE_CHECKING:
    from fsagent.repo import Repo

SETTINGS = {
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.fsync": "committed",
    **DRIVERS,
}
"""What a repository is told where nobody has set it: no gc within a commit, neither in one of ours
nor in a person's; what a person commits survives a power cut, as what we commit does; and what they
merge is merged as ``sync`` merges it."""

DUE = 2000
"""Loose objects, some 350 turns, from which on packing them is worth a process."""

PACKS = 50
"""Packs from which on they are joined, as in ``git gc``: each is one more place to look."""

GRACE = "2.weeks.ago"
"""How long an object that nothing names is kept: a writer may be just about to name it."""

EXPIRES = "90.days.ago"
"""How long the reflog knows where a branch was; Git's own time for what is still reachable."""

OLD = 90 * 86400.0
"""Seconds after which a dropped commit that is still kept is mentioned."""

LEFT = 86400.0
"""Seconds after which a half-made pack is nobody's."""


@dataclass(frozen=True)
class Done:
    """One thing that maintenance did; ``before`` and ``after`` are bytes on the disk."""

    what: str
    text: str
    before: int | None = None
    after: int | None = None


def due(repo: Repo) -> bool:
    """Whether there is enough to pack. Costs two look-ups and no process.

    As in Git's own gc, one of the 256 folders stands for all: object ids are spread evenly. What
    the last maintenance could not pack, since nothing names it, does not count again.
    """
    try:
        left = int((_private(repo) / "maintained").read_text())
    except (OSError, ValueError):
        left = 0
    return (_sample(repo) - left) * 256 >= DUE


def maintain(repo: Repo) -> list[Done]:
    """Do all of it, one thing after the other; what there was to do.

    Raises:
        AgentBusy: another process is at it.
        StoreError: git failed.
    """
    with _alone(repo):
        try:
            done = [*settle(repo), *_reflog(repo)]  # the reflog first: what it names is packed
            done += [*_pack(repo), *_prune(repo)]
            gone = any(one.what in ("joined", "pruned") for one in done)
            return [*done, *graph(repo, anew=gone), *leftovers(repo), *_dropped(repo)]
        except GitFailed as error:
            raise StoreError(
                f"git could not go on ({one_line(error.text, 200)}), and nothing is lost by that. "
                f"What is wrong: fsagent check {repo.root}"
            ) from error
        finally:  # also after a failure, or every turn would try it again
            with suppress(OSError):
                (_private(repo) / "maintained").write_text(f"{_sample(repo)}\n")


def settle(repo: Repo) -> Iterator[Done]:
    """Write ``SETTINGS`` to .git/config, each where it is set nowhere: a person's value stays."""
    missing = unsettled(repo)
    for key in missing:
        git(repo, "config", "--local", key, SETTINGS[key])
    if missing:
        values = ", ".join(k if k in DRIVERS else f"{k}={SETTINGS[k]}" for k in missing)
        yield Done("settings", f"{values} in .git/config")


def unsettled(repo: Repo) -> list[str]:
    """The keys of ``SETTINGS`` that are set neither here nor for all of a person's repositories."""
    return [key for key in SETTINGS if repo.settings.get(key.lower()) is None]


def leftovers(repo: Repo) -> Iterator[Done]:
    """Remove what was left half made: packs, of a killed ``git repack``, which Git itself never
    does, and what a killed sync was fetching."""
    found = stale(repo)
    size = sum(_disk(path) for path in found)
    for path in found:
        with suppress(OSError):
            path.unlink()
    if found:
        yield Done("leftovers", f"{counted(len(found), 'temporary file')} removed", size, 0)
    syncs = cleared(repo.place)
    if syncs:
        yield Done("leftovers", f"{counted(syncs, 'folder')} of killed syncs removed")


def stale(repo: Repo) -> list[Path]:
    """Half-made packs that nobody has written to for a day.

    Other temporary files have owners: in ``objects`` it is ``git prune``, and in ``fsagent/tmp``
    the write door, which knows what its journal still needs.
    """
    found = []
    for path in (objects(repo) / "pack").glob(".tmp-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT:
                found.append(path)
    return sorted(found)


def dropped(repo: Repo) -> list[tuple[str, float]]:
    """The refs that keep dropped commits, each with the time at which its commit was made."""
    form = "--format=%(refname) %(committerdate:unix)"
    lines = git(repo, "for-each-ref", form, "refs/fsagent/dropped/").decode().splitlines()
    return [(ref, float(when or 0)) for ref, _, when in (line.partition(" ") for line in lines)]


def loose(repo: Repo) -> tuple[int, int]:
    """How many objects have a file of their own, and what these take on the disk."""
    count = size = 0
    for number in range(256):
        with suppress(OSError):
            for entry in os.scandir(objects(repo) / f"{number:02x}"):
                with suppress(OSError):
                    count, size = count + 1, size + entry.stat().st_blocks * 512
    return count, size


def packs(repo: Repo) -> list[Path]:
    """The packs, smallest first; not those that somebody told Git to keep."""
    found = objects(repo).glob("pack/pack-*.pack")
    mine = [path for path in found if not path.with_suffix(".keep").exists()]
    return sorted(mine, key=_size)


def objects(repo: Repo) -> Path:
    """The folder of the objects, which all work trees of a repository share."""
    place = repo.git_dir / "commondir"
    common = repo.git_dir / place.read_text().strip() if place.is_file() else repo.git_dir
    return common / "objects"


# ── the steps ─────────────────────────────────────────────────────────────────────────────────


def _pack(repo: Repo) -> Iterator[Done]:
    """Pack loose objects; where packs have grown by half since they were joined, join all.

    ``repack -d`` walks the history, so it knows which blobs are versions of one file and stores
    them as differences. ``git maintenance`` and ``repack --geometric`` take loose objects by their
    ids alone: measured on recall, their packs are seven times as large, and stay so.

    It is one or the other, never both: ``-A`` drops old objects that nothing names out of packs,
    and ``-d`` removes loose copies of what a pack holds. One right after the other, an object that
    is written again in this moment could lose both.
    """
    here = objects(repo)
    count, _ = loose(repo)
    old = packs(repo)
    sizes = [_size(path) for path in old]
    join = len(old) > 1 and (len(old) > PACKS or sum(sizes[:-1]) * 2 > sizes[-1])
    if not count and not join:
        return
    before = _disk(here)
    if join:
        git(repo, "repack", "-A", "-d", "-l", "-n", "-q", f"--unpack-unreachable={GRACE}")
    else:
        git(repo, "repack", "-d", "-l", "-n", "-q")
    after = _disk(here)
    count -= loose(repo)[0]
    if join:
        more = f" and {counted(count, 'loose object')}" if count > 0 else ""
        yield Done("joined", f"{counted(len(old), 'pack')}{more} into one", before, after)
    elif count > 0:
        yield Done("packed", counted(count, "loose object"), before, after)


def _reflog(repo: Repo) -> Iterator[Done]:
    """Forget where branches were 90 days ago. Git keeps what ``git stash`` holds for ever."""
    # Git would drop entries of commits that were reset away after 30 days already.
    unset = repo.settings.get("gc.reflogexpireunreachable") is None
    longer = ("-c", f"gc.reflogExpireUnreachable={EXPIRES}") if unset else ()
    logs = objects(repo).parent / "logs"
    before = sum(map(_size, logs.rglob("*")))
    git(repo, *longer, "reflog", "expire", "--all")
    after = sum(map(_size, logs.rglob("*")))
    if after < before:
        yield Done("reflog", "entries older than 90 days", before, after)


def _prune(repo: Repo) -> Iterator[Done]:
    """Delete objects that nothing has named for two weeks."""
    before = _disk(objects(repo))
    lines = git(repo, "prune", "-v", f"--expire={GRACE}").splitlines()
    gone = sum(1 for line in lines if not line.startswith(b"Removing"))
    if gone:
        text = f"{counted(gone, 'object')} that nothing has named for two weeks"
        yield Done("pruned", text, before, _disk(objects(repo)))


def graph(repo: Repo, *, anew: bool) -> Iterator[Done]:
    """Write the commit-graph: what ``log -- PATH`` needs to pass over most commits unread.

    ``anew``, since a file of the chain that names a pruned commit would be an error to ``fsck``.
    """
    if repo.head() is None or repo.settings.get("core.commitgraph") == "false":
        return
    place = objects(repo) / "info"
    before, old = _disk(place), _names(place)
    split = "--split=replace" if anew else "--split"
    git(repo, "commit-graph", "write", "--reachable", "--changed-paths", split, "--no-progress")
    if _names(place) != old:
        yield Done("graph", "what `log -- PATH` looks commits up in", before, _disk(place))


def _dropped(repo: Repo) -> Iterator[Done]:
    """Mention dropped commits that have been kept for long. They may be the only copy of
    somebody's words, so only a person lets them go."""
    for ref, when in dropped(repo):
        if time.time() - when > OLD:
            how = f"git -C {repo.root} update-ref -d {ref}"
            yield Done("kept", f"{ref}, made more than 90 days ago; to let it go: {how}")


# ── below ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _alone(repo: Repo) -> Iterator[None]:
    """Hold the lock of maintenance; it frees itself when the process ends, however it ends."""
    try:
        _private(repo).mkdir(parents=True, exist_ok=True)
        file = open(_private(repo) / "maintain.lock", "ab")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreError(f"{repo.git_dir} cannot be written: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AgentBusy(
                f"{repo.root.name} is being maintained already: try again when that is done."
            ) from None
        yield


def git(repo: Repo, *args: str) -> bytes:
    """What a git command prints, in ``repo``, with all that must not count left out."""
    return repo._git(*args)


def _private(repo: Repo) -> Path:
    return repo.git_dir / "fsagent"


def _sample(repo: Repo) -> int:
    try:
        return len(os.listdir(objects(repo) / "17"))
    except OSError:
        return 0


def _names(place: Path) -> set[str]:
    return {path.name for path in place.rglob("*graph*") if path.is_file()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a person's own gc has just replaced it
        return 0


def _disk(place: Path) -> int:
    """What a file, or a folder with all in it, takes on the disk."""
    if not place.is_dir():
        with suppress(OSError):
            return place.lstat().st_blocks * 512
        return 0
    total = 0
    for where, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total
