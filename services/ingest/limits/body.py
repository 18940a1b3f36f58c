"""Reading a request's body: counted while it arrives, with a deadline, decompressed up to a limit."""

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence

import cramjam
import zstandard
from starlette.types import Receive

from services.platform.http.body import HEARD_OUT, receive_body, too_large
from services.platform.http.errors import Problem
from services.platform.settings import IngestSettings

from .in_flight import RequestInFlight

__all__ = ["ENCODINGS", "IDENTITY", "SNAPPY", "content_encoding", "read_body"]

ENCODINGS = ("gzip", "zstd")
"""Content encodings that are taken beside identity."""

IDENTITY = "identity"
"""The content encoding of a body that stands for itself."""

SNAPPY = "snappy"
"""The content encoding of Prometheus: a block of snappy, not its framing format."""

_ADVICE = "send smaller batches"

_OFF_LOOP = 64 * 1024
_ZSTD_WINDOW = 8 * 1024 * 1024
_ZSTD_PIECE = 1024
"""Bytes given to the decompressor at once; it makes at most 32 MiB of them."""
_MEMBERS = 64
"""Members of a gzip body, frames of a zstd body, at most: each has its own cost, however little it holds."""


async def read_body(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    settings: IngestSettings,
    in_flight: RequestInFlight,
    *,
    encodings: Sequence[str] = ENCODINGS,
    unsaid: str = IDENTITY,
    arrived: bool = False,
) -> bytes:
    """Return the decoded body.

    Args:
        headers: the request's.
        receive: the body's source.
        settings: how large it may be, as sent and decoded, and how long it may take.
        in_flight: counts it while it arrives.
        encodings: which content encodings are taken beside identity.
        unsaid: the content encoding of a body whose headers name none.
        arrived: whether all of it is here, so that it needs no deadline.

    Raises:
        Problem: `body_too_large`, `body_timeout`, `overloaded`, `unsupported_encoding` or `malformed_body`.
        ClientDisconnect: the client went away.
    """
    encoding = content_encoding(headers, unsaid)
    if encoding not in {IDENTITY, *encodings}:
        detail = f"content encoding {encoding[:40]!r} is not taken; send {', '.join(encodings)} or none"
        raise Problem("unsupported_encoding", detail, {"Accept-Encoding": ", ".join(encodings)})
    length = headers.get(b"content-length", b"")
    asks_first = b"expect" in headers
    if length.isdigit() and int(length[:20]) > settings.max_body_bytes * (1 if asks_first else HEARD_OUT):
        raise too_large(settings.max_body_bytes, "as sent", _ADVICE)
    body = await receive_body(
        receive,
        settings.max_body_bytes,
        None if arrived else settings.body_timeout,
        advice=_ADVICE,
        count=in_flight.take,
    )
    if encoding not in encodings:
        return body
    if len(body) > _OFF_LOOP:
        # What comes out is not known before, so the most that it may be is counted meanwhile.
        in_flight.take(settings.max_decoded_bytes)
        return await asyncio.to_thread(_decompress, encoding, body, settings.max_decoded_bytes)
    decoded = _decompress(encoding, body, settings.max_decoded_bytes)
    in_flight.take(len(decoded))
    return decoded


def content_encoding(headers: Mapping[bytes, bytes], unsaid: str = IDENTITY) -> str:
    """Return how a body is encoded, in small letters; `unsaid` where its headers name nothing."""
    said = headers.get(b"content-encoding")
    return unsaid if said is None else said.strip().lower().decode("latin-1") or IDENTITY


def _decompress(encoding: str, body: bytes, limit: int) -> bytes:
    try:
        decoded = _DECOMPRESSORS[encoding](body, limit)
    except (zlib.error, zstandard.ZstdError, cramjam.DecompressionError, EOFError) as error:
        raise Problem("malformed_body", f"the body is not {encoding}: {error}") from error
    if len(decoded) > limit:
        raise too_large(limit, "after decompression", _ADVICE)
    return decoded


def _gunzip(body: bytes, limit: int) -> bytes:
    """Read all members of a gzip body, stopping one byte past the limit."""
    parts: list[bytes] = []
    room = limit + 1
    for _ in range(_MEMBERS):
        if not body or room <= 0:
            return b"".join(parts)
        member = zlib.decompressobj(wbits=31)
        part = member.decompress(body, room)
        parts.append(part)
        room -= len(part)
        if not member.eof and room > 0:
            raise EOFError("it is cut off")
        body = member.unused_data
    raise EOFError(f"it has more than {_MEMBERS} members")


def _unzstd(body: bytes, limit: int) -> bytes:
    """Read all frames of a zstd body, stopping at a piece past the limit."""
    parts: list[bytes] = []
    size, frames = 0, 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    for start in range(0, len(body), _ZSTD_PIECE):
        piece = body[start : start + _ZSTD_PIECE]
        while piece and size <= limit:
            if frame is None:
                frame, frames = decompressor.decompressobj(), frames + 1
            parts.append(frame.decompress(piece))
            size += len(parts[-1])
            piece = frame.unused_data
            if frame.eof:
                frame = None
        if frames > _MEMBERS:
            raise EOFError(f"it has more than {_MEMBERS} frames")
    if frame is not None and size <= limit:
        raise EOFError("it is cut off")
    return b"".join(parts)


def _unsnappy(body: bytes, limit: int) -> bytes:
    """Read a block of snappy, which says its length first."""
    if cramjam.snappy.decompress_raw_len(body) > limit:
        raise too_large(limit, "after decompression", _ADVICE)
    return bytes(cramjam.snappy.decompress_raw(body))


_DECOMPRESSORS: Mapping[str, Callable[[bytes, int], bytes]] = {"gzip": _gunzip, "zstd": _unzstd, SNAPPY: _unsnappy}
