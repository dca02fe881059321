"""One agent on several machines: sync, clone, and what a merge of two histories leaves."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent, ScriptedClient, call
from fsagent.check import check
from fsagent.cli import cli
from fsagent.environment import Environment
from fsagent.errors import AgentError, StoreError
from fsagent.history import sync
from fsagent.repo import incoming, remote

from conftest import git, script, subjects
from git_servers import daemon, smart_http

Machines = Callable[..., tuple[Agent, Agent]]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare repository, as a person makes one."""
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "place.git")], check=True)
    return tmp_path / "place.git"


@pytest.fixture
def machines(tmp_path: Path, bare: Path) -> Iterator[Machines]:
    """Makes one agent on two machines, ``laptop`` and ``desktop``, which sync through ``bare``."""
    made: list[Agent] = []

    def make(place: str | Path = bare) -> tuple[Agent, Agent]:
        laptop, desktop = (replace(Environment.read(), machine=n) for n in ("laptop", "desktop"))
        one = Agent.init(
            tmp_path / "laptop",
            name="sarah",
            human="Name: Tim",
            client=ScriptedClient(["Hi."] * 100),
            environment=laptop,
        )
        made.append(one)
        one.sync(str(place))
        two = Agent.clone(
            str(place), tmp_path / "desktop", ScriptedClient(["Ho."] * 100), environment=desktop
        )
        made.append(two)
        return one, two

    yield make
    for agent in made:
        agent.close()


