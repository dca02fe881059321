"""``fsagent check``: is this agent sound, and if not, what is to be done about each thing.

``check`` changes nothing. ``repair`` does what is safe and says each thing it did; where it touches
the agent's files, that is a commit by the person who asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsagent.check.files import Files, config_findings
from fsagent.check.finding import Finding, shown
from fsagent.check.index import index_findings, reindexed
from fsagent.check.keys import key_findings
from fsagent.check.merged import merge_findings, merged_again
from fsagent.check.recall import Recall, once_only, whole_lines
from fsagent.check.repository import (
    history_findings,
    identity_findings,
    lock_findings,
    size_findings,
)
from fsagent.check.untaken import brought_back, untaken_findings
from fsagent.errors import AgentError, FsagentError
from fsagent.history.fork import copied_from
from fsagent.history.purge import finish, hindered, old_ids, unfinished
from fsagent.locks import held
from fsagent.repo import health, maintain
from fsagent.repo.run import GitFailed
from fsagent.store import Store

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.index import Progress


@dataclass(frozen=True)
class Report:
    """What a check found, and what it looked at."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether there is nothing but advice."""
        return all(finding.severity == "advice" for finding in self.findings)


def check(agent: Agent, progress: Progress | None = None) -> Report:
    """Look the whole agent over. Nothing is changed, neither in its directory nor in its caches.

    ``progress`` is told (files done, files in all) while an index is built to compare with.
    """
    store = agent.store
    checked = ["agent.yaml"]
    files = Files(store)
    recall = Recall(store)
    found = [
        *config_findings(agent),
        *files.findings(checked),
        *recall.findings(checked),
        *merge_findings(store),
        *untaken_findings(store),
        *key_findings(store),
    ]
    try:
        found += [
            *settings_findings(store),
            *history_findings(store, checked),
            *lock_findings(store),
            *journal_findings(store),
            *purge_findings(store),
            *copy_findings(agent),
            *identity_findings(store),
            *size_findings(store, files.bytes),
            *index_findings(agent, checked, progress),
        ]
    except AgentError as error:  # with such settings no git is run
        how = "Then check again: until then the repository cannot be looked at."
        found.append(Finding("problem", ".git/config", str(error), how))
        return Report(tuple(found), tuple(checked))
    checked += ["locks", "journal", "settings", "size"]
    return Report(tuple(found), tuple(checked))


NOT = "Not repaired: "


def repair(agent: Agent) -> list[str]:
    """Mend what can be mended without a doubt; a line for each thing that was done, or that could
    not be: such a line begins with ``NOT``.

    What a merge without fsagent's drivers left is merged again; torn lines are cut and their bytes
    kept; records that are there twice, byte for byte, are there once; half-made packs go; an index
    that is not what it should be is built again. A lock of somebody else's is never removed. What
    remains is for a person: ``check`` says it.

    Raises:
        AgentBusy: a turn is under way, for more than 30 s.
    """
    store = agent.store
    told: list[str] = []

    def attempt(act: Callable[[], Iterable[str]]) -> None:
        try:
            told.extend(act())
        except (FsagentError, GitFailed) as error:
            told.append(f"{NOT}{error}")

    if unfinished(store.repo):
        attempt(lambda: filter(None, [finish(agent)]))
    with store.turn():
        attempt(store.mend)
        attempt(lambda: merged_again(store))
        attempt(lambda: brought_back(store))
        attempt(lambda: whole_lines(store))
        attempt(lambda: once_only(store))
    attempt(lambda: (f"{done.text}." for done in maintain.leftovers(store.repo)))
    attempt(lambda: reindexed(agent))
    return told


def journal_findings(store: Store) -> list[Finding]:
    """A commit that was begun and not finished, where nobody is just about to finish it."""
    subject = health.unfinished(store.repo)
    if subject is None or held(store.locks.folder / "write.lock"):
        return []
    what = f"The commit '{subject}' was begun and not finished" if subject else "Its end is torn"
    return [
        Finding(
            "problem",
            ".git/fsagent/journal",
            f"{what}: a program was stopped, or the power went.",
            "Any command that opens the agent finishes it or gives it up, and so does "
            f"fsagent check {store.root} --repair.",
        )
    ]


def copy_findings(agent: Agent) -> list[Finding]:
    """A directory that was copied with its id."""
    store = agent.store
    first = copied_from(store, agent.environment.state_dir, settle=False)
    if first is None:
        return []
    return [
        Finding(
            "advice",
            "agent.yaml",
            f"This is a copy of {first} and has its id, so neither can be told from the other.",
            f"An agent of its own, with all that this one knows: fsagent fork {store.root} NEW",
        )
    ]


def purge_findings(store: Store) -> Iterator[Finding]:
    """A purge that was begun and not finished, where nobody is just at it; and what came back."""
    if unfinished(store.repo):
        if not held(store.locks.folder / "write.lock"):
            why = hindered(store.repo)
            yield Finding(
                "problem",
                ".git/fsagent/purge",
                f"A purge was cut short, so what was to go may still be there. {why}".strip(),
                f"{'When that is mended, any' if why else 'Any'} command that opens the agent "
                f"finishes it, and so does fsagent check {store.root} --repair.",
            )
        return
    for name in health.reaching(store.repo, old_ids(store.repo)):
        yield Finding(
            "problem",
            shown(name),
            "Its history is one from before a purge, with what was to be gone.",
            f"Purge the same again: fsagent purge {store.root}",
        )


def settings_findings(store: Store) -> Iterator[Finding]:
    """Settings that maintenance would write, and those that are left out for safety."""
    settings = store.repo.settings
    if settings.commands and not store.repo.allowed:
        keys = ", ".join(settings.commands[:5])
        more = f" and {len(settings.commands) - 5} more" if len(settings.commands) > 5 else ""
        yield Finding(
            "advice",
            ".git/config",
            f"{keys}{more} could run a command, so fsagent leaves that out. Your own git does not.",
            f"Take it out, or if you trust this agent: fsagent allow {store.root}",
        )
    missing = maintain.unsettled(store.repo)
    if missing:
        yield Finding(
            "advice",
            ".git/config",
            f"{', '.join(missing)} is not set, so your own git may pack within a commit, or merge "
            "an agent's files as any text.",
            f"fsagent maintain {store.root} sets it.",
        )
