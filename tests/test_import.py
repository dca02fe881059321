"""Bringing in a past: exports of other programs as recall, with their own dates, and strangers'."""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent
from fsagent.check import check
from fsagent.errors import StoreError
from fsagent.imports import reading
from fsagent.records import MAIN, Record

from conftest import git, script, subjects

Make = Callable[..., Agent]

GARDEN = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def node(key: str, parent: str | None, role: str, text: Any, when: float | None, **more: Any) -> dict[str, Any]:  # fmt: skip
    content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
    message = {"id": key, "author": {"role": role}, "content": content, "create_time": when}
    return {key: {"id": key, "parent": parent, "children": [], "message": message | more}}


def chatgpt(title: str = "Garden", ident: str = "c1", **more: Any) -> dict[str, Any]:
    """A conversation as ChatGPT exports it: hidden things, a tool, and a branch that was left."""
    mapping: dict[str, Any] = {"root": {"id": "root", "parent": None, "message": None}}
    mapping |= node("s", "root", "system", "", None, weight=0)
    mapping |= node("u1", "s", "user", "When do I plant garlic?", GARDEN)
    mapping |= node("a0", "u1", "assistant", "In spring.", GARDEN + 5)
    mapping |= node("a1", "u1", "assistant", "In autumn\ue200cite\ue202turn0search1\ue201.", GARDEN + 9, metadata={"model_slug": "gpt-4o"})  # fmt: skip
    mapping |= node("t", "a1", "assistant", "search('garlic')", GARDEN + 10, recipient="browser")
    mapping |= node("o", "t", "tool", "Garlic, Wikipedia", GARDEN + 11)
    mapping |= node("h", "o", "user", "hidden", GARDEN + 12, metadata={"is_visually_hidden_from_conversation": True})  # fmt: skip
    mapping |= node("th", "h", "assistant", {"content_type": "thoughts", "parts": ["hm"]}, GARDEN)
    mapping |= node("u2", "th", "user", {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}, "And this?"]}, None)  # fmt: skip
    mapping |= node("a2", "u2", "assistant", "That is a leek.", GARDEN + 90_000)
    return {"title": title, "id": ident, "create_time": GARDEN, "current_node": "a2", "mapping": mapping} | more  # fmt: skip


def claude(**more: Any) -> dict[str, Any]:
    def said(key: str, sender: str, text: str, when: str, **more: Any) -> dict[str, Any]:
        return {"uuid": key, "sender": sender, "text": text, "created_at": when, **more}

    messages = [
        said("m1", "human", "old field", "2024-03-01T08:00:00.5Z", content=[{"type": "text", "text": "My cat is Ada."}], attachments=[{"file_name": "ada.jpg", "extracted_content": "…"}]),
        said("m2", "assistant", "```This block is not supported```", "2024-03-01T08:00:07Z", content=[{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "name": "x"}, {"type": "text", "text": "A fine name."}]),
        said("m3", "human", "", "2024-03-01T08:01:00Z", content=[]),
        said("m4", "human", "Thanks!", "2024-03-02T10:00:00+02:00"),
    ]  # fmt: skip
    return {"uuid": "k1", "name": "Pets", "created_at": "2024-03-01T08:00:00Z", "chat_messages": messages} | more  # fmt: skip


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return path


def recall(agent: Agent) -> list[Record]:
    return [r for path in agent.store.segments() for r in agent.store.records(path)]


def shown(agent: Agent) -> list[tuple[str, str, str]]:
    return [(r.ts, r.role, r.content) for r in recall(agent)]


