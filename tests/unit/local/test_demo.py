"""The demo's patience, and what it says where answers are not those of a fresh database."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.local import demo
from services.local.demo import Demo
from tests.support import free_port


class Answers(BaseHTTPRequestHandler):
    """Is ready when it is asked for the second time, answers as the demo expects, and 202 to the first readings."""

    asked = posted = 0

    def do_POST(self) -> None:
        type(self).posted += 1
        self.rfile.read(int(self.headers["content-length"]))
        self._say(202 if self.posted == 1 else 200, "{}")

    def do_GET(self) -> None:
        if self.path == "/readyz":
            type(self).asked += 1
            return self._say(503 if self.asked == 1 else 200, "{}")
        answers = {question.path: question.answer for question in Demo("", "")._questions()}
        return self._say(200, answers[self.path])

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

    Answers.asked = Answers.posted = 0
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


def test_services_that_start_are_waited_for_without_patience_and_that_is_told_once(
    late: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Answers.posted = 1
    assert Demo(late, late).run()
    assert Answers.asked > 1
    assert capsys.readouterr().err == f"Waiting up to 30 s: {late} does not answer: [Errno 111] Connection refused\n"


def test_services_that_are_never_there_are_given_up_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "START", 0.1)
    assert not Demo("http://127.0.0.1:1", "http://127.0.0.1:1").run()
    said = capsys.readouterr()
    assert "No answer (http://127.0.0.1:1 does not answer: " in said.err
    assert "Does `make up` run?" in said.err
    assert not said.out
