"""Making partitions ahead of the readings, and dropping those that are old: each change a transaction of its own.

A change locks the table for a moment: it waits for the transactions and questions under way, and those that come wait
behind it. Where that takes too long it is left to the next time. A partition is made between the last but one and the
last one, which is taken off and put on again; so no rows are looked through but those few.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.platform.postgres.connections import Connection
from services.platform.postgres.errors import DATABASE_AWAY, DatabaseRefusedError, words_of

from .plan import AFTER, BEFORE, Partition, earlier, expired, later

__all__ = ["Kept", "finite", "is_partitioned", "keep", "kept_if_possible"]

log = structlog.get_logger(__name__)

LOCK = "select pg_try_advisory_xact_lock(hashtext('millrace partitions'))"

PARTITIONED = """
select exists (
  select from pg_class
  where oid = to_regclass('public.sensor_data') and relkind = 'p'
) and to_regclass('public.partition_policy') is not null
"""

POLICY = "select width, now() as now, now() - drop_after as since from partition_policy"

# The first has no lower bound, the last no upper one.
THERE = """
select name, low, high
from (
  select quote_ident(c.relname) as name,
    (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([^'']+)''\\)'))[1]::timestamptz as low,
    (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([^'']+)''\\)'))[1]::timestamptz as high
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'public.sensor_data'::regclass
) as bounds
order by low nulls first
"""

OLDER = f"select exists (select 1 from {BEFORE} limit 1)"  # noqa: S608 -- of constants

# Python has no instants as far ahead as PostgreSQL's last.
NEWEST = f"""
select case when newest is not null then least(newest, now() + interval '2 years') end
from (select max(timestamp) as newest from {AFTER}) as found
"""  # noqa: S608 -- of constants

# Where the repair loop keeps rollups, it has the buckets go after the rows. A note's end is a whole hour.
NOTE = """
insert into late_ranges (range_start, range_end)
select '0001-01-01Z', date_bin('1 hour', $1::timestamptz + interval '1 hour - 1 microsecond', '2000-01-03Z')
where to_regclass('public.rollup_state') is not null
"""

LOCK_TIMEOUT = "5s"

FURTHEST = timedelta(days=366)
"""How far ahead a reading may be for partitions to reach it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done.

    Attributes:
        made: names of partitions that were made.
        dropped: names of those that were dropped.
        problem: why no more can be made, and what to do; empty where nothing is wrong.
    """

    made: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    problem: str = ""


async def is_partitioned(connection: Connection) -> bool:
    """Tell whether the readings lie in time partitions, and the schema is new enough to look after them."""
    return bool(await connection.fetchval(PARTITIONED))


async def finite(connection: Connection) -> list[Partition]:
    """Return the partitions but for the first and the last one, in order; none of a table that has none."""
    return [Partition(name, low, high) for name, low, high in await _there(connection) if low and high]


async def kept_if_possible(connection: Connection) -> Kept:
    """Do what `keep` does, and waits for the table no longer than all who come later may wait behind it.

    What the database refuses, such as a lock that somebody holds for long, is told in the log and left to another time.

    Raises:
        DATABASE_AWAY: the connection is lost.
    """
    await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
    try:
        return await keep(connection)
    except DATABASE_AWAY:
        raise
    except DatabaseRefusedError as error:
        problem = words_of(error)
        log.warning("partitions stay as they are until the next look", action="partitions", problem=problem)
        return Kept(problem=problem)


async def keep(connection: Connection) -> Kept:
    """Make the partitions that are due, and drop those that are old. Repeating it does nothing.

    Args:
        connection: the owner's, outside a transaction, with a lock timeout. Where the readings are not partitioned,
            or another process is at it, nothing is done.

    Raises:
        DATABASE_FAILURES: the database is away or refuses, or somebody holds the table for long; what was not done is
            left to another time.
    """
    if not await is_partitioned(connection):
        return Kept()
    made, problem = await _made(connection)
    before = await _made_before(connection)
    dropped = await _dropped(connection)
    kept = Kept((*before, *made), dropped, problem)
    if kept.made or kept.dropped:
        log.info("partitions made and dropped", action="partitions", made=list(kept.made), dropped=list(dropped))
    return kept


async def _made(connection: Connection) -> tuple[tuple[str, ...], str]:
    """Make what is due behind the last partition of finite bounds."""
    async with connection.transaction():
        if not await _alone(connection):
            return (), ""
        width, now, _ = await _policy(connection)
        end = (await _there(connection))[-1][1]
        assert end is not None  # noqa: S101 -- the last one begins somewhere
        if not later(end, width, now, None).made:
            return (), ""
        newest = await connection.fetchval(NEWEST)
        if newest is not None and newest > now + FURTHEST:
            problem = (
                f"{AFTER} holds readings of more than a year ahead, so that no partition can be made behind "
                f"{end.isoformat()}: delete them"
            )
            log.warning("partitions cannot be made", action="partitions", problem=problem)
            return (), problem
        pieces = later(end, width, now, newest)
        await connection.execute(f"alter table sensor_data detach partition {AFTER}")
        if pieces.taken:
            await connection.execute(f"alter table {AFTER} rename to {pieces.taken.name}")
            await connection.execute(
                f"alter table sensor_data attach partition {pieces.taken.name} {_between(pieces.taken)}"
            )
        for piece in pieces.made:
            await _make(connection, piece.name, _between(piece))
        bounds = f"for values from ('{pieces.all[-1].high.isoformat()}') to (maxvalue)"
        if pieces.taken:
            await _make(connection, AFTER, bounds)
        else:
            await connection.execute(f"alter table sensor_data attach partition {AFTER} {bounds}")
    return tuple(piece.name for piece in pieces.all), ""


async def _made_before(connection: Connection) -> tuple[str, ...]:
    """Make what retention wants of the past, where there are no readings before the first partition yet."""
    async with connection.transaction():
        if not await _alone(connection):
            return ()
        width, _, since = await _policy(connection)
        start = await _start(connection)
        pieces = earlier(start, width, since) if since else ()
        if not pieces or await connection.fetchval(OLDER):
            return ()
        await connection.execute(f"alter table sensor_data detach partition {BEFORE}")
        for piece in pieces:
            await _make(connection, piece.name, _between(piece))
        await _end_before(connection, pieces[0].low)
    return tuple(piece.name for piece in pieces)


async def _dropped(connection: Connection) -> tuple[str, ...]:
    """Drop what is old, and with it all that is older."""
    async with connection.transaction():
        if not await _alone(connection):
            return ()
        _, _, since = await _policy(connection)
        start = await _start(connection)
        if since is None or start > since:
            return ()
        old = expired(await finite(connection), since)
        if not old and not await connection.fetchval(OLDER):
            return ()
        # As everybody does: the table first, then its partitions.
        await connection.execute("lock table sensor_data in access exclusive mode")
        await connection.execute(f"truncate {BEFORE}")
        if old:
            await connection.execute(f"drop table {', '.join(partition.name for partition in old)}")
            await connection.execute(f"alter table sensor_data detach partition {BEFORE}")
            await _end_before(connection, old[-1].high)
        await connection.execute(NOTE, old[-1].high if old else start)
    return tuple(partition.name for partition in old) or (BEFORE,)


async def _alone(connection: Connection) -> bool:
    """Begin a change; False where another process is at one."""
    # One connection to each node, on which all of a change is one transaction.
    await connection.execute("set local citus.multi_shard_modify_mode = 'sequential'")
    return bool(await connection.fetchval(LOCK))


async def _policy(connection: Connection) -> tuple[timedelta, datetime, datetime | None]:
    row = await connection.fetchrow(POLICY)
    return row["width"], row["now"], row["since"]


async def _there(connection: Connection) -> list[tuple[str, datetime | None, datetime | None]]:
    return [tuple(row) for row in await connection.fetch(THERE)]


async def _start(connection: Connection) -> datetime:
    """Return where the first partition ends."""
    start = (await _there(connection))[0][2]
    assert start is not None  # noqa: S101 -- it has no lower bound alone
    return start


async def _make(connection: Connection, name: str, bounds: str) -> None:
    await connection.execute(f"create table {name} partition of sensor_data {bounds}")
    # Without a key of their own, rows must be logged whole where deletions go on while a shard moves.
    await connection.execute(f"alter table {name} replica identity full")


async def _end_before(connection: Connection, end: datetime) -> None:
    await connection.execute(
        f"alter table sensor_data attach partition {BEFORE} for values from (minvalue) to ('{end.isoformat()}')"
    )


def _between(piece: Partition) -> str:
    return f"for values from ('{piece.low.isoformat()}') to ('{piece.high.isoformat()}')"
