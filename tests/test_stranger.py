"""An agent's directory from a stranger: its Git repository runs nothing and leads nowhere."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent, call
from fsagent.cli import cli
from fsagent.errors import AgentError, FsagentError, StoreError
from fsagent.repo import Repo, run
from fsagent.repo.run import GitFailed
from fsagent.repo.settings import names_a_command

from conftest import git, script, subjects

Make = Callable[..., Agent]

pytestmark = pytest.mark.timeout(90)


class Trap:
    """A command that leaves a mark with its name when it runs."""

    def __init__(self, folder: Path) -> None:
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.path = folder / "trap"
        self.path.write_text(
            f'#!/bin/sh\nname=$(echo "$1" | tr / _)\n: > "{self.marks}/$name"\n'
            'case "$1" in *.clean) cat;; esac\n'
        )
        self.path.chmod(0o755)

    def command(self, name: str) -> str:
        return f"{self.path} {name}"

    @property
    def sprung(self) -> list[str]:
        return sorted(mark.name for mark in self.marks.iterdir())


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


def every_command(root: Path, tmp_path: Path) -> dict[str, str]:
    """What each command that is given a directory says, after a hand edit and with a model."""
    (root / "core/human.md").write_text("Name: Tim\nBy hand.\n")
    model = tmp_path / "script.json"
    model.write_text(
        json.dumps(
            [
                [{"tool": "core_memory_append", "arguments": {"label": "human", "content": "x"}}],
                [{"tool": "archival_memory_insert", "arguments": {"content": "a note"}}],
                [{"tool": "conversation_search", "arguments": {"query": "hi"}}],
                "Hello.",
            ]
        )
    )
    (tmp_path / "script.json.at").unlink(missing_ok=True)
    where = str(root)
    said = {}
    for arguments in (
        ["status", where],
        ["diff", where],
        ["chat", where, "--model", f"scripted:{model}", "hi"],
        ["show", where],
        ["show", where, "human"],
        ["edit", where, "human", "--text", "Name: Tom"],
        ["note", where, "A note."],
        ["note", where],
        ["search", where, "note"],
        ["reindex", where],
        ["context", where],
        ["log", where],
        ["log", where, "human", "--json"],
        ["diff", where, "HEAD~2"],
        ["diff", where, "HEAD~1..HEAD"],
        ["status", where, "--json"],
        ["tools", where],
        ["init", f"{tmp_path}/copy-{time.monotonic_ns()}", "--from", where],
        ["init", f"{where}/files/inner-{time.monotonic_ns()}"],
        ["sync", where, where],
        ["merge", where, where],
        ["clone", where, f"{tmp_path}/clone-{time.monotonic_ns()}"],
        ["allow", where],
        ["allow", where, "--revoke"],
    ):
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        said[" ".join(arguments[:1] + arguments[2:])] = done.output
        assert done.exit_code in (0, 1), done.output
    return said


def configure(agent: Agent, text: str) -> None:
    with (agent.root / ".git/config").open("a") as file:
        file.write(text)


def hostile(agent: Agent, trap: Trap) -> dict[str, str]:
    """Everything in one configuration that names a command; the answer is key → command."""
    keys = """
        core.fsmonitor core.pager core.editor core.askPass core.sshCommand core.gitProxy
        core.alternateRefsCommand sequence.editor diff.external interactive.diffFilter
        alias.log alias.status alias.diff alias.cat-file alias.config
        pager.log pager.diff pager.status pager.config
        credential.helper credential.https://x.helper
        gpg.program gpg.ssh.program gpg.ssh.defaultKeyCommand
        diff.evil.command diff.evil.textconv merge.evil.driver merge.fsagent-text.driver
        merge.fsagent-recall.driver difftool.evil.cmd mergetool.evil.cmd
        filter.evil.clean filter.evil.smudge filter.evil.process
        filter.a=b.clean filter.a=b.smudge
        remote.origin.uploadpack remote.origin.receivepack remote.origin.vcs
        uploadpack.packObjectsHook hook.evil.command trailer.evil.command trailer.evil.cmd
        browser.evil.cmd man.evil.cmd guitool.evil.cmd sendemail.smtpServer web.browser
        tar.tgz.command imap.tunnel
    """.split()
    commands = {key: trap.command(key) for key in keys}
    for key, command in commands.items():
        git(agent, "config", key, command)
    for key, value in {
        "core.hooksPath": str(trap.path.parent / "hooks"),
        "filter.evil.required": "true",
        "filter.a=b.required": "true",
        "hook.evil.event": "post-index-change",
        "submodule.evil.update": f"!{trap.command('submodule')}",
        "protocol.ext.allow": "always",
        "protocol.allow": "always",
        "log.showSignature": "true",
        "commit.gpgSign": "true",
        "diff.submodule": "diff",
        "submodule.recurse": "true",
        "core.attributesFile": str(agent.root / "attributes"),
        "core.worktree": str(trap.path.parent),
    }.items():
        git(agent, "config", key, value)
    hooks = trap.path.parent / "hooks"
    hooks.mkdir()
    for name in (
        "pre-commit commit-msg post-commit prepare-commit-msg reference-transaction "
        "post-index-change post-checkout post-merge post-rewrite pre-auto-gc pre-push"
    ).split():
        for folder in (hooks, agent.root / ".git/hooks"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(f"#!/bin/sh\n{trap.command('hook-' + name)} </dev/null\n")
            (folder / name).chmod(0o755)
    return commands


def test_the_trap_springs_where_nobody_takes_care(sarah: Agent, trap: Trap) -> None:
    hostile(sarah, trap)
    git(sarah, "config", "--unset", "core.worktree")
    (sarah.root / ".gitattributes").write_text("core/*.md diff=evil\nfiles/** filter=a=b\n")
    (sarah.root / "core/human.md").write_text("Name: Tam\n")
    git(sarah, "diff", check=False)
    git(sarah, "config", "--unset", "diff.external")
    git(sarah, "config", "--unset", "diff.evil.command")
    git(sarah, "diff", check=False)
    (sarah.root / "files").mkdir()
    (sarah.root / "files/a").write_text("x")
    git(sarah, "add", "files", check=False)
    assert set(trap.sprung) >= {
        *("core.fsmonitor", "diff.evil.command", "diff.evil.textconv", "filter.a=b.clean"),
        "hook-post-index-change",
    }


@pytest.mark.parametrize("attributes", ["", "diff=evil merge=evil", "diff=evil filter=evil"])
def test_no_command_of_the_configuration_runs(
    make: Make, trap: Trap, tmp_path: Path, attributes: str
) -> None:
    agent = make("ok")
    agent.chat("hi")
    hostile(agent, trap)
    (agent.root / ".gitattributes").write_text(f"* {attributes}\n")
    (agent.root / "attributes").write_text(f"* {attributes}\n")
    said = every_command(agent.root, tmp_path)
    assert trap.sprung == []
    if "filter" not in attributes:
        assert not [text for text in said.values() if "Error" in text]
        assert "hand edit: core/human.md" in said["log"]
        assert agent.blocks["human"].text == "Name: Tom"


@pytest.mark.parametrize("link", [False, True])
def test_a_repository_inside_runs_nothing(
    make: Make, trap: Trap, tmp_path: Path, link: bool
) -> None:
    agent = make("ok")
    for place in (agent.root / "files/inner", agent.root / "core/inner"):
        place.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", str(place)], check=True)
        (place / "x.md").write_text("x")
        git(place, "add", "x.md")
        git(place, "commit", "-qm", "x")
        if link:  # as a submodule, which git diff looks into
            git(agent, "add", str(place))
        (place / "x.md").write_text("y")
        git(place, "config", "core.fsmonitor", trap.command("inner"))
        git(place, "config", "diff.external", trap.command("inner-diff"))
    if link:
        git(agent, "config", "diff.submodule", "diff")
        git(agent, "commit", "-qm", "submodules")
        for place in (agent.root / "files/inner", agent.root / "core/inner"):
            git(place, "-c", "core.fsmonitor=false", "commit", "-qam", "y")
        git(agent, "diff", "HEAD")
        assert "inner" in trap.sprung  # so it would
        for mark in trap.marks.iterdir():
            mark.unlink()
    every_command(agent.root, tmp_path)
    assert trap.sprung == []


def test_what_other_git_commands_would_run_is_off_as_well(sarah: Agent, trap: Trap) -> None:
    commands = hostile(sarah, trap)
    git(sarah, "config", "remote.origin.url", "ext::" + trap.command("ext"))
    git(sarah, "config", "remote.there.url", str(sarah.root))
    git(sarah, "config", "remote.there.uploadpack", trap.command("uploadpack"))
    git(sarah, "config", "remote.ssh.url", "host.invalid:x")
    git(sarah, "config", "url." + "ext::" + trap.command("url") + ".insteadOf", "there:")
    repo = Repo(sarah.root)
    for key, command in commands.items():
        if key != "uploadpack.packObjectsHook":  # Git itself reads it nowhere but in a person's
            found = run(["git", "config", "--get", key], repo._env, repo.root).decode().strip()
            assert found != command, key
    (sarah.root / "core/human.md").write_text("Name: Tam\n")
    for arguments in (
        *(["fetch", "origin"], ["fetch", "there"], ["fetch", "ssh"], ["fetch", "there:x"]),
        *(["ls-remote", "there"], ["push", "there", "HEAD:refs/heads/x"]),
        *(["clone", "-q", str(sarah.root), str(trap.path.parent / "clone")], ["gc", "-q"]),
        *(["commit", "-a"], ["tag", "-a", "t"], ["merge", "--no-ff", "HEAD~0"], ["reset", "-q"]),
        *(["commit", "-am", "x"], ["checkout", "HEAD~0"], ["stash"], ["blame", "core/human.md"]),
        *(["archive", "--format=tgz", "HEAD"], ["interpret-trailers"], ["fsck"]),
        *(["log", "-p", "--ext-diff", "--textconv"], ["rebase", "-i", "--root"]),
        *(["format-patch", "-1", "--stdout"], ["repack", "-ad"], ["prune"], ["log"]),
    ):
        try:
            repo._git(*arguments)
        except GitFailed:
            continue
    assert trap.sprung == []


def test_the_child_that_reads_packs_is_told_the_same(sarah: Agent, trap: Trap) -> None:
    hostile(sarah, trap)
    repo = Repo(sarah.root)
    told = repo._objects.git.environment()
    assert told["GIT_NO_LAZY_FETCH"] == "1"
    assert told["GIT_ALLOW_PROTOCOL"] == "none"
    settings = {
        told[f"GIT_CONFIG_KEY_{n}"]: told[f"GIT_CONFIG_VALUE_{n}"]
        for n in range(int(told["GIT_CONFIG_COUNT"]))
    }
    assert settings["core.fsmonitor"] == "false"
    assert settings["filter.evil.clean"] == ""
    assert settings["core.sshcommand"] == ""
    repo.close()


@pytest.mark.parametrize("how", ["ext", "uploadpack", "vcs"])
def test_a_missing_object_is_not_fetched(make: Make, trap: Trap, tmp_path: Path, how: str) -> None:
    agent = make("ok")
    agent.chat("hi")
    url = {"ext": f"ext::{trap.command('ext')}", "vcs": trap.command("vcs")}.get(how)
    url = url or str(tmp_path / "bare")
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare")], check=True)
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": url,
        "remote.origin.uploadpack": trap.command("uploadpack"),
        "protocol.ext.allow": "always",
        **({"remote.origin.vcs": "ext"} if how == "vcs" else {}),
    }.items():
        git(agent, "config", key, value)
    blob = git(agent, "rev-parse", "HEAD:core/human.md").strip()
    (agent.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    git(agent, "cat-file", "-p", blob, check=False)
    assert trap.sprung != []  # so plain git would
    for mark in trap.marks.iterdir():
        mark.unlink()
    repo = Repo(agent.root)
    with pytest.raises(Exception, match=blob):
        repo.read(blob)
    repo.close()
    every_command(agent.root, tmp_path)
    assert trap.sprung == []


def test_the_persons_own_settings_count_again(sarah: Agent, tmp_path: Path) -> None:
    home = Path(os.environ["HOME"])
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Tim\n\temail = t@x\n[diff]\n\texternal = mine\n"
        "[credential]\n\thelper = one\n\thelper = two\n"
    )
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/ignore").write_text("ignored.md\n")
    (sarah.root / "core/ignored.md").write_text("x")
    for key in ("diff.external", "credential.helper", "core.excludesFile", "core.editor"):
        git(sarah, "config", key, "theirs")
    repo = Repo(sarah.root)

    def values(key: str) -> list[str]:
        return repo._git("config", "--get-all", key).decode().splitlines()

    assert values("diff.external")[-1] == "mine"
    assert values("credential.helper")[-3:] == ["", "one", "two"]
    assert values("core.editor")[-1] == ""
    assert repo.status(["core"]) == []


def test_filters_are_off_whoever_configured_them(sarah: Agent, trap: Trap) -> None:
    git(sarah, "config", "--global", "filter.lfs.clean", trap.command("clean"))
    git(sarah, "config", "--global", "filter.lfs.required", "true")
    (sarah.root / ".git/info").mkdir(exist_ok=True)
    (sarah.root / ".git/info/attributes").write_text("core/** filter=lfs\n")
    (sarah.root / "core/human.md").write_text("Name: Tam\n")
    for allowed in (False, True):
        repo = Repo(sarah.root, allowed=allowed)
        assert [entry.path for entry in repo.status(["core"])] == ["core/human.md"]
    assert trap.sprung == []


def test_settings_are_read_once_and_again_when_a_file_changes(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repo(sarah.root)
    assert repo.person().name == "Tim"
    started = []
    monkeypatch.setattr("fsagent.repo.settings.run", lambda *a: started.append(a) or run(*a))
    assert repo.person().email == "tim@example.org"
    repo.status(["core"])
    assert started == []
    git(sarah, "config", "user.name", "Tom")
    assert repo.person().name == "Tom"
    git(sarah, "config", "--global", "user.email", "t@y")
    assert repo.person().email == "t@y"
    assert len(started) == 2
    (Path(os.environ["HOME"]) / ".config/git").mkdir(parents=True)
    (Path(os.environ["HOME"]) / ".config/git/config").write_text("[index]\n\tversion = 4\n")
    assert repo.settings.get("index.version") == "4"
    git(sarah, "config", "core.splitIndex", "yes")
    assert repo.settings.flag("core.splitindex")
    assert not repo.settings.flag("core.sparsecheckout")
    git(sarah, "config", "--unset", "user.name")
    git(sarah, "config", "--global", "--remove-section", "user")
    assert repo.person().name == "someone"


@pytest.mark.parametrize(
    "key",
    [
        *("core.sshCommand", "credential.https://x.y.helper", "diff.a.b.textconv", "alias.x"),
        *("merge.x\ny.driver", "remote.o.vcs", "protocol.ext.allow", "pager.log", "gpg.x.program"),
    ],
)
def test_keys_that_name_a_command(key: str) -> None:
    assert names_a_command(key)


@pytest.mark.parametrize(
    "key",
    [
        *("core.bare", "user.name", "remote.origin.url", "remote.origin.fetch", "merge.x.name"),
        *("diff.x.xfuncname", "branch.main.merge", "credential.username", "core.commentchar"),
    ],
)
def test_keys_that_name_none(key: str) -> None:
    assert not names_a_command(key)


def test_more_commands_than_git_can_be_told_to_leave_out(sarah: Agent) -> None:
    configure(sarah, "[alias]\n" + "".join(f"a{n} = x\n" for n in range(3000)))
    with pytest.raises(AgentError, match=r"names 3,000 commands, too many to leave out"):
        Repo(sarah.root).person()


# ── what git cannot be told: refused, or allowed once ─────────────────────────────────────────


def refused(root: Path, tmp_path: Path, match: str) -> None:
    """Every command says the one sentence, and at once."""
    start = time.monotonic()
    (tmp_path / "script.json").write_text('["ok"]')
    model = f"scripted:{tmp_path}/script.json"
    for arguments in (["chat", "--model", model, "hi"], ["log"], ["status"], ["search", "x"]):
        done = CliRunner().invoke(cli, [arguments[0], str(root), *arguments[1:]])
        assert done.exit_code == 1
        said = done.output.splitlines()[-1]
        assert said.startswith("Error: "), done.output
        assert match in said
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "section",
    [
        "[include]\n\tpath = {pipe}\n",
        "[InClude] PATH={pipe}\n",
        '[includeIf "gitdir:/"]\n\tpath = {pipe}\n',
        "[include]\n\tpath = evil\n",
        "[gc]\n\trecentObjectsHook = evil\n",
    ],
)
def test_an_include_is_refused_and_its_pipe_not_opened(
    sarah: Agent, tmp_path: Path, section: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    configure(sarah, section.format(pipe=tmp_path / "pipe"))
    refused(sarah.root, tmp_path, f"or if you trust this agent: fsagent allow {sarah.root}")


def test_an_include_that_comes_later_is_refused(sarah: Agent) -> None:
    sarah.store.repo.person()
    configure(sarah, "[include]\n\tpath = evil\n")
    with pytest.raises(AgentError, match=r"include.path in .git/config .* fsagent allow"):
        sarah.chat("hi")


def test_an_include_in_the_configuration_of_a_work_tree(sarah: Agent) -> None:
    git(sarah, "config", "extensions.worktreeConfig", "true")
    (sarah.root / ".git/config.worktree").write_text("[include]\n\tpath = evil\n")
    with pytest.raises(AgentError, match=r"include.path in .git/config.worktree"):
        Agent.open(sarah.root)


def test_allow(make: Make, trap: Trap, tmp_path: Path) -> None:
    agent = make("ok")
    (tmp_path / "more").write_text("[user]\n\tname = Included\n")
    configure(agent, f"[include]\n\tpath = {tmp_path}/more\n[core]\n\tpager = x\n")

    def fsagent(*arguments: str) -> str:
        return CliRunner().invoke(cli, list(arguments), catch_exceptions=False).output

    where = str(agent.root)
    assert "fsagent allow" in fsagent("log", where)
    told = fsagent("allow", where)
    assert told.splitlines() == [
        f"{where} is trusted with:",
        "  include.path in .git/config",
        "  core.pager",
        f"Take it back: fsagent allow {where} --revoke",
    ]
    assert "init: sarah" in fsagent("log", where)
    fsagent("note", where, "A note.")
    assert git(agent, "log", "-1", "--format=%an").strip() == "Included"
    (record,) = (tmp_path / "state/allowed").iterdir()
    assert record.read_text() == f"{agent.config.id}\n"

    # Another agent in the same place is not allowed, nor is this one in another place.
    config = (agent.root / "agent.yaml").read_text()
    (agent.root / "agent.yaml").write_text(config.replace(agent.config.id, "another"))
    assert "fsagent allow" in fsagent("log", where)
    (agent.root / "agent.yaml").write_text(config)
    shutil.copytree(agent.root, tmp_path / "elsewhere")
    assert "fsagent allow" in fsagent("log", str(tmp_path / "elsewhere"))
    link = tmp_path / "link"
    link.symlink_to(agent.root)
    assert "init: sarah" in fsagent("log", str(link))

    assert "any more" in fsagent("allow", where, "--revoke")
    assert "fsagent allow" in fsagent("log", where)
    git(agent, "config", "--unset", "include.path")
    git(agent, "config", "--unset", "core.pager")
    assert "nothing to allow" in fsagent("allow", where)
    assert not list((tmp_path / "state/allowed").iterdir())


def test_hooks_and_filters_do_not_run_even_where_all_is_allowed(
    make: Make, trap: Trap, tmp_path: Path
) -> None:
    agent = make("ok")
    hostile(agent, trap)
    git(agent, "config", "--unset", "core.worktree")
    (agent.root / ".git/info").mkdir(exist_ok=True)
    (agent.root / ".git/info/attributes").write_text("todo.txt filter=evil\n")
    assert "is trusted with" in CliRunner().invoke(cli, ["allow", str(agent.root)]).output
    every_command(agent.root, tmp_path)
    assert trap.sprung == []


def test_a_config_that_is_no_plain_file(sarah: Agent, tmp_path: Path) -> None:
    config = sarah.root / ".git/config"
    config.rename(tmp_path / "config")
    config.symlink_to(tmp_path / "config")
    refused(sarah.root, tmp_path, ".git/config is a symbolic link")
    config.unlink()
    os.mkfifo(config)
    refused(sarah.root, tmp_path, ".git/config is a pipe or a device")
    config.unlink()
    config.mkdir()
    refused(sarah.root, tmp_path, "it is not a plain file")
    config.rmdir()
    config.write_bytes(b"#" * 2**21)
    refused(sarah.root, tmp_path, "its 2,097,152 bytes are too many")
    config.write_text("[core\n")
    refused(sarah.root, tmp_path, "bad config")
    config.write_text("[include\n")
    refused(sarah.root, tmp_path, "bad config")
    config.write_text("[core]\n\tbare = maybe\n")
    refused(sarah.root, tmp_path, "bad boolean")
    config.unlink()
    assert sarah.log()  # none is needed


@pytest.mark.parametrize(
    "name",
    ["HEAD", "index", "objects", "refs/heads", "logs", "logs/HEAD", "fsagent", "fsagent/segment"],
)
def test_a_link_in_the_repository_is_refused(sarah: Agent, tmp_path: Path, name: str) -> None:
    place = sarah.root / ".git" / name
    place.parent.mkdir(exist_ok=True)
    if os.path.lexists(place):
        place.rename(tmp_path / "there")
    place.symlink_to(tmp_path / "there")
    refused(sarah.root, tmp_path, f".git/{name} is a symbolic link: put the real file or folder")


@pytest.mark.parametrize("name", ["HEAD", "index", "packed-refs", "refs/heads/x", "info/exclude"])
def test_a_pipe_in_the_repository_is_refused(sarah: Agent, tmp_path: Path, name: str) -> None:
    place = sarah.root / ".git" / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    refused(sarah.root, tmp_path, f".git/{name} is a pipe or a device")


def test_a_socket_in_the_repository_is_nothing(
    sarah: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sarah.root / ".git")
    with socket.socket(socket.AF_UNIX) as here:
        here.bind("fsmonitor--daemon.ipc")
        assert Agent.open(sarah.root).log()


def test_a_git_folder_elsewhere_is_refused(sarah: Agent, tmp_path: Path) -> None:
    git_dir = sarah.root / ".git"
    git_dir.rename(tmp_path / "there")
    git_dir.symlink_to(tmp_path / "there")
    refused(sarah.root, tmp_path, f"leads to {tmp_path}/there")
    git_dir.unlink()
    git_dir.write_text(f"gitdir: {tmp_path}/there\n")
    refused(sarah.root, tmp_path, f"leads to {tmp_path}/there")
    Repo(sarah.root, allowed=True)
    git_dir.unlink()
    git_dir.symlink_to(tmp_path / "nowhere")
    refused(sarah.root, tmp_path, "is not a Git repository")
    git_dir.unlink()
    os.mkfifo(git_dir)
    refused(sarah.root, tmp_path, "is not a Git repository")
    git_dir.unlink()
    git_dir.write_text("gitdir: \0\n")
    refused(sarah.root, tmp_path, "names no place")


def test_another_repository_is_not_taken_for_the_agents(
    sarah: Agent, make: Make, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    git(work, "commit", "-q", "--allow-empty", "-m", "mine")
    git(work, "worktree", "add", "-q", str(tmp_path / "linked"))
    before = git(work, "for-each-ref")
    shutil.rmtree(sarah.root / ".git")
    for target in (work / ".git", work / ".git/worktrees/linked"):
        (sarah.root / ".git").write_text(f"gitdir: {target}\n")
        refused(sarah.root, tmp_path, f"leads to {target}")
    assert git(work, "for-each-ref") == before


def test_a_commondir_elsewhere_is_refused(sarah: Agent, tmp_path: Path) -> None:
    (sarah.root / ".git/commondir").write_text(f"{tmp_path}\n")
    refused(sarah.root, tmp_path, f".git/commondir leads to {tmp_path}")


def test_alternates_are_refused(make: Make, tmp_path: Path) -> None:
    agent = make("ok")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--shared", str(agent.root), str(clone))
    refused(clone, tmp_path, "makes git read another repository")
    assert Repo(clone, allowed=True).read(git(clone, "rev-parse", "HEAD:agent.yaml").strip())
    git(clone, "repack", "-q", "-a", "-d")
    (clone / ".git/objects/info/alternates").unlink()
    other = Agent.open(clone)
    script(other, "ok")
    assert other.chat("hi").reply == "ok"
    other.close()


def test_a_linked_work_tree_is_an_agent_like_any(make: Make, tmp_path: Path) -> None:
    agent = make("ok")
    git(agent, "worktree", "add", "-q", str(tmp_path / "linked"))
    linked = Agent.open(tmp_path / "linked")
    script(linked, call("core_memory_append", label="human", content="x"), "ok")
    linked.chat("hi")
    assert linked.blocks["human"].text.endswith("x")
    assert subjects(linked)[0] == "turn: hi"
    assert git(linked, "status", "--porcelain") == ""
    assert len(subjects(agent)) == 1
    linked.close()
    configure(agent, "[include]\n\tpath = evil\n")
    with pytest.raises(AgentError, match=r"include.path in .git/config"):
        Agent.open(tmp_path / "linked")


# ── pipes that git would wait for ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes", "core/.gitignore", ".mailmap"])
def test_a_pipe_that_git_would_wait_for(
    make: Make, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("fsagent.repo.run"), "PATIENCE", 0.5)
    agent = make("ok")
    (agent.root / name).unlink(missing_ok=True)
    os.mkfifo(agent.root / name)
    os.mkfifo(agent.root / "pipe")  # of no interest to git
    if name == ".mailmap":
        assert agent.log()
        return
    with pytest.raises(
        StoreError, match=rf"{name} is a pipe or a device, for which git would wait"
    ):
        agent.chat("hi")


def test_a_slow_command_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("fsagent.repo.run"), "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    command = ["sh", "-c", "sleep 0.4; cat"]
    assert run(command, dict(os.environ), tmp_path, b"x" * 200_000) == b"x" * 200_000


# ── whose it is ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
@pytest.mark.parametrize("part", ["", ".git"])
def test_a_directory_of_somebody_else(sarah: Agent, part: str, tmp_path: Path) -> None:
    os.chown(sarah.root / part, 12345, 12345)
    refused(
        sarah.root,
        tmp_path,
        f"{sarah.root} belongs to another user. If you trust it: "
        f"git config --global --add safe.directory {sarah.root}",
    )
    git(sarah, "config", "--global", "--add", "safe.directory", str(sarah.root))
    assert Agent.open(sarah.root).log()


# ── what looks like an option ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "odd",
    ["--output={}", "-O{}", "--all", "-p", "@{{upstream}}", "--", "", "\0", "a\nb", "..", ":/"],
)
def test_an_argument_is_never_an_option(make: Make, tmp_path: Path, odd: str) -> None:
    agent = make("ok")
    agent.chat("hi")
    spoilt = tmp_path / "spoilt"
    odd = odd.format(spoilt)
    repo = agent.store.repo
    for ask in (
        lambda: repo.resolve(odd),
        lambda: repo.diff(odd),
        lambda: repo.diff(odd, odd),
        lambda: list(repo.log(odd)),
        lambda: list(repo.log(rev=odd)),
        lambda: list(repo.log_lines(odd)),
        lambda: repo.patch(odd),
        lambda: repo.files(odd),
        lambda: repo.files("HEAD", [odd]),
        lambda: repo.changes(odd, "HEAD"),
        lambda: repo.changes("HEAD", odd),
        lambda: repo.status([odd]),
        lambda: repo.filtered([odd]),
        lambda: agent.log(odd),
        lambda: agent.diff(odd),
        lambda: agent.search(odd),
    ):
        try:
            ask()
        except FsagentError:
            continue
    for arguments in (["log", str(agent.root), "--", odd], ["diff", str(agent.root), "--", odd]):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code in (0, 1)
        assert done.exception is None or isinstance(done.exception, SystemExit)
    assert not spoilt.exists()
    assert git(agent, "status", "--porcelain") == ""
