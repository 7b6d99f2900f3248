"""What several tests need."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from verger.errors import VergerError


def one_line(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    """The error is one of Verger's, its message is one line and says each of `parts`."""
    assert isinstance(error.value, VergerError)
    message = str(error.value)
    assert len(message.splitlines()) == 1, message
    for part in parts:
        assert part in message


def eventually(
    what: Callable[[], object], seconds: float = 5, pause: float = 0.02, why: Callable[[], str] = str
) -> None:
    """Wait until `what()` is true; `why` says more when it never is."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(pause)


class Answer(http.server.BaseHTTPRequestHandler):
    """One request: what it may use to answer."""

    timeout = 5  # seconds a connection may be idle

    def give(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        """Answer with `body`, and perhaps a wrong length."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Server:
    """A server on 127.0.0.1: `requests` are the paths it was asked for."""

    url: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[Answer, int], None]) -> Iterator[Server]:
    """Run a real HTTP server; `answer` gets each request and its number, from 0."""
    server: Server

    class Handler(Answer):
        def do_GET(self) -> None:
            server.requests.append(self.path)
            answer(self, len(server.requests) - 1)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        server = Server(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
