"""A process of its own for the formats whose library may end the process that it runs in.

A damaged or hostile body of Arrow or Parquet may make that library abort, or claim any amount of memory, before it
tells an error. So such bodies are decoded one by one in a worker with limits of its own: it ends instead of the
service, and the request is refused. The worker is a fork of a child of the service, which has all that is imported and
forks the next one at once; that child is started when it is first needed.
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
from typing import BinaryIO

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
SECONDS = 15
"""Processor time that a body may take: several times what the largest batch does of which each reading is a series."""

_FORMATS = {arrow.MEDIA_TYPE: arrow.LAYOUTS, parquet.MEDIA_TYPE: parquet.LAYOUTS}
_LONG = 3600
"""Processor time, in seconds, that is enough for all but a body's decoding."""
_PATIENCE = 4
_LENGTH = struct.Struct("<Q")


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


class _Failed(msgspec.Struct, tag=True):
    """What ended the worker over a body: a signal, or an error that nobody foresaw."""

    why: str


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
_Answer = _Read | _Refused | _Failed
_answer: msgspec.msgpack.Decoder[_Answer] = msgspec.msgpack.Decoder(_Answer)
_encoder = msgspec.msgpack.Encoder()


class Isolation:
    """The child and its worker, seen from the service; one for a process."""

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
            Problem: `malformed_body`, `too_many_rows`, or `overloaded` where the system ended the worker.
        """
        async with self._lock:
            if self._child is None or self._child.returncode is not None:
                self._child = await self._started()
            try:
                answer = await _asked_of(self._child, _Asked(media, layout, most, len(body)), body)
            except (asyncio.IncompleteReadError, ConnectionError):
                await _ended(self._child)
                log.warning("the decoder was ended", action="decoder", media=media)
                detail = "the system ended the decoder, perhaps for want of memory; send the body again"
                raise Problem("overloaded", detail, {"Retry-After": "1"}) from None
            except asyncio.CancelledError:
                # Its answer would be taken for the next request's.
                await _ended(self._child)
                raise
        if isinstance(answer, _Failed):
            log.warning("a body ended the decoder", action="decoder", media=media, why=answer.why)
            detail = f"the body is damaged, comes to much more than its size, or takes more than {SECONDS} s to decode"
            raise Problem("malformed_body", detail)
        if isinstance(answer, _Refused):
            raise Problem(answer.code, answer.detail)
        return _decoded(answer)

    async def _started(self) -> asyncio.subprocess.Process:
        # More threads, or places to allocate from, would only count against its memory.
        quiet = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0"}
        code = f"from {__name__} import serve; serve({self._room}, {SECONDS})"
        return await asyncio.create_subprocess_exec(
            *[sys.executable, "-P", "-W", "ignore", "-c", code],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | quiet,
            start_new_session=True,
        )


async def _asked_of(child: asyncio.subprocess.Process, asked: _Asked, body: bytes) -> _Answer:
    """Send the child a body, and return its answer."""
    assert child.stdin is not None  # noqa: S101 -- narrows for the type checker
    assert child.stdout is not None  # noqa: S101
    head = _encoder.encode(asked)
    child.stdin.writelines([_LENGTH.pack(len(head)), head, body])
    await child.stdin.drain()
    [length] = _LENGTH.unpack(await child.stdout.readexactly(_LENGTH.size))
    return _answer.decode(await child.stdout.readexactly(length))


async def _ended(child: asyncio.subprocess.Process) -> None:
    """End the child and its worker."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def _decoded(answer: _Read) -> Decoded:
    columns = Columns(
        answer.sensor_ids,
        np.frombuffer(answer.index, np.uint32),
        np.frombuffer(answer.timestamps, np.int64),
        np.frombuffer(answer.values, np.float64),
        answer.series,
    )
    positions = None if answer.positions is None else np.frombuffer(answer.positions, np.intp)
    return Decoded(columns, positions, answer.faults, illegible=answer.illegible, wide=answer.wide)


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


def _answered(asked: _Asked, body: bytes) -> _Answer:
    try:
        return _read(_FORMATS[asked.media][asked.layout](body, asked.most))
    except Problem as problem:
        return _Refused(problem.code, problem.detail)
    except BaseException as error:  # noqa: BLE001 -- a panic of the library is no Exception
        return _Failed(f"{type(error).__name__}: {str(error)[:200]}")


def _limit_memory(room: int) -> None:
    """Take at most `room` bytes more from now on, where the system counts them."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        limit = int(pages.read_text().split()[0]) * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time(seconds: int) -> None:
    """Take at most so much of the processor until the next call, and a few times that where others want it too."""
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE * seconds)
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def _work(source: BinaryIO, sink: BinaryIO, seconds: int) -> None:
    """Answer as a worker, until the service closes the pipe."""
    _end_at_a_shout()
    while head := source.read(_LENGTH.size):
        asked = _asked.decode(source.read(*_LENGTH.unpack(head)))
        body = source.read(asked.size)
        _limit_time(seconds)
        answer = _encoder.encode(_answered(asked, body))
        # Half an answer would be taken for a whole one.
        _limit_time(_LONG)
        _tell(sink, answer)


def _end_at_a_shout() -> None:
    """End this process by what it writes as an error first: what it would do behind that needs memory, and may hang."""
    heard, told = os.pipe()
    os.close(heard)
    os.dup2(told, sys.stderr.fileno())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _tell(sink: BinaryIO, answer: bytes) -> None:
    sink.write(_LENGTH.pack(len(answer)))
    sink.write(answer)
    sink.flush()


def serve(room: int, seconds: int) -> None:
    """Be the child: have a worker answer until the service closes the pipe.

    A body may take at most `room` bytes of memory, and so many `seconds` of the processor.
    """
    # The service goes on for a while where all processes are told to end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(room)
    while True:
        worker = os.fork()
        if not worker:
            _work(sys.stdin.buffer, sys.stdout.buffer, seconds)
            return
        ended = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        if ended >= 0 or ended == -signal.SIGKILL:
            # Of its own accord, or by somebody who may have cut an answer off.
            return
        _tell(sys.stdout.buffer, _encoder.encode(_Failed(signal.Signals(-ended).name)))
