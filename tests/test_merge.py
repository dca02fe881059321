"""Several minds: a fork's memory is taken in, and histories that were merged crosswise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent, ScriptedClient, call
from fsagent.cli import cli
from fsagent.clock import Clock
from fsagent.errors import AgentError, NotAnAgent, StoreError
from fsagent.history.join import Side, join

from conftest import git, script, subjects

Make = Callable[..., Agent]


def said(agent: Agent) -> list[str]:
    return [record.content for record in agent.store.newest()][::-1]


@pytest.fixture
def minds(make: Make, tmp_path: Path) -> tuple[Agent, Agent]:
    """An agent and a fork of it, which have since led lives of their own."""
    sarah = make("Hi.", clock=Clock())
    sarah.chat("Hello.")
    alex = sarah.fork(tmp_path / "alex")
    script(
        alex,
        call("core_memory_append", label="human", content="Has a boat."),
        call("archival_memory_insert", content="The boat lies in Ghent."),
        "Noted.",
    )
    alex.chat("I have a boat in Ghent.")
    script(sarah, call("core_memory_append", label="human", content="Likes tea."), "Noted.")
    sarah.chat("I like tea.")
    return sarah, alex


def test_a_forks_memory_is_taken_in(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    before = git(alex, "rev-parse", "HEAD")
    own = sarah.config
    done = sarah.merge(alex.root)
    assert (done.name, done.taken, done.clashes) == ("alex", 4, ())
    assert sarah.config == own
    assert sarah.blocks["human"].text == "Name: Tim\nHas a boat.\nLikes tea."
    assert [note.text for note in sarah.notes] == ["The boat lies in Ghent."]
    assert said(sarah)[0] == "Hello."
    assert said(sarah).index("I have a boat in Ghent.") < said(sarah).index("I like tea.")
    event = said(sarah)[-1]
    assert event.startswith("Tim brought in the memory of alex:\n+Has a boat.\n")
    commit = sarah.log(limit=1)[0]
    assert (commit.subject, commit.author) == ("merge: the memory of alex", "Tim")
    assert git(sarah, "rev-parse", "HEAD^2") == before == git(alex, "rev-parse", "HEAD")
    assert git(sarah, "status", "--porcelain") == ""
    git(sarah, "fsck", "--full", "--strict")
    # A second time there is nothing; and what comes later comes alone.
    assert sarah.merge(alex.root).commit is None
    alex.notes.add("The boat is blue.")
    assert sarah.merge(alex.root).paths[0].startswith("archival/")
    assert sarah.search("boat").hits
    alex.close()


def test_what_clashes_between_two_minds_is_named_by_their_names(
    minds: tuple[Agent, Agent],
) -> None:
    sarah, alex = minds
    sarah.blocks["persona"] = "I am Sarah."
    alex.blocks["persona"] = "I am Alex."
    done = sarah.merge(alex.root)
    assert done.clashes == (
        "core/persona.md: alex has 'I am Alex.', sarah has 'I am Sarah.': "
        "both stay, under headings",
    )
    assert "## In conflict: from alex, 20" in sarah.blocks["persona"].text
    assert "it is for you to settle" in said(sarah)[-1]
    alex.close()


def test_what_the_other_agent_may_do_is_not_taken_over(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    settings = alex.root / "agent.yaml"
    settings.write_text(f'{settings.read_text()}allow: ["*"]\nbase_url: https://example.org/v1\n')
    alex.adopt()
    before = (sarah.root / "agent.yaml").read_bytes()
    assert sarah.merge(alex.root).commit
    assert (sarah.root / "agent.yaml").read_bytes() == before
    alex.close()


def test_both_ways_and_again(minds: tuple[Agent, Agent], tmp_path: Path) -> None:
    """Merged crosswise, the two have parted in two places, and nothing comes back or doubles."""
    sarah, alex = minds
    name = sarah.notes.add("Gone soon.").path
    alex.merge(sarah.root)
    third = sarah.fork(tmp_path / "third")
    for agent in (sarah, alex):  # each takes in the other as it was before
        agent.blocks["human"] = agent.blocks["human"].text + f"\nFrom {agent.name}."
    kept = alex.fork(tmp_path / "kept")
    (sarah.root / name).unlink()
    alex.merge(sarah.root)
    sarah.merge(kept.root)
    assert len(git(sarah, "merge-base", "--all", "HEAD", "HEAD^2").split()) == 1
    sarah.merge(alex.root)
    alex.merge(sarah.root)
    assert not (sarah.root / name).exists()
    assert not (alex.root / name).exists()
    for agent in (sarah, alex):
        lines = agent.blocks["human"].text.split("\n")
        assert sorted(lines) == sorted(set(lines))
        assert {"Name: Tim", "Has a boat.", "Likes tea.", "From sarah.", "From alex."} == set(lines)
        ids = [r.id for path in agent.store.segments() for r in agent.store.records(path)]
        assert len(ids) == len(set(ids))
        assert agent.config.name == agent.root.name
    for agent in (alex, third, kept):
        agent.close()


def test_of_several_bases_what_one_took_back_stays_away(make: Make) -> None:
    """With one base alone, a line that was taken back after a merge would come again."""
    agent = make(clock=Clock())
    file = agent.root / "core/human.md"

    def commit(text: str, subject: str) -> None:
        file.write_text(text)
        git(agent, "commit", "-qam", subject)

    commit("one\n\nfour\n", "base")
    git(agent, "branch", "side")
    commit("one\ntwo\n\nfour\n", "two")
    git(agent, "switch", "-q", "side")
    commit("one\n\nfour\nfive\n", "five")
    git(agent, "branch", "other")
    git(agent, "merge", "-q", "--no-edit", "main")
    git(agent, "switch", "-q", "main")
    git(agent, "merge", "-q", "--no-edit", "other")
    assert file.read_text() == "one\ntwo\n\nfour\nfive\n"
    commit("one\n\nfour\n", "both taken back")
    git(agent, "switch", "-q", "side")
    commit("one\ntwo\n\nfour\nfive\nsix\n", "six")
    assert len(git(agent, "merge-base", "--all", "main", "side").split()) == 2
    heads = [git(agent, "rev-parse", name).strip() for name in ("side", "main")]
    for ours, theirs in (heads, heads[::-1]):
        result = join(agent.store.repo, Side(ours, "side"), Side(theirs, "main"))
        assert result.made["core/human.md"] == b"one\n\nfour\nsix\n"


def test_records_that_both_sides_moved_are_there_once(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    path = sorted(set(sarah.store.segments()) & set(alex.store.segments()))[0]
    for agent, name in ((sarah, "a"), (alex, "b")):
        (agent.root / path).rename(agent.root / f"recall/{name}.jsonl")
        git(agent, "add", "-A")
        git(agent, "commit", "-qm", "moved")
    sarah.merge(alex.root)
    ids = [r.id for path in sarah.store.segments() for r in sarah.store.records(path)]
    assert len(ids) == len(set(ids))
    assert said(sarah).count("Hello.") == 1
    assert not (sarah.root / path).exists()
    alex.close()


def test_a_fork_that_its_first_knows_nothing_newer_than(make: Make, tmp_path: Path) -> None:
    """It would do to move the branch on; but then the fork's name and id would come as well."""
    sarah = make(clock=Clock())
    alex = sarah.fork(tmp_path / "alex")
    done = sarah.merge(alex.root)
    assert done.commit
    assert sarah.name == "sarah"
    (changed,) = sarah.log(limit=1)[0].paths
    assert changed.startswith("recall/")  # the event, and no agent.yaml
    assert said(sarah)[-1].startswith("Tim brought in the memory of alex:")
    # The other way the fork's own name stays as well.
    alex.merge(sarah.root)
    assert alex.name == "alex"
    alex.close()


