"""`/series` over readings some of which are in the tier, against the reference in plain Python."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.database.schema.scripts import SQL
from services.platform.settings import Settings
from services.query.tier import source
from tests.integration.query.test_series import answer
from tests.support import TestDatabase, series
from tests.support.late import connected
from tests.support.query import EPOCH, asking, insert, query_settings
from tests.support.series import Asked, Reading
from tests.support.tier import moved, tiered

MANY = max(examples().max_examples // 2, 1)
"""50 examples, or half as many as the profile has."""

NO_ROLLUPS = """
drop materialized view sensor_rollup_15m;
drop materialized view measurement_hourly;
create view measurement_hourly as
select time_bucket(interval '1 hour', timestamp) as bucket, sensor_id, avg(value) as avg, min(value) as min,
  max(value) as max, count(*) as samples
from sensor_data group by 1, 2;
"""
EMPTY = "delete from tier_chunks; delete from tier_sensors; delete from tier_garbage; truncate sensor_data"


@pytest.fixture
async def owner(timescaledb: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A database without rollups, for which readings would have to wait."""
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(NO_ROLLUPS)
        await owner.execute((SQL / "grants.sql").read_text())
        yield owner


@pytest.fixture
def settings(timescaledb: TestDatabase, tmp_path: Path) -> Settings:
    return tiered(query_settings(timescaledb), tmp_path)


@pytest.fixture
async def client(settings: Settings, owner: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    assert not owner.is_closed()
    async with asking(settings) as asked:
        yield asked


@examples(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(series.cases(), st.floats(0, 1), st.sampled_from([1, 250_000]))
async def test_answers_are_those_of_the_reference_whatever_is_in_the_tier_and_whatever_came_late(
    settings: Settings,
    owner: asyncpg.Connection,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[dict[str, list[Reading]], Asked],
    share: float,
    slice_: int,
) -> None:
    sensors, asked = case
    monkeypatch.setattr(source, "_FEW", slice_ - 1)
    monkeypatch.setattr(source, "_SLICE", slice_)
    await owner.execute(EMPTY)
    await owner.executemany(
        "insert into sensors (sensor_id, name, labels) values ($1, $1, $2) on conflict do nothing",
        [(sensor, json.dumps(labels)) for sensor, labels in series.LABELS.items()],
    )
    # Ids follow the order in which the reference takes them.
    rows = [(sensor, at - EPOCH, value) for sensor, readings in sensors.items() for at, value in readings]
    first = round(len(rows) * share)
    for sensor, at, value in rows[:first]:
        await insert(owner, sensor, [(at, value)])
    done = await moved(settings, "1 day")
    assert (sum(chunk.rows for chunk in done.moved), done.stayed) == (first, ())
    for sensor, at, value in rows[first:]:
        await insert(owner, sensor, [(at, value)])
    parameters: dict[str, Any] = {"sensor_id": list(sensors), "tz": asked.zone, "fill": asked.fill, "by": asked.by}
    parameters |= {"start": asked.start.isoformat(), "end": asked.end.isoformat()}
    if asked.aggregates:
        parameters["agg"] = ",".join(asked.aggregates)
    if asked.bucket:
        parameters["bucket"] = "{}{}".format(*asked.bucket)
    found = await answer(client, **parameters)
    series.same(series.read(found["data"], asked.zone), series.answer(sensors, asked))
