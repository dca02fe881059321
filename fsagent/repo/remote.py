"""Another repository of the same history: fetching from it and pushing to it, never with force.

What the agent's own ``.git/config`` says of a remote is its address and nothing else. An agent's
directory may come from a stranger, and there is a lot in such a file that runs commands, or sends
what is fetched or pushed elsewhere: ``core.sshCommand``, ``remote.*.uploadpack``,
``credential.helper``, ``url.*.insteadOf``, ``http.proxy``. So Git works in a repository that is
made for one fetch or push, in a folder of its own and with the person's own configuration only; it
borrows the agent's folder of objects. Where the person allowed the agent, its own configuration
counts and Git works in the agent's repository itself.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.errors import AgentError, StoreError
from fsagent.formats import one_line
from fsagent.repo import Repo, disk
from fsagent.repo.incoming import Incoming, apart, quoted, visit
from fsagent.repo.run import (
    ALWAYS,
    PROTOCOLS,
    GitFailed,
    piped,
    plain_environment,
    run,
    transport,
    with_settings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_SURE = ("-c", "core.fsync=committed", "-c", "transfer.fsckObjects=true")
"""What came is on the disk before it is named, and is what it says."""

_FETCH = (
    *(*_SURE, "-c", "core.alternateRefsCommand=true"),  # no git runs in the agent's repository
    *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
    *("--no-auto-maintenance", "--refmap=", "--end-of-options"),
)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BRANCH = re.compile(
    r"(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))[^-./\s\x00-\x1f~^:?*\[\\][^\s\x00-\x1f~^:?*\[\\]*"
)

_RACE = (
    "(fetch first)",
    "(non-fast-forward)",
    "(stale info)",
    "(remote ref updated since checkout)",
    "cannot lock ref",
    "failed to update ref",
    "incorrect old value",
    "reference already exists",
    "(atomic push failed)",
)
"""How git says that somebody has pushed in this moment."""

_SAYS_NOTHING = ("Could not read from remote", "Please make sure", "and the repository exists")


class Unwanted(StoreError):
    """What would come, ``commit``, has others behind it that are not to come back: none came."""

    def __init__(self, commit: str) -> None:
        super().__init__(f"{commit} holds what was purged here.")
        self.commit = commit


class Replaced(StoreError):
    """The remote's branch has another history than when ``ref`` was written down."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"{ref} was replaced.")
        self.ref = ref


@dataclass(frozen=True)
class Remote:
    """Another repository: its address, that for pushing, and the branch there.

    ``name`` is what .git/config calls it, "" where it knows no such address; ``typed`` says that
    the person named the address and not the name.
    """

    name: str
    url: str
    push_url: str
    branch: str
    typed: bool = False

    @property
    def called(self) -> str:
        """What a person is told that it is called."""
        return self.name or shown(self.url)


def choose(repo: Repo, word: str | None) -> Remote:
    """The remote that ``word`` names: a name, an address or a directory.

    Without one it is that of the branch's upstream, or origin, or the only one, as for plain git.

    Raises:
        StoreError: there is none, or HEAD is on no branch.
    """
    root = shlex.quote(str(repo.root))
    branch = repo.branch()
    if branch is None:
        raise StoreError(
            f"HEAD of {repo.root} is detached, so there is no branch to sync: "
            f"git -C {root} switch -c NAME makes one."
        )
    settings = repo.settings
    names = remotes(repo)
    upstream = settings.get(f"branch.{branch}.remote")
    if word is None:
        word = upstream if upstream in names else "origin" if "origin" in names else None
        word = names[0] if word is None and len(names) == 1 else word
        if word is None:
            raise StoreError(
                f"{repo.root.name} has no other place yet: name one, as in "
                f"fsagent sync {root} PLACE. A PLACE can be made by git init --bare PLACE."
            )
    typed = word not in names
    if typed:
        url = address(word)
        word = next((one for one in names if settings.get(f"remote.{one}.url") == url), None)
        if word is None:
            return Remote("", url, url, branch, typed)
    there = settings.get(f"branch.{branch}.merge") if upstream == word else None
    there = (there or branch).removeprefix("refs/heads/")
    if not _BRANCH.fullmatch(there):
        raise StoreError(f"branch.{branch}.merge in .git/config names no branch: mend it.")
    url = settings.get(f"remote.{word}.url") or ""
    return Remote(word, url, settings.get(f"remote.{word}.pushurl") or url, there, typed)


def remotes(repo: Repo) -> list[str]:
    """The names of the remotes that are configured."""
    keys = (entry.key for entry in repo.settings.entries)
    found = (re.fullmatch(r"remote\.(.+)\.url", key, re.DOTALL) for key in keys)
    return list(dict.fromkeys(match[1] for match in found if match))


