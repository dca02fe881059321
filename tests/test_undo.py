"""Undo: exactly one change is taken back, and nothing of what came later."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from fsagent import Agent, call
from fsagent.errors import StoreError, UndoConflict
from fsagent.history.edits import merge_words
from fsagent.history.merge import take_back
from fsagent.history.undo import KeptError, NothingLeftError, step_back, step_forward

from conftest import git, script, subjects

HUMAN = "core/human.md"


def value(agent: Agent, label: str = "human") -> list[str]:
    return agent.blocks[label].text.split("\n")


def learn(agent: Agent, *lines: str) -> list[str]:
    """One turn, in which each line is appended by a call of its own; the commits' ids."""
    script(agent, [call("core_memory_append", label="human", content=x) for x in lines], "ok")
    return list(agent.chat("hear").commits)


def head(agent: Agent) -> str:
    return git(agent, "rev-parse", "HEAD").strip()


# ── merging ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "today", "undone"),
    [
        ("a\n", "a\nX\n", "a\nX\nY\n", "a\nY\n"),
        ("a\n", "X\na\n", "Y\nX\na\n", "Y\na\n"),
        ("a\nX\nb\n", "a\nb\n", "a\nN\nb\n", "a\nX\nN\nb\n"),
        ("a\nX\n", "a\n", "a\nY\n", "a\nX\nY\n"),
        ("", "X\n", "X\nY\n", "Y\n"),
        # inserted between two lines of the change
        ("a\n", "a\nX1\nX2\n", "a\nX1\nN\nX2\n", "a\nN\n"),
        # one of two lines has been removed since
        ("a\n", "a\nX1\nX2\n", "a\nX2\nN\n", "a\nN\n"),
        # other words of the same line
        ("Lives in Utrecht.\n", "Lives in Ghent.\n", "Lives in Ghent with Ada.\n", "Lives in Utrecht with Ada.\n"),
        ("one two three\n", "one 2 three\n", "1 2 3\n", "1 two 3\n"),
        # a line that was moved since is still the line that the change added
        ("a\nb\n", "a\nb\nX\n", "X\nb\na\nc\n", "b\na\nc\n"),
        # and a line that the change moved goes back with what it holds now
        ("a\nb\nc c\n", "c c\na\nb\n", "c c d\na\nb\ne\n", "a\nb\nc c d\ne\n"),
        # and a line that was moved and edited in one change, by the change or by a later one
        ("A b c d\nx\ny\n", "x\ny\nA b c e\n", "x\ny\nA b c e f\nz\n", "A b c d f\nx\ny\nz\n"),
        ("x\nA b c d\ny\n", "x\nA b c e\ny\n", "A b c e f\nx\ny\n", "A b c d f\nx\ny\n"),
        # bytes: line ends, the missing one at the end, front matter
        ("a\r\nb\r\n", "a\r\nX\r\nb\r\n", "a\r\nX\r\nb\r\nc\n", "a\r\nb\r\nc\n"),
        ("a\r\nb\r\n", "a\nb\n", "a\nb\nc\n", "a\r\nb\r\nc\n"),
        ("a", "a\nX\n", "n\na\nX\n", "n\na"),
        ("a", "a\nX\n", "a\nX\nY\n", "a\nY\n"),
        ("a\nb", "a\nX\nb", "a\nX\nb\nc", "a\nb\nc"),
        ("---\nlimit: 9\n---\n\na\n", "---\nlimit: 9\n---\n\na\nX\n", "---\nlimit: 8\nx: 1\n---\n\na\nX\nb\n", "---\nlimit: 8\nx: 1\n---\n\na\nb\n"),
        ("a\x0bb\u2028c\n", "a\x0bb\u2028c\nX\n", "a\x0bb\u2028c\nX\ny\n", "a\x0bb\u2028c\ny\n"),
    ],
)  # fmt: skip
def test_later_changes_stay(before: str, after: str, today: str, undone: str) -> None:
    merged = take_back([before, after, today])
    assert not merged.clashes
    assert merged.text("ours") == merged.text("theirs") == undone


