"""Purge: a text, a record or a commit goes from files, history, caches and logs, for good.

    survey    where it stands, so that a person can be asked
    lock      no turn, no write, no packing, no commit of anybody's
    plan      what is to go is written down: from here on it is done, now or at the next opening
    rewrite   new objects beside the old ones (``repo.rewrite``)
    switch    refs, reflogs and index name the new ones; the old tips are kept as backups
    files     all files of the directory, and those of .git that are no objects
    caches    the index of search, and what was typed at the prompt
    forget    the backups go, and with them every old object
    verify    every object and every file is looked at again

All of it may be done twice: a purge that was killed is simply done again. What is written down
holds the text until the end; so do the old objects.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.errors import AgentBusy, FsagentError, StoreError
from fsagent.formats import counted, load_yaml, one_line
from fsagent.history import target as targets
from fsagent.history.gap import FORMAT, SHORTEST, Gap, Target
from fsagent.history.prompted import answers
from fsagent.history.quoted import quotes
from fsagent.layout import FILE_MAX, OURS, read_plain
from fsagent.repo import Repo, incoming, reword, switch
from fsagent.repo.health import fsck
from fsagent.repo.rewrite import Rewrite, names_in, numbered, objects

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.store import Store

PATIENCE = 30.0
"""Seconds that a purge waits for a turn, or for maintenance, to end."""

_GITS = ("HEAD", "index", "packed-refs", *reword.NAMES)
"""Files at the top of .git that hold nothing of anybody's, or that are seen to otherwise."""

_GITS_NAMES = re.compile(
    r"[A-Z_]+|hooks|info|exclude|attributes|description|branches|rr-cache|(?:pre|post)image"
    r"|fsagent|(?:pre|post|prepare|commit|applypatch|update|fsmonitor|push|sendemail)[a-z-]*(?:\.sample)?"
)
"""Names in .git that are the same everywhere, and nobody's words."""

_GITS_FILES = re.compile(r"\.lock$|^sharedindex\.")

_GITS_FOLDERS = ("objects", "refs", "logs", "modules", "worktrees")


@dataclass(frozen=True)
class Survey:
    """Where it stands: files now, versions of files in the history, messages of commits."""

    files: tuple[str, ...]
    versions: int
    messages: int

    @property
    def empty(self) -> bool:
        """Whether it stands nowhere."""
        return not (self.files or self.versions or self.messages)