def address(word: str, *, remote: bool = True) -> str:
    """The address that a person typed: of another machine, or a directory of this one; where it
    may name a ``remote`` as well, an error says so.

    Raises:
        StoreError: there is no such directory, or it is of no kind that is gone to.
    """
    if _URL.match(word) or _is_ssh(word):
        return word
    place = Path(word).expanduser()
    if not word or not place.is_dir():
        what = one_line(word, 100)
        if remote:
            raise StoreError(
                f"{what!r} is no remote by that name, no address, and no directory: "
                "git remote -v lists the names."
            )
        raise StoreError(f"{what!r} is no directory and no address: is it spelled right?")
    return str(place.resolve())


def _is_ssh(word: str) -> bool:
    """Whether this is ``host:path`` (git-fetch(1), "Git URLs"): a colon before any slash."""
    return re.match(r"[^/:]+:(?!:)", word) is not None and not os.path.exists(word)


def is_local(url: str) -> bool:
    """Whether an address is a directory of this machine, where its hooks would run."""
    return url.startswith("file://") or not (_URL.match(url) or _is_ssh(url))


def of_its_own(repo: Repo, remote: Remote) -> list[str]:
    """The directories of this machine that only the agent's own .git/config names."""
    if repo.allowed or not remote.name:
        return []
    urls = {remote.url, remote.push_url}
    own = {entry.value for entry in repo.settings.entries if entry.own}
    return sorted(url for url in urls if is_local(url) and url in own)


def shown(url: str) -> str:
    """An address without the password that may be in it."""
    return one_line(_without_password(url), 200)