@pytest.mark.parametrize(
    ("before", "after", "today", "ours", "theirs", "line"),
    [
        ("a\nLives in Utrecht.\n", "a\nLives in Ghent.\n", "N\na\nLives in Berlin.\n",
         "N\na\nLives in Berlin.\n", "N\na\nLives in Utrecht.\n", 3),
        ("a\n", "a\nLikes black tea.\n", "a\nLikes green tea.\nb\n",
         "a\nLikes green tea.\nb\n", "a\nb\n", 2),
        ("a\n", "a\nX\n", "b\na\nnothing like it\n", "b\na\nnothing like it\n", "b\na\n", 3),
        ("Likes tea.\nb\n", "Likes milk.\nb\n", "b\nc\n", "b\nc\n", "Likes tea.\nb\nc\n", 1),
        ("old\nb\n", "NEW\nb\n", "b\n", "b\n", "old\nb\n", 1),
        ("x\ny\n", "x\ny\nA b c d\n", "A b c e\nx\ny\n", "A b c e\nx\ny\n", "x\ny\n", 1),
        # the change moved and edited a line that has been deleted since
        ("A b c d\nx\ny\n", "x\ny\nA b c e\n", "x\nz\ny\n", "x\nz\ny\n", "A b c d\nx\nz\ny\n", 1),
        # two changes of the line, of which only one is in the way
        ("a b c d e\n", "A b c d E\n", "A b c d X\nz\n", "a b c d X\nz\n", "a b c d e\nz\n", 1),
    ],
)  # fmt: skip
def test_the_same_words_clash(
    before: str, after: str, today: str, ours: str, theirs: str, line: int
) -> None:
    merged = take_back([before, after, today])
    assert [clash.line for clash in merged.clashes] == [line]
    assert merged.text("ours") == ours
    assert merged.text("theirs") == theirs


@pytest.mark.parametrize(
    ("before", "after", "today"),
    [
        ("Pays 1.5 percent.", "Pays 2.5 percent.", "Pays 2.7 percent."),
        ("Born on 2026-11-20.", "Born on 2026-11-21.", "Born on 2026-12-21."),
        ("Up at 7:30 daily.", "Up at 7:45 daily.", "Up at 8:45 daily."),
        ("Write to a@x.org now.", "Write to b@x.org now.", "Write to b@y.org now."),
        ("It is 5 degrees.", "It is -5 degrees.", "It is -7 degrees."),
        ("The cafe here.", "The cafe\u0301 here.", "The caffe\u0301 here."),
        ("वह चाय पीता है", "वह चाय पीती है", "वह चाय पीते है"),
        ("So 👩 she is.", "So 👩\u200d👧 she is.", "So 👩\u200d👦 she is."),
        ("So 👍 it is.", "So 👍🏽 it is.", "So 👎🏽 it is."),
        ("十二歳です", "十三歳です", "二十三歳です"),
        ("2026年3月4日生まれ", "2026年3月5日生まれ", "2026年4月5日生まれ"),
        ("二〇二六年三月", "二〇二六年四月", "二〇二七年四月"),
        ("อายุ ๓๑ ปี", "อายุ ๓๒ ปี", "อายุ ๔๒ ปี"),
        ("住在北京", "住在南京", "住在东京"),
        ("หมา", "ม้า", "ม้่า"),
        ("ខ្មែរ", "ខ្លែរ", "ខ្វែរ"),
        ("စက္ကူ", "စက္ခူ", "စက္ဂူ"),
    ],
)
def test_a_word_is_never_made_of_two(before: str, after: str, today: str) -> None:
    assert merge_words(after, today, before, "ours") == (today, True)
    assert merge_words(after, today, before, "theirs") == (before, True)


@pytest.mark.parametrize(
    ("before", "after", "today", "undone"),
    [
        ("私は東京に住んでいます。", "私は大阪に住んでいます。", "私は大阪に働いています。", "私は東京に働いています。"),
        ("我住在北京，喜欢喝茶", "我住在上海，喜欢喝茶", "我住在上海，喜欢喝咖啡", "我住在北京，喜欢喝咖啡"),
        ("我家在北京。", "我家在上海。", "我家在上海。有猫。", "我家在北京。有猫。"),
        ("テムはネコがスキ", "テムはイヌがスキ", "ティムはイヌがスキ", "ティムはネコがスキ"),
        ("ฉันชอบดื่มชาที่บ้าน", "ฉันชอบดื่มกาแฟที่บ้าน", "ฉันชอบดื่มกาแฟที่สวน", "ฉันชอบดื่มชาที่สวน"),
        ("ខ្ញុំចូលចិត្តតែ", "ខ្ញុំចូលចិត្តឆ្កែ", "គាត់ចូលចិត្តឆ្កែ", "គាត់ចូលចិត្តតែ"),
        ("LINEで2時に会う", "LINEで3時に会う", "Signalで3時に会う", "Signalで2時に会う"),
    ],
)  # fmt: skip
def test_a_sentence_without_spaces_is_not_one_word(
    before: str, after: str, today: str, undone: str
) -> None:
    assert merge_words(after, today, before, "ours") == (undone, False)
    merged = take_back([f"a\n{before}\n", f"{after}\nb\n", f"x\n{today}\nb\n"])
    assert not merged.clashes
    assert merged.text("ours") == f"a\nx\n{undone}\n"


