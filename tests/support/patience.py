"""Waiting for what must come about, never for time to pass."""

import asyncio
import fcntl
import functools
import inspect
import itertools
import os
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

__all__ = ["eventually", "free_port"]

T = TypeVar("T")

_BLOCK = 1_000
_BLOCKS = range(12_000, 32_000, _BLOCK)


@overload
async def eventually(
    predicate: Callable[[], Coroutine[Any, Any, T]], timeout: float = ..., interval: float = ...
) -> T: ...


@overload
async def eventually(predicate: Callable[[], T], timeout: float = ..., interval: float = ...) -> T: ...


async def eventually(predicate: Callable[[], Any], timeout: float = 60.0, interval: float = 0.05) -> Any:
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
    """Return a port on 127.0.0.1 that is free; no other test process on this machine is given it, nor the 19 above it.

    It lies below the ports that the kernel gives to outgoing connections, which might take it before its server does.
    """
    return next(port for port in _own_ports() if _is_free(port))


@functools.cache
def _own_ports() -> Iterator[int]:
    """Take a block of ports for this process: the lock on its file is never closed, so it ends with the process."""
    folder = Path(tempfile.gettempdir(), "millrace-test-ports")
    folder.mkdir(exist_ok=True)
    for first in _BLOCKS:
        lock = os.open(folder / str(first), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return itertools.cycle(range(first, first + _BLOCK, 20))
    raise RuntimeError(f"{len(_BLOCKS)} test processes have taken all ports; let one end")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
