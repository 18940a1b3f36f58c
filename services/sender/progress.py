"""How a run goes: its counts and latencies, shown while it lasts and at its end."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from millrace_client.outcomes import Outcome, State
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.platform.runtime.tasks import end

from .readings import Batch

__all__ = ["Attempts", "Tally", "figures", "shown"]

LINE_EVERY = 5.0
"""Seconds between lines where there is no terminal."""

FAULTS_KEPT = 5
"""How many faults are told in full."""

_GROWTH = math.log(1.01)
"""Latencies are counted in steps of one per cent."""


@dataclass(slots=True)
class Attempts:
    """Counts of one run's requests, which stay small however long it lasts."""

    started: float = field(default_factory=time.monotonic)
    answers: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    retries: int = 0

    def answered(self, status: int | None, seconds: float) -> None:
        """Count one request; None is one without an answer."""
        self.answers[str(status or "none")] += 1
        if status:
            self.latencies[round(math.log(max(seconds, 1e-6)) / _GROWTH)] += 1

    def retried(self) -> None:
        """Count an attempt that is not a body's first."""
        self.retries += 1

    def percentile(self, share: float) -> float:
        """Return the latency in seconds that `share` of the answers stayed within; 0 without answers."""
        left = share * self.latencies.total()
        for step, count in sorted(self.latencies.items()):
            left -= count
            if left <= 0:
                return math.exp(step * _GROWTH)
        return 0.0

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return max(time.monotonic() - self.started, 1e-9)


@dataclass(slots=True)
class Tally(Attempts):
    """Counts of a run of made readings."""

    rows: int = 0
    accepted: int = 0
    refused: int = 0
    given_up: int = 0
    faults: list[str] = field(default_factory=list)

    def ended(self, batch: Batch, outcome: Outcome) -> None:
        """Count a batch whose end is known, and keep the first faults."""
        self.rows += batch.rows
        if outcome.state is State.ACKED:
            self.accepted += batch.rows
            return
        self.given_up += outcome.again
        self.refused += not outcome.again
        if len(self.faults) < FAULTS_KEPT:
            last = batch.first_row + batch.rows - 1
            self.faults.append(
                f"batch {batch.number} (rows {batch.first_row} to {last}), {outcome.state}: {outcome.why}"
            )

    @property
    def complete(self) -> bool:
        """Whether every batch that ended was accepted."""
        return self.refused + self.given_up == 0

    @property
    def done(self) -> int:
        """How many rows have met their end."""
        return self.rows

    def line(self) -> str:
        """Return the state of the run in one line."""
        return f"{self.accepted:,} rows accepted, {self.accepted / self.seconds:,.0f} rows/s, {self.retries:,} retries"

    def table(self) -> Table:
        """Return the run's figures."""
        return figures(
            {
                **{f"answers {status}": f"{count:,}" for status, count in sorted(self.answers.items())},
                "rows accepted": f"{self.accepted:,}",
                "rows/s": f"{self.accepted / self.seconds:,.0f}",
                "seconds": f"{self.seconds:,.1f}",
                "latency p50": f"{1000 * self.percentile(0.5):,.1f} ms",
                "latency p99": f"{1000 * self.percentile(0.99):,.1f} ms",
                "retries": f"{self.retries:,}",
                "batches refused": f"{self.refused:,}",
                "batches given up": f"{self.given_up:,}",
            }
        )


def figures(rows: Mapping[str, str]) -> Table:
    """Return a run's figures as they are shown at its end."""
    table = Table("figure", "value", box=None, show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


class Shown(Protocol):
    """A run of which it can be told how far it is."""

    @property
    def done(self) -> int:
        """How much of all there is has been seen to."""

    def line(self) -> str:
        """Return the state of the run in one line."""


@contextlib.asynccontextmanager
async def shown(run: Shown, total: int | None) -> AsyncIterator[None]:
    """Show a run on standard error while the caller works; `total` is all there will be, where it is known."""
    console = Console(stderr=True)
    task = asyncio.create_task(_bar(console, run, total) if console.is_terminal else _lines(console, run))
    try:
        yield
    finally:
        await end((task,))


async def _bar(console: Console, run: Shown, total: int | None) -> None:
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        bar = progress.add_task(run.line(), total=total)
        while True:
            progress.update(bar, completed=run.done, description=run.line(), refresh=True)
            await asyncio.sleep(0.2)


async def _lines(console: Console, run: Shown) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        console.print(run.line(), highlight=False)
