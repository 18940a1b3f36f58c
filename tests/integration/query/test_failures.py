"""What a client meets while the database is away, busy, silent or not ready: a problem, and soon."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from services.database.schema.apply import apply
from services.platform.http.errors import Problem
from services.platform.settings import Settings
from services.query.fetch import Fetcher
from tests.support import TestDatabase, eventually, free_port
from tests.support.proxy import moved, proxied, server_of
from tests.support.query import asking, owner, query_settings

RANGE = "sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T22:00:00Z"
QUESTIONS = [f"/get_range?{RANGE}", f"/min?{RANGE}", f"/hourly?{RANGE}", f"/series?{RANGE}&agg=avg,first"]


def elsewhere(settings: Settings, **database: Any) -> Settings:
    """Return the settings with other values for the database."""
    return settings.model_copy(update={"database": settings.database.model_copy(update=database)})


async def refused(client: httpx.AsyncClient, url: str, code: str, *words: str) -> None:
    response = await client.get(url)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, code), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert all(word in problem["detail"] for word in words), problem
    assert code == "query_timeout" or int(response.headers["retry-after"]) > 0


async def test_questions_wait_for_the_schema_and_say_so(empty_database: TestDatabase) -> None:
    async with asking(query_settings(empty_database), ready=False) as client:
        for url in QUESTIONS:
            await refused(client, url, "database_unavailable", "not ready")

        async def reasons() -> bool:
            response = await client.get("/readyz")
            assert response.status_code == 503
            # Where this is the server's first database, the reader's role is absent, too.
            reason = response.json()["reasons"]["database"]
            return "no schema" in reason or "millrace_reader" in reason

        await eventually(reasons)
        assert (await client.get("/healthz")).status_code == 200
        await apply(empty_database.settings)

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready)
        for url in QUESTIONS:
            assert (await client.get(url)).status_code == 200


MISSING = {
    "the hours": ("drop materialized view measurement_hourly", "measurement_hourly", QUESTIONS[2]),
    "the hours' function": ("drop function hours_from_rows cascade", "hours_from_rows", QUESTIONS[2]),
    "the rights to the rows": ("revoke select on sensor_data from millrace_reader", "sensor_data", QUESTIONS[1]),
    "the rights to a function": (
        "revoke execute on function hours_from_rows from millrace_reader",
        "hours_from_rows",
        QUESTIONS[2],
    ),
}


@pytest.mark.parametrize("what", MISSING)
async def test_what_the_schema_lacks_is_named_by_the_answer_and_by_readiness(
    database: TestDatabase, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.query.app._LOOK_INTERVAL", 0.5)
    change, named, question = MISSING[what]
    if database.mode != "timescaledb" and named == "measurement_hourly":
        change, named = "revoke select on sensor_rollup_1h from millrace_reader", "sensor_rollup_1h"
    async with asking(query_settings(database)) as client, owner(database) as connection:
        assert [(await client.get(url)).status_code for url in QUESTIONS] == [200] * 4
        await connection.execute(change)
        await refused(client, question, "database_unavailable", named, "millrace schema apply")

        async def reasons() -> bool:
            response = await client.get("/readyz")
            return response.status_code == 503 and named in response.json()["reasons"]["database"]

        await eventually(reasons)
        await apply(database.settings)

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready)
        assert [(await client.get(url)).status_code for url in QUESTIONS] == [200] * 4


async def test_a_server_that_is_not_there_is_named_by_readiness(database: TestDatabase) -> None:
    async with asking(moved(query_settings(database), free_port()), ready=False) as client:

        async def reasons() -> bool:
            return "cannot be reached" in (await client.get("/readyz")).json()["reasons"]["database"]

        await eventually(reasons)
        for url in QUESTIONS:
            await refused(client, url, "database_unavailable", "cannot be reached")


async def test_a_database_that_goes_away_and_comes_back(database: TestDatabase) -> None:
    async with asking(query_settings(database)) as client:
        maintenance = await asyncpg.connect(database.server.superuser_url)
        try:
            assert (await client.get(QUESTIONS[1])).status_code == 200
            await maintenance.execute(f"alter database {database.name} allow_connections false")
            await maintenance.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1", database.name
            )
            for url in QUESTIONS:
                await refused(client, url, "database_unavailable", "try again")
            await maintenance.execute(f"alter database {database.name} allow_connections true")
        finally:
            await maintenance.close()
        for url in QUESTIONS:
            assert (await client.get(url)).status_code == 200


async def test_a_silent_network_costs_no_more_than_the_timeouts(database: TestDatabase) -> None:
    there = query_settings(database, statement_timeout=1)
    async with proxied(*server_of(there, "reader")) as proxy:
        settings = moved(there, proxy.port, connect_timeout=0.5)
        async with asking(settings) as client:
            assert (await client.get(QUESTIONS[1])).status_code == 200
            proxy.open.clear()
            for question in QUESTIONS:
                async with asyncio.timeout(5):
                    await refused(client, question, "database_unavailable")
            proxy.open.set()

            async def answered() -> bool:
                return (await client.get(QUESTIONS[1])).status_code == 200

            await eventually(answered)


@pytest.mark.parametrize("question", QUESTIONS, ids=["get_range", "min", "hourly", "series"])
async def test_a_long_statement_ends_at_its_timeout(database: TestDatabase, question: str) -> None:
    async with asking(query_settings(database, statement_timeout=0.3)) as client, owner(database) as connection:
        async with connection.transaction():
            await connection.execute("lock table sensor_data, late_ranges in access exclusive mode")
            await refused(client, question, "query_timeout", "0.3 s")
        assert (await client.get(question)).status_code == 200


async def test_a_busy_pool_refuses_within_its_timeout(database: TestDatabase) -> None:
    fetcher = Fetcher(elsewhere(query_settings(database), pool_size=1, connect_timeout=0.5))
    try:
        async with fetcher._connection(None, "somebody"), asyncio.timeout(5):
            with pytest.raises(Problem, match="no connection") as other:
                async with fetcher._connection(None, "somebody else"):
                    raise AssertionError
            with pytest.raises(Problem, match="MILLRACE_QUERY_CALLER_SHARE") as same:
                async with fetcher._connection(None, "somebody"):
                    raise AssertionError
        assert (other.value.code, same.value.code) == ("database_unavailable", "rate_limited")
    finally:
        fetcher.close()


async def test_connections_can_only_read_and_have_a_clock(database: TestDatabase) -> None:
    fetcher = Fetcher(query_settings(database, statement_timeout=7))
    try:
        async with fetcher._connection(None) as connection:
            assert not connection.pooled
            assert await connection.fetchval("select current_user") == "millrace_reader"
            assert await connection.fetchval("show transaction_read_only") == "on"
            assert await connection.fetchval("show statement_timeout") == "7s"
    finally:
        fetcher.close()
