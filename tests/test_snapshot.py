"""The trees of a commit as they are read in this process: what git lists, and nothing else."""

from __future__ import annotations

import random
import shutil

import pytest
from fsagent import Agent
from fsagent.layout import OURS, is_agents
from fsagent.past import Past
from fsagent.repo import Snapshot

from conftest import git


@pytest.mark.parametrize("kind", ["sha1", "sha256", "packed"])
def test_it_lists_what_git_lists(sarah: Agent, kind: str) -> None:
    dice = random.Random(5)
    if kind == "sha256":
        shutil.rmtree(sarah.root / ".git")
        git(sarah, "init", "-q", "--object-format=sha256", "-b", "main")
    commits = []
    names = [
        "archival/a.md",
        "archival/2026/é.md",
        "archival/.x/y.md",
        "archival/b~",
        "core/k/z.md",
    ]
    names += [
        "recall/2026/11/21-a.jsonl",
        "recall/2026/12/01-b.jsonl",
        "system.md",
        "archival/c.txt",
    ]
    for _ in range(12):
        for name in dice.sample(names, 3):
            target = sarah.root / name
            if target.exists() and dice.random() < 0.3:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(f"{dice.random()}")
        git(sarah, "add", "-A")
        git(sarah, "commit", "-qm", "as it comes", "--allow-empty")
        commits.append(git(sarah, "rev-parse", "HEAD").strip())
    (sarah.root / "core/link.md").symlink_to("human.md")
    git(sarah, "add", "-A")
    git(sarah, "commit", "-qm", "a link\n\nChange: abc")
    commits.append(git(sarah, "rev-parse", "HEAD").strip())
    if kind == "packed":
        git(sarah, "gc", "-q", "--prune=now")
    sarah = Agent.open(sarah.root)
    repo = sarah.store.repo
    shots = [Snapshot(repo, commit) for commit in commits]
    for shot in shots:
        for top in OURS:
            assert shot.files(top) == repo.files(shot.commit, [top])
            assert shot.count(top) == sum(map(is_agents, repo.files(shot.commit, [top])))
        past = Past(sarah.store, shot.commit)
        assert past.count("archival") == len(list(past.paths("archival")))
    for old in shots[::3]:
        for new in shots:
            then, now = repo.files(old.commit, ["recall"]), repo.files(new.commit, ["recall"])
            changed = {p: then[p].oid if p in then else None for p in now if then.get(p) != now[p]}
            assert new.differing(old, "recall") == changed
    assert shots[-1].message() == "a link\n\nChange: abc\n"
    assert repo.has(commits[0])
    assert not repo.has("HEAD")
    assert not repo.has("0" * 40)
    assert not repo.has(git(sarah, "rev-parse", "HEAD:core").strip())
    sarah.close()


def test_what_was_counted_is_not_counted_again(sarah: Agent) -> None:
    for number in range(3):
        sarah.notes.add(f"note {number}")
    repo = sarah.store.repo
    read = []
    tree = repo.tree
    repo.tree = lambda oid: read.append(oid) or tree(oid)  # type: ignore[method-assign, func-returns-value]
    head = repo.head()
    assert head is not None
    assert Snapshot(repo, head).count("archival") == 3
    assert len(read) > 3
    read.clear()
    assert Snapshot(repo, head).count("archival") == 3
    assert len(read) == 1  # the one at the top
