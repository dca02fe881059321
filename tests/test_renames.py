"""A file that one side renamed and the other one went on with is one file when they meet."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fsagent import Agent
from fsagent.errors import StoreError
from fsagent.history.join import Joined, Side, join
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import git

Files = dict[str, bytes | None]

TEXT = "The boiler is old.\nIt hums at night.\nThe plumber is Ann.\nShe comes on Mondays.\n"


def note(ident: str, text: str = TEXT) -> bytes:
    return f"---\nid: {ident}\ncreated: 2026-11-21T09:30:00Z\ntags: []\n---\n\n{text}".encode()


class Sides:
    """A repository in which two branches go on from one commit."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.start = git(agent, "rev-parse", "HEAD").strip()

    def commit(self, parent: str, files: Files, modes: dict[str, int] | None = None) -> str:
        """A commit on top of ``parent``, made without a process of its own for each file."""
        lines = [b"commit refs/heads/side\ncommitter a <a@b> 1795253400 +0000\ndata 1\nx\n"]
        lines.append(b"from %s\n" % parent.encode())
        for path, data in files.items():
            if data is None:
                lines.append(b"D %s\n" % path.encode())
            else:
                mode = (modes or {}).get(path, 0o100644)
                lines.append(b"M %o inline %s\ndata %d\n" % (mode, path.encode(), len(data)))
                lines.append(data + b"\n")
        command = ["git", "-C", str(self.agent.root), "fast-import", "--quiet", "--force"]
        subprocess.run(command, input=b"".join(lines), check=True)
        return git(self.agent, "rev-parse", "side").strip()

    def join(self, one: str, two: str) -> tuple[Files, Joined]:
        """The files after the merge, and what the merge says; it is the same both ways."""
        sides = Side(one, "laptop"), Side(two, "desktop")
        found = [self._join(*sides), self._join(*sides[::-1])]
        assert found[0][0] == found[1][0]
        assert found[0][1].clashes == found[1][1].clashes
        return found[0]

    def _join(self, ours: Side, theirs: Side) -> tuple[Files, Joined]:
        repo = self.agent.store.repo
        joined = join(repo, ours, theirs)
        files: Files = {path: repo.read(b.oid) for path, b in repo.files(ours.commit).items()}
        assert {path: files.get(path) for path in joined.heads} == {
            path: repo.read(blob.oid) if blob else None for path, blob in joined.heads.items()
        }
        files |= {path: joined.data(repo, path) for path in joined.heads}
        return {path: data for path, data in files.items() if data is not None}, joined

    def meet(self, base: Files, one: Files, two: Files) -> tuple[Files, list[str]]:
        """What becomes of the files of ``base`` when each side has changed some of them."""
        start = self.commit(self.start, base)
        before = set(self.agent.store.repo.files(self.start))
        files, joined = self.join(self.commit(start, one), self.commit(start, two))
        return {path: data for path, data in files.items() if path not in before}, joined.clashes


@pytest.fixture
def sides(make: Callable[..., Agent]) -> Sides:
    return Sides(make())


OLD, NEW, OTHER = "archival/2026/11/boiler-n1.md", "archival/house/heating.md", "archival/other.md"


def test_an_edit_gets_into_the_note_that_was_renamed(sides: Sides) -> None:
    edit = TEXT.replace("Mondays", "Tuesdays")
    files, told = sides.meet(
        {OLD: note("n1")}, {OLD: None, NEW: note("n1")}, {OLD: note("n1", edit)}
    )
    assert (files, told) == ({NEW: note("n1", edit)}, [])
    # And one that was edited on the way.
    rewritten = TEXT.replace("old", "new")
    both = rewritten.replace("Mondays", "Tuesdays")
    files, told = sides.meet(
        {OLD: note("n1")}, {OLD: None, NEW: note("n1", rewritten)}, {OLD: note("n1", edit)}
    )
    assert (files, told) == ({NEW: note("n1", both)}, [])


def test_the_id_says_which_note_it_is_whatever_stands_in_it(sides: Sides) -> None:
    files, told = sides.meet(
        {OLD: note("n1", "One line.\n")},
        {OLD: None, NEW: note("n1", "Nothing of it is left.\n"), OTHER: note("n2", "One line.\n")},
        {OLD: note("n1", "One line.\nAnd another one.\n")},
    )
    assert set(files) == {NEW, OTHER}
    assert b"And another one." in (files[NEW] or b"")
    assert files[OTHER] == note("n2", "One line.\n")
    # One that is much like it and has another id is another note.
    files, told = sides.meet(
        {OLD: note("n1")}, {OLD: None, OTHER: note("n2")}, {OLD: note("n1", TEXT + "More.\n")}
    )
    assert set(files) == {OLD, OTHER}
    assert told == [
        f"{OLD}: laptop deleted it, desktop changed it: it stays, as desktop has it",
    ]