def test_a_conversation_of_chatgpts_as_it_was_shown(sarah: Agent, tmp_path: Path) -> None:
    done = sarah.import_file(write(tmp_path / "conversations.json", [chatgpt()]))
    assert shown(sarah) == [
        ("2023-11-14T22:13:20.000Z", "user", "When do I plant garlic?"),
        ("2023-11-14T22:13:29.000Z", "assistant", "In autumn."),
        ("2023-11-14T22:13:29.001Z", "user", "[image]\nAnd this?"),  # right after, having no date
        ("2023-11-15T23:13:20.000Z", "assistant", "That is a leek."),
    ]
    assert sarah.store.segments() == [
        f"recall/2023/11/{day}-{recall(sarah)[at].id}.jsonl" for day, at in ((14, 0), (15, 3))
    ]
    (thread,) = done.threads
    assert thread.startswith("chatgpt-garden-")
    assert {r.thread for r in recall(sarah)} == {thread}
    records = recall(sarah)
    assert [r.model for r in records] == [None, "gpt-4o", None, None]
    assert records[0].turn == records[1].turn == records[0].id
    assert records[3].turn == records[2].id
    assert (done.messages, done.known, done.left_out) == (4, 0, 5)
    assert git(sarah, "log", "--format=%an %s") == (
        "Tim import: 4 messages of 1 conversation from ChatGPT\nTim init: sarah\n"
    )
    assert git(sarah, "status", "--porcelain") == ""
    assert sarah.search("garlic").hits[0].doc.thread == thread


def test_a_conversation_of_claudes(sarah: Agent, tmp_path: Path) -> None:
    done = sarah.import_file(write(tmp_path / "conversations.json", [claude()]))
    assert shown(sarah) == [
        ("2024-03-01T08:00:00.500Z", "user", "My cat is Ada.\n[attachment: ada.jpg]"),
        ("2024-03-01T08:00:07.000Z", "assistant", "A fine name."),
        ("2024-03-02T08:00:00.000Z", "user", "Thanks!"),
    ]
    assert list(done.threads.values()) == [3]
    assert next(iter(done.threads)).startswith("claude-pets-")
    assert (done.first, done.last) == ("2024-03-01T08:00:00.500Z", "2024-03-02T08:00:00.000Z")


def test_the_branch_of_claudes_that_was_shown_last(sarah: Agent, tmp_path: Path) -> None:
    talk = claude(current_leaf_message_uuid="m4")
    for message, parent in zip(talk["chat_messages"], ("", "m1", "m2", "m1"), strict=True):
        message["parent_message_uuid"] = parent
    sarah.import_file(write(tmp_path / "conversations.json", talk))
    assert [text for _, _, text in shown(sarah)] == ["My cat is Ada.\n[attachment: ada.jpg]", "Thanks!"]  # fmt: skip


@pytest.mark.parametrize("inside", ["conversations.json", "export/conversations-000.json"])
def test_the_zip_file_as_it_comes_and_the_folder(make: Make, tmp_path: Path, inside: str) -> None:
    packed = tmp_path / "export.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("user.json", "{}")
        archive.writestr("shared_conversations.json", "[]")
        archive.writestr(inside, json.dumps([chatgpt()]))
        archive.writestr(inside.replace("s.json", "s-2.json").replace("-000", "-001"), json.dumps([claude()]))  # fmt: skip
    one, two = make(), make(directory=tmp_path / "two")
    done = one.import_file(packed)
    assert (done.messages, done.sources) == (7, done.sources)
    assert set(done.sources) == {"ChatGPT", "Claude"}
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert two.import_file(tmp_path / "unpacked").messages == 7
    assert shown(one) == shown(two)
    assert git(one, "ls-tree", "-r", "HEAD", "recall") == git(two, "ls-tree", "-r", "HEAD", "recall")  # fmt: skip


