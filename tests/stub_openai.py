"""A small OpenAI-compatible server on loopback, for tests: what it says is a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]


def text(content: str, **more: Any) -> dict[str, Any]:
    """An answer in words."""
    return {"message": {"role": "assistant", "content": content}, "finish_reason": "stop", **more}


def calls(*made: tuple[str, dict[str, Any]], content: str | None = None) -> dict[str, Any]:
    """An answer of parallel tool calls."""
    return {
        "message": {
            "role": "assistant",
            "content": content,
            "tool_calls": [
                {
                    "id": f"call_{name}_{i}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for i, (name, arguments) in enumerate(made)
            ],
        },
        "finish_reason": "tool_calls",
    }


def error(status: int, message: str = "no") -> dict[str, Any]:
    """An HTTP error, as OpenAI words it."""
    return {"status": status, "error": {"message": message, "type": "x", "code": None}}


class Stub:
    """The server: ``url``, the ``requests`` it got with their headers, and how it behaves."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""
        self.always_whole = False
        """Answer in one piece though a stream was asked for."""
        self.break_off = False
        """Close the connection in the middle of a stream."""


@contextmanager
def stub_openai(*answers: Answer) -> Iterator[Stub]:
    """Run the server while the block runs."""
    stub = Stub(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.requests.append(body)
            stub.keys.append(self.headers.get("Authorization", ""))
            answer = stub.answers.pop(0) if stub.answers else error(500, "the script is over")
            if callable(answer):
                answer = answer(body)
            if "status" in answer:
                self._json(answer["status"], {"error": answer["error"]})
            elif "raw" in answer:
                self._send(200, answer.get("kind", "application/json"), answer["raw"])
            elif body.get("stream") and not stub.always_whole:
                self._stream(body, answer)
            else:
                self._json(200, _whole(body, answer))

        def _json(self, status: int, value: Any) -> None:
            self._send(status, "application/json", json.dumps(value).encode())

        def _send(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, body: dict[str, Any], answer: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number, chunk in enumerate(_chunks(body, answer)):
                if stub.break_off and number == 2:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_tokens_details": {"cached_tokens": 64},
}


def _whole(body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, **answer}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": USAGE,
    }


def _chunks(body: dict[str, Any], answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        base = {"id": "c1", "object": "chat.completion.chunk", "created": 1}
        return {**base, "model": body["model"], "choices": [choice]}

    message = answer["message"]
    yield chunk({"role": "assistant", "content": ""})
    words = (message.get("content") or "").split(" ")
    for number, word in enumerate(words if words != [""] else []):
        yield chunk({"content": word if number == 0 else f" {word}"})
    for index, call in enumerate(message.get("tool_calls", ())):
        head = {**call, "index": index, "function": {"name": call["function"]["name"]}}
        yield chunk({"tool_calls": [head]})
        arguments = call["function"]["arguments"]
        for start in range(0, len(arguments), 7):  # in pieces, as real endpoints send them
            piece = {"index": index, "function": {"arguments": arguments[start : start + 7]}}
            yield chunk({"tool_calls": [piece]})
    yield chunk({}, answer["finish_reason"])
    yield {**chunk({}), "choices": [], "usage": USAGE}