def test_words_do_not_get_into_a_note_that_took_the_place_of_theirs(sides: Sides) -> None:
    old, new = note("aaaaaa"), note("bbbbbb", "The new boat lies in Antwerp.\n")
    files, clashes = sides.meet(
        {"archival/boat.md": old},
        {"archival/boat-2025.md": old, "archival/boat.md": new},
        {"archival/boat.md": old + b"It leaks.\n"},
    )
    assert files == {"archival/boat-2025.md": old + b"It leaks.\n", "archival/boat.md": new}
    assert clashes == []


def test_words_get_into_their_note_where_two_notes_changed_their_names(sides: Sides) -> None:
    one, two = note("aaaaaa"), note("bbbbbb", "The new boat lies in Antwerp.\n")
    files, clashes = sides.meet(
        {"archival/a.md": one, "archival/b.md": two},
        {"archival/a.md": two, "archival/b.md": one},
        {"archival/a.md": one + b"It leaks.\n"},
    )
    assert files == {"archival/a.md": two, "archival/b.md": one + b"It leaks.\n"}
    assert clashes == []


def test_where_each_side_put_a_note_in_its_place_both_stay(sides: Sides) -> None:
    old, one, two = (note(name * 6, f"About {name}.\n") for name in "abc")
    files, clashes = sides.meet(
        {"archival/a.md": old},
        {"archival/a.md": one, "archival/x.md": old},
        {"archival/a.md": two, "archival/y.md": old},
    )
    assert sorted(files.values(), key=bytes) == [old, one, two]
    assert files["archival/x.md"] == old
    assert len(clashes) == 2


def test_a_note_that_was_exchanged_for_another_one_stays_beside_it(sides: Sides) -> None:
    old, new = note("aaaaaa"), note("bbbbbb", "The new boat lies in Antwerp.\n")
    files, clashes = sides.meet(
        {"archival/a.md": old},
        {"archival/a.md": new},
        {"archival/a.md": old + b"It leaks.\n"},
    )
    assert sorted(files.values(), key=bytes) == [old + b"It leaks.\n", new]
    assert "archival/a.md" in files
    assert ["both versions stay" in said for said in clashes] == [True]


def test_a_block_is_followed_by_what_is_in_it(sides: Sides) -> None:
    block, new = "core/home.md", "core/house/all.md"
    files, told = sides.meet(
        {block: TEXT.encode()},
        {block: None, new: (TEXT + "The key is under the mat.\n").encode()},
        {block: TEXT.replace("old", "new").encode()},
    )
    assert told == []
    assert files == {new: (TEXT.replace("old", "new") + "The key is under the mat.\n").encode()}


def test_where_both_renamed_it_there_is_one_and_that_is_told(sides: Sides) -> None:
    edit = note("n1", TEXT + "More.\n")
    files, told = sides.meet({OLD: note("n1")}, {OLD: None, NEW: edit}, {OLD: None, OTHER: edit})
    assert files == {NEW: edit}
    assert told == [f"{NEW}: it was {OLD}; desktop calls it {OTHER}, laptop calls it {NEW}"]
    # To the same name: no question, and the base is that of the old name.
    other = note("n1", TEXT.replace("old", "new"))
    files, told = sides.meet({OLD: note("n1")}, {OLD: None, NEW: edit}, {OLD: None, NEW: other})
    assert (files, told) == ({NEW: note("n1", TEXT.replace("old", "new") + "More.\n")}, [])


def test_what_one_side_renamed_and_the_other_deleted_stays(sides: Sides) -> None:
    files, told = sides.meet({OLD: note("n1")}, {OLD: None, NEW: note("n1")}, {OLD: None})
    assert files == {NEW: note("n1")}
    assert told == [f"{NEW}: desktop deleted {OLD}, laptop renamed it: it stays"]


def test_a_name_that_the_other_side_gave_to_something_else_is_not_followed(sides: Sides) -> None:
    edit = note("n1", TEXT + "More.\n")
    files, told = sides.meet(
        {OLD: note("n1")}, {OLD: None, OTHER: note("n1")}, {OLD: edit, OTHER: b"\0no note"}
    )
    assert files.pop(OLD) == edit
    assert sorted(files.values(), key=str) == sorted((note("n1"), b"\0no note"), key=str)
    assert len(told) == 2


