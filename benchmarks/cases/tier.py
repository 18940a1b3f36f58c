"""The cold tier: chunks moved, verified, and asked about, against the columnstore that they were in before."""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from services.database.tier.loop import Pass, owner_of, pass_once
from services.platform.postgres.connections import Connector
from services.platform.runtime.starting import StartError
from services.platform.tier.storage import open_storage

from ..asked import Question, by_http
from ..case import Case, Options
from ..figures import Measures
from ..history import History, fill, settle
from ..stack import Bench

__all__ = ["CASES"]

FOLDER = Path(".millrace/bench-tier").resolve()
AFTER = "15 days"
SPAN = timedelta(days=400)
ZONE = "Europe/Berlin"
FOUR = {"agg": "avg,min,max,count", "bucket": "1d", "tz": ZONE}
SECONDS, LONG = 5.0, 60.0
NOTICED = 12.0
"""Seconds until the query service has looked at which rollups there are."""

OLD = """
select coalesce(sum(chunk_size), 0)::bigint
from (
  select (chunks_detailed_size('sensor_data')).*
) as of_chunks (chunk_schema, chunk_name, table_bytes, index_bytes, toast_bytes, chunk_size, node)
join timescaledb_information.chunks c using (chunk_schema, chunk_name)
where c.range_end <= now() - $1::text::interval
"""


async def measure(bench: Bench, options: Options) -> Measures:
    """Ask of the columnstore, move all but the last two weeks, and ask of the tier.

    Raises:
        StartError: a chunk stayed, or a reading is not there afterwards.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    past = await fill(bench, options.rows, SPAN)
    await settle(bench, past)
    rows = await bench.database.fetchval("select count(*) from sensor_data")
    old = await bench.database.fetchval(OLD, AFTER)
    before = await _asked(bench, past)
    await bench.database.execute(f"update tier_policy set after = '{AFTER}'")
    began = time.monotonic()
    done = await _moved(bench)
    took = time.monotonic() - began
    moved = sum(chunk.rows for chunk in done.moved)
    left = await bench.database.fetchval("select count(*) from sensor_data")
    if done.stayed or not moved or moved + left != rows:
        raise StartError(f"{moved:,} readings moved, {left:,} are left of {rows:,}; {'; '.join(done.stayed)}")
    after = await _asked(bench, past)
    shutil.rmtree(FOLDER)
    found: Measures = {
        "readings moved": moved,
        "moved and verified: readings/s": moved / took,
        "columnstore: bytes/reading": old / moved,
        "tier: bytes/reading": sum(chunk.bytes for chunk in done.moved) / moved,
        "files": sum(chunk.files for chunk in done.moved),
    }
    for name, ms in before.items():
        found |= {
            f"{name}, columnstore: ms": ms,
            f"{name}, tier: ms": after[name],
            f"{name}: × columnstore": after[name] / ms,
        }
    return found


async def _moved(bench: Bench) -> Pass:
    database = bench.settings.database
    connection = await owner_of(Connector(database.owner_url, database)).session()
    try:
        done = await pass_once(connection, bench.capability, open_storage(FOLDER.as_uri()), 900.0)
    finally:
        await connection.close()
    if done is None:
        raise StartError("the stack's own repair is at it")
    return done


async def _asked(bench: Bench, past: History) -> dict[str, float]:
    """Return the milliseconds of each kind of question, those of rows by a reader that may see no rollup."""
    midnight = (past.end - timedelta(days=20)).astimezone(ZoneInfo(ZONE)).replace(hour=0)
    year = midnight - timedelta(days=365), midnight
    day = midnight - timedelta(days=100), midnight - timedelta(days=99)
    found = {
        "100 sensors' year by local days, rollups": await by_http(
            bench, [_of(past.sensors[:100], *year, FOUR)], SECONDS
        ),
        "a sensor's day of readings": await by_http(
            bench, [_of([sensor], *day, {}) for sensor in past.sensors[:100]], SECONDS
        ),
    }
    rollups = "measurement_hourly, sensor_rollup_15m"
    await bench.database.execute(f"revoke select on {rollups} from millrace_reader")
    await asyncio.sleep(NOTICED)
    try:
        for count in (1, 100):
            asked = [_of(past.sensors[begin : begin + count], *year, FOUR) for begin in range(0, 300, count)]
            found[f"{count} sensors' year by local days, rows"] = await by_http(
                bench, asked, SECONDS if count == 1 else LONG
            )
        median = [_of([sensor], *year, {**FOUR, "agg": "median"}) for sensor in past.sensors[:100]]
        found["a sensor's year of daily medians"] = await by_http(bench, median, SECONDS)
    finally:
        await bench.database.execute(f"grant select on {rollups} to millrace_reader")
        await asyncio.sleep(NOTICED)
    return found


def _of(sensors: Sequence[str], start: datetime, end: datetime, parameters: Mapping[str, str]) -> Question:
    ids = [("sensor_id", sensor) for sensor in sensors]
    given = {"start": start.isoformat(), "end": end.isoformat(), **parameters}
    return Question(f"/series?{urlencode([*ids, *given.items()])}", "", ())


CASES = (
    Case(
        "tier",
        "readings moved to the cold tier and asked about there, against the columnstore",
        measure,
        columnstore=True,
        sections={"tier": {"location": FOLDER.as_uri()}},
        once=True,
        asked=True,
    ),
)
