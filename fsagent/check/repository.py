"""The repository: objects, HEAD, the work tree, locks, who works here, and size."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fsagent.check.finding import MEGABYTE, Finding, shown
from fsagent.formats import counted, one_line
from fsagent.layout import OURS, is_agents
from fsagent.repo import health, maintain, way_on
from fsagent.repo.run import GitFailed
from fsagent.store import Store

LIVE = 10.0
"""Seconds for which a lock may well be somebody's who is at work."""

PER_COMMIT = 1000
"""Bytes that a commit takes in a pack, besides what was written: measured, some 700."""


def history_findings(store: Store, checked: list[str]) -> Iterator[Finding]:
    """What is wrong with the objects, HEAD and the work tree."""
    root, repo = store.root, store.repo
    wrong = health.fsck(repo)
    for line in wrong[:5]:
        yield Finding(
            "problem",
            ".git",
            f"git fsck: {one_line(line, 200)}",
            "Copy the directory first. What a clone or a backup still has comes back by "
            f"git -C {root} fetch PLACE; all that is wrong: git -C {root} fsck --full",
        )
    if len(wrong) > 5:
        how = f"See all of it: git -C {root} fsck --full"
        yield Finding("problem", ".git", f"git fsck says {len(wrong) - 5:,} more lines.", how)
    try:
        checked.append(counted(health.commits(repo), "commit"))
        what = repo.under_way()
        if what:
            text = f"A {what} is under way; until it is over, the agent cannot write."
            yield Finding("problem", ".git", text, f"{way_on(what)}.")
        if repo.head() is None:
            text = "There is no commit yet, so nothing can be taken back or searched."
            how = f"The next turn makes one; or: git -C {root} add . && git -C {root} commit"
            yield Finding("advice", ".git/HEAD", text, how)
        elif repo.branch() is None:
            text = "HEAD is detached: what is learned now is on no branch."
            yield Finding("advice", ".git/HEAD", text, f"git -C {root} switch -c NAME keeps it.")
        yield from _status(store)
        yield from _dropped(store)
    except GitFailed as error:
        yield Finding(
            "problem",
            ".git",
            f"git cannot read the repository: {one_line(error.text, 200)}",
            f"If the index is damaged: rm {repo.git_dir / 'index'} && git -C {root} reset",
        )


def _status(store: Store) -> Iterator[Finding]:
    entries = store.repo.status(OURS)
    for entry in entries:
        if entry.unmerged:
            how = f"Mend it and git -C {store.root} add it, or take one side of it."
            yield Finding("problem", shown(entry.path), "It has a conflict in it.", how)
    edited = [e.path for e in entries if not e.unmerged and is_agents(e.path)]
    if edited:
        names = ", ".join(map(shown, edited[:5]))
        more = f" and {len(edited) - 5} more" if len(edited) > 5 else ""
        text = f"{names}{more}: edited, and not committed yet."
        how = "The next turn commits it as yours; or commit it yourself."
        yield Finding("advice", "work tree", text, how)


def _dropped(store: Store) -> Iterator[Finding]:
    for ref, _ in maintain.dropped(store.repo):
        git = f"git -C {store.root}"
        yield Finding(
            "advice",
            ref,
            "A commit that was dropped from the branch is kept here.",
            f"See it: {git} show {ref}; take it back: {git} cherry-pick {ref}; "
            f"let it go: {git} update-ref -d {ref}",
        )


def lock_findings(store: Store) -> Iterator[Finding]:
    """Locks of Git's own: only those that the journal proves ours are ever removed."""
    for lock in health.locks(store.repo):
        place = os.path.relpath(lock.path, store.root)
        if lock.age < LIVE:
            text = f"It is {max(lock.age, 0):.0f} s old: somebody may be at work."
            how = "Check again in a moment."
            yield Finding("advice", place, text, how)
        elif lock.ours:
            text = f"A commit of the agent was stopped {_span(lock.age)} ago and left it."
            how = f"fsagent check {store.root} --repair removes it, as any opening does."
            yield Finding("problem", place, text, how)
        else:
            text = f"It has been there for {_span(lock.age)}: a git process was stopped, it seems."
            how = f"If no git is running there and no editor asks it: rm {lock.path}"
            yield Finding("problem", place, text, how)


def _span(seconds: float) -> str:
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), noun)
    return f"{seconds:.0f} s"


def identity_findings(store: Store) -> Iterator[Finding]:
    """Whether Git knows who works here."""
    if not health.identified(store.repo):
        yield Finding(
            "advice",
            "git",
            "Git does not know your name and address, so your edits are by 'someone'.",
            "git config --global user.name NAME; git config --global user.email ADDRESS",
        )


def size_findings(store: Store, memory: int) -> Iterator[Finding]:
    """What takes more room than it need; ``memory`` is how many bytes the files have."""
    repo = store.repo
    count, size = maintain.loose(repo)
    if maintain.due(repo):
        text = f"{count:,} objects are not packed and take {size / MEGABYTE:,.1f} MB."
        yield Finding("advice", ".git/objects", text, f"fsagent maintain {store.root}")
    for path in maintain.stale(repo):
        text = "It is a pack that somebody began and never finished, over a day ago."
        how = f"fsagent maintain {store.root} removes it, and so does --repair."
        yield Finding("advice", os.path.relpath(path, store.root), text, how)
    packed = health.packed(repo)
    try:
        usual = 1.5 * (memory + PER_COMMIT * health.commits(repo)) + MEGABYTE
    except GitFailed:  # the repository is named already
        return
    if packed > usual:
        yield Finding(
            "advice",
            ".git/objects/pack",
            f"The packs have {packed / MEGABYTE:,.1f} MB; for such an agent "
            f"{usual / MEGABYTE:,.1f} would be much.",
            f"git -C {store.root} repack -adf packs them anew; what then remains are large files "
            "of former days.",
        )
