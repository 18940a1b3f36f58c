"""Showing how a run goes: a bar on a terminal, a line every few seconds elsewhere, the figures at the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.platform.runtime.tasks import end

from .tally import Tally

__all__ = ["shown"]

LINE_EVERY = 5.0
"""Seconds between lines where there is no terminal."""


@contextlib.asynccontextmanager
async def shown(tally: Tally, rows: int | None) -> AsyncIterator[None]:
    """Show `tally` on standard error while the caller works; `rows` is all there will be, where it is known."""
    console = Console(stderr=True)
    task = asyncio.create_task(_bar(console, tally, rows) if console.is_terminal else _lines(console, tally))
    try:
        yield
    finally:
        await end((task,))


async def _bar(console: Console, tally: Tally, rows: int | None) -> None:
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        bar = progress.add_task(tally.line(), total=rows)
        while True:
            progress.update(bar, completed=tally.rows, description=tally.line(), refresh=True)
            await asyncio.sleep(0.2)


async def _lines(console: Console, tally: Tally) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        console.print(tally.line(), highlight=False)
