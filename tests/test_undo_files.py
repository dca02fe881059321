"""Undo and the files themselves: folders in their place, and large ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from fsagent import Agent, call
from fsagent.cli import cli
from fsagent.cli.undo import show
from fsagent.errors import SecretRefused, StoreError, UndoConflict
from fsagent.history.undo import KeptError, NothingLeftError

from conftest import git


def put(agent: Agent, path: str, data: bytes) -> None:
    """What a person saves."""
    target = agent.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def files(agent: Agent) -> list[str]:
    return git(agent, "ls-files", "-co", "files").splitlines()


@pytest.mark.parametrize("way", ["fast", "slow"])
def test_a_file_that_became_a_folder_comes_back_and_goes_again(sarah: Agent, way: str) -> None:
    put(sarah, "files/x", b"a file\n")
    sarah.adopt()
    (sarah.root / "files/x").unlink()
    for name in ("files/x/y", "files/x/z/w"):
        put(sarah, name, b"in a folder\n")
    sarah.adopt()
    if way == "slow":
        git(sarah, "update-index", "--index-version", "4")
    sarah.undo()
    assert files(sarah) == ["files/x"]
    assert not git(sarah, "status", "--porcelain")
    sarah.undo()
    assert files(sarah) == ["files/x/y", "files/x/z/w"]
    assert not git(sarah, "status", "--porcelain")


def test_what_a_person_put_into_the_folder_is_in_the_way(sarah: Agent) -> None:
    put(sarah, "files/x", b"a file\n")
    sarah.adopt()
    (sarah.root / "files/x").unlink()
    put(sarah, "files/x/y", b"in a folder\n")
    sarah.adopt()
    put(sarah, "files/x/mine", b"mine\n")
    before = git(sarah, "rev-parse", "HEAD")
    with pytest.raises(StoreError, match=r"files/x is in the way.* move it away"):
        sarah.undo()
    assert files(sarah) == ["files/x/mine", "files/x/y"]
    assert git(sarah, "rev-parse", "HEAD") == before
    assert git(sarah, "status", "--porcelain") == "?? files/x/mine\n"


def test_a_file_in_the_place_of_a_folder_is_in_the_way(sarah: Agent) -> None:
    put(sarah, "files/x/y", b"in a folder\n")
    sarah.adopt()
    shutil.rmtree(sarah.root / "files/x")
    sarah.adopt()
    put(sarah, "files/x", b"a file\n")
    sarah.adopt()
    with pytest.raises(StoreError, match=r"files/x is in the way.* move it away"):
        sarah.undo("HEAD~1")
    assert files(sarah) == ["files/x"]


def test_it_is_said_where_no_line_says_what_it_took(
    sarah: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty file, the last line end: no line is there or gone."""
    put(sarah, "core/empty.md", b"")
    sarah.adopt()
    done = sarah.undo()
    assert done.lines == ()
    show(done)
    assert "  core/empty.md\n" in capsys.readouterr().out
    told = next(sarah.store.newest())
    assert told.content.startswith("Tim undid 'hand edit: core/empty.md' in core/empty.md:")


def test_the_files_of_a_turn_are_named(make: Callable[..., Agent]) -> None:
    agent = make(
        [
            call("core_memory_append", label="human", content="Likes tea."),
            call("core_memory_append", label="persona", content="I like tea."),
        ],
        "ok",
    )
    agent.undo(agent.chat("Tea!"))
    told = next(agent.store.newest()).content
    assert told.startswith("Tim undid 'turn: Tea!' in core/human.md, core/persona.md:")


def rename(agent: Agent, old: str, new: str) -> None:
    """What a person does with git mv; the next turn commits it."""
    git(agent, "mv", old, new)
    agent.adopt()


def test_a_renamed_note_is_taken_back_under_its_new_name(sarah: Agent) -> None:
    note = sarah.notes.add("Tim likes tea.")
    made = sarah.log()[0].commit
    rename(sarah, note.path, "archival/r.md")
    rename(sarah, "archival/r.md", "archival/tea.md")
    done = sarah.undo(made)
    assert done.paths == ("archival/tea.md",)
    assert not list(sarah.notes)
    assert sarah.undo().paths == ("archival/tea.md",)
    assert [one.text for one in sarah.notes] == ["Tim likes tea."]


def test_a_renamed_file_is_merged_under_its_new_name(sarah: Agent) -> None:
    sarah.blocks["human"] = "Name: Tim\nLikes tea.\nHas a cat.\nLives in Ghent."
    made = sarah.log()[0].commit
    sarah.blocks["human"] = "Name: Tim\nLikes tea.\nHas a big cat.\nLives in Ghent."
    rename(sarah, "core/human.md", "core/user.md")
    sarah.blocks["user"] = f"{sarah.blocks['user'].text}\nSings."
    with pytest.raises(UndoConflict, match=r"core/user.md, line \d+"):
        sarah.undo(made)
    sarah.undo(made, side="ours")
    assert sarah.blocks["user"].text == "Name: Tim\nHas a big cat.\nSings."
    assert list(sarah.blocks) == ["persona", "user"]


