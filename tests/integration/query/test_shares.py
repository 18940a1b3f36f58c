"""Questions of one caller leave connections to others."""

import asyncio

import httpx
import pytest
from pydantic import SecretStr

from services.platform.http.errors import Problem
from services.query.app import create_app
from services.query.fetch import Fetcher
from services.query.plan import Question, least
from services.query.shares import Shares
from tests.support import TestDatabase, eventually, free_port
from tests.support.query import EPOCH, owner, query_settings

RANGE = "sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T22:00:00Z"


async def test_a_caller_waits_for_its_own_share_and_nobody_elses() -> None:
    shares = Shares(2)
    running: list[str] = []
    done = asyncio.Event()

    async def ask(name: str) -> None:
        async with shares.turn(name, 10.0):
            running.append(name)
            await done.wait()

    asked = [asyncio.create_task(ask(name)) for name in ("a", "a", "a", "b")]

    async def three_run() -> bool:
        return len(running) == 3

    await eventually(three_run)
    assert sorted(running) == ["a", "a", "b"]
    with pytest.raises(Problem, match="MILLRACE_QUERY_CALLER_SHARE"):
        async with shares.turn("a", 0.01):
            raise AssertionError
    asked[2].cancel()
    done.set()
    await asyncio.gather(*asked, return_exceptions=True)
    assert not shares._shares


async def test_who_asks_much_is_refused_by_name_and_others_are_answered(database: TestDatabase) -> None:
    settings = query_settings(database, statement_timeout=20, caller_share=0.5)
    section = settings.database.model_copy(update={"pool_size": 4, "connect_timeout": 1.0})
    app = create_app(settings.model_copy(update={"database": section}))

    def client(address: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://query")

    async with app.router.lifespan_context(app), client("10.0.0.1") as greedy, client("10.0.0.2") as other:

        async def ready() -> bool:
            return (await other.get("/readyz")).status_code == 200

        await eventually(ready)
        async with owner(database) as connection, connection.transaction():
            await connection.execute("lock table sensor_data in access exclusive mode")
            asked = [asyncio.create_task(greedy.get(f"/series?{RANGE}")) for _ in range(6)]
            # Two hold the share; four wait and are refused.

            async def four_are_done() -> bool:
                return sum(task.done() for task in asked) == 4

            await eventually(four_are_done)
            refused = [task for task in asked if task.done()]
            for task in refused:
                problem = task.result().json()
                assert (task.result().status_code, problem["code"]) == (429, "rate_limited")
                assert "MILLRACE_QUERY_CALLER_SHARE" in problem["detail"]
            answering = asyncio.create_task(other.get(f"/min?{RANGE}"))

            async def at_work() -> bool:
                found: int = await connection.fetchval("select count(*) from pg_locks where not granted")
                return found == 3

            # Of the other caller nothing waits for a connection, but for the lock.
            await eventually(at_work)
        assert (await answering).status_code == 200
        assert [(await task).status_code for task in asked if task not in refused] == [200, 200]


async def test_a_database_that_is_away_is_not_laid_to_a_callers_share(database: TestDatabase) -> None:
    settings = query_settings(database, caller_share=0.5)
    nobody = SecretStr(f"postgresql://millrace_reader:x@127.0.0.1:{free_port()}/none")
    section = settings.database.model_copy(update={"reader_url": nobody, "pool_size": 4, "connect_timeout": 2.0})
    fetcher = Fetcher(settings.model_copy(update={"database": section}))

    async def ask() -> str:
        with pytest.raises(Problem) as refused:
            async with fetcher.fetch(least(Question("a", EPOCH, EPOCH)), "somebody"):
                raise AssertionError
        return refused.value.code

    assert set(await asyncio.gather(*(ask() for _ in range(6)))) == {"database_unavailable"}
