"""The one file that knows xllamacpp: llama.cpp in this process, spoken to over its loopback port.

The port is the only way to stop a generation half-way (close the connection) and to keep computed
prompts on disk. It listens on 127.0.0.1 alone and wants a random key.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from fsagent.errors import ModelError
from fsagent.records import Usage

CONTEXT = 8192
"""Tokens of one call."""

SLOTS = 3
"""Prompts whose computed beginnings are kept apart."""

_ROOM = 12288
"""Tokens that the slots share: one call, and the constant beginnings of the others."""

_SILENT = -1


@dataclass(frozen=True)
class End:
    """How a generation ended: OpenAI's finish_reason and the tokens it took."""

    finish: str
    usage: Usage


class Engine(Protocol):
    """A loaded model."""

    version: str

    def template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages in the model's own chat form, up to where its answer begins."""
        ...

    def generate(
        self, prompt: str, *, slot: int, limit: int, grammar: str = ""
    ) -> Iterator[str | End]:
        """Yield the text of at most ``limit`` tokens in pieces, then one End.

        Closing the iterator stops the generation.
        """
        ...

    def count(self, text: str) -> int:
        """Tokens of ``text``, by the model's own tokenizer."""
        ...

    def save(self, slot: int, name: str) -> None:
        """Keep what the slot has computed, under a file name."""
        ...

    def restore(self, slot: int, name: str) -> bool:
        """Put what ``save`` kept into the slot; False where there is nothing sound to put."""
        ...


class LlamaEngine:
    """xllamacpp's server, loaded and listening."""

    def __init__(self, path: Path, *, threads: int, slots: Path) -> None:
        """Load the weights at ``path``. ``slots`` is the directory for computed prompts.

        Raises ModelError when xllamacpp is missing or the file is no model it can load.
        """
        try:
            xllamacpp = importlib.import_module("xllamacpp")
        except ImportError:
            raise ModelError(
                "The embedded model needs the package xllamacpp: pip install 'fsagent[local]'"
            ) from None
        slots.mkdir(parents=True, exist_ok=True)
        self.version = str(xllamacpp.__version__)
        self._slots = slots
        self._key = secrets.token_hex(16)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = _ROOM
        params.n_parallel = SLOTS
        params.kv_unified = True
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.n_gpu_layers = 0
        params.fit_params = False
        params.warmup = False
        # By default up to 8 GiB of old prompts would be kept in memory.
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
        params.hostnames = ["127.0.0.1"]
        params.n_threads_http = 3
        params.api_keys = [self._key]
        params.ui = False
        params.slot_save_path = str(slots) + os.sep
        params.verbosity = _SILENT
        try:
            self._server = xllamacpp.Server(params)
        except Exception as error:  # a C++ exception, which has no type of its own
            raise ModelError(
                f"{path} cannot be loaded as a model ({error}): delete it and pull it again."
            ) from error
        address = urlsplit(self._server.listening_address)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80

    def template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages in the model's own chat form, up to where its answer begins."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def count(self, text: str) -> int:
        """Tokens of ``text``, by the model's own tokenizer."""
        return len(self._post("/tokenize", {"content": text, "parse_special": False})["tokens"])

    def generate(
        self, prompt: str, *, slot: int, limit: int, grammar: str = ""
    ) -> Iterator[str | End]:
        """Yield the text of at most ``limit`` tokens in pieces, then one End."""
        body = {
            "prompt": prompt,
            "n_predict": limit,
            "id_slot": slot,
            "cache_prompt": True,
            "temperature": 0,
            "stream": True,
        }
        if grammar:
            body["grammar"] = grammar
        connection, answer = self._open("/completion", body)
        try:
            for line in answer:
                if not line.startswith(b"data: "):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise ModelError(_refusal(event))
                if event.get("content"):
                    yield str(event["content"])
                if event.get("stop"):
                    yield _end(event)
                    return
        except (OSError, http.client.HTTPException) as error:
            raise ModelError(
                f"The embedded model stopped answering ({error}): try again."
            ) from error
        finally:
            # Closing the connection is what stops a generation that nobody reads to its end.
            connection.close()
        raise ModelError("The embedded model broke off its answer: try again.")

    def save(self, slot: int, name: str) -> None:
        """Keep what the slot has computed; the file's hash beside it says that it is whole."""
        made = f"{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        part = self._slots / made
        try:
            self._post(f"/slots/{slot}?action=save", {"filename": made})
            digest = _digest(part)
            os.replace(part, self._slots / name)
            (self._slots / f"{name}.sha256").write_text(digest + "\n", encoding="ascii")
        except OSError:
            return  # a cache that cannot be written costs time at the next start, nothing else
        finally:
            part.unlink(missing_ok=True)

    def restore(self, slot: int, name: str) -> bool:
        """Put what ``save`` kept into the slot; False where there is nothing sound to put."""
        try:
            # llama.cpp ends the whole process over a file that was cut short: look first.
            expected = (self._slots / f"{name}.sha256").read_text(encoding="ascii").strip()
            if _digest(self._slots / name) != expected:
                return False
            self._post(f"/slots/{slot}?action=restore", {"filename": name})
        except (OSError, ValueError, ModelError):
            return False
        return True

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        connection, answer = self._open(path, body)
        try:
            value: dict[str, Any] = json.loads(answer.read())
            return value
        finally:
            connection.close()

    def _open(
        self, path: str, body: Mapping[str, Any]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port)
        try:
            headers = {
                "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/json",
            }
            connection.request("POST", path, json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ModelError(_refusal(json.loads(answer.read() or b"{}")))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ModelError(
                f"The embedded model does not answer ({error}): start again."
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection, answer


def _end(event: Mapping[str, Any]) -> End:
    timings = event.get("timings", {})
    cached = int(timings.get("cache_n", 0))
    usage = Usage(
        prompt=cached + int(timings.get("prompt_n", 0)),
        completion=int(timings.get("predicted_n", 0)),
        cached=cached,
    )
    return End("length" if event.get("stop_type") == "limit" else "stop", usage)


def _refusal(answer: Mapping[str, Any]) -> str:
    error = answer.get("error", {})
    told = error.get("message", "no reason given") if isinstance(error, Mapping) else str(error)
    return f"The embedded model refused the request ({told}): shorten the message or memory."


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
