"""`dedup=natural`: of a sensor and instant the first reading is stored, told in the transaction that stores the others.

The table has no key that could say so: one would cost all readings, and switch compression on COPY off. So natural rows
are looked up in the table, behind locks that keep other natural rows of their sensors out until the commit: of two
workers that have the same, the second finds what the first stored. Rows that are not natural are stored as they come,
and pay for none of this; where they came first, they count.

Rows of one sensor that lie close together are looked for as a run: its first and last instant bound one scan, which
unpacks a batch of the columnstore once, not once a row. Rows that lie alone are looked for by their instants, all
sensors of an instant at once, and so are those of a run in which much more is stored than is looked for: what a look
costs depends on what is looked for.
"""

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns
from services.contract.instants import instant_of, micros_of
from services.platform.postgres.capability import Capability

from .work import Part, Rows, Selection

__all__ = ["behind_another", "lock_sensors", "may_look", "natural_repeats"]

_LOCKS = 64
"""How many locks the sensors share: workers of two releases must agree, and each is a place in the server's memory."""

_LOCK = "select pg_advisory_xact_lock(hashtext('millrace natural'), lock) from unnest($1::int[]) as lock"

# Rows that a deletion will take are as good as gone.
_DELETED = """
exists (
  select from deletions
  where finished_at is null and stored.sensor_id = any(sensor_ids)
    and stored.timestamp >= range_start and stored.timestamp < range_end and stored.id <= last_id
)
"""

# LATERAL with LIMIT or OFFSET is never turned into a join that reads a table whole, whatever the planner expects.
_RUNS = f"""
select run.number - 1 as number, stored.timestamp, {_DELETED} as deleted
from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::int[])
  with ordinality as run (sensor_id, first, last, most, number)
cross join lateral (
  select sensor_id, timestamp, id from sensor_data
  where sensor_id = run.sensor_id and timestamp >= run.first and timestamp <= run.last
    and timestamp >= $5 and timestamp <= $6
  limit run.most
) as stored
"""  # noqa: S608 -- of constants
# The columnstore compares each row that it finds with all sensors of its scan, so there are a hundred at most.
_POINTS = f"""
select stored.sensor_id, stored.timestamp
from (
  select timestamp, array_agg(sensor_id) as sensors
  from unnest($1::text[], $2::timestamptz[]) with ordinality as point (sensor_id, timestamp, number)
  group by timestamp, number / 100
) as instant
cross join lateral (
  select sensor_id, timestamp, id from sensor_data
  where sensor_id = any(instant.sensors) and timestamp = instant.timestamp
    and timestamp >= $3 and timestamp <= $4
  offset 0
) as stored
where not {_DELETED}
"""  # noqa: S608 -- of constants

# Nodes of Citus are asked once for all, and what they find is then held against the deletions, which they do not have.
_RUNS_SPREAD = f"""
select stored.number - 1 as number, stored.timestamp, {_DELETED} as deleted
from (
  select run.number, found.sensor_id, found.timestamp, found.id
  from sensor_data as found
  join unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::int[])
    with ordinality as run (sensor_id, first, last, most, number)
    on found.sensor_id = run.sensor_id and found.timestamp >= run.first and found.timestamp <= run.last
  where found.sensor_id = any($1::text[]) and found.timestamp >= $5 and found.timestamp <= $6
  offset 0
) as stored
"""  # noqa: S608 -- of constants
_POINTS_SPREAD = f"""
select stored.sensor_id, stored.timestamp
from (
  select found.sensor_id, found.timestamp, found.id
  from sensor_data as found
  join unnest($1::text[], $2::timestamptz[]) as point (sensor_id, timestamp) using (sensor_id, timestamp)
  where found.sensor_id = any($1::text[]) and found.timestamp >= $3 and found.timestamp <= $4
  offset 0
) as stored
where not {_DELETED}
"""  # noqa: S608 -- of constants

_CLOSE = 60_000_000
"""Microseconds from row to row up to which they are one run."""


async def may_look(connection: Any, _: Capability) -> None:
    """See that the worker may ask which readings are there: a schema of before gives it no right to.

    Raises:
        DatabaseRefusedError: it may not.
    """
    await connection.execute("select id, timestamp, sensor_id from sensor_data limit 0")


async def lock_sensors(connection: Any, columns: Columns, parts: Sequence[Part]) -> None:
    """Keep other transactions from storing natural rows of the sensors of `parts`, until the end of this one.

    Args:
        connection: in a transaction, before it looks for or stores any of the rows.
        columns: of the work.
        parts: natural ones; all at once, for locks are taken in an order in which nobody waits for each other.

    Raises:
        DATABASE_FAILURES: they could not be kept in time.
    """
    used = np.unique(np.concatenate([columns.index[part.rows] for part in parts])).tolist()
    locks = {zlib.crc32(columns.sensor_ids[code].encode()) % _LOCKS for code in used}
    await connection.execute(_LOCK, sorted(locks))


