"""More workers: how fast one, two and four of them drain a backlog that has been heaped up before."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import psutil

from tests.support.patience import free_port
from tests.support.service import Service

from ..bodies import Shape, write_requests
from ..case import Case, Options
from ..figures import Measures
from ..processes import machine_seconds, snapshot
from ..stack import Bench
from ..wrk import load

__all__ = ["CASES"]

SHAPE = Shape(1_000)
ROWS = 5_000_000
HEAPED_UP_IN = 4.0
"""Seconds; shorter than what a paused worker's commands may take."""


async def measure(bench: Bench, _: Options) -> Measures:
    """Drain the same load by one, two and four workers; where there are fewer cores than workers they must share."""
    found: Measures = {}
    file = bench.folder / "requests"
    for workers in (1, 2, 4):
        await bench.empty()
        write_requests(SHAPE, ROWS // SHAPE.rows, file, bench.ingest.removeprefix("http://"))
        os.sync()
        async with _workers(bench, workers) as processes:
            drain = await _drain(bench, processes)
        found |= {f"workers={workers}: {name}": value for name, value in drain.items()}
        found[f"workers={workers}: × linear"] = drain["rows/s"] / (workers * found["workers=1: rows/s"])
    return found


async def _drain(bench: Bench, workers: list[psutil.Process]) -> Measures:
    for process in workers:
        process.suspend()
    try:
        await load(bench.ingest, HEAPED_UP_IN, 8, bench.folder / "requests")
        rows = await bench.waiting()
    finally:
        for process in workers:
            process.resume()
    everything = [*bench.stack.family(), *workers]
    began, before, machine = time.time(), snapshot(everything), machine_seconds()
    took = await bench.drained() - began
    cost = before.until(snapshot([*bench.stack.family(), *workers]))
    return {
        "rows/s": rows / took,
        "worker µs/row": 1e6 * cost.seconds["worker"] / rows,
        "PostgreSQL µs/row": 1e6 * cost.postgres / rows,
        "cores of workers": cost.seconds["worker"] / took,
        "cores of PostgreSQL": cost.postgres / took,
        "cores of the machine": (machine_seconds()[0] - machine[0]) / took,
    }


@contextlib.asynccontextmanager
async def _workers(bench: Bench, count: int) -> AsyncIterator[list[psutil.Process]]:
    """Run as many workers, the stack's own one among them."""
    async with contextlib.AsyncExitStack() as held:
        processes = bench.stack.children("worker")
        for number in range(count - len(processes)):
            own = bench.settings.worker.model_copy(update={"name": f"further-{number}", "port": free_port()})
            settings = bench.settings.model_copy(update={"worker": own})
            service = await held.enter_async_context(Service("worker", settings, bench.folder / "workers.log"))
            assert service.process
            processes.append(psutil.Process(service.process.pid))
        await asyncio.sleep(1)
        yield processes


CASES = (Case("workers", "a backlog drained by one, two and four workers", measure),)
