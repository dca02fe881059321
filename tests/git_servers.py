"""Real servers of Git on the loopback: its own daemon, and smart HTTP in front of its backend."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def has(program: str) -> bool:
    """Whether this git has brought a program of its own."""
    where = subprocess.run(["git", "--exec-path"], capture_output=True, text=True).stdout.strip()
    return shutil.which(program, path=where) is not None


@contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """``git daemon`` for the repositories in ``folder``, which may be pushed to; its address."""
    if not has("git-daemon"):
        pytest.skip("git daemon is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all"]
    command += ["--enable=receive-pack", "--reuseaddr", f"--base-path={folder}", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            yield f"git://127.0.0.1:{port}"
        finally:
            server.terminate()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Hands each request to ``git http-backend`` (git-http-backend(1)) as a web server does."""

    protocol_version = "HTTP/1.1"
    folder: Path
    secret = ""

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        wanted = base64.b64encode(self.secret.encode()).decode()
        if self.secret and self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        env |= {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "somebody",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
        head, _, said = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((value for name, value in lines if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in lines:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@contextmanager
def smart_http(folder: Path, secret: str = "") -> Iterator[str]:
    """Smart HTTP for the repositories in ``folder``; its address. ``secret`` is user:password."""
    if not has("git-http-backend") or not has("git-remote-http"):
        pytest.skip("git speaks no HTTP here")
    handler = type("Handler", (_Handler,), {"folder": folder, "secret": secret})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
