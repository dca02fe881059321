"""Purge: afterwards it is nowhere, all else is as it was, and a kill in the middle changes nothing."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import yaml
from fsagent import Agent, ScriptedClient, call
from fsagent.check import check, repair
from fsagent.clock import stamp
from fsagent.environment import Environment
from fsagent.errors import AgentBusy, FsagentError, StoreError
from fsagent.formats import parse_record
from fsagent.history import purge as purging
from fsagent.history.gap import FORMAT, MARK, Gap, Target
from fsagent.records import Record
from fsagent.repo.journal import boot
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from conftest import FixedClock, git, script, subjects, wide
from test_cli import Shell, Terminal, shell  # noqa: F401 - a fixture

Make = Callable[..., Agent]

CODE = "Alpha-7749-Zulu"


# ── looking everywhere, in a way of its own ───────────────────────────────────────────────────


def inflated(data: bytes) -> bytes:
    """What any zlib stream in ``data`` holds: loose objects, entries of packs, whatever else."""
    found = []
    at = 0
    while (at := data.find(b"\x78", at)) >= 0:
        if int.from_bytes(data[at : at + 2]) % 31 == 0:
            with suppress(zlib.error):
                found.append(zlib.decompressobj().decompress(data[at:], 1 << 22))
        at += 1
    return b"\n".join(found)


def objects(root: Path) -> bytes:
    """Every object of the repository, as Git gives it."""
    done = subprocess.run(
        ["git", "-C", str(root), "cat-file", "--batch-all-objects", "--batch"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def places(text: str, *roots: Path) -> list[str]:
    """Where the bytes of ``text`` are: file names, files, and what is compressed in them."""
    wanted = [text.encode(), json.dumps(text)[1:-1].encode(), text.encode("utf-16-le")]
    wanted += [json.dumps(json.dumps(text)[1:-1])[1:-1].encode(), base64.b64encode(text.encode())]
    found = []
    for root in roots:
        for where, folders, names in os.walk(root):
            for name in (*folders, *names):
                path = Path(where, name)
                data = os.fsencode(name) + (path.read_bytes() if path.is_file() else b"")
                data += inflated(data) if ".git" in path.parts else b""
                found += [str(path)] if any(one in data for one in wanted) else []
        if (root / ".git").is_dir() and any(one in objects(root) for one in wanted):
            found.append(f"the objects of {root}")
    return found


def sound(agent: Agent) -> None:
    """Git finds nothing wrong, and the agent neither."""
    git(agent, "fsck", "--full", "--strict", "--no-dangling")
    assert [f for f in check(agent).findings if f.severity == "problem"] == []


def lines(agent: Agent) -> list[str]:
    """Recall, without the hashes of prompts: what held it loses them."""
    return [
        re.sub('"messages": "[^"]*"', '"messages": ""', line)
        for path in agent.store.segments()
        for line in (agent.root / path).read_text().splitlines()
    ]


def say(agent: Agent, role: str, text: str, turn: str, **more: Any) -> str:
    clock = agent.store.clock
    return agent.store.append(Record(clock.id(), stamp(clock.now()), role, text, turn, **more))


def filled(agent: Agent, records: int) -> None:
    """Recall with that many records, a commit for every twenty."""
    for turn in range(records // 20):
        paths = [
            say(agent, "user", f"Record {turn} {n}: “tea” \\ {n}", f"u{turn}") for n in range(20)
        ]
        with agent.store.change(f"turn: number {turn}") as change:
            change.included += dict.fromkeys(paths)


# ── all of it ─────────────────────────────────────────────────────────────────────────────────


def test_afterwards_it_is_nowhere_and_all_else_is_as_it_was(make: Make, tmp_path: Path) -> None:
    agent = make("Hm.")
    root = agent.root
    wide(agent)
    filled(agent, 1000)
    head = f'The code is {CODE}, "not" \\ to be told.'
    script(
        agent,
        call("core_memory_append", label="human", content=f"Code: {CODE}"),
        call("archival_memory_insert", content=f"{CODE} opens the safe.", tags=[f"code-{CODE}"]),
        f"I know: {CODE}.",
        "Hm.",
    )
    agent.chat(head)
    (root / "core/persona.md").write_text(f"I know {CODE}.\n")
    (root / "files").mkdir()
    (root / "files/plan.txt").write_text(f"first\n{CODE}\nlast\n")
    (root / "files/plan.bin").write_bytes(b"\0\1\2" + CODE.encode() + b"\0\3")
    agent.chat("And now?")
    agent.search("safe")

    # whatever else of Git's holds it
    git(agent, "tag", "-a", "v1", "-m", f"with {CODE}")
    git(agent, "branch", "other")
    git(agent, "notes", "add", "-m", f"a note on {CODE}", "HEAD~1")
    git(
        agent,
        "update-ref",
        f"refs/fsagent/dropped/{git(agent, 'rev-parse', 'HEAD').strip()}",
        "HEAD",
    )
    (root / "core/human.md").write_text(f"Stashed {CODE}\n")
    git(agent, "stash")
    (root / "mine.txt").write_text(f"reset away: {CODE}\n")
    git(agent, "add", "mine.txt")
    git(agent, "commit", "-qm", f"by hand: {CODE}")
    git(agent, "reset", "-q", "--hard", "HEAD~1")
    git(agent, "repack", "-a", "-d", "-b", "-q", "--write-midx")
    (pack,) = (root / ".git/objects/pack").glob("*.pack")
    pack.with_suffix(".keep").touch()
    git(agent, "commit-graph", "write", "--reachable", "--changed-paths")
    git(agent, "remote", "add", "hub", f"https://tim:{CODE}@example.org/sarah.git")
    git(agent, "update-ref", f"refs/remotes/hub/{CODE}", "HEAD")
    (root / "archival/draft.md").write_text(f"Staged {CODE}\n")
    git(agent, "add", "archival/draft.md")
    (root / "archival/draft.md").write_text(f"Staged {CODE}\nand edited\n")
    (root / ".gitignore").write_text("secret.env\n")
    (root / "secret.env").write_text(f"CODE={CODE}\n")
    (root / "core/human.md~").write_text(CODE)
    (root / f"about {CODE}.txt").write_text("nothing")
    torn = root / ".git/fsagent/torn"
    torn.mkdir()
    (torn / "x").write_bytes(f'{{"id": "{CODE}'.encode())
    history = Environment.read().lines_of(root)
    history.parent.mkdir()
    history.write_text(f"hello\nmy {CODE}\n\\101lpha\\0557749\\055Zulu\nbye\n")
    assert len(places(CODE, root, tmp_path / "cache", history.parent)) > 15

    before, kept = lines(agent), git(agent, "log", "--format=%an %ae %at %ct %b", "main")
    status, count = git(agent, "status", "--short"), git(agent, "rev-list", "--count", "main")
    done = agent.purge(CODE)

    assert done.left == []
    assert places(CODE, root, tmp_path / "cache", history.parent) == []
    sound(agent)
    after = lines(agent)
    assert len(after) == len(before) > 1000
    assert [new for new, old in zip(after, before, strict=True) if CODE not in old] == [
        old for old in before if CODE not in old
    ]
    held = [parse_record(new) for new, old in zip(after, before, strict=True) if CODE in old]
    assert len(held) >= 4
    assert all(MARK in record.content or MARK in str(record.tool_calls) for record in held)
    assert held[0].content == f'The code is {MARK}, "not" \\ to be told.'
    (_, note_call) = next(record for record in held if record.tool_calls).tool_calls[:1] * 2
    assert json.loads(note_call.arguments)["content"] == f"Code: {MARK}"
    assert git(agent, "log", "--format=%an %ae %at %ct %b", "main") == kept.replace(CODE, MARK)
    assert git(agent, "rev-list", "--count", "main") == count
    assert git(agent, "status", "--short") == status.replace(
        f'"about {CODE}.txt"', '"about purged.txt"'
    )
    assert git(agent, "show", ":archival/draft.md") == f"Staged {MARK}\n"
    assert git(agent, "show", "stash@{0}:core/human.md") == f"Stashed {MARK}\n"
    assert git(agent, "show", "main@{1}:mine.txt") == f"reset away: {MARK}\n"
    assert git(agent, "notes", "show", "HEAD~1") == f"a note on {MARK}\n"
    assert git(agent, "log", "-1", "--format=%s", "other").strip() == subjects(agent)[0]
    assert f"with {MARK}" in git(agent, "cat-file", "-p", "v1")
    assert git(agent, "remote", "get-url", "hub").startswith(f"https://tim:{MARK}@")
    (dropped,) = git(agent, "for-each-ref", "--format=%(refname)", "refs/fsagent").split()
    assert dropped == f"refs/fsagent/dropped/{git(agent, 'rev-parse', 'HEAD').strip()}"
    assert (root / "files/plan.bin").stat().st_size == 5 + len(CODE)
    assert history.read_text() == f"hello\nmy {MARK}\n{MARK}\nbye\n"
    packs = root / ".git/objects/pack"
    assert [len(list(packs.glob(f"*{kind}"))) for kind in (".pack", ".bitmap", ".keep")] == [
        1,
        1,
        0,
    ]
    assert git(agent, "multi-pack-index", "verify") == ""
    assert git(agent, "commit-graph", "verify") == ""

    # and life goes on
    assert agent.search("opens the safe").hits[0].doc.text.startswith(f"{MARK} opens the safe.")
    script(agent, "Hello.")
    turn = agent.chat("Hello!")
    assert not [text for text in turn.warnings if "kept" in text]
    again = Agent.open(root, ScriptedClient(["Well."]))
    assert again.chat("And again.").reply == "Well."
    assert places(CODE, root, tmp_path / "cache") == []
    sound(again)
    again.close()


def test_why_and_undo_still_know_where_things_come_from(make: Make) -> None:
    agent = make(
        call("core_memory_append", label="human", content=f"The code is {CODE}."),
        "Noted.",
        call("core_memory_append", label="human", content="Likes tea."),
        "Noted, too.",
    )
    first = agent.chat(f"My code is {CODE}.")
    second = agent.chat("I like tea.")
    changes = [result.change for turn in (first, second) for result in turn.tool_calls]
    agent.purge(CODE)
    origins = agent.why("core/human.md")
    assert [o.commit.change for o in origins if o.commit][-2:] == changes
    assert f"My code is {MARK}." in str(origins[-2])
    agent.undo(changes[1])
    assert agent.blocks["human"].text == f"Name: Tim\nThe code is {MARK}."


def test_a_past_prompt_has_a_marked_gap(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content=f"Code: {CODE}"), "Yes.", "No.")
    agent.chat(f"It is {CODE}.")
    agent.chat("Something else.")
    agent.blocks["human"] = "Name: Tim\n"
    before = [agent.at(f"HEAD~{n}").context().render() for n in range(4)]
    agent.purge(CODE)
    after = [agent.at(f"HEAD~{n}").context().render() for n in range(4)]
    size = re.compile(r"\d+")  # which the prompt tells
    assert [size.sub("n", text) for text in after] == [
        size.sub("n", text.replace(CODE, MARK)) for text in before
    ]
    assert any(MARK in text for text in after)


# ── however it is spelled ─────────────────────────────────────────────────────────────────────

ODD = [
    "pass\"word\\with/all'of it",
    "Schlüssel ключ 鍵 🔑",
    "line one\nline two",
    "tab\there <b>&amp</b> 100%",
    "e\u0301clair-a\u0308-1",
    "  spaces at  its ends  ",
    "[a](b) *c* _d_ `e`",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_found_in_json_within_json(make: Make, text: str) -> None:
    agent = make(
        call("core_memory_append", label="human", content=f"x {text} y"),
        call("archival_memory_insert", content=f"<{text}>", tags=["a", text.strip()]),
        f"So: {text}",
    )
    agent.chat(f"Keep {text}!")
    assert places(text.strip(), agent.root)
    agent.purge(text)
    assert places(text.strip(), agent.root) == []
    assert all(isinstance(parse_record(line).id, str) for line in lines(agent))
    sound(agent)


SPELLED: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: json.dumps(text),
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: json.dumps(json.dumps({"a": text})),
    lambda text: "".join(f"\\u{ord(c):04X}" for c in text if ord(c) < 65536),
    lambda text: yaml.safe_dump({"key": text}),
    lambda text: yaml.safe_dump([text], allow_unicode=True, width=20),
    lambda text: f"https://example.org/?q={quote(text, safe='')}",
    lambda text: f"https://example.org/?q={quote_plus(text)}",
    lambda text: "".join(c if c.isspace() or c.isalpha() else f"&#{ord(c):03};" for c in text),
    lambda text: "".join(c if c.isspace() or c.isascii() else f"&#x{ord(c):X};" for c in text),
    lambda text: str(text.encode()),
]

READABLE = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=6, max_size=30
).filter(lambda text: text.strip() not in MARK and text.strip() not in "the rest")


@settings(max_examples=300, deadline=None)
@given(READABLE.filter(lambda t: len(t.strip()) > 5 and len(set(t)) > 4), st.data())
def test_no_spelling_of_a_text_is_left(text: str, data: st.DataObject) -> None:
    text = text.strip()
    spell = data.draw(st.sampled_from(SPELLED))
    around = data.draw(st.sampled_from(["", "words ", "- ", "ö\n"]))
    gap = Gap(Target(texts=(text,)))
    if spell is SPELLED[4] and any(ord(c) > 65535 for c in text):
        return
    whole = f"{around}{spell(text)}\nthe rest\n".encode()
    made = gap.content(whole)
    assert MARK.encode() in made
    assert text.encode() not in made
    assert gap.content(made) == made
    assert made.endswith(b"the rest\n")


@settings(max_examples=300, deadline=None)
@given(READABLE.filter(lambda t: len(t.strip()) > 5 and len(set(t)) > 4), st.text(max_size=50))
@example("argume", "")
def test_a_record_stays_a_record(text: str, around: str) -> None:
    assume(not any(text.strip() in word for word in FORMAT))  # that is refused
    record = {"id": "r1", "ts": "2026", "role": "user", "content": f"{around}{text}{around}"}
    record["tool_calls"] = [{"id": "c", "function": {"name": "f", "arguments": json.dumps([text])}}]
    lines = [json.dumps({"id": "r0", "role": "user", "content": "other"}), json.dumps(record)]
    whole = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"
    made = Gap(Target(texts=(text.strip(),))).content(whole).decode("utf-8", "surrogatepass")
    assert made.split("\n")[0] == lines[0]
    new = json.loads(made.split("\n")[1])
    assert new["id"] == "r1"
    assert text.strip() not in new["content"]
    assert text.strip() not in json.loads(new["tool_calls"][0]["function"]["arguments"])[0]


@pytest.mark.parametrize("word", ["content", "argume", "assist", "created", "tool_ca"])
def test_a_word_that_files_are_made_of_is_refused(sarah: Agent, word: str) -> None:
    head = git(sarah, "rev-parse", "HEAD")
    with pytest.raises(FsagentError, match="give more of the text around it"):
        sarah.purge(word)
    assert git(sarah, "rev-parse", "HEAD") == head


# ── records and commits ───────────────────────────────────────────────────────────────────────


def test_a_record_goes_by_its_id(make: Make, tmp_path: Path) -> None:
    agent = make("Hm.", "What?", "Oh.")
    agent.chat("Before.")
    turn = agent.chat("A long story of mine\nthat nobody is to read.")
    agent.chat("After.")
    before = lines(agent)
    (ident,) = (json.loads(line)["id"] for line in before if "long story" in line)
    done = agent.purge(ident)
    after = lines(agent)
    assert [new for new in after if ident not in new] == [old for old in before if ident not in old]
    (gone,) = (json.loads(line) for line in after if json.loads(line)["id"] == ident)
    assert gone["content"] == MARK
    assert gone["turn"] == turn.id
    assert subjects(agent)[1] == f"turn: {MARK}"
    assert places("that nobody is to read.", agent.root, tmp_path / "cache") == []
    assert done.elsewhere == []
    sound(agent)


def test_words_of_a_record_that_stand_elsewhere_are_named(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content="Hates her job at Acme."), "Ok.")
    agent.chat("Hates her job at Acme.")
    ident = json.loads(lines(agent)[0])["id"]
    done = agent.purge(ident)
    assert "core/human.md" in done.elsewhere
    assert done.left == []
    assert "Hates her job at Acme." in agent.blocks["human"].text


def test_a_text_in_capitals_is_named(sarah: Agent) -> None:
    sarah.notes.add("Zebulon Quagmire owes us money.")
    sarah.notes.add("Who are the Quagmires, and who is Zebulon?")
    (sarah.root / "files").mkdir()
    for name, text in (("capitals", "ZEBULON\nQUAGMIRE"), ("other", "ZEBULON, QUAGMIRE")):
        (sarah.root / f"files/{name}.txt").write_text(text)
    assert sarah.purge("Zebulon Quagmire").elsewhere == ["files/capitals.txt"]


def test_a_commit_goes_with_its_call_and_its_words(make: Make, tmp_path: Path) -> None:
    agent = make(
        call("core_memory_append", label="human", content="Hates her job at Acme."),
        "Ok.",
        call("core_memory_append", label="human", content="Likes tea."),
        "Ok.",
    )
    turn = agent.chat("You know how it is at work.")
    agent.chat("I like tea.")
    text = agent.blocks["human"].text
    agent.purge(turn.tool_calls[0].commit)
    assert agent.blocks["human"].text == text.replace("Hates her job at Acme.", MARK)
    assert places("Hates her job", agent.root, tmp_path / "cache") == []
    assert subjects(agent)[2:4] == ["turn: You know how it is at work.", f"human: {MARK}"]
    assert "You know how it is at work." in "".join(lines(agent))
    sound(agent)


def test_a_later_wording_of_its_line_is_named_with_its_commit(make: Make, tmp_path: Path) -> None:
    add, edit = "core_memory_append", "core_memory_replace"
    owes = "Zebulon Quagmire owes us nine hundred."
    agent = make(
        call(add, label="human", content=owes),
        call(edit, label="human", old_content="nine hundred", new_content="eight hundred"),
        call(add, label="human", content="Likes tea."),
        call(edit, label="human", old_content="eight hundred", new_content="a lot"),
        call(edit, label="human", old_content="tea", new_content="coffee"),
        "Ok.",
    )
    first, *_ = (one.commit for one in agent.chat("A lot of things.").tool_calls)
    done = agent.purge(first)
    assert [
        (git(agent, "show", "-s", "--format=%s", oid).strip(), path) for oid, path in done.reworded
    ] == [
        ("human: nine hundred → eight hundred", "core/human.md"),
        ("human: eight hundred → a lot", "core/human.md"),
    ]
    assert "Zebulon Quagmire owes us a lot." in agent.blocks["human"].text
    (later,) = agent.purge(done.reworded[0][0]).reworded
    assert agent.purge(later[0]).reworded == []
    assert places("Zebulon", agent.root, tmp_path / "cache") == []
    assert "Likes coffee." in agent.blocks["human"].text
    sound(agent)


def test_a_note_and_a_hand_edit_go_with_their_event(make: Make) -> None:
    agent = make("Hm.")
    agent.notes.add("She hates her job at Acme.\n\nA lot of it.", tags=["work"])
    (root := agent.root).joinpath("core/human.md").write_text(
        "Name: Tim\nLives in the blue house.\n"
    )
    agent.chat("Hello.")
    commits = agent.log()
    agent.purge(next(c.commit for c in commits if c.subject.startswith("note:"))[:12])
    (note,) = agent.notes
    assert note.text == f"{MARK}\n\n{MARK}"
    agent.purge(next(c.change for c in commits if c.subject.startswith("hand edit")) or "")
    assert "blue house" not in (root / "core/human.md").read_text()
    assert places("blue house", root) == []
    assert places("She hates her job", root) == []
    sound(agent)


def test_a_whole_turn_goes(make: Make) -> None:
    agent = make(
        "Hm.", call("core_memory_append", label="human", content="Has a rash."), "Oh.", "Hm."
    )
    agent.chat("Before.")
    turn = agent.chat("I have a rash, you know.")
    agent.chat("After.")
    agent.purge(turn.id)
    for text in ("Has a rash.", "I have a rash", "Oh."):
        assert text not in "".join(lines(agent)) + agent.blocks["human"].text
    assert places("I have a rash", agent.root) == []
    assert [line for line in lines(agent) if '"Before."' in line or '"After."' in line]
    sound(agent)


def test_a_message_that_names_a_commit_names_its_new_id(make: Make) -> None:
    agent = make("Hm.")
    (agent.root / "core/human.md").write_text(f"Name: Tim\n{CODE}\n")
    agent.adopt()
    agent.blocks["persona"] = "I am kind.\n"
    git(agent, "revert", "--no-edit", "HEAD")
    old = git(agent, "rev-parse", "HEAD~1").strip()
    git(agent, "commit", "-q", "--allow-empty", "-m", f"see {old[:9]} and {old[:4]}, not deadbeef")
    agent.purge(CODE)
    new = git(agent, "rev-parse", "HEAD~2").strip()
    assert new != old
    message = git(agent, "log", "-2", "--format=%B")
    assert f"This reverts commit {new}." in message
    assert f"see {new[:9]} and {old[:4]}, not deadbeef" in message


# ── repositories of other kinds ───────────────────────────────────────────────────────────────


def with_code(agent: Agent) -> None:
    script(agent, call("core_memory_append", label="human", content=f"Code: {CODE}"), "Ok.", "Hm.")
    agent.chat(f"It is {CODE}.")
    agent.chat("Bye.")


def test_a_detached_head(sarah: Agent) -> None:
    with_code(sarah)
    git(sarah, "checkout", "-q", "--detach")
    sarah.purge(CODE)
    assert places(CODE, sarah.root) == []
    sound(sarah)
    assert git(sarah, "rev-parse", "HEAD") == git(sarah, "rev-parse", "main")


def test_a_repository_of_sha_256(tmp_path: Path, make: Make) -> None:
    source = make()
    root = tmp_path / "other"
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(root)], check=True)
    for name in ("agent.yaml", "system.md", "core"):
        subprocess.run(["cp", "-r", str(source.root / name), str(root)], check=True)
    agent = Agent.open(root, clock=FixedClock())
    agent.adopt()
    with_code(agent)
    assert places(CODE, root)
    agent.purge(CODE)
    assert places(CODE, root) == []
    git(agent, "fsck", "--full", "--strict")
    agent.close()


def test_an_agent_without_a_commit(sarah: Agent, tmp_path: Path) -> None:
    root = tmp_path / "new"
    shutil.copytree(sarah.root, root, ignore=shutil.ignore_patterns(".git"))
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "core/code.md").write_text(f"{CODE} and more\n")
    git(root, "add", "core/code.md")
    agent = Agent.open(root)
    assert agent.purge(CODE).left == []
    assert places(CODE, root) == []
    assert git(root, "show", ":core/code.md") == f"{MARK} and more\n"
    (root / "core/code.md").write_text(f"{CODE} again\n")
    git(root, "add", "core/code.md")
    git(root, "rm", "-q", "-f", "core/code.md")
    assert agent.purge(CODE).left == []
    assert places(CODE, root) == []
    agent.close()


def test_an_address_of_an_author(sarah: Agent) -> None:
    with_code(sarah)
    sarah.purge("tim@example.org")
    assert places("tim@example.org", sarah.root) == []
    assert git(sarah, "log", "--format=%an <%ae>").splitlines()[-1] == f"Tim <{MARK}>"
    sound(sarah)


def test_a_shallow_clone_and_its_remote(sarah: Agent, tmp_path: Path) -> None:
    with_code(sarah)
    git(sarah, "tag", "v1")
    clone = tmp_path / "clone"
    address = f"file://{sarah.root}"
    subprocess.run(["git", "clone", "-q", "--depth=2", address, str(clone)], check=True)
    agent = Agent.open(clone, ScriptedClient([]))
    done = agent.purge(CODE)
    assert places(CODE, clone) == []
    git(agent, "fsck", "--full", "--strict")
    assert "refs/remotes/origin/main is forgotten" in done.told
    (remote,) = (text for text in done.beyond if text.startswith("the remote origin"))
    assert address in remote
    assert f"fsagent sync {agent.root} origin names the command" in remote
    agent.close()


def test_a_remote_that_never_had_it_is_still_known(sarah: Agent, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    git(sarah, "remote", "add", "origin", "https://tim:hunter2@example.org/x.git")
    git(sarah, "push", "-q", str(bare), "main")
    git(sarah, "update-ref", "refs/remotes/origin/main", "HEAD")
    with_code(sarah)
    done = sarah.purge(CODE)
    assert git(sarah, "rev-parse", "origin/main") == git(bare, "rev-parse", "main")
    assert "https://example.org/x.git" in str(done.beyond)
    assert "hunter2" not in str(done.beyond)


def test_objects_of_another_repository_are_taken_in(sarah: Agent, tmp_path: Path) -> None:
    with_code(sarah)
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", "--shared", str(sarah.root), str(copy)], check=True)
    from fsagent.allow import allow

    allow(copy, Environment.read().state_dir)
    agent = Agent.open(copy, ScriptedClient([]))
    done = agent.purge(CODE)
    assert places(CODE, copy) == []
    assert any(str(sarah.root) in text for text in done.beyond)
    git(agent, "fsck", "--full", "--strict")
    assert places(CODE, sarah.root)
    agent.close()


def test_signatures_of_the_old_commits_go(sarah: Agent) -> None:
    with_code(sarah)
    raw = git(sarah, "cat-file", "commit", "HEAD")
    head, _, message = raw.partition("\n\n")
    signed = f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ\n -----END PGP SIGNATURE-----\n\n{message}"
    done = subprocess.run(
        ["git", "-C", str(sarah.root), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=signed, capture_output=True, text=True, check=True,
    )  # fmt: skip
    git(sarah, "update-ref", "refs/heads/main", done.stdout.strip())
    told = sarah.purge(CODE).told
    assert any("1 signature" in text for text in told)
    assert "gpgsig" not in git(sarah, "cat-file", "commit", "HEAD")
    sound(sarah)


def test_an_old_history_that_comes_back_is_known(sarah: Agent, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(sarah.root), str(bare)], check=True)
    git(sarah, "fetch", "-q", str(bare), "main:harmless")
    with_code(sarah)
    git(sarah, "push", "-q", str(bare), "main")
    sarah.purge(CODE)
    assert not purging.brings_back(sarah.store.repo, "main")
    git(sarah, "fetch", "-q", str(bare), "main:theirs")
    assert purging.brings_back(sarah.store.repo, "theirs")
    assert not purging.brings_back(sarah.store.repo, "harmless")


def test_a_fork_keeps_its_own(sarah: Agent, tmp_path: Path) -> None:
    with_code(sarah)
    fork = sarah.fork(tmp_path / "fork")
    sarah.purge(CODE)
    assert places(CODE, sarah.root) == []
    assert CODE in fork.blocks["human"].text
    git(fork, "fsck", "--full", "--strict")
    fork.close()


# ── what is refused ───────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_purged_changes_nothing(sarah: Agent, tmp_path: Path) -> None:
    with_code(sarah)
    ident = json.loads(lines(sarah)[1])["id"]
    before = objects(sarah.root)
    name = sarah.config.id
    config = sarah.root / "agent.yaml"
    config.write_text(config.read_text() + "durability: process\n")
    for text, why in (
        ("7749", "too short"),
        ("purged", "a part of the mark"),
        (ident, "a part of what records are called by"),
        (str(sarah.log(limit=1)[0].change), "a part of what changes are called by"),
    ):
        with pytest.raises(StoreError, match=why):
            sarah.purge(text, text=True)
    for text, why in (
        (name, f"a part of '{name}', without which this is not the same agent"),
        ("recall", "a part of 'recall'"),
        ("durability", "a part of a key of agent.yaml"),
        ("content", "which every agent.s files or their history are made of"),
    ):
        with pytest.raises(StoreError, match=why):
            sarah.purge(text, text=True)
    git(sarah, "branch", f"with-{CODE}")
    with pytest.raises(StoreError, match=f"refs/heads/with-{CODE}: rename that first"):
        sarah.purge(CODE)
    git(sarah, "branch", "-D", f"with-{CODE}")
    git(sarah, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "side")
    with pytest.raises(StoreError, match=r"other work trees \(tree\)"):
        sarah.purge(CODE)
    linked = Agent.open(tmp_path / "tree", ScriptedClient([]))
    with pytest.raises(StoreError, match="a linked work tree"):
        linked.purge(CODE)
    linked.close()
    git(sarah, "worktree", "remove", str(tmp_path / "tree"))
    git(sarah, "branch", "-D", "side")
    (sarah.root / ".git/MERGE_HEAD").write_text(git(sarah, "rev-parse", "HEAD"))
    with pytest.raises(StoreError, match="A merge is under way"):
        sarah.purge(CODE)
    (sarah.root / ".git/MERGE_HEAD").unlink()
    with pytest.raises(StoreError, match="purge in the agent of today"):
        sarah.at("HEAD~1").purge(CODE)
    assert objects(sarah.root) == before
    assert not (sarah.root / ".git/fsagent/purge").exists()
    sound(sarah)


def test_a_merge_is_not_purged_as_one(sarah: Agent) -> None:
    git(sarah, "checkout", "-q", "-b", "side")
    (sarah.root / "core/a.md").write_text("Something else.\n")
    sarah.adopt()
    git(sarah, "checkout", "-q", "main")
    (sarah.root / "core/b.md").write_text("Something new.\n")
    sarah.adopt()
    git(sarah, "merge", "-q", "--no-edit", "side")
    with pytest.raises(StoreError, match="is a merge, which brought many changes"):
        sarah.purge(git(sarah, "rev-parse", "HEAD").strip())


def test_a_turn_under_way_is_waited_for(sarah: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Agent.open(sarah.root)
    hold = other.store.locks.hold
    real = purging._alone
    monkeypatch.setattr(purging, "_alone", lambda store: real(store, 0.1))
    for lock, why in (("turn", "in the middle of a turn"), ("maintain", "is being maintained")):
        with hold(lock, 0, ""), pytest.raises(AgentBusy, match=why):
            sarah.purge(CODE)
    other.close()


def test_nobody_commits_meanwhile(sarah: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    with_code(sarah)
    seen = []
    real = purging.Rewrite.run

    def run(self: Any) -> None:
        seen.append(git(sarah, "commit", "--allow-empty", "-m", "x", check=False))
        assert subjects(sarah)[0] == "turn: Bye."
        real(self)

    monkeypatch.setattr(purging.Rewrite, "run", run)
    sarah.purge(CODE)
    assert seen
    git(sarah, "commit", "-q", "--allow-empty", "-m", "x")


def test_a_file_that_cannot_be_written_is_named(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_code(sarah)
    (sarah.root / "mine.txt").write_text(CODE)
    from fsagent.repo import switch

    real = switch.replace

    def replace(path: Path, data: bytes, private: Path) -> bool:
        if path.name == "mine.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, data, private)

    monkeypatch.setattr(switch, "replace", replace)
    done = sarah.purge(CODE)
    assert done.left == ["mine.txt (it cannot be written: Permission denied)", "mine.txt"]


def test_another_repository_inside_is_left_alone_and_named(sarah: Agent) -> None:
    with_code(sarah)
    inner = sarah.root / "files/inner"
    inner.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(inner)], check=True)
    (inner / "x.txt").write_text(CODE)
    done = sarah.purge(CODE)
    assert "files/inner, a repository of its own" in done.beyond
    assert (inner / "x.txt").read_text() == CODE


# ── other programs, and the command ───────────────────────────────────────────────────────────


def test_another_program_that_has_the_index_open_finds_nothing_either(sarah: Agent) -> None:
    with_code(sarah)
    other = Agent.open(sarah.root)
    assert other.search(CODE).hits
    sarah.purge(CODE)
    hits = other.search(f"code {CODE} it").hits
    assert hits
    assert CODE not in str(hits)
    assert places(CODE, Path(os.environ["FSAGENT_CACHE_DIR"])) == []
    with other.store.change("note: x", author=other.store.repo.person()) as change:
        change.add_note("Another note.")
    assert other.log(limit=2)[1].subject == "turn: Bye."
    other.close()
    sound(sarah)


def test_what_was_cut_short_goes_with_the_next_purge(sarah: Agent) -> None:
    with_code(sarah)
    sarah.notes.add("Beta-1234 as well.")
    place = sarah.root / ".git/fsagent/purge"
    place.mkdir()
    (place / "plan").write_text(Target(texts=(CODE,)).dump())
    sarah.purge("Beta-1234")
    assert places(CODE, sarah.root) + places("Beta-1234", sarah.root) == []


def test_locks_that_a_power_cut_left_do_not_stop_a_purge_from_being_finished(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_code(sarah)
    place, git_dir = sarah.root / ".git/fsagent/purge", sarah.root / ".git"
    locks = [git_dir / name for name in ("HEAD.lock", "index.lock", "refs/heads/main.lock")]
    opened = "A purge was cut short and cannot be finished: "

    def cut(start: str) -> list[str]:
        """Open the agent after a purge was cut short that began in some start of the machine."""
        place.mkdir(exist_ok=True)
        (place / "plan").write_text(Target(texts=(CODE,)).dump())
        (place / "boot").write_text(start)
        for lock in locks:
            lock.touch()
        again = Agent.open(sarah.root, clock=FixedClock())
        again.close()
        return [text for text in again.store.warnings if "purge" in text]

    monkeypatch.setattr("fsagent.repo.commit.PATIENCE", 0.05)
    # The power was not cut: a git may hold them, and so it may if they are from after the start.
    for start in (boot(), "another start"):
        (told,) = cut(start)
        assert told.startswith(opened)
        assert all(lock.exists() for lock in locks)
    monkeypatch.setattr("fsagent.repo.switch._started", lambda: time.time() + 1)
    (told,) = cut(boot())
    assert told.startswith(opened)
    # Older than the purge: somebody else's.
    (place / "boot").write_text("another start")
    os.utime(place / "boot", (time.time() + 60, time.time() + 60))
    Agent.open(sarah.root, clock=FixedClock()).close()
    assert all(lock.exists() for lock in locks)
    assert places(CODE, sarah.root)

    assert cut("another start") == [
        "A purge that was cut short is finished. It had left .git/HEAD.lock, .git/index.lock, "
        ".git/refs/heads/main.lock when the power was cut."
    ]
    assert places(CODE, sarah.root) == []
    assert not any(lock.exists() for lock in locks)
    assert not place.exists()
    sound(sarah)


def test_check_names_a_purge_that_was_cut_short(sarah: Agent) -> None:
    with_code(sarah)
    place = sarah.root / ".git/fsagent/purge"
    place.mkdir()
    (place / "plan").write_text(Target(texts=(CODE,)).dump())
    look = Agent.open(sarah.root, mend=False)
    (finding,) = [f for f in check(look).findings if "purge" in f.place]
    assert finding.severity == "problem"
    assert repair(look) == ["A purge that was cut short is finished."]
    assert places(CODE, sarah.root) == []
    look.close()


@pytest.mark.parametrize(
    "plan", ["", "{", "[]", '{"texts": "abc"}', '{"texts": ["a"]}', '{"lines": [1]}', "[" * 9999]
)
def test_a_plan_that_is_none_is_given_up(sarah: Agent, plan: str) -> None:
    before = objects(sarah.root)
    place = sarah.root / ".git/fsagent/purge"
    place.mkdir()
    (place / "plan").write_text(plan)
    again = Agent.open(sarah.root)
    (told,) = again.store.warnings
    assert told.startswith("A purge was cut short before it began, and is given up")
    assert not place.exists()
    assert objects(sarah.root) == before
    again.close()


def told(shell: Shell) -> None:  # noqa: F811
    shell.script(
        [{"tool": "core_memory_append", "arguments": {"label": "human", "content": CODE}}], "Ok."
    )
    shell.run("chat", "sarah", f"It is {CODE}.")


def test_the_command_asks_first(shell: Shell) -> None:  # noqa: F811
    told(shell)
    before = objects(shell.home)
    out, err = shell.run("purge", "sarah", CODE, status=1)
    assert "It stands in core/human.md\n" in out
    assert "and in the history in 2 versions of files and 2 messages of commits." in out
    assert "Nobody can be asked here: --yes goes on without." in err
    assert objects(shell.home) == before
    terminal = Terminal(shell, "purge", "sarah")
    terminal.until("What is to go (it is not shown): ")
    terminal.type(f"{CODE}\n")
    assert CODE not in terminal.until("Go on? [y/N]: ")
    terminal.type("y\n")
    screen = terminal.until(": it is nowhere")
    assert "purged in core/human.md" in screen
    assert "history: 2 versions of files and 2 commits made again" in screen
    assert terminal.end() == 0
    assert places(CODE, shell.home, shell.folder / "cache", shell.folder / "state") == []
    assert "It stands nowhere" in shell.run("purge", "sarah", CODE)[0]


def test_the_command_in_scripts(shell: Shell) -> None:  # noqa: F811
    told(shell)
    assert "--json cannot ask" in shell.fails("purge", "sarah", CODE, "--json", status=2)
    done = shell.json("purge", "sarah", "-", "--yes", stdin=f"{CODE}\n")
    assert (done["left"], done["commits"], done["versions"]) == ([], 2, 2)
    assert places(CODE, shell.home) == []
    assert "is too short" in shell.fails("purge", "sarah", "abc", "--yes")
    ident = json.loads(
        (next((shell.home / "recall").rglob("*.jsonl"))).read_text().splitlines()[0]
    )["id"]
    assert "is a part of what records are called by" in shell.fails(
        "purge", "sarah", ident, "--text", "--yes"
    )
    assert "purged in recall/" in shell.run("purge", "sarah", ident, "--yes")[0]


def test_the_command_names_a_later_wording(shell: Shell) -> None:  # noqa: F811
    told(shell)
    (*_, first) = (
        one["commit"] for one in shell.json("log", "sarah", "--json") if CODE in one["subject"]
    )
    edit = {"label": "human", "old_content": "7749", "new_content": "8812"}
    shell.script([{"tool": "core_memory_replace", "arguments": edit}], "Ok.")
    shell.run("chat", "sarah", "It is another one.")
    out, told_person = shell.run("purge", "sarah", first, "--yes")
    (oid,) = re.findall(r"a line of it in core/human.md was reworded by (\w+), which stands", out)
    assert "fsagent purge sarah COMMIT" in told_person
    assert "reworded" not in shell.run("purge", "sarah", oid, "--yes")[0]
    assert places("Alpha-8812-Zulu", shell.home / "core") == []


def test_a_conversation_that_goes_on_does_not_bring_its_lines_back(shell: Shell) -> None:  # noqa: F811
    shell.script("Hm.", "Hm.")
    terminal = Terminal(shell, "chat", "sarah")
    terminal.until("you> ")
    terminal.type(f"the code is {CODE}\n")
    terminal.until("Hm.")
    shell.run("purge", "sarah", CODE, "--yes")
    terminal.type("go on\n")
    terminal.until("Hm.")
    terminal.type("/quit\n")
    assert terminal.end() == 0
    assert places(CODE, shell.home, shell.folder / "cache", shell.folder / "state") == []


@pytest.mark.parametrize("step", range(1, 30, 3))
def test_a_full_disk_is_a_sentence(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    from fsagent.repo import disk

    with_code(sarah)
    expected, before = state(sarah), objects(sarah.root)
    seen = 0

    def full(real: Any) -> Any:
        def fails(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == step:
                if real.__name__ == "_git":
                    raise StoreError("git cannot be run: No space left on device.")
                raise OSError(28, "No space left on device", str(args[0]))
            return real(*args, **kwargs)

        return fails

    with monkeypatch.context() as patch:
        for name in ("rename", "write", "truncate", "mkdir"):
            patch.setattr(disk, name, full(getattr(disk, name)))
        patch.setattr(type(sarah.store.repo), "_git", full(type(sarah.store.repo)._git))
        said, left = "", False
        try:
            left = bool(sarah.purge(CODE).left)
        except StoreError as error:
            said = str(error)
    assert said or left == bool(places(CODE, sarah.root))
    if said and not said.endswith("opens the agent goes on with it."):
        assert "No space left on device" in said
        assert objects(sarah.root).count(CODE.encode()) == before.count(CODE.encode())
    again = Agent.open(sarah.root, clock=FixedClock())
    if again.store.warnings:
        assert again.store.warnings == ["A purge that was cut short is finished."]
    else:
        again.purge(CODE)
    assert places(CODE, sarah.root) == []
    assert state(again) == expected
    sound(again)
    assert not (sarah.root / ".git/fsagent/purge").exists()
    again.close()


# ── a kill in the middle ──────────────────────────────────────────────────────────────────────

KILLED = """
import os, signal, sys
from fsagent import Agent
from fsagent.repo import Repo, disk, switch
from fsagent.history import purge