@pytest.mark.parametrize(
    ("before", "after", "today", "undone"),
    [
        ("Has a cat and a dog.", "Has a pig and a dog.", "Has the cat and a dog.", "Has the cat and a dog."),
        ("one two three", "1 2 three", "one 2 three", "one two three"),
    ],
)  # fmt: skip
def test_what_was_taken_back_in_part_is_no_clash(
    before: str, after: str, today: str, undone: str
) -> None:
    for side in ("ours", "theirs"):
        assert merge_words(after, today, before, side) == (undone, False)


def test_two_edits_of_a_word_without_spaces_are_one() -> None:
    """Or half of one would stand in another: a letter that both share is so by chance."""
    before, after, today = "彼は紅茶が好き", "彼は緑茶と水が好き", "彼は抹茶と水が好き"
    assert merge_words(after, today, before, "ours") == (today, True)


def test_words_that_come_back_are_the_same_words() -> None:
    """Undone, redone, and undone again: the line that came back is the line of the change."""
    versions = ["a\n", "a\nX\n", "a\n", "a\nX\n", "a\nX\nb\n"]
    assert take_back(versions, undos=[2, 3]).text("ours") == "a\nb\n"
    # where somebody wrote it anew, it is theirs
    assert take_back(versions).text("ours") == "a\nX\nb\n"


def test_a_line_that_came_back_and_has_moved_since_is_there() -> None:
    """What deleted it is undone already: to take that back once more is nothing."""
    versions = ["w\n", "w\nA b c d\nB\n", "w\n", "w\nA b c d\nB\n", "w\nB\nA b x d\n"]
    merged = take_back(versions, undos=[2, 3], at=2)
    assert merged.text("ours") == versions[-1]
    assert not merged.clashes


def test_lines_come_back_in_their_order() -> None:
    versions = ["a\n", "a\nX\n", "a\nX\nY\n", "a\nY\n", "a\n", "a\nX\n"]
    assert take_back(versions, undos=[3, 4, 5], at=4).text("ours") == "a\nX\nY\n"


def test_two_words_with_a_space_between_are_one_edit() -> None:
    """Or half of one sentence would stand in another."""
    before, after, today = "Likes tea.", "Hates Mondays.", "Hates rainy Mondays."
    assert merge_words(after, today, before, "ours") == (today, True)
    assert merge_words(after, today, before, "theirs") == ("Likes tea.", True)


def test_a_rewritten_book_takes_no_time() -> None:
    old = "".join(f"line {n} of the old one\n" for n in range(3000))
    new = "".join(f"{n} quite another\n" for n in range(3000))
    assert take_back([old, new, new + "more\n"]).text("ours") == old + "more\n"


def test_a_passage_that_an_undo_rewrote_takes_no_time() -> None:
    """None of its lines has been there before, and it is asked for each of them."""
    old = "".join(f"line {n} of the old one\n" for n in range(5000))
    new = "".join(f"{n} quite another\n" for n in range(5000))
    last = "".join(f"nothing like {n}\n" for n in range(5000))
    start = time.process_time()
    undone = take_back([old, new, last, last + "more\n"], undos=[2], at=2).text("ours")
    assert time.process_time() - start < 2
    assert undone == new + "more\n"


def test_two_far_edits_of_a_long_file() -> None:
    """What stands between them is the same, however long it is."""
    before = [f"line {n} of {n * 7 % 13}\n" for n in range(6000)]
    after = [*before]
    after[500], after[5500] = "changed\n", "another\n"
    today = [*after[:501], "a neighbour\n", *after[501:], "more\n"]
    undone = [*before[:501], "a neighbour\n", *before[501:], "more\n"]
    assert take_back(["".join(x) for x in (before, after, today)]).text("ours") == "".join(undone)


def test_a_long_file_that_was_reversed() -> None:
    before = [f"line {n}\n" for n in range(15_000)]
    texts = ["".join(x) for x in (before, before[::-1], ["first\n", *before[::-1]])]
    start = time.process_time()
    undone = take_back(texts).text("ours")
    assert time.process_time() - start < 3
    assert undone.replace("first\n", "") == texts[0]


# ── undoing ───────────────────────────────────────────────────────────────────────────────────


