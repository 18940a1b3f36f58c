"""Sensors chosen by asking the catalogue: rows that SQL leaves, checked apart from the loop, no more than needed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import numpy as np

from ..fetch import Fetcher
from ..plan import Plan
from ..table import Table
from .plans import chosen_ids
from .selection import Selection, selection
from .selector import Match

__all__ = ["TooManyError", "chosen_rows", "ids_of"]

_PART = 512
"""Rows that are checked at a time, so that a check whose asker has gone ends soon."""


class TooManyError(ValueError):
    """More sensors are chosen than a question may be about; the message names the setting."""


async def chosen_rows(
    fetcher: Fetcher, plan: Plan, chosen: Selection, most: int, whose: str, *, distinct: str | None = None
) -> Table:
    """Return the first rows of a plan that are chosen, at most so many; one for each text of a `distinct` column.

    Raises:
        Problem: database_unavailable, query_timeout.
    """
    found = [Table.of(plan.kinds, ())]
    rows = 0
    async with fetcher.fetch(plan, whose) as batches, contextlib.aclosing(_checked(batches, chosen)) as tables:
        async for table in tables:
            if distinct is not None:
                table = _changes(table, distinct, found[-1])  # noqa: PLW2901 -- what is left of it
            if len(table):
                found.append(table.head(most - rows))
                rows += len(found[-1])
            if rows >= most:
                break
    return Table.joined(found)


async def ids_of(
    fetcher: Fetcher, given: Sequence[str], matches: Sequence[Match], most: int, named: str, *, whose: str
) -> list[str]:
    """Return the ids that are given or chosen, in the order of their code points.

    Args:
        fetcher: asks the catalogue.
        given: ids, of which it need not know.
        matches: choose sensors of the catalogue.
        most: how many there may be.
        named: the setting that says so.
        whose: share of the connections it counts to.

    Raises:
        TooManyError: there are more.
        Problem: database_unavailable, query_timeout.
    """
    chosen = selection(matches)
    table = await chosen_rows(fetcher, chosen_ids(chosen, most), chosen, most + 1, whose)
    texts = table["sensor_id"].texts
    ids = sorted({*given, *(texts[place] for place in table["sensor_id"].values.tolist())})
    if len(ids) > most:
        raise TooManyError(
            f"chooses more than the {most} sensors that {named} allows; choose fewer, such as by a further label, "
            "or ask in parts: /sensors lists them page by page"
        )
    return ids


def _changes(table: Table, name: str, before: Table) -> Table:
    """Return the rows that have another text than the row before them, where equal ones follow each other."""
    column, last = table[name], before[name]
    changed = np.diff(column.values, prepend=-1) != 0
    if len(table) and len(before):
        changed[0] = column.texts[column.values[0]] != last.texts[last.values[-1]]
    return table.taken(changed)


async def _checked(batches: AsyncIterator[Table], chosen: Selection) -> AsyncGenerator[Table, None]:
    async for batch in batches:
        if not chosen.checks:
            yield batch
            continue
        for begin in range(0, len(batch), _PART):
            yield await asyncio.to_thread(chosen.chosen, batch.taken(slice(begin, begin + _PART)))
