"""`dedup=natural`: of a sensor and instant the first reading is stored, told in the transaction that stores the others.

The table has no key that could say so: one would cost all readings, and switch compression on COPY off. So natural rows
are looked up in the table, behind locks that keep other natural rows of their sensors out until the commit: of two
workers that have the same, the second finds what the first stored. Rows that are not natural are stored as they come,
and pay for none of this; where they came first, they count.

Looked for are not rows but runs: of rows of one sensor that lie close together, the first and the last instant bound one
scan, which unpacks a batch of the columnstore once, not once a row. Where much more is stored in a run than is looked
for, its rows are looked for one by one, so that a look's price depends on what is looked for alone.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns
from services.contract.instants import instant_of, micros_of

from .work import Part, Rows, Selection

__all__ = ["behind_another", "lock_sensors", "may_look", "natural_repeats"]

_LOCKS = 64
"""How many locks the sensors share: workers of two releases must agree, and each is a place in the server's memory."""

_LOCK = "select pg_advisory_xact_lock(hashtext('millrace natural'), lock) from unnest($1::int[]) as lock"

# LATERAL with a LIMIT is never turned into a join that reads a table whole, whatever the planner expects. Rows that a
# deletion will take are as good as gone.
_STORED = """
select
  run.number - 1 as number, stored.timestamp,
  exists (
    select from deletions
    where finished_at is null and run.sensor_id = any(sensor_ids)
      and stored.timestamp >= range_start and stored.timestamp < range_end and stored.id <= last_id
  ) as deleted
from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::int[])
  with ordinality as run (sensor_id, first, last, most, number)
cross join lateral (
  select timestamp, id from sensor_data
  where sensor_id = run.sensor_id and timestamp >= run.first and timestamp <= run.last
    and timestamp >= $5 and timestamp <= $6
  limit run.most
) as stored
"""

_CLOSE = 60_000_000
"""Microseconds from row to row up to which they are one run."""


async def may_look(connection: Any) -> None:
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


async def natural_repeats(connection: Any, selection: Selection, parts: Sequence[Part]) -> list[Rows]:
    """Return the natural rows of `parts` whose sensor and instant are stored, or come before them in these parts.

    Raises:
        DATABASE_FAILURES: the table cannot be asked.
    """
    natural_parts = [part for part in parts if part.batch.natural]
    if not natural_parts:
        return []
    columns = selection.columns
    natural: NDArray[np.bool_] = np.zeros(len(columns), np.bool_)
    for part in natural_parts:
        natural[part.rows] = True
    codes = _codes(columns)
    concerned: NDArray[np.bool_] = np.zeros(len(columns.sensor_ids), np.bool_)
    concerned[codes[natural]] = True
    rows = selection.positions(parts)
    rows = rows[concerned[codes[rows]]]
    behind = behind_another(codes[rows], columns.timestamps[rows]) & natural[rows]
    sought = rows[natural[rows] & ~behind]
    sought = sought[np.lexsort((columns.timestamps[sought], codes[sought]))]
    sensor_ids = [columns.sensor_ids[code] for code in codes[sought].tolist()]
    stored = await _stored(connection, sensor_ids, columns.timestamps[sought], _CLOSE)
    return [rows[behind], sought[stored]]


def behind_another(codes: NDArray[np.intp], timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of each row whether an earlier one has its sensor's code and its timestamp."""
    found: NDArray[np.bool_] = np.zeros(len(codes), np.bool_)
    order = np.lexsort((timestamps, codes))
    found[order[1:]] = (np.diff(codes[order]) == 0) & (np.diff(timestamps[order]) == 0)
    return found


def _codes(columns: Columns) -> NDArray[np.intp]:
    """Return a code of each row's sensor; in a dictionary that has a sensor twice, the first one's."""
    first: dict[str, int] = {}
    codes = [first.setdefault(sensor_id, code) for code, sensor_id in enumerate(columns.sensor_ids)]
    return np.array(codes, np.intp)[columns.index]


async def _stored(
    connection: Any, sensor_ids: Sequence[str], timestamps: NDArray[np.int64], close: int
) -> NDArray[np.bool_]:
    """Tell of rows whether their sensor and instant are in the table.

    Args:
        connection: in the transaction that has the locks.
        sensor_ids: of the rows.
        timestamps: of the rows, in microseconds since 1970. No two rows have both the same; they are in the order of
            their sensors, and then of these.
        close: microseconds from row to row up to which they are one run; negative where each is its own, which is
            looked at to the end.
    """
    found: NDArray[np.bool_] = np.zeros(len(sensor_ids), np.bool_)
    if not len(found):
        return found
    other = np.array([one != next_ for one, next_ in zip(sensor_ids, sensor_ids[1:], strict=False)], np.bool_)
    run = np.concatenate(([0], np.cumsum(other | (np.diff(timestamps) > close))))
    starts, sizes = np.unique(run, return_index=True, return_counts=True)[1:]
    most = 4 * sizes + 64 if close >= 0 else []
    there = await connection.fetch(
        _STORED,
        [sensor_ids[start] for start in starts.tolist()],
        list(map(instant_of, timestamps[starts].tolist())),
        list(map(instant_of, timestamps[starts + sizes - 1].tolist())),
        list(most),
        instant_of(int(timestamps.min())),
        instant_of(int(timestamps.max())),
    )
    stored = {(number, micros_of(timestamp)) for number, timestamp, deleted in there if not deleted}
    found[:] = [row in stored for row in zip(run.tolist(), timestamps.tolist(), strict=True)]
    if close < 0:
        return found
    count = Counter(number for number, _, _ in there)
    full = np.flatnonzero([count[number] >= most[number] for number in run.tolist()])
    found[full] = await _stored(connection, [sensor_ids[row] for row in full.tolist()], timestamps[full], -1)
    return found
