"""Questions at their limits stay within bounds of memory."""

from collections.abc import Callable, Mapping
from datetime import timedelta

import httpx
import psutil
import pytest

from services.platform.settings import Settings
from tests.support import Service, TestDatabase
from tests.support.query import EPOCH, fill, query_settings

Start = Callable[[str, Settings], Service]

MIB = 1024 * 1024
SENSORS = [f"sensor-{number}" for number in range(1000)]
"""As many as MILLRACE_QUERY_MAX_SENSORS."""

EACH = Settings().query.max_cells // len(SENSORS)
"""Buckets of each, so that all are MILLRACE_QUERY_MAX_CELLS."""

EVERY = "avg,min,max,sum,count,first,last,stddev,median,p99.9,delta,increase,rate,integral,twa"
RANGE = {"start": EPOCH.isoformat(), "end": (EPOCH + timedelta(seconds=EACH)).isoformat()}
WIDE_END = (EPOCH + timedelta(seconds=EACH // len(EVERY.split(",")))).isoformat()
GRID = RANGE | {"bucket": "1s", "fill": "linear", "tz": "Asia/Kathmandu"}

QUESTIONS: Mapping[str, Mapping[str, object]] = {
    "every aggregate": GRID | {"agg": EVERY},
    "wide": GRID | {"agg": "avg", "layout": "wide"},
    "every aggregate, wide": GRID | {"agg": EVERY, "layout": "wide", "end": WIDE_END},
    "every aggregate, the newest first, as Parquet": GRID | {"agg": EVERY, "order": "desc", "format": "parquet"},
    "every aggregate, by columns": GRID | {"agg": EVERY, "layout": "columns"},
    "all points": RANGE | {"points": EACH},
    "points by lttb": RANGE | {"points": EACH, "downsample": "lttb"},
}


@pytest.mark.parametrize("asked", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_question_at_every_limit_stays_within_bounds(
    timescaledb: TestDatabase, service: Start, asked: Mapping[str, object]
) -> None:
    for sensor in SENSORS[::100]:
        await fill(timescaledb, sensor, range(EACH), 7)
    async with (
        service("query", query_settings(timescaledb)) as query,
        httpx.AsyncClient(timeout=120) as client,
    ):
        assert query.process
        process = psutil.Process(query.process.pid)
        url = f"{query.url}/series"
        # The first answers take what a process has once and for all.
        for _ in range(2):
            (await client.post(url, json={**asked, "sensor_id": SENSORS[:1]})).raise_for_status()
        before = most = process.memory_info().rss
        async with client.stream("POST", url, json={**asked, "sensor_id": SENSORS}) as response:
            assert response.status_code == 200, await response.aread()
            async for _ in response.aiter_raw():
                most = max(most, process.memory_info().rss)
        print(f"{(most - before) / MIB:.0f} MiB")
        assert most - before < 200 * MIB