def _without_password(url: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", url)


# ── going there ───────────────────────────────────────────────────────────────────────────────


def fetch(
    repo: Repo, remote: Remote, *, unwanted: Collection[str] = (), ask: bool = False
) -> str | None:
    """The newest commit of the remote's branch, with all of its history; None: no such branch.

    Raises:
        Unwanted: the history holds one of the commits ``unwanted``; nothing of it stays here.
        Replaced: the branch had another history when it was last seen; nothing of it stays here.
        StoreError: the remote cannot be reached, or holds what is no sound history.
    """
    if (repo.place.common / "shallow").exists():
        raise StoreError(
            f"{repo.root} does not hold all of its history: "
            f"git -C {shlex.quote(str(repo.root))} fetch --unshallow brings the rest."
        )
    come = "refs/worktree/came"  # of the folder in which git works, and in nobody's repository
    with apart(repo.place.common / "objects") as new, _at_work(repo, new, ask=ask) as (git, own):
        try:
            git(*_FETCH, _place(remote, own=own), f"+refs/heads/{remote.branch}:{come}")
            found = git("rev-parse", "--verify", f"{come}^{{commit}}").decode().strip()
        except GitFailed as error:
            if "couldn't find remote ref" in error.text:
                return None
            raise _unreachable(remote, error) from None
        if unwanted and not set(unwanted).isdisjoint(git("rev-list", found).decode().split()):
            raise Unwanted(found)
        ref = f"refs/remotes/{remote.name}/{remote.branch}"
        known = repo.resolve(ref) if remote.name else None
        if known and not (_follows(git, known, found) or _follows(git, found, known)):
            raise Replaced(ref)
        new.keep()
    note(repo, remote, found)
    return found


def _follows(git: _Git, old: str, new: str) -> bool:
    with suppress(GitFailed):
        git("merge-base", "--is-ancestor", old, new)
        return True
    return False


def _place(remote: Remote, *, own: bool) -> str:
    return remote.name if own and remote.name else remote.url


def stranger(repo: Repo, remote: Remote, *, ask: bool = False) -> str:
    """A branch of the remote, where it has some and none of them shares a past with this one; ""
    for one that is empty, or holds other branches of the agent.

    Raises:
        StoreError: the remote cannot be reached.
    """
    head = repo.head()
    with apart(repo.place.common / "objects") as new, _at_work(repo, new, ask=ask) as (git, own):
        try:
            git(*_FETCH, _place(remote, own=own), "+refs/heads/*:refs/worktree/came/*")
            names = git("for-each-ref", "--format=%(refname)", "refs/worktree/came/").decode()
        except GitFailed as error:
            raise _unreachable(remote, error) from None
        for name in names.split() if head else ():
            with suppress(GitFailed):
                git("merge-base", head or "", name)
                return ""
    return names.split()[0].removeprefix("refs/worktree/came/") if names and head else ""


def push(repo: Repo, remote: Remote, commit: str, *, ask: bool = False) -> str:
    """Give the remote's branch this commit; "", or why not, when somebody else has just pushed.

    Raises:
        StoreError: the remote cannot be reached, or refuses.
    """
    with _at_work(repo, ask=ask) as (git, own):
        try:
            git(
                *("push", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags"),
                *("--recurse-submodules=no", "--end-of-options"),
                remote.name if own and remote.name else remote.push_url,
                f"{commit}:refs/heads/{remote.branch}",
            )
        except GitFailed as error:
            said = error.out.decode(errors="replace")
            refused = [line for line in said.splitlines() if line.startswith("!")]
            if any(word in line for line in refused for word in _RACE):
                return one_line(refused[0].rpartition("\t")[2], 120)
            if refused:
                raise _refused(remote, refused[0], error.text) from None
            raise _unreachable(remote, error) from None
    note(repo, remote, commit)
    return ""


def note(repo: Repo, remote: Remote, commit: str) -> None:
    """Remember where the remote's branch is, as plain git does.

    By moving a file into its place: a ``git update-ref`` that is killed leaves a lock, which nobody
    can tell from a person's. That a person's git fetches in that moment does no harm, since either
    is right.
    """
    ref = f"refs/remotes/{remote.name}/{remote.branch}"
    if not remote.name or not _BRANCH.fullmatch(remote.name):
        return
    if not repo.fast:
        with suppress(GitFailed):
            repo._git("update-ref", ref, commit)
        return
    tmp, place = f"{repo.git_dir}/fsagent/tmp", f"{repo.place.common}/{ref}"
    with suppress(OSError):  # the next sync does it
        disk.mkdir(tmp)
        spare = f"{tmp}/came-{os.getpid()}-{threading.get_ident()}"
        disk.unlink(spare)
        disk.write(spare, [f"{commit}\n".encode()], 0o666)
        disk.mkdir(os.path.dirname(place))
        disk.rename(spare, place)


def remember(repo: Repo, remote: Remote) -> Remote:
    """Call an address ``origin`` from now on, and let plain git follow it too."""
    if _without_password(remote.url) != remote.url:
        return remote  # a password is kept nowhere
    branch = repo.branch()
    for key, value in (
        ("remote.origin.url", remote.url),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        (f"branch.{branch}.remote", "origin"),
        (f"branch.{branch}.merge", f"refs/heads/{remote.branch}"),
    ):
        repo._git("config", "--local", key, value)
    return replace(remote, name="origin")


class _Git:
    """Runs git for one visit."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        self._env = env
        self._cwd = cwd

    def __call__(self, *args: str) -> bytes:
        return run(["git", *ALWAYS, *args], self._env, self._cwd)


@contextmanager
def _at_work(repo: Repo, new: Incoming | None = None, *, ask: bool) -> Iterator[tuple[_Git, bool]]:
    """Where git works, and whether the agent's own configuration counts there: see above.

    What is fetched comes into ``new``. An allowed agent's git works there as in another work tree,
    which has refs of its own and shares the others (gitrepository-layout(5), "commondir").
    """
    if repo.allowed and not new:
        yield _Git({**repo._env, **transport(ask=ask)}, repo.root), True
        return
    objects = {"GIT_OBJECT_DIRECTORY": str(repo.place.common / "objects")}
    with visit(repo.git_dir) as place:
        if repo.allowed:
            (place / "commondir").write_text(f"{repo.place.common.resolve()}\n")
            (place / "HEAD").write_bytes((repo.git_dir / "HEAD").read_bytes())
            env = {**repo._env, **transport(ask=ask), "GIT_DIR": str(place)}
            yield _Git(env | (new.env if new else objects), repo.root), True
            return
        kind = repo.settings.get("extensions.objectformat") or "sha1"
        init = ["git", "init", "-q", "--bare", "--template=", f"--object-format={kind}", "."]
        run(init, plain_environment(), place)
        env = _plain(ask=ask) | {"GIT_DIR": str(place)}
        git = _Git(env | (new.env if new else objects), repo.root)
        head = repo.head()
        if head:  # so that the other side knows what there is here
            git("update-ref", "refs/heads/here", head)
        yield git, False


def _plain(*, ask: bool) -> dict[str, str]:
    """The environment of git where no agent's configuration counts."""
    env = with_settings(plain_environment() | {"LC_ALL": "C", "GIT_PAGER": "cat"})
    return env | transport(ask=ask) | {"GIT_ALLOW_PROTOCOL": PROTOCOLS}


def _unreachable(remote: Remote, error: GitFailed) -> StoreError:
    return StoreError(
        f"{remote.called} cannot be reached ({_why(error.text)}). What you have here is kept: "
        "sync again when it is there."
    )


def _refused(remote: Remote, line: str, said: str) -> StoreError:
    why = line.rpartition("\t")[2]
    if "currently checked out" in line or "currently checked out" in said:
        return StoreError(
            f"{remote.called} is a work tree, and git does not push to the branch that is checked "
            "out there: sync both with a bare repository (git init --bare PLACE)."
        )
    heard = [one.partition(":")[2].strip() for one in said.splitlines() if "remote:" in one]
    more = f": {one_line(' '.join(heard), 200)}" if heard else ""
    return StoreError(
        f"{remote.called} refuses what is pushed ({one_line(why, 120)}{more}). Nothing is lost "
        "here; whoever looks after it knows why."
    )


def _why(text: str) -> str:
    """The line of git's that says what is wrong, without what is secret in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not any(word in line for word in _SAYS_NOTHING)]
    first, *more = telling or lines or ["git does not say"]
    line = re.sub(r"^(?:fatal|error|ssh): ", "", first)
    return shown(f"{line} {more[0]}" if line.endswith(":") and more else line).rstrip(".")


# ── clones ────────────────────────────────────────────────────────────────────────────────────


def clone(url: str, root: Path, *, ask: bool = False) -> Repo:
    """The repository at an address as a new one at ``root``, which is not there, with its files.

    Raises:
        AgentError: what comes is no agent.
        StoreError: the address cannot be reached.
    """
    root.mkdir()
    command = ["git", *ALWAYS, *_SURE, "clone", "--quiet", "--no-checkout", "--no-local"]
    command += ["--template=", "--origin=origin", "--no-recurse-submodules"]
    try:
        run([*command, "--end-of-options", url, "."], _plain(ask=ask), root)
    except GitFailed as error:
        raise StoreError(f"{shown(url)} cannot be cloned ({_why(error.text)}).") from None
    repo = Repo(root)
    if _without_password(url) != url:  # a password is kept nowhere
        repo._git("config", "--local", "remote.origin.url", _without_password(url))
    branch = _branch(repo, url)
    repo._git("reset", "-q", "--hard")
    if "agent.yaml" not in repo.files("HEAD", ["agent.yaml"]):
        raise AgentError(
            f"{shown(url)} holds no agent (there is no agent.yaml on {branch}): "
            "is it the right one?"
        )
    return repo


def _branch(repo: Repo, url: str) -> str:
    """The branch that a clone is on; where the other side's HEAD names none, main or the only one.

    The HEAD of a bare repository that was pushed to names what ``git init`` named, be it there or
    not.
    """
    if repo.head() is None:
        out = repo._git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin/")
        names = out.decode().split()
        if not names:
            other = ", or no Git repository at all" if url.startswith("http") else ""
            raise AgentError(
                f"{shown(url)} is empty{other}: fsagent sync DIR {shown(url)} fills it, with the "
                "agent in DIR."
            )
        branch = "main" if "main" in names else names[0]
        if len(names) > 1 and branch != "main":
            raise AgentError(
                f"{shown(url)} has the branches {', '.join(names[:5])} and does not say which is "
                "the agent: git symbolic-ref HEAD refs/heads/NAME says it there."
            )
        repo._git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        repo._git("update-ref", f"refs/heads/{branch}", f"refs/remotes/origin/{branch}")
        repo._git("config", "--local", f"branch.{branch}.remote", "origin")
        repo._git("config", "--local", f"branch.{branch}.merge", f"refs/heads/{branch}")
    return repo.branch() or "HEAD"


def take(repo: Repo, other: Repo, commit: str, *, unwanted: Collection[str] = ()) -> None:
    """Take over what ``commit`` of another agent's repository needs and this one lacks.

    No git runs in the other one: its objects are read from here, and each is looked over.

    Raises:
        Unwanted: its history holds one of the commits ``unwanted``; nothing of it stays here.
        StoreError: it cannot be read as a whole.
    """
    if repo.resolve(commit):
        return
    objects = other.place.common / "objects"
    there = {**repo._env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(objects)}
    wanted = f"{commit}\n" + "".join(f"^{head}\n" for head in [repo.head()] if head)
    try:
        if unwanted:
            history = run(["git", *ALWAYS, "rev-list", commit], there, repo.root).decode().split()
            if not set(unwanted).isdisjoint(history):
                raise Unwanted(commit)
        piped(
            ["git", *ALWAYS, "pack-objects", "-q", "--revs", "--stdout"],
            ["git", *ALWAYS, *_SURE, "index-pack", "--stdin", "--strict"],
            (there, repo._env),
            repo.root,
            wanted.encode(),
        )
    except GitFailed as error:
        raise StoreError(
            f"{other.root} cannot be read as a whole ({_why(error.text)}): "
            f"fsagent check {shlex.quote(str(other.root))} says what is wrong."
        ) from None
