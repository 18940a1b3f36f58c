"""An HTTP server with prepared answers, for what must come about on a connection as no real service does it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

import httptools
import orjson

__all__ = ["Answers", "Server", "answer", "serving"]

Answers = Callable[[int], bytes | None]
"""The answer to a key's nth request, from 0; None cuts the connection."""


def answer(status: int, body: object, *headers: str) -> bytes:
    """Return an answer as bytes."""
    content = orjson.dumps(body)
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Server:
    """A real HTTP server with prepared answers; it remembers what it was sent."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.seen: Counter[str | None] = Counter()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                url, headers, body = await _request(reader)
                key = headers.get("idempotency-key")
                self.requests.append((url, headers, body))
                self.seen[key] += 1
                reply = self.answers(self.seen[key] - 1)
                if reply is None:
                    writer.transport.abort()
                    return
                writer.write(reply)


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    class Parts:
        url, body, headers, done = "", b"", dict[str, str](), False

        def on_url(self, url: bytes) -> None:
            self.url += url.decode()

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers = {**self.headers, name.decode(): value.decode()}

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            self.done = True

    parts = Parts()
    parser = httptools.HttpRequestParser(parts)
    while not parts.done:
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError
        parser.feed_data(data)
    return parts.url, parts.headers, parts.body


@contextlib.asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[tuple[Server, str]]:
    """Yield a server, and its address."""
    server = Server(answers)
    listening = await asyncio.start_server(server, "127.0.0.1")
    try:
        yield server, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
