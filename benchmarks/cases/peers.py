"""Batches of all sizes beside other stores: the same rows, the same load, each store alone."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from services.platform.runtime.tasks import end

from ..bodies import Shape
from ..case import Case, Options
from ..doors import LINE
from ..figures import Measures, beside
from ..peers import INFLUXDB, QUESTDB, VICTORIAMETRICS, peer_run
from ..processes import held
from ..stack import Bench
from ..way import way_run

__all__ = ["CASES"]

T = TypeVar("T")

CONNECTIONS: Mapping[int, int] = {1: 256, 10: 64, 1_000: 16, 10_000: 8}
"""Requests under way at once, by rows a request."""

BETWEEN_LOOKS = 0.25


async def measure(bench: Bench, options: Options) -> Measures:
    """Send rows as JSON to the stack, a thousand of them as lines too, and as lines to each other store installed."""
    found: Measures = {}
    for rows, connections in CONNECTIONS.items():
        shapes = {_named(rows): Shape(rows)}
        if rows == 1_000:
            shapes["1,000 lines"] = Shape(rows, door=LINE)
        for name, shape in shapes.items():
            run = way_run(bench, shape, options.seconds, connections)
            way, most = await _with_most_held(bench, run)
            found |= {f"{name}: {figure}": value for figure, value in way.items()} | {f"{name}: MiB": most}
        for peer in (INFLUXDB, VICTORIAMETRICS, QUESTDB):
            if peer.installed:
                run = peer_run(peer, rows, options.seconds, connections, bench.folder)
                found |= {f"{peer.name}, {rows:,}: {figure}": value for figure, value in (await run).items()}
                for name in shapes:
                    found |= beside(found, name, f"{peer.name}, {rows:,}", peer.name)
    return found


async def _with_most_held(bench: Bench, work: Awaitable[T]) -> tuple[T, float]:
    """Return what `work` comes to, and the most MiB that the stack was seen to hold meanwhile."""
    seen = [held(bench.stack.family())]

    async def look() -> None:
        while True:
            await asyncio.sleep(BETWEEN_LOOKS)
            seen.append(held(bench.stack.family()))

    looking = asyncio.create_task(look())
    try:
        return await work, max(seen)
    finally:
        await end([looking])


def _named(rows: int) -> str:
    return f"{rows:,} row{'s' if rows > 1 else ''}"


CASES = (Case("peers", "batches of all sizes beside other stores", measure, asked=True, rests=True),)