def test_an_import_again_brings_only_what_is_new(sarah: Agent, tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    first = sarah.import_file(write(path, [chatgpt(), claude()]))
    head = sarah.store.rev
    again = sarah.import_file(path)
    assert (again.messages, again.known, again.commits, again.threads) == (0, 7, [], {})
    assert sarah.store.rev == head

    longer = chatgpt(title="Renamed since")
    longer["mapping"] |= node("u3", "a2", "user", "Thank you.", GARDEN + 90_100)
    longer["current_node"] = "u3"
    new = sarah.import_file(write(path, [longer, claude(), chatgpt("Other", "c2")]))
    assert new.messages == 5
    garden = next(name for name in first.threads if "garden" in name)
    assert new.threads[garden] == 1  # it goes on in its thread, whatever it is called now
    assert len({r.id for r in recall(sarah)}) == len(recall(sarah)) == 12
    assert next(sarah.store.newest(garden)).content == "Thank you."


def test_plain_lines(sarah: Agent, tmp_path: Path) -> None:
    lines = [
        '{"role": "user", "content": "one", "ts": "2024-01-01T10:00:00Z"}',
        '{"role": "assistant", "content": "two", "ts": 1704103260}',
        "",
        '{"role": "assistant", "content": [{"type": "text", "text": "three"}], "ts": 1704103320000}',
        '{"role": "human", "content": "four"}',
        '{"role": "user", "content": "one", "ts": "2024-01-01T10:00:00Z"}',
        '{"role": "tool", "content": "output", "ts": "2024-01-01T10:00:00Z"}',
        '{"role": "user", "content": "named", "ts": "2024-01-02", "name": "Tim", "id": "x", "thread": "Work: 2"}',
    ]
    path = write(tmp_path / "Old chat.jsonl", "\ufeff" + "\n".join(lines))
    done = sarah.import_file(path)
    assert done.threads == {"import-old-chat": 5, "import-old-chat-work-2": 1}
    assert [r.content for r in sarah.store.newest("import-old-chat")][::-1] == [
        "one", "one", "two", "three", "four",
    ]  # fmt: skip
    (named,) = sarah.store.newest("import-old-chat-work-2")
    assert (named.name, named.ts) == ("Tim", "2024-01-02T00:00:00.000Z")
    assert done.left_out == 1
    write(path, "\n".join([*lines, '{"role": "user", "content": "five", "ts": "2024-02-01"}']))
    assert sarah.import_file(path).messages == 1
    assert sarah.import_file(write(tmp_path / "list.json", [json.loads(lines[0])])).known == 1


def test_keys_and_tokens_stay_out(sarah: Agent, tmp_path: Path) -> None:
    key = "ghp" + "_" + "q7Rk2mZx9Lw4Tn8Vb3Yc6Hd1Jf5Gs0Pa2Ue7"
    talk = claude(name=f"Key {key}")
    talk["chat_messages"][0] |= {"text": f"Use {key}, will you?", "content": []}
    done = sarah.import_file(write(tmp_path / "conversations.json", [talk]))
    assert done.masked == 1
    said = next(iter(recall(sarah))).content
    assert said.startswith("Use (GitHub token: not kept), will you?")
    assert key not in git(sarah.root, "log", "-p", "--all")
    assert not any(key[4:12].lower() in thread for thread in done.threads)
    again = sarah.import_file(tmp_path / "conversations.json")
    assert (again.messages, again.masked) == (0, 0)


def test_bad_lines_are_named_and_skipped(sarah: Agent, tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(
        b'{"role": "user", "content": "good", "ts": "2024-01-01"}\n'
        b'{"role": "user", "content": "torn\n'
        b"[1, 2]\n"
        b'{"content": "who?", "ts": "2024-01-01"}\n'
        b'{"role": "user", "ts": "2024-01-01"}\n'
        b'{"role": "user", "content": "\xff", "ts": "2024-01-01"}\n'
        b'{"role": "user", "content": "when?", "ts": "soon"}\n'
        b'{"role": "user", "content": "deep", "x": ' + b"[" * 100_000 + b"}\n"
        b'{"role": "user", "content": "late", "ts": 1e300}\n'
        b'{"role": "user", "content": "n", "ts": ' + b"9" * 5000 + b"}\n"
        b'{"role": "user", "content": "also good", "ts": "2024-01-02"}'
    )
    done = sarah.import_file(path)
    assert [text for _, _, text in shown(sarah)] == ["good", "also good"]
    assert done.problems == [
        "chat.jsonl, line 2: not a line of JSON; it is skipped.",
        "chat.jsonl, line 3: not a JSON object; it is skipped.",
        "chat.jsonl, line 4: has no role; it is skipped.",
        "chat.jsonl, line 5: has no content; it is skipped.",
        "chat.jsonl, line 6: not UTF-8 text; it is skipped.",
        "chat.jsonl, line 7: 'soon' is no date: write one like 2026-11-21T18:30:00Z; it is skipped.",
        "chat.jsonl, line 8: not a line of JSON; it is skipped.",
        "chat.jsonl, line 9: '1e+300' is no date: write one like 2026-11-21T18:30:00Z; it is skipped.",
        "chat.jsonl, line 10: not a line of JSON; it is skipped.",
    ]
    assert done.skipped == 9


def test_talks_like_locomos(sarah: Agent, tmp_path: Path) -> None:
    talk = {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_10_date_time": "10:00 am on 9 May, 2023",
        "session_10": [{"speaker": "Ann", "dia_id": "D10:1", "text": "Later"}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Ann", "dia_id": "D2:1", "text": "Hi", "blip_caption": "a dog"},
            {"speaker": "Bob", "dia_id": "D2:2", "text": "Hello"},
        ],
    }
    done = sarah.import_file(write(tmp_path / "x.json", [{"sample_id": "conv-1", "conversation": talk, "qa": []}]))  # fmt: skip
    assert shown(sarah) == [
        ("2023-05-08T13:56:00.000Z", "user", "Hi [image: a dog]"),
        ("2023-05-08T13:56:30.000Z", "assistant", "Hello"),
        ("2023-05-09T10:00:00.000Z", "user", "Later"),
    ]
    assert [(r.name, r.extra["session"]) for r in recall(sarah)] == [
        ("Ann", "session_2"), ("Bob", "session_2"), ("Ann", "session_10"),
    ]  # fmt: skip
    assert list(done.threads) == ["locomo-conv-1"]


def test_segments_are_of_a_day_and_of_a_hundred_records_and_of_64_kib(
    sarah: Agent, tmp_path: Path
) -> None:
    lines = [
        {"role": "user", "content": f"{n} " + "x" * (3000 if n >= 250 else 1), "ts": 1.7e9 + n}
        for n in range(300)
    ]
    lines += [{"role": "user", "content": "next day", "ts": 1.7e9 + 86_400}]
    lines += [{"role": "user", "content": "y" * 100_000, "ts": 1.7e9 + 86_401}]
    sarah.import_file(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))
    sizes = [len(sarah.store.records(path)) for path in sarah.store.segments()]
    assert sizes[:2] == [100, 100]
    assert sizes[-2:] == [1, 1]
    assert sum(sizes) == 302
    for path in sarah.store.segments()[:-1]:
        assert (sarah.root / path).stat().st_size <= 65_536
    assert [r.ts for r in recall(sarah)] == sorted(r.ts for r in recall(sarah))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("step", [0, 1, 300])
def test_talks_that_go_on_side_by_side_stay_in_order(
    sarah: Agent, tmp_path: Path, order: int, step: int
) -> None:
    lines = []
    for n in range(400):  # two conversations, over several segments; dates may be all the same
        thread = "ab"[n % 2]
        lines.append({"role": "user", "content": f"{n}", "ts": 1.7e9 + n * step, "thread": thread})
    if order < 0 and step:
        lines.reverse()  # newest first, as some programs write it
    sarah.import_file(write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines))))
    for thread, start in (("import-t-a", 0), ("import-t-b", 1)):
        found = [int(r.content) for r in sarah.store.newest(thread)]
        assert found[::-1] == [*range(start, 400, 2)]


