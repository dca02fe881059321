"""Purge and what Git is made of: headers, settings, tags, locks and the index stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fsagent import Agent
from fsagent.errors import StoreError
from fsagent.history.gap import MARK, Gap, Target

from conftest import git
from test_purge import CODE, objects, places, sound, with_code

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
