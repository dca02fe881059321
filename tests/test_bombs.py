"""Files that a stranger made: links, pipes, odd names and bombs are refused or do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fsagent import Agent, call
from fsagent.cli import cli
from fsagent.config import parse_config
from fsagent.errors import AgentError, ConfigError, FsagentError, StoreError
from fsagent.formats import load_yaml, parse_page, parse_record
from fsagent.index.entries import docs_of
from fsagent.layout import is_gits, read_plain

from conftest import git, script, subjects

Make = Callable[..., Agent]

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def _bounded() -> Iterator[None]:
    """A test that is quick and takes little memory."""
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - start < 40
    scale = 1 if os.uname().sysname == "Darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * scale < 500 << 20


def answers(agent: Agent) -> None:
    """It answers; or where core memory is too large for its window, it says what it needs."""
    said = ""
    try:
        assert agent.chat("hi").reply == "ok"
    except ConfigError as error:
        said = str(error)
        agent.adopt()
    assert not said or re.search(r"is too small: .* core memory [\d,]+, and", said)


def fsagent(*arguments: str) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output


def every_reading(root: Path) -> str:
    """What all commands that only read say."""
    where = str(root)
    return "\n".join(
        fsagent(*arguments)
        for arguments in (
            ["show", where],
            ["show", where, "system"],
            ["note", where],
            ["search", where, "x"],
            ["context", where],
            ["status", where],
            ["log", where],
            ["diff", where],
            ["tools", where],
        )
    )


# ── what is no plain file ─────────────────────────────────────────────────────────────────────


def make_pipe(place: Path, outside: Path) -> None:
    os.mkfifo(place)


def make_link(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "secret")


def make_chain(place: Path, outside: Path) -> None:
    link = outside / f"link-{place.stem}"
    link.symlink_to(outside / "secret")
    place.symlink_to(link)


def make_dangling(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "nowhere")


def make_ring(place: Path, outside: Path) -> None:
    place.symlink_to(place.name)


def make_endless(place: Path, outside: Path) -> None:
    place.symlink_to("/dev/zero")


def make_device(place: Path, outside: Path) -> None:
    try:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # what /dev/zero is
        place.open("rb").close()
    except OSError:
        pytest.skip("only root can make a device, and not on every file system")


def make_socket(place: Path, outside: Path) -> None:
    os.mknod(place, stat.S_IFSOCK | 0o666)


def make_folder(place: Path, outside: Path) -> None:
    place.mkdir()


KINDS = [
    make_pipe,
    make_link,
    make_chain,
    make_dangling,
    make_ring,
    make_endless,
    make_device,
    make_socket,
    make_folder,
]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("id: x\nSECRET\n")
    return outside


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "path",
    [
        *("agent.yaml", "system.md", "core/human.md", "core/new.md", "archival/new.md"),
        *("recall/new.jsonl", "files/new"),
    ],
)
def test_what_is_no_plain_file_is_neither_read_nor_waited_for(
    make: Make, outside: Path, path: str, kind: Callable[[Path, Path], None]
) -> None:
    agent = make(call("core_memory_append", label="human", content="x"), "ok")
    place = agent.root / path
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    kind(place, outside)
    start = time.monotonic()
    said = every_reading(agent.root)
    assert "SECRET" not in said
    try:
        said = str(agent.chat("hi"))
    except FsagentError as error:
        said = str(error)
    if path in ("agent.yaml", "system.md") and kind is not make_folder:
        assert path in said
    assert "SECRET" not in git(agent, "log", "-p")
    assert (outside / "secret").read_text() == "id: x\nSECRET\n"
    assert not (outside / "nowhere").exists()
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("folder", ["core", "archival", "recall", "files"])
def test_a_folder_that_is_a_link_is_not_followed(make: Make, outside: Path, folder: str) -> None:
    agent = make(call("archival_memory_insert", content="a note"), "ok")
    place = agent.root / folder
    if place.exists():
        place.rename(agent.root / "old")
    for name in ("secret.md", "secret.jsonl"):
        (outside / name).write_text('{"id": "a", "role": "user", "content": "SECRET"}\n')
    place.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    assert "SECRET" not in every_reading(agent.root)
    with contextlib.suppress(StoreError):
        agent.chat("hi")
    assert sorted(outside.rglob("*")) == before
    assert "SECRET" not in git(agent, "log", "-p")


def test_a_path_never_leads_out(sarah: Agent, outside: Path) -> None:
    for path in (
        *("../outside/secret", "core/../../outside/secret", f"{outside}/secret", "core//human.md"),
        *("./agent.yaml", "core/./human.md", "/etc/passwd", "core/human.md/", ".", "..", ""),
    ):
        with pytest.raises(StoreError, match=r"left alone|cannot be read"):
            sarah.store.read(path)
        with pytest.raises(StoreError):
            sarah.notes.get(path)
        for command in ("show", "edit"):
            arguments = [command, str(sarah.root), path]
            assert "SECRET" not in fsagent(*arguments, *(["--text", "x"] * (command == "edit")))
    assert (outside / "secret").read_text() == "id: x\nSECRET\n"


def test_read_plain(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    assert read_plain(tmp_path / "a") == b"bytes"
    with pytest.raises(OSError, match="its 5 bytes are too many"):
        read_plain(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    free = len(os.listdir("/dev/fd"))
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="it is not a plain file"):
            read_plain(place)
    assert len(os.listdir("/dev/fd")) == free


def test_a_file_of_a_terabyte_is_not_read(make: Make) -> None:
    agent = make("ok")
    for path in ("core/big.md", "files/big"):
        place = agent.root / path
        place.parent.mkdir(exist_ok=True)
        with place.open("wb") as file:
            file.truncate(1 << 40)
    assert "big" not in agent.blocks
    turn = agent.chat("hi")
    assert any("core/big.md has 1,099,511,627,776 bytes" in text for text in turn.warnings)
    assert any("files/big is no plain file, or too large" in text for text in turn.warnings)
    with (agent.root / "agent.yaml").open("ab") as file:
        file.truncate(1 << 40)
    assert "agent.yaml cannot be read: its 1,099,511,627,776 bytes" in fsagent(
        "status", str(agent.root)
    )


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("path", [".gitattributes", "agent.yaml", "core/human.md", "files/x"])
def test_a_new_agent_over_a_strangers_files(
    tmp_path: Path, outside: Path, path: str, kind: Callable[[Path, Path], None]
) -> None:
    root = tmp_path / "new"
    (root / "core").mkdir(parents=True)
    (root / "files").mkdir()
    (root / "agent.yaml").write_text("name: New\n")
    (root / path).unlink(missing_ok=True)
    kind(root / path, outside)
    with pytest.raises(AgentError, match=f"{path} is in it"):
        Agent.init(root, human="x")
    assert (outside / "secret").read_text() == "id: x\nSECRET\n"
    assert not (outside / "nowhere").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_with_odd_files(
    tmp_path: Path, outside: Path, kind: Callable[[Path, Path], None]
) -> None:
    template = tmp_path / "template"
    (template / "core").mkdir(parents=True)
    (template / "agent.yaml").write_text("name: T\n")
    kind(template / "core/x.md", outside)
    agent = Agent.init(tmp_path / "new", template=template)
    assert "x" not in agent.blocks
    agent.close()
    (template / "agent.yaml").unlink()
    kind(template / "agent.yaml", outside)
    with pytest.raises(AgentError):
        Agent.init(tmp_path / "newer", template=template)


# ── names ─────────────────────────────────────────────────────────────────────────────────────

GITS = [
    *(".git", ".GIT", ".Git", ".git ", ".git.", ".git . .", "git~1", "GIT~1", "git~1 ", "Git~1."),
    *(".git::$INDEX_ALLOCATION", "git~1:x", ".g\u200cit", "\u200d.git", ".gi\ufeffT", ".\u202agit"),
    *("\u206f.git", "x\\.git", "x\\git~1\\y", ".git\\x"),
]
NOT_GITS = ["git", ".gitx", "agit~1", "git~2", ".gi", "x.git", "git~10", ".git-x", "digit~1", "gît"]


@pytest.mark.parametrize("name", GITS + NOT_GITS)
def test_names_that_git_takes_for_its_own(tmp_path: Path, name: str) -> None:
    assert is_gits(f"core/{name}/x.md") == (name in GITS)
    # Git's own opinion: fsck of a tree with that name (mktree writes what it is told).
    subprocess.run(["git", "init", "-q", str(tmp_path / "r")], check=True)
    run = ["git", "-C", str(tmp_path / "r")]
    blob = subprocess.run([*run, "hash-object", "-w", "--stdin"], input=b"", capture_output=True)
    entry = b"100644 blob " + blob.stdout.strip() + b"\t" + os.fsencode(name) + b"\0"
    subprocess.run([*run, "mktree", "-z"], input=entry, capture_output=True, check=True)
    done = subprocess.run([*run, "fsck", "--strict"], capture_output=True, text=True)
    assert ("hasDotgit" in done.stderr) == (name in GITS), done.stderr


@pytest.mark.parametrize("name", [name for name in GITS if name != ".git"])
@pytest.mark.parametrize("folder", [True, False])
def test_such_a_name_is_left_alone(make: Make, name: str, folder: bool) -> None:
    agent = make(call("core_memory_append", label="human", content="x"), "ok")
    path = f"core/{name}/x.md" if folder else f"core/{name}:.md"
    place = agent.root / path
    place.parent.mkdir(exist_ok=True)
    place.write_text("SECRET")
    label = path.removeprefix("core/").removesuffix(".md")
    odd = is_gits(path) or name.startswith(".")
    assert (label in agent.blocks) == (not odd)
    assert ("SECRET" in every_reading(agent.root)) == (not odd)
    turn = agent.chat("hi")
    assert subjects(agent)[1] == "human: + x"
    assert (subjects(agent)[2] == "init: sarah") == odd
    told = any("has a name that Git refuses" in text for text in turn.warnings)
    assert told == (is_gits(path) and not name.startswith("."))
    assert git(agent, "fsck", "--strict") == ""
    if is_gits(path):
        with pytest.raises(StoreError, match="has a name that Git refuses"):
            agent.store.read(path)


def test_a_model_cannot_choose_a_path(make: Make) -> None:
    labels = ["../x", "/etc/passwd", ".git/config", "x" * 300, "x\0y", "human.md", "core/human"]
    calls = [call("core_memory_append", label=label, content="x") for label in labels]
    agent = make(*calls, "done")
    before = sorted(p for p in agent.root.rglob("*") if ".git" not in p.parts)
    turn = agent.chat("hi")
    assert {result.status for result in turn.tool_calls} == {"error"}
    after = sorted(p for p in agent.root.rglob("*") if ".git" not in p.parts)
    assert [p for p in after if p not in before and "recall" not in p.parts] == []


def test_names_of_255_bytes_and_longer(make: Make) -> None:
    agent = make(call("core_memory_append", label="é" * 126, content="x"), "ok")
    long = agent.root / "core" / ("é" * 126 + ".md")
    assert len(os.fsencode(long.name)) == 255
    long.write_text("")
    deep = agent.root / "files" / "/".join(["d" * 200] * 12)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    assert agent.chat("hi").tool_calls[0].status == "success"
    assert long.read_text() == "x\n"
    assert git(agent, "status", "--porcelain") == ""
    where = str(agent.root)
    for name in ("x" * 256, "x" * 5000, "é" * 200, "a/" * 3000, "\n", "\x1b[31m"):
        for arguments in (
            ["show", where, name],
            ["log", where, name],
            ["edit", where, name, "--text", "x"],
            ["diff", where, name],
        ):
            assert "Traceback" not in fsagent(*arguments)
        with pytest.raises(FsagentError):
            agent.blocks[name] = "x"
    note = agent.notes.add("é" * 5000)
    assert len(os.fsencode(Path(note.path).name)) < 100


def test_a_shell_reads_no_name_of_a_file_that_is_edited(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make("ok")
    label = '$(touch ran)`touch ran`";touch ran;"'
    (agent.root / f"core/{label}.md").write_text("text\n")
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/edited"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.chdir(tmp_path)
    fsagent("edit", str(agent.root), label)
    assert (tmp_path / "edited").read_text() == str(agent.root / f"core/{label}.md")
    assert not (tmp_path / "ran").exists()


# ── bombs ─────────────────────────────────────────────────────────────────────────────────────


def laughs(join: str) -> str:
    lines = [f"a0: &a0 {join.format('x: 1', '')}"]
    for n in range(1, 12):
        lines.append(f"a{n}: &a{n} {join.format('', ', '.join([f'*a{n - 1}'] * 10))}")
    return "\n".join(lines) + "\n"


YAML = {
    "laughs": laughs("[{}{}]"),
    "merge": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 14)),
    "short merge": "a: &a {x: 1}\n"
    + "".join(
        f"{c}: &{c} {{<<: [{','.join(['*' + chr(ord(c) - 1)] * 9)}]}}\n" for c in "bcdefghijklm"
    ),
    "itself": "a: &a [*a]\nlimit: &b {b: *b}\n",
    "nested lists": "limit: " + "[" * 8000 + "]" * 8000 + "\n",
    "nested maps": "limit: " + "{a: " * 3000 + "}" * 3000 + "\n",
    "nested blocks": "\n".join(" " * n + "a:" for n in range(170)) + "\n",
    "open lists": "limit: " + "[" * 16000 + "\n",
    "question marks": "? " * 8000 + "\n",
    "dashes": "- " * 8000 + "\n",
    "keys": "".join(f"k{n}: {n}\n" for n in range(500)),
    "decimal": f"limit: {'9' * 15000}\ncontext_window: {'9' * 15000}\n",
    "hexadecimal": f"limit: 0x{'f' * 15000}\ncontext_window: 0x{'f' * 15000}\n",
    "sexagesimal": f"limit: {':'.join(['59'] * 5000)}\ncontext_window: {':'.join(['59'] * 5000)}\n",
    "underscores": f"limit: 1{'_' * 15000}\n",
    "floats": "limit: 1e999999\nread_only: .nan\ndescription: -.inf\ntags: 1.7976931348623157e+309\n",
    "huge id": f"id: 0x{'f' * 15000}\nname: 0x{'f' * 15000}\ndescription: 0x{'f' * 15000}\n",
    "python object": "limit: !!python/object/apply:os.system ['touch ran']\n",
    "python name": "limit: !!python/name:os.system\n",
    "python module": "description: !!python/module:antigravity\n",
    "binary": f"description: !!binary {'A' * 15000}\n",
    "set": "tags: !!set {a, b}\n",
    "omap": "limit: !!omap [a: 1]\n",
    "tag": "!<tag:x> limit: 1\n",
    "date": "limit: 9999-99-99\ndescription: 0000-00-00T99:99:99Z\n",
    "controls": 'description: "\\0\\x1b[31m\\u2028"\n',
    "list as key": "? [a, b]\n: 1\n? {a: b}\n: 2\n",
    "quotes": 'description: "' + '\\"' * 7000 + '"\n',
    "anchors": "a: " + "&a" * 5000 + "\n",
    "directives": "%YAML 9.9\n---\nlimit: 1\n",
    "documents": "limit: 1\n--- \nlimit: 2\n...\n",
}


@pytest.mark.parametrize("name", YAML)
@pytest.mark.usefixtures("_bounded")
def test_yaml(make: Make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = YAML[name]
    with pytest.MonkeyPatch.context() as at:
        at.setattr("os.system", lambda command: pytest.fail(command))
        agent = make("ok", "ok", "ok")
        (agent.root / "core/bomb.md").write_text(f"---\n{text}---\n\nThe text.\n")
        (agent.root / "core/human.md").write_text(f"---\n{text}")
        (agent.root / "archival").mkdir()
        (agent.root / "archival/bomb.md").write_text(f"---\n{text}---\n\nA note.\n")
        answers(agent)
        assert agent.blocks["bomb"].text.endswith("The text.")
        assert agent.blocks["bomb"].limit <= 10**15
        assert agent.search("text note").hits
        said = every_reading(agent.root)
        assert "The text." in said
        agent.blocks["bomb"] = "Short."
        config = (agent.root / "agent.yaml").read_text()
        for whole in (text, config + text, text + config):
            (agent.root / "agent.yaml").write_text(whole)
            every_reading(agent.root)
            with contextlib.suppress(FsagentError):
                script(agent, "ok")
                agent.chat("hi")
    assert not (tmp_path / "ran").exists()


def test_aliases_are_refused_and_stars_are_not() -> None:
    with pytest.raises(ValueError) as error:
        load_yaml("a: &x 1\nb: *x\n")
    assert error.value.args == (2, "aliases like *name are not read")
    text = "a: 2 * 3\nb: '*x'\nc: |\n  * one\n  *two*\n"
    assert load_yaml(text) == {"a": "2 * 3", "b": "*x", "c": "* one\n*two*\n"}
    assert parse_page(b"---\na: &x 1\nb: *x\n---\ntext").problem.startswith("line 3: front matter")
    with pytest.raises(ConfigError, match=r"agent.yaml, line 2: .*aliases"):
        parse_config(b"id: &x 1\nname: *x\n")


def nested(deep: int) -> Any:
    value: Any = 1
    for _ in range(deep):
        value = [value]
    return value


RECORDS = {
    "nested": "[" * 100_000,
    "nested content": '{"id":"a","role":"user","content":' + "[" * 900 + "]" * 900 + "}",
    "nested objects": '{"id":"a","role":"user","x":' + '{"a":' * 50_000 + "1" + "}" * 50_001,
    "nested extra": json.dumps({"id": "a", "role": "user", "content": "x", "y": nested(900)}),
    "huge number": '{"id":"a","role":"user","content":"x","usage":{"prompt":' + "9" * 5000 + "}}",
    "large number": '{"id":"a","role":"user","content":"x","usage":{"prompt":' + "9" * 4000 + "}}",
    "float": '{"id":"a","role":"user","content":1e999,"usage":{"prompt":1e999,"cached":-1e999}}',
    "nan": '{"id":"a","role":"user","content":NaN,"usage":{"prompt":Infinity}}',
    "numbers": '{"id":"a","role":"user","content":[' + "1e308," * 50_000 + "1]}",
    "keys": '{"id":"a","role":"user","content":"x",' + '"k":1,' * 50_000 + '"k":2}',
    "calls": '{"id":"a","role":"assistant","tool_calls":[' + '{"function":{}},' * 20_000 + "{}]}",
    "arguments": '{"id":"a","role":"assistant","tool_calls":[{"id":"c","function":{"name":"x","arguments":"'
    + "[" * 100_000
    + '"}}]}',
    "odd types": '{"id":"a","role":"user","content":{},"turn":[],"name":{},"thread":1,"ts":[],"status":{}}',
    "surrogates": '{"id":"a","role":"user","content":"' + "\\ud83d" * 10_000 + '"}',
    "escapes": '{"id":"a","role":"user","content":"' + "\\u001b[31m" * 1000 + '"}',
    "carriage returns": '{"id":"a","role":"user","content":"' + "\\r" * 100_000 + 'x"}',
    "a line": '{"id":"a","role":"user","content":"' + "x" * 1_000_000 + '"}',
    "dates": '{"id":"a","role":"user","content":"x","ts":"' + "9" * 100_000 + '"}',
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.usefixtures("_bounded")
def test_json(make: Make, name: str) -> None:
    agent = make(*["ok"] * 9)
    (agent.root / "recall").mkdir(exist_ok=True)
    (agent.root / "recall/2026-bomb.jsonl").write_text(RECORDS[name] + "\n")
    assert agent.chat("hi").reply == "ok"
    assert agent.search("hi").hits
    every_reading(agent.root)
    with contextlib.suppress(ValueError):
        record = parse_record(RECORDS[name])
        assert record.usage is None or 0 <= record.usage.prompt <= 10**15


@pytest.mark.parametrize(
    "text",
    [
        "\r" * 200_000 + "x",
        "---\n" + "\r" * 10_000 + "x\n---\n" + "\r" * 200_000 + "x",
        "# a" + " " * 200_000 + "b",
        "# " + "# " * 100_000 + "b",
        "#" * 200_000,
        "# a\n" * 20_000,
        "```\n~~~\n" * 50_000,
        "word " * 200_000,
        "x" * 500_000,
        "'" * 200_000,
        "a'" * 200_000,
        "x's" * 100_000,
        ". " * 200_000,
        "?" * 200_000,
        "\n" * 500_000,
        "- " * 200_000,
        "e\u0301" * 200_000,
        "\u4e2d" * 200_000,
        "2026-" * 100_000,
        "<" * 200_000,
        "< /" * 100_000 + "block",
        "<" + " " * 500_000,
        "\0" * 200_000,
        "\ufeff" * 100_000,
        "---\n" * 100_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
@pytest.mark.usefixtures("_bounded")
def test_texts(make: Make, text: str) -> None:
    agent = make(*["ok"] * 9)
    (agent.root / "archival").mkdir()
    (agent.root / "archival/bomb.md").write_text(text)
    (agent.root / "core/bomb.md").write_text(text)
    (agent.root / "recall").mkdir()
    line = json.dumps({"id": "a", "role": "user", "content": text})
    (agent.root / "recall/2026-bomb.jsonl").write_text(line + "\n")
    assert docs_of("archival/bomb.md", text.encode()) is not None
    answers(agent)
    every_reading(agent.root)
    (agent.root / "core/bomb.md").write_text("")
    assert agent.chat("hi").reply == "ok"
    assert agent.search("hi").hits
    every_reading(agent.root)