def test_ids_do_not_depend_on_what_is_put_between(sarah: Agent, tmp_path: Path) -> None:
    lines = [{"role": "user", "content": f"{n}", "ts": "2024-01-01"} for n in range(10)]
    sarah.import_file(write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines))))
    lines.insert(3, {"role": "user", "content": "forgotten", "ts": "2024-01-01"})
    again = sarah.import_file(write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines))))
    assert (again.messages, again.known) == (1, 10)


def test_a_few_large_commits(sarah: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsagent.imports.COMMIT_SEGMENTS", 20)
    lines = [{"role": "user", "content": f"day {n}", "ts": 1.6e9 + n * 86_400} for n in range(50)]
    seen: list[tuple[int, int]] = []
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    done = sarah.import_file(path, lambda done, total: seen.append((done, total)))
    assert len(done.commits) == 3
    assert subjects(sarah)[:3] == [
        f"import: 50 messages of 1 conversation from JSONL ({n} of 3)" for n in (3, 2, 1)
    ]
    assert seen[-3:] == [(1, 3), (2, 3), (3, 3)]
    assert seen[0][1] == path.stat().st_size


# ── a turn that is under way ──────────────────────────────────────────────────────────────────


def test_a_live_turn_is_not_disturbed(make: Make, tmp_path: Path) -> None:
    agent = make("one two three", "and on")
    path = write(tmp_path / "conversations.json", [chatgpt()])
    other = Agent.open(agent.root, clock=agent.store.clock)
    stream = agent.stream("hello")
    next(stream)
    assert other.import_file(path).messages == 4
    list(stream)
    other.close()
    assert subjects(agent)[:2] == [
        "turn: hello",
        "import: 4 messages of 1 conversation from ChatGPT",
    ]
    assert [r.content for r in agent.store.newest(MAIN)] == [
        "Tim brought 4 messages of 1 conversation from ChatGPT into recall: search finds them.",
        "one two three",
        "hello",
    ]
    assert git(agent, "status", "--porcelain") == ""
    agent.chat("next")
    sent = [m["content"] for m in agent.client.prompts[-1].messages[1:]]  # type: ignore[attr-defined]
    assert not any("garlic" in text for text in sent)
    assert "<event>Tim brought 4 messages of 1 conversation from ChatGPT" in sent[-1]
    assert other.import_file(path).messages == 0  # nothing new: nothing to tell
    assert subjects(agent)[0] == "turn: next"


def test_an_imported_conversation_goes_on(sarah: Agent, tmp_path: Path) -> None:
    (thread,) = sarah.import_file(write(tmp_path / "c.json", [chatgpt()])).threads
    client = script(sarah, "Yes, a leek.")
    sarah.chat("Really a leek?", thread=thread)
    assert [m["role"] for m in client.prompts[0].messages[1:]] == ["user", "assistant"] * 2 + ["user"]  # fmt: skip
    assert "2023-11-14 22:13] When do I plant garlic?" in client.prompts[0].messages[1]["content"]


def test_each_conversation_has_a_thread_of_its_own_whatever_it_is_called(
    sarah: Agent, tmp_path: Path
) -> None:
    def lines(path: str, *threads: object) -> Path:
        place = tmp_path / path
        place.parent.mkdir(exist_ok=True)
        said = [
            {"role": "user", "content": f"{path} {thread}", "ts": f"2024-01-01T10:00:0{n}Z"}
            | ({"thread": thread} if thread else {})
            for n, thread in enumerate(threads)
        ]
        place.write_text("\n".join(map(json.dumps, said)))
        return place

    alice, bob = lines("alice/chat.jsonl", ""), lines("bob/chat.jsonl", "")
    assert [*sarah.import_file(alice).threads] == ["import-chat"]
    (other,) = sarah.import_file(bob).threads
    assert re.fullmatch(r"import-chat-[0-9a-f]{6}", other)
    assert sarah.import_file(alice).known == sarah.import_file(bob).known == 1
    long = "A conversation about the garden behind the house number"
    names = ["Work", "work", "🙂", "🙃", 5, f"{long} 1", f"{long} 2"]
    assert len(sarah.import_file(lines("x.jsonl", *names)).threads) == len(names)
    # One that says how it is called goes on, as where each day has a file of its own.
    assert [*sarah.import_file(lines("y.jsonl", "diary")).threads] == ["import-y-diary"]
    later = tmp_path / "y.jsonl"
    later.write_text(later.read_text().replace("2024", "2025"))
    assert [*sarah.import_file(later).threads] == ["import-y-diary"]
    talk = {"session_1_date_time": "1:56 pm on 8 May, 2023"}
    said = [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hi."}]
    locomo = [
        {"conversation": {"speaker_a": "Ann", "speaker_b": "Bob", **talk, "session_1": said}},
        {"conversation": {"speaker_a": "Cas", "speaker_b": "Bob", **talk}
         | {"session_1": [{"speaker": "Cas", "dia_id": "D1:1", "text": "Ho."}]}},
    ]  # fmt: skip
    place = tmp_path / "locomo.json"
    place.write_text(json.dumps(locomo))
    assert len(sarah.import_file(place).threads) == 2


def test_an_id_of_another_file_is_another_message(sarah: Agent, tmp_path: Path) -> None:
    for name, text in (("a", "My cat is Ada."), ("b", "My dog is Rex.")):
        said = {"id": "1", "role": "user", "content": text, "ts": "2026-05-01T10:00:00Z"}
        assert sarah.import_file(write(tmp_path / f"{name}.jsonl", json.dumps(said))).messages == 1
    again = sarah.import_file(write(tmp_path / "c.jsonl", json.dumps(said)))
    assert (again.messages, again.known) == (0, 1)


def test_a_date_that_is_still_to_come_is_none(sarah: Agent, tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": f"No. {year}", "ts": f"{year}-05-01T10:00:00Z"}
        for year in (2026, 2096)
    ]
    done = sarah.import_file(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, said))))
    assert (done.messages, done.last[:10]) == (2, "2026-05-01")


