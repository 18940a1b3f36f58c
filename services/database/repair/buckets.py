"""The buckets of the rollups as the rows say them: computed for a range, or deleted where no rows are left.

On one server a statement walks through the sensors by the index, which gives no range of time without one, and tells
what is gone from what it has found. On a Citus cluster each node computes the buckets of its own sensors; Citus hands
down what groups by the sensor and joins on it, and no walk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from services.platform.postgres.connections import Connection

__all__ = ["ORDINARY", "SPREAD", "Buckets"]

FIRST = datetime(10, 1, 1, tzinfo=UTC)
"""What is before it is computed as one."""

LEFT_OVER = 100_000
"""Buckets of a forgotten history that a statement deletes."""

LEFT_OVER_TIME = timedelta(days=32)
"""From the newest such bucket on, on a Citus cluster, where no statement deletes a number of rows."""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    width: str
    columns: Mapping[str, str]


TABLES = (
    _Table(
        "sensor_rollup_1h",
        "1 hour",
        {"avg": "avg(d.value)", "min": "min(d.value)", "max": "max(d.value)", "samples": "count(*)"},
    ),
    _Table(
        "sensor_rollup_15m",
        "15 minutes",
        {
            "count": "count(*)",
            "sum": "sum(d.value)",
            "min": "min(d.value)",
            "max": "max(d.value)",
            "stddev": "stddev(d.value)",
        },
    ),
)

# The index has the sensors first: it is skipped through, for without a sensor it gives no range of time.
SENSORS = """
with recursive found as (
  (select sensor_id from sensor_data order by sensor_id limit 1)
  union all
  select (select d.sensor_id from sensor_data d where d.sensor_id > f.sensor_id order by d.sensor_id limit 1)
  from found f where f.sensor_id is not null
)"""

FROM = """
select
  case when newest >= '0010-01-01Z'
    then date_bin('1 hour', newest, '2000-01-03Z') + interval '1 hour' - $2::interval end as low,
  newest is not null as found
"""

NEWEST = f"""
{SENSORS}
{FROM}
from (
  select max(latest.timestamp) as newest
  from found
  cross join lateral (
    select d.timestamp from sensor_data d
    where d.sensor_id = found.sensor_id and d.timestamp < $1 order by d.timestamp desc limit 1
  ) latest
) before
"""  # noqa: S608 -- of constants

NEWEST_SPREAD = f"""
{FROM}
from (
  select max(timestamp) as newest from sensor_data
  where timestamp >= coalesce($3::timestamptz, '-infinity') and timestamp < $1::timestamptz
) before
"""  # noqa: S608 -- of constants

CLEAR = """
delete from {table} where ctid = any(array(select ctid from {table} where bucket < $1 limit {most}))
"""
# Python has no instants of before the year 1.
LEFT_OVER_FROM = """
select case when newest >= '0010-01-01Z' then newest - $2::interval end as low, newest is not null as found
from (select max(bucket) as newest from {table} where bucket < $1::timestamptz) before
"""
CLEAR_SPREAD = """
delete from {table} where bucket >= coalesce($1::timestamptz, '-infinity') and bucket < $2::timestamptz
"""

WITHIN = ">= coalesce($1::timestamptz, '-infinity')", "< $2::timestamptz"


def _within(column: str) -> str:
    return " and ".join(f"{column} {bound}" for bound in WITHIN)


def _compute(table: _Table) -> str:
    """Return the statement that makes the buckets of `$1 <= bucket < $2`, from the first where $1 is null, right."""
    names = ", ".join(table.columns)
    kept, found, new = (", ".join(f"{row}.{name}" for name in table.columns) for row in ("kept", "c", "excluded"))
    aggregates = ", ".join(f"{term} as {name}" for name, term in table.columns.items())
    return f"""
{SENSORS}, computed as materialized (
  select buckets.*
  from found
  cross join lateral (
    select date_bin('{table.width}', d.timestamp, '2000-01-03Z') as bucket, d.sensor_id, {aggregates}
    from sensor_data d
    where d.sensor_id = found.sensor_id and {_within("d.timestamp")}
    group by 1, 2
  ) buckets
), gone as (
  delete from {table.name} kept
  where {_within("kept.bucket")}
    and not exists (select from computed c where c.sensor_id = kept.sensor_id and c.bucket = kept.bucket)
)
insert into {table.name} (bucket, sensor_id, {names})
select c.bucket, c.sensor_id, {found} from computed c
-- What is right already is not even locked.
where not exists (
  select from {table.name} kept
  where {_within("kept.bucket")}
    and kept.sensor_id = c.sensor_id and kept.bucket = c.bucket and ({kept}) is not distinct from ({found})
)
on conflict (sensor_id, bucket) do update set ({names}) = ({new})
"""  # noqa: S608 -- of constants


def _compute_spread(table: _Table) -> tuple[str, str]:
    """Return the statements that make the same buckets right on the nodes, those without rows first."""
    names = ", ".join(table.columns)
    bucket = f"date_bin('{table.width}', d.timestamp, '2000-01-03Z')"
    terms = ", ".join(table.columns.values())
    changed = ", ".join(f"{name} = excluded.{name}" for name in table.columns)
    kept, new = (", ".join(f"{row}.{name}" for name in table.columns) for row in (table.name, "excluded"))
    gone = f"""