@dataclass
class Purged:
    """What was done. ``left`` are places where it still is; ``beyond`` are those out of reach."""

    files: list[str] = field(default_factory=list)
    versions: int = 0
    commits: int = 0
    told: list[str] = field(default_factory=list)
    looked_at: tuple[int, int] = (0, 0)
    """Objects and files that were searched afterwards."""
    left: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Where words of a record or a commit stand that were not purged, as somebody else's; or a line
    of a text of several, or a text with other capital and small letters."""
    reworded: list[tuple[str, str]] = field(default_factory=list)
    """Later commits, each with the file, that gave a line of a commit the wording it has since."""

    @property
    def nothing(self) -> bool:
        """Whether it stood nowhere."""
        return not (self.files or self.versions or self.commits or self.left)


def survey(agent: Agent, target: Target) -> Survey:
    """Where the target stands. Nothing is locked or changed."""
    store = agent.store
    gap = Gap(target, targets.versions(store, target.paths))
    found = [path for path, data in _files(store, Purged()) if gap.content(data, path=path) != data]
    found += [path for path in _names(store.root) if _renamed(gap, path) != path]
    found += [path for path, data in _links(store.root) if gap.holds(data)]
    found += [str(p.relative_to(store.root)) for p in _held_settings(store.repo, gap)]
    versions = messages = 0
    for oid, kind, data in objects(store.repo):
        if kind == b"blob":
            versions += gap.holds(data, oid.hex())
        elif kind in (b"commit", b"tag"):
            head, _, message = data.partition(b"\n\n")
            held = gap.head(head) != head or gap.message(message, oid.hex()) != message
            messages += held
    return Survey(tuple(dict.fromkeys(found)), versions, messages)


def purge(agent: Agent, target: Target) -> Purged:
    """Take the target out of everything that is reached from here. There is no way back.

    Raises:
        AgentBusy: a turn is under way, for more than 30 s, or the agent is being maintained.
        StoreError: it says why, and whether nothing was changed or the next opening goes on.
    """
    store, place = agent.store, _place(agent.store.repo)
    _refuse(store, Gap(target))
    with _alone(store):
        with suppress(OSError, ValueError, RecursionError):  # one that could not be finished
            target |= Target.load(read_plain(place / "plan").decode())
        switch.free_after_cut(store.repo, place)
        gap = Gap(target, targets.versions(store, target.paths))
        _refuse(store, gap)
        target |= Target(answers=answers(store, gap), quotes=quotes(store, gap))
        _write_down(place, target)
        try:
            return _carry_out(agent, target, place)
        except (FsagentError, OSError) as error:
            how = "The next command that opens the agent goes on with it."
            raise StoreError(
                f"{_said(error)} {how if _begun(place) else 'Nothing was changed.'}"
            ) from error
        finally:
            if not _begun(place):
                shutil.rmtree(place, ignore_errors=True)


def stamp(repo: Repo) -> str:
    """What was purged so far: a line for each time, with the old ids of the first commits that
    changed. Whoever keeps a copy of what was typed looks whether this is still the same."""
    try:
        return read_plain(repo.git_dir / "fsagent" / "purged").decode()
    except (OSError, ValueError):
        return ""


def brings_back(repo: Repo, rev: str) -> bool:
    """Whether the history of ``rev`` is one from before a purge, as a remote may still have it."""
    return any(repo.descends(oid, rev) for oid in old_ids(repo))


def old_ids(repo: Repo) -> list[str]:
    """The first commits that each purge changed, by their ids from before."""
    ids = (word for line in stamp(repo).splitlines() for word in line.split()[1:])
    return [oid for oid in ids if re.fullmatch("[0-9a-f]{40,64}", oid)]


def unfinished(repo: Repo) -> bool:
    """Whether a purge was cut short. Costs one look."""
    return (_place(repo) / "plan").exists()


def hindered(repo: Repo) -> str:
    """What kept it from being finished when that was tried last, or ""."""
    try:
        return read_plain(_place(repo) / "hindered").decode()
    except (OSError, ValueError):
        return ""


def finish(agent: Agent) -> str:
    """Do again what was cut short, unless somebody is just at it; a sentence about it, or "".

    Raises:
        StoreError: it cannot be finished; it says why.
    """
    store, place = agent.store, _place(agent.store.repo)
    try:
        with _alone(store, patience=0.0):
            try:
                target = Target.load(read_plain(place / "plan").decode())
                if any(len(text.strip()) < SHORTEST for text in target.texts):
                    raise ValueError("a text is too short")
            except FileNotFoundError:  # it had not begun, or somebody has just finished it
                shutil.rmtree(place, ignore_errors=True)
                return ""
            except (OSError, ValueError, RecursionError) as error:
                switch.free(store.repo, place)
                shutil.rmtree(place, ignore_errors=True)
                return f"A purge was cut short before it began, and is given up ({error})."
            freed = switch.free_after_cut(store.repo, place)
            switch.note_start(place)
            _refuse(store, Gap(target))
            done = _carry_out(agent, target, place)
    except AgentBusy:
        return ""
    except (FsagentError, OSError) as error:
        with suppress(OSError):
            (place / "hindered").write_text(_said(error))
        raise StoreError(
            f"A purge was cut short and cannot be finished: {_said(error)} "
            "When that is mended, the next command that opens the agent goes on with it."
        ) from error
    left = f" It is left in {', '.join(done.left[:5])}." if done.left else ""
    locks = f" It had left {', '.join(freed)} when the power was cut." if freed else ""
    return f"A purge that was cut short is finished.{locks}{left}"


def _carry_out(agent: Agent, target: Target, place: Path) -> Purged:
    store, done = agent.store, Purged()
    repo = store.repo
    gap = Gap(target, targets.versions(store, target.paths))
    words, since = targets.words_of(store, target), targets.reworded(store, target)
    incoming.cleared(repo.place)
    with switch.no_other_git(repo, place):
        rewrite = Rewrite(repo, gap, str(place / "new"))
        rewrite.run()
        done.reworded = [(rewrite.now(oid)[:7], path) for oid, path in since]
        done.versions, done.commits = rewrite.counts["blob"], rewrite.counts["commit"]
        if rewrite.unsigned:
            done.told.append(f"{rewrite.unsigned} signatures were of the old commits and are gone")
        rewrite.publish()
        switch.move_shallow(repo, rewrite.now, place)
        (place / "moved").touch()
        done.told += [f"{ref} is forgotten" for ref in switch.move(repo, rewrite.now)]
        try:
            switch.proved(repo)
        except BaseException:
            switch.go_back(repo)
            (place / "moved").unlink()
            raise
        switch.begin_journal(repo)
        switch.move_notes(repo, rewrite.now)
        switch.move_logs(repo, rewrite.now, rewrite.subjects, gap.words, place)
        _rewrite_files(store, gap, place, done)
        switch.move_index(repo, rewrite.now, gap.name, place)
        _note_down(repo, rewrite.first)
        _forget_caches(agent, gap, place, done)
        done.beyond += switch.forget(repo)
    _verify(store, gap, words, done)
    done.beyond += _beyond(store)
    shutil.rmtree(place, ignore_errors=True)
    return done


# ── before ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _alone(store: Store, patience: float = PATIENCE) -> Iterator[None]:
    """Keep out turns, maintenance and writes."""
    name = store.root.name
    with ExitStack() as held:
        for lock, busy in (
            ("turn", f"{name} is in the middle of a turn: try again when it has answered."),
            ("maintain", f"{name} is being maintained: try again when that is done."),
            ("write", "Another program writes to this agent: try again."),
        ):
            held.enter_context(store.locks.hold(lock, patience, busy))
        store.repo.recover()
        yield


def _place(repo: Repo) -> Path:
    return repo.git_dir / "fsagent" / "purge"


def _write_down(place: Path, target: Target) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        spare = place / "plan.tmp"
        spare.touch(0o600)
        with open(spare, "w", encoding="utf-8") as file:
            file.write(target.dump())
            file.flush()
            os.fsync(file.fileno())
        switch.note_start(place)
        spare.rename(place / "plan")
    except OSError as error:
        raise StoreError(f"{place} cannot be written: {error.strerror}.") from error


def _begun(place: Path) -> bool:
    """Whether a branch may have been moved already."""
    return (place / "moved").exists()


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} cannot be written: {error.strerror or error}."
    return str(error)


def _refuse(store: Store, gap: Gap) -> None:
    """Stop where something of the repository is out of reach and would be broken.

    Raises:
        StoreError: saying what, and what to do.
    """
    repo = store.repo
    if store.is_past:
        raise StoreError(f"This is {store.config.name} as it was: purge in the agent of today.")
    store.ready()
    for name in (*OURS, ".gitattributes", store.config.id):
        if gap.words(name.encode()) != name.encode():
            raise StoreError(
                f"The text is a part of {name!r}, without which this is not the same agent: "
                "give more of the text around it."
            )
    for word in FORMAT:
        if gap.words(word.encode()) != word.encode():
            raise StoreError(
                f"The text is a part of the word {word!r}, which every agent's files or "
                "their history are made of: give more of the text around it."
            )
    config = store.read("agent.yaml")
    if _keys(gap.content(config)) != _keys(config):
        raise StoreError(
            "The text is a part of a key of agent.yaml: give more of the text around it."
        )
    for _, ref, _ in switch.refs(repo):
        if gap.words(ref.encode()) != ref.encode() and not ref.startswith("refs/remotes/"):
            raise StoreError(
                f"It is in the name {ref}: rename that first "
                f"(git -C {store.root} branch -m OLD NEW; tag NEW OLD; tag -d OLD)."
            )
    for key in reword.named(repo, gap.words):
        raise StoreError(
            f"It is in the name {key} of Git's configuration: rename that first "
            f"(git -C {store.root} remote rename OLD NEW; config --edit)."
        )
    if repo.place.common != repo.git_dir:
        raise StoreError(
            f"{store.root} is a linked work tree: purge in the repository that it belongs to, "
            f"{repo.place.common.parent}, once it is the only one."
        )
    trees = sorted(path.name for path in repo.git_dir.glob("worktrees/*"))
    if trees:
        raise StoreError(
            f"{store.root} has other work trees ({', '.join(trees)}), whose files are elsewhere: "
            f"remove them first (git -C {store.root} worktree list; worktree remove PATH)."
        )
    if repo.settings.get("extensions.partialclone") is not None:
        raise StoreError(
            f"{store.root} is a partial clone, which does not hold all of its history: "
            "purge in a full one."
        )


def _keys(config: bytes) -> list[str]:
    try:
        parsed = load_yaml(config.decode(errors="replace"))
    except ValueError:
        return []
    return sorted(map(str, parsed)) if isinstance(parsed, dict) else []


# ── files ─────────────────────────────────────────────────────────────────────────────────────


def _files(store: Store, done: Purged) -> Iterator[tuple[str, bytes]]:
    """Every plain file below the directory that is no object of Git's, with its bytes."""
    root, git_dir = store.root, store.repo.git_dir
    for path in _names(root):
        place = root / path
        try:
            about = os.lstat(place)
            if not stat.S_ISREG(about.st_mode):
                continue
            if about.st_size > FILE_MAX:
                done.beyond.append(f"{path}, which is too large to be looked into")
                continue
            yield path, read_plain(place)
        except OSError as error:
            if place.parent != git_dir / "fsagent":
                done.left.append(f"{path} (it cannot be read: {error.strerror})")