def test_names_hide_no_keys(sarah: Agent, tmp_path: Path) -> None:
    key = "ghp_Z7HAGccwDgCLPDyDAj2IZtq6IVciGVaiOfyh"
    said = {"role": "user", "content": "Hi", "ts": "2026-05-01T10:00:00Z"}
    said |= dict.fromkeys(("name", "model", "session"), key)
    sarah.import_file(write(tmp_path / "a.jsonl", json.dumps(said)))
    assert key not in git(sarah, "log", "-p", "--all")


def test_an_import_is_taken_back_by_git(sarah: Agent, tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", [chatgpt()])
    (commit,) = sarah.import_file(path).commits
    with pytest.raises(StoreError, match=f"revert {commit[:7]}"):
        sarah.undo(commit)
    git(sarah, "revert", "--no-edit", commit)
    assert not sarah.search("garlic").hits
    assert not check(sarah).findings
    assert sarah.import_file(path).messages == 4


# ── strangers' files ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "No conversation was found|no JSON"),
        ("hello", "no JSON"),
        ("[", "it is cut off|no JSON"),
        ('[{"mapping": {}}', "it is cut off"),
        ('[{"mapping": {}} {"mapping": {}}]', "a comma is missing"),
        ('[{"mapping": {"a": "b', "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"mapping": ' + '{"a":' * 50_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "cannot be read to its end"),
        ("[1, null, []]", "No conversation was found"),
        ("[]", "No conversation was found"),
    ],
)
def test_what_is_no_export_is_refused_and_nothing_is_written(
    sarah: Agent, tmp_path: Path, content: str, says: str
) -> None:
    head = sarah.store.rev
    with pytest.raises(StoreError, match=says):
        sarah.import_file(write(tmp_path / "conversations.json", content))
    assert sarah.store.rev == head
    assert sarah.store.segments() == []
    assert git(sarah, "status", "--porcelain") == ""


