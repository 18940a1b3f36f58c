"""More processes: how fast several workers drain a backlog, and how many small requests several ingests take."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import psutil

from tests.support.patience import free_port
from tests.support.service import Service

from ..bodies import Shape, write_requests
from ..case import Case, Options
from ..cgroups import limited
from ..figures import Measures
from ..processes import machine_seconds, snapshot
from ..stack import Bench
from ..wrk import load

__all__ = ["CASES"]

SHAPE = Shape(1_000)
ROWS = 5_000_000
HEAPED_UP_IN = 4.0
"""Seconds; shorter than what a paused worker's commands may take."""

SMALL = Shape(10)
SMALL_ROWS = 1_500_000
CONNECTIONS = 64
HELD_TO = 0.2
"""Cores of each ingest process where there shall be cores for more of them than the machine has."""


async def by_workers(bench: Bench, _: Options) -> Measures:
    """Drain the same load by one, two and four workers; where there are fewer cores than workers they must share."""
    found: Measures = {}
    for workers in (1, 2, 4):
        await _prepare(bench, SHAPE, ROWS)
        further = [{"name": f"further-{number}", "port": free_port()} for number in range(1, workers)]
        async with _further(bench, "worker", further) as services:
            drain = await _drain(bench, _processes(bench, "worker", services))
        found |= {f"workers={workers}: {name}": value for name, value in drain.items()}
        found[f"workers={workers}: × linear"] = drain["rows/s"] / (workers * found["workers=1: rows/s"])
    return found


async def by_ingests(bench: Bench, options: Options) -> Measures:
    """Send small requests to one ingest and to more: as many shared out, or as many to each, held to part of a core."""
    found: Measures = {}
    for name, cores, counts in (("", None, (1, 2)), (f" of {HELD_TO} cores", HELD_TO, (1, 2, 4))):
        for count in counts:
            await _prepare(bench, SMALL, SMALL_ROWS)
            # The stack's own is held to nothing, and idle.
            ports = [{"port": free_port(), "admin_port": free_port()} for _ in range(count)]
            async with _further(bench, "ingest", ports, cores) as services:
                connections = CONNECTIONS * count if cores else CONNECTIONS
                taken = await _take(bench, services, options.seconds, connections)
            found |= {f"ingests={count}{name}: {figure}": value for figure, value in taken.items()}
            one = found[f"ingests=1{name}: requests/s"]
            found[f"ingests={count}{name}: × linear"] = taken["requests/s"] / (count * one)
    return found


async def _prepare(bench: Bench, shape: Shape, rows: int) -> None:
    await bench.empty()
    write_requests(shape, rows // shape.rows, bench.folder / "requests", bench.ingest.removeprefix("http://"))
    os.sync()


async def _take(bench: Bench, ingests: Sequence[Service], seconds: float, connections: int) -> Measures:
    everything = [*bench.stack.family(), *_processes(bench, "ingest", ingests)]
    before, machine = snapshot(everything), machine_seconds()
    file, share = bench.folder / "requests", connections // len(ingests)
    sent = await asyncio.gather(*(load(ingest.url, seconds, share, file) for ingest in ingests))
    cost, worked = before.until(snapshot(everything)), machine_seconds()[0] - machine[0]
    await bench.drained()
    return {
        "requests/s": sum(one.per_second for one in sent),
        "ingest µs/request": 1e6 * cost.seconds["ingest"] / sum(one.requests for one in sent),
        "cores of ingest": cost.seconds["ingest"] / seconds,
        "cores of the machine": worked / seconds,
        "latency p99 ms": max(one.p99 for one in sent) / 1000,
    }


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
async def _further(
    bench: Bench, command: str, updates: Sequence[Mapping[str, Any]], cores: float | None = None
) -> AsyncIterator[list[Service]]:
    """Run a process of `command` beside the stack's own for each update of its settings, each with so many cores."""
    async with contextlib.AsyncExitStack() as held:
        services = []
        for number, update in enumerate(updates):
            own = getattr(bench.settings, command).model_copy(update=update)
            settings = bench.settings.model_copy(update={command: own})
            group = held.enter_context(limited(f"millrace-{command}-{number}", cores)) if cores else None
            service = await held.enter_async_context(Service(command, settings, bench.folder / "further.log"))
            if group and service.process:
                group.take(psutil.Process(service.process.pid))
            services.append(service)
        await asyncio.sleep(1)
        yield services


def _processes(bench: Bench, command: str, further: Sequence[Service]) -> list[psutil.Process]:
    own = bench.stack.children(command)
    return [*own, *(psutil.Process(service.process.pid) for service in further if service.process)]


CASES = (
    Case("workers", "a backlog drained by one, two and four workers", by_workers),
    Case("ingests", "10 rows a request, by one ingest process and more", by_ingests),
)
