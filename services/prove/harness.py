"""What both proofs share: the load, showing a run, work beside it, and patience with servers that were broken."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from services.local.process import adorned
from services.local.supervisor import Part
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.runtime.tasks import end
from services.platform.settings import RedisSettings
from services.platform.stream import STREAM_ERRORS, Backlog, Stream, names_of, redis_client

from .verdict import Verdict

__all__ = ["backlog", "beside", "break_part", "loaded", "once_back", "proof_table", "settled", "show"]

P = ParamSpec("P")
T = TypeVar("T")

_LINE_EVERY = 10.0
_LOOK_EVERY = 0.5


@contextlib.asynccontextmanager
async def loaded(url: str, journal: Path, door: str | None = None, seed: int = 0) -> AsyncIterator[int]:
    """Send to ingest at `url` until the block ends, and yield the sender's process; then the journal is complete.

    It is a process beside this one, with patience and a journal: `millrace send` with keys, or `agents` at a door of
    theirs, whose choices `seed` repeats.
    """
    module = _sending(url, journal) if door is None else ["services.prove.agents", door, url, str(journal), str(seed)]
    nothing = asyncio.subprocess.DEVNULL
    command = adorned([sys.executable, "-m", *module])
    sender = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        yield sender.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            sender.send_signal(signal.SIGINT)
        await sender.wait()


def _sending(url: str, journal: Path) -> list[str]:
    # A millisecond a step, so that the load's own clock stays behind ours.
    start = datetime.now(UTC) - timedelta(days=1)
    what = ["--rows", str(10**12), "--batch", "100", "--start", start.isoformat(), "--step", "0.001"]
    how = ["--connections", "4", "--patience", "120", "--url", url, "--journal", str(journal)]
    return ["services.cli", "send", *what, *how]


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
            await asyncio.sleep(_LOOK_EVERY)


@contextlib.asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do endless work beside the block, and end it with it."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        await end(tasks)


async def break_part(part: Part, how: str, dice: random.Random) -> None:
    """Kill a part, or pause it for some seconds; who cancels this leaves it running."""
    if how == "killed":
        part.signal(signal.SIGKILL)
        return
    part.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(dice.uniform(0.5, 4.0))
    finally:
        part.signal(signal.SIGCONT)


async def backlog(redis: RedisSettings) -> Backlog | None:
    """Return what waits in the stream; None while its server is away."""
    async with redis_client(redis) as client:
        try:
            return await Stream(client, names_of(redis)).backlog()
        except STREAM_ERRORS:
            return None


async def settled(look: Callable[[], Awaitable[T]], right: Callable[[T], bool], within: float) -> T:
    """Return what `look` finds as soon as it is `right`; what it finds after `within` seconds, whatever that is."""
    deadline = time.monotonic() + within
    while not right(found := await look()) and time.monotonic() < deadline:  # noqa: ASYNC110 -- no event tells
        await asyncio.sleep(_LOOK_EVERY)
    return found


async def once_back(within: float, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what `ask` finds as soon as the servers answer, the last fault may have been theirs.

    Raises:
        DatabaseRefusedError, STREAM_ERRORS, OSError, TimeoutError, httpx.HTTPError: they do not `within` seconds.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_away),
        stop=stop_after_delay(within),
        wait=wait_fixed(_LOOK_EVERY),
        reraise=True,
    )
    return await retrying(ask, *arguments, **named)


def _is_away(error: BaseException) -> bool:
    """Tell whether an error means that a server is not back yet; any other answer of it than 503 is one."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.SERVICE_UNAVAILABLE
    return isinstance(error, (*DATABASE_AWAY, *STREAM_ERRORS, httpx.TransportError))