def files(agent: Agent) -> dict[str, bytes]:
    """Everything in the work tree."""
    return {
        str(path.relative_to(agent.root)): path.read_bytes()
        for path in sorted(agent.root.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(agent.root).parts
    }


def said(agent: Agent) -> list[str]:
    """What stands in recall, in the order of time."""
    return [record.content for record in agent.store.newest()][::-1]


def in_step(one: Agent, two: Agent) -> None:
    """Both have the same files and history, and nothing is left over."""
    assert files(one) == files(two)
    assert one.store.repo.head() == two.store.repo.head()
    for agent in (one, two):
        assert git(agent, "status", "--porcelain") == ""
        git(agent, "fsck", "--full", "--strict")
        assert not any((agent.root / ".git/fsagent").glob("tmp/*"))


def parents(agent: Agent, rev: str = "HEAD") -> list[str]:
    return git(agent, "rev-parse", f"{rev}^@").split()


def invoke(*arguments: str | Path, status: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.output


# ── fetch, merge, push ────────────────────────────────────────────────────────────────────────


def test_two_machines_learn_from_each_other(machines: Machines) -> None:
    laptop, desktop = machines()
    assert laptop.config.id == desktop.config.id
    script(
        laptop,
        call("core_memory_append", label="human", content="Likes tea."),
        call("archival_memory_insert", content="The kettle is on the left."),
        "Noted.",
    )
    script(desktop, call("core_memory_append", label="human", content="Lives in Ghent."), "Noted.")
    here = laptop.chat("I like tea.").commits
    there = desktop.chat("I live in Ghent.").commits

    done = laptop.sync()
    assert (done.remote, done.taken, done.given, done.merged) == ("origin", 0, 3, None)
    head = laptop.store.repo.head()
    done = desktop.sync()
    assert (done.taken, done.given, done.clashes) == (3, 3, ())
    assert parents(desktop) == [there[-1], head]
    assert desktop.log(limit=1)[0].subject == "sync: what came from origin"
    assert desktop.log(limit=1)[0].author == "Tim"
    done = laptop.sync()
    assert (done.taken, done.given, done.merged) == (3, 0, None)

    in_step(laptop, desktop)
    assert laptop.blocks["human"].text == "Name: Tim\nLikes tea.\nLives in Ghent."
    assert [note.text for note in desktop.notes] == ["The kettle is on the left."]
    assert {"I like tea.", "I live in Ghent."} <= set(said(laptop))
    assert all(laptop.store.repo.descends(one, "HEAD") for one in (*here, *there))
    assert desktop.search("kettle").hits[0].doc.text == "The kettle is on the left."
    assert (laptop.sync().taken, laptop.sync().given) == (0, 0)


@pytest.mark.parametrize("allowed", [False, True])
def test_what_was_purged_does_not_come_back(machines: Machines, allowed: bool) -> None:
    laptop, desktop = machines()
    laptop.notes.add("The gate code is Quagga-7731.")
    laptop.sync()
    desktop.sync()
    laptop.purge("Quagga-7731")
    if allowed:
        git(laptop, "config", "core.sshCommand", "ssh")
        invoke("allow", laptop.root)
        laptop = Agent.open(laptop.root, ScriptedClient([]))
        assert laptop.store.repo.allowed
    head = laptop.store.repo.head()
    with pytest.raises(StoreError, match="is from before a purge") as caught:
        laptop.sync()
    assert laptop.store.repo.head() == head
    # Not even among the objects that nothing names.
    assert "Quagga" not in git(laptop, "log", "-p", "--all")
    named = "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"
    assert old_head(desktop) not in git(laptop, *named)
    assert not list((laptop.root / ".git/objects").glob("tmp_*"))
    assert check(laptop).sound
    # What is printed works, and the next sync too.
    command = re.search(r"git -C .* HEAD:refs/heads/main", str(caught.value))
    assert command
    assert "--force-with-lease=main:" in command[0]
    subprocess.run(command[0], shell=True, check=True, capture_output=True)
    laptop.notes.add("Nothing of it is left.")
    assert laptop.sync().given
    assert "Quagga" not in git(laptop, "log", "-p", "--all")


def test_an_old_clone_does_not_bring_back_what_was_purged_elsewhere(machines: Machines) -> None:
    laptop, desktop = machines()
    laptop.notes.add("The gate code is Quagga-7731.")
    laptop.sync()
    desktop.sync()
    laptop.purge("Quagga-7731")
    git(laptop, "push", "-q", "--force", "origin", "HEAD")
    desktop.notes.add("The boat lies in Ghent.")
    before = old_head(desktop), git(desktop, "rev-parse", "origin/main")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"has replaced the history at origin.*fsagent purge"):
            desktop.sync()
    assert before == (old_head(desktop), git(desktop, "rev-parse", "origin/main"))
    desktop.purge("Quagga-7731")
    assert (desktop.sync().taken, laptop.sync().taken) == (0, 1)
    assert all("Quagga" not in git(one, "log", "-p", "--all") for one in (laptop, desktop))


def old_head(agent: Agent) -> str:
    return git(agent, "rev-parse", "HEAD").strip()


def test_check_names_what_brought_an_old_history_back(machines: Machines) -> None:
    laptop, _ = machines()
    laptop.notes.add("The gate code is Quagga-7731.")
    laptop.sync()
    laptop.purge("Quagga-7731")
    assert check(laptop).sound
    git(laptop, "fetch", "-q", "origin")
    (found,) = (one for one in check(laptop).findings if one.severity == "problem")
    assert found.place == "refs/remotes/origin/main"
    assert "before a purge" in found.text
    laptop.purge("Quagga-7731")
    assert check(laptop).sound


def test_a_secret_of_another_history_hinders_no_sync(machines: Machines) -> None:
    laptop, desktop = machines()
    key = "ghp_aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC2"
    (laptop.root / "archival").mkdir(exist_ok=True)
    (laptop.root / "archival/by-hand.md").write_text(f"{key}\n")
    laptop.sync()
    desktop.notes.add("A note of its own.")
    desktop.sync()
    assert key in (desktop.root / "archival/by-hand.md").read_text()
    # What the agent is told of it gets into recall, as anything else, without the key.
    assert "not kept)" in said(laptop)[-1]
    assert not any(key in text for agent in (laptop, desktop) for text in said(agent))


def test_a_key_in_a_hand_edit_is_named_and_not_kept_in_recall(
    machines: Machines, tmp_path: Path
) -> None:
    laptop, _ = machines()
    key = "ghp_aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC2"
    human = laptop.root / "core/human.md"
    human.write_text(f"{human.read_text()}{key}\n")
    told = laptop.sync().told
    assert any("a GitHub token (ghp_a…), and it is in Git now" in one for one in told)
    assert not any(key in one for one in (*told, *said(laptop)))
    alex = laptop.fork(tmp_path / "alex")
    alex.notes.add("A boat.")
    human.write_text(f"{human.read_text()}{key[::-1]} is no key, {key[:-1]}8 is.\n")
    assert any("a GitHub token" in one for one in laptop.merge(alex.root).told)
    assert not any(key[:-1] in one for one in said(laptop))
    alex.close()


def test_what_was_said_on_two_machines_is_one_conversation_in_the_order_of_time(
    machines: Machines,
) -> None:
    laptop, desktop = machines()
    note = call("archival_memory_insert", content="A note.")
    for number, agent in enumerate((laptop, desktop, laptop, laptop, desktop)):
        script(agent, note, f"Reply {number}.")
        agent.chat(f"Message {number}.")
    laptop.sync()
    desktop.sync()
    messages = [f"Message {number}." for number in range(5)]
    assert [text for text in said(desktop) if text.startswith("Message")] == messages
    # Turns are whole: no call has lost its result, and the newest is the last one.
    turns = [record.turn for record in desktop.store.newest()]
    assert len(turns) == 5 * 4
    assert all(len(set(turns[at : at + 4])) == 1 for at in range(0, 20, 4))
    prompt = desktop.context().render()
    assert prompt.index("Message 0.") < prompt.index("Message 1.") < prompt.index("Message 4.")
    assert "The turn ended before" not in prompt


def test_hand_edits_are_committed_first_and_the_agent_knows(machines: Machines) -> None:
    laptop, desktop = machines()
    (laptop.root / "core/human.md").write_text("Name: Tom\n")
    (laptop.root / "README").write_text("mine\n")
    git(laptop, "add", "README")
    done = laptop.sync()
    assert done.told == ("Your edit of core/human.md was committed.",)
    assert git(laptop, "status", "--porcelain") == "A  README\n"
    assert "Tim edited core/human.md by hand" in said(laptop)[-1]
    desktop.sync()
    assert desktop.blocks["human"].text == "Name: Tom"
    # And together with a merge: it is one commit that tells of the edit.
    desktop.chat("Hello.")
    (laptop.root / "core/human.md").write_text("Name: Tam\n")
    desktop.sync()
    laptop.sync()
    assert subjects(laptop)[:2] == ["sync: what came from origin", "hand edit: core/human.md"]
    assert "+Name: Tam" in said(laptop)[-1]
    assert git(laptop, "status", "--porcelain") == "A  README\n"


def test_what_clashes_stays_in_both_versions_and_the_agent_is_told(machines: Machines) -> None:
    laptop, desktop = machines()
    laptop.blocks["human"] = "Name: Tim\nCity: Rome\n"
    laptop.sync()
    desktop.sync()
    git(desktop, "config", "user.name", "Ann")
    laptop.blocks["human"] = "Name: Tim\nCity: Ghent\n"
    desktop.blocks["human"] = "Name: Tim\nCity: Paris\n"
    laptop.sync()
    done = desktop.sync()
    has = "Tim at origin has 'City: Ghent', Ann at desktop has 'City: Paris'"
    sentence = f"{has}: both stay, under headings"
    assert done.clashes == (f"core/human.md: {sentence}",)
    day = git(desktop, "log", "-n1", "--format=%cs").strip()
    assert desktop.blocks["human"].text == (
        f"Name: Tim\n## In conflict: from Tim at origin, {day}\nCity: Ghent\n"
        f"## In conflict: from Ann at desktop, {day}\nCity: Paris\n## End of conflict"
    )
    laptop.sync()
    in_step(laptop, desktop)
    event = said(laptop)[-1]
    assert "it is for you to settle" in event
    assert sentence in event
    assert next(desktop.store.newest()).change == desktop.log(limit=1)[0].change
    # The agent settles it, on one of the machines.
    script(
        laptop,
        call("memory_rethink", label="human", new_memory="Name: Tim\nCity: Ghent"),
        "Ghent it is.",
    )
    laptop.chat("I live in Ghent now.")
    laptop.sync()
    desktop.sync()
    in_step(laptop, desktop)
    assert "conflict" not in desktop.blocks["human"].text
    # Where several have changed a file, it is not known who wrote which of its lines.
    laptop.blocks["human"] = "Name: Tim\nCity: Bern\n"
    script(laptop, call("core_memory_append", label="human", content="Likes tea."), "Noted.")
    laptop.chat("I like tea.")
    desktop.blocks["human"] = "Name: Tim\nCity: Bonn\n"
    laptop.sync()
    (text,) = desktop.sync().clashes
    assert "sarah and Tim at origin has 'City: Bern" in text


def test_a_clash_that_is_merged_in_two_places_is_one(machines: Machines, tmp_path: Path) -> None:
    """Each place calls the sides by names of its own."""
    laptop, desktop = machines()
    other = tmp_path / "other.git"
    subprocess.run(["git", "init", "-q", "--bare", str(other)], check=True)
    desktop.sync(str(other))
    laptop.blocks["persona"] = "I am brief."
    desktop.blocks["persona"] = "I am chatty."
    laptop.sync(str(other))
    desktop.sync()
    assert desktop.sync(str(other)).clashes  # both merge the same
    assert laptop.sync().clashes
    for _ in range(3):
        for agent, place in itertools.product((laptop, desktop), (None, str(other))):
            assert agent.sync(place).clashes == ()
    desktop.sync()
    laptop.sync()
    in_step(laptop, desktop)
    assert re.sub("from .*", "from", laptop.blocks["persona"].text).split("\n") == [
        "## In conflict: from",
        "I am brief.",
        "## In conflict: from",
        "I am chatty.",
        "## End of conflict",
    ]


@pytest.mark.parametrize("forward", [True, False])
def test_settings_that_come_are_named(machines: Machines, forward: bool) -> None:
    laptop, desktop = machines()
    settings = laptop.root / "agent.yaml"
    settings.write_text(f'{settings.read_text()}allow: ["ghp_*"]\n')
    laptop.sync()
    if not forward:
        desktop.notes.add("A boat.")
    assert "agent.yaml: allow came from origin." in desktop.sync().told


def test_a_note_deleted_here_and_edited_there_stays(machines: Machines) -> None:
    laptop, desktop = machines()
    note = laptop.notes.add("The plumber comes on Monday.")
    other = laptop.notes.add("The window is open.")
    laptop.sync()
    desktop.sync()
    for path in (note.path, other.path):
        (laptop.root / path).unlink()
    file = desktop.root / note.path
    file.write_text(file.read_text().replace("Monday", "Tuesday"))
    laptop.sync()
    done = desktop.sync()
    assert done.clashes == (
        f"{note.path}: Tim at origin deleted it, Tim at desktop changed it: it stays, "
        "as Tim at desktop has it",
    )
    laptop.sync()
    in_step(laptop, desktop)
    assert [note.text for note in laptop.notes] == ["The plumber comes on Tuesday."]


def test_what_is_renamed_here_and_edited_there_is_one_file(machines: Machines) -> None:
    laptop, desktop = machines()
    note = laptop.notes.add("The plumber is Ann.")
    laptop.sync()
    desktop.sync()
    (laptop.root / "core/human.md").rename(laptop.root / "core/tim.md")
    (laptop.root / note.path).rename(laptop.root / "archival/plumber.md")
    desktop.blocks["human"] = "Name: Tim\nHas a cat.\n"
    file = desktop.root / note.path
    file.write_text(f"{file.read_text()}She comes on Mondays.\n")
    laptop.sync()
    done = desktop.sync()
    laptop.sync()
    assert done.clashes == ()
    in_step(laptop, desktop)
    assert sorted(desktop.blocks) == ["persona", "tim"]
    assert desktop.blocks["tim"].text == "Name: Tim\nHas a cat."
    (found,) = desktop.notes
    assert (found.id, found.path) == (note.id, "archival/plumber.md")
    assert found.text == "The plumber is Ann.\nShe comes on Mondays."


def test_a_record_that_was_deleted_on_one_machine_does_not_come_back(machines: Machines) -> None:
    laptop, desktop = machines()
    laptop.chat("My secret is 1234.")
    laptop.sync()
    desktop.sync()
    path = laptop.store.segments()[0]
    lines = (laptop.root / path).read_text().splitlines(keepends=True)
    (laptop.root / path).write_text("".join(line for line in lines if "1234" not in line))
    with (desktop.root / path).open("a") as file:  # as a copied directory does
        record = {"id": "zz", "ts": "2036-01-01T00:00:00Z", "role": "event", "content": "later"}
        file.write(json.dumps(record) + "\n")
    laptop.sync()
    desktop.sync()
    laptop.sync()
    in_step(laptop, desktop)
    assert "My secret is 1234." not in said(laptop)
    assert said(laptop).count("later") == 1


def test_of_a_record_that_both_edited_the_other_text_is_told_and_in_the_history(
    machines: Machines,
) -> None:
    laptop, desktop = machines()
    laptop.chat("I was born in Gent.")
    laptop.sync()
    desktop.sync()
    path = laptop.store.segments()[0]
    texts = ("I was born in Ghent.", "I was born in Gand.")
    for agent, text in zip((laptop, desktop), texts, strict=True):
        file = agent.root / path
        file.write_text(file.read_text().replace("I was born in Gent.", text))
    laptop.sync()
    done = desktop.sync()
    laptop.sync()
    in_step(laptop, desktop)
    (sentence,) = done.clashes
    assert sentence in said(laptop)[-1]
    named = dict(re.findall(r"\((\w{7})\) has '([^']+)'", sentence))
    assert sorted(named.values()) == sorted(texts)
    for commit, text in named.items():
        assert text in git(laptop, "show", f"{commit}:{path}")
    assert sentence.endswith("that of origin counts")
    assert "I was born in Ghent." in said(desktop)


def test_files_of_a_persons_own_come_along_and_their_edits_are_not_overwritten(
    machines: Machines,
) -> None:
    laptop, desktop = machines()
    (laptop.root / "run.sh").write_text("#!/bin/sh\n")
    (laptop.root / "run.sh").chmod(0o755)
    (laptop.root / "files").mkdir()
    (laptop.root / "files/a.bin").write_bytes(b"\0a")
    git(laptop, "add", "run.sh", "files")
    git(laptop, "commit", "-qm", "tools")
    laptop.sync()
    desktop.sync()
    assert os.access(desktop.root / "run.sh", os.X_OK)
    in_step(laptop, desktop)

    (laptop.root / "run.sh").write_text("#!/bin/sh\necho\n")
    git(laptop, "commit", "-qam", "more")
    laptop.sync()
    (desktop.root / "run.sh").write_text("mine\n")
    head = desktop.store.repo.head()
    with pytest.raises(StoreError, match=r"run\.sh has edits that are not committed, and origin"):
        desktop.sync()
    assert desktop.store.repo.head() == head
    assert (desktop.root / "run.sh").read_text() == "mine\n"
    git(desktop, "checkout", "-q", "run.sh")
    desktop.sync()
    in_step(laptop, desktop)
    # Only whether it runs has changed.
    (laptop.root / "run.sh").chmod(0o644)
    git(laptop, "commit", "-qam", "not to be run")
    laptop.sync()
    desktop.chat("Hello.")
    desktop.sync()
    laptop.sync()
    assert not os.access(desktop.root / "run.sh", os.X_OK)
    in_step(laptop, desktop)


def test_what_comes_is_not_held_in_memory_all_at_once(machines: Machines) -> None:
    laptop, desktop = machines()
    (laptop.root / "files").mkdir()
    for number in range(30):
        (laptop.root / f"files/{number}.bin").write_bytes(os.urandom(1_000_000))
    laptop.adopt()
    laptop.sync()
    desktop.notes.add("So that there is something to merge.")
    tracemalloc.start()
    try:
        assert desktop.sync().merged
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert git(desktop, "status", "--porcelain") == ""
    laptop.sync()
    in_step(laptop, desktop)


def test_no_text_and_changed_on_both_sides_stays_twice(machines: Machines) -> None:
    laptop, desktop = machines()
    for agent, data in ((laptop, b"\0laptop"), (desktop, b"\0desktop")):
        (agent.root / "files").mkdir()
        (agent.root / "files/a.bin").write_bytes(data)
    laptop.sync()
    done = desktop.sync()
    laptop.sync()
    in_step(laptop, desktop)
    assert files(laptop)["files/a.bin"] == b"\0desktop"
    assert files(laptop)["files/a.from-Tim-at-origin.bin"] == b"\0laptop"
    assert "files/a.from-Tim-at-origin.bin" in done.clashes[0]


def test_a_link_is_refused_with_the_remedy(machines: Machines) -> None:
    laptop, desktop = machines()
    (laptop.root / "link").symlink_to("agent.yaml")
    git(laptop, "add", "link")
    git(laptop, "commit", "-qm", "a link")
    laptop.sync()
    (desktop.root / "core/human.md").write_text("Name: Tom\n")
    with pytest.raises(StoreError, match=r"link is a link or .*: git -C \S+ merge [0-9a-f]{12}"):
        desktop.sync()
    # What was edited by hand is committed all the same, and told.
    assert subjects(desktop)[:2] == ["recall: what was edited by hand", "hand edit: core/human.md"]
    assert "Tim edited core/human.md by hand" in said(desktop)[-1]
    git(desktop, "merge", "-q", "--no-edit", "origin/main")
    assert desktop.sync().given == 3
    laptop.sync("origin")
    in_step(laptop, desktop)


# ── the other place ───────────────────────────────────────────────────────────────────────────


def test_the_first_place_is_called_origin(machines: Machines, bare: Path) -> None:
    laptop, desktop = machines()
    for agent in (laptop, desktop):
        assert git(agent, "remote", "get-url", "origin").strip() == str(bare)
        assert git(agent, "rev-parse", "--abbrev-ref", "@{upstream}").strip() == "origin/main"
        assert "ahead" not in git(agent, "status", "-sb")
    laptop.chat("Hello.")
    laptop.sync("origin")
    laptop.sync(str(bare))
    assert git(laptop, "remote").split() == ["origin"]
    assert desktop.sync().taken == 1


def test_the_upstream_counts_then_origin_then_the_only_one(
    machines: Machines, tmp_path: Path
) -> None:
    laptop, _ = machines()
    repo = laptop.store.repo
    for name in ("backup", "third"):
        subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / name)], check=True)
        git(laptop, "remote", "add", name, str(tmp_path / name))
    assert remote.choose(repo, None).name == "origin"
    git(laptop, "config", "branch.main.remote", "backup")
    git(laptop, "config", "branch.main.merge", "refs/heads/elsewhere")
    assert remote.choose(repo, None) == remote.Remote(
        "backup", str(tmp_path / "backup"), str(tmp_path / "backup"), "elsewhere"
    )
    assert remote.choose(repo, "third").branch == "main"
    git(laptop, "config", "branch.main.merge", "refs/heads/a:refs/heads/b")
    with pytest.raises(StoreError, match="names no branch"):
        remote.choose(repo, None)
    git(laptop, "config", "--unset", "branch.main.remote")
    git(laptop, "remote", "remove", "origin")
    with pytest.raises(StoreError, match="has no other place yet: name one"):
        remote.choose(repo, None)
    git(laptop, "remote", "remove", "third")
    assert remote.choose(repo, None).name == "backup"


