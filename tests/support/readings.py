"""Entries and rows, made quickly."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg
import numpy as np

from services.contract import Batch, Columns, Entry, encode, member_id, new_group
from services.platform.settings import DatabaseSettings
from services.platform.stream import Stream

__all__ = ["add_entry", "columns", "entry_of", "raw_entries", "rows_in", "spans", "sql"]

Row = tuple[str, int, float]
"""A reading: sensor id, microseconds since 1970, value."""


def columns(rows: Sequence[Row]) -> Columns:
    """Return readings as columns."""
    ids = list(dict.fromkeys(row[0] for row in rows))
    return Columns(
        ids,
        np.array([ids.index(row[0]) for row in rows], np.uint32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )


def entry_of(*batches: Sequence[Row], keys: Sequence[uuid.UUID | None] = (), **members: Any) -> Entry:
    """Return an entry of `batches`; a batch with a key stands for itself, the others share a group."""
    group = new_group()
    named = list(keys) + [None] * (len(batches) - len(keys))
    now = time.time_ns() // 1000
    made = [
        Batch(key or member_id(group, number), len(rows), **{"accepted_at": now, **members})
        for number, (rows, key) in enumerate(zip(batches, named, strict=True), 1)
    ]
    return Entry(group, made, Columns.concat([columns(rows) for rows in batches]))


def spans(entry: Entry) -> Iterator[tuple[Batch, slice]]:
    """Yield each batch with the rows that are its own."""
    start = 0
    for batch in entry.batches:
        yield batch, slice(start, start + batch.rows)
        start += batch.rows


async def add_entry(stream: Stream, entry: Entry) -> None:
    """Put an entry into the stream as ingest does."""
    marks: dict[uuid.UUID, bytes] = {}
    for batch in entry.batches:
        ledger_id = entry.ledger_id(batch)
        keyed = ledger_id == batch.batch_id
        marks[ledger_id] = (batch.digest or b"") if keyed else b"%d" % (int(marks.get(ledger_id, b"0")) + 1)
    assert not await stream.add(encode(entry), marks)


async def raw_entries(stream: Stream, name: str | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of the stream, or of another one such as its dead letters."""
    found: Any = await stream.client.xrange(name or stream.names.stream)
    return list(found)


async def sql(database: DatabaseSettings, query: str, *arguments: Any) -> list[Any]:
    """Run one statement as the owner and return its rows."""
    connection = await asyncpg.connect(database.owner_url.get_secret_value())
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def rows_in(database: DatabaseSettings) -> list[Row]:
    """Return all readings of a database, sorted."""
    query = "select sensor_id, (extract(epoch from timestamp) * 1000000)::bigint, value from sensor_data"
    return sorted(tuple(row) for row in await sql(database, query))
