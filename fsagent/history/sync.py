"""One agent on several machines, and several agents with one past: their memories made one.

    sync    fetch, merge, push; when somebody else has pushed meanwhile, again
    merge   another fork's memory taken in
    clone   the same agent in a second place

A merge is one commit with both histories as its parents, made through the write door: its files are
worked out in memory (``join``), so that a kill at any time leaves the old or the new. Nothing is
ever forced, and no commit is ever lost.
"""

from __future__ import annotations

import random
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent import allow
from fsagent.change import Change, Joining
from fsagent.clashes import SETTLE
from fsagent.config import parse_config
from fsagent.errors import AgentError, ConfigError, StoreError
from fsagent.formats import clean, load_yaml, one_line
from fsagent.history.edits import changed_lines
from fsagent.history.fork import settle_home
from fsagent.history.join import Joined, Side, join
from fsagent.history.purge import brings_back, old_ids
from fsagent.layout import is_agents, read_plain, require_agent
from fsagent.repo import Join, Repo, remote, sides, walk
from fsagent.repo.maintain import settle
from fsagent.repo.unborn import unborn
from fsagent.store import EditedError, Store
from fsagent.turn import shortened, told_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsagent.repo.remote import Remote

_TRIES = 10
"""How often it is begun again because somebody else pushes, or a person saves a file."""

_LINES, _CLASHES = 200, 20
"""How many changed lines, and how many clashes, the agent is told at most."""

_EVENT = (
    """\
{person} brought the memory of {ours} and of {theirs} together. Both had changed the same; it is \
for you to settle:
{clashes}
"""
    + SETTLE
)


@dataclass(frozen=True)
class Synced:
    """What a sync did: with which remote, and how many commits came from it and went there.

    ``commit`` is where both are now, ``merged`` the merge commit, if there had to be one. ``told``
    says what was done besides, ``clashes`` what both sides had changed: the agent knows of it.
    """

    remote: str
    taken: int
    given: int
    commit: str
    merged: str | None = None
    clashes: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """Another agent's memory that was taken in: its name, how many commits, and the merge commit.

    ``commit`` is None where there was nothing that is not here.
    """

    name: str
    taken: int
    commit: str | None
    paths: tuple[str, ...] = ()
    clashes: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


# ── several machines ──────────────────────────────────────────────────────────────────────────


def sync(
    store: Store, place: str | None = None, *, machine: str, state_dir: Path, ask: bool = False
) -> Synced:
    """Bring this agent and another repository of it to the same: fetch, merge, push.

    Args:
        store: The agent's files. Hand edits are committed first, as the person's.
        place: A remote's name, an address or a directory; by default the upstream of the branch.
        machine: What this machine is called where both sides have changed the same words.
        state_dir: Where it is kept which directories a person has named.
        ask: Whether git may ask for a password on the terminal.

    Raises:
        StoreError: the other repository cannot be reached, or refuses; what is here is kept.
    """
    _refuse_past(store)
    repo = store.repo
    store.ready()  # first: in the middle of a rebase there is no branch
    there = remote.choose(repo, place)
    _refuse_strange(store, there, state_dir)
    told = list[str]()
    taken, clashes, merged = 0, list[str](), None
    for attempt in range(_TRIES):
        try:
            theirs = remote.fetch(repo, there, unwanted=old_ids(repo), ask=ask)
        except remote.Unwanted as error:
            raise _from_before(store, there, error.commit) from None
        except remote.Replaced as error:
            root = shlex.quote(str(store.root))
            raise StoreError(
                f"Somebody has replaced the history at {there.called}, as after a purge: what is "
                "gone there would come back from here, so nothing was taken or given. Purge the "
                f"same here (fsagent purge {root}), and sync again; or if it is to come back: "
                f"git -C {root} update-ref -d {shlex.quote(error.ref)}"
            ) from None
        if theirs is None and (strange := remote.stranger(repo, there, ask=ask)):
            raise StoreError(
                f"{there.called} has no branch {there.branch}, and its {strange} shares no past "
                f"with {store.config.name}: it is somebody else's. Name another place; or if the "
                "memory is to go there all the same: "
                f"git -C {shlex.quote(str(store.root))} push {shlex.quote(there.url)} "
                f"HEAD:refs/heads/{shlex.quote(there.branch)}"
            )
        if not there.name and not remote.remotes(repo):
            there = remote.remember(repo, there)
            if there.name:
                told.append(f"{there.name} is {remote.shown(there.url)} from now on.")
        names = machine, there.called
        subject = f"sync: what came from {there.called}"
        came = _take_in(store, theirs, names, subject, told, source=there)
        if came and theirs:
            taken += sides.count(repo, came.before, theirs)
            clashes += came.joined.clashes
            told += _settings(store, came, there.called)
            merged = came.commit if came.commit != theirs else merged
        head = repo.head()
        if head is None:
            raise StoreError(f"{store.root} has no commit yet: talk to it first.")
        given = 0 if head == theirs else sides.count(repo, theirs, head)
        why = "" if head == theirs else remote.push(repo, there, head, ask=ask)
        if not why:
            return Synced(there.called, taken, given, head, merged, tuple(clashes), tuple(told))
        time.sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 5)))
    raise StoreError(
        f"{there.called} cannot be pushed to ({why}), {_TRIES} times over: somebody else does it "
        "all the time, or has left a lock there. What was there is here now; sync again later."
    )


