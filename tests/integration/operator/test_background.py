"""Work beside the passes: how its end is told to the next pass."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from services.operator.reconcile.background import Background, Work
from services.operator.reconcile.errors import refusing
from services.operator.refusals import Reason, Refusal
from tests.support import TestDatabase


async def ended(database: TestDatabase, work: Work) -> Background:
    done = asyncio.Event()
    background = Background(done.set)
    assert background.offer("hourly", database.settings, work) is None
    async with asyncio.timeout(30):
        await done.wait()
    return background


def working(act: Callable[[asyncpg.Connection], Coroutine[Any, Any, Refusal | None]]) -> Work:
    async def work(connection: asyncpg.Connection, guard: asyncpg.Connection) -> Refusal | None:
        assert await guard.fetchval("select true")
        return await act(connection)

    return work


async def never(_: asyncpg.Connection) -> Refusal | None:
    pytest.fail("it was begun again at once")


async def test_what_a_person_has_to_decide_is_a_refusal(database: TestDatabase) -> None:
    async def act(_: asyncpg.Connection) -> Refusal | None:
        return Refusal(Reason.REBUILD_LOSES_HISTORY, "it would lose that")

    background = await ended(database, working(act))
    with pytest.raises(Refusal, match="lose that") as told:
        background.offer("hourly", database.settings, working(never))
    assert told.value.reason is Reason.REBUILD_LOSES_HISTORY


async def test_what_the_database_refuses_is_a_problem_and_tried_again_later(database: TestDatabase) -> None:
    async def act(connection: asyncpg.Connection) -> Refusal | None:
        with refusing("fill hourly"):
            await connection.execute("select from absent")
        return None

    background = await ended(database, working(act))
    problem = background.offer("hourly", database.settings, working(never))
    assert problem == 'fill hourly: relation "absent" does not exist'
    await background.withdraw("hourly")
    assert background.offer("hourly", database.settings, working(act)) is None
    await background.stop()


async def test_a_lost_connection_is_a_problem_by_its_own_words(database: TestDatabase) -> None:
    async def act(connection: asyncpg.Connection) -> Refusal | None:
        with refusing("fill hourly"):
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        return None

    background = await ended(database, working(act))
    problem = background.offer("hourly", database.settings, working(never))
    assert problem
    assert not problem.startswith("fill hourly")


async def test_what_went_well_leaves_nothing(database: TestDatabase) -> None:
    async def act(connection: asyncpg.Connection) -> Refusal | None:
        await connection.execute("select 1")
        return None

    background = await ended(database, working(act))
    assert background.offer("other", database.settings, working(act)) is None
    await background.stop()
