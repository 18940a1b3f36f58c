"""Large answers of `/series` in each format: flat in memory, ended when nobody reads, never whole when cut."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from services.platform.settings import Settings
from services.query.formats import MEDIA_TYPES
from tests.support import Service, TestDatabase, eventually
from tests.support.query import STREAMING, backends, query_settings
from tests.support.servers import one_mode

from .test_formats import FIRST_MILLION, MIB, MILLION, RANGE, broken_off, unfinished
from .test_streaming import STALLED, none, plain_client

pytestmark = one_mode()

Start = Callable[[str, Settings], Service]

FORMS: dict[str, dict[str, Any]] = {
    **{name: {"format": name} for name in MEDIA_TYPES},
    "csv by seconds": {"format": "csv", "epoch": "s", "tz": "Europe/Berlin"},
    "the newest first": {"order": "desc"},
}


async def test_a_failure_on_the_way_breaks_each_format_off(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        for asked in FORMS.values():
            _, got = await broken_off(watching, client, f"{query.url}/series", RANGE | asked)
            unfinished(asked.get("format", "json"), None, got)
        # What is held until the end has nothing to break off; it is refused.
        for asked in ({"layout": "columns"}, {"points": "100", "downsample": "lttb"}):
            refused = await client.get(f"{query.url}/series", params=RANGE | asked)
            assert refused.status_code == 422
        assert "Traceback" not in query.log_text()
        assert query.log_text().count("an answer broke off") == len(FORMS)


async def test_who_leaves_or_does_not_read_ends_the_statement(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        for asked in FORMS.values():
            async with client.stream("GET", f"{query.url}/series", params=RANGE | asked) as response:
                assert response.status_code == 200
                assert await backends(watching, STREAMING)
            await eventually(lambda: none(watching, STREAMING))
        assert "Traceback" not in query.log_text()
    async with service("query", query_settings(large, statement_timeout=3)) as query, plain_client() as client:
        async with client.stream("POST", f"{query.url}/series", json=RANGE) as response:
            assert response.status_code == 200
            await eventually(lambda: backends(watching, STALLED))
            # Nobody reads: its time is over some time.
            await eventually(lambda: none(watching, STREAMING))
            with pytest.raises(httpx.RemoteProtocolError):
                await response.aread()
        assert "Traceback" not in query.log_text()


async def test_who_leaves_before_the_answer_to_a_post_ends_the_statement(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        locking = await asyncpg.connect(large.superuser_url)
        try:
            async with locking.transaction():
                await locking.execute("lock table sensor_data in access exclusive mode")
                asking = asyncio.create_task(client.post(f"{query.url}/series", json=RANGE))
                await eventually(lambda: backends(watching, "wait_event_type = 'Lock'"))
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                await eventually(lambda: none(watching, "wait_event_type = 'Lock'"))
        finally:
            await locking.close()
        assert "Traceback" not in query.log_text()


@pytest.mark.parametrize("asked", [*FORMS.values(), {"points": "2000"}], ids=[*FORMS, "points"])
async def test_a_million_readings_are_flat_in_memory(
    large: TestDatabase, service: Start, asked: dict[str, str]
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        assert query.process
        process = psutil.Process(query.process.pid)
        url = f"{query.url}/series"
        # The first answers take what a process has once and for all.
        short = RANGE | {"end": "2025-10-23T16:00:00Z"} | asked
        for _ in range(3):
            await client.get(url, params=short)
        before = most = process.memory_info().rss
        size = 0
        async with client.stream("GET", url, params=FIRST_MILLION | asked) as response:
            async for part in response.aiter_raw():
                size += len(part)
                most = max(most, process.memory_info().rss)
        assert size > (0 if "points" in asked else 2 * MIB)
        assert most - before < 50 * MIB


async def test_a_million_rows_as_columns_are_held_within_bounds(large: TestDatabase, service: Start) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        assert query.process
        process = psutil.Process(query.process.pid)
        before = most = process.memory_info().rss
        body = bytearray()
        async with client.stream(
            "GET", f"{query.url}/series", params=FIRST_MILLION | {"layout": "columns"}
        ) as response:
            async for part in response.aiter_raw():
                body += part
                most = max(most, process.memory_info().rss)
        data = json.loads(body)["data"]
        assert [len(column) for column in data.values()] == [MILLION] * 3
        assert data["value"][::1000] == [number / 7 for number in range(0, MILLION, 1000)]
        assert most - before < 200 * MIB