def test_a_place_that_is_not_there_is_one_sentence(
    machines: Machines, bare: Path, tmp_path: Path
) -> None:
    laptop, _ = machines()
    laptop.chat("Hello.")
    head = laptop.store.repo.head()
    bare.rename(tmp_path / "away.git")
    output = invoke("sync", laptop.root, status=1)
    assert output.startswith("Error: origin cannot be reached (")
    assert output.endswith("What you have here is kept: sync again when it is there.\n")
    assert len(output.splitlines()) == 1
    for place, why in (
        ("http://127.0.0.1:9/x.git", "Failed to connect"),
        ("git://127.0.0.1:9/x.git", "unable to connect"),
        ("ssh://git@127.0.0.1:9/x.git", "127.0.0.1|ssh"),
    ):
        with pytest.raises(StoreError, match=f"cannot be reached .*({why})"):
            laptop.sync(place)
    for place in ("ext::sh -c touch% x", "nowhere", "--upload-pack=x", "", "a\nb"):
        with pytest.raises(StoreError, match="is no remote by that name"):
            laptop.sync(place)
    assert laptop.store.repo.head() == head
    (tmp_path / "away.git").rename(bare)
    assert laptop.sync().given == 1


def test_a_password_is_neither_shown_nor_kept(make: Callable[..., Agent]) -> None:
    agent = make()
    with pytest.raises(StoreError) as caught:
        agent.sync("http://tim:hunter2@127.0.0.1:9/x.git")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in git(agent, "config", "--list")


