"""The command line, in processes of its own: whole screens, exit statuses, JSON for machines."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import git, subjects

FSAGENT = [sys.executable, "-m", "fsagent"]


class Shell:
    """Runs commands in tmp_path; ``script`` is what the model says, over all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "sarah"

    def script(self, *items: Any) -> None:
        path = self.folder / "script.json"
        path.write_text(json.dumps(list(items)))
        path.with_name("script.json.at").unlink(missing_ok=True)
        os.environ["FSAGENT_MODEL"] = f"scripted:{path}"

    def run(self, *arguments: str, stdin: str = "", status: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [*FSAGENT, *arguments], cwd=self.folder, input=stdin, capture_output=True, text=True
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return json.loads(self.run(*arguments, "--json", stdin=stdin)[0])

    def fails(self, *arguments: str, stdin: str = "", status: int = 1) -> str:
        """The one line of an error."""
        _, err = self.run(*arguments, stdin=stdin, status=status)
        assert "Traceback" not in err
        return err.strip().splitlines()[-1] if status == 1 else err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("FSAGENT_MODEL", "")
    shell = Shell(tmp_path)
    shell.run("init", "sarah", "--human", "Name: Tim")
    return shell


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": name, "arguments": arguments}


def plain(screen: str) -> str:
    """A screen without ids, times and colours, which differ from run to run."""
    screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen).replace("\r\n", "\n")
    screen = re.sub(r"\b[0-9a-f]{7}\b", "COMMIT", screen)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", screen)


def test_init(shell: Shell) -> None:
    out, err = shell.run("init", "bob", "--name", "Bob", "--persona", "Gruff.", "--model", "m")
    assert out == "Bob lives in bob. Talk to it: fsagent chat bob\n"
    assert err == ""
    config = (shell.folder / "bob/agent.yaml").read_text()
    assert re.match(
        r"id: \w{18}\nname: Bob\nmodel: m\ncontext_window: 8192\ntools:\n- core", config
    )
    assert shell.run("show", "bob", "persona")[0] == "Gruff.\n"
    files = git(shell.folder / "bob", "ls-files").split()
    assert files == [
        ".gitattributes", "agent.yaml", "core/human.md", "core/persona.md", "system.md",
    ]  # fmt: skip
    assert git(shell.folder / "bob", "log", "--format=%an %s") == "Tim init: Bob\n"
    assert git(shell.folder / "bob", "status", "--porcelain") == ""


def test_init_refuses_what_is_not_its_own(shell: Shell) -> None:
    assert "is an agent already. Talk to it: fsagent chat sarah" in shell.fails("init", "sarah")
    (shell.folder / "full").mkdir()
    (shell.folder / "full/thesis.doc").write_text("x")
    assert "is not empty (thesis.doc is in it)" in shell.fails("init", "full")
    assert list((shell.folder / "full").iterdir()) == [shell.folder / "full/thesis.doc"]
    (shell.folder / "a-file").write_text("x")
    assert "is a file" in shell.fails("init", "a-file")
    assert "is no template: it has no agent.yaml" in shell.fails("init", "x", "--from", "full")
    assert not (shell.folder / "x").exists()


def test_init_from_a_template_and_over_an_agents_files(shell: Shell) -> None:
    (shell.home / "core/cats.md").write_text("Ada\n")
    (shell.home / "todo.txt").write_text("not the agent's\n")
    shell.run("init", "copy", "--from", "sarah")
    assert (shell.folder / "copy/core/cats.md").read_text() == "Ada\n"
    assert not (shell.folder / "copy/todo.txt").exists()
    ids = [
        (shell.folder / name / "agent.yaml").read_text().splitlines()[0]
        for name in ("sarah", "copy")
    ]
    assert ids[0] != ids[1]
    import shutil

    shutil.rmtree(shell.folder / "copy/.git")
    shell.run("init", "copy")
    assert (shell.folder / "copy/core/cats.md").read_text() == "Ada\n"
    assert git(shell.folder / "copy", "status", "--porcelain") == ""


def test_init_inside_another_repository_says_so(shell: Shell) -> None:
    subprocess.run(["git", "init", "-q", "outer"], cwd=shell.folder, check=True)
    _, err = shell.run("init", "outer/inner")
    assert err.count("\n") == 1
    assert "has its own; that one is left alone" in err