def test_the_rename_itself_is_taken_back(sarah: Agent) -> None:
    rename(sarah, "core/human.md", "core/user.md")
    sarah.undo()
    assert sorted(sarah.blocks) == ["human", "persona"]


@pytest.mark.parametrize("path", ["core/human.md", "archival/a.md"])
@pytest.mark.parametrize("again", [False, True])
def test_a_renamed_file_goes_back_with_what_was_edited_since(
    sarah: Agent, path: str, again: bool
) -> None:
    head = b"---\nid: 01kxk2e9dgpy5psvnh\nlimit: 2000\n---\n\n"
    put(sarah, path, head + b"Berth nine.\nIn Ghent.\n")
    sarah.adopt()
    (sarah.root / path).unlink()
    name = path.replace("human", "b").replace("/a", "/b")
    put(sarah, name, head + b"Berth nine.\nIn Antwerp.\n")
    renamed = sarah.adopt()[-1].commit
    put(sarah, name, head + b"Berth ten.\nIn Antwerp.\n")
    sarah.adopt()
    if again:
        rename(sarah, name, name := name.replace("/b", "/c"))
    done = sarah.undo(renamed)
    assert sorted(done.paths) == sorted([path, name])
    assert not (sarah.root / name).exists()
    assert sarah.store.read(path) == head + b"Berth ten.\nIn Ghent.\n"
    with pytest.raises(NothingLeftError):
        sarah.undo(renamed)
    sarah.undo()
    assert not (sarah.root / path).exists()
    assert sarah.store.read(name) == head + b"Berth ten.\nIn Antwerp.\n"


def test_a_file_that_has_the_old_name_by_now_is_in_the_way(sarah: Agent) -> None:
    rename(sarah, "core/human.md", "core/user.md")
    renamed = sarah.log()[0].commit
    sarah.blocks["user"] = "Name: Tim\nHas a dog."
    moved = sarah.store.read("core/user.md")
    put(sarah, "core/human.md", b"Another block.\n")
    sarah.adopt()
    with pytest.raises(UndoConflict, match=r"core/human.md; Tim") as error:
        sarah.undo(renamed)
    assert [one.path for one in error.value.clashes] == ["core/human.md"]
    with pytest.raises(KeptError):
        sarah.undo(renamed, side="ours")
    assert sarah.store.read("core/user.md") == moved
    sarah.undo(renamed, side="theirs")
    assert sarah.store.read("core/human.md") == moved
    assert "user" not in sarah.blocks


def test_a_renamed_file_that_is_gone_by_now_stays_gone(sarah: Agent) -> None:
    rename(sarah, "core/human.md", "core/user.md")
    renamed = sarah.log()[0].commit
    git(sarah, "rm", "-q", "core/user.md")
    sarah.adopt()
    with pytest.raises(NothingLeftError):
        sarah.undo(renamed)


def test_a_turn_that_edited_and_renamed_is_taken_back(sarah: Agent) -> None:
    """A name that a file gets back in between is no way in a circle."""
    sarah.blocks["human"] = "Name: Tim\nHas a dog."
    edit = sarah.log()[0].commit
    rename(sarah, "core/human.md", "core/user.md")
    first = sarah.log()[0].commit
    rename(sarah, "core/user.md", "core/human.md")
    rename(sarah, "core/human.md", "core/me.md")
    sarah.undo(first)
    assert sorted(sarah.blocks) == ["human", "persona"]
    sarah.undo(edit)
    assert sarah.blocks["human"].text == "Name: Tim"


def test_a_text_in_another_encoding_is_merged_and_keeps_its_bytes(sarah: Agent) -> None:
    put(sarah, "files/l.txt", "é\n".encode("latin-1"))
    sarah.adopt()
    put(sarah, "files/l.txt", "é\nà la carte\n".encode("latin-1"))
    sarah.adopt()
    put(sarah, "files/l.txt", "é\nà la carte\nü\n".encode("latin-1"))
    sarah.adopt()
    done = sarah.undo("HEAD~1")
    assert (sarah.root / "files/l.txt").read_bytes() == "é\nü\n".encode("latin-1")
    assert done.lines == ("-\ufffd la carte",)
    put(sarah, "files/l.txt", "é\nö\n".encode("latin-1"))
    sarah.adopt()

    def edit(path: str, text: str) -> str:
        raise AssertionError("an editor would not give the bytes back")

    for resolve in (None, edit):
        with pytest.raises(UndoConflict) as clash:
            sarah.undo("HEAD~2", resolve=resolve)
        assert str(clash.value).endswith(
            "with --ours or put back what was there before with --theirs."
        )
        assert clash.value.clashes[0].made == "\ufffd\n"