def test_an_export_that_is_cut_off_brings_nothing(sarah: Agent, tmp_path: Path) -> None:
    whole = json.dumps([chatgpt("a", "a"), claude(), chatgpt("b", "b")])
    path = tmp_path / "conversations.json"
    for end in range(len(whole) // 3, len(whole), 997):
        path.write_text(whole[:end])
        with pytest.raises(StoreError, match="fetch the export again"):
            sarah.import_file(path)
    assert sarah.store.segments() == []


def test_a_conversation_that_cannot_be_read_is_named_and_the_others_are_there(
    sarah: Agent, tmp_path: Path
) -> None:
    circle = chatgpt("Circle", "c9")
    circle["mapping"]["u1"]["parent"] = "a2"
    odd = [
        7,
        {"title": "Nothing"},
        {"title": "Bad", "mapping": [1]},
        {"name": "Bad, too", "chat_messages": {"a": 1}},
        {"mapping": {"a": {"message": {"author": 1, "content": [], "metadata": 3}}, "b": None}, "current_node": ["x"]},
        circle,
        chatgpt("Dateless", "c3", create_time=None),
        claude(),
    ]  # fmt: skip
    for one in odd[6]["mapping"].values():  # type: ignore[index]
        if one["message"]:
            one["message"]["create_time"] = float("nan")
    done = sarah.import_file(write(tmp_path / "conversations.json", odd))
    assert done.problems == [
        "conversations.json, conversation 1: not a JSON object; it is skipped.",
        "conversations.json, conversation 2 (Nothing): neither `mapping` nor `chat_messages` nor `conversation` is in it; it is skipped.",
        "conversations.json, conversation 3 (Bad): its `mapping` is no object; it is skipped.",
        "conversations.json, conversation 4 (Bad, too): its `chat_messages` are no list; it is skipped.",
        "“Dateless” of ChatGPT has no dates, by which recall is ordered; it is skipped.",
    ]
    assert len(done.threads) == 2


@pytest.mark.parametrize(
    "when", [-1, 0, 1e308, float("inf"), float("nan"), 4e9 * 4, "0001-01-01", "9999-12-31", "x" * 10_000, True, [], {}]
)  # fmt: skip
def test_odd_dates_are_as_good_as_none(sarah: Agent, tmp_path: Path, when: Any) -> None:
    talk = chatgpt()
    talk["mapping"]["a1"]["message"]["create_time"] = when
    sarah.import_file(write(tmp_path / "c.json", [talk]))
    assert [ts for ts, _, _ in shown(sarah)] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.001Z",
        "2023-11-14T22:13:20.002Z",
        "2023-11-15T23:13:20.000Z",
    ]