def test_one_commit_takes_it_back_and_tells_the_agent(sarah: Agent) -> None:
    utrecht, tea, _ = learn(sarah, "Lives in Utrecht.", "Likes tea.")
    before = head(sarah)
    undone = sarah.undo(utrecht)
    assert value(sarah) == ["Name: Tim", "Likes tea."]
    assert undone.lines == ("-Lives in Utrecht.",)
    assert undone.paths == (HUMAN,)
    assert git(sarah, "rev-parse", "HEAD~1").strip() == before
    log = sarah.log(limit=1)[0]
    assert log.subject == "undo: human: + Lives in Utrecht."
    assert (log.commit, log.author) == (undone.commit, "Tim")
    assert log.undoes == undone.undoes == sarah.log()[3].change
    assert sorted(log.paths) == sorted([HUMAN, sarah.store.segments()[-1]])
    assert git(sarah, "status", "--porcelain") == ""
    event = next(sarah.store.newest())
    assert (event.role, event.change) == ("event", undone.change)
    assert event.content == "Tim undid 'human: + Lives in Utrecht.':\n-Lives in Utrecht."
    assert "Lives in Utrecht" in sarah.context().render()  # it is said there, as undone
    assert sarah.undo(tea).lines == ("-Likes tea.",)


def test_last_twice_gives_it_back(sarah: Agent) -> None:
    learn(sarah, "Lives in Utrecht.")
    learn(sarah)  # a turn that changes nothing but recall does not count
    data = (sarah.root / HUMAN).read_bytes()
    sarah.undo()
    assert value(sarah) == ["Name: Tim"]
    undone = sarah.undo()
    assert (sarah.root / HUMAN).read_bytes() == data
    assert undone.lines == ("+Lives in Utrecht.",)
    sarah.undo()
    assert subjects(sarah)[:3] == [
        "undo: human: + Lives in Utrecht.",
        "redo: human: + Lives in Utrecht.",
        "undo: human: + Lives in Utrecht.",
    ]
    # the first one again, which is undone by now
    commit = sarah.log("human")[3].commit
    with pytest.raises(
        NothingLeftError, match=r"^Nothing of 'human: \+ Lives in Utrecht\.' is left"
    ):
        sarah.undo(commit)
    sarah.undo()
    assert sarah.undo(commit).lines == ("-Lives in Utrecht.",)  # the line that came back is it


def test_last_takes_back_all_files_of_the_change(sarah: Agent) -> None:
    before = git(sarah, "rev-parse", "HEAD:system.md")
    (sarah.root / HUMAN).write_text("Tim.\n")
    (sarah.root / "system.md").write_text("Be short.\n")
    sarah.adopt()
    assert sarah.undo().paths == (HUMAN, "system.md")
    assert git(sarah, "rev-parse", "HEAD:system.md") == before


def test_last_is_not_how_the_agent_was_made(sarah: Agent) -> None:
    with pytest.raises(StoreError, match="made the agent, and cannot be undone"):
        sarah.undo()


def test_a_clash_writes_nothing_and_shows_both_sides(sarah: Agent) -> None:
    utrecht, _ = learn(sarah, "Lives in Utrecht.")
    learn(sarah, "Likes tea.")
    sarah.blocks["human"] = "Name: Tim\nLives in Ghent.\nLikes tea."
    before, files = head(sarah), git(sarah, "ls-files", "-s")
    recall = [(sarah.root / p).read_bytes() for p in sarah.store.segments()]
    with pytest.raises(UndoConflict) as error:
        sarah.undo(utrecht)
    assert (head(sarah), git(sarah, "ls-files", "-s")) == (before, files)
    assert [(sarah.root / p).read_bytes() for p in sarah.store.segments()] == recall
    assert git(sarah, "status", "--porcelain") == ""
    (sides,) = error.value.clashes
    assert (sides.path, sides.line) == (HUMAN, 7)
    assert (sides.made, sides.ours) == ("Lives in Utrecht.\n", "Lives in Ghent.\n")
    assert (sides.theirs, sides.who, sides.commit) == ("", "Tim", before)
    text = str(error.value)
    assert f"core/human.md, line 7; Tim: edit: core/human.md, {before[:7]}" in text
    assert all(way in text for way in ("--ours", "--theirs", "--edit"))
    with pytest.raises(KeptError, match="stays as it is"):  # all of it is in the clash
        sarah.undo(utrecht, side="ours")
    sarah.undo(utrecht, side="theirs")
    assert value(sarah) == ["Name: Tim", "Likes tea."]