async def natural_repeats(connection: Any, selection: Selection, parts: Sequence[Part], *, spread: bool) -> list[Rows]:
    """Return the natural rows of `parts` whose sensor and instant are stored, or come before them in these parts.

    Args:
        connection: in the transaction that has the locks.
        selection: what is left of the work.
        parts: of it, natural ones and others.
        spread: whether the readings lie on several nodes.

    Raises:
        DATABASE_FAILURES: the table cannot be asked.
    """
    natural_parts = [part for part in parts if part.batch.natural]
    if not natural_parts:
        return []
    columns = _with_one_code(selection.columns)
    natural: NDArray[np.bool_] = np.zeros(len(columns), np.bool_)
    for part in natural_parts:
        natural[part.rows] = True
    concerned: NDArray[np.bool_] = np.zeros(len(columns.sensor_ids), np.bool_)
    concerned[columns.index[natural]] = True
    rows = selection.positions(parts)
    rows = rows[concerned[columns.index[rows]]]
    behind = natural[rows] & behind_another(columns.take(rows))
    sought = rows[natural[rows] & ~behind]
    sought = sought[np.lexsort((columns.timestamps[sought], columns.index[sought]))]
    stored = await _stored(connection, columns.take(sought), spread=spread)
    return [found for found in (rows[behind], sought[stored]) if len(found)]


def behind_another(columns: Columns) -> NDArray[np.bool_]:
    """Tell of each row whether an earlier one has its sensor and instant."""
    found: NDArray[np.bool_] = np.zeros(len(columns), np.bool_)
    order = np.lexsort((columns.timestamps, columns.index))
    index, timestamps = columns.index[order], columns.timestamps[order]
    found[order[1:]] = (index[1:] == index[:-1]) & (timestamps[1:] == timestamps[:-1])
    return found


def _with_one_code(columns: Columns) -> Columns:
    """Return the same rows; where the dictionary has a sensor twice, all its rows have the first one's code."""
    first: dict[str, int] = {}
    codes = [first.setdefault(sensor_id, code) for code, sensor_id in enumerate(columns.sensor_ids)]
    return Columns(columns.sensor_ids, np.array(codes, np.uint32)[columns.index], columns.timestamps, columns.values)


async def _stored(connection: Any, readings: Columns, *, spread: bool) -> NDArray[np.bool_]:
    """Tell of readings, sorted by sensor and time and no two of one instant, whether their instant is in the table."""
    begins = (np.diff(readings.index) != 0) | (np.diff(readings.timestamps) > _CLOSE)
    run = np.cumsum(np.concatenate(([False], begins)))[: len(readings)]
    alone: NDArray[np.bool_] = np.bincount(run)[run] == 1
    stored, unknown = alone.copy(), alone.copy()
    stored[~alone], unknown[~alone] = await _in_runs(
        connection, readings.take(~alone), run[~alone], _RUNS_SPREAD if spread else _RUNS
    )
    stored[unknown] = await _at_instants(connection, readings.take(unknown), _POINTS_SPREAD if spread else _POINTS)
    return stored


async def _in_runs(
    connection: Any, readings: Columns, run: NDArray[np.intp], statement: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell of readings whether they are stored, and whether so much is in their run that this is not known.

    Args:
        connection: in the transaction that has the locks.
        readings: sorted by sensor and time.
        run: of each.
        statement: looks for runs.
    """
    none: NDArray[np.bool_] = np.zeros(len(readings), np.bool_)
    if not len(readings):
        return none, none
    starts, number, sizes = np.unique(run, return_index=True, return_inverse=True, return_counts=True)[1:]
    most = 4 * sizes + 64
    first, last = readings.take(starts), readings.take(starts + sizes - 1)
    there = await connection.fetch(statement, *_named(first), _named(last)[1], most.tolist(), *_bounds(readings))
    stored = {(run, micros_of(timestamp)) for run, timestamp, deleted in there if not deleted}
    counts = np.bincount([run for run, _, _ in there], minlength=len(starts))
    found = [row in stored for row in zip(number.tolist(), readings.timestamps.tolist(), strict=True)]
    return np.array(found, np.bool_), (counts >= most)[number]


async def _at_instants(connection: Any, readings: Columns, statement: str) -> NDArray[np.bool_]:
    """Tell of readings whether they are stored; each is looked for by itself."""
    if not len(readings):
        return np.zeros(0, np.bool_)
    by_time = readings.take(np.argsort(readings.timestamps))
    there = await connection.fetch(statement, *_named(by_time), *_bounds(readings))
    stored = set(map(tuple, there))
    return np.array([row in stored for row in zip(*_named(readings), strict=True)], np.bool_)


def _named(readings: Columns) -> tuple[list[str], list[datetime]]:
    sensor_ids = [readings.sensor_ids[code] for code in readings.index.tolist()]
    return sensor_ids, list(map(instant_of, readings.timestamps.tolist()))


def _bounds(readings: Columns) -> tuple[datetime, datetime]:
    """Return the first and last instant, by which chunks are left out."""
    return instant_of(int(readings.timestamps.min())), instant_of(int(readings.timestamps.max()))