def test_a_message_that_goes_back_in_time_keeps_its_date_and_its_place(
    sarah: Agent, tmp_path: Path
) -> None:
    talk = chatgpt()
    talk["mapping"]["a1"]["message"]["create_time"] = GARDEN - 7 * 86_400
    sarah.import_file(write(tmp_path / "c.json", [talk]))
    assert [text for _, _, text in shown(sarah)][:2] == ["When do I plant garlic?", "In autumn."]
    assert shown(sarah)[1][0] == "2023-11-07T22:13:20.000Z"


def test_odd_texts(sarah: Agent, tmp_path: Path) -> None:
    odd = 'a\u2028b\x85 \x07\x00\ud800 "</core_memory>" \r\n end'
    talk = chatgpt("../../etc/passwd \x00\ud800", "\ud800")
    talk["mapping"]["u1"]["message"]["content"]["parts"] = [odd]
    path = tmp_path / "c.json"
    path.write_text(json.dumps([talk]))  # surrogates as JSON spells them
    (thread,) = sarah.import_file(path).threads
    assert thread.startswith("chatgpt-etc-passwd-")
    assert recall(sarah)[0].content == 'a\u2028b\x85 \x07\ufffd "</core_memory>" \n end'
    assert git(sarah, "status", "--porcelain") == ""
    assert sarah.import_file(path).messages == 0


