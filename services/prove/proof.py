"""What the proofs share: their table, showing it while they run, work beside, and patience with servers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.runtime.tasks import end
from services.platform.stream import STREAM_ERRORS

from .verdict import Verdict

__all__ = ["beside", "once_back", "proof_table", "show"]

P = ParamSpec("P")
T = TypeVar("T")

_LINE_EVERY = 10.0


def proof_table(
    seed: int, faults: Iterable[tuple[str, str]], waiting: str, ends_at: float, verdict: Verdict | None
) -> Table:
    """Return the faults so far by part, and behind them the verdict; where there is none yet, what waits and is left.

    Args:
        seed: of the run.
        faults: each part, and what was done to it.
        waiting: rows in the stream, for people.
        ends_at: when the load ends, on the monotonic clock.
        verdict: None while the run lasts.
    """
    table = Table("what", "how often", title=f"seed {seed}")
    for part, done in faults:
        table.add_row(part, done)
    if verdict is None:
        table.add_row("rows that wait", waiting)
        table.add_row("left", f"{max(0.0, ends_at - time.monotonic()):.0f} s")
        return table
    table.add_section()
    for label, figure in verdict.figures():
        table.add_row(label, figure)
    return table


async def show(
    console: Console, line: Callable[[], str], look: Callable[[], Awaitable[object]], table: Callable[[], Table]
) -> None:
    """Show a run for ever: its `table`, after a `look` at what waits, on a terminal, else its `line` now and then."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_LINE_EVERY)
            console.print(line())
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            await look()
            live.update(table(), refresh=True)
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do endless work beside the block, and end it with it."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        await end(tasks)


async def once_back(within: float, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what `ask` finds as soon as the servers answer, the last fault may have been theirs.

    Raises:
        asyncpg.PostgresError, redis.exceptions.RedisError, OSError, TimeoutError: they do not `within` seconds.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return await ask(*arguments, **named)
        except (*DATABASE_AWAY, *STREAM_ERRORS):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
