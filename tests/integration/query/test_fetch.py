"""Plans of any columns against a real database, by prepared statement and by COPY."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.platform.http.errors import Problem
from services.query.fetch import Fetcher
from services.query.plan import Plan
from services.query.table import Kind
from tests.support import TestDatabase
from tests.support.query import EPOCH, query_settings
from tests.unit.query.test_table import items_of

FEW = 10
KINDS = {"number": Kind.INTEGER, "name": Kind.TEXT, "at": Kind.INSTANT, "value": Kind.FLOAT}
HOLED = """
select number::bigint, case when number % 3 > 0 then $1 || number % 5 end,
  case when number % 4 > 0 then timestamptz '2025-10-22 21:00:00Z' + number * interval '1 microsecond' end,
  case when number % 5 > 0 then number / 4.0::double precision end
from generate_series(1, $2::integer) as number order by number
"""
NAME = "it's \\ ☃"


@pytest.fixture
async def fetcher(database: TestDatabase) -> AsyncIterator[Fetcher]:
    """A fetcher of one connection."""
    settings = query_settings(database)
    one = settings.database.model_copy(update={"pool_size": 1})
    made = Fetcher(settings.model_copy(update={"database": one}))
    yield made
    made.close()


def holed(rows: int, limit: int | None = None) -> Plan:
    return Plan(HOLED, (NAME, rows), KINDS, FEW, limit)


def expected(rows: int) -> list[tuple[Any, ...]]:
    return [
        (
            number,
            f"{NAME}{number % 5}" if number % 3 else None,
            EPOCH + timedelta(microseconds=number) if number % 4 else None,
            number / 4 if number % 5 else None,
        )
        for number in range(1, rows + 1)
    ]


async def fetched(fetcher: Fetcher, plan: Plan) -> list[tuple[Any, ...]]:
    async with fetcher.fetch(plan) as batches:
        tables = [table async for table in batches]
    assert all(len(table) for table in tables)
    return [row for table in tables for row in zip(*map(items_of, table.columns.values()), strict=True)]


async def prepared(fetcher: Fetcher) -> bool:
    """Tell whether the statement has been prepared on the fetcher's only connection."""
    async with fetcher._connection(None) as connection:
        found: bool = await connection.fetchval(
            "select exists (select from pg_prepared_statements where statement like $1)", f"{HOLED}%"
        )
    return found


@pytest.mark.parametrize("rows", [0, 1, FEW, FEW + 1, 5_000])
async def test_texts_and_nulls_come_whole_by_both_ways(fetcher: Fetcher, rows: int) -> None:
    assert await fetched(fetcher, holed(rows)) == expected(rows)
    assert await prepared(fetcher), "a few rows are asked for first where no limit is named"
    for limit in {1, FEW, rows or 1}:
        assert await fetched(fetcher, holed(rows, limit)) == expected(min(rows, limit))


async def test_a_limit_that_is_not_small_is_not_begun_twice(fetcher: Fetcher) -> None:
    assert await fetched(fetcher, holed(5_000, FEW + 1)) == expected(FEW + 1)
    assert not await prepared(fetcher)


@pytest.mark.parametrize("rows", [3, 500_000])
async def test_whoever_leaves_early_leaves_the_connection_usable(fetcher: Fetcher, rows: int) -> None:
    async with fetcher._connection(None) as connection:
        backend = connection.get_server_pid()
    async with fetcher.fetch(holed(rows)) as batches:
        assert len(await anext(batches))
    async with fetcher._connection(None) as connection:
        assert connection.get_server_pid() == backend


@pytest.mark.parametrize("limit", [None, FEW + 1])
async def test_a_statement_that_fails_is_a_problem_before_the_block(fetcher: Fetcher, limit: int | None) -> None:
    wrong = Plan("select 1 / $1::bigint", (0,), {"number": Kind.INTEGER}, FEW, limit)
    with pytest.raises(Problem, match="failed during"):
        async with fetcher.fetch(wrong):
            raise AssertionError