def test_a_message_or_a_line_without_end_is_skipped(
    sarah: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsagent.imports.TEXT_MAX", 1000)
    monkeypatch.setattr(reading, "LINE_MAX", 5000)
    lines = [{"role": "user", "content": "x" * size, "ts": 1.7e9 + size} for size in (1, 2000, 9999, 3)]  # fmt: skip
    done = sarah.import_file(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))
    assert [len(text) for _, _, text in shown(sarah)] == [1, 3]
    assert "longer than 0 MB" in done.problems[0]
    assert "2,000 characters; it is skipped" in done.problems[1]


def test_bombs(sarah: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_MAX", 10 << 20)
    monkeypatch.setattr(reading, "TALK_MAX", 2 << 20)

    def bomb(name: str, pieces: Iterator[bytes]) -> Path:
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("conversations.json", "w") as file:  # fmt: skip
            for piece in pieces:
                file.write(piece)
        return path

    spaces = bomb("spaces", (b"[" + b" " * (1 << 20) for _ in range(60)))
    string = bomb("string", (b'[{"title": "' if not n else b"x" * (1 << 20) for n in range(60)))
    small = json.dumps({"mapping": {}}).encode() + b","
    many = bomb("many", (b"[" if not n else small * 50_000 for n in range(40)))
    for path, says in ((spaces, "nested|more than|JSON"), (string, "more than 2 MB"), (many, "unpacked")):  # fmt: skip
        assert path.stat().st_size < 400_000
        start = time.process_time()
        with pytest.raises(StoreError, match=says):
            sarah.import_file(path)
        assert time.process_time() - start < 10
    monkeypatch.setattr("fsagent.imports.MESSAGES_MAX", 10)
    lines = "\n".join(
        json.dumps({"role": "user", "content": str(n), "ts": 1.7e9}) for n in range(20)
    )
    with pytest.raises(StoreError, match="more than 10 messages: split it"):
        sarah.import_file(write(tmp_path / "a.jsonl", lines))
    assert sarah.store.segments() == []


def test_a_broken_or_locked_archive(sarah: Agent, tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([chatgpt()] * 50))
    data = bytearray(path.read_bytes())
    data[300:340] = b"\0" * 40
    path.write_bytes(data)
    with pytest.raises(StoreError, match="cannot be read"):
        sarah.import_file(path)
    data = bytearray(path.read_bytes())
    for sign in (b"PK\x03\x04", b"PK\x01\x02"):
        at = data.index(sign) + (6 if sign[2] == 3 else 8)
        data[at] |= 1  # encrypted
    path.write_bytes(data)
    with pytest.raises(StoreError, match="locked with a password: unpack it first"):
        sarah.import_file(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"holds no conversations\.json"):
        sarah.import_file(tmp_path / "empty")
    with pytest.raises(StoreError, match="No such file"):
        sarah.import_file(tmp_path / "nowhere.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="no plain file"):
        sarah.import_file(tmp_path / "pipe")


@pytest.mark.slow
def test_ten_thousand_messages_in_ten_seconds_of_cpu(sarah: Agent, tmp_path: Path) -> None:
    talks = []
    for number in range(250):
        talk = chatgpt(f"Talk {number}", f"id{number}")
        parent = "a2"
        for n in range(36):
            key = f"m{n}"
            talk["mapping"] |= node(key, parent, ("user", "assistant")[n % 2], f"{number} {n} " + "word " * 60, GARDEN + number * 50_000 + n * 60)  # fmt: skip
            parent = key
        talks.append(talk | {"current_node": parent})
    path = write(tmp_path / "conversations.json", talks)
    start = time.process_time()
    done = sarah.import_file(path)
    assert done.messages == 10_000
    assert time.process_time() - start < 10
    assert len(done.commits) <= 5
