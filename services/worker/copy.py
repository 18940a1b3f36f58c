"""Columns to PostgreSQL's binary COPY, vectorised: rows with ids of one length are one fixed-width record."""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns
from services.contract.instants import POSTGRES_EPOCH, instant_of

__all__ = ["HOUR", "binary_copy", "copy", "hour_ranges", "insert", "ordered", "within"]

HOUR = 3_600_000_000
"""Microseconds of an hour bucket."""

# Without RETURNING, Citus would make a COPY of it.
_INSERT = """
insert into sensor_data (timestamp, sensor_id, value)
select * from unnest($1::timestamptz[], $2::text[], $3::float8[])
returning null
"""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


def ordered(columns: Columns) -> Columns:
    """Return the rows sorted by sensor, then by time; rows of one sensor and instant keep their order.

    Sensors are ordered by the length of their UTF-8 id, then by its bytes: any order keeps a sensor's rows
    together, which is what the columnstore wants, and this one lets `binary_copy` work in blocks.
    """
    encoded = [sensor_id.encode() for sensor_id in columns.sensor_ids]
    by_id = sorted(range(len(encoded)), key=list(zip(map(len, encoded), encoded, strict=True)).__getitem__)
    rank = np.empty(len(by_id), np.uint16 if len(by_id) <= 1 << 16 else np.uint32)
    rank[by_id] = np.arange(len(by_id))
    ranks = rank[columns.index]
    by_time = np.argsort(columns.timestamps, kind="stable")
    rows = by_time[np.argsort(ranks[by_time], kind="stable")]
    sensor_ids = [columns.sensor_ids[code] for code in by_id]
    return Columns(sensor_ids, ranks[rows].astype(np.uint32), columns.timestamps[rows], columns.values[rows])


async def copy(connection: Any, rows: Columns) -> None:
    """Copy rows as `ordered` leaves them into the table."""

    async def blocks() -> AsyncIterator[bytes | memoryview]:
        for block in binary_copy(rows):
            yield block

    columns = ["timestamp", "sensor_id", "value"]
    await connection.copy_to_table("sensor_data", source=blocks(), columns=columns, format="binary")


async def insert(connection: Any, rows: Columns) -> None:
    """Insert rows one by one: slowly, and so that what a node of Citus refuses is told with its class."""
    timestamps = [instant_of(timestamp) for timestamp in rows.timestamps.tolist()]
    sensors = [rows.sensor_ids[code] for code in rows.index.tolist()]
    await connection.execute(_INSERT, timestamps, sensors, rows.values.tolist())


def binary_copy(columns: Columns) -> Iterator[bytes | memoryview]:
    """Yield a binary COPY of (timestamp, sensor_id, value) for rows as `ordered` leaves them, in contiguous pieces.

    Follows the PostgreSQL documentation of COPY, "Binary Format".
    """
    encoded = [sensor_id.encode() for sensor_id in columns.sensor_ids]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    yield _HEADER
    for length in np.unique(lengths).tolist():
        first, end = np.searchsorted(lengths, [length, length + 1]).tolist()
        start, stop = np.searchsorted(columns.index, np.array([first, end], np.uint32)).tolist()
        if start < stop:
            yield _records(columns.take(slice(start, stop)), np.array(encoded[first:end], f"S{length}"), first)
    yield _TRAILER


def _records(columns: Columns, ids: NDArray[np.bytes_], first: int) -> memoryview:
    """Return a record a row, each its sensor's with time and value put in: whole records are copied the quickest."""
    layout = np.dtype(
        [
            ("fields", ">i2"),
            ("time_size", ">i4"),
            ("time", ">i8"),
            ("id_size", ">i4"),
            ("id", ids.dtype),
            ("value_size", ">i4"),
            ("value", ">f8"),
        ]
    )
    sensors = np.zeros(len(ids), layout)
    sensors["fields"] = 3
    sensors["time_size"] = sensors["value_size"] = 8
    sensors["id_size"] = ids.itemsize
    sensors["id"] = ids
    rows = sensors.view(np.uint8).reshape(len(ids), layout.itemsize).take(columns.index - first, axis=0)
    records = rows.view(layout)[:, 0]
    records["time"] = columns.timestamps - POSTGRES_EPOCH
    records["value"] = columns.values
    return rows.data


def within(timestamps: NDArray[np.int64], spans: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    """Tell of each timestamp whether it lies in one of the half-open `spans`, all in microseconds since 1970."""
    found: NDArray[np.bool_] = np.zeros(len(timestamps), np.bool_)
    for start, end in spans:
        found |= (timestamps >= start) & (timestamps < end)
    return found


def hour_ranges(timestamps: NDArray[np.int64], most: int = 64) -> list[tuple[int, int]]:
    """Return the half-open ranges of whole hours that hold `timestamps`, in microseconds since 1970.

    Neighbouring hours are one range. Where there would be more than `most`, the smallest gaps are closed: a
    range that is too wide is still answered rightly, only more slowly.
    """
    first, last = int(timestamps.min()) // HOUR, int(timestamps.max()) // HOUR
    # Most rows come in time, and need no look at each.
    hours = np.arange(first, last + 1) if last - first <= 1 else np.unique(timestamps // HOUR)
    gaps = np.diff(hours)
    breaks = np.flatnonzero(gaps > 1)
    if len(breaks) >= most:
        breaks = np.sort(breaks[np.argsort(gaps[breaks], kind="stable")[len(breaks) - most + 1 :]])
    starts = hours[np.concatenate(([0], breaks + 1))]
    ends = hours[np.concatenate((breaks, [len(hours) - 1]))] + 1
    return [(int(start) * HOUR, int(end) * HOUR) for start, end in zip(starts, ends, strict=True)]
