"""The catalogue filled with what was stored before it, while writes go on and its process is killed twice."""

import asyncio
import time
from datetime import timedelta

from services.platform.runtime.starting import StartError

from ..bodies import Shape, write_requests
from ..case import Case, Options
from ..figures import Measures
from ..history import FLEET, fill, fill_fleet
from ..stack import Bench
from ..wrk import load

__all__ = ["CASES"]

SHAPE, CONNECTIONS, PREPARED_ROWS = Shape(1_000), 8, 6_000_000
SPAN = timedelta(days=400)
KILLS = 2
PATIENCE = 900.0

REST = "update catalogue_filling set started_at = null, finished_at = now()"
ANEW = """
truncate sensors;
update catalogue_filling
set started_at = null, reached = null, reached_sensor = null, finished_at = null, added = 0, passes = 0
"""
LACKING = """
select count(*) from (select sensor_id from sensor_data except select sensor_id from sensors) as lacking
"""


async def prepare(bench: Bench, options: Options) -> None:
    """Store what the catalogue is filled with."""
    await bench.database.execute(REST)
    await fill(bench, options.rows, SPAN)
    await fill_fleet(bench)


async def measure(bench: Bench, options: Options) -> Measures:
    """Load the stack with nothing to fill, and then while the catalogue is filled.

    Raises:
        StartError: sensors are lacking when it says that it is filled.
    """
    await bench.database.execute(REST)
    undisturbed = await _rate(bench, options.seconds)
    stored = await bench.database.fetchval("select count(*) from sensor_data")
    await bench.database.execute(ANEW)
    began = time.monotonic()
    filling = asyncio.create_task(_filled(bench))
    beside = await _rate(bench, options.seconds)
    await filling
    took = time.monotonic() - began
    lacking = await bench.database.fetchval(LACKING)
    if lacking:
        raise StartError(f"{lacking:,} sensors have readings and are not in the catalogue that was filled")
    return {
        "rows stored before": stored,
        "sensors in the catalogue": await bench.database.fetchval("select count(*) from sensors"),
        "rows/s undisturbed": undisturbed,
        "rows/s beside": beside,
        "× undisturbed": beside / undisturbed,
        "s": took,
        "kills": KILLS,
    }


async def _rate(bench: Bench, seconds: float) -> float:
    """Return the rows stored a second, from the first request to the last commit."""
    file = bench.folder / "requests"
    write_requests(SHAPE, PREPARED_ROWS // SHAPE.rows, file, bench.ingest.removeprefix("http://"))
    began = time.time()
    sent = await load(bench.ingest, seconds, CONNECTIONS, file)
    return sent.acknowledged * SHAPE.rows / (await bench.drained() - began)


async def _filled(bench: Bench) -> None:
    """Kill the process that fills the catalogue a third and two thirds on its way, and wait for its end."""
    killed, deadline = 0, time.monotonic() + PATIENCE
    while not (await bench.database.fetchval("select passes from catalogue_filling")):
        added = await bench.database.fetchval("select added from catalogue_filling")
        if killed < KILLS and added > (killed + 1) * FLEET / (KILLS + 1):
            bench.stack.child("repair").kill()
            killed += 1
        if time.monotonic() > deadline:
            raise StartError(f"the catalogue is not filled after {PATIENCE:g} s; see {bench.stack.log}")
        await asyncio.sleep(0.05)
    if killed < KILLS:
        raise StartError("the catalogue was filled before its process could be killed twice")


CASES = (
    Case(
        "filling",
        "the catalogue filled from what is stored, while writes go on and its process is killed twice",
        measure,
        columnstore=True,
        prepare=prepare,
        once=True,
        asked=True,
    ),
)