def test_a_clash_names_the_edit_and_the_redo_beside_it(sarah: Agent) -> None:
    utrecht, _ = learn(sarah, "Lives in Utrecht.")
    sarah.blocks["human"] = "Name: Tim\nLives in Ghent."
    edit = head(sarah)
    sarah.undo()
    redo = sarah.undo().commit
    sarah.blocks["persona"] = "I am new."
    with pytest.raises(UndoConflict) as error:
        sarah.undo(utrecht)
    (sides,) = error.value.clashes
    assert (sides.commit, sides.subject, sides.back) == (edit, "edit: core/human.md", redo)
    assert f"{edit[:7]}, back with {redo[:7]})" in str(error.value)
    err = run(sarah, "undo", "sarah", utrecht, status=1)[1]
    assert f"now it is (Tim: edit: core/human.md, {edit[:7]}, back with {redo[:7]})" in err
    # the same where the line has gone
    sarah.blocks["human"] = "Name: Tim"
    gone = head(sarah)
    sarah.undo()
    redo = sarah.undo().commit
    with pytest.raises(UndoConflict) as error:
        sarah.undo(edit)
    assert (error.value.clashes[0].commit, error.value.clashes[0].back) == (gone, redo)


def test_a_clash_of_a_whole_file_names_the_edit_that_it_holds(sarah: Agent) -> None:
    note = sarah.notes.add("Ada is a cat.")
    made = head(sarah)
    path = sarah.root / note.path
    for text in ("And old.\n", "And fat.\n"):
        path.write_bytes(path.read_bytes() + text.encode())
        sarah.adopt()
    old = git(sarah, "rev-parse", "HEAD~1").strip()
    undo = sarah.undo().commit
    with pytest.raises(UndoConflict) as error:
        sarah.undo(made)
    assert (error.value.clashes[0].commit, error.value.clashes[0].back) == (old, undo)


def test_one_side_for_the_clash_and_the_rest_as_ever(sarah: Agent) -> None:
    sarah.blocks["human"] = "City: Utrecht\nPet: cat\n"
    sarah.blocks["human"] = "City: Ghent\nPet: dog\n"
    both = head(sarah)
    sarah.blocks["human"] = "City: Berlin\nPet: dog\n"
    sarah.undo(both, side="ours")
    assert value(sarah) == ["City: Berlin", "Pet: cat"]
    sarah.undo()
    sarah.undo(both, side="theirs")
    assert value(sarah) == ["City: Utrecht", "Pet: cat"]


def test_a_person_decides_in_a_text_with_both_sides(sarah: Agent) -> None:
    utrecht, _ = learn(sarah, "Lives in Utrecht.")
    sarah.blocks["human"] = "Name: Tim\nLives in Ghent."
    asked: list[tuple[str, str]] = []

    def answer(text: str | None) -> Callable[[str, str], str | None]:
        return lambda *question: asked.append(question) or text  # type: ignore[func-returns-value]

    before = head(sarah)
    for wrong in (None, "<<<<<<< as it is now\n"):
        with pytest.raises(StoreError, match=r"^Nothing was changed"):
            sarah.undo(utrecht, resolve=answer(wrong))
    assert head(sarah) == before
    sarah.undo(utrecht, resolve=answer("Name: Tim\nLives on Mars.\n"))
    assert value(sarah) == ["Name: Tim", "Lives on Mars."]
    path, text = asked[0]
    assert path == HUMAN
    assert text.endswith(
        "Name: Tim\n"
        "<<<<<<< as it is now (Tim: edit: core/human.md)\n"
        "Lives in Ghent.\n"
        "=======\n"
        ">>>>>>> without the change\n"
    )


def test_notes_come_and_go(sarah: Agent) -> None:
    note = sarah.notes.add("Ada is a cat.")
    made = head(sarah)
    sarah.notes.add("Another.")
    data = (sarah.root / note.path).read_bytes()
    sarah.undo(made)
    assert [n.text for n in sarah.notes] == ["Another."]
    sarah.undo()
    assert (sarah.root / note.path).read_bytes() == data
    (sarah.root / note.path).unlink()
    gone = sarah.adopt()[0].commit
    sarah.undo(gone)
    assert (sarah.root / note.path).read_bytes() == data
    (sarah.root / note.path).write_bytes(data + b"And old.\n")
    edited = sarah.adopt()[0].commit
    with pytest.raises(UndoConflict) as error:
        sarah.undo(made)
    (sides,) = error.value.clashes
    assert sides.whole
    assert (sides.made, sides.ours, sides.theirs) == (
        data.decode(), data.decode() + "And old.\n", "",
    )  # fmt: skip
    assert sides.commit == edited
    sarah.undo(made, side="theirs")
    assert not (sarah.root / note.path).exists()
    with pytest.raises(UndoConflict):  # of the edit of a note that is gone
        sarah.undo(edited)


def test_a_file_comes_back_with_its_mode(sarah: Agent) -> None:
    script_of = sarah.root / "files/run.sh"
    script_of.parent.mkdir(exist_ok=True)
    script_of.write_text("echo hello\n")
    script_of.chmod(0o755)
    sarah.adopt()
    script_of.unlink()
    sarah.adopt()
    sarah.undo()
    assert script_of.stat().st_mode & 0o111
    assert git(sarah, "ls-tree", "HEAD", "files/run.sh").startswith("100755 ")
    assert git(sarah, "status", "--porcelain") == ""


