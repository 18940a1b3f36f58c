"""A question asked both ways: by HTTP of the query service, and its statement of the database by asyncpg."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.platform.runtime.starting import StartError
from services.query.plan import Argument

from .bodies import framed
from .stack import Bench
from .wrk import load

__all__ = ["Question", "bare", "by_http", "median_ms"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, as a path of the query service and as a statement."""

    path: str
    statement: str
    arguments: tuple[Argument, ...]


async def bare(reader: Any, questions: Sequence[Question], seconds: float) -> float:
    """Return the median milliseconds of a statement by asyncpg, its rows fetched."""
    asked = 0

    async def ask() -> None:
        nonlocal asked
        question = questions[asked % len(questions)]
        asked += 1
        await reader.fetch(question.statement, *question.arguments)

    return await median_ms(ask, seconds)


async def median_ms(ask: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Return the median milliseconds of what is done again and again for so many seconds, at least once."""
    took: list[float] = []
    ends_at = time.monotonic() + seconds
    while not took or time.monotonic() < ends_at:
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)


async def by_http(bench: Bench, questions: Sequence[Question], seconds: float) -> float:
    """Return the median milliseconds of an answer by HTTP, over one connection.

    Raises:
        StartError: one was refused, or none came.
    """
    file = bench.folder / "requests"
    host = bench.query.removeprefix("http://")
    file.write_bytes(
        b"".join(framed(f"GET {question.path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) for question in questions)
    )
    sent = await load(bench.query, seconds, 1, file)
    if sent.refused or not sent.acknowledged:
        raise StartError(
            f"{sent.refused} of {sent.requests} answers were refusals, such as to {questions[0].path[:200]}"
        )
    return sent.p50 / 1000