def _refuse_past(store: Store) -> None:
    if store.is_past:
        raise StoreError(
            f"This is {store.config.name} as it was, which is read and not changed: open it as it "
            "is now."
        )


def _refuse_strange(store: Store, there: Remote, state_dir: Path) -> None:
    """Refuse a directory that nobody but the agent's own configuration names."""
    root, ident = shlex.quote(str(store.root)), _ident(store)
    if there.typed and remote.is_local(there.url):
        allow.add_place(store.root, state_dir, ident, there.url)
    known = allow.places(store.root, state_dir, ident)
    for url in remote.of_its_own(store.repo, there):
        if url not in known:
            raise AgentError(
                f"{there.name} is the directory {one_line(url, 200)}, which only the agent's own "
                f".git/config names, and its hooks would run. If it is yours: fsagent sync {root} "
                f"{shlex.quote(url)}; or if you trust this agent: fsagent allow {root}"
            )


def _ident(store: Store) -> str:
    """The agent's id. Where agent.yaml is broken, as it may have come from the other place, it is
    that of its last version which could be read: or its repair could not come from there."""
    with suppress(ConfigError):
        return store.config.id
    for version in walk.versions(store.repo, "agent.yaml", store.rev) if store.rev else ():
        with suppress(ConfigError):
            if version.blob:
                return parse_config(store.repo.read(version.blob)).id
    return ""


def clone(url: str, root: Path, *, state_dir: Path, ask: bool = False) -> list[str]:
    """The agent at an address in a second place, with the same id: one agent, two machines.

    The answer is what a person should know of it besides.

    Raises:
        AgentError: ``root`` is there already, or what comes is no agent.
        StoreError: the address cannot be reached.
    """
    where = remote.address(url, remote=False)
    told = list[str]()
    with unborn(root, "clone", told) as place:
        repo = remote.clone(where, place, ask=ask)
        list(settle(repo))
        repo.close()
    store = Store(root)
    settle_home(store)
    if remote.is_local(where):
        allow.add_place(store.root, state_dir, _ident(store), where)
    store.repo.close()
    return told


# ── several minds ─────────────────────────────────────────────────────────────────────────────