def test_a_turn_is_one(sarah: Agent) -> None:
    script(
        sarah,
        [
            call("core_memory_append", label="human", content="Lives in Utrecht."),
            call("archival_memory_insert", content="Ada is a cat."),
            call("core_memory_replace", label="human", old_content="Utrecht", new_content="Ghent"),
        ],
        "ok",
    )
    files = dict(sarah.store.repo.files("HEAD", ["core", "archival"]))
    turn = sarah.chat("hear")
    learn(sarah, "Likes tea.")
    later = dict(sarah.store.repo.files("HEAD", ["core", "archival"]))
    count = len(sarah.log())
    undone = sarah.undo(turn)
    assert len(sarah.log()) == count + 1
    assert subjects(sarah)[0] == "undo: turn: hear"
    assert undone.undoes == turn.id
    assert value(sarah) == ["Name: Tim", "Likes tea."]
    assert list(sarah.notes) == []
    sarah.undo()
    assert sarah.store.repo.files("HEAD", ["core", "archival"]) == later
    sarah.undo(turn.id)
    with pytest.raises(NothingLeftError, match=f"is undone already, by {head(sarah)[:7]}"):
        sarah.undo(turn.id)
    learned = sarah.log("human")[3].commit
    assert sarah.log("human")[3].subject == "human: + Likes tea."
    sarah.undo(learned)
    assert sarah.store.repo.files("HEAD", ["core", "archival"]) == files


def test_what_cannot_be_undone(sarah: Agent) -> None:
    init = head(sarah)
    turn = learn(sarah, "Lives in Utrecht.")[-1]
    git(sarah, "switch", "-q", "-c", "side", init)
    (sarah.root / "core/side.md").write_text("x\n")
    git(sarah, "add", ".")
    git(sarah, "commit", "-q", "-m", "on the side")
    side = head(sarah)
    git(sarah, "switch", "-q", "main")
    with pytest.raises(StoreError, match="is not in the history of sarah"):
        sarah.undo(side)
    git(sarah, "merge", "-q", "--no-edit", "side")
    with pytest.raises(StoreError, match="is a merge, which brought many changes at once"):
        sarah.undo("HEAD")
    with pytest.raises(StoreError, match="changed recall, which is never rewritten"):
        sarah.undo(turn)
    with pytest.raises(StoreError, match="made the agent, and cannot be undone"):
        sarah.undo(init)
    for name in ("nothing", "", "--all", "a..b", "zzzz"):
        with pytest.raises(StoreError, match="is no commit, change or turn of sarah"):
            sarah.undo(name)
    assert sarah.undo(side).lines == ("-x",)  # what came in by the merge can be


def test_a_change_that_came_in_by_a_merge(sarah: Agent) -> None:
    sarah.blocks["human"] = "a\nb\nc\nd\ne\n"
    git(sarah, "switch", "-q", "-c", "side")
    sarah.blocks["human"] = "X\na\nb\nc\nd\ne\n"
    side = head(sarah)
    git(sarah, "switch", "-q", "main")
    sarah.blocks["human"] = "a\nb\nc\nd\ne\nY\n"
    git(sarah, "merge", "-q", "--no-edit", "side")
    sarah.blocks["human"] = "X\nN\na\nb\nc\nd\ne\nY\n"
    sarah.undo(side)
    assert value(sarah) == ["N", "a", "b", "c", "d", "e", "Y"]


def test_read_only_and_limits_hinder_no_person(sarah: Agent) -> None:
    path = sarah.root / HUMAN
    path.write_text("---\nlimit: 10\n---\n\n" + "long " * 10 + "\n")
    sarah.adopt()
    path.write_text("---\nlimit: 10\nread_only: true\n---\n\nshort\n")
    sarah.adopt()
    path.write_text("---\nlimit: 10\nread_only: true\n---\n\nshorter\n")
    sarah.adopt()
    sarah.undo("HEAD~1", side="theirs")
    assert sarah.blocks["human"].text == ("long " * 10)


def test_bytes_are_kept(sarah: Agent) -> None:
    path = sarah.root / HUMAN
    versions = [
        b"\xef\xbb\xbf---\r\nlimit: 500\r\nmine:   odd\r\n---\r\n\r\na\r\nb",
        b"\xef\xbb\xbf---\r\nlimit: 500\r\nmine:   odd\r\n---\r\n\r\na\r\nX\r\nb",
        b"\xef\xbb\xbf---\r\nlimit: 500\r\nmine:   odd\r\n---\r\n\r\na\r\nX\r\nb\r\nc",
    ]
    for data in versions:
        path.write_bytes(data)
        sarah.adopt()
    sarah.undo("HEAD~1")
    assert path.read_bytes() == versions[2].replace(b"X\r\n", b"")
    sarah.undo()
    assert path.read_bytes() == versions[2]