# ── renames that are no rename for Git ────────────────────────────────────────────────────────


def note(agent: Agent) -> tuple[str, str]:
    """A note, a line longer since; the commit that made it and the one of the line."""
    path = agent.notes.add("Tim likes tea.").path
    put(agent, path, agent.store.read(path) + b"Black tea.\n")
    return path, agent.adopt()[0].commit


def test_a_rename_that_is_not_committed_is_followed(sarah: Agent) -> None:
    path, line = note(sarah)
    for number, rename in enumerate(
        (
            lambda old, new: git(sarah, "mv", old, new),
            lambda old, new: (sarah.root / old).rename(sarah.root / new),
        )
    ):
        new = f"archival/r{number}.md"
        rename(path, new)
        done = sarah.undo(line) if number == 0 else sarah.undo()
        assert done.paths == (new,)
        assert done.lines == (("-" if number == 0 else "+") + "Black tea.",)
        assert git(sarah, "status", "--porcelain") == ""
        changed = git(sarah, "show", "--format=", "--name-status", "-M", "HEAD~1")
        assert changed == f"R100\t{path}\t{new}\n"
        assert len(list(sarah.notes)) == 1
        path = new


def test_a_rename_that_was_edited_and_is_not_committed_is_followed(sarah: Agent) -> None:
    sarah.blocks["human"] = "Name: Tim\nLikes tea.\nHas a cat.\nLives in Ghent."
    made = sarah.log()[0].commit
    data = sarah.store.read("core/human.md")
    (sarah.root / "core/human.md").unlink()
    put(sarah, "core/user.md", data + b"Sings.\n")
    assert sarah.undo(made).paths == ("core/user.md",)
    assert sarah.blocks["user"].text == "Name: Tim\nSings."
    assert "human" not in sarah.blocks


def test_a_clash_in_a_renamed_file_says_who_edited_it(sarah: Agent) -> None:
    path, line = note(sarah)
    put(sarah, path, sarah.store.read(path).replace(b"Black", b"Green"))
    edit = sarah.adopt()[0].commit
    sarah.undo()
    sarah.undo()
    git(sarah, "mv", path, "archival/r.md")
    with pytest.raises(UndoConflict) as error:
        sarah.undo(line)
    assert error.value.clashes[0].path == "archival/r.md"
    assert error.value.clashes[0].commit == edit
    assert git(sarah, "status", "--porcelain").startswith("R ")


@pytest.mark.parametrize("order", ["gone first", "come first", "as staged"])
@pytest.mark.parametrize("between", [False, True])
def test_a_note_that_was_renamed_in_two_commits_is_known_by_its_id(
    sarah: Agent, order: str, between: bool
) -> None:
    path, line = note(sarah)
    data, new = sarah.store.read(path), "archival/r.md"

    def pause() -> None:
        sarah.adopt()
        for number in range(3 if between else 0):
            sarah.notes.add(f"Note {number}.")

    if order == "gone first":
        (sarah.root / path).unlink()
        pause()
        put(sarah, new, data + b"It is old.\n")
    elif order == "come first":
        put(sarah, new, data + b"It is old.\n")
        pause()
        (sarah.root / path).unlink()
    else:
        put(sarah, new, data)
        git(sarah, "add", new)
        put(sarah, new, data + b"It is old.\n")
        (sarah.root / path).unlink()
    pause()
    done = sarah.undo(line)
    assert (done.paths, done.lines) == ((new,), ("-Black tea.",))
    assert sarah.undo().lines == ("+Black tea.",)
    assert sarah.undo(line).lines == ("-Black tea.",)
    assert sarah.store.read(new) == data.replace(b"Black tea.\n", b"It is old.\n")


@pytest.mark.parametrize("first", ["gone", "come"])
def test_a_block_that_was_renamed_in_two_commits_is_known_by_its_bytes(
    sarah: Agent, first: str
) -> None:
    sarah.blocks["human"] = "Name: Tim\nLikes tea.\nHas a cat."
    made = sarah.log()[0].commit
    data = sarah.store.read("core/human.md")
    for step in (first, "come" if first == "gone" else "gone"):
        if step == "gone":
            (sarah.root / "core/human.md").unlink()
        else:
            put(sarah, "core/user.md", data)
        sarah.adopt()
    put(sarah, "core/user.md", data + b"Sings.\n")
    done = sarah.undo(made)
    assert (done.paths, done.told) == (("core/user.md",), ())
    assert sarah.blocks["user"].text == "Name: Tim\nSings."


