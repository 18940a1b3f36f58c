"""Waiting for what must come about, never for time to pass."""

import asyncio
import inspect
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

__all__ = ["eventually", "free_port"]

T = TypeVar("T")


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
    """Return a port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