def test_files_that_are_no_text(sarah: Agent) -> None:
    path = sarah.root / "files/a.bin"
    path.parent.mkdir()
    for data in (b"\0\1", b"\0\2"):
        path.write_bytes(data)
        sarah.adopt()
    sarah.undo()
    assert path.read_bytes() == b"\0\1"
    sarah.undo()
    path.write_bytes(b"\xff\3")
    sarah.adopt()
    with pytest.raises(UndoConflict):
        sarah.undo("HEAD~3")
    sarah.undo("HEAD~3", side="theirs")
    assert path.read_bytes() == b"\0\1"


def test_a_hand_edit_is_adopted_first_and_told(sarah: Agent) -> None:
    utrecht, _ = learn(sarah, "Lives in Utrecht.")
    other = sarah.root / "core/persona.md"
    with (sarah.root / HUMAN).open("a") as file:
        file.write("Likes tea.\n")
    other.write_text("Half an")
    sarah.undo(utrecht)
    assert subjects(sarah)[:2] == ["undo: human: + Lives in Utrecht.", "hand edit: core/human.md"]
    assert value(sarah) == ["Name: Tim", "Likes tea."]
    events = [record.content for record in sarah.store.newest()][:2]
    assert events[1] == "Tim edited core/human.md by hand:\n+Likes tea."
    assert (
        git(sarah, "status", "--porcelain") == " M core/persona.md\n"
    )  # that one is not its matter
    # where it clashes, not even the hand edit is committed
    with (sarah.root / HUMAN).open("w") as file:
        file.write("Likes green tea.\n")
    before = head(sarah)
    with pytest.raises(UndoConflict) as error:
        sarah.undo("HEAD~1")
    assert "not committed yet" in str(error.value)
    assert head(sarah) == before
    assert (sarah.root / HUMAN).read_text() == "Likes green tea.\n"