def merge(store: Store, place: Path, *, allowed: bool = False) -> Merged:
    """Take in the memory of another agent with which this one shares a past.

    What the other one has not committed stays there, and its id and name too.

    Raises:
        NotAnAgent, AgentError: there is none at ``place``.
        StoreError: they share no past, or something cannot be merged.
    """
    _refuse_past(store)
    require_agent(place)
    other = Repo(place, allowed=allowed)
    try:
        config, own = parse_config(read_plain(place / "agent.yaml")), store.config
        theirs = other.head()
        if theirs is None:
            raise StoreError(f"{place} has no commit yet: there is nothing to take in.")
        remote.take(store.repo, other, theirs, unwanted=old_ids(store.repo))
    except remote.Unwanted:
        raise _from_before(store, place, theirs) from None
    finally:
        other.close()
    names = [one_line(clean(one.name), 60) for one in (own, config)]
    if names[0] == names[1]:
        names = [store.root.name, place.resolve().name]
    another = own.id != config.id
    subject, told = f"merge: the memory of {names[1]}", list[str]()
    both = names[0], names[1]
    came = _take_in(store, theirs, both, subject, told, source=place, another=another, tell=True)
    if came is None:
        return Merged(names[1], 0, None, told=tuple(told))
    taken = sides.count(store.repo, came.before, theirs)
    paths, clashes = tuple(sorted(came.joined.heads)), tuple(came.joined.clashes)
    return Merged(names[1], taken, came.commit, paths, clashes, tuple(told))


# ── the commit ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Came:
    """A history that was taken in: where HEAD was and is, and what had to change."""

    before: str
    commit: str
    joined: Joined


def _take_in(
    store: Store,
    theirs: str | None,
    names: tuple[str, str],
    subject: str,
    told: list[str],
    *,
    source: Remote | Path,
    another: bool = False,
    tell: bool = False,
) -> _Came | None:
    """Adopt hand edits, and join what is not here yet; None where there is nothing.

    With ``tell`` the agent is told in any case, otherwise only of what it has to settle.
    """
    for _ in range(_TRIES):
        with store.turn():
            known = len(store.warnings)
            mended, adopted = store.settle()
            told += mended
            told += [f"Your edit of {_named(a.paths)} was committed." for a in adopted]
            told += store.warnings[known:]  # above all of keys and tokens in what was edited
            events = [(told_of(store, one), one.change) for one in adopted]
            head, came = store.repo.head(), None
            here = not head or not theirs or store.repo.descends(theirs, head)
            try:
                if head and theirs and not here:
                    if brings_back(store.repo, theirs):  # purged in this moment
                        raise _from_before(store, source, theirs)
                    place = not another
                    both = Side(head, names[0], place), Side(theirs, names[1], place)
                    with suppress(EditedError):
                        came = _join(store, subject, both, events, another=another, tell=tell)
            finally:
                if events and not came:  # there is no merge to tell them with
                    with store.change("recall: what was edited by hand") as change:
                        add_events(change, events)
            if came or here:
                return came
    raise StoreError(f"Files of {store.root} are saved all the time: try again later.")


def _named(paths: Iterable[str]) -> str:
    """A few file names as a person is shown them."""
    return ", ".join(one_line(path, 100) for path in islice(paths, 5))


def _settings(store: Store, came: _Came, name: str) -> list[str]:
    """What came with agent.yaml, which says what the agent may do, and whom it asks."""
    if "agent.yaml" not in came.joined.heads:
        return []
    before, after = (_values(store, rev) for rev in (came.before, came.commit))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"agent.yaml: {one_line(', '.join(map(str, keys)), 200)} came from {name}."]


def _values(store: Store, rev: str) -> dict[object, object]:
    """What agent.yaml says in a commit; nothing where it cannot be read, which others say."""
    with suppress(KeyError, ValueError):
        blob = store.repo.files(rev, ["agent.yaml"])["agent.yaml"]
        found = load_yaml(store.repo.read(blob.oid).decode())
        return found if isinstance(found, dict) else {}
    return {}


