"""Keys and tokens in the agent's files: the door refuses them, a hand edit can bring them in."""

from __future__ import annotations

from collections.abc import Iterator

from fsagent.check.finding import Finding
from fsagent.errors import FsagentError
from fsagent.layout import OURS
from fsagent.secret import new_in
from fsagent.store import Store


def key_findings(store: Store) -> Iterator[Finding]:
    """What looks like a secret in the files as they are now."""
    try:
        allowed = store.config.allow
    except FsagentError:  # a finding of its own
        allowed = ()
    paths = [path for folder in OURS for path in store.paths(folder)]
    for path in ["agent.yaml", "system.md", *paths]:
        try:
            data = store.read(path)
        except FsagentError:  # the same, or it is not there
            continue
        for one in new_in(data, None, allowed):
            line = data.decode(errors="replace").count("\n", 0, one.start) + 1
            yield Finding(
                "problem",
                f"{path}:{line}",
                f"This looks like {one}, and memory is kept in Git for ever.",
                f"Take it out of all history: fsagent purge {store.root}; or if it is none, add a "
                "pattern for it to `allow` in agent.yaml.",
            )