def _links(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every symbolic link outside of .git, with what it points to."""
    for path in _names(root):
        if not path.startswith(".git/") and (root / path).is_symlink():
            yield path, os.fsencode(os.readlink(root / path))  # noqa: PTH115 - as it is spelled


def _names(root: Path) -> list[str]:
    """The paths of all files and folders, the deepest first; of .git what holds anybody's words."""
    found = []
    for where, folders, names in os.walk(root):
        inside = os.path.relpath(where, root)
        if inside == ".":
            inside = ""
        elif ".git" in (*folders, *names):
            folders.clear()
            continue  # a repository of its own
        if inside == ".git":
            folders[:] = [name for name in folders if name not in _GITS_FOLDERS]
            names = [name for name in names if name not in _GITS and not _GITS_FILES.search(name)]
        elif inside == ".git/fsagent":
            folders[:] = [name for name in folders if name not in ("purge", "tmp", "visits")]
            ours = ("journal", "purged")  # "purged" holds times and ids
            names = [name for name in names if name not in ours and not name.endswith(".lock")]
        found += [os.path.join(inside, name) for name in (*folders, *names) if name != ".git"]
    return sorted(found, key=lambda path: (-path.count("/"), path))


def _held_settings(repo: Repo, gap: Gap) -> dict[Path, list[str]]:
    """The files of Git's configuration that hold it, and the keys that do."""
    found = {path: reword.held(repo, path, gap.words) for path in reword.files(repo)}
    return {path: keys for path, keys in found.items() if keys}


def _renamed(gap: Gap, path: str) -> str:
    """What a file is called without it; nothing in .git is called otherwise."""
    if path.startswith(".git/"):
        return path
    top, slash, name = path.rpartition("/")
    return top + slash + os.fsdecode(gap.name(os.fsencode(name)))


def _rewrite_files(store: Store, gap: Gap, place: Path, done: Purged) -> None:
    """The same in every file as in every object; then the names."""
    root = store.root
    for path, data in _files(store, done):
        new = gap.content(data, path=path)
        if new != data:
            try:
                switch.replace(root / path, new, place)
                done.files.append(path)
            except OSError as error:
                done.left.append(f"{path} (it cannot be written: {error.strerror})")
    for settings in _held_settings(store.repo, gap):
        new = reword.reworded(store.repo, settings, gap.words, place)
        if switch.replace(settings, new, place):
            done.files.append(str(settings.relative_to(root)))
    for path, data in _links(root):
        new = gap.content(data)
        if new != data:
            switch.relink(root / path, new)
            done.files.append(path)
    for path in _names(root):
        new_path = _renamed(gap, path)
        if new_path != path:
            ways = map(os.fsdecode, numbered(os.fsencode(new_path)))
            new_path = next(one for one in ways if not os.path.lexists(root / one))
            with suppress(OSError):  # named at the end
                (root / path).rename(root / new_path)
                done.files.append(f"{path}, which is {new_path} now")


def _note_down(repo: Repo, first: list[str]) -> None:
    """Say that there was a purge, and which commits nobody should bring back."""
    with suppress(OSError), open(repo.git_dir / "fsagent" / "purged", "a") as file:
        file.write(" ".join([f"{time.time_ns()}", *first]) + "\n")


def _forget_caches(agent: Agent, gap: Gap, place: Path, done: Purged) -> None:
    """The search index with its vectors, and the lines that were typed at the prompt."""
    from fsagent.index.caches import forget

    agent.forget_index()
    if forget(agent.environment.cache_dir, agent.root, agent.config.id):
        done.told.append("the search index is built again by the next search")
    # Those of other directories, too: it may be this agent before it was moved.
    for lines in sorted(agent.environment.lines_of(agent.root).parent.glob("history-*")):
        try:
            data = read_plain(lines)
            if switch.replace(lines, gap.words(data), place):
                done.files.append(str(lines))
        except FileNotFoundError:
            pass
        except OSError as error:
            done.left.append(f"{lines} (it cannot be written: {error.strerror})")


# ── after ─────────────────────────────────────────────────────────────────────────────────────


def _verify(store: Store, gap: Gap, words: list[str], done: Purged) -> None:
    """Look at every object and every file again, and let Git do so too."""
    same = Gap(Target(texts=tuple(words))).words
    other = Gap(Target(texts=tuple(text.lower() for text in gap.target.texts))).words

    def elsewhere(data: bytes) -> bool:
        low = data.decode(errors="surrogateescape").lower().encode(errors="surrogateescape")
        return same(data) != data or other(low) != low

    count = files = messages = fixed = 0
    cut_off: list[str] = []
    for oid, kind, data in objects(store.repo):
        count += 1
        if kind == b"blob":
            held = gap.holds(data, oid.hex())
        elif kind == b"tree":
            held = any(gap.name(name) != name for name in names_in(data, len(oid)))
        else:
            head, _, message = data.partition(b"\n\n")
            held = gap.head(head) != head or gap.words(message) != message
            fixed += not held and gap.words(head) != head
            messages += elsewhere(data)
            if gap.quotes(message.decode(errors="replace")):
                cut_off.append(f"the {kind.decode()} {oid.hex()[:7]}")
        if held:
            done.left.append(f"the {kind.decode()} {oid.hex()} in .git/objects")
    for path, data in _files(store, Purged()):
        files += 1
        if gap.content(data, path=path) != data or _renamed(gap, path) != path:
            done.left.append(path)
        elif not path.startswith(".git/") and elsewhere(data):
            done.elsewhere.append(path)
        if not path.startswith(".git/") and gap.quotes(data.decode(errors="replace")):
            cut_off.append(path)
    done.left += [path for path, data in _links(store.root) if gap.holds(data)]
    done.left += [".git/index"] * switch.in_index(store.repo, gap.words)
    for settings, keys in _held_settings(store.repo, gap).items():
        done.left += [
            f"{settings.relative_to(store.root)} ({key}, which Git finds things by: "
            f"git -C {store.root} config --edit)"
            for key in keys
        ]
    for path in _names(store.root):
        name = os.path.basename(path)
        if path.startswith(".git/") and not _GITS_NAMES.fullmatch(name):
            done.left += [path] * (os.fsdecode(gap.name(os.fsencode(name))) != name)
    names = (name for _, name, _ in switch.refs(store.repo))
    done.left += [name for name in names if gap.words(name.encode()) != name.encode()]
    if messages:
        done.elsewhere.append(f"the messages of {messages} commits")
    if fixed:
        done.told.append(f"{counted(fixed, 'commit')} have it within a time or an id, which stay")
    if cut_off:
        more = f" and {len(cut_off) - 5:,} more" if len(cut_off) > 5 else ""
        done.told.append(
            f"what may be its beginning, cut off, is left in {', '.join(cut_off[:5])}{more}: "
            "if it is, purge that as well, together with its …"
        )
    done.looked_at = count, files
    done.left += [f"git fsck: {one_line(line, 200)}" for line in fsck(store.repo)[:5]]
    done.left = list(dict.fromkeys(done.left))


def _beyond(store: Store) -> list[str]:
    """Where it may be as well, and what cannot be reached from here."""
    found = []
    for name, address in sorted(store.repo.remotes().items()):
        found.append(
            f"the remote {name} ({address}), if it was pushed there. fsagent sync {store.root} "
            f"{name} names the command that replaces it; and old objects stay on a server until "
            "whoever keeps it deletes them"
        )
    for where, folders, names in os.walk(store.root):
        inside = os.path.relpath(where, store.root)
        if inside == ".git":
            folders[:] = [name for name in folders if name == "modules"]
            found += [".git/modules, the repositories of submodules"] * bool(folders)
            folders.clear()
        elif inside != "." and ".git" in (*folders, *names):
            found.append(f"{inside}, a repository of its own")
            folders.clear()
    return [*found, "clones, forks, copies and backups, and whoever was sent it: the model's host"]