def test_a_place_that_refuses_says_why(machines: Machines, bare: Path) -> None:
    laptop, _ = machines()
    hook = bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Sunday' >&2\nexit 1\n")
    hook.chmod(0o755)
    laptop.chat("Hello.")
    with pytest.raises(StoreError, match=r"origin refuses .*pre-receive hook.*not on a Sunday"):
        laptop.sync()
    hook.unlink()
    assert laptop.sync().given == 1


def test_a_lock_that_was_left_there_is_told(
    machines: Machines, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, _ = machines()
    monkeypatch.setattr(sync, "_TRIES", 2)
    (bare / "refs/heads/main.lock").touch()
    laptop.chat("Hello.")
    with pytest.raises(StoreError, match=r"origin cannot be pushed to .*, 2 times over.* a lock"):
        laptop.sync()
    (bare / "refs/heads/main.lock").unlink()
    assert laptop.sync().given == 1


def test_a_work_tree_is_no_place_to_push_to(machines: Machines, tmp_path: Path) -> None:
    laptop, desktop = machines()
    laptop.chat("Hello.")
    with pytest.raises(StoreError, match=r"is a work tree, .*bare repository"):
        laptop.sync(str(desktop.root))
    desktop.chat("Hello.")
    with pytest.raises(StoreError, match="is a work tree"):
        laptop.sync(str(desktop.root))
    assert "sync: what came from" in subjects(laptop)[0]  # that it has


def test_detached_and_in_the_middle_of_a_merge_nothing_is_synced(machines: Machines) -> None:
    laptop, _ = machines()
    git(laptop, "switch", "-q", "--detach")
    with pytest.raises(StoreError, match=r"HEAD of .* is detached.*switch -c NAME"):
        laptop.sync()


def test_histories_that_share_nothing_are_told_apart(
    machines: Machines, bare: Path, tmp_path: Path
) -> None:
    machines()
    other = Agent.init(tmp_path / "other")
    head = other.store.repo.head()
    with pytest.raises(StoreError, match=r"shares no past with other"):
        other.sync(str(bare))
    assert other.store.repo.head() == head
    other.close()


def test_a_repository_of_something_else_is_no_place(
    make: Callable[..., Agent], bare: Path, tmp_path: Path
) -> None:
    sarah, code = make(), tmp_path / "code"
    subprocess.run(["git", "init", "-q", "-b", "master", str(code)], check=True)
    git(code, "commit", "-q", "--allow-empty", "-m", "Code.")
    git(code, "push", "-q", str(bare), "master")
    with pytest.raises(StoreError, match="has no branch main, and its master shares no past"):
        sarah.sync(str(bare))
    assert git(bare, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/master"]
    assert not remote.remotes(sarah.store.repo)
    # But another branch of the same agent is none.
    git(sarah, "push", "-q", str(bare), "+HEAD:refs/heads/master")
    assert sarah.sync(str(bare)).commit == sarah.store.repo.head()


def test_somebody_who_pushes_in_between_is_merged_too(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, desktop = machines()
    real, rounds = remote.push, iter(range(3))

    def late(*args: object, **options: object) -> str:
        for number in rounds:
            desktop.chat(f"In between {number}.")
            with monkeypatch.context() as once:
                once.setattr(remote, "push", real)
                desktop.sync()
            break
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "push", late)
    laptop.chat("Hello.")
    done = laptop.sync()
    monkeypatch.setattr(remote, "push", real)
    assert done.taken >= 3
    desktop.sync()
    in_step(laptop, desktop)
    assert [f"In between {n}." in said(laptop) for n in range(3)] == [True] * 3


@pytest.mark.parametrize("what", ["edits", "commits", "commits another", "commits on ahead"])
def test_a_person_who_works_in_the_moment_of_the_merge(
    what: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, desktop = machines()
    desktop.blocks["human"] = "Name: Tim\nCity: Ghent\n"
    desktop.sync()
    if what != "commits on ahead":
        laptop.notes.add("From here.")
    real, rounds = sync.join, iter([1])

    def meanwhile(*args: object, **more: object) -> object:
        found = real(*args, **more)  # type: ignore[arg-type]
        for _ in rounds:
            if what in ("edits", "commits"):
                file = laptop.root / "core/human.md"
                file.write_text(file.read_text() + "Likes tea.\n")
            else:
                (laptop.root / "mine.txt").write_text("mine\n")
                git(laptop, "add", "mine.txt")
            if what != "edits":
                git(laptop, "commit", "-qam", "a person's")
        return found

    monkeypatch.setattr(sync, "join", meanwhile)
    done = laptop.sync()
    assert done.merged
    assert len(parents(laptop)) == 2
    text = "Name: Tim\nCity: Ghent"
    if what in ("edits", "commits"):
        text += "\nLikes tea."
    assert laptop.blocks["human"].text == text
    assert (laptop.root / "mine.txt").exists() == (what not in ("edits", "commits"))
    wanted = "hand edit: core/human.md" if what == "edits" else "a person's"
    assert wanted in subjects(laptop)
    desktop.sync()
    in_step(laptop, desktop)


def lent(agent: Agent) -> list[Path]:
    """The folders in which a sync works."""
    git_dir = agent.root / ".git"
    return [*git_dir.glob("objects/tmp_objdir-*"), *git_dir.glob("fsagent/visits/*")]


@pytest.mark.parametrize("act", ["sync", "maintain"])
def test_what_a_killed_sync_left_goes_and_not_what_another_one_uses(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    laptop, desktop = machines()
    desktop.notes.add("The kettle is on the left.")
    desktop.sync()
    assert lent(laptop) == lent(desktop) == []
    place = laptop.store.repo.place
    with incoming.apart(place.common / "objects"), incoming.visit(place.git_dir):
        in_use = lent(laptop)
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(incoming.Incoming, "keep", lambda _: os._exit(9))
            laptop.sync()
            os._exit(0)
        assert os.waitpid(child, 0)[1] >> 8 == 9
        assert len(lent(laptop)) == len(in_use) + 2 == 4
        if act == "maintain":
            done = [one.text for one in laptop.maintain() if one.what == "leftovers"]
            assert done == ["2 folders of killed syncs removed"]
        else:
            assert laptop.sync().taken == 1
        assert lent(laptop) == in_use
    assert lent(laptop) == []
    laptop.sync()
    in_step(laptop, desktop)


def test_many_who_push_at_once(machines: Machines, bare: Path, tmp_path: Path) -> None:
    laptop, desktop = machines()
    third = Agent.clone(str(bare), tmp_path / "third", ScriptedClient(["Hm."] * 20))
    agents = [laptop, desktop, third]
    failed: list[BaseException] = []

    def work(agent: Agent) -> None:
        try:
            for number in range(3):
                agent.chat(f"{agent.root.name} {number}")
                agent.sync()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for agent in agents:
        agent.sync()
    for agent in agents:
        agent.sync()
    in_step(laptop, desktop)
    in_step(laptop, third)
    assert all(f"{a.root.name} {n}" in said(laptop) for a in agents for n in range(3))
    third.close()


@pytest.mark.parametrize("kind", ["file", "git", "http"])
def test_every_way_to_the_other_place(kind: str, machines: Machines, bare: Path) -> None:
    git(bare, "config", "http.receivepack", "true")
    if kind == "file":
        _to_and_fro(machines, f"file://{bare}")
    elif kind == "git":
        with daemon(bare.parent) as address:
            _to_and_fro(machines, f"{address}/place.git")
    else:
        with smart_http(bare.parent) as address:
            _to_and_fro(machines, f"{address}/place.git")


def _to_and_fro(machines: Machines, address: str) -> None:
    laptop, desktop = machines(address)
    assert git(desktop, "remote", "get-url", "origin").strip() == address
    laptop.notes.add("x" * 3_000_000)  # more than git sends in one piece
    laptop.chat("Hello.")
    desktop.chat("Good day.")
    laptop.sync()
    done = desktop.sync()
    assert (done.taken, done.given) == (2, 2)
    laptop.sync()
    in_step(laptop, desktop)
    assert {"Hello.", "Good day."} <= set(said(laptop))


def test_a_password_comes_from_the_persons_own_helper(
    machines: Machines, bare: Path, tmp_path: Path
) -> None:
    git(bare, "config", "http.receivepack", "true")
    with smart_http(bare.parent, "tim:hunter2") as address:
        laptop, desktop = machines()
        laptop.chat("Hello.")
        with pytest.raises(StoreError, match=r"cannot be reached \(could not read Username"):
            laptop.sync(f"{address}/place.git")
        helper = f"!echo username=tim; echo password=hunter2; touch {tmp_path}/"
        git(laptop, "config", "credential.helper", f"{helper}own #")
        with pytest.raises(StoreError, match="could not read Username"):
            laptop.sync(f"{address}/place.git")
        git(laptop, "config", "--global", "credential.helper", f"{helper}persons #")
        assert laptop.sync(f"{address}/place.git").given == 1
        assert (tmp_path / "persons").exists()
        assert not (tmp_path / "own").exists()
    assert desktop.sync().taken == 1


# ── clone ─────────────────────────────────────────────────────────────────────────────────────


def test_a_clone_keeps_no_password(machines: Machines, bare: Path, tmp_path: Path) -> None:
    machines()
    with smart_http(bare.parent, "tim:hunter2") as address:
        url = f"{address}/place.git".replace("://", "://tim:hunter2@")
        Agent.clone(url, tmp_path / "third", ScriptedClient([])).close()
    assert "tim@127.0.0.1" in git(tmp_path / "third", "config", "remote.origin.url")
    data = [path.read_bytes() for path in (tmp_path / "third/.git").rglob("*") if path.is_file()]
    assert not any(b"hunter2" in one for one in data)


def test_a_clone_is_the_same_agent_and_no_copy(machines: Machines, tmp_path: Path) -> None:
    laptop, desktop = machines()
    from fsagent.history.fork import copied_from

    assert copied_from(desktop.store) is None
    assert "is a copy of" not in invoke("check", desktop.root)
    first, second = laptop.chat("One."), desktop.chat("Two.")
    assert first.commits != second.commits
    assert set(laptop.store.segments()).isdisjoint(desktop.store.segments())


def test_what_cannot_be_cloned_leaves_nothing_behind(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"is empty: fsagent sync DIR .*place\.git fills it"):
        Agent.clone(str(bare), tmp_path / "new")
    with pytest.raises(StoreError, match=r"cannot be cloned \(.*Connection refused"):
        Agent.clone("git://127.0.0.1:9/x.git", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    work = tmp_path / "work"
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(work)], check=True)
    (work / "a").write_text("a\n")
    git(work, "add", "a")
    git(work, "commit", "-qm", "a")
    git(work, "push", "-q", str(bare), "trunk")
    with pytest.raises(AgentError, match=r"holds no agent \(there is no agent\.yaml on trunk\)"):
        Agent.clone(str(bare), tmp_path / "new")
    (tmp_path / "new").mkdir()
    with pytest.raises(AgentError, match="holds no agent"):
        Agent.clone(str(bare), tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(AgentError, match="is there already"):
        Agent.clone(str(bare), work)
    git(work, "push", "-q", str(bare), "trunk:other")
    with pytest.raises(AgentError, match="has the branches other, trunk and does not say"):
        Agent.clone(str(bare), tmp_path / "new")


def test_on_the_command_line(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    invoke("init", "laptop", "--name", "sarah", "--human", "Name: Tim")
    assert invoke("sync", "laptop", status=1).startswith("Error: laptop has no other place yet")
    output = invoke("sync", "laptop", "place.git")
    assert output == f"origin is {bare} from now on.\nsarah: nothing from origin, 1 commit to it.\n"
    output = invoke("clone", "place.git", "desktop")
    assert output.startswith("sarah lives in desktop as well. Talk to it: fsagent chat desktop\n")
    assert invoke("sync", "desktop") == "sarah: nothing new, here or at origin.\n"
    monkeypatch.setenv("FSAGENT_MACHINE", "laptop")
    invoke("edit", "laptop", "human", "--text", "Name: Tom")
    invoke("sync", "laptop")
    monkeypatch.setenv("FSAGENT_MACHINE", "desktop")
    invoke("edit", "desktop", "human", "--text", "Name: Tam")
    output = invoke("sync", "desktop")
    assert output.splitlines() == [
        "sarah: 1 commit from origin, 2 commits to it.",
        "warning: core/human.md: Tim at desktop has 'Name: Tam', Tim at origin has 'Name: Tom': "
        "both stay, under headings",
        "sarah is told, and will settle it; or settle it yourself.",
    ]
    found = json.loads(invoke("sync", "laptop", "--json"))
    assert (found["taken"], found["given"], found["clashes"]) == (2, 0, [])


# ── a stranger's configuration ────────────────────────────────────────────────────────────────


def test_a_directory_that_only_the_agents_own_config_names_is_not_gone_to(
    machines: Machines, bare: Path, tmp_path: Path
) -> None:
    laptop, _ = machines()
    mark = tmp_path / "mark"
    evil = laptop.root / "evil.git"
    shutil.copytree(bare, evil)
    (evil / "hooks").mkdir(exist_ok=True)
    for name in ("pre-receive", "update", "post-update"):
        (evil / "hooks" / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (evil / "hooks" / name).chmod(0o755)
    git(laptop, "config", "remote.origin.url", "./evil.git")
    laptop.chat("Hello.")
    with pytest.raises(AgentError, match=r"origin is the directory \./evil\.git, which only"):
        laptop.sync()
    with pytest.raises(AgentError, match="its hooks would run"):
        laptop.sync("origin")
    assert not mark.exists()
    git(laptop, "config", "remote.origin.url", str(bare))
    git(laptop, "config", "remote.origin.pushurl", "file://" + str(evil))
    with pytest.raises(AgentError, match="which only the agent's own"):
        laptop.sync()
    git(laptop, "config", "--unset", "remote.origin.pushurl")
    assert laptop.sync().given == 1  # that one its person has named


def test_commands_of_the_agents_own_config_do_not_run(
    machines: Machines, bare: Path, tmp_path: Path
) -> None:
    laptop, _ = machines()
    trap, mark = tmp_path / "trap", tmp_path / "mark"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    trap.chmod(0o755)
    elsewhere = tmp_path / "elsewhere.git"
    subprocess.run(["git", "init", "-q", "--bare", str(elsewhere)], check=True)
    for key, value in {
        "core.sshCommand": str(trap),
        "core.gitProxy": str(trap),
        "core.askPass": str(trap),
        "core.alternateRefsCommand": str(trap),
        "credential.helper": f"!{trap}",
        "remote.origin.uploadpack": str(trap),
        "remote.origin.receivepack": str(trap),
        "remote.origin.vcs": "ext",
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
        f"url.{elsewhere}.insteadOf": str(bare),
        f"url.ext::{trap}.pushInsteadOf": str(bare),
        "push.gpgSign": "true",
        "gpg.program": str(trap),
        "http.proxy": "http://127.0.0.1:9",
        "transfer.credentialsInUrl": "die",
    }.items():
        git(laptop, "config", key, value)
    laptop.chat("Hello.")
    done = laptop.sync()
    assert done.given == 1
    assert git(bare, "rev-parse", "main").strip() == done.commit
    assert git(elsewhere, "for-each-ref") == ""
    for place in ("ssh://git@127.0.0.1:9/x", "http://127.0.0.1:9/x", "git://127.0.0.1:9/x"):
        with pytest.raises(StoreError, match="cannot be reached"):
            laptop.sync(place)
    assert not mark.exists()
    # The person's own count, and so do the agent's once it is allowed.
    git(laptop, "config", "--global", "core.sshCommand", str(trap))
    with pytest.raises(StoreError, match="cannot be reached"):
        laptop.sync("ssh://git@127.0.0.1:9/x")
    assert mark.exists()


def test_of_an_allowed_agent_its_configuration_counts(
    machines: Machines, bare: Path, tmp_path: Path
) -> None:
    laptop, _ = machines()
    mark = tmp_path / "mark"
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\ntouch {mark}\nexec git-upload-pack "$@"\n')
    trap.chmod(0o755)
    git(laptop, "config", "remote.origin.uploadpack", str(trap))
    laptop.chat("Hello.")
    laptop.sync()
    assert not mark.exists()
    invoke("allow", laptop.root)
    again = Agent.open(laptop.root, ScriptedClient(["Hi."]))
    again.chat("Hello again.")
    assert again.sync().given == 1
    assert mark.exists()
    assert git(bare, "log", "-n1", "--format=%s", "main") == "turn: Hello again.\n"
    assert "refs/fsagent" not in git(again, "for-each-ref")
    again.close()


def test_what_is_no_sound_history_is_not_taken(machines: Machines, bare: Path) -> None:
    laptop, desktop = machines()
    blob = git(desktop, "hash-object", "-w", "agent.yaml").strip()
    tree = subprocess.run(
        ["git", "-C", str(desktop.root), "mktree"],
        input=f"100644 blob {blob}\t.git\n".encode(),
        capture_output=True,
    )
    assert tree.returncode == 0
    commit = git(desktop, "commit-tree", "-p", "HEAD", "-m", "evil", tree.stdout.decode().strip())
    git(desktop, "push", "-q", "origin", f"{commit.strip()}:main")
    head = laptop.store.repo.head()
    with pytest.raises(StoreError, match=r"cannot be reached .*(hasDotgit|fsck)"):
        laptop.sync()
    assert laptop.store.repo.head() == head