def test_an_undo_that_cannot_be_written_leaves_no_word_of_it(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    utrecht, _ = learn(sarah, "Lives in Utrecht.")

    def full(*_: object) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(sarah.store.repo, "commit", full)
    before = git(sarah, "rev-parse", "HEAD^{tree}")
    with pytest.raises(StoreError, match="The disk is full"):
        sarah.undo(utrecht)
    assert git(sarah, "status", "--porcelain") == ""
    assert git(sarah, "rev-parse", "HEAD^{tree}") == before


def test_walking_back_and_forth(sarah: Agent) -> None:
    for line in ("One.", "Two.", "Three."):
        learn(sarah, line)
    with pytest.raises(StoreError, match="nothing to redo"):
        step_forward(sarah.store)
    walked = []
    for step in (step_back, step_back, step_forward, step_back, step_back):
        step(sarah.store)
        walked.append(value(sarah)[1:])
    assert walked == [["One.", "Two."], ["One."], ["One.", "Two."], ["One."], []]
    with pytest.raises(StoreError, match="no earlier change"):
        step_back(sarah.store)
    for _ in range(3):
        step_forward(sarah.store)
    assert value(sarah)[1:] == ["One.", "Two.", "Three."]
    step_back(sarah.store)
    learn(sarah, "Four.")  # from here on there is no way forward
    with pytest.raises(StoreError, match="nothing to redo"):
        step_forward(sarah.store)
    step_back(sarah.store)
    step_back(sarah.store)
    assert value(sarah)[1:] == ["One."]


def test_an_undo_far_back_can_be_undone(sarah: Agent) -> None:
    learn(sarah, "One.", "Two.")
    undo = sarah.undo().commit
    learn(sarah, "Three.")
    sarah.undo(undo)
    assert value(sarah)[1:] == ["One.", "Two.", "Three."]


# ── the command ───────────────────────────────────────────────────────────────────────────────


def run(agent: Agent, *arguments: str, status: int = 0, stdin: str = "") -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fsagent", *arguments],
        cwd=agent.root.parent, input=stdin, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_the_command(sarah: Agent) -> None:
    learn(sarah, "Lives in Utrecht.", "Likes tea.")
    out, err = run(sarah, "undo", "sarah")
    assert [line[37:].strip() for line in out.splitlines()] == [
        "human: + Likes tea.", "human: + Lives in Utrecht.", "init: sarah",
    ]  # fmt: skip
    assert "fsagent undo sarah COMMIT" in err
    name = out.splitlines()[1].split()[0]
    out, err = run(sarah, "undo", "sarah", name)
    assert out == "undone: human: + Lives in Utrecht.\n  -Lives in Utrecht.\n"
    assert err == f"committed as {head(sarah)[:7]}\n"
    found = json.loads(run(sarah, "undo", "sarah", "--last", "--json")[0])
    assert found["commit"] == head(sarah)
    assert (found["lines"], found["paths"]) == (["+Lives in Utrecht."], [HUMAN])
    assert "Give either" in run(sarah, "undo", "sarah", name, "--last", status=2)[1]
    assert "neither" in run(sarah, "undo", "sarah", name, "--edit", "--ours", status=2)[1]


def test_the_command_shows_a_clash(sarah: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    utrecht, _ = learn(sarah, "Lives in Utrecht.")
    sarah.blocks["human"] = "Name: Tim\nLives in Ghent."
    out, err = run(sarah, "undo", "sarah", utrecht, status=1)
    assert out == ""
    assert err.splitlines()[:7] == [
        "core/human.md:7",
        "  the change made",
        "    Lives in Utrecht.",
        f"  now it is (Tim: edit: core/human.md, {head(sarah)[:7]})",
        "    Lives in Ghent.",
        "  before it was",
        "    (nothing)",
    ]
    out, _ = run(sarah, "undo", "sarah", utrecht, "--json", status=1)
    (clash,) = json.loads(out)["clashes"]
    assert (clash["path"], clash["line"], clash["commit"]) == (HUMAN, 7, head(sarah))
    assert (clash["made"], clash["ours"], clash["theirs"]) == (
        "Lives in Utrecht.\n", "Lives in Ghent.\n", "",
    )  # fmt: skip
    editor = sarah.root.parent / "editor"
    editor.write_text("#!/bin/sh\nsed -i -e '/^[<=>]\\{7\\}/d' -e s/Ghent/Mars/ \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.setenv("VISUAL", str(editor))
    out, _ = run(sarah, "undo", "sarah", utrecht, "--edit")
    assert out.splitlines()[1:] == ["  -Lives in Ghent.", "  +Lives in Mars."]


def test_in_a_conversation(sarah: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ("One.", "Two."):
        learn(sarah, line)
    path = sarah.root.parent / "script.json"
    path.write_text("[]")
    monkeypatch.setenv("FSAGENT_MODEL", f"scripted:{path}")
    said = "/undo\n/undo\n/redo\n/undo\n/redo\n/redo\n/redo\n"
    out, err = run(sarah, "chat", "sarah", "-i", stdin=said, status=1)
    assert [line for line in out.splitlines() if line.startswith(("un", "re"))] == [
        "undone: human: + Two.",
        "undone: human: + One.",
        "redone: human: + One.",
        "undone: human: + One.",
        "redone: human: + One.",
        "redone: human: + Two.",
    ]
    assert "Error: There is nothing to redo" in err
    assert value(sarah)[1:] == ["One.", "Two."]


def test_a_clash_in_a_conversation_is_decided_and_no_other_change_taken(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = learn(sarah, "One.")
    learn(sarah, "Likes tea.")
    (sarah.root / HUMAN).write_text("Name: Tim\nOne.\nLikes tea and milk.\n")
    path = sarah.root.parent / "script.json"
    path.write_text("[]")
    monkeypatch.setenv("FSAGENT_MODEL", f"scripted:{path}")
    said = f"/undo --ours\n/undo {one[:7]}\n"
    out, err = run(sarah, "chat", "sarah", "-i", stdin=said, status=1)
    assert "all that is left of 'human: + Likes tea.' was edited since, and that stays" in err
    assert f"To go on with the change before it: /undo {one[:7]}\n" in err
    assert [line for line in out.splitlines() if "undone" in line] == ["undone: human: + One."]
    assert subjects(sarah)[:2] == ["undo: human: + One.", "hand edit: core/human.md"]


def test_the_past_is_refused_with_the_way_on(sarah: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(sarah, "One.")
    sarah.blocks["human"] = "Two."
    path = sarah.root.parent / "script.json"
    path.write_text("[]")
    monkeypatch.setenv("FSAGENT_MODEL", f"scripted:{path}")
    for line in ("/undo\n", "/redo\n"):
        _, err = run(sarah, "chat", "sarah", "-i", "--at", "HEAD~1", stdin=line, status=1)
        name = git(sarah, "rev-parse", "--short=7", "HEAD~1").strip()
        way = f"To go on from there: fsagent chat {sarah.root} --at {name} --fork NEW\n"
        assert err.endswith(way) == (line == "/undo\n")