def test_what_may_be_a_rename_is_said_and_left_alone(sarah: Agent) -> None:
    sarah.blocks["human"] = "Name: Tim\nLikes tea.\nHas a cat."
    made = sarah.log()[0].commit
    data = sarah.store.read("core/human.md")
    (sarah.root / "core/human.md").unlink()
    sarah.adopt()
    put(sarah, "core/user.md", data + b"Sings.\n")
    sarah.adopt()
    said = "core/user.md, which came about then, is much like it"
    with pytest.raises(UndoConflict, match=said):
        sarah.undo(made)
    put(sarah, "files/x.txt", data)
    sarah.adopt()
    made = sarah.log()[0].commit
    (sarah.root / "files/x.txt").unlink()
    sarah.adopt()
    put(sarah, "files/y.txt", data + b"Sings.\n")
    sarah.adopt()
    with pytest.raises(StoreError, match=r"^Nothing of 'hand edit: files/x.txt' is left .*files/y"):
        sarah.undo(made)


def test_another_note_is_not_taken_for_a_renamed_one(sarah: Agent) -> None:
    """For Git it is much the same: the front matter is most of a note."""
    path = sarah.notes.add("Likes tea.").path
    made = sarah.log()[0].commit
    data = sarah.store.read(path)
    (sarah.root / path).unlink()
    other = sarah.notes.add("Likes milk.")
    put(sarah, "archival/other.md", data.replace(b"id: ", b"id: x").replace(b"tea", b"milk"))
    sarah.adopt()
    assert git(sarah, "show", "--format=", "--name-status", "-M").startswith("R")
    with pytest.raises(StoreError, match=r"Nothing of 'note: Likes tea.' is left") as error:
        sarah.undo(made)
    assert "much like it" not in str(error.value)
    assert [note.text for note in sarah.notes] == [other.text, "Likes milk."]


# ── keys in what was edited by hand ───────────────────────────────────────────────────────────

TOKEN = "ghp_aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC2"


def test_a_key_in_a_hand_edit_that_an_undo_commits_is_named(sarah: Agent) -> None:
    human = sarah.root / "core/human.md"
    human.write_text(human.read_text() + "Likes tea.\n")
    sarah.adopt()
    human.write_text(human.read_text() + "Plays go.\n")
    last = sarah.adopt()[-1].commit
    human.write_text(human.read_text().replace("Likes tea.", f"Likes tea. {TOKEN}"))
    run = CliRunner().invoke(cli, ["undo", str(sarah.root), last])
    assert run.exit_code == 0, run.output
    assert TOKEN in human.read_text()
    assert "this looks like a GitHub token (ghp_a…), and it is in Git now" in run.stderr
    assert "fsagent purge" in run.stderr
    assert TOKEN not in "".join(path.read_text() for path in sarah.root.glob("recall/*/*/*"))


def test_what_was_named_before_is_not_named_again(sarah: Agent) -> None:
    human = sarah.root / "core/human.md"
    human.write_text(f"{human.read_text()}{TOKEN}\n")
    sarah.adopt()
    assert any("GitHub token" in one for one in sarah.store.warnings)
    assert sarah.undo().told == ()


def test_a_token_that_is_in_git_anyway_comes_back_and_is_named(sarah: Agent) -> None:
    human = sarah.root / "core/human.md"
    human.write_text(f"{human.read_text()}Key {TOKEN}\n")
    sarah.adopt()
    known = human.read_bytes()
    sarah.undo()
    assert TOKEN not in human.read_text()
    run = CliRunner().invoke(cli, ["undo", str(sarah.root), "--last"])
    assert run.exit_code == 0, run.output
    assert human.read_bytes() == known
    assert "this looks like a GitHub token (ghp_a…), and it is in Git now" in run.stderr
    assert "fsagent purge" in run.stderr
    assert TOKEN not in "".join(path.read_text() for path in sarah.root.glob("recall/*/*/*"))


def test_a_token_that_is_typed_while_an_undo_is_decided_is_refused(sarah: Agent) -> None:
    human = sarah.root / "core/human.md"
    human.write_text("Name: Tim\nLikes tea.\n")
    target = sarah.adopt()[-1].commit
    human.write_text("Name: Tim\nLikes green tea.\n")
    head = sarah.adopt()[-1].commit
    with pytest.raises(SecretRefused, match="Nothing was written"):
        sarah.undo(target, resolve=lambda path, text: f"Name: Tim\nKey {TOKEN}\n")
    assert git(sarah, "rev-parse", "HEAD").strip() == head
    assert human.read_text() == "Name: Tim\nLikes green tea.\n"
