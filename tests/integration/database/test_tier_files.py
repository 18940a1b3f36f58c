"""The tier's files: on a server that speaks S3, and for whoever reads Parquet."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import duckdb
import pyarrow.dataset
import pyarrow.parquet
import pytest
from moto.server import ThreadedMotoServer

from services.platform.settings import Settings
from services.platform.tier.files import hash_of
from tests.support import TestDatabase
from tests.support.late import connected
from tests.support.patience import free_port
from tests.support.query import asking, query_settings
from tests.support.tier import computed, moved, tiered

# Values that are no numbers, equal instants, ids beyond ASCII; days of one sensor and of many.
FILL = """
insert into sensor_data (timestamp, sensor_id, value)
select '2025-10-02T00:00:00Z'::timestamptz + number * interval '37 minutes', 'sensor-' || number % 50,
  case when number % 97 = 0 then 'nan' when number % 89 = 0 then '-infinity' else number / 7.0::double precision end
from generate_series(0, 400) number
union all
select '2025-10-03T00:00:00Z'::timestamptz + number / 2 * interval '1 microsecond', 'ü ' || number % 3, number
from generate_series(0, 99) number
"""
ROWS = 'select id, timestamp, sensor_id, value from sensor_data order by sensor_id collate "C", timestamp, id'


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3, with a bucket; yields its address."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {"ACCESS_KEY_ID": "tier", "SECRET_ACCESS_KEY": "secret-of-the-tier"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = boto3.resource("s3", endpoint_url=f"http://{s3}", region_name="us-east-1").Bucket("readings")
    bucket.create()
    return bucket


@pytest.fixture
async def owner(timescaledb: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(FILL)
        await owner.execute("insert into sensors (sensor_id) select distinct sensor_id from sensor_data")
        await computed(timescaledb)
        yield owner


async def test_readings_go_to_object_storage_and_come_back(
    timescaledb: TestDatabase, owner: asyncpg.Connection, s3: str, bucket: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = query_settings(timescaledb)
    location = f"s3://readings/some/where?region=us-east-1&scheme=http&endpoint_override={s3}"
    settings = settings.model_copy(update={"tier": settings.tier.model_copy(update={"location": location})})
    asked = {"match": "*", "start": "2025-10-01T00:00:00Z", "end": "2025-11-01T00:00:00Z"}
    async with asking(settings) as client:
        before = (await client.get("/series", params=asked)).json()["data"]
        assert sum(each.rows for each in (await moved(settings)).moved) == 501
        assert (await client.get("/series", params=asked)).json()["data"] == before
    listed = {row[0] for row in await owner.fetch("select path from tier_files")}
    assert {found.key.removeprefix("some/where/") for found in bucket.objects.all()} == listed
    await owner.execute("insert into tier_garbage (path, since) select path, '2025-01-01' from tier_files limit 2")
    assert (await moved(settings)).removed == 2
    assert len([found for found in bucket.objects.all() if found.key.endswith(".parquet")]) == len(listed) - 2
    assert "secret-of-the-tier" not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("bucket")
async def test_a_bucket_that_is_not_there_leaves_the_chunk_where_it_is(
    timescaledb: TestDatabase, owner: asyncpg.Connection, s3: str
) -> None:
    settings = query_settings(timescaledb)
    location = f"s3://nowhere-at-all/x?region=us-east-1&scheme=http&endpoint_override={s3}"
    settings = settings.model_copy(update={"tier": settings.tier.model_copy(update={"location": location})})
    assert "nowhere-at-all" in (await moved(settings)).problem
    assert await owner.fetchval("select count(*) from sensor_data") == 501
    assert await owner.fetchval("select count(*) from tier_chunks") == 0


async def test_whoever_reads_parquet_reads_the_files(
    timescaledb: TestDatabase, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    before = [tuple(row) for row in await owner.fetch(ROWS)]
    settings: Settings = tiered(query_settings(timescaledb), tmp_path)
    await moved(settings)
    with duckdb.connect() as duck:
        duck.execute("set timezone = 'UTC'")
        found = duck.execute(
            f"select id, timestamp, sensor_id, value, day from read_parquet('{tmp_path}/**/*.parquet', "
            "hive_partitioning = true) order by sensor_id, timestamp, id"
        ).fetchall()
    # Written out, as what is no number is not equal to itself.
    shown = [(row[0], row[1].astimezone(UTC), row[2], repr(row[3])) for row in found]
    assert shown == [(number, at, sensor, repr(value)) for number, at, sensor, value in before]
    assert all(row[4] == row[1].astimezone(UTC).date() for row in found)
    arrow = pyarrow.dataset.dataset(tmp_path, format="parquet", partitioning="hive").to_table()
    assert arrow.num_rows == 501
    assert set(arrow.column_names) >= {"id", "timestamp", "sensor_id", "value"}


async def test_files_are_of_one_day_and_bucket_and_sorted(
    timescaledb: TestDatabase, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await moved(tiered(query_settings(timescaledb), tmp_path))
    for path, day, number, many, first, last, rows in await owner.fetch(
        "select path, day, bucket, buckets, first, last, rows from tier_files"
    ):
        table = pyarrow.parquet.read_table(tmp_path / path, partitioning=None).to_pylist()
        assert len(table) == rows
        keys = [(row["sensor_id"], row["timestamp"], row["id"]) for row in table]
        assert keys == sorted(keys)
        assert {row["timestamp"].astimezone(UTC).date() for row in table} == {day}
        assert {hash_of(row["sensor_id"]) % many for row in table} == {number}
        instants = [row["timestamp"] for row in table]
        assert (min(instants), max(instants)) == (first, last)
        assert isinstance(day, date)
        assert first >= datetime(2025, 10, 2, tzinfo=UTC)
