"""Small requests beside ten thousand connections that have been answered once and say nothing more."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from services.platform.http.protocol import raise_file_limit
from services.platform.runtime.starting import StartError

from ..bodies import Shape
from ..case import Case, Options
from ..figures import Measures
from ..stack import Bench
from ..way import way_run

__all__ = ["CASES"]

SILENT = 10_000
SHAPE, CONNECTIONS = Shape(1), 64
COMPARED = ("requests/s", "ingest µs/request", "latency p50 ms", "latency p99 ms")
ASKED = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"
PATIENCE = 10.0


async def measure(bench: Bench, options: Options) -> Measures:
    """Send one row a request, first without and then beside the silent ones.

    Raises:
        StartError: one of them was closed on the way.
    """
    raise_file_limit()
    alone = await way_run(bench, SHAPE, options.seconds, CONNECTIONS)
    with contextlib.ExitStack() as stack:
        silent = await asyncio.to_thread(_connected, bench.ingest, stack)
        beside = await way_run(bench, SHAPE, options.seconds, CONNECTIONS)
        if closed := sum(map(_is_closed, silent)):
            raise StartError(f"{closed:,} of {SILENT:,} silent connections were closed")
    found = {f"alone: {name}": value for name, value in alone.items()}
    found |= {f"beside: {name}": value for name, value in beside.items()}
    return found | {f"beside: {name} × alone": beside[name] / alone[name] for name in COMPARED}


def _connected(url: str, stack: contextlib.ExitStack) -> Sequence[socket.socket]:
    """Return connections that got an answer; `stack` closes them."""
    place = urlsplit(url)
    found = []
    for _ in range(SILENT):
        one = stack.enter_context(socket.create_connection((place.hostname or "", place.port or 80), PATIENCE))
        one.sendall(ASKED)
        found.append(one)
        if not one.recv(4096):
            raise StartError("a silent connection was closed before its answer")
    return found


def _is_closed(one: socket.socket) -> bool:
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return not one.recv(1, socket.MSG_PEEK)
    return False


CASES = (Case("silent", "1 row a request beside 10,000 connections that say nothing", measure),)
