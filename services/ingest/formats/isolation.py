"""A process of its own for the formats whose library may end the process that it runs in.

A damaged or hostile body of Arrow or Parquet may make that library abort, or claim any amount of memory, before it
tells an error. So such bodies are decoded one by one in a child with limits of its own: it ends instead of the service,
the request is refused, and the next one starts another. The child is started when it is first needed.
"""

import asyncio
import contextlib
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import structlog

from services.contract import Columns, Series
from services.platform.http.errors import Problem

from ..readings import Decoded, Fault
from . import arrow, parquet

__all__ = ["Isolation", "serve"]

log = structlog.get_logger(__name__)

ROOM = 6
"""Memory that the child may take for a body, in largest decoded bodies."""
SECONDS = 5
"""Processor time that a body may take: hundreds of times what the largest good one does."""

_FORMATS = {arrow.MEDIA_TYPE: arrow.LAYOUTS, parquet.MEDIA_TYPE: parquet.LAYOUTS}
_LENGTH = struct.Struct("<Q")
_NOT_ITS_FAULT = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
"""How the child ends where somebody else ended it."""


class _Asked(msgspec.Struct):
    """What is said before a body."""

    media: str
    layout: str
    most: int
    size: int


class _Refused(msgspec.Struct, tag=True):
    """The problem of a body."""

    code: str
    detail: str


class _Read(msgspec.Struct, tag=True):
    """The readings of a body: `Decoded`, with the bytes of its arrays."""

    sensor_ids: list[str]
    index: bytes
    timestamps: bytes
    values: bytes
    series: dict[str, Series]
    positions: bytes | None
    faults: list[Fault]
    illegible: dict[int, str]
    wide: bool


_asked = msgspec.msgpack.Decoder(_Asked)
_answer: msgspec.msgpack.Decoder[_Read | _Refused] = msgspec.msgpack.Decoder(_Read | _Refused)
_encoder = msgspec.msgpack.Encoder()


class Isolation:
    """The child, seen from the service; one for a process."""

    def __init__(self, largest: int) -> None:
        """Take the size of the largest decoded body, in bytes."""
        self._room = ROOM * largest
        self._lock = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None

    def formats(self) -> Mapping[str, Mapping[str, Callable[[bytes, int], Awaitable[Decoded]]]]:
        """Return what reads a body, by its media type and layout."""
        return {
            media: {layout: partial(self._decode, media, layout) for layout in layouts}
            for media, layouts in _FORMATS.items()
        }

    async def close(self) -> None:
        """End the child."""
        if self._child is not None:
            await _ended(self._child)

    async def _decode(self, media: str, layout: str, body: bytes, most: int) -> Decoded:
        """Return the readings of a body, at most `most`.

        Raises:
            Problem: `malformed_body`, `too_many_rows`, or `overloaded` where somebody ended the child.
        """
        async with self._lock:
            if self._child is None or self._child.returncode is not None:
                self._child = await self._started()
            try:
                answer = await _asked_of(self._child, _Asked(media, layout, most, len(body)), body)
            except (asyncio.IncompleteReadError, ConnectionError):
                raise _died(await self._child.wait(), media) from None
            except asyncio.CancelledError:
                # Its answer would be taken for the next request's.
                await _ended(self._child)
                raise
        if isinstance(answer, _Refused):
            raise Problem(answer.code, answer.detail)
        return _decoded(answer)

    async def _started(self) -> asyncio.subprocess.Process:
        # More threads, or places to allocate from, would only count against its memory.
        quiet = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0"}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", f"from {__name__} import serve; serve({self._room})"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # where the library shouts, which is no event of the service
            env=os.environ | quiet,
        )


async def _asked_of(child: asyncio.subprocess.Process, asked: _Asked, body: bytes) -> _Read | _Refused:
    """Send the child a body, and return its answer."""
    assert child.stdin is not None  # noqa: S101 -- narrows for the type checker
    assert child.stdout is not None  # noqa: S101
    head = _encoder.encode(asked)
    child.stdin.writelines([_LENGTH.pack(len(head)), head, body])
    await child.stdin.drain()
    [length] = _LENGTH.unpack(await child.stdout.readexactly(_LENGTH.size))
    return _answer.decode(await child.stdout.readexactly(length))


async def _ended(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()


def _died(returncode: int, media: str) -> Problem:
    """Return the problem of a body at which the child ended."""
    log.warning("the decoder ended", action="decoder", media=media, returncode=returncode)
    if returncode in _NOT_ITS_FAULT:
        return Problem("overloaded", "the decoder was ended by the system; send the body again", {"Retry-After": "1"})
    if returncode == -signal.SIGXCPU:
        return Problem("malformed_body", f"the body takes more than {SECONDS} s to decode")
    return Problem("malformed_body", "the body is damaged, or comes to much more than its size: it cannot be decoded")


def _decoded(answer: _Read) -> Decoded:
    columns = Columns(
        answer.sensor_ids,
        np.frombuffer(answer.index, np.uint32),
        np.frombuffer(answer.timestamps, np.int64),
        np.frombuffer(answer.values, np.float64),
        answer.series,
    )
    positions = None if answer.positions is None else np.frombuffer(answer.positions, np.intp)
    return Decoded(columns, positions, answer.faults, answer.illegible, answer.wide)


def _read(decoded: Decoded) -> _Read:
    columns = decoded.columns()
    return _Read(
        columns.sensor_ids,
        columns.index.tobytes(),
        columns.timestamps.tobytes(),
        columns.values.tobytes(),
        dict(columns.series),
        None if decoded.positions is None else decoded.positions.astype(np.intp).tobytes(),
        decoded.faults,
        dict(decoded.illegible),
        decoded.wide,
    )


def _answered(asked: _Asked, body: bytes) -> _Read | _Refused:
    try:
        return _read(_FORMATS[asked.media][asked.layout](body, asked.most))
    except Problem as problem:
        return _Refused(problem.code, problem.detail)
    except MemoryError:
        return _Refused("malformed_body", "the body comes to much more than its size: it cannot be decoded")


def _limit_memory(room: int) -> None:
    """Take at most `room` bytes more from now on, where the system counts them."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        limit = int(pages.read_text().split()[0]) * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time() -> None:
    """Take at most some seconds of the processor until the next call."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + SECONDS, hard))


def serve(room: int) -> None:
    """Answer as the child, until the service closes the pipe; take at most `room` bytes of memory for it."""
    # The service goes on for a while where all its processes are told to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(room)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(_LENGTH.size):
        asked = _asked.decode(source.read(*_LENGTH.unpack(head)))
        body = source.read(asked.size)
        _limit_time()
        answer = _encoder.encode(_answered(asked, body))
        sink.write(_LENGTH.pack(len(answer)))
        sink.write(answer)
        sink.flush()
