"""From a question's batches to the rows of its answer: merged, thinned out, cut to a page, laid out."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from services.contract.instants import micros_of

from ..grid import EPOCHS
from ..table import Column, Kind, Table
from .cursor import SeriesPage
from .form import Form
from .groups import ALL, EACH, Groups
from .merge import Merge
from .points import CellReducer, LttbReducer, Reducer
from .question import SeriesQuestion
from .wide import Wide, wide_name

__all__ = ["columns_of", "keys_of", "rows_of", "this_page"]

_GATHERED = 65_536
"""Readings that are thinned out together: what is done to a batch costs as much as thousands of them."""

_MERGED = 16_384
"""Rows that are merged together, for the same reason."""


def keys_of(question: SeriesQuestion) -> tuple[str, ...]:
    """Return the columns that tell apart what rows are of: sensors, or groups of them by labels."""
    return () if question.form.layout == "wide" or question.by == (ALL,) else question.by


def columns_of(question: SeriesQuestion, groups: Groups) -> Mapping[str, Kind]:
    """Return the answer's columns and what they hold, known before its first row."""
    timestamp = {"timestamp": Kind.INSTANT if question.form.epoch is None else Kind.INTEGER}
    told = dict.fromkeys(keys_of(question), Kind.TEXT) | timestamp
    if question.grid is None:
        return told | {"value": Kind.FLOAT}
    kinds = _kinds(question)
    if question.form.layout == "wide":
        return told | {wide_name(group, name): kind for group in groups.names() for name, kind in kinds.items()}
    return told | kinds


def _kinds(question: SeriesQuestion) -> dict[str, Kind]:
    """Return what each aggregate holds: a count is whole where no fill puts something else beside it."""
    fill = question.fill
    whole = fill.is_integer() and abs(fill) < 2**53 if isinstance(fill, float) else fill != "linear"
    return {name: Kind.INTEGER if name == "count" and whole else Kind.FLOAT for name in question.aggregates}


def this_page(question: SeriesQuestion) -> SeriesQuestion:
    """Return the question of one page: without the sensors of pages before, and without those that it cannot reach."""
    form, sensors = question.form, question.sensors
    if form.layout == "wide" or question.by != (EACH,):
        # Rows are of many sensors.
        return question
    if form.after:
        sensors = tuple(sensor for sensor in sensors if sensor >= form.after.sensor)
    if form.limit is not None and question.grid is not None and question.fill != "none":
        # Each sensor has all buckets; of the first one some may be on the page before.
        sensors = sensors[: -(-(form.limit + 1) // len(question.grid)) + 1]
    return replace(question, sensors=sensors)


async def rows_of(
    question: SeriesQuestion, groups: Groups, batches: AsyncIterator[Table], page: SeriesPage, held: int
) -> AsyncGenerator[Table, None]:
    """Yield the rows of an answer, those of its page; there is at least one in each table.

    `held` is how many readings of a sensor may be held.

    Raises:
        TooManyHeldError: more readings would have to be held than may be.
    """
    columns = columns_of(question, groups)
    tables = _thinned(question, batches, held) if question.grid is None else _merged(question, groups, batches)
    async for table in tables:
        part = page.take(table)
        if len(part):
            counted = _counted(part, question.form)
            yield Table({name: _cast(counted[name], kind) for name, kind in columns.items()})


def _counted(table: Table, form: Form) -> Table:
    """Return rows with their instants as counts from 1970 on where the form wants that, before it down to the next."""
    if form.epoch is None:
        return table
    each = EPOCHS[form.epoch]
    return Table({
        name: Column(Kind.INTEGER, column.values // each, column.nulls) if column.kind is Kind.INSTANT else column
        for name, column in table.columns.items()
    })  # fmt: skip


def _cast(column: Column, kind: Kind) -> Column:
    """Return a column of numbers as another kind of them."""
    if column.kind is Kind.INTEGER and kind is Kind.FLOAT:
        return Column(kind, column.values.astype(np.float64), column.nulls)
    return column


async def _thinned(question: SeriesQuestion, batches: AsyncIterator[Table], held: int) -> AsyncGenerator[Table, None]:
    """Yield readings, or of each sensor's no more than are asked for."""
    reducer = _reducer(question, held)
    if reducer is None:
        async for table in batches:
            yield table
        return
    async with contextlib.aclosing(_gathered(batches, _GATHERED)) as tables:
        async for table in tables:
            for kept in await asyncio.to_thread(_listed, reducer.take, table):
                yield kept
    for kept in await asyncio.to_thread(_listed, reducer.rest):
        yield kept


def _listed(kept: Callable[..., Iterator[Table]], *taken: Table) -> list[Table]:
    """Return all that is kept: what an iterator yields is made only when it is asked for."""
    return list(kept(*taken))


async def _gathered(batches: AsyncIterator[Table], least: int) -> AsyncGenerator[Table, None]:
    """Yield batches joined to tables of so many rows or more; the last one may be shorter."""
    gathered: list[Table] = []
    rows = 0
    async for batch in batches:
        gathered.append(batch)
        rows += len(batch)
        if rows >= least:
            yield Table.joined(gathered)
            gathered, rows = [], 0
    if gathered:
        yield Table.joined(gathered)


def _reducer(question: SeriesQuestion, held: int) -> Reducer | None:
    form = question.form
    if form.points is None:
        return None
    if form.downsample == "lttb":
        return LttbReducer(form.points, held)
    start, end = micros_of(question.start), micros_of(question.end)
    return CellReducer(start, end, form.points, ends=form.downsample == "m4")


async def _merged(
    question: SeriesQuestion, groups: Groups, batches: AsyncIterator[Table]
) -> AsyncGenerator[Table, None]:
    assert question.grid is not None  # noqa: S101 -- narrows for the type checker
    merge = Merge(question.grid, len(question.sensors), question.aggregates, len(groups), question.span)
    async with contextlib.aclosing(_gathered(batches, _MERGED)) as parts:
        async for part in parts:
            if len(part) >= _MERGED:
                await asyncio.to_thread(merge.add, part)
            else:
                # Few are merged sooner than another thread begins.
                merge.add(part)
    tables = _laid(question, groups, merge)
    # A large grid is made without waiting for anybody; others have their turn meanwhile.
    while (table := await asyncio.to_thread(next, tables, None)) is not None:
        yield table


def _laid(question: SeriesQuestion, groups: Groups, merge: Merge) -> Iterator[Table]:
    """Yield a row for each group and bucket, or a row for each bucket."""
    assert question.grid is not None  # noqa: S101 -- narrows for the type checker
    descending = question.form.descending
    if question.form.layout != "wide":
        yield from merge.tables(groups, question.zone, question.fill, descending=descending)
        return
    wide = Wide(groups.names(), question.grid.edges[:-1], _kinds(question))
    for table in merge.tables(groups.named(), question.zone, question.fill):
        wide.add(table)
    yield from wide.tables(question.zone, descending=descending)