delete from {table.name} kept
where {_within("kept.bucket")}
  and not exists (
    select from sensor_data d
    where d.sensor_id = kept.sensor_id and {bucket} = kept.bucket and {_within("d.timestamp")}
  )
"""  # noqa: S608 -- of constants
    made = f"""
insert into {table.name} (bucket, sensor_id, {names})
select {bucket}, d.sensor_id, {terms}
from sensor_data d
where {_within("d.timestamp")}
group by {bucket}, d.sensor_id
on conflict (sensor_id, bucket) do update set {changed} where ({kept}) is distinct from ({new})
"""  # noqa: S608 -- of constants
    return gone, made


class Buckets(Protocol):
    """What is done to the buckets of one kind of database.

    Attributes:
        statements: what makes a range right, by the table; `$1` is its start, null for the first instant, and `$2` its
            end.
    """

    statements: Mapping[str, Sequence[str]]

    async def newest(self, connection: Connection, before: datetime, step: timedelta) -> tuple[datetime | None, bool]:
        """Return from where to compute, so that the newest row before an instant is in a step; and whether it is there.

        The start is None where the row is older than the year 10, and where there is none.

        Raises:
            DATABASE_FAILURES: the rows cannot be asked for.
        """

    async def cleared(self, connection: Connection, before: datetime) -> bool:
        """Delete some of the buckets before an instant, whose rows are gone; tell whether none was left.

        Raises:
            DATABASE_FAILURES: they cannot be deleted.
        """


class _Ordinary:
    statements: Mapping[str, Sequence[str]] = {table.name: (_compute(table),) for table in TABLES}

    async def newest(self, connection: Connection, before: datetime, step: timedelta) -> tuple[datetime | None, bool]:
        low, found = await connection.fetchrow(NEWEST, before, step)
        return low, found

    async def cleared(self, connection: Connection, before: datetime) -> bool:
        gone = 0
        for table in TABLES:
            status = await connection.execute(CLEAR.format(table=table.name, most=LEFT_OVER), before)
            gone += int(status.split()[-1])
        return not gone


class _Spread:
    statements: Mapping[str, Sequence[str]] = {table.name: _compute_spread(table) for table in TABLES}

    async def newest(self, connection: Connection, before: datetime, step: timedelta) -> tuple[datetime | None, bool]:
        # In windows that grow: most find a row in the first one, and none reads more than it has to.
        window, end = step, before
        while True:
            start = end - window if window < end - FIRST else None
            low, found = await connection.fetchrow(NEWEST_SPREAD, end, step, start)
            if found or start is None:
                return low, found
            window, end = 2 * window, start

    async def cleared(self, connection: Connection, before: datetime) -> bool:
        left = False
        for table in TABLES:
            low, found = await connection.fetchrow(LEFT_OVER_FROM.format(table=table.name), before, LEFT_OVER_TIME)
            if found:
                left = True
                await connection.execute(CLEAR_SPREAD.format(table=table.name), low, before)
        return not left


ORDINARY: Buckets = _Ordinary()
"""Of tables on one server."""

SPREAD: Buckets = _Spread()
"""Of tables that Citus has distributed by sensor."""