at, seen = int(sys.argv[2]), 0

def step(function):
    def stepped(*args, **kwargs):
        global seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return stepped

agent = Agent.open(sys.argv[1])
for name in ("rename", "unlink", "write", "link", "truncate"):
    setattr(disk, name, step(getattr(disk, name)))
Repo._git = step(Repo._git)
purge._verify = step(purge._verify)
purge._forget_caches = step(purge._forget_caches)
agent.purge(sys.argv[3])
print("done", seen)
"""


def state(agent: Agent) -> list[str]:
    """What has to be the same, whether the purge was killed or not."""
    found = [git(agent, "log", "--all", "--format=%s %an %at %b")]
    found += [git(agent, "status", "--short"), git(agent, "stash", "list"), *lines(agent)]
    return [re.sub(r"\b[0-9a-f]{7,40}\b", "ID", text.replace(CODE, MARK)) for text in found]


@pytest.fixture
def before(make: Make, tmp_path: Path) -> tuple[Path, list[str]]:
    """A directory with a secret in every kind of place, and the state that a purge leaves."""
    agent = make()
    filled(agent, 40)
    with_code(agent)
    (agent.root / "mine.txt").write_text(CODE)
    (agent.root / "core/human.md").write_text(f"Stashed {CODE}\n")
    git(agent, "stash")
    git(agent, "tag", "-am", CODE, "v1")
    (agent.root / "archival").mkdir(exist_ok=True)
    (agent.root / "archival/new.md").write_text(f"Staged {CODE}\n")
    git(agent, "add", "archival/new.md")
    agent.search("code")
    expected = state(agent)
    agent.close()
    return agent.root.rename(tmp_path / "before"), expected


def killed(before: Path, root: Path, step: int, seconds: float = 0.0) -> bool:
    """Purge a copy of ``before`` and kill that, at a step, or so many seconds after it has begun to
    change something; False: it had ended."""
    subprocess.run(["rm", "-rf", str(root)], check=True)
    subprocess.run(["cp", "-a", str(before), str(root)], check=True)
    command = [sys.executable, "-c", KILLED, str(root), str(step), CODE]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if seconds:
        while not (root / ".git/fsagent/purge/plan").exists() and child.poll() is None:
            time.sleep(0.001)
        time.sleep(seconds)
        child.kill()
    out, err = child.communicate()
    ended = out.startswith("done")
    assert ended or child.returncode == -signal.SIGKILL, err
    return not ended


def finished(root: Path, expected: list[str]) -> bool:
    """Open the agent, and see that nothing is left; whether there was something to finish."""
    begun = (root / ".git/fsagent/purge/plan").exists()
    again = Agent.open(root, clock=FixedClock())
    told = [text for text in again.store.warnings if "purge" in text]
    assert told == ["A purge that was cut short is finished."] * begun
    if not begun and places(CODE, root):  # it had not begun
        again.purge(CODE)
    assert places(CODE, root, root.parent / "cache") == []
    assert state(again) == expected
    sound(again)
    assert not (root / ".git/fsagent/purge").exists()
    assert not (root / ".git/index.lock").exists()
    script(again, "Hello.")
    assert list(again.chat("Hello!").warnings) == again.store.warnings
    again.close()
    return begun


@pytest.mark.parametrize("step", [3, 9, 15, 21, 27, 33, 39, 45])
def test_a_kill_leaves_what_the_next_opening_finishes(
    before: tuple[Path, list[str]], tmp_path: Path, step: int
) -> None:
    assert killed(before[0], tmp_path / "sarah", step)
    finished(tmp_path / "sarah", before[1])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_each_step(before: tuple[Path, list[str]], tmp_path: Path) -> None:
    step, begun = 1, 0
    while killed(before[0], tmp_path / "sarah", step):
        begun += finished(tmp_path / "sarah", before[1])
        step += 1
    finished(tmp_path / "sarah", before[1])
    assert begun > 40


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_any_time_also_while_git_goes_on(
    before: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root = tmp_path / "sarah"
    begun, at = 0, 0.001
    while killed(before[0], root, -1, at):
        at += 0.02
        plan = root / ".git/fsagent/purge/plan"
        for _ in range(10):  # a git process that goes on may stand in the way for a moment
            begun += plan.exists()
            Agent.open(root, clock=FixedClock()).close()
            if not plan.exists():
                break
            time.sleep(0.5)
        finished(root, before[1])
    assert begun > 2
