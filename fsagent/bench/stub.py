"""A model that answers at once: an OpenAI-compatible server on loopback, in a process of its own.

python -m fsagent.bench.stub

What it answers follows from what it is asked: "write" gets a call that changes core memory,
"search" one that searches, anything else a few words. It prints its address first, and ends when
its standard input does.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPLY = "That is good to hear. I will keep it in mind, and ask you how it went when you are back."
_numbers = itertools.count(1)


def answer(messages: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The message that answers these."""
    last = messages[-1] if messages else {}
    said = str(last.get("content") or "")
    if last.get("role") != "user":
        return {"content": REPLY}
    if "please write" in said:
        number = next(_numbers)
        arguments = {"label": "human", "new_memory": f"Name: Tim\\nSaid so {number} times.\\n" * 12}
        return {"tool_calls": [_call("memory_rethink", arguments)]}
    if "please search" in said:
        query = " ".join(said.split()[-6:])
        return {"tool_calls": [_call("conversation_search", {"query": query})]}
    return {"content": REPLY}


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{next(_numbers)}", "type": "function", "function": function, "index": 0}


def chunks(model: str, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer as it is streamed, a word a piece."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        return {**base, "choices": [choice]}

    for word in (message.get("content") or "").split(" "):
        yield chunk({"role": "assistant", "content": f"{word} " if word else ""})
    if "tool_calls" in message:
        yield chunk({"tool_calls": message["tool_calls"]})
    yield chunk({}, "tool_calls" if "tool_calls" in message else "stop")
    usage = {"prompt_tokens": 4000, "completion_tokens": 20, "total_tokens": 4020}
    yield {**chunk({}), "choices": [], "usage": usage}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer one call, on a connection that stays open."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        lines = [json.dumps(one) for one in chunks(asked["model"], answer(asked["messages"]))]
        data = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until nobody listens to what is printed any more."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}/v1\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
