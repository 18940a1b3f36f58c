"""One HTTP/1.1 connection that is kept open and carries one request at a time.

A load tool must cost little beside what it loads: a request takes a fraction of the processor time here that
it takes through a general client.
"""

import asyncio
import ssl
from dataclasses import dataclass
from typing import cast
from urllib.parse import SplitResult

import httptools

__all__ = ["Answer", "Connection", "NotConnectedError"]


class NotConnectedError(ConnectionError):
    """Nothing listens there, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, the seconds of its Retry-After, and its body."""

    status: int
    retry_after: float | None
    body: bytes


class Connection:
    """A client's end; it connects when it is first used, and again after the connection was lost."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self._wire: _Wire | None = None

    async def post(self, target: str, headers: dict[str, str], body: bytes, timeout: float) -> Answer:
        """Send one request and wait at most `timeout` seconds for its answer.

        Raises:
            NotConnectedError: the server is not there.
            OSError: the connection was lost, or the answer took too long: the request may have been served.
        """
        if self._wire is None or self._wire.transport.is_closing():
            self._wire = await self._connect(timeout)
        fields = {"host": self._url.netloc.rpartition("@")[2], "content-length": str(len(body)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        try:
            async with asyncio.timeout(timeout):
                return await self._wire.exchange([f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode(), body])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._wire is not None:
            self._wire.transport.abort()
            self._wire = None

    async def _connect(self, timeout: float) -> "_Wire":
        tls = ssl.create_default_context() if self._url.scheme == "https" else None
        port = self._url.port or (443 if tls else 80)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, wire = await loop.create_connection(_Wire, self._url.hostname or "", port, ssl=tls)
        except OSError as error:
            raise NotConnectedError(str(error) or type(error).__name__) from error
        return wire


class _Wire(asyncio.Protocol):
    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._retry_after: float | None = None
        self._body = bytearray()

    def exchange(self, request: list[bytes]) -> asyncio.Future[Answer]:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.writelines(request)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(ConnectionError(f"the answer is no HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    def on_message_begin(self) -> None:
        self._retry_after = None
        self._body.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self._retry_after = float(value)

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), self._retry_after, bytes(self._body)))
