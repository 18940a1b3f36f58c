"""How soon a reading is visible: from its POST until `/get_range` shows it, idle and at half load."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np

from services.platform.runtime.starting import StartError
from services.platform.runtime.tasks import end

from ..bodies import Shape, write_requests
from ..case import Case, Options
from ..figures import Measures
from ..stack import Bench
from ..way import way_run
from ..wrk import load

__all__ = ["CASES"]

SHAPE = Shape(1_000)
CONNECTIONS = 8
LOADED_TIMES = 3
"""How much longer is looked at half load, where a probe takes longer and the slowest hundredth is asked for."""

BETWEEN_LOOKS = 0.002
GIVEN_UP_AFTER = 30.0


async def measure(bench: Bench, options: Options) -> Measures:
    """Probe an idle stack, then one at half of the rate that it has just been seen to reach."""
    found = {f"idle: {name}": value for name, value in (await _probed(bench, options.seconds)).items()}
    full = await way_run(bench, SHAPE, options.seconds, CONNECTIONS)
    seconds = LOADED_TIMES * options.seconds
    async with _loaded(bench, full["rows/s"] / 2, seconds + 4):
        await asyncio.sleep(2)
        half = await _probed(bench, seconds)
    return found | {f"half load: {name}": value for name, value in half.items()} | {"full load: rows/s": full["rows/s"]}


@contextlib.asynccontextmanager
async def _loaded(bench: Bench, rows_per_second: float, seconds: float) -> AsyncIterator[None]:
    file = bench.folder / "requests"
    rate = rows_per_second / SHAPE.rows
    await bench.empty()
    write_requests(SHAPE, round(rate * seconds), file, bench.ingest.removeprefix("http://"))
    loading = asyncio.create_task(load(bench.ingest, seconds, CONNECTIONS, file, rate))
    try:
        yield
        await loading
        await bench.drained()
    finally:
        await end([loading])


async def _probed(bench: Bench, seconds: float) -> Measures:
    """Send one reading after the other and look for each until it is there."""
    took = []
    ends_at = time.monotonic() + seconds
    async with httpx.AsyncClient(timeout=GIVEN_UP_AFTER) as client:
        while time.monotonic() < ends_at:
            took.append(await _visible(client, bench))
    median, slowest = np.percentile(took, (50, 99))
    return {"p50 ms": float(1000 * median), "p99 ms": float(1000 * slowest), "probes": len(took)}


async def _visible(client: httpx.AsyncClient, bench: Bench) -> float:
    """Return the seconds from the POST of a reading until a question shows it."""
    at = datetime.now(UTC)
    reading = {"sensor_id": "probe", "timestamp": at.isoformat(), "value": 1.0}
    question = {"sensor_id": "probe", "start": at.isoformat(), "end": (at + timedelta(microseconds=1)).isoformat()}
    began = time.monotonic()
    (await client.post(f"{bench.ingest}/ingest", json=[reading])).raise_for_status()
    while time.monotonic() < began + GIVEN_UP_AFTER:
        if (await client.get(f"{bench.query}/get_range", params=question)).raise_for_status().json()["data"]:
            return time.monotonic() - began
        await asyncio.sleep(BETWEEN_LOOKS)
    raise StartError(f"a reading was not visible within {GIVEN_UP_AFTER:g} s; see {bench.stack.log}")


CASES = (Case("freshness", "from POST until visible in /get_range, idle and at half load", measure),)
