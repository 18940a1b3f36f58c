"""The demo's patience."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.local.demo import Demo
from tests.support import free_port


class Answers(BaseHTTPRequestHandler):
    """Answers every question as the demo expects, and 202 to the first readings."""

    posted = 0

    def do_POST(self) -> None:
        type(self).posted += 1
        self.rfile.read(int(self.headers["content-length"]))
        self._say(202 if self.posted == 1 else 200, "{}")

    def do_GET(self) -> None:
        answers = {question.path: question.answer for question in Demo("", "")._questions()}
        self._say(200, answers[self.path])

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def late() -> Iterator[str]:
    """The address of a service that is there half a second later."""
    port = free_port()
    servers = list[ThreadingHTTPServer]()

    def serve() -> None:
        servers.append(ThreadingHTTPServer(("127.0.0.1", port), Answers))
        servers[0].serve_forever(0.05)

    Answers.posted = 0
    timer = threading.Timer(0.5, serve)
    timer.start()
    yield f"http://127.0.0.1:{port}"
    timer.cancel()
    for server in servers:
        server.shutdown()
        server.server_close()
    timer.join()


def test_patience_waits_for_a_service_that_is_not_there_and_for_readings_that_are_not_stored(late: str) -> None:
    assert not Demo(late, late).run()
    assert Demo(late, late).run(patience=30)
    assert Answers.posted == 2
