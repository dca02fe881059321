"""What sync and clone say of places that are not what they should be."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsagent import Agent
from fsagent.cli import cli
from fsagent.clock import Clock
from fsagent.errors import AgentError, ConfigError, StoreError

from conftest import git

Make = Callable[..., Agent]


def bare(folder: Path) -> Path:
    """A place to sync with."""
    place = folder / "place.git"
    git(folder, "init", "-q", "--bare", str(place))
    return place


def test_the_repair_of_an_agent_yaml_comes_from_the_place(make: Make, tmp_path: Path) -> None:
    one, place = make(), bare(tmp_path)
    one.sync(str(place))
    two = Agent.clone(str(place), tmp_path / "two")
    config = one.root / "agent.yaml"
    config.write_text(f"{config.read_text()}tools: [\n")
    git(one, "commit", "-qam", "broken")
    git(one, "push", "-q")
    two.sync()
    with pytest.raises(ConfigError):
        _ = two.store.config
    two.sync()  # nothing has come yet, and nothing is said of a strange place
    git(one, "revert", "--no-edit", "HEAD")
    git(one, "push", "-q")
    assert two.sync().taken == 1
    assert two.store.config.id == one.config.id
    two.close()


def test_a_place_of_another_agent_is_not_known(make: Make, tmp_path: Path) -> None:
    """Neither where agent.yaml is broken: the history has the other one's id."""
    one, place = make(), bare(tmp_path)
    one.sync(str(place))
    known = git(one, "config", "remote.origin.url").strip()
    one.close()
    one.root.rename(tmp_path / "moved")
    other = make(clock=Clock())
    git(other, "remote", "add", "origin", known)
    (other.root / "agent.yaml").write_text("id: [\n")
    with pytest.raises(AgentError, match=r"only the agent's own \.git/config names"):
        other.sync()


def test_a_rebase_under_way_is_called_so(make: Make, tmp_path: Path) -> None:
    agent, place = make(), bare(tmp_path)
    agent.sync(str(place))
    agent.notes.add("One.")
    git(agent, "-c", "sequence.editor=sed -i s/pick/edit/", "rebase", "-q", "-i", "HEAD~1")
    with pytest.raises(StoreError, match=r"A rebase is under way .*git rebase --continue"):
        agent.sync()
    git(agent, "rebase", "--abort")
    assert agent.sync().given == 1


def test_a_clone_of_what_is_not_there_speaks_of_no_remotes(tmp_path: Path) -> None:
    out = CliRunner().invoke(cli, ["clone", "NOPE", str(tmp_path / "new")])
    assert out.output == "Error: 'NOPE' is no directory and no address: is it spelled right?\n"


class _Page(http.server.BaseHTTPRequestHandler):
    """Says hello, whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Hello</html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def web() -> Iterator[str]:
    """A web page that is no repository."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/x"
        finally:
            server.shutdown()


def test_a_web_page_is_not_just_called_empty(tmp_path: Path) -> None:
    with (
        web() as url,
        pytest.raises(AgentError, match="is empty, or no Git repository at all: "),
    ):
        Agent.clone(url, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_server_that_never_answers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_HTTP_LOW_SPEED_TIME", "1")
    agent = make()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hold() -> None:
            connection, _ = server.accept()
            time.sleep(10)
            connection.close()

        threading.Thread(target=hold, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.git"
        with pytest.raises(StoreError, match=r"cannot be reached .*Operation too slow"):
            agent.sync(url)
