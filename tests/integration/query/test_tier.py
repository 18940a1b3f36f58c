"""Questions over readings that are in the cold tier, in the table, and in both."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from services.platform.settings import Settings
from services.query.tier import source
from tests.support import TestDatabase
from tests.support.late import connected
from tests.support.query import asking, query_settings
from tests.support.tier import computed, moved, tiered

# From three weeks of 2025 two chunks and a part; sensors of different steps, equal instants, all sorts of floats.
FILL = """
insert into sensor_data (timestamp, sensor_id, value)
select '2025-10-01T00:00:00Z'::timestamptz + number * interval '7 minutes', 'a', sin(number)
from generate_series(0, 3999) number
union all
select '2025-10-01T00:03:00Z'::timestamptz + number * interval '61 minutes', 'b-ü', number % 7
from generate_series(0, 499) number
union all
select '2025-10-02T12:00:00Z'::timestamptz + number / 3 * interval '1 second', 'c', number
from generate_series(0, 8) number
union all
select now() - interval '1 hour', 'a', 5
"""

RANGE = {"start": "2025-09-30T00:00:00Z", "end": "2025-10-25T00:00:00Z"}
WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("/get_range", {"sensor_id": "a", **RANGE}),
    ("/get_range", {"sensor_id": "c", "start": "2025-10-02T12:00:01Z", "end": "2025-10-02T12:00:02Z"}),
    ("/get_range", {"sensor_id": "b-ü", "limit": 10, **RANGE}),
    ("/get_range", {"sensor_id": "a", "start": "2025-10-01T00:00:00Z", "end": "2027-10-25T00:00:00Z"}),
    ("/min", {"sensor_id": "a", **RANGE}),
    ("/min", {"sensor_id": "nobody", **RANGE}),
    ("/hourly", {"sensor_id": "a"}),
    ("/hourly", {"sensor_id": "c", **RANGE}),
    ("/latest", {"match": "*"}),
    ("/latest", {"match": "*", "at": "2025-10-02T12:00:01Z"}),
    ("/latest", {"sensor_id": ["c", "nobody"]}),
    ("/sensors", {}),
    ("/series", {"sensor_id": "a", **RANGE}),
    ("/series", {"sensor_id": ["a", "b-ü", "c"], **RANGE}),
    ("/series", {"sensor_id": ["a", "c"], "order": "desc", "limit": 7, **RANGE}),
    ("/series", {"sensor_id": "a", "points": 100, **RANGE}),
    ("/series", {"sensor_id": ["a", "b-ü"], "points": 50, "downsample": "lttb", **RANGE}),
    ("/series", {"match": "*", "agg": "avg,min,max,sum,count,stddev", "bucket": "1d", "tz": "Asia/Kolkata", **RANGE}),
    ("/series", {"match": "*", "agg": "avg,count,stddev", "bucket": "7m", **RANGE}),
    ("/series", {"sensor_id": ["a", "c"], "agg": "first,last,delta", "bucket": "10s", "fill": "previous",
                 "start": "2025-10-02T12:00:00Z", "end": "2025-10-02T12:02:00Z"}),
    ("/series", {"sensor_id": ["a", "b-ü"], "agg": "avg", "bucket": "5m", "fill": "linear",
                 "start": "2025-10-09T00:00:00Z", "end": "2025-10-09T02:00:00Z"}),
    ("/series", {"match": "*", "agg": "increase,rate,integral,twa", "bucket": "1d", **RANGE}),
    ("/series", {"match": "*", "agg": "median,p99,avg", "bucket": "1w", "by": "all", **RANGE}),
    ("/series", {"match": "*", "agg": "first,last,count", "bucket": "1d", "layout": "wide", **RANGE}),
    ("/series", {"match": "*", "agg": "avg,count", **RANGE}),
]  # fmt: skip


@pytest.fixture
def settings(timescaledb: TestDatabase, tmp_path: Path) -> Settings:
    return tiered(query_settings(timescaledb), tmp_path)


@pytest.fixture
async def owner(timescaledb: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A database whose readings are computed, and not moved yet."""
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(FILL)
        await owner.execute(
            "insert into sensors (sensor_id) select distinct sensor_id from sensor_data on conflict do nothing"
        )
        await owner.execute("select compress_chunk(chunk) from show_chunks('sensor_data') chunk limit 2")
        await computed(timescaledb)
        yield owner


async def answers(client: httpx.AsyncClient) -> list[Any]:
    """Return what each question is answered, without where from."""
    found = []
    for path, parameters in WHOLE:
        answer = await client.get(path, params=parameters)
        assert answer.status_code == 200, (path, parameters, answer.text)
        found.append(bare(answer))
    return found


def bare(answer: httpx.Response) -> Any:
    body = answer.json()
    if isinstance(body, dict):
        # A cursor holds the instant of its question.
        body.pop("next", None)
        for name in ("source", "as_of", "complete_until"):
            body.get("meta", {}).pop(name, None)
    return body


def rounded(value: Any) -> Any:
    """Return an answer with floats to twelve digits: sums are added in another order."""
    return json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.11g}"))


async def test_every_question_is_answered_from_the_tier_as_from_the_table(
    settings: Settings, owner: asyncpg.Connection
) -> None:
    async with asking(settings) as client:
        before = await answers(client)
        done = await moved(settings)
        assert (done.stayed, sum(each.rows for each in done.moved)) == ((), 4509)
        assert await owner.fetchval("select count(*) from sensor_data") == 1
        after = await answers(client)
    for question, one, other in zip(WHOLE, before, after, strict=True):
        assert rounded(one) == rounded(other), question


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("slice_", [1, 700])
async def test_a_large_range_is_answered_slice_by_slice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, slice_: int
) -> None:
    questions = [question for question in WHOLE if "points" in question[1] or question[0] == "/get_range"]
    questions += [("/series", {"sensor_id": "a", "format": "csv", **RANGE})]
    async with asking(settings) as client:
        before = [(await client.get(path, params=parameters)).text for path, parameters in questions]
        await moved(settings)
        monkeypatch.setattr(source, "_FEW", 0)
        monkeypatch.setattr(source, "_SLICE", slice_)
        after = [(await client.get(path, params=parameters)).text for path, parameters in questions]
    for question, one, other in zip(questions, before, after, strict=True):
        assert one.split('"meta"')[0] == other.split('"meta"')[0], question


async def test_what_follows_a_page_is_whole_where_slices_begin_with_many_readings_of_one_instant(
    settings: Settings, timescaledb: TestDatabase, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.execute(
        "insert into sensor_data (timestamp, sensor_id, value) "
        "select timestamptz '2025-10-03Z' + number / 5 * interval '1 day', 'd', number "
        "from generate_series(0, 19) number"
    )
    await computed(timescaledb)
    await moved(settings)
    monkeypatch.setattr(source, "_FEW", 0)
    monkeypatch.setattr(source, "_SLICE", 1)
    async with asking(settings) as client:
        for rows in (1, 4, 5, 6, 12):
            page = (await client.get("/get_range", params={"sensor_id": "d", "limit": rows, **RANGE})).json()
            rest = await client.get("/get_range", params={"sensor_id": "d", "cursor": page["next"], **RANGE})
            values = [row["value"] for row in (*page["data"], *rest.json()["data"])]
            assert values == [float(number) for number in range(20)]
