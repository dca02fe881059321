"""What a person changes by hand: committed as theirs, never swept in, never lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError

from conftest import git, script, subjects

Make = Callable[..., Agent]


def write(agent: Agent, path: str, text: str | bytes) -> None:
    target = agent.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_an_edit_between_two_turns_is_seen_and_is_the_persons(make: Make) -> None:
    agent = make("Hello.", "A cat!")
    agent.chat("hi")
    write(agent, "core/human.md", "Name: Tim\nCat: Ada\n")
    turn = agent.chat("what do you know?")

    log = agent.log(limit=3)
    assert [(c.author, c.subject) for c in log[:2]] == [
        ("sarah", "turn: what do you know?"),
        ("Tim", "hand edit: core/human.md"),
    ]
    assert {c.author for c in log} == {"sarah", "Tim"}
    assert turn.commits == (log[1].commit, log[0].commit)
    sent = agent.client.prompts[-1].messages  # type: ignore[attr-defined]
    assert "Cat: Ada" in sent[0]["content"]
    assert "<event>Tim edited core/human.md by hand:" in sent[-1]["content"]
    assert "+Cat: Ada" in sent[-1]["content"]


@pytest.mark.parametrize("staged", ["all", "the new name"])
def test_a_note_that_was_renamed_and_then_edited_keeps_its_authors(make: Make, staged: str) -> None:
    agent = make(call("archival_memory_insert", content="The boat.\nBerth nine."), "ok", "ok")
    agent.chat("The boat has berth nine.")
    (note,) = agent.notes
    wrote = agent.log()[1].commit
    (agent.root / note.path).rename(agent.root / "archival/boat.md")
    git(agent, "add", "-A" if staged == "all" else "archival/boat.md")
    text = (agent.root / "archival/boat.md").read_text()
    write(agent, "archival/boat.md", text.replace("nine", "ten"))
    agent.chat("hi")
    assert subjects(agent)[2] == "hand edit: archival/boat.md (as staged)"
    assert git(agent, "status", "--porcelain") == ""
    [boat] = agent.why("The boat.")
    assert boat.commit
    assert boat.commit.commit == wrote
    assert boat.message
    [berth] = agent.why("Berth ten.")
    assert berth.commit
    assert berth.commit.tool is None


def test_only_the_agents_own_kinds_of_file_are_taken(make: Make) -> None:
    agent = make("ok")
    for path in (
        "core/new.md",
        "core/projects/alpha.md",
        "archival/by-hand.md",
        "files/report.txt",
    ):
        write(agent, path, "text\n")
    others = [
        "todo.txt",
        "core/x.txt",
        "core/.hidden.md",
        "core/a.md~",
        "core/#a.md#",
        "core/b.swp",
    ]
    for path in others:
        write(agent, path, "text\n")
    write(agent, ".gitignore", "ignored.md\n")
    write(agent, "core/ignored.md", "text\n")
    agent.chat("hi")

    assert agent.log()[1].paths == (
        "archival/by-hand.md",
        "core/new.md",
        "core/projects/alpha.md",
        "files/report.txt",
    )
    left = git(agent, "status", "--porcelain", "-uall", "-z").split("\0")[:-1]
    assert sorted(left) == sorted(f"?? {path}" for path in [".gitignore", *others])
    assert list(agent.blocks) == ["persona", "human", "ignored", "new", "projects/alpha"]


def test_what_is_staged_or_edited_elsewhere_stays_as_it_is(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content="x"), "ok")
    write(agent, "notes.txt", "staged\n")
    git(agent, "add", "notes.txt")
    write(agent, "notes.txt", "staged and edited\n")
    agent.chat("hi")
    assert git(agent, "status", "--porcelain") == "AM notes.txt\n"
    assert git(agent, "show", ":notes.txt") == "staged\n"
    assert "notes.txt" not in git(agent, "ls-tree", "-r", "--name-only", "HEAD")


def test_a_staged_version_and_a_later_edit_are_both_kept(make: Make) -> None:
    agent = make("ok")
    write(agent, "core/human.md", "staged\n")
    git(agent, "add", "core/human.md")
    write(agent, "core/human.md", "edited on\n")
    agent.chat("hi")
    assert subjects(agent)[1:3] == [
        "hand edit: core/human.md",
        "hand edit: core/human.md (as staged)",
    ]
    assert git(agent, "show", "HEAD~2:core/human.md") == "staged\n"
    assert git(agent, "show", "HEAD:core/human.md") == "edited on\n"
    assert git(agent, "status", "--porcelain") == ""


def test_a_staged_file_that_was_not_edited_on_is_one_commit(make: Make) -> None:
    agent = make("ok")
    write(agent, "core/dog.md", "Rex\n")
    git(agent, "add", "core/dog.md")
    agent.chat("hi")
    assert subjects(agent)[1] == "hand edit: core/dog.md"
    assert git(agent, "status", "--porcelain") == ""


def test_deleted_and_renamed_files(make: Make) -> None:
    agent = make("ok")
    write(agent, "core/a.md", "A\n")
    write(agent, "core/b.md", "B\n")
    agent.adopt()
    (agent.root / "core/a.md").unlink()
    git(agent, "mv", "core/b.md", "core/c.md")
    agent.chat("hi")
    assert subjects(agent)[1] == "hand edit: core/a.md and 2 more"
    assert list(agent.blocks) == ["persona", "human", "c"]
    assert git(agent, "status", "--porcelain") == ""


def test_staged_new_then_deleted(make: Make) -> None:
    agent = make("ok")
    write(agent, "core/a.md", "A\n")
    git(agent, "add", "core/a.md")
    (agent.root / "core/a.md").unlink()
    agent.chat("hi")
    assert subjects(agent)[1:3] == ["hand edit: core/a.md", "hand edit: core/a.md (as staged)"]
    assert git(agent, "status", "--porcelain") == ""


def test_intent_to_add(make: Make) -> None:
    agent = make("ok")
    write(agent, "core/a.md", "A\n")
    git(agent, "add", "-N", "core/a.md")
    agent.chat("hi")
    assert subjects(agent)[1] == "hand edit: core/a.md"
    assert git(agent, "status", "--porcelain") == ""


def test_an_edit_in_the_middle_of_a_turn_comes_first_and_is_told(make: Make) -> None:
    def edit(_: object) -> object:
        write(agent, "core/human.md", "Name: Tim\nBy hand.\n")
        return call("core_memory_append", label="human", content="By tool.")

    agent = make(edit, "ok")
    agent.chat("hi")
    assert subjects(agent)[1:3] == ["human: + By tool.", "hand edit: core/human.md"]
    assert agent.blocks["human"].text == "Name: Tim\nBy hand.\nBy tool."
    sent = agent.client.prompts[-1].messages  # type: ignore[attr-defined]
    assert "edited core/human.md by hand" in sent[-1]["content"]


def test_an_edit_between_reading_and_writing_is_never_overwritten(sarah: Agent) -> None:
    def append() -> None:
        with sarah.store.change("human: + x") as change:
            text = change.block("human").text
            write(sarah, "core/human.md", "Name: Tim\nBy hand.\n")
            change.set_block("human", f"{text}\nx")

    with pytest.raises(StoreError, match=r"core/human\.md was edited in this very moment"):
        append()
    assert sarah.blocks["human"].text == "Name: Tim\nBy hand."


def test_names_with_spaces_accents_and_newlines(make: Make) -> None:
    agent = make(call("core_memory_append", label="mes idées", content="une"), "ok")
    write(agent, "core/mes idées.md", "deux\n")
    write(agent, "core/cafe\u0301.md", "NFD\n")
    write(agent, "core/two\nlines.md", "odd\n")
    agent.chat("hi")
    assert agent.blocks["mes idées"].text == "deux\nune"
    assert agent.blocks["caf\u00e9"].text == "NFD"
    assert "two\nlines" in agent.blocks
    assert git(agent, "status", "--porcelain") == ""
    system = agent.client.prompts[-1].messages[0]["content"]  # type: ignore[attr-defined]
    assert '<block label="two lines"' in system


@pytest.mark.parametrize(
    ("raw", "value", "after"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo", b"one\r\ntwo\r\nthree\r\n"),
        (b"\xef\xbb\xbfone\n", "one", b"\xef\xbb\xbfone\nthree\n"),
        (b"one", "one", b"one\nthree\n"),
        (b"a\r\nb\nc\r\n", "a\nb\nc", b"a\r\nb\nc\r\nthree\r\n"),
        (
            b"---\nlimit: 50\nmood: 'calm' # kept\n---\n\none\n",
            "one",
            b"---\nlimit: 50\nmood: 'calm' # kept\n---\n\none\nthree\n",
        ),
        (b"---\nlimit: [\n---\none\n", "---\nlimit: [\n---\none", None),
        (b"---\njust a rule\n", "---\njust a rule", b"---\njust a rule\nthree\n"),
    ],
)
def test_files_as_people_write_them_are_used_and_kept(
    make: Make, raw: bytes, value: str, after: bytes | None
) -> None:
    agent = make(call("core_memory_append", label="x", content="three"), "ok")
    write(agent, "core/x.md", raw)
    assert agent.blocks["x"].text == value
    agent.chat("hi")
    assert (agent.root / "core/x.md").read_bytes() == (after or raw + b"three\n")


def test_bytes_that_are_not_utf8_are_shown_but_never_rewritten(make: Make) -> None:
    agent = make(call("core_memory_append", label="x", content="three"), "ok")
    write(agent, "core/x.md", b"fine\ncaf\xe9\n")
    turn = agent.chat("hi")
    assert "x.md is not UTF-8 text: save it as UTF-8" in turn.tool_calls[0].text
    assert "core/x.md, line 2: not UTF-8 text" in turn.warnings[0]
    assert (agent.root / "core/x.md").read_bytes() == b"fine\ncaf\xe9\n"


def test_a_hand_edit_over_the_limit_is_kept_and_may_only_shrink(make: Make) -> None:
    agent = make(
        call("core_memory_append", label="human", content="more"),
        call("memory_rethink", label="human", new_memory="y" * 2500),
        call("memory_rethink", label="human", new_memory="short"),
        "ok",
    )
    write(agent, "core/human.md", "x" * 3000 + "\n")
    turn = agent.chat("hi")
    assert [r.status for r in turn.tool_calls] == ["error", "success", "success"]
    assert agent.blocks["human"].text == "short"
    system = agent.client.prompts[0].messages[0]["content"]  # type: ignore[attr-defined]
    assert "3,000 of 2,000 characters: too long, shorten it" in system


def test_links_are_named_and_not_followed(make: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("the secret\n")
    agent = make(call("core_memory_append", label="link", content="x"), "ok")
    (agent.root / "core/link.md").symlink_to(secret)
    turn = agent.chat("hi")
    assert "core/link.md is not a plain file and is not read." in turn.warnings
    assert "There is no block 'link'" in turn.tool_calls[0].text
    assert secret.read_text() == "the secret\n"
    assert "secret" not in agent.context().render()

    (agent.root / "archival").symlink_to(tmp_path)
    assert list(agent.notes) == []
    with pytest.raises(StoreError, match="leads through a symbolic link"):
        agent.notes.add("x")


def test_plain_git_revert_of_a_tools_commit_is_followed(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content="Lives in Utrecht."), "Noted.")
    agent.chat("I moved to Utrecht.")
    assert agent.search("utrecht", kinds=("block",)).hits
    git(agent, "revert", "--no-edit", "HEAD~1")
    script(agent, "ok")
    agent.chat("where do I live?")
    sent = agent.client.prompts[0].messages  # type: ignore[attr-defined]
    assert "Utrecht" not in sent[0]["content"]
    assert not agent.search("utrecht", kinds=("block",)).hits
    assert "Utrecht" in git(agent, "diff", "HEAD~3", "HEAD~1", "--", "core")


def test_a_persons_commit_between_two_turns_is_followed(make: Make) -> None:
    agent = make("ok")
    write(agent, "core/human.md", "Name: Tam\n")
    git(agent, "commit", "-qam", "by hand")
    agent.chat("hi")
    assert subjects(agent)[:2] == ["turn: hi", "by hand"]
    assert "Name: Tam" in agent.context().render()


def test_hand_edited_recall_is_adopted_when_no_turn_is_live(make: Make) -> None:
    agent = make("hello", "ok")
    agent.chat("a secret word")
    (path,) = agent.store.segments()
    lines = (agent.root / path).read_text().splitlines(keepends=True)
    (agent.root / path).write_text(lines[1])
    assert agent.adopt() == []
    agent.chat("hi")
    assert subjects(agent)[1] == f"hand edit: {path}"
    assert "secret" not in agent.context().render().split("<event>")[0]


def test_an_empty_identity_gets_a_name(make: Make) -> None:
    (Path(os.environ["HOME"]) / ".gitconfig").write_text("")
    agent = make("ok")
    write(agent, "core/human.md", "x\n")
    agent.chat("hi")
    assert agent.log()[1].author == "someone"
    assert git(agent, "log", "-1", "--skip=1", "--format=%ae").strip() == "someone@localhost"
