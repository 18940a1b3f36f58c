"""HTTP as bytes: sent as they are and cut anywhere, answers read by the letter of RFC 9112."""

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

__all__ = ["Answer", "answers", "converse", "exchange"]

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [\x20-\x7e]*")
_FIELD = re.compile(rb"([a-zA-Z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\x20-\x7e]*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; names of headers are in small letters, interim answers are counted alone."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: int = 0

    def told(self) -> tuple[int, dict[str, str], bytes]:
        """Return what does not change from one time to the next."""
        return self.status, {name: value for name, value in self.headers.items() if name != "date"}, self.body


def answers(raw: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """Read all answers of a connection that was closed; `methods` are those of the requests, GET where none is said.

    Raises:
        AssertionError: they break a rule of HTTP/1.1.
    """
    found: list[Answer] = []
    interim = 0
    while raw:
        head, end, raw = raw.partition(b"\r\n\r\n")
        assert end, f"a head is cut off: {head!r}"
        line, *fields = head.split(b"\r\n")
        match = _STATUS.fullmatch(line)
        assert match, line
        status = int(match[1])
        if status < 200:
            interim += 1
            continue
        headers = _fields(fields)
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        body, raw = _body(method, status, headers, raw)
        found.append(Answer(status, headers, body, interim))
        interim = 0
    return found


def _fields(lines: Sequence[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for field in lines:
        match = _FIELD.fullmatch(field)
        assert match, field
        name = match[1].decode().lower()
        assert name not in headers, f"{name} comes twice"
        headers[name] = match[2].decode()
    assert parsedate_to_datetime(headers["date"]).tzinfo is not None
    assert not {"content-length", "transfer-encoding"} <= headers.keys()
    return headers


def _body(method: str, status: int, headers: dict[str, str], raw: bytes) -> tuple[bytes, bytes]:
    """Return the body, and what follows it."""
    if status in {204, 304} or method == "HEAD":
        assert status != 204 or not {"content-length", "transfer-encoding"} & headers.keys()
        return b"", raw
    if "transfer-encoding" in headers:
        return _chunks(raw)
    if "content-length" in headers:
        length = int(headers["content-length"])
        assert len(raw) >= length, "a body is cut off"
        return raw[:length], raw[length:]
    assert headers.get("connection") == "close"
    return raw, b""


def _chunks(raw: bytes) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    at = 0
    while True:
        end = raw.find(b"\r\n", at)
        assert end >= 0, "a chunk is cut off"
        begin, length = end + 2, int(raw[at:end], 16)
        at = begin + length + 2
        assert raw[begin + length : at] == b"\r\n", "a chunk is cut off"
        parts.append(raw[begin : begin + length])
        if length == 0:
            return b"".join(parts), raw[at:]


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send parts and return what comes until the server closes; one in this event loop reads each before the next.

    Raises:
        ConnectionError: it was reset.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        async with asyncio.timeout(30):
            for part in parts:
                writer.write(part)
                for _ in range(3):
                    await asyncio.sleep(0)
            return await reader.read()
    finally:
        writer.close()


async def converse(port: int, *parts: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """Send parts, the last of which makes the server close, and return the answers."""
    return answers(await exchange(port, *parts), methods)