def test_one_turn(shell: Shell) -> None:
    shell.script(tool("core_memory_append", label="human", content="Likes tea."), "Noted.")
    out, err = shell.run("chat", "sarah", "I like", "tea")
    assert out == "Noted.\n"
    assert plain(err) == (
        "sarah · model scripted:script.json (FSAGENT_MODEL)\n"
        '· core_memory_append(label="human", content="Likes tea.") COMMIT\n'
    )


def test_one_turn_as_json(shell: Shell) -> None:
    shell.script(
        [tool("core_memory_append", label="human", content="x"), tool("fly", where="up")], "Done."
    )
    turn = shell.json("chat", "sarah", stdin="from standard input\n")
    log = shell.json("log", "sarah")
    assert list(turn) == [
        "turn", "thread", "reply", "steps", "tool_calls", "commits", "usage", "model",
    ]  # fmt: skip
    assert turn["reply"] == "Done."
    assert turn["steps"] == 2
    assert turn["tool_calls"][0] == {
        "name": "core_memory_append",
        "arguments": {"label": "human", "content": "x"},
        "status": "success",
        "result": "Added to 'human'. 1,989 of 2,000 characters left.",
        "commit": log[1]["commit"],
    }
    assert turn["tool_calls"][1]["status"] == "error"
    assert turn["tool_calls"][1]["commit"] is None
    assert turn["commits"] == [log[1]["commit"], log[0]["commit"]]
    assert set(turn["usage"]) == {"prompt", "completion", "cached"}
    assert turn["model"] == "scripted:script.json"
    assert list(log[0]) == [
        "commit", "ts", "author", "subject", "tool", "turn", "message", "paths", "change", "call",
        "model",
    ]  # fmt: skip
    assert log[1]["tool"] == "core_memory_append"
    assert log[1]["turn"] == turn["turn"]
    assert log[1]["paths"] == ["core/human.md"]


def test_a_conversation_over_a_pipe(shell: Shell) -> None:
    shell.script(tool("archival_memory_insert", content="Tea at five."), "Kept.", "Five.")
    out, _ = shell.run(
        "chat",
        "sarah",
        "-i",
        stdin="note: tea at five\n\nwhen?\n/search five\n/log\n/nope\n/quit\n",
    )
    assert plain(out).replace(" ", " ").split("\n")[:6] == [
        "you> note: tea at five",
        "Kept.",
        "",
        "you> when?",
        "Five.",
        "",
    ]
    assert "archival/" in out
    assert "turn: when?" in out
    assert "There is no command /nope." in out
    assert subjects(shell.home)[:3] == [
        "turn: when?",
        "turn: note: tea at five",
        "note: Tea at five.",
    ]


def test_threads(shell: Shell) -> None:
    shell.script("Hello.", "Yes.", "Back.", "Done.")
    out, err = shell.run("chat", "sarah", "--thread", "work", "at work")
    assert out == "Hello.\n"
    assert err.startswith("sarah · thread work · model ")
    assert shell.json("chat", "sarah", "at home")["thread"] == "main"
    out, err = shell.run(
        "chat", "sarah", "-i", stdin="/thread\n/thread work\nand?\n/thread new\n/thread\n/thread a b\nx\n/quit\n", status=1
    )  # fmt: skip
    assert plain(out).split("\n")[:13] == [
        "you> /thread",
        "* main  3 records  TIME",
        "  work  2 records  TIME",
        "",
        "you> /thread work",
        "",
        "you (work)> and?",
        "Back.",
        "",
        "you (work)> /thread new",
        "",
        "you (new)> /thread",
        "* new  0 records",
    ]
    assert "A new thread: new" in err
    assert "Error: 'a b' cannot be the name of a thread" in err
    found = {
        hit["text"]: hit["thread"]
        for hit in shell.json("search", "sarah", "--in", "recall")["hits"]
        if hit["role"] != "event"
    }
    assert found == {
        "at work": "work", "Hello.": "work", "at home": "main", "Yes.": "main", "and?": "work",
        "Back.": "work", "x": "new", "Done.": "new",
    }  # fmt: skip
    assert "  user  thread work\n  at work" in shell.run("search", "sarah", "at work")[0]
    assert shell.json("status", "sarah")["threads"] == {"new": 3, "work": 4, "main": 3}
    assert "threads  3: new, work, main\n" in shell.run("status", "sarah")[0]
    assert "at work" in shell.run("context", "sarah", "--thread", "work")[0]
    assert "at work" not in shell.run("context", "sarah")[0]
    assert "cannot be the name of a thread" in shell.fails("chat", "sarah", "hi", "--thread", "/")


