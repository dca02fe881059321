"""The search index: whether it is what a fresh one would be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fsagent.check.finding import Finding
from fsagent.errors import ConfigError, FsagentError
from fsagent.formats import counted
from fsagent.repo.run import GitFailed

if TYPE_CHECKING:
    from fsagent.agent import Agent
    from fsagent.index import Progress


def index_findings(
    agent: Agent, checked: list[str], progress: Progress | None
) -> Iterator[Finding]:
    """How the index in the cache differs from a fresh one."""
    try:
        found = _compared(agent, progress)
    except ConfigError:  # it is named already
        return
    except FsagentError as error:
        yield Finding("problem", "index", str(error), "Once that is mended, search works again.")
        return
    except GitFailed:  # the same
        return
    if found is None:
        checked.append("index (not built yet)")
        return
    docs, wrong = found
    checked.append(f"{counted(docs, 'doc')} of the index")
    if wrong:
        text = f"The search index is not what a fresh one would be: {'; '.join(wrong)}."
        how = f"fsagent reindex {agent.root} builds it again, and so does --repair."
        yield Finding("problem", "index", text, how)


def _compared(agent: Agent, progress: Progress | None) -> tuple[int, list[str]] | None:
    """The index in the cache against a fresh one; None where there is none."""
    from fsagent.index.caches import folder_of
    from fsagent.index.choose import persistent
    from fsagent.index.compare import differences
    from fsagent.index.entries import RECIPE

    config = agent.config
    folder = folder_of(agent.environment.cache_dir, agent.root, config.id)
    if agent.store.repo.head() is None or not (folder / f"{config.index}-{RECIPE}").is_dir():
        return None
    return differences(persistent(config.index, folder), agent.store.repo, progress)


def reindexed(agent: Agent) -> Iterator[str]:
    """Build the index again if it is not what a fresh one would be."""
    found = _compared(agent, None)
    if found and found[1]:
        agent.reindex()
        yield f"The search index was built again ({counted(len(agent.index), 'doc')})."
