"""What must not be stored: a key that comes with another body, and entries that somebody damaged."""

import time
from typing import Any

import httpx
import pytest

from services.contract import StreamNames
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client
from tests.support import TestDatabase, eventually
from tests.support.faults import Make, drained, worker
from tests.support.ingest import READING
from tests.support.late import connected
from tests.support.moments import counted
from tests.support.readings import add_entry, entry_of, raw_entries, rows_in

pytestmark = pytest.mark.long


async def test_row_25_a_key_that_comes_with_another_body_is_answered_422_before_and_behind_the_write(
    settings: Settings, service: Make
) -> None:
    url = f"http://127.0.0.1:{settings.ingest.port}"
    async with service("ingest", settings), httpx.AsyncClient(base_url=url) as client:

        async def status(value: float) -> int:
            headers = {"Idempotency-Key": "order-1"}
            return (await client.post("/ingest", json=[{**READING, "value": value}], headers=headers)).status_code

        assert [await status(1.0), await status(2.0), await status(1.0)] == [200, 422, 200]
        async with service("worker", worker(settings, "w")):
            await drained(settings)
            assert [await status(2.0), await status(1.0)] == [422, 200]
            await drained(settings)
    assert [value for _, _, value in await rows_in(settings.database)] == [1.0]


async def test_row_26_poison_between_good_batches_becomes_dead_letters_and_the_good_ones_are_stored(
    database: TestDatabase, settings: Settings, service: Make
) -> None:
    now = time.time_ns() // 1000
    damaged: list[Any] = [
        {"v": "1", "n": "3", "e": b"\xc1garbage"},
        {"hello": "world"},
        {"v": "1", "n": "-1", "e": b""},
    ]
    async with redis_client(settings.redis) as client:
        stream = Stream(client, StreamNames(settings.redis.stream))
        await stream.ensure_group()
        for number, fields in enumerate(damaged):
            await add_entry(stream, entry_of([("good", now, number)]))
            await client.xadd(settings.redis.stream, fields)
        async with connected(database, "owner") as owner:
            await owner.execute("alter table sensor_data add constraint no_nine check (value <> 9)")
        await add_entry(stream, entry_of([("good", now, 3.0)], [("bad", now, 9.0)], [("good", now, 4.0)]))
        async with service("worker", worker(settings, "w")) as process:
            await drained(settings)
            await eventually(process.is_ready)
            assert await counted(process, "millrace_batches_dead_total") == 4
        letters = [fields[b"reason"] for _, fields in await raw_entries(stream, stream.names.dead)]
    assert letters == [b"damaged"] * 3 + [b"refused"]
    assert [value for _, _, value in await rows_in(settings.database)] == [0.0, 1.0, 2.0, 3.0, 4.0]
