"""Every check, each provoked by a real defect; what --repair mends; and that a look changes nothing."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, call
from fsagent.check import Finding, check, repair
from fsagent.errors import AgentBusy
from fsagent.formats import format_record
from fsagent.index.whoosh import WhooshIndex
from fsagent.records import Record, ToolCall

from conftest import PERSISTENT, git, script, subjects

Make = Callable[..., Agent]


@pytest.fixture
def ada(make: Make) -> Agent:
    """An agent with blocks, notes, a conversation with a tool call, and an index in files."""
    agent = make()
    for n in range(3):
        agent.notes.add(f"Note number {n} is about tea.", tags=["tea"])
    script(agent, call("core_memory_append", label="human", content="Likes tea."), "Noted.")
    agent.chat("I like tea.")
    agent.reindex()
    return agent


def anew(agent: Agent) -> Agent:
    """The agent as another process sees it."""
    return Agent.open(agent.root, clock=agent.store.clock, mend=False)


def found(agent: Agent) -> list[Finding]:
    return list(check(anew(agent)).findings)


def one(agent: Agent) -> Finding:
    findings = found(agent)
    assert len(findings) == 1, findings
    return findings[0]


def segment(agent: Agent) -> Path:
    return agent.root / agent.store.segments()[-1]


def commit(agent: Agent) -> None:
    git(agent, "add", "-A")
    git(agent, "commit", "-qm", "by hand")


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def everything(root: Path) -> dict[str, Any]:
    """All that stands on the disk below ``root``, with its times, but when it was last read."""
    seen = {}
    for path in [root, *root.rglob("*")]:
        info = path.lstat()
        data: Any = (
            path.read_bytes()
            if stat.S_ISREG(info.st_mode)
            else sorted(os.listdir(path))
            if path.is_dir()
            else ""
        )
        seen[str(path)] = (info.st_ino, info.st_mode, info.st_mtime_ns, info.st_ctime_ns, data)
    return seen


# ── a sound agent ─────────────────────────────────────────────────────────────────────────────


def test_a_sound_agent_has_no_findings(ada: Agent) -> None:
    report = check(anew(ada))
    assert report.findings == ()
    assert report.sound
    assert report.checked == (
        *("agent.yaml", "2 blocks", "3 notes", "4 records in 1 segment", "6 commits"),
        *("7 docs of the index", "locks", "journal", "settings", "size"),
    )


def test_the_examples_and_a_packed_agent_are_sound(ada: Agent, tmp_path: Path) -> None:
    ada.maintain()
    assert found(ada) == []
    for template in (Path(__file__).parents[1] / "agents_example").iterdir():
        if template.is_dir():
            assert found(Agent.init(tmp_path / template.name, template=template)) == []


@pytest.mark.parametrize("locked", [False, True])
def test_a_look_changes_nothing(ada: Agent, tmp_path: Path, locked: bool) -> None:
    (ada.root / "core/human.md").write_text("Name: Tim\nedited\n")
    (ada.root / "archival/new.md").write_text("new\n")
    with segment(ada).open("a") as file:
        file.write('{"torn')
    if locked:
        (ada.root / ".git/index.lock").write_text("")
        age(ada.root / ".git/index.lock", 600)
    age(ada.root / "agent.yaml", 600)  # so that Git would like to refresh its index
    shutil.rmtree(ada.root / ".git/fsagent")
    before, cache = everything(ada.root), everything(tmp_path / "cache")
    run("check", str(ada.root), status=1)
    assert everything(ada.root) == before
    # Of the caches, locks of the index are opened, and no more.
    after = everything(tmp_path / "cache")
    assert {k: v[4] for k, v in after.items()} == {k: v[4] for k, v in cache.items()}


# ── files ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("id: [\n", "not valid YAML"),
        ("name: x\n", "has no id"),
        ("id: x\ntimezone: Mars/Olympus\n", "is unknown: use a name like"),
        ("id: x\ntools: [fly]\n", "'fly', which does not exist here"),
    ],
)
def test_agent_yaml(ada: Agent, text: str, part: str) -> None:
    (ada.root / "agent.yaml").write_text(text)
    first, edited = found(ada)
    assert (first.severity, first.place) == ("problem", "agent.yaml")
    assert part in first.text
    assert f"git -C {ada.root} log -p -- agent.yaml" in first.remedy
    assert edited.place == "work tree"


def test_pages(ada: Agent) -> None:
    (ada.root / "system.md").write_text("---\na: [\n---\nBe kind.\n")
    (ada.root / "core/human.md").write_text("---\nlimit: 3\n---\nName: Tim\n")
    (ada.root / "core/persona.md").write_text("---\nlimit: many\n---\nKind.\n")
    (ada.root / "archival/latin.md").write_bytes(b"caf\xe9\n")
    commit(ada)
    by_place = {finding.place: finding for finding in found(ada)}
    assert set(by_place) == {
        *("system.md", "core/human.md", "core/persona.md", "archival/latin.md"),
    }
    assert by_place["system.md"].severity == "problem"
    assert by_place["system.md"].text.startswith("line 3: front matter is not valid YAML")
    assert by_place["core/human.md"].severity == "advice"
    assert by_place["core/human.md"].text == "It is 6 characters over its limit of 3."
    assert by_place["core/persona.md"].text.startswith("limit must be a whole number")
    assert by_place["archival/latin.md"].text.startswith("line 1: not UTF-8 text")
    assert "Save it as UTF-8" in by_place["archival/latin.md"].remedy


def test_odd_files(ada: Agent, tmp_path: Path) -> None:
    (ada.root / "core/link.md").symlink_to("/etc/hostname")
    (ada.root / "archival/folder").symlink_to(tmp_path)
    os.mkfifo(ada.root / "archival/pipe.md")
    (ada.root / "archival/thesis.doc").write_text("x")
    (ada.root / "archival/.hidden.md").write_text("x")
    (ada.root / "archival/draft.md~").write_text("x")
    (ada.root / "files").symlink_to(tmp_path)
    subprocess.run(["git", "init", "-q", str(ada.root / "archival/inner")], check=True)
    odd = {finding.place: finding.text for finding in found(ada)}
    assert odd == {
        "core/link.md": "It is a symbolic link and is not read.",
        "archival/folder": "It is a symbolic link and is not read.",
        "archival/pipe.md": "It is not a plain file and is not read.",
        "archival/thesis.doc": "It is of no kind that belongs there: it is neither read nor committed.",
        "archival/inner": "It is a repository of its own and is left alone.",
        "files": "It is a symbolic link and is not read.",
        "work tree": "core/link.md: edited, and not committed yet.",
    }


def test_a_name_that_is_not_utf8(ada: Agent) -> None:
    Path(os.fsdecode(os.fsencode(ada.root) + b"/archival/caf\xe9.md")).write_text("x\n")
    commit(ada)
    finding = one(ada)
    assert finding.place == "archival/caf\\xe9.md"
    assert finding.text == "Its name is not UTF-8, so it is not read."


def test_labels_that_are_the_same_but_for_their_form(ada: Agent) -> None:
    (ada.root / "core/caf\u00e9.md").write_text("a\n")
    (ada.root / "core/cafe\u0301.md").write_text("b\n")
    commit(ada)
    finding = one(ada)
    assert finding.severity == "problem"
    assert "has the same label as core/cafe\u0301.md" in finding.text


def test_two_notes_of_one_id(ada: Agent) -> None:
    note = next(iter(ada.notes))
    (ada.root / "archival/copy.md").write_text(
        (ada.root / note.path).read_text().replace("tea", "milk")
    )
    commit(ada)
    finding = one(ada)
    assert (finding.severity, finding.place) == ("problem", note.path)
    assert finding.text == f"It has the same id as archival/copy.md: {note.id}."


def test_a_large_file(ada: Agent) -> None:
    (ada.root / "files").mkdir()
    (ada.root / "files/book.txt").write_text("a long line\n" * 200_000)
    commit(ada)
    finding = one(ada)
    assert (finding.severity, finding.place) == ("advice", "files/book.txt")
    assert finding.text.startswith("It has 2.3 MB")


# ── recall ────────────────────────────────────────────────────────────────────────────────────


def test_a_line_that_is_no_record(ada: Agent) -> None:
    path = segment(ada)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"{torn", b"\xff", *lines[1:]]))
    commit(ada)
    where = path.relative_to(ada.root)
    assert (one(ada).severity, one(ada).place) == ("problem", f"{where}:2")
    more = "the line is skipped, and 1 more of that file."
    assert one(ada).text == f"not a line of JSON: {more}"
    path.write_bytes(b"\n".join([lines[0], b"\xff", *lines[1:]]))
    commit(ada)
    assert (one(ada).place, one(ada).text) == (f"{where}:2", "not UTF-8 text: the line is skipped.")


def test_many_lines_that_are_no_records_cost_a_moment_and_a_sentence(ada: Agent) -> None:
    path = segment(ada)
    with path.open("ab") as file:
        file.write(b'{"id":"a"}\n' * 30_000)
    commit(ada)
    store = anew(ada).store
    start = time.process_time()
    assert len(list(store.newest())) == len(store.records(str(path.relative_to(ada.root))))
    assert time.process_time() - start < 5  # it was a minute and more
    (told,) = (text for text in store.warnings if "skipped" in text)
    assert "and 29,999 more of that file" in told
    (problem,) = (finding for finding in found(ada) if finding.severity == "problem")
    assert "and 29,999 more of that file" in problem.text


def test_a_torn_last_line_is_mended(ada: Agent) -> None:
    path = segment(ada)
    before = path.read_bytes()
    path.write_bytes(before + b'{"id": "x", "ro')
    commit(ada)  # a person, without noticing
    finding = one(ada)
    assert finding.place == f"{path.relative_to(ada.root)}:5"
    assert "--repair" in finding.remedy
    told = repair(anew(ada))
    assert "was torn and is cut" in told[0]
    assert path.read_bytes() == before
    (kept,) = (ada.root / ".git/fsagent/torn").iterdir()
    assert kept.read_bytes() == b'{"id": "x", "ro'
    assert str(kept) in told[0]
    assert (
        git(ada, "log", "-1", "--format=%an: %s") == f"Tim: repair: {path.relative_to(ada.root)}\n"
    )
    assert found(ada) == []
    assert repair(anew(ada)) == []


def test_a_last_line_without_its_newline_is_mended(ada: Agent) -> None:
    path = segment(ada)
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    commit(ada)
    assert one(ada).severity == "problem"
    assert "lacked its newline" in repair(anew(ada))[0]
    assert path.read_bytes() == before
    assert found(ada) == []


def test_lines_of_a_killed_turn_are_committed(ada: Agent) -> None:
    path = segment(ada)
    record = Record("zz1", "2026-11-21T09:31:00.000Z", "user", "And then?", "zz0")
    with path.open("a") as file:
        file.write(format_record(record) + '{"id": "zz2"')
    assert {finding.severity for finding in found(ada)} == {"problem", "advice"}
    told = repair(anew(ada))
    assert len(told) == 2
    assert subjects(ada)[0] == "turn (recovered)"
    assert found(ada) == []


def test_the_last_line_of_a_live_turn_is_not_judged(ada: Agent) -> None:
    with segment(ada).open("a") as file:
        file.write('{"id": "half of')
    with ada.store.turn():
        assert [finding.place for finding in found(ada)] == ["work tree"]
    assert len(found(ada)) == 2


def test_a_record_that_is_there_twice(ada: Agent) -> None:
    path = segment(ada)
    lines = path.read_bytes().splitlines(keepends=True)
    other = path.with_name("30-other.jsonl")
    other.write_bytes(lines[1] + format_record(Record("zz", "", "user", "new", "t")).encode())
    path.write_bytes(b"".join([*lines, lines[0], lines[0]]))
    commit(ada)
    finding = one(ada)
    assert finding.severity == "problem"
    assert finding.text.startswith("3 records that are there before, byte for byte")
    told = repair(anew(ada))
    assert told[0].startswith("3 records that were there twice")
    assert path.read_bytes() == b"".join(lines)
    assert other.read_bytes().count(b"\n") == 1
    assert subjects(ada)[0] == "repair: 3 records that were there twice"
    assert found(ada) == []


def test_a_segment_of_nothing_but_copies_goes(ada: Agent) -> None:
    path = segment(ada)
    other = path.with_name("30-other.jsonl")
    other.write_bytes(path.read_bytes())
    commit(ada)
    repair(anew(ada))
    assert not other.exists()
    assert found(ada) == []


def test_one_id_for_two_records_is_for_a_person(ada: Agent) -> None:
    path = segment(ada)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[0].replace(b"tea", b"milk")]))
    commit(ada)
    finding = one(ada)
    assert "is there twice, and not alike" in finding.text
    before = path.read_bytes()
    assert repair(anew(ada)) == []
    assert path.read_bytes() == before
    assert one(ada) == finding


def test_a_result_without_its_call(ada: Agent) -> None:
    path = segment(ada)
    lines = path.read_bytes().splitlines(keepends=True)
    (at,) = [n for n, line in enumerate(lines) if b'"tool_calls"' in line]
    path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
    commit(ada)
    finding = one(ada)
    assert finding.severity == "advice"
    assert finding.text == "It is the result of the call call_1, which is not there."


def test_a_call_without_a_result_is_no_finding(ada: Agent) -> None:
    record = Record("zz1", "", "assistant", "", "zz0", tool_calls=(ToolCall("c", "f", "{}"),))
    with segment(ada).open("a") as file:
        file.write(format_record(record))
    commit(ada)
    assert found(ada) == []


def test_a_segment_far_too_long(ada: Agent) -> None:
    with segment(ada).open("a") as file:
        for n in range(900):
            file.write(format_record(Record(f"zz{n:04}", "", "user", "x" * 300, "zz")))
    commit(ada)
    finding = one(ada)
    assert finding.severity == "advice"
    assert "KB; a segment is to have 64" in finding.text


# ── the repository ────────────────────────────────────────────────────────────────────────────


def test_a_damaged_and_a_missing_object(ada: Agent) -> None:
    note = next(iter(ada.notes)).path
    blob = git(ada, "rev-parse", f"HEAD:{note}").strip()
    path = ada.root / f".git/objects/{blob[:2]}/{blob[2:]}"
    path.unlink()
    finding = found(ada)[0]
    assert finding.severity == "problem"
    assert finding.text == f"git fsck: missing blob {blob}"
    tree = git(ada, "rev-parse", "HEAD^{tree}").strip()
    path = ada.root / f".git/objects/{tree[:2]}/{tree[2:]}"
    path.chmod(0o644)
    path.write_bytes(b"rubbish")
    findings = found(ada)
    assert all(finding.severity == "problem" for finding in findings)
    assert any("git fsck: error" in finding.text for finding in findings)
    assert "Copy the directory first" in findings[0].remedy
    for file in list((ada.root / ".git/objects").glob("[0-7]?/*")):
        file.unlink()
    assert any(finding.text.endswith("more lines.") for finding in found(ada))


def test_a_damaged_index_of_git(ada: Agent) -> None:
    (ada.root / ".git/index").write_bytes(b"rubbish" * 10)
    findings = found(ada)
    assert any("git cannot read the repository" in finding.text for finding in findings)
    assert any(str(ada.root / ".git/index") in finding.remedy for finding in findings)


def test_settings_that_git_cannot_read(ada: Agent) -> None:
    with (ada.root / ".git/config").open("a") as config:
        config.write("[core\n")
    finding = one(ada)
    assert (finding.severity, finding.place) == ("problem", ".git/config")
    assert "bad config line" in finding.text


def test_settings_that_name_a_command(ada: Agent, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    for key in ("core.fsmonitor", "core.sshCommand", "diff.external", "core.alternateRefsCommand"):
        git(ada, "config", key, f"touch {trap}")
    list(ada.maintain())
    finding = one(ada)
    assert (finding.severity, finding.place) == ("advice", ".git/config")
    assert finding.text.startswith("core.alternaterefscommand, core.sshcommand, diff.external")
    assert finding.remedy.endswith(f"fsagent allow {ada.root}")
    repair(anew(ada))
    assert not trap.exists()


def test_hand_edits_and_a_detached_head(ada: Agent) -> None:
    (ada.root / "core/human.md").write_text("Name: Tom\n")
    (ada.root / "archival/new.md").write_text("new\n")
    (ada.root / "todo.txt").write_text("mine\n")
    git(ada, "checkout", "-q", "--detach")
    detached, edited = found(ada)
    assert "on no branch" in detached.text
    assert edited.text == "archival/new.md, core/human.md: edited, and not committed yet." or (
        edited.text == "core/human.md, archival/new.md: edited, and not committed yet."
    )
    assert {detached.severity, edited.severity} == {"advice"}


def test_a_merge_with_a_conflict(ada: Agent) -> None:
    git(ada, "branch", "side")
    for branch, name in (("main", "Tom"), ("side", "Tam")):
        git(ada, "checkout", "-q", branch)
        (ada.root / "files").mkdir(exist_ok=True)
        (ada.root / "files/names.txt").write_text(f"Name: {name}\n")
        commit(ada)
    git(ada, "merge", "-q", "main", check=False)
    merge, conflict = found(ada)
    assert merge.severity == conflict.severity == "problem"
    assert merge.text.startswith("A merge is under way")
    assert "merge --continue" in merge.remedy
    assert conflict.place == "files/names.txt"
    with segment(ada).open("a") as file:
        file.write("torn")
    told = repair(anew(ada))
    assert told
    assert all(line.startswith("Not repaired: A merge is under way") for line in told[1:])


def test_no_commit_yet(tmp_path: Path) -> None:
    root = tmp_path / "new"
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "agent.yaml").write_text("id: new\n")
    findings = found(Agent.open(root))
    assert [finding.place for finding in findings] == [".git/config", ".git/HEAD", "work tree"]
    assert findings[0].text.startswith("gc.auto, maintenance.auto, core.fsync, merge.fsagent")
    Agent.open(root).maintain()
    assert len(found(Agent.open(root))) == 2


@pytest.mark.parametrize(
    "name", ["index.lock", "HEAD.lock", "refs/heads/main.lock", "config.lock", "packed-refs.lock"]
)
def test_a_lock_that_was_left(ada: Agent, name: str) -> None:
    lock = ada.root / ".git" / name
    lock.write_text("")
    live = one(ada)
    assert (live.severity, live.place) == ("advice", f".git/{name}")
    assert "may be at work" in live.text
    age(lock, 7300)
    left = one(ada)
    assert left.severity == "problem"
    assert left.text.startswith("It has been there for 2 hours")
    assert left.remedy.endswith(f"rm {lock}")
    repair(anew(ada))
    assert lock.exists()


STOPPED = """
import os, sys
from fsagent import Agent
from fsagent.repo import disk
agent = Agent.open(sys.argv[1])
setattr(disk, sys.argv[2], lambda *_, **__: os._exit(9))
agent.blocks["human"] = "Name: Tim, cut short\\n"
"""


@pytest.mark.parametrize(("step", "finished"), [("swap", False), ("fill", True)])
def test_a_commit_that_was_stopped(ada: Agent, step: str, finished: bool) -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED, str(ada.root), step])
    assert done.returncode == 9
    lock, journal = (f for f in found(ada) if f.place != "work tree")
    assert (lock.severity, lock.place) == ("advice", ".git/index.lock")
    age(ada.root / ".git/index.lock", 60)
    lock, journal = (f for f in found(ada) if f.place != "work tree")
    assert lock.severity == journal.severity == "problem"
    assert lock.text == "A commit of the agent was stopped 1 minute ago and left it."
    assert journal.place == ".git/fsagent/journal"
    assert journal.text.startswith("The commit 'edit: core/human.md' was begun and not finished")
    with ada.store.locks.hold("write", 1.0, "busy"):
        assert all(f.place != ".git/fsagent/journal" for f in found(ada))
    told = repair(anew(ada))
    assert told[0].startswith("Recovered: removed the index.lock that it left")
    assert found(ada) == []
    assert (subjects(ada)[0] == "edit: core/human.md") is finished


def test_a_journal_with_a_torn_end(ada: Agent) -> None:
    with (ada.root / ".git/fsagent/journal").open("ab") as journal:
        journal.write(b"fsa1 torn")
    finding = one(ada)
    assert (finding.severity, finding.place) == ("problem", ".git/fsagent/journal")
    assert finding.text.startswith("Its end is torn")
    assert repair(anew(ada)) == []
    assert found(ada) == []


def test_locks_of_our_own_are_no_findings(ada: Agent) -> None:
    with ada.store.turn(), ada.store.locks.hold("write", 1.0, "busy"):
        assert found(ada) == []
    ada.maintain()
    assert (ada.root / ".git/fsagent/maintain.lock").exists()
    assert found(ada) == []


def test_nobody_is_named(ada: Agent, tmp_path: Path) -> None:
    (tmp_path / "home/.gitconfig").unlink()
    finding = one(ada)
    assert finding.severity == "advice"
    assert "your edits are by 'someone'" in finding.text


def test_a_dropped_commit_is_told(ada: Agent) -> None:
    head = git(ada, "rev-parse", "HEAD").strip()
    git(ada, "update-ref", f"refs/fsagent/dropped/{head}", head)
    finding = one(ada)
    assert finding.place == f"refs/fsagent/dropped/{head}"
    assert "cherry-pick" in finding.remedy


def test_much_that_is_not_packed(ada: Agent) -> None:
    folder = ada.root / ".git/objects/17"
    folder.mkdir(exist_ok=True)
    texts = (f"{n}\n" for n in range(10**9))
    while len(list(folder.iterdir())) < 8:
        text = next(texts)
        if git_id(text).startswith("17"):
            (ada.root / "x").write_text(text)
            git(ada, "hash-object", "-w", "x")
    (ada.root / "x").unlink()
    finding = one(ada)
    assert (finding.severity, finding.place) == ("advice", ".git/objects")
    assert finding.remedy == f"fsagent maintain {ada.root}"


def git_id(text: str) -> str:
    from hashlib import sha1

    data = text.encode()
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_packs_that_are_far_too_large(ada: Agent) -> None:
    (ada.root / "files").mkdir()
    for _ in range(4):
        (ada.root / "files/photo").write_bytes(os.urandom(900_000))
        commit(ada)
    assert found(ada) == []
    ada.maintain()
    finding = one(ada)
    assert (finding.severity, finding.place) == ("advice", ".git/objects/pack")
    assert finding.text.startswith("The packs have 3.4 MB")


def test_half_made_packs(ada: Agent) -> None:
    half = ada.root / ".git/objects/pack/.tmp-1-pack-2.pack"
    half.write_text("x")
    assert found(ada) == []
    age(half, 2 * 86400)
    finding = one(ada)
    assert (finding.severity, finding.place) == ("advice", ".git/objects/pack/.tmp-1-pack-2.pack")
    assert repair(anew(ada)) == ["1 temporary file removed."]
    assert found(ada) == []


# ── the index ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", PERSISTENT)
def test_the_index_is_compared_with_a_fresh_one(ada: Agent, kind: str) -> None:
    yaml = ada.root / "agent.yaml"
    yaml.write_text(yaml.read_text() + f"index: {kind}\n")
    commit(ada)
    agent = anew(ada)
    agent.reindex()
    assert "7 docs of the index" in check(agent).checked
    agent.notes.add("What the index does not know yet, it learns by following.")
    moved = next(iter(agent.notes)).path
    (agent.root / moved).rename(agent.root / "archival/elsewhere.md")
    agent.adopt()
    report = check(anew(agent))
    assert report.findings == ()
    assert "8 docs of the index" in report.checked


def damaged(agent: Agent, act: Callable[[list[Any]], tuple[list[Any], list[Any]]]) -> None:
    """Write to the index what does not follow from the files."""
    index = WhooshIndex(agent.index.folder)
    entries = sorted(index.entries(), key=lambda entry: entry.doc.path)
    put, drop = act(entries)
    meta = index.meta()
    assert meta
    assert index.update(put, drop, meta)


def test_an_index_that_lacks_a_doc_is_built_again(ada: Agent) -> None:
    damaged(ada, lambda entries: ([], entries[:2]))
    finding = one(ada)
    assert (finding.severity, finding.place) == ("problem", "index")
    assert "2 docs are missing, the first at archival/" in finding.text
    assert repair(anew(ada)) == ["The search index was built again (7 docs)."]
    assert found(ada) == []


def test_an_index_with_other_words_is_named(ada: Agent) -> None:
    from dataclasses import replace

    damaged(ada, lambda all_: ([replace(all_[0], terms=("milk",))], [all_[0]]))
    assert "1 doc is different, the first at archival/" in one(ada).text


def test_an_index_with_too_many_docs_is_named(ada: Agent) -> None:
    from dataclasses import replace

    from fsagent.index.entries import analysed

    damaged(ada, lambda all_: ([analysed(replace(all_[0].doc, blob="f" * 40))], []))
    assert "1 doc is too many" in one(ada).text


def test_a_damaged_index_is_built_again(ada: Agent) -> None:
    for file in ada.index.folder.rglob("*.seg"):
        data = bytearray(file.read_bytes())
        data[len(data) // 3 : len(data) // 3 + 40] = b"\xff" * 40
        file.write_bytes(data)
    findings = found(ada)
    for finding in findings:  # unreadable at all, it would be built again by any search
        assert finding.place == "index"
        assert repair(anew(ada))
    assert found(ada) == []


def test_no_index_is_made_for_a_look(ada: Agent, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "cache")
    assert "index (not built yet)" in check(anew(ada)).checked
    assert not (tmp_path / "cache").exists()


def test_an_index_of_a_commit_that_is_gone_is_no_finding(ada: Agent) -> None:
    index = WhooshIndex(ada.index.folder)
    entries = list(index.entries())
    from fsagent.index import Meta

    assert index.update([], entries[:1], Meta("1" * 40))
    report = check(anew(ada))
    assert report.findings == ()
    assert "index (not built yet)" in report.checked


# ── the command ───────────────────────────────────────────────────────────────────────────────


def run(*arguments: str, status: int = 0) -> str:
    command = [sys.executable, "-m", "fsagent", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout if "Error" not in done.stderr else done.stderr


def test_the_command(ada: Agent) -> None:
    root = str(ada.root)
    assert run("check", root) == (
        "No findings. Checked: agent.yaml, 2 blocks, 3 notes, 4 records in 1 segment, 6 commits, "
        "7 docs of the index, locks, journal, settings, size.\n"
    )
    (ada.root / "core/human.md").write_text("Name: Tom\n")
    assert run("check", root) == (
        "advice   work tree: core/human.md: edited, and not committed yet.\n"
        "         The next turn commits it as yours; or commit it yourself.\n"
    )
    path = segment(ada)
    path.write_bytes(path.read_bytes() + b"torn")
    commit(ada)
    screen = run("check", root, status=1)
    where = path.relative_to(ada.root)
    assert screen.startswith(f"problem  {where}:5: The last line has no end")
    screen = run("check", root, "--repair")
    assert screen.startswith(f"repaired {where}: the last line was torn and is cut")
    assert "\nNo findings. Checked: agent.yaml" in screen
    report = json.loads(run("check", root, "--json"))
    assert report["findings"] == []
    assert report["repaired"] == []
    assert report["checked"][0] == "agent.yaml"
    (ada.root / "core/human.md").write_text("---\na: [\n---\nName: Tom\n")
    report = json.loads(run("check", root, "--json", status=1))
    assert [finding["severity"] for finding in report["findings"]] == ["problem", "advice"]
    assert set(report["findings"][0]) == {"severity", "place", "text", "remedy"}


def test_repair_waits_for_a_turn(ada: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsagent.store.TURN_PATIENCE", 0.1)
    with ada.store.turn(), pytest.raises(AgentBusy):
        repair(anew(ada))


def test_repair_with_an_agent_yaml_that_cannot_be_read(ada: Agent) -> None:
    (ada.root / "agent.yaml").write_text("id: [\n")
    record = Record("zz1", "2026-11-21T09:31:00.000Z", "user", "And then?", "zz0")
    with segment(ada).open("a") as file:
        file.write(format_record(record))
    told = repair(anew(ada))
    assert told
    assert all(line.startswith("Not repaired: agent.yaml, line") for line in told)


def test_a_lock_is_looked_at_and_not_taken(ada: Agent) -> None:
    lock = ada.root / ".git/fsagent/turn.lock"
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = everything(ada.root)
        check(anew(ada))
        assert everything(ada.root) == before