def _join(
    store: Store,
    subject: str,
    both: tuple[Side, Side],
    events: list[tuple[str, str]],
    *,
    another: bool,
    tell: bool,
) -> _Came:
    """Join two histories in one commit by the person; needs the turn.

    Where ours has nothing that theirs has not, the branch moves on to theirs instead.
    """
    repo, person = store.repo, store.repo.person()
    ours, theirs = both
    with store.change(subject, author=person) as change:
        change.begin()
        joined = join(repo, ours, theirs, another=another)
        _refuse_edits(store, joined, theirs.name)
        change.modes = joined.modes
        change.refuses_secrets = False  # it is in that history: here it only comes along
        change.writes = dict(joined.made)
        if tell:
            paths = sorted(joined.heads, key=lambda path: (not path.startswith("core/"), path))
            lines = (
                line
                for path in paths
                if path.startswith(("core/", "archival/"))
                for line in changed_lines(store.now(path), joined.data(repo, path))
            )
            changed = shortened(list(islice(lines, _LINES)))
            what = f"{person.name} brought in the memory of {theirs.name}:\n{changed}"
            events = [*events, (what, change.id)]
        if joined.clashes:
            clashes = "\n".join(f"- {said}" for said in joined.clashes[:_CLASHES])
            if len(joined.clashes) > _CLASHES:
                clashes += f"\n- and {len(joined.clashes) - _CLASHES:,} more"
            what = _EVENT.format(
                person=person.name, ours=ours.name, theirs=theirs.name, clashes=clashes
            )
            events = [*events, (what, change.id)]
        taken = dict(joined.taken)
        if events:
            taken.pop(add_events(change, events, joined), None)
        ahead = not events and not another and repo.descends(ours.commit, theirs.commit)
        over = ours.commit if ahead else None
        change.joining = Joining(Join(theirs.commit, over), joined.heads, taken)
    assert change.commit is not None  # noqa: S101 - joining always makes or finds one
    return _Came(ours.commit, change.commit, joined)


def _from_before(store: Store, source: Remote | Path, theirs: str | None) -> StoreError:
    """Another history is from before a purge: what is gone here would come back with it."""
    root = shlex.quote(str(store.root))
    if isinstance(source, Path):
        place = shlex.quote(str(source))
        return StoreError(
            f"{source} is from before a purge, and would bring back what is gone here: nothing of "
            f"it was taken. Purge the same there (fsagent purge {place}), and try again."
        )
    where, branch = shlex.quote(source.name or source.url), shlex.quote(source.branch)
    return StoreError(
        f"{source.called} is from before a purge, and would bring back what is gone here: nothing "
        "of it was taken. Replace what is there; if others have pushed since, do it from a new "
        "clone in which you have purged the same, or what they did is lost: "
        f"git -C {root} push --force-with-lease={branch}:{theirs} {where} "
        f"HEAD:refs/heads/{branch}. Then other clones are to be made anew."
    )


def _refuse_edits(store: Store, joined: Joined, name: str) -> None:
    """Stop where a person has edited files that are not the agent's, and the merge would too."""
    others = [path for path in joined.heads if not is_agents(path)]
    for path, state in store.repo.compare(others).items():
        if not state.work == state.staged == state.head:
            raise StoreError(
                f"{path} has edits that are not committed, and {name} has changed it too: commit "
                "yours, or put them aside (git stash), and try again."
            )


def add_events(change: Change, events: list[tuple[str, str]], joined: Joined | None = None) -> str:
    """Let a change add these to recall; the answer is the segment that takes them.

    ``joined`` is what the change takes in, if it is a merge: the segment may be of that.
    """
    store = change.store
    path, data = store.with_records(store.events(events))
    now = store.now(path) or b""
    before = change.writes.get(path, now)
    if joined and path in joined.heads:
        before = joined.data(store.repo, path)
    change.writes[path] = (before or b"") + data[len(now) :]
    return path