def test_import(shell: Shell) -> None:
    lines = [
        {"role": "user", "content": "My cat is Ada.", "ts": "2023-05-01T10:00:00Z"},
        {"role": "assistant", "content": "A fine name.", "ts": "2023-05-02T10:00:10Z"},
        {"role": "tool", "content": "{}"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (shell.folder / "old.jsonl").write_text(text + "torn\n" * 30)
    out, err = shell.run("import", "old.jsonl", "--into", "sarah")
    assert out == "2 messages of 1 conversation from JSONL, 2023-05-01 to 2023-05-02.\n"
    assert err.startswith("warning: old.jsonl, line 4: not a line of JSON; it is skipped.\n")
    assert err.count("warning") == 21
    assert err.endswith(
        "warning: and 10 more were skipped.\n"
        "Left out: 1 message that nobody said (outputs of tools, hidden or empty ones).\n"
        "Search finds them. To go on with one: --thread import-old\n"
    )
    again = shell.json("import", "old.jsonl", "--into", "sarah")
    assert list(again) == [
        "messages", "known", "left_out", "skipped", "masked", "first", "last", "threads", "sources",
        "commits", "problems",
    ]  # fmt: skip
    assert (again["messages"], again["known"], again["skipped"]) == (0, 2, 30)
    assert shell.run("import", "old.jsonl", "--into", "sarah")[0] == "Nothing new.\n"
    assert "thread import-old\n  My cat is Ada." in shell.run("search", "sarah", "cat")[0]
    assert git(shell.home, "log", "--format=%an %s").splitlines()[0] == (
        "Tim import: 2 messages of 1 conversation from JSONL"
    )
    assert "'nobody' is not an agent" in shell.fails("import", "old.jsonl", "--into", "nobody")
    assert "does not exist" in shell.fails("import", "x.zip", "--into", "sarah", status=2)
    (shell.folder / "bad.json").write_text("[")
    assert shell.fails("import", "bad.json", "--into", "sarah").startswith("Error: bad.json cannot")


def test_a_conversation_goes_on_after_an_error(shell: Shell) -> None:
    shell.script("one")
    _, err = shell.run("chat", "sarah", "-i", stdin="a\nb\n/show\n", status=1)
    assert "Error: The script of the scripted model has come to its end." in err
    assert subjects(shell.home)[:2] == ["turn: b", "turn: a"]


def test_a_conversation_as_json_is_a_line_for_each_turn(shell: Shell) -> None:
    shell.script("one", "two")
    out, _ = shell.run("chat", "sarah", "-i", "--json", stdin="a\nb\n")
    assert [json.loads(line)["reply"] for line in out.splitlines()] == ["one", "two"]


def test_show_and_edit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.run("edit", "sarah", "human", "--text", "Name: Tom\n\n")
    assert shell.run("show", "sarah", "core/human.md")[0] == "Name: Tom\n"
    editor = shell.folder / "editor"
    editor.write_text('#!/bin/sh\necho "By hand." >> "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    out, _ = shell.run("edit", "sarah", "human")
    assert plain(out) == "core/human.md committed as COMMIT\n"
    assert shell.run("show", "sarah", "human")[0] == "Name: Tom\nBy hand.\n"
    assert git(shell.home, "log", "-2", "--format=%an %s") == (
        "Tim hand edit: core/human.md\nTim edit: core/human.md\n"
    )
    assert shell.json("show", "sarah")["human"]["text"] == "Name: Tom\nBy hand."
    assert shell.json("show", "sarah", "human")["limit"] == 2000
    assert "companion" in shell.run("show", "sarah", "system")[0]
    assert (
        "has no block, note, commit or turn 'dog'. Its blocks are: persona, human"
        in shell.fails("show", "sarah", "dog")
    )
    assert "There is no block 'dog'" in shell.fails("edit", "sarah", "dog", "--text", "x")
    assert "2,000 characters" in shell.fails("edit", "sarah", "human", "--text", "x" * 3000)


def test_notes(shell: Shell) -> None:
    out, _ = shell.run("note", "sarah", "Pesto: basil.", "--tag", "food")
    assert re.fullmatch(r"Kept as archival/\d{4}/\d\d/pesto-basil-\w{18}\.md\n", out)
    made = shell.json("note", "sarah", "-", stdin="From a pipe.\n")
    assert shell.run("show", "sarah", made["id"])[0] == "From a pipe.\n"
    assert [n["text"] for n in shell.json("note", "sarah")] == ["From a pipe.", "Pesto: basil."]
    assert "Pesto: basil. #food" in shell.run("note", "sarah", "--tag", "food")[0]
    assert "The note is empty" in shell.fails("note", "sarah", "-", stdin=" \n")
    assert shell.json("show", "sarah", made["path"])["text"] == "From a pipe."


def test_search(shell: Shell) -> None:
    shell.script("Hello Ada.")
    shell.run("note", "sarah", "The cat is Ada.", "--tag", "pets")
    shell.run("chat", "sarah", "my cat")
    (shell.home / "core/human.md").write_text("edited\n")
    answer = shell.json("search", "sarah", "who is the cat?")
    assert list(answer) == ["commit", "uncommitted", "unknown", "more", "unread", "hits"]
    assert answer["commit"] == git(shell.home, "rev-parse", "HEAD").strip()
    assert answer["uncommitted"] == ["core/human.md"]
    assert list(answer["hits"][0]) == [
        "id", "kind", "path", "line", "ts", "role", "name", "thread", "title", "tags",
        "score", "text", "before", "after", "signals",
    ]  # fmt: skip
    assert {hit["text"] for hit in answer["hits"]} == {"The cat is Ada.", "my cat"}
    assert len(shell.json("search", "sarah", "cat", "--in", "notes")["hits"]) == 1
    assert len(shell.json("search", "sarah", "cat", "--tag", "pets")["hits"]) == 1
    assert len(shell.json("search", "sarah", "--role", "assistant")["hits"]) == 1
    assert len(shell.json("search", "sarah", "cat", "--until", "1999-01-01")["hits"]) == 0
    assert len(shell.json("search", "sarah", "cat", "--since", "1999-01-01")["hits"]) == 2
    out, err = shell.run("search", "sarah", "cat", "--in", "notes")
    assert "note  #pets\n  The cat is Ada." in plain(out)
    assert "Not searched yet, since they are not committed: core/human.md" in err
    assert "is no date" in shell.fails("search", "sarah", "x", "--since", "soon", status=2)
    assert (
        shell.run("search", "sarah", "zebra")[0]
        == "Nothing found: no memory holds the word zebra.\n"
    )


def test_context(shell: Shell) -> None:
    found = shell.json("context", "sarah")
    parts = ["system", "tools", "blocks", "summary", "recall"]
    assert list(found["tokens"]) == [*parts, "total", "window"]
    assert found["tokens"]["window"] == 8192
    assert sum(found["tokens"][part] for part in parts) == found["tokens"]["total"]
    assert found["tools"][0]["function"]["name"] == "core_memory_append"
    assert found["messages"][0]["role"] == "system"
    out, err = shell.run("context", "sarah")
    assert "Name: Tim" in out
    assert err.startswith("tokens: system ")


def test_status_diff_and_tools(shell: Shell) -> None:
    (shell.home / "core/human.md").write_text("Name: Tam\n")
    out, _ = shell.run("status", "sarah")
    assert plain(out) == (
        f"sarah  {shell.home}\n"
        "model    chosen when you talk to it\n"
        "block    persona  39 of 2,000 characters\n"
        "block    human  9 of 2,000 characters\n"
        "notes    0\n"
        "recall   0 records\n"
        "branch   main\n"
        "last     COMMIT  TIME  Tim              init: sarah\n"
        "edited   core/human.md  (committed with the next turn)\n"
    )
    assert shell.json("status", "sarah")["uncommitted"] == ["core/human.md"]
    assert "+Name: Tam" in shell.run("diff", "sarah")[0]
    assert "no commit, change, turn or date" in shell.fails("diff", "sarah", "no-such-commit")
    assert "no commit, change, turn or date" in shell.fails("diff", "sarah", "--", "--output=x")
    assert not (shell.folder / "x").exists()
    assert not (shell.home / "x").exists()
    tools = shell.json("tools", "sarah")
    assert {t["name"]: t["on"] for t in tools}["send_message"] is False
    assert shell.run("tools")[0].startswith("on   core_memory_append")


def test_models_are_listed(shell: Shell) -> None:
    names = [m["name"] for m in shell.json("model", "list")]
    assert names[0] == "qwen2.5-coder-1.5b"
    assert "fsagent model pull qwen2.5-coder-1.5b" in shell.fails("model", "path")
    assert "There is no embedded model 'x'" in shell.fails("model", "pull", "x")
    assert shell.run("model", "rm", names[0])[0] == f"{names[0]} was not here.\n"


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion(shell: Shell, name: str) -> None:
    assert "_FSAGENT_COMPLETE" in shell.run("completion", name)[0]


# ── bad input: one clear sentence, status 1, nothing lost ─────────────────────────────────────


def test_not_an_agent(shell: Shell) -> None:
    for command in ("chat", "show", "log", "status", "search", "context", "note", "diff"):
        assert shell.fails(command, "nobody") == (
            "Error: 'nobody' is not an agent (there is no such directory). "
            "Create one: fsagent init nobody"
        )
    (shell.folder / "empty").mkdir()
    assert "'empty' is not an agent (no agent.yaml)" in shell.fails("chat", "empty", "hi")


def test_no_model(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell.fails("chat", "sarah", "hi") == (
        "Error: There is no model to talk to: set OPENAI_API_KEY, start Ollama, or fetch the small "
        "embedded one: fsagent model pull qwen2.5-coder-1.5b"
    )
    assert "no key is set: put one in OPENAI_API_KEY" in shell.fails(
        "chat", "sarah", "hi", "--model", "gpt-5-mini"
    )
    assert "is not a script" in shell.fails("chat", "sarah", "hi", "--model", "scripted:nowhere")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("fsagent.llm.openai.RETRIES", 0)
    assert "http://127.0.0.1:9/v1 cannot be reached" in shell.fails(
        "chat", "sarah", "hi", "--model", "m"
    )
    assert subjects(shell.home)[0] == "turn: hi"


def test_invalid_yaml(shell: Shell) -> None:
    shell.script("never")
    config = shell.home / "agent.yaml"
    config.write_text(config.read_text() + "name: [\n")
    for command in (["chat", "sarah", "hi"], ["status", "sarah"], ["search", "sarah", "x"]):
        assert re.search(r"agent\.yaml, line \d+: not valid YAML", shell.fails(*command))
    assert shell.run("log", "sarah")[0]


def test_usage_is_status_2(shell: Shell) -> None:
    shell.fails("nope", status=2)
    shell.fails("chat", status=2)
    shell.fails("search", "sarah", "x", "--in", "nowhere", status=2)
    assert "There is no text to say" in shell.fails("chat", "sarah", stdin="", status=2)


def test_debug_keeps_the_traceback_and_shows_requests(shell: Shell) -> None:
    _, err = shell.run("status", "nobody", "--debug", status=1)
    assert "Traceback" in err
    shell.script("ok")
    _, err = shell.run("chat", "sarah", "hi", "--debug")
    assert '"role": "system"' in err
    assert "whole after" in err


def test_a_directory_without_permission(shell: Shell) -> None:
    """Run as somebody who may read the agent and not write it (root may do everything)."""
    shell.script("ok")
    if os.geteuid() == 0:
        code = (
            # Python itself may lie where only root can read: what is needed is imported before.
            "import os, sys, fsagent.agent, fsagent.starter, git, gitdb, yaml, subprocess, locale;"
            "from git.objects import fun; from fsagent.cli import main;"
            "from fsagent.repo import Repo; Repo._trusted = lambda self: True;"
            "sys.argv[0] = 'fsagent'; os.seteuid(65534); main()"
        )
        command = [sys.executable, "-c", code]
        for folder in [shell.folder, *shell.folder.parents[:3]]:
            folder.chmod(folder.stat().st_mode | 0o005)
    else:
        command = FSAGENT
        for path in [shell.home, *shell.home.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run(
        [*command, "note", "sarah", "hi"], cwd=shell.folder, capture_output=True, text=True
    )
    for path in [shell.home, *shell.home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Permission denied" in done.stderr.splitlines()[-1]
    assert shell.json("note", "sarah") == []


@pytest.mark.parametrize("size", [200, 3000])
def test_a_full_disk_loses_nothing(shell: Shell, size: int) -> None:
    """A file-size limit fails a write in the middle, as a full disk does."""
    before = (shell.home / "core/human.md").read_bytes()
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); sys.argv[0] = 'fsagent';"
        "from fsagent.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "note", "sarah", "x" * 20_000],
        cwd=shell.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    assert "cannot be written: " in done.stderr.splitlines()[-1]
    assert (shell.home / "core/human.md").read_bytes() == before
    assert git(shell.home, "status", "--porcelain") == ""
    assert shell.json("note", "sarah") == []
    shell.run("note", "sarah", "now there is room")
    assert git(shell.home, "fsck", "--no-dangling") == ""


def test_a_torn_recall_line(shell: Shell) -> None:
    shell.script("one", "two")
    shell.run("chat", "sarah", "first")
    (segment,) = (shell.home / "recall").rglob("*.jsonl")
    lines = segment.read_text().splitlines(keepends=True)
    segment.write_text(lines[0] + lines[1][:30] + "\n" + lines[1])
    _, err = shell.run("chat", "sarah", "second")
    assert (
        f"{segment.relative_to(shell.home)}, line 2: not a line of JSON; the line is skipped" in err
    )
    found = {hit["text"] for hit in shell.json("search", "sarah", "first one")["hits"]}
    assert found >= {"first", "one"}


# ── a real terminal ───────────────────────────────────────────────────────────────────────────


class Terminal:
    """A command on a pseudo-terminal, as a person has it."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self.screen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(shell.folder)
            os.environ["TERM"] = "xterm"
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's `&` has children ignore it
            os.execv(FSAGENT[0], [*FSAGENT, *arguments])

    def until(self, text: str, seconds: float = 20) -> str:
        end = time.monotonic() + seconds
        while text not in plain(self.screen):
            ready, _, _ = select.select([self.fd], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} did not come: {self.screen}"
            try:
                self.screen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                break
        return plain(self.screen)

    def type(self, text: str) -> None:
        self.screen = ""
        os.write(self.fd, text.encode())

    def end(self) -> int:
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_what_fits_on_the_screen_needs_no_pager(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Git: the prompt is there again. Nothing is added to it, and no colour in a pipe."""
    monkeypatch.delenv("LESS", raising=False)
    monkeypatch.setenv("PAGER", "less")
    terminal = Terminal(shell, "log", "sarah")
    terminal.until("init: sarah")
    end = time.monotonic() + 10
    while not (done := os.waitpid(terminal.pid, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.05)
    os.close(terminal.fd)
    assert done == (terminal.pid, 0)
    out, _ = shell.run("log", "sarah")
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert shell.run("diff", "sarah", "HEAD")[0] == ""


def test_a_conversation_in_a_terminal(shell: Shell) -> None:
    shell.script("Hello Tim.", tool("core_memory_append", label="human", content="x"), "Yes.")
    terminal = Terminal(shell, "chat", "sarah")
    screen = terminal.until("you> ")
    assert "sarah · model scripted:script.json (FSAGENT_MODEL)" in screen
    terminal.type("hi\n")
    assert "Hello Tim.\n\nyou> " in terminal.until("\n\nyou> ")
    terminal.type("remember x\n")
    assert '· core_memory_append(label="human", content="x") COMMIT\nYes.\n\nyou> ' in (
        terminal.until("\n\nyou> ")
    )
    terminal.type("/diff\n")
    assert "+x" in terminal.until("\n\nyou> ")
    terminal.type("\x1b[A")  # the arrow brings the last line back
    terminal.until("/diff")
    terminal.type("\x01\x0b/quit\n")
    assert terminal.end() == 0
    (history,) = (path for path in (shell.folder / "state").iterdir() if path.is_file())
    assert "remember x" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_breaks_off_a_reply_and_keeps_the_message(shell: Shell) -> None:
    from stub_openai import stub_openai, text

    def slow(_: object) -> dict[str, Any]:
        time.sleep(30)
        return text("late")

    with stub_openai(slow, text("Here.")) as stub:
        os.environ["OPENAI_BASE_URL"] = stub.url
        terminal = Terminal(shell, "chat", "sarah", "--model", "m")
        terminal.until("you> ")
        terminal.type("are you there?\n")
        end = time.monotonic() + 20
        while not stub.requests and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(terminal.pid, signal.SIGINT)
        assert "Interrupted. What you said is kept." in terminal.until("you> ")
        terminal.type("again\n")
        terminal.until("Here.")
        terminal.type("/quit\n")
        assert terminal.end() == 0
        del os.environ["OPENAI_BASE_URL"]
    records = [
        json.loads(line)
        for path in sorted((shell.home / "recall").rglob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert [(r["role"], r["content"]) for r in records] == [
        ("user", "are you there?"),
        ("event", "The user interrupted the turn."),
        ("user", "again"),
        ("assistant", "Here."),
    ]
    assert git(shell.home, "status", "--porcelain") == ""