def test_a_segment_that_was_renamed_loses_no_edit_and_no_record(sides: Sides) -> None:
    def segment(*records: tuple[int, str]) -> bytes:
        lines = [
            {"id": f"r{n}", "ts": f"2026-11-21T09:30:0{n}Z", "role": "user", "content": text}
            for n, text in records
        ]
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()

    old, new = "recall/2026/11/21-a.jsonl", "recall/2026/11/22-b.jsonl"
    base = [(number, f"Message {number}, as it was said.") for number in range(1, 6)]
    edited = [*base[:2], (3, "Another message."), *base[3:], (6, "And a new one.")]
    files, told = sides.meet(
        {old: segment(*base)}, {old: None, new: segment(*base[1:])}, {old: segment(*edited)}
    )
    assert (files, told) == ({new: segment(*edited[1:])}, [])


def test_other_files_keep_what_they_may(sides: Sides) -> None:
    start = sides.commit(sides.start, {"run.sh": TEXT.encode()})
    edit = TEXT.replace("old", "new").encode()
    one = sides.commit(start, {"run.sh": None, "bin/run.sh": TEXT.encode()})
    two = sides.commit(start, {"run.sh": edit}, {"run.sh": 0o100755})
    files, joined = sides.join(one, two)
    assert files["bin/run.sh"] == edit
    assert "run.sh" not in files
    blob = joined.taken["bin/run.sh"]
    assert blob
    assert blob.mode == 0o100755


def test_a_link_with_the_name_is_refused(sides: Sides) -> None:
    start = sides.commit(sides.start, {OLD: note("n1")})
    one = sides.commit(start, {OLD: None, NEW: OTHER.encode()}, {NEW: 0o120000})
    two = sides.commit(start, {OLD: note("n1", "Edited.\n"), NEW: b"x\n"})
    with pytest.raises(StoreError, match="is a link or a repository of its own"):
        sides.join(one, two)


PATHS = ["archival/a.md", "archival/b.md", "core/c.md", "files/d.txt", "core/e.md"]


@st.composite
def changes(draw: st.DrawFn) -> Files:
    """What a side has made of the files: some renamed, edited, deleted."""
    done: Files = {}
    for number, path in enumerate(PATHS):
        text = TEXT + f"This is file number {number}.\n"
        match draw(st.sampled_from(["stays", "stays", "rename", "edit", "both", "delete"])):
            case "stays":
                continue
            case "delete":
                done[path] = None
                continue
            case "edit" as what:
                name = path
            case what:
                folder, _, name = path.rpartition("/")
                name = f"{folder}/{draw(st.sampled_from(['x', 'y']))}-{name}"
                done[path] = None
        if what != "rename":
            text = draw(st.sampled_from([text + "More.\n", text.replace("Ann", "Bob")]))
        done[name] = note(f"n{number}", text) if path.startswith("archival/") else text.encode()
    return done


@pytest.fixture
def meeting(make: Callable[..., Agent], tmp_path: Path) -> tuple[Sides, str]:
    found = Sides(make(directory=tmp_path / "random"))
    files = {
        path: note(f"n{n}", text) if path.startswith("archival/") else text.encode()
        for n, path in enumerate(PATHS)
        for text in [TEXT + f"This is file number {n}.\n"]
    }
    return found, found.commit(found.start, files)


@given(one=changes(), two=changes())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_file_is_there_twice_and_no_edit_is_lost(
    meeting: tuple[Sides, str], one: Files, two: Files
) -> None:
    sides, start = meeting
    files, joined = sides.join(sides.commit(start, one), sides.commit(start, two))
    for number, path in enumerate(PATHS):
        mark = f"This is file number {number}.".encode()
        there = [name for name, data in files.items() if data and mark in data]
        gone = [path in side and not (side[path] or _name(side, path)) for side in (one, two)]
        kept = [path in side and not lost for side, lost in zip((one, two), gone, strict=True)]
        assert len(there) == (any(kept) or not any(gone)), (path, there, joined.clashes)
        if len(there) == 1:
            data = files[there[0]] or b""
            for side in (one, two):
                text = side.get(_name(side, path) or path) or b""
                assert b"More." not in text or b"More." in data
                assert b"Bob" not in text or b"Bob" in data


def _name(side: Files, path: str) -> str | None:
    """The new name that a side gave to a file."""
    folder, _, name = path.rpartition("/")
    return next((p for x in "xy" if (p := f"{folder}/{x}-{name}") in side), None)
