"""Undo and the files themselves: folders in their place, and large ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from fsagent import Agent, call
from fsagent.cli.undo import show
from fsagent.errors import StoreError, UndoConflict

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
