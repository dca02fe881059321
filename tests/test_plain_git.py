"""A person's own git in an agent's directory: it merges what an agent's files mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent
from fsagent.check import check, repair
from fsagent.cli import cli
from fsagent.history.join import Side, join
from fsagent.repo.settings import DRIVERS

from conftest import git, script
from test_fold import Talk, everything

Make = Callable[..., Agent]


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``fsagent`` as a command, and nothing else of that name."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "fsagent").write_text(f'#!/bin/sh\nexec {sys.executable} -m fsagent "$@"\n')
    (bin_ / "fsagent").chmod(0o755)
    others = (
        folder
        for folder in os.environ["PATH"].split(":")
        if not (Path(folder) / "fsagent").exists()
    )
    monkeypatch.setenv("PATH", ":".join([str(bin_), *others]))
    monkeypatch.setenv("FSAGENT_MACHINE", "laptop")
    return bin_ / "fsagent"


def parted(make: Make) -> Agent:
    """An agent with two branches, which appended to one segment and changed the same line."""
    agent = make("One.", "Two.", "Three.")
    agent.chat("First.")
    agent.blocks["human"] = "Name: Tim\nCity: Rome\n"
    segment = agent.root / ".git/fsagent/segment"
    mark = segment.read_text()
    for branch, city in (("other", "Paris"), ("main", "Ghent")):
        git(agent, "switch", "-q", *(["-c"] if branch == "other" else []), branch)
        segment.write_text(mark)
        agent.blocks["human"] = f"Name: Tim\nCity: {city}\n"
        agent.chat(f"In {city}.")
    return agent


def test_recall_by_its_records_and_memory_by_its_lines(make: Make, on_path: Path) -> None:
    agent = parted(make)
    assert len(agent.store.segments()) == 1
    output = git(agent, "merge", "--no-edit", "other")
    assert "Merge made by" in output
    path = agent.store.segments()[0]
    ids = [record.id for record in agent.store.records(path)]
    assert ids == sorted(set(ids))
    said = [r.content for r in agent.store.records(path) if r.role == "user"]
    assert said == ["First.", "In Paris.", "In Ghent."]
    assert agent.blocks["human"].text == (
        "Name: Tim\n## In conflict: from laptop\nCity: Ghent\n"
        "## In conflict: from other\nCity: Paris\n## End of conflict"
    )
    assert git(agent, "status", "--porcelain") == ""
    assert agent.store.warnings == []


def test_the_agent_is_told_once_of_what_git_left_to_settle(make: Make, on_path: Path) -> None:
    agent = parted(make)
    git(agent, "merge", "--no-edit", "other")
    script(agent, "I see.", "Well.")
    agent.chat("Hello.")
    agent.chat("And now?")
    events = [r for r in agent.store.newest() if r.role == "event"]
    assert [one.content.splitlines()[0] for one in events] == [
        "A merge with Git brought two versions of your memory together. Both had changed the same; "
        "it is for you to settle: core/human.md"
    ]
    assert not (agent.root / ".git/fsagent/clashes").exists()


@pytest.mark.parametrize("way", ["given up", "settled"])
def test_what_is_settled_already_is_not_told(make: Make, on_path: Path, way: str) -> None:
    agent = parted(make)
    git(agent, "merge", "--no-edit", "other")
    assert (agent.root / ".git/fsagent/clashes").read_text() == '"core/human.md"\n'
    if way == "settled":
        agent.blocks["human"] = "Name: Tim\nCity: Ghent"
    else:
        git(agent, "reset", "-q", "--hard", "HEAD~1")
    script(agent, "Hm.")
    agent.chat("Hello.")
    assert not [r for r in agent.store.newest() if r.role == "event"]


def test_in_a_rebase_each_side_has_its_own_name(make: Make, on_path: Path) -> None:
    agent = parted(make)
    git(agent, "rebase", "-q", "other")
    assert agent.blocks["human"].text == (
        "Name: Tim\n## In conflict: from laptop\nCity: Ghent\n"
        "## In conflict: from the other side\nCity: Paris\n## End of conflict"
    )


def test_git_revert_of_a_fold_takes_back_the_summary_alone(make: Make, on_path: Path) -> None:
    talk = Talk(make())
    folded, _ = talk.until_fold()
    agent = talk.agent
    lines = everything(agent)
    git(agent, "revert", "--no-edit", folded.commit)
    assert everything(agent) == [line for line in lines if line.role != "summary"]
    assert lines[0] in agent.context().records
    assert all(prompt.same for prompt in agent.prompts(lines[-1].turn))
    again, _ = talk.until_fold()
    assert again.summary.covers
    assert again.summary.covers.first == everything(agent)[0].id


def test_where_fsagent_is_not_there_git_merges_text(make: Make, on_path: Path) -> None:
    agent = parted(make)
    on_path.unlink()
    git(agent, "merge", "--no-edit", "other", check=False)
    assert git(agent, "diff", "--name-only", "--diff-filter=U").split() == [
        "core/human.md",
        *agent.store.segments(),
    ]
    assert "<<<<<<< ours\nCity: Ghent\n=======" in (agent.root / "core/human.md").read_text()


def test_what_a_person_has_to_decide_is_a_conflict(make: Make, on_path: Path) -> None:
    agent = make()
    git(agent, "switch", "-q", "-c", "other")
    config = (agent.root / "agent.yaml").read_text()
    (agent.root / "agent.yaml").write_text(config + "timezone: Europe/Paris\n")
    git(agent, "commit", "-qam", "a zone")
    git(agent, "switch", "-q", "main")
    (agent.root / "agent.yaml").write_text(config + "timezone: Europe/Brussels\n")
    git(agent, "commit", "-qam", "a zone")
    output = git(agent, "merge", "--no-edit", "other", check=False)
    assert "CONFLICT" in output
    assert (
        "<<<<<<< ours\ntimezone: Europe/Brussels\n======="
        in (agent.root / "agent.yaml").read_text()
    )


def test_new_agents_forks_and_clones_have_the_drivers(
    make: Make, on_path: Path, tmp_path: Path
) -> None:
    agent = make()
    fork = agent.fork(tmp_path / "fork")
    clone = Agent.clone(str(agent.root), tmp_path / "clone")
    for one in (agent, fork, clone):
        for key, value in DRIVERS.items():
            assert git(one, "config", "--local", key).strip() == value
        attributes = git(one, "check-attr", "merge", "core/a.md", "recall/a.jsonl", "agent.yaml")
        assert attributes.count("fsagent-text") == 2
        assert attributes.count("fsagent-recall") == 1
        # They are nobody's command: neither advice nor something to allow.
        assert one.store.repo.settings.commands == []
        output = CliRunner().invoke(cli, ["allow", str(one.root)]).output
        assert output.startswith("There is nothing to allow")
    git(agent, "config", "merge.fsagent-text.driver", "evil %A")
    assert agent.store.repo.settings.commands == ["merge.fsagent-text.driver"]
    output = CliRunner().invoke(cli, ["allow", str(agent.root)]).output
    assert "  merge.fsagent-text.driver\n" in output
    fork.close()
    clone.close()


def test_an_older_agent_gets_them_by_maintenance(make: Make) -> None:
    agent = make()
    for key in DRIVERS:
        git(agent, "config", "--unset", key)
    done = [one.text for one in agent.maintain() if one.what == "settings"]
    assert done == [f"{', '.join(DRIVERS)} in .git/config"]
    assert git(agent, "config", "merge.fsagent-text.driver").strip() in DRIVERS.values()


def test_the_command_is_for_git_alone() -> None:
    assert "merge-file" not in CliRunner().invoke(cli, ["--help"]).output


# ── a merge on the web, where no driver is ────────────────────────────────────────────────────


def web_merge(make: Make) -> Agent:
    """What a person commits who merges without drivers and leaves the markers in."""
    agent = parted(make)
    for key in DRIVERS:
        git(agent, "config", "--unset", key)
    git(agent, "merge", "--no-edit", "other", check=False)
    return agent


def anew(agent: Agent) -> Agent:
    return Agent.open(agent.root, agent.client, clock=agent.store.clock, mend=False)


def test_markers_that_a_merge_left_are_mended(make: Make) -> None:
    agent = web_merge(make)
    path = agent.store.segments()[0]
    git(agent, "commit", "-qam", "Merge branch 'other'")
    assert "<<<<<<< HEAD" in (agent.root / path).read_text()
    findings = [f for f in check(anew(agent)).findings if "conflict markers" in f.text]
    assert [f.place.split(":")[0] for f in findings] == ["core/human.md", path]
    assert all("--repair" in f.remedy for f in findings)
    assert not any("not a line of JSON" in f.text for f in check(anew(agent)).findings)

    told = repair(anew(agent))
    assert told[0].startswith("core/human.md: merged again, without the markers (")
    assert told[1] == f"{path}: merged again, without the markers."
    assert agent.blocks["human"].text == (
        "Name: Tim\n## In conflict: from HEAD\nCity: Ghent\n"
        "## In conflict: from other\nCity: Paris\n## End of conflict"
    )
    said = [record.content for record in agent.store.newest()][::-1]
    assert said[:6] == ["First.", "One.", "In Paris.", "Two.", "In Ghent.", "Three."]
    assert "It is for you to settle:\n- core/human.md: HEAD has 'City: Ghent'" in said[6]
    assert git(agent, "status", "--porcelain") == ""
    found = [f for f in check(anew(agent)).findings if f.place != ".git/config"]
    assert [(f.severity, f.place) for f in found] == [("advice", "core/human.md:7")]
    assert "Two versions of the same stand in it" in found[0].text
    assert repair(anew(agent)) == []


def test_edits_since_the_merge_are_kept(make: Make) -> None:
    agent = web_merge(make)
    git(agent, "commit", "-qam", "Merge branch 'other'")
    file = agent.root / "core/human.md"
    file.write_text(file.read_text().replace("Name: Tim", "Name: Tom") + "Has a cat.\n")
    repair(anew(agent))
    text = agent.blocks["human"].text
    assert text.startswith("Name: Tom\n## In conflict: from HEAD\nCity: Ghent\n")
    assert text.endswith("## End of conflict\nHas a cat.")


def test_an_agent_yaml_with_markers_is_mended(make: Make) -> None:
    agent = make()
    for key in DRIVERS:
        git(agent, "config", "--unset", key)
    config = (agent.root / "agent.yaml").read_text()
    for branch, line in (("other", "index: whoosh\n"), ("main", "timezone: Europe/Paris\n")):
        git(agent, "switch", "-q", *(["-c"] if branch == "other" else []), branch)
        (agent.root / "agent.yaml").write_text(config + line)
        git(agent, "commit", "-qam", "a key")
    git(agent, "merge", "--no-edit", "other", check=False)
    git(agent, "commit", "-qam", "Merge branch 'other'")
    told = repair(anew(agent))
    assert told[0] == "agent.yaml: merged again, without the markers."
    assert (agent.root / "agent.yaml").read_text() == (
        config + "index: whoosh\ntimezone: Europe/Paris\n"
    )


def test_words_about_git_are_left_alone(make: Make) -> None:
    agent = make()
    words = "<<<<<<< ours\nA\n=======\nB\n>>>>>>> theirs\n"
    note = agent.notes.add(f"A conflict in Git looks like this:\n\n{words}")
    finding = next(f for f in check(anew(agent)).findings if "conflict markers" in f.text)
    assert finding.remedy == "Keep what is right, and delete the markers."
    assert repair(anew(agent)) == []
    assert words in (agent.root / note.path).read_text()


def test_records_of_the_side_that_was_not_taken_come_back(make: Make) -> None:
    agent = web_merge(make)
    path = agent.store.segments()[0]
    git(agent, "checkout", "--ours", path, "core/human.md")
    git(agent, "commit", "-qam", "Merge branch 'other'")
    finding = next(f for f in check(anew(agent)).findings if "lost" in f.text)
    assert (finding.place, finding.text) == (path, "2 records of one side were lost in a merge.")
    assert repair(anew(agent)) == [f"2 records that were lost in a merge: brought back to {path}."]
    said = [record.content for record in agent.store.newest()][::-1]
    assert said == ["First.", "One.", "In Paris.", "Two.", "In Ghent.", "Three."]
    assert repair(anew(agent)) == []
    # Both sides taken, as the buttons of a web page do it: each record is there once.
    whole = (agent.root / path).read_text()
    (agent.root / path).write_text(whole + whole)
    git(agent, "commit", "-qam", "both")
    repair(anew(agent))
    assert (agent.root / path).read_text() == whole


def problems(agent: Agent) -> list[str]:
    found = check(anew(agent)).findings
    return [f"{f.place}: {f.text}" for f in found if f.severity == "problem"]


def apart(make: Make) -> Agent:
    """Two branches that each have a segment, a note and a block of their own, and edits."""
    agent = make("One.", "Two.", "Three.")
    agent.chat("First.")
    for branch in ("other", "main"):
        git(agent, "switch", "-q", *(["-c"] if branch == "other" else []), branch)
        (agent.root / ".git/fsagent/segment").unlink(missing_ok=True)
        agent.store.clock.move(days=1)  # type: ignore[attr-defined]
        agent.notes.add(f"The boat of {branch} lies in Ghent.")
        agent.chat(f"In {branch}.")
    git(agent, "switch", "-q", "other")
    agent.blocks["human"] = "Name: Tom"
    (agent.root / "core/boats.md").write_text("Has two.\n")
    agent.adopt()
    git(agent, "switch", "-q", "main")
    return agent


def test_a_side_that_was_not_taken_at_all_comes_back(make: Make) -> None:
    agent = apart(make)
    theirs = git(agent, "ls-tree", "-r", "--name-only", "other").split()
    git(agent, "merge", "-q", "--no-edit", "-s", "ours", "other")
    gone = [path for path in theirs if not (agent.root / path).exists()]
    assert [path.split("/")[0] for path in gone] == ["archival", "core", "recall"]
    note, block, segment = gone

    count = len(git(agent, "show", f"other:{segment}").splitlines())
    assert problems(agent) == [
        f"{segment}: {count} records of one side were lost in a merge.",
        f"{note}: One side of a merge had written it, and it was not taken.",
        f"{block}: One side of a merge had written it, and it was not taken.",
    ]
    advice = [f for f in check(anew(agent)).findings if f.place == "core/human.md"]
    assert [f.severity for f in advice] == ["advice"]
    assert f"git -C {agent.root} show {git(agent, 'rev-parse', 'other')[:12]}:core/human.md" in (
        advice[0].remedy
    )
    assert repair(anew(agent)) == [
        f"{count} records and 2 files that were lost in a merge: brought back to "
        f"{note}, {block}, {segment}."
    ]
    for path in gone:
        assert (agent.root / path).read_text() == git(agent, "show", f"other:{path}")
    assert agent.blocks["human"].text == "Name: Tim"  # of a text, a merge may mean the one version
    assert problems(agent) == []
    assert repair(anew(agent)) == []
    agent.blocks["human"] = "Name: Tim, not Tom"
    assert not [f for f in check(anew(agent)).findings if f.place == "core/human.md"]

    # What is deleted after that was meant to be.
    for path in gone:
        (agent.root / path).unlink()
    git(agent, "commit", "-qam", "All of that was wrong")
    assert problems(agent) == []
    assert repair(anew(agent)) == []


def test_what_a_side_deleted_before_the_merge_stays_deleted(make: Make) -> None:
    agent = apart(make)
    paths = git(agent, "diff", "--name-only", "--diff-filter=D", "other", "main").split()
    git(agent, "switch", "-q", "-c", "third", "other")
    for path in paths:
        git(agent, "rm", "-q", path)
    git(agent, "commit", "-qm", "not this")
    git(agent, "switch", "-q", "main")
    git(agent, "merge", "-q", "--no-edit", "-s", "ours", "third")
    assert not any((agent.root / path).exists() for path in paths)
    # All of them are in the history of the side, and none at its end.
    assert problems(agent) == []
    assert repair(anew(agent)) == []


def test_what_a_person_deleted_as_they_settled_a_merge_stays_deleted(make: Make) -> None:
    agent = make()
    for key in DRIVERS:
        git(agent, "config", "--unset", key)
    note = agent.notes.add("The boat lies in Ghent.").path
    git(agent, "switch", "-q", "-c", "other")
    git(agent, "rm", "-q", note)
    git(agent, "commit", "-qm", "sold")
    git(agent, "switch", "-q", "main")
    (agent.root / note).write_text((agent.root / note).read_text() + "Or in Bruges.\n")
    git(agent, "commit", "-qam", "or there")
    assert "CONFLICT" in git(agent, "merge", "--no-edit", "other", check=False)
    git(agent, "rm", "-q", note)
    git(agent, "commit", "-qm", "Merge branch 'other'")
    assert problems(agent) == []
    assert repair(anew(agent)) == []


def test_a_record_deleted_after_merges_crosswise_is_not_lost(make: Make) -> None:
    agent = make(*["Well."] * 9)
    agent.chat("First.")
    git(agent, "branch", "other")
    agent.chat("WISH")
    (path,) = agent.store.segments()
    git(agent, "switch", "-q", "other")
    agent.notes.add("The boat lies in Ghent.")
    git(agent, "branch", "note")
    git(agent, "merge", "-q", "--no-edit", "main")
    git(agent, "switch", "-q", "main")
    git(agent, "merge", "-q", "--no-edit", "note")
    assert len(git(agent, "merge-base", "--all", "main", "other").split()) == 2
    lines = (agent.root / path).read_text().splitlines(keepends=True)
    (agent.root / path).write_text("".join(line for line in lines if "WISH" not in line))
    git(agent, "commit", "-qam", "not for the log")
    git(agent, "switch", "-q", "other")
    with (agent.root / path).open("a") as file:
        file.write('{"id": "more", "ts": "2026-11-21T09:31:00Z", "role": "user", "content": "M"}\n')
    git(agent, "commit", "-qam", "more was said")
    joined = join(
        agent.store.repo,
        Side(git(agent, "rev-parse", "main").strip(), "main"),
        Side(git(agent, "rev-parse", "other").strip(), "other"),
    )
    assert b"WISH" not in joined.made[path]
    git(agent, "merge", "--no-commit", "main", check=False)
    (agent.root / path).write_bytes(joined.made[path])
    git(agent, "add", ".")
    git(agent, "commit", "-qm", "as sync would have made it")
    assert problems(agent) == []
    assert repair(anew(agent)) == []
