"""Purge and what Git is made of: headers, settings, tags, locks and the index stay what they are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fsagent import Agent, call
from fsagent.cli import cli
from fsagent.environment import Environment
from fsagent.errors import StoreError
from fsagent.history.gap import MARK, Gap, Target

from conftest import git, script, subjects
from test_purge import CODE, objects, places, sound, with_code
from test_purge import lines as recall

Make = Callable[..., Agent]


def commit(agent: Agent, path: str, text: str, message: str = "by hand") -> None:
    place = agent.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    git(agent, "add", path)
    git(agent, "commit", "-qm", message)


# ── headers ───────────────────────────────────────────────────────────────────────────────────


def test_a_number_within_a_time_stays(sarah: Agent) -> None:
    pin = git(sarah, "log", "-1", "--format=%ct")[5:10]
    commit(sarah, "core/pin.md", f"My PIN is {pin}.\n")
    times = git(sarah, "log", "--format=%at %ct")
    done = sarah.purge(pin, text=True)
    assert done.left == []
    assert (sarah.root / "core/pin.md").read_text() == f"My PIN is {MARK}.\n"
    assert git(sarah, "log", "--format=%at %ct") == times
    assert any("within a time or an id, which stay" in text for text in done.told)
    sound(sarah)


def test_a_number_within_the_time_of_the_purge(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(sarah, "core/pin.md", "My PIN is 12266.\n")
    monkeypatch.setattr("fsagent.history.purge.time.time_ns", lambda: 1795312266679076033)
    assert sarah.purge("12266", text=True).left == []
    assert "12266" in (sarah.root / ".git/fsagent/purged").read_text()


def test_a_name_with_its_address_goes_and_somebody_stays(sarah: Agent) -> None:
    who = git(sarah, "log", "-1", "--format=%an <%ae>").strip()
    done = sarah.purge(who, text=True)
    assert done.left == []
    assert git(sarah, "log", "-1", "--format=%an <%ae>").strip() == f"{MARK} <{MARK}>"
    sound(sarah)


@pytest.mark.parametrize("text", ["author", "ommitter", "parent", "commit", "false", "fsagent"])
def test_a_word_that_git_is_made_of_is_refused(sarah: Agent, text: str) -> None:
    before = objects(sarah.root)
    with pytest.raises(StoreError, match="give more of the text around it"):
        sarah.purge(text, text=True)
    assert objects(sarah.root) == before
    assert git(sarah, "status", "--short") == ""


def test_headers_are_never_rewritten_as_text() -> None:
    lines = [
        b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        b"author Tim +0000 <tim@tree.org> 1700000000 +0000",
        b"encoding UTF-16",
        b"type commit",
    ]
    for text in ("tree 4b825", "+0000", "17000", "UTF-16", "00 +0000", "author Tim", "4b825dc642"):
        gap = Gap(Target(texts=(text,)))
        new = gap.head(b"\n".join(lines)).split(b"\n")
        assert new[0] == lines[0]
        assert new[1].endswith(b"> 1700000000 +0000")
        assert new[2:] == lines[2:]


def test_a_commit_with_an_annotated_tag(sarah: Agent) -> None:
    git(sarah, "tag", "-a", "x", "-m", f"a commit of {CODE}")
    git(sarah, "tag", "-a", f"y-{CODE}", "x", "-m", "y")
    git(sarah, "update-ref", "refs/tags/y", f"y-{CODE}")
    git(sarah, "update-ref", "-d", f"refs/tags/y-{CODE}")
    assert sarah.purge(CODE).left == []
    assert f"tag y-{MARK}" in git(sarah, "cat-file", "-p", "y")
    assert places(CODE, sarah.root) == []
    git(sarah, "fsck", "--full")


def test_trees_that_no_commit_has(sarah: Agent) -> None:
    (sarah.root / f"{CODE}.txt").write_text("nothing")
    git(sarah, "add", f"{CODE}.txt")
    tree = git(sarah, "write-tree").strip()
    git(sarah, "tag", "snap", tree)
    git(sarah, "tag", "-a", "noted", "-m", "a tree", tree)
    assert sarah.purge(CODE).left == []
    assert places(CODE, sarah.root) == []
    assert "purged.txt" in git(sarah, "ls-tree", "--name-only", "snap")
    assert "purged.txt" in git(sarah, "ls-tree", "--name-only", "noted")
    sound(sarah)


def test_a_text_that_stood_nowhere_is_not_said_to_be_gone(sarah: Agent) -> None:
    with_code(sarah)
    for text, said, not_said in (
        ("TYPO-typo", "it stood nowhere, and nothing was changed", "it is nowhere"),
        (CODE, "it is nowhere", "it stood nowhere"),
    ):
        out = CliRunner().invoke(cli, ["purge", str(sarah.root), text, "--yes"])
        assert out.exit_code == 0, out.output
        assert said in out.output
        assert not_said not in out.output


def test_objects_that_git_would_not_read_are_never_shown_to_it(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_code(sarah)
    before, head = objects(sarah.root), git(sarah, "rev-parse", "HEAD")
    monkeypatch.setattr(Gap, "header", lambda self, line: line.replace(b" +0000", b" "))
    with pytest.raises(StoreError, match=r"Git could not read the history .* Nothing was changed"):
        sarah.purge(CODE)
    assert (objects(sarah.root), git(sarah, "rev-parse", "HEAD")) == (before, head)
    assert not (sarah.root / ".git/fsagent/purge").exists()
    monkeypatch.undo()
    assert sarah.purge(CODE).left == []
    sound(sarah)


# ── Git's own files ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text", ["config", "index", "hooks", "remote", "bare = ", "merge", "branch"]
)
def test_gits_own_files_and_keys_are_left_alone(sarah: Agent, text: str) -> None:
    git(sarah, "remote", "add", "hub", "https://example.org/x.git")
    config = (sarah.root / ".git/config").read_text()
    names = sorted(path.name for path in (sarah.root / ".git").iterdir())
    commit(sarah, "core/words.md", f"The word {text} false.\n")
    done = sarah.purge(f"word {text} false", text=True)
    done = sarah.purge(text, text=True) if text.strip() == text else done
    assert done.left == []
    assert (sarah.root / ".git/config").read_text() == config
    assert set(names) <= {path.name for path in (sarah.root / ".git").iterdir()}
    sound(sarah)


def test_what_git_finds_things_by_is_left_and_named(sarah: Agent) -> None:
    with_code(sarah)
    git(sarah, "remote", "add", "hub", f"/srv/{CODE}/p.git")
    git(sarah, "config", "user.name", f"Tim {CODE}")
    git(sarah, "config", "http.extraHeader", f"X-Key: {CODE}")
    config = sarah.root / ".git/config"
    config.write_text(f"# {CODE} by me\n" + config.read_text())
    done = sarah.purge(CODE)
    (left,) = done.left
    assert "remote.hub.url" in left
    assert "config --edit" in left
    assert git(sarah, "remote", "get-url", "hub").strip() == f"/srv/{CODE}/p.git"
    assert git(sarah, "config", "user.name").strip() == f"Tim {MARK}"
    assert git(sarah, "config", "http.extraHeader").strip() == f"X-Key: {MARK}"
    assert config.read_text().startswith(f"# {MARK} by me\n")
    git(sarah, "remote", "remove", "hub")
    assert sarah.purge(CODE).left == []
    assert places(CODE, sarah.root) == []


def test_what_a_person_says_of_a_branch_goes(sarah: Agent) -> None:
    with_code(sarah)
    git(sarah, "config", "branch.main.description", f"About {CODE}.")
    assert sarah.purge(CODE).left == []
    assert git(sarah, "config", "branch.main.description").strip() == f"About {MARK}."


def test_the_name_of_a_remote_is_refused(sarah: Agent) -> None:
    git(sarah, "remote", "add", "julia", "/srv/p.git")
    before = objects(sarah.root)
    with pytest.raises(StoreError, match=r"the name remote\.julia\.url .* rename that first"):
        sarah.purge("julia", text=True)
    assert objects(sarah.root) == before


def test_a_file_in_git_that_is_called_so_is_named(sarah: Agent) -> None:
    with_code(sarah)
    (sarah.root / f".git/about-{CODE}").write_text("nothing")
    assert sarah.purge(CODE).left == [f".git/about-{CODE}"]


# ── what a killed prune leaves ────────────────────────────────────────────────────────────────


def test_a_folder_that_is_called_so(sarah: Agent) -> None:
    commit(sarah, f"files/{CODE}/deep.txt", "four")
    assert CODE.encode() in (sarah.root / ".git/index").read_bytes()
    assert sarah.purge(CODE).left == []
    assert places(CODE, sarah.root) == []
    assert git(sarah, "status", "--short") == ""


def test_two_names_in_a_folder_that_would_be_the_same(sarah: Agent) -> None:
    commit(sarah, "files/Anna.pdf", "one")
    commit(sarah, "files/Alpha-7749-Zulu.pdf", "two")
    commit(sarah, "files/alpha-7749-zulu.pdf", "three")
    commit(sarah, "files/Alpha-7749-Zulu/deep.txt", "four")
    git(sarah, "mv", "files/Anna.pdf", "files/purged.pdf")
    git(sarah, "commit", "-qm", "another name")
    assert sarah.purge(CODE).left == []
    files = {
        str(path.relative_to(sarah.root / "files")): path.read_text()
        for path in (sarah.root / "files").rglob("*.*")
    }
    assert files == {
        "purged.pdf": "one",
        "purged-2.pdf": "two",
        "purged-3.pdf": "three",
        "purged/deep.txt": "four",
    }
    assert git(sarah, "status", "--short") == ""
    assert git(sarah, "show", "HEAD^:files/Anna.pdf") == "one"
    before = set(git(sarah, "ls-tree", "--name-only", "HEAD^", "files/").split())
    assert before == {
        f"files/{name}" for name in ("Anna.pdf", "purged.pdf", "purged-2.pdf", "purged")
    }
    sound(sarah)


def left_over(agent: Agent) -> tuple[str, str]:
    """A commit and its tree."""
    blob = subprocess.run(
        ["git", "-C", str(agent.root), "hash-object", "-w", "--stdin"],
        input=CODE.encode(), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    tree = subprocess.run(
        ["git", "-C", str(agent.root), "mktree"],
        input=f"100644 blob {blob}\tx\n".encode(), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    return git(agent, "commit-tree", tree, "-m", f"dangling {CODE}").strip(), tree


def test_what_a_killed_prune_left_does_not_stop_a_purge(sarah: Agent) -> None:
    with_code(sarah)
    _, tree = left_over(sarah)
    (sarah.root / ".git/objects" / tree[:2] / tree[2:]).unlink()
    assert sarah.purge(CODE).left == []
    assert places(CODE, sarah.root) == []
    sound(sarah)


def test_a_purge_that_cannot_be_finished_is_not_called_repaired(sarah: Agent) -> None:
    with_code(sarah)
    git(sarah, "branch", CODE)
    place = sarah.root / ".git/fsagent/purge"
    place.mkdir()
    (place / "plan").write_text(Target(texts=(CODE,)).dump())

    def checked(*more: str) -> Result:
        return CliRunner().invoke(cli, ["check", str(sarah.root), *more])

    assert "any command that opens the agent finishes it" in checked().output.lower()
    out = checked("--repair")
    assert out.exit_code == 1
    assert "\nrepaired" not in f"\n{out.output}"
    said = f"A purge was cut short and cannot be finished: It is in the name refs/heads/{CODE}"
    assert f"not repaired {said}: rename that first" in out.output
    assert "When that is mended, any command that opens the agent finishes it" in out.output
    report = json.loads(checked("--repair", "--json").output)
    assert report["repaired"] == []
    assert len(report["failed"]) == 1
    again = Agent.open(sarah.root)
    assert [said in text for text in again.store.warnings] == [True]
    again.close()
    git(sarah, "branch", "-m", CODE, "other")
    assert "repaired A purge that was cut short is finished." in checked("--repair").output
    assert places(CODE, sarah.root) == []


def test_an_object_that_is_missing_and_named_stops_it(sarah: Agent) -> None:
    with_code(sarah)
    oid, tree = left_over(sarah)
    git(sarah, "update-ref", "refs/heads/side", oid)
    (sarah.root / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(StoreError, match=r"missing from the repository.* Nothing was changed"):
        sarah.purge(CODE)
    git(sarah, "update-ref", "-d", "refs/heads/side")
    assert sarah.purge(CODE).left == []


# ── index and links ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["split-index", "untracked-cache"])
def test_an_index_with_more_than_its_entries(sarah: Agent, kind: str) -> None:
    commit(sarah, f"files/{CODE}.txt", "a\n")
    (sarah.root / f"mine-{CODE}.txt").write_text("nothing")
    git(sarah, "update-index", f"--{kind}", check=False)
    status = git(sarah, "status", "--short").replace(CODE, "purged")
    assert sarah.purge(CODE).left == []
    assert places(CODE, sarah.root) == []
    assert git(sarah, "status", "--short") == status
    assert not list((sarah.root / ".git").glob("sharedindex.*"))
    sound(sarah)


def test_what_a_link_points_to_goes(sarah: Agent) -> None:
    link = sarah.root / "files/link"
    link.parent.mkdir()
    link.symlink_to(f"/tmp/{CODE}")
    git(sarah, "add", "files/link")
    git(sarah, "commit", "-qm", "a link")
    assert sarah.purge(CODE).left == []
    assert str(link.readlink()) == f"/tmp/{MARK}"
    assert git(sarah, "status", "--short") == ""
    sound(sarah)


# ── what was shortened, quoted, or called by it ───────────────────────────────────────────────

LONG = "Alpha-7749-Bravo-5521-Charlie-9921"


def beginnings(agent: Agent) -> list[str]:
    """Where the first 10 characters of LONG stand, however they are spelled."""
    return [place for text in (LONG[:10], LONG[:10].lower()) for place in places(text, agent.root)]


def test_what_was_shortened_goes_with_it(sarah: Agent) -> None:
    sarah.notes.add(f"The code of garden gate is {LONG}, says Tim.")
    sarah.notes.add(f"A day of October in which she opened {LONG.lower()} and left")
    sarah.notes.add("The abc of gardening in the alphabet of Tim")
    assert "Charlie-99…" in git(sarah, "log", "--format=%s")
    assert beginnings(sarah)
    done = sarah.purge(LONG)
    assert done.left == []
    assert places(LONG[:10], sarah.root) == []
    assert f"note: The code of garden gate is {MARK}…" in git(sarah, "log", "--format=%s")
    assert len(list(sarah.root.glob("archival/*/*/the-abc-of-gardening-in-the-alphabet*"))) == 1
    assert len(list(sarah.root.glob("archival/*/*/the-code-of-garden-gate-is-purged-*.md"))) == 1
    sound(sarah)


def test_a_phrase_that_a_message_began_with(make: Make) -> None:
    agent = make("I keep it.")
    phrase = "zebra apple river candle pilot orbit mango silver tunnel gravity lemon velvet"
    agent.chat(f"My words: {phrase}")
    assert "zebra apple river" in git(agent, "log", "-1", "--format=%s")
    assert agent.purge(phrase).left == []
    assert places("zebra apple", agent.root) == []


BIRD = "Kolibri-Pfad-8812"


def test_a_few_letters_go_where_their_commit_changed_it(make: Make) -> None:
    old, new = f"gate opens with {BIRD}", f"door opens with {BIRD}"
    agent = make(
        call("core_memory_append", label="human", content=f"Her {old}."),
        "Ok.",
        call("core_memory_replace", label="human", old_content=old, new_content=new),
        "Ok.",
    )
    agent.chat("There is a gate.")
    agent.chat("It is a door.")
    agent.undo()
    human = agent.root / "core/human.md"
    human.write_text(f"{human.read_text()}\nLikes tea.\n")
    git(agent, "stash")
    assert "Kolibri-Pfa…" in git(agent, "stash", "list")
    assert len(places("Kolibri-Pfa…", agent.root)) > 3
    assert agent.purge(BIRD).left == []
    assert places("Kolibri", agent.root) == []
    assert f"undo: human: gate opens with {MARK}… → door opens with {MARK}…" in subjects(agent)
    assert f"human: gate opens with {MARK}…" in git(agent, "stash", "list")
    sound(agent)


def test_a_few_letters_at_the_end_of_what_was_told_of_an_edit(make: Make) -> None:
    agent = make("Hm.")
    text = f"{'x' * 1494} {BIRD}\n"  # of a patch, 1,500 characters are told
    (agent.root / "core/birds.md").write_text(text)
    agent.chat("Hello.")
    assert any("x Koli\\n[…]" in line for line in recall(agent))
    assert agent.purge(BIRD).left == []
    assert places("Koli", agent.root) == []
    sound(agent)


def test_a_few_letters_of_anything_else_stay_and_are_named(sarah: Agent) -> None:
    commit(sarah, "files/birds.txt", "A day with the Kolibri-P…", "birds: she saw a Kolibri-P…")
    commit(sarah, "files/gate.txt", BIRD, "gate: opens with Kolibri-P…")
    done = sarah.purge(BIRD)
    assert subjects(sarah)[:2] == [f"gate: opens with {MARK}…", "birds: she saw a Kolibri-P…"]
    assert (sarah.root / "files/birds.txt").read_text() == "A day with the Kolibri-P…"
    birds = git(sarah, "rev-parse", "HEAD^")[:7]
    (told,) = (line for line in done.told if "beginning" in line)
    assert f"the commit {birds}" in told
    assert "files/birds.txt" in told
    sarah.purge("Kolibri-P…")
    assert places("Kolibri", sarah.root) == []


def test_only_what_is_cut_off_counts() -> None:
    gap = Gap(Target(texts=(LONG,)))
    for kept in ("Alpha-7749", "Alpha-77…", "Alpha-7749-Bravo, …", "alpha-7749-Bravo…"):
        assert gap.words(kept.encode()) == kept.encode()
    for cut in (f"{LONG[:12]}…", f"{LONG[:20]} […]", f"{LONG[:-1]}\n[…]", f"{LONG[:-1]} …"):
        assert gap.words(f"x {cut} y".encode()).startswith(f"x {MARK}".encode())
        assert gap.holds(f"x {cut}".encode())


def test_a_part_between_ellipses_counts_too() -> None:
    gap = Gap(Target(texts=(f"Her safe opens with {LONG}",)))
    for kept in ("…e-9921", "[…] Bravo-5521-Charlie", "Bravo-5521-Charlie-9921", "[…] is 9921"):
        assert gap.words(kept.encode()) == kept.encode()
    for cut, left in (
        ("x […] Bravo-5521-Charlie-9921, he said", f"x […] {MARK}, he said"),
        ("x …opens  with\nAlpha-7749 … y", f"x …{MARK} … y"),
        ("[…] -7749-Bravo-5521 […]", f"[…] {MARK} […]"),
        ("Her safe opens … -Charlie-9921", f"{MARK} … {MARK}"),
    ):
        assert gap.words(cut.encode()).decode() == left


def test_what_a_search_showed_of_a_long_text_goes(make: Make) -> None:
    story = " ".join(f"On day {day} she walked to the harbour and back." for day in range(80))
    agent = make(call("archival_memory_insert", content=story), "I keep it.")
    agent.chat("Keep her story.")
    script(agent, call("archival_memory_search", query="day 70"), "She walked.")
    agent.chat("What was on day 70?")
    shown = "".join(path.read_text() for path in agent.root.glob("recall/*/*/*"))
    assert "[…] " in shown
    assert "day 70 she walked" in shown
    assert agent.purge(story).left == []
    assert places("day 70 she walked", agent.root) == []
    sound(agent)


def test_lines_of_a_text_that_are_quoted_go_and_single_ones_are_named(sarah: Agent) -> None:
    key = "--- BEGIN KEY ---\nAlpha7749Bravo5521\nCharlie9921Delta\n\n--- END KEY ---"
    folder = sarah.root / "files"
    folder.mkdir()
    marks = {"shell": "# ", "quoted": "> > ", "c": "* ", "cpp": "// ", "ini": ";", "table": "| "}
    for name, mark in marks.items():
        (folder / name).write_text("".join(f"{mark}{line}\n" for line in key.split("\n")))
    (folder / "part").write_text("So: Charlie9921Delta, he said.")
    (folder / "begin").write_text("--- BEGIN ---")
    done = sarah.purge(key)
    assert {name: (folder / name).read_text() for name in marks} == {
        name: f"{mark}{MARK}\n" for name, mark in marks.items()
    }
    assert done.elsewhere == ["files/part"]


@pytest.mark.parametrize("code", ["latin-1", "cp1252"])
def test_a_commit_and_a_file_in_another_encoding(sarah: Agent, code: str) -> None:
    text = "Grüner Öko-Weg 12" if code == "latin-1" else "Grüner Öko-Weg – “12”"
    place = sarah.root / "files/letter.txt"
    place.parent.mkdir()
    place.write_bytes(f"To: {text}.\n".encode(code))
    git(sarah, "config", "i18n.commitEncoding", code)
    git(sarah, "add", "files")
    message = f"by hand: {text}\n".encode(code)
    subprocess.run(["git", "commit", "-qF", "-"], cwd=sarah.root, input=message, check=True)
    assert sarah.purge(text).left == []
    assert place.read_bytes() == f"To: {MARK}.\n".encode()
    assert git(sarah, "log", "-1", "--format=%s").strip() == f"by hand: {MARK}"
    for left in (text.encode(code), text.encode()):
        assert left not in objects(sarah.root)
    sound(sarah)


@pytest.mark.parametrize("text", ["Her safe opens with\nAlpha 7749 Bravo", "one\n\ntwo three"])
def test_a_text_of_several_lines_in_the_event_of_an_edit(make: Make, text: str) -> None:
    agent = make("Hm.")
    human = agent.root / "core/human.md"
    human.write_text(human.read_text() + text + "\n")
    (agent.root / "files").mkdir()
    quoted = "".join(f"> > {line}\n" for line in text.split("\n"))
    (agent.root / "files/quoted.txt").write_text(quoted)
    agent.chat("And?")
    last = "+" + text.split("\n")[-1]
    assert places(last, agent.root)
    assert agent.purge(text).left == []
    assert places(last, agent.root) == []
    assert (agent.root / "files/quoted.txt").read_text() == f"> > {MARK}\n"
    sound(agent)


def test_the_name_of_a_note_goes_with_its_commit(sarah: Agent) -> None:
    sarah.notes.add("Zebulon Quagmire owes us money.")
    oid = git(sarah, "rev-parse", "HEAD").strip()
    assert sarah.purge(oid).left == []
    assert places("zebulon-quagmire", sarah.root) == []
    (note,) = sarah.root.glob("archival/*/*/*.md")
    assert note.name.startswith("purged-")
    assert git(sarah, "status", "--short") == ""
    sound(sarah)


def called(agent: Agent, text: str) -> str:
    """A note that is quoted by its path: by git, by another note, by a tool and to the agent."""
    note = agent.notes.add(text)
    path = agent.root / note.path
    path.write_text(path.read_text().replace("\n\n", "\n\nSince May. ", 1))
    script(agent, call("archival_memory_insert", content=f"See {note.path}."), "I do.")
    agent.chat(f"Look into ./{note.path}, and `{path.name}`.")
    return note.path


def test_where_a_note_was_named_by_its_path(sarah: Agent) -> None:
    called(sarah, "Zebulon Quagmire owes us money.")
    oid = git(sarah, "log", "--format=%h", "--grep=note: Zebulon").strip()
    assert "hand edit: archival/2026/11/zebulon-quagmire-" in git(sarah, "log", "--format=%s")
    assert sarah.purge(oid).left == []
    assert places("zebulon-quagmire", sarah.root) == []
    (note,) = sarah.root.glob("archival/*/*/purged-*.md")
    assert "Since May." in note.read_text()
    (other,) = (one for one in sarah.notes if one.text.startswith("See "))
    assert other.text == f"See {note.relative_to(sarah.root)}."
    assert "hand edit: archival/2026/11/purged…" in git(sarah, "log", "--format=%s")
    sound(sarah)


@pytest.mark.parametrize("text", [LONG, "GATE is Alpha-7749", "code of garden"])
def test_where_a_text_stood_in_the_path_of_a_note(sarah: Agent, text: str) -> None:
    called(sarah, f"The code of garden gate is {LONG}, says Tim.")
    sarah.notes.add(f"The code of garden GATE is {LONG}, says Tim.")
    assert sarah.purge(text).left == []
    slug = "-".join(re.findall(r"\w+", text.lower()))
    assert places(slug[:12], sarah.root) == []
    sound(sarah)


def test_paths_of_other_notes_stay() -> None:
    gap = Gap(Target(lines=("Owes us money.",), paths=("archival/2026/11/owes-us-money-t1.md",)))
    for kept in (
        "archival/2026/11/owes-us-money-for-tea-01m80hpqp5s0nzqcjr.md",
        "archival/2026/11/owes-us…",
        "owes-us-money.md",
        "owes us money, owes-us-money…",
    ):
        assert gap.words(kept.encode()).decode() == kept
    for gone in (
        "x owes-us-money-01m80hpqp5s0nzqcjr.md",
        "archival/2026/11/owes-us-money-01m80h…",
        "archival/2026/11/owes-us-money-01m80hpqp5.m…",
        "owes-us-money-01m80h.md…",
    ):
        assert b"owes-us" not in gap.words(gone.encode())


def test_lines_that_were_typed_before_it_was_moved(sarah: Agent, tmp_path: Path) -> None:
    with_code(sarah)
    old = Environment.read().lines_of(tmp_path / "where it was")
    old.parent.mkdir(exist_ok=True)
    old.write_text(f"hello\nmy {CODE}\n")
    done = sarah.purge(CODE)
    assert str(old) in done.files
    assert old.read_text() == f"hello\nmy {MARK}\n"
