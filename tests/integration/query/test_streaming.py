"""A million rows through a real process: flat in memory, at the client's pace, and never a well-formed lie."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import asyncpg
import httpx
import orjson
import psutil
import pytest

from services.platform.settings import Settings
from tests.support import Service, TestDatabase, eventually
from tests.support.query import EPOCH, LARGE, STREAMING, backends, fill, owner, query_settings
from tests.support.servers import one_mode

MILLION = 1_000_000
MIB = 1024 * 1024

pytestmark = one_mode()

Start = Callable[[str, Settings], Service]


def plain_client() -> httpx.AsyncClient:
    """Return a client to which nothing is compressed: what it does not read is then more than buffers hold."""
    return httpx.AsyncClient(timeout=60, headers={"Accept-Encoding": "identity"})


def first_million(service: Service, path: str = "get_range") -> str:
    # Not from the zero on, so that the least value is one that nothing gives by itself.
    start, end = (f"{EPOCH + timedelta(seconds=each):%Y-%m-%dT%H:%M:%SZ}" for each in (1, MILLION + 1))
    return f"{service.url}/{path}?sensor_id={quote(LARGE)}&start={start}&end={end}"


STALLED = f"{STREAMING} and wait_event = 'ClientWrite'"


async def test_a_million_rows_come_out_in_order_and_memory_stays_flat(large: TestDatabase, service: Start) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        assert query.process
        process = psutil.Process(query.process.pid)
        await client.get(first_million(query, "min"))
        before = process.memory_info().rss
        most = 0
        body = bytearray()
        async with client.stream("GET", first_million(query)) as response:
            async for part in response.aiter_raw():
                body += part
                most = max(most, process.memory_info().rss)
    rows = orjson.loads(bytes(body))["data"]
    assert [row["value"] for row in rows] == [number / 7 for number in range(1, MILLION + 1)]
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    assert most - before < 50 * MIB


async def test_a_client_that_does_not_read_holds_the_rows_in_the_database(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        assert query.process
        process = psutil.Process(query.process.pid)
        before = process.memory_info().rss
        async with client.stream("GET", first_million(query)) as response:
            await eventually(lambda: backends(watching, STALLED))
            assert process.memory_info().rss - before < 50 * MIB
            body = await response.aread()
    assert len(orjson.loads(body)["data"]) == MILLION


async def test_a_client_that_never_reads_loses_its_turn(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    settings = query_settings(large, statement_timeout=1.5)
    async with service("query", settings) as query, plain_client() as client:
        async with client.stream("GET", first_million(query)) as response:
            assert response.status_code == 200
            await eventually(lambda: backends(watching, STALLED))
            await eventually(lambda: none(watching, STREAMING))
            with pytest.raises(httpx.RemoteProtocolError):
                await response.aread()
        assert "query_timeout" in query.log_text()


async def test_a_failure_on_the_way_breaks_the_answer_off(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        async with client.stream("GET", first_million(query)) as response:
            assert response.status_code == 200
            [backend] = await eventually(lambda: backends(watching, STALLED))
            await watching.execute("select pg_terminate_backend($1)", backend)
            with pytest.raises(httpx.RemoteProtocolError):
                await response.aread()
        least = await client.get(first_million(query, "min"))
        assert least.json() == {"min_value": 1 / 7}
        assert "Traceback" not in query.log_text()
        assert "an answer broke off" in query.log_text()


async def test_a_client_that_leaves_ends_the_statement_and_the_connection_lives_on(
    large: TestDatabase, watching: asyncpg.Connection, service: Start
) -> None:
    settings = query_settings(large)
    settings = settings.model_copy(update={"database": settings.database.model_copy(update={"pool_size": 1})})
    async with service("query", settings) as query, plain_client() as client:
        async with client.stream("GET", first_million(query)) as response:
            assert response.status_code == 200
            [backend] = await eventually(lambda: backends(watching, STALLED))
        await eventually(lambda: backends(watching, f"state = 'idle' and pid = {backend}"))
        least = await client.get(first_million(query, "min"))
        assert least.json() == {"min_value": 1 / 7}
        assert backend in await backends(watching, "state = 'idle'"), "it was the same connection"
        assert "Traceback" not in query.log_text()


@pytest.mark.parametrize("path", ["get_range", "min", "hourly", "series"])
async def test_a_client_that_leaves_before_the_answer_ends_the_statement(
    large: TestDatabase, watching: asyncpg.Connection, service: Start, path: str
) -> None:
    async with service("query", query_settings(large)) as query, plain_client() as client:
        async with owner(large) as locking, locking.transaction():
            await locking.execute("lock table sensor_data in access exclusive mode")
            asked = asyncio.create_task(client.get(first_million(query, path)))
            await eventually(lambda: backends(watching, "wait_event_type = 'Lock'"))
            asked.cancel()
            await eventually(lambda: none(watching, "wait_event_type = 'Lock'"))
        assert (await client.get(first_million(query, "min"))).json() == {"min_value": 1 / 7}
        assert "Traceback" not in query.log_text()


async def none(connection: asyncpg.Connection, where: str) -> bool:
    """Tell whether there is no such backend."""
    return not await backends(connection, where)


async def test_an_answer_larger_than_allowed_is_refused_or_breaks_off(database: TestDatabase, service: Start) -> None:
    await fill(database, "big", range(20_000), 7)
    asked = {"sensor_id": "big", "start": EPOCH.isoformat(), "end": (EPOCH + timedelta(days=1)).isoformat()}
    async with httpx.AsyncClient(timeout=30) as client:
        async with service("query", query_settings(database, max_answer_bytes=20_000)) as query:
            for route in ("/get_range", "/series"):
                refused = await client.get(f"{query.url}{route}", params=asked)
                assert (refused.status_code, refused.json()["code"]) == (422, "answer_too_large")
                assert "MILLRACE_QUERY_MAX_ANSWER_BYTES" in refused.json()["detail"]
                assert (await client.get(f"{query.url}{route}", params=asked | {"limit": "100"})).status_code == 200
        async with service("query", query_settings(database, max_answer_bytes=500_000)) as query:
            for form in ("json", "csv"):
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(f"{query.url}/series", params=asked | {"format": form})
            assert '"code": "answer_too_large"' in query.log_text()
            assert "Traceback" not in query.log_text()
