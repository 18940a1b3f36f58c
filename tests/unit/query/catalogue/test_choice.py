"""Rows that SQL leaves are gathered part by part, however many parts there are."""

import contextlib
from collections.abc import AsyncIterator
from typing import cast

from services.query.catalogue.choice import chosen_rows
from services.query.catalogue.plans import chosen_ids
from services.query.catalogue.selection import selection
from services.query.catalogue.selector import parse_all
from services.query.fetch import Fetcher
from services.query.plan import Plan
from services.query.table import Table

PARTS = 30_000


class OneByOne:
    """Gives each row of an answer as a batch of its own."""

    @contextlib.asynccontextmanager
    async def fetch(self, asked: Plan, _asker: str) -> AsyncIterator[AsyncIterator[Table]]:
        async def batches() -> AsyncIterator[Table]:
            for number in range(PARTS):
                yield Table.of(asked.kinds, [(f"s{number // 2:05}",)])

        yield batches()


async def test_many_parts_are_each_counted_once() -> None:
    """Of pairs of parts there are so many that this would take minutes."""
    chosen = selection(parse_all(["*"]))
    for most, distinct, last in [(PARTS, None, PARTS // 2 - 1), (100, None, 49), (100, "sensor_id", 99)]:
        table = await chosen_rows(
            cast(Fetcher, OneByOne()), chosen_ids(chosen, most), chosen, most, "", distinct=distinct
        )
        assert len(table) == most
        column = table["sensor_id"]
        assert column.texts[column.values[-1]] == f"s{last:05}"
