"""Random lives: commits = calls that changed something, the tree is the files, nothing else moves."""

from __future__ import annotations

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from fsagent import Agent, ScriptedClient, call
from fsagent.environment import Environment
from fsagent.records import ToolCall
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from conftest import FixedClock, git

LABELS = st.sampled_from(["human", "persona", "locked", "nowhere"])
TEXTS = st.sampled_from(
    ["", "tea", "Likes tea.", "a\nb", "tea\ntea", "---\nx", "é\u2028", "x" * 1500]
)
CALLS = st.one_of(
    st.builds(lambda a, b: call("core_memory_append", label=a, content=b), LABELS, TEXTS),
    st.builds(
        lambda a, b, c: call("core_memory_replace", label=a, old_content=b, new_content=c),
        LABELS, TEXTS, TEXTS,
    ),
    st.builds(
        lambda a, b, c: call("memory_replace", label=a, old_string=b, new_string=c),
        LABELS, TEXTS, TEXTS,
    ),
    st.builds(
        lambda a, b, c: call("memory_insert", label=a, new_string=b, insert_line=c),
        LABELS, TEXTS, st.integers(-2, 4),
    ),
    st.builds(lambda a, b: call("memory_rethink", label=a, new_memory=b), LABELS, TEXTS),
    st.builds(
        lambda a, b: call("archival_memory_insert", content=a, tags=b),
        TEXTS, st.lists(st.sampled_from(["a", "b"]), max_size=2),
    ),
    st.builds(lambda a: call("archival_memory_search", query=a), TEXTS),
    st.just(call("no_such_tool")),
    st.just(ToolCall("", "memory_rethink", "{")),
)  # fmt: skip


class Life(RuleBasedStateMachine):
    """One agent with a busy person beside it."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        environment = Environment(
            cache_dir=self.home / "cache", state_dir=self.home / "state", embed=False
        )
        self.agent = Agent.init(
            self.home / "life",
            human="Likes tea.",
            client=ScriptedClient(),
            clock=FixedClock(),
            environment=environment,
        )
        (self.agent.root / "core/locked.md").write_text("---\nread_only: true\n---\ntea\n")
        self.agent.adopt()
        self.others: dict[str, str] = {}
        self.staged: dict[str, str] = {}
        self.head = git(self.agent, "rev-parse", "HEAD").strip()

    def files(self) -> dict[str, bytes]:
        """The agent's memory in the work tree."""
        return {
            path: (self.agent.root / path).read_bytes()
            for folder in ("core", "archival")
            for path in self.agent.store.paths(folder)
        }

    @rule(calls=st.lists(CALLS, min_size=1, max_size=4))
    def turn(self, calls: list[Any]) -> None:
        edited = self.agent.store.dirty()
        before = len(self.agent.log())
        states = []

        def step(item: Any) -> Any:
            def ask(_: object) -> Any:
                states.append(self.files())
                return item

            return ask

        self.agent._client = ScriptedClient([step(item) for item in [*calls, "ok"]])
        turn = self.agent.chat("go")
        changed = [a != b for a, b in pairwise(states)]
        assert [bool(result.commit) for result in turn.tool_calls] == changed
        assert all(not r.commit for r in turn.tool_calls if r.status == "error")
        hand = 1 if edited else 0
        assert len(self.agent.log()) - before == sum(changed) + 1 + hand
        assert list(turn.commits) == [c.commit for c in self.agent.log()[: len(turn.commits)]][::-1]

    @rule(
        path=st.sampled_from(["core/human.md", "core/extra.md", "archival/odd name.md"]), text=TEXTS
    )
    def edit(self, path: str, text: str) -> None:
        (self.agent.root / path).parent.mkdir(exist_ok=True)
        (self.agent.root / path).write_text(text)

    @rule(text=TEXTS, stage=st.booleans())
    def elsewhere(self, text: str, stage: bool) -> None:
        (self.agent.root / "todo.txt").write_text(text)
        self.others["todo.txt"] = text
        if stage:
            git(self.agent, "add", "todo.txt")
            self.staged["todo.txt"] = text

    @rule()
    def commit_by_hand(self) -> None:
        git(self.agent, "commit", "-q", "--allow-empty", "-m", "mine", "--", ".gitattributes")

    @rule()
    def delete_extra(self) -> None:
        (self.agent.root / "core/extra.md").unlink(missing_ok=True)

    @invariant()
    def nothing_else_was_touched(self) -> None:
        for path, text in self.others.items():
            assert (self.agent.root / path).read_text() == text
        for path, text in self.staged.items():
            assert git(self.agent, "show", f":{path}") == text
            assert path not in git(self.agent, "ls-tree", "-r", "--name-only", "HEAD")

    @invariant()
    def history_only_grows(self) -> None:
        git(self.agent, "merge-base", "--is-ancestor", self.head, "HEAD")
        self.head = git(self.agent, "rev-parse", "HEAD").strip()

    @rule()
    def settle(self) -> None:
        """After adopting, the tree equals the files, for plain git and for us."""
        self.agent.adopt()
        assert git(self.agent, "status", "--porcelain", "--", "core", "archival", "recall") == ""
        assert git(self.agent, "diff-files", "--name-only", "--", "core", "archival") == ""
        for path, data in self.files().items():
            blob = self.agent.store.repo.files("HEAD", [path])[path]
            assert self.agent.store.repo.read(blob.oid) == data

    @rule(query=st.sampled_from(["tea", "x", "nothing here", ""]))
    def search(self, query: str) -> None:
        """A followed index and a fresh one agree."""
        followed = self.agent.search(query, limit=50)
        self.agent.reindex()
        assert self.agent.search(query, limit=50) == followed

    def teardown(self) -> None:
        if hasattr(self, "agent"):
            assert git(self.agent, "fsck", "--strict", "--no-dangling") == ""
            self.agent.close()
            shutil.rmtree(self.home)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=6,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