def test_what_is_not_to_be_merged_says_so(make: Make, tmp_path: Path) -> None:
    sarah = make()
    head = sarah.store.repo.head()
    other = Agent.init(tmp_path / "other")
    with pytest.raises(StoreError, match="other shares no past with sarah"):
        sarah.merge(other.root)
    with pytest.raises(NotAnAgent, match="is not an agent"):
        sarah.merge(tmp_path / "nowhere")
    (tmp_path / "elsewhere").mkdir()
    (other.root / ".git/objects/info/alternates").write_text(f"{tmp_path}/elsewhere\n")
    with pytest.raises(AgentError, match="makes git read another repository"):
        sarah.merge(other.root)
    assert sarah.store.repo.head() == head
    other.close()


def test_another_agent_that_is_not_whole_is_not_taken_in(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    head = sarah.store.repo.head()
    oid = git(alex, "rev-parse", "HEAD:core/human.md").strip()
    (alex.root / ".git/objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(StoreError, match=r"alex cannot be read as a whole \(.*fsagent check"):
        sarah.merge(alex.root)
    assert sarah.store.repo.head() == head
    alex.close()


def test_the_past_takes_nothing_in(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    for act in (lambda past: past.merge(alex.root), lambda past: past.sync(str(alex.root))):
        with pytest.raises(StoreError, match="as it was, which is read and not changed"):
            act(sarah.at("HEAD"))
    alex.close()


def test_no_git_runs_in_the_other_agents_repository(
    minds: tuple[Agent, Agent], tmp_path: Path
) -> None:
    sarah, alex = minds
    mark = tmp_path / "mark"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "uploadpack.packObjectsHook", "core.alternateRefsCommand"):
        git(alex, "config", key, str(trap))
    assert sarah.merge(alex.root).taken == 4
    assert not mark.exists()
    alex.close()


def test_hand_edits_of_both_are_nobodys_loss(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    (sarah.root / "core/human.md").write_text("Name: Tom\n")
    (alex.root / "core/human.md").write_text("Name: Tam\n")  # stays where it is
    done = sarah.merge(alex.root)
    assert done.told == ("Your edit of core/human.md was committed.",)
    assert sarah.blocks["human"].text.split("\n") == ["Name: Tom", "Has a boat."]
    assert (alex.root / "core/human.md").read_text() == "Name: Tam\n"
    assert subjects(sarah)[:2] == ["merge: the memory of alex", "hand edit: core/human.md"]
    alex.close()


def test_on_the_command_line(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds

    def run(*options: str) -> str:
        arguments = ["merge", str(sarah.root), str(alex.root), *options]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    lines = run().splitlines()
    assert lines[0] == "Took in the memory of alex: 4 commits, 3 files changed."
    assert lines[1] == f"committed as {sarah.log(limit=1)[0].commit[:7]}"
    assert run() == "sarah knows all that alex has committed.\n"
    assert json.loads(run("--json"))["commit"] is None
    alex.close()


def test_the_agent_answers_from_what_was_taken_in(minds: tuple[Agent, Agent]) -> None:
    sarah, alex = minds
    sarah.merge(alex.root)
    sarah._client = ScriptedClient(["In Ghent."])
    sarah.chat("Where is my boat?")
    prompt = sarah.context().render()
    assert "Has a boat." in prompt
    assert prompt.index("I have a boat in Ghent.") < prompt.index("Where is my boat?")
    alex.close()
