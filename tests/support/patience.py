"""Waiting for what must come about, never for time to pass."""

import asyncio
import inspect
import itertools
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, overload

__all__ = ["eventually", "free_port"]

T = TypeVar("T")

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

_OWN = range(12_000 + 20 * _WORKER, 32_000, 20 * 16)

# Where each process begins elsewhere, two test runs hardly meet.
_PORTS: Iterator[int] = itertools.cycle([*_OWN[os.getpid() % len(_OWN) :], *_OWN[: os.getpid() % len(_OWN)]])


@overload
async def eventually(
    predicate: Callable[[], Coroutine[Any, Any, T]], timeout: float = ..., interval: float = ...
) -> T: ...


@overload
async def eventually(predicate: Callable[[], T], timeout: float = ..., interval: float = ...) -> T: ...


async def eventually(predicate: Callable[[], Any], timeout: float = 15.0, interval: float = 0.05) -> Any:
    """Return the first true answer of `predicate`, plain or async, asked every `interval` seconds.

    Raises:
        AssertionError: there was none within `timeout` seconds; the last answer is shown.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout:g} s; the last answer was {found!r}"
        await asyncio.sleep(interval)


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free; no other test process is given it, nor the 19 ports above it.

    It lies below the ports that the kernel gives to outgoing connections, which might take it before its server does.
    """
    return next(filter(_is_free, _PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
