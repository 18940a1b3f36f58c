"""Keeping rollups where there is no TimescaleDB: tables of buckets that questions take in place of the rows.

`rollup_state` tells the hours that are computed, from one instant to another, and `late_ranges` those of them whose
rows changed since. A round computes the hours that are noted, then those that have ended, then a piece of the history,
the newest first. On one server each step is one transaction, which also moves the state or strikes off the notes that
were read before it: so a snapshot sees both or neither, and a step that is cut short has not been.

On a Citus cluster the buckets are on the nodes, the state and the notes on the coordinator, and no snapshot is one of
both. So a step is two transactions there. Before the first one all nodes show what the notes that were read are about,
and before the second one the buckets that it tells of: who sees that a note is gone finds the buckets on every node. In
between the rows answer. One process at a time does this, and what somebody else does to the state meanwhile undoes the
second transaction.

An hour that has ended is closed first: who writes readings of it from then on notes them. It is computed when everybody
is over who had written to the table by then, and may not have known.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import (
    DATABASE_AWAY,
    DatabaseRefusedError,
    with_deadline,
)
from services.platform.runtime import failpoints
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import refresh_seconds
from services.platform.settings import DatabaseSettings

from ..aggregates.refresh import LOCK_TIMEOUT
from .buckets import ORDINARY, SPREAD
from .late_ranges import HOUR, NOTES_A_ROUND, PATIENCE, LateRange, Note, Repaired, merged, promptly
from .settling import SETTLING, NotShownError, parts_shown, writers_over

__all__ = ["RollupKeeper", "keeping"]

log = structlog.get_logger(__name__)

FIRST_STEP, LONGEST_STEP = timedelta(hours=6), timedelta(days=32)
QUICK, SLOW = 2.0, 20.0
"""Seconds of a step that is computed; the next one is longer or shorter."""

Telling = Sequence[tuple[Any, ...]]
"""Statements with their arguments that tell what is computed now."""

NOTES = """
-- A range that begins before the year 10 may begin anywhere.
select id,
  case when range_start >= '0010-01-01Z' then least(range_start, '9999-01-01Z') end as range_start,
  least(greatest(range_end, '0010-01-01Z'), '9999-01-01Z') as range_end
from late_ranges order by id limit $1
"""
NOTE = "insert into late_ranges (range_start, range_end) values ($1, $2)"
STRIKE_OFF = "delete from late_ranges where id = any($1::bigint[])"

# As a TRUNCATE does: the rows' table first.
LOCK = "lock table sensor_data in access share mode"

# For all of a round on a Citus cluster, where no row is locked from one transaction to the next.
ALONE = "select pg_try_advisory_lock(hashtext('millrace rollups'))"
NOT_ALONE = "select pg_advisory_unlock(hashtext('millrace rollups'))"

# Another process has the row for as long as it is at a step. Its version tells whether somebody has changed it since.
NOTED = """
select greatest(computed_from, $1) as low,
  case when greatest(computed_from, $1) < least(computed_until, $2) then least(computed_until, $2) end as high
from rollup_state for update skip locked
"""
FORGET = """
update rollup_state set computed_from = least(greatest(computed_from, $1), computed_until)
where id = (select id from rollup_state for update skip locked)
"""
CLOSE = """
update rollup_state set closed_until = hour
from (select date_bin('1 hour', now() - interval '1 minute', '2000-01-03Z') as hour) as ended
where id = (select id from rollup_state where closed_until < hour for update skip locked)
"""
CLOSED = "select closed_until from rollup_state where computed_until < closed_until"
BEGIN = """
update rollup_state set computed_from = $1, computed_until = $1
where id = (select id from rollup_state where computed_until = '-infinity' for update skip locked)
"""
ENDED = """
select computed_until as low, least(computed_until + $2::interval, $1) as high, xmin::text as version
from rollup_state where computed_until > '-infinity' and computed_until < $1 for update skip locked
"""
ADVANCE = "update rollup_state set computed_until = $1 where xmin::text = $2"
HISTORY = """
select computed_from as high, xmin::text as version
from rollup_state where computed_from > '-infinity' for update skip locked
"""
RECEDE = "update rollup_state set computed_from = coalesce($1::timestamptz, '-infinity') where xmin::text = $2"


@contextlib.asynccontextmanager
async def keeping(settings: DatabaseSettings, longest: float) -> AsyncIterator[Connection]:
    """Lend a connection of the owner for a `RollupKeeper`; a statement may take `longest` seconds.

    Raises:
        DATABASE_AWAY: there is none.
    """
    owner = Connector(
        settings.owner_url,
        settings,
        statement_timeout=int(longest * 1000),
        lock_timeout=LOCK_TIMEOUT,
        jit="off",
        client_min_messages="warning",
        # What it strikes off it has computed.
        **{"millrace.notes": "own"},
    )
    connection = await owner.session()
    try:
        yield connection
    finally:
        connection.terminate()


class _LeftError(Exception):
    """A step is left to the next round; the message says why, and `all` whether all others would be as well."""

    def __init__(self, why: str, *, all_: bool = False) -> None:
        super().__init__(why)
        self.all = all_


class RollupKeeper:
    """Keeps the rollups of a database that has them, round by round.

    Attributes:
        connection: on which it works.
        step: how much of the time is computed at once.
    """

    def __init__(self, connection: Connection, health: Health, longest: float, *, spread: bool) -> None:
        """Take a connection as `keeping` lends it, who hears a beat, and whether the rows are spread over nodes."""
        self.connection, self._health, self._longest, self._spread = connection, health, longest, spread
        self._buckets = SPREAD if spread else ORDINARY
        self.step = FIRST_STEP

    async def round(self) -> Repaired:
        """Compute what is noted, what has ended, and a piece of the history; tell of the notes.

        A step whose rows the database does not give, because it takes too long or somebody has locked them, is left to
        the next round; so is one that a node of a Citus cluster does not answer for. Where another process is at a
        round on such a cluster, this is none.

        Raises:
            DATABASE_FAILURES: the connection is lost, or the database refuses else; the steps before it stay.
        """
        async with self._alone() as alone:
            found = await promptly(self.connection, self.connection.fetch(NOTES, NOTES_A_ROUND))
            if not alone:
                return Repaired(0, len(_ranges(found)))
            repaired = await self._noted(found)
            for step in (self._ended, self._history):
                try:
                    while await step():
                        self._health.beat()
                except _LeftError as left:
                    log.warning("a range stays for the next round", action="repair", problem=str(left))
        return repaired

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        """Keep other processes out of the block where a step takes several transactions; tell whether nobody was in."""
        if not self._spread:
            yield True
            return
        alone: bool = await promptly(self.connection, self.connection.fetchval(ALONE))
        yield alone
        # Where the block ends by an error, so does the session.
        if alone:
            await promptly(self.connection, self.connection.execute(NOT_ALONE))

    async def _noted(self, found: Sequence[Any]) -> Repaired:
        if unbounded := [row for row in found if row["range_start"] is None]:
            await promptly(self.connection, self._forgotten(unbounded))
        ranges = _ranges(found)
        right = 0
        for late in ranges:
            self._health.beat()
            try:
                right += await self._within(self._repaired(late))
            except _LeftError as left:
                where = {"start": late.start.isoformat(), "end": late.end.isoformat()}
                log.warning("a range stays for the next round", action="repair", **where, problem=str(left))
                if left.all:
                    break
        if right:
            log.info("late ranges refreshed", action="repair", ranges=right, notes=len(found))
        return Repaired(right, len(ranges) - right)

    async def _forgotten(self, notes: Sequence[Any]) -> None:
        """Have all before the end of notes computed anew, as part of the history."""
        async with self.connection.transaction():
            if await self.connection.execute(FORGET, max(note["range_end"] for note in notes)) != "UPDATE 0":
                await self.connection.execute(STRIKE_OFF, [note["id"] for note in notes])

    async def _repaired(self, late: LateRange) -> bool:
        """Compute the newest piece of a range, and note the rest of it; tell whether all of it is right."""

        async def computed(row: Any) -> Telling:
            struck_off = (STRIKE_OFF, late.notes)
            if row["high"] is None:
                return [struck_off]
            start = max(row["low"], row["high"] - self.step)
            await self._computed(start, row["high"])
            return [(NOTE, late.start, start), struck_off] if start > row["low"] else [struck_off]

        told = await self._told((NOTED, late.start, late.end), computed)
        return len(told) == 1

    async def _ended(self) -> bool:
        """Close the hours that have ended, and compute a piece of those that were; tell whether there may be more."""
        connection = self.connection
        await promptly(connection, connection.execute(CLOSE))
        closed = await promptly(connection, connection.fetchval(CLOSED))
        if closed is None or not await writers_over(connection, self._health.beat):
            return False
        await promptly(connection, connection.execute(BEGIN, closed))
        return await self._within(self._advanced(closed))

    async def _advanced(self, closed: datetime) -> bool:
        """Compute a piece of what was closed and has settled; tell whether there was any."""

        async def computed(row: Any) -> Telling:
            await self._computed(row["low"], row["high"])
            return [(ADVANCE, row["high"], row["version"])]

        return bool(await self._told((ENDED, closed, self.step), computed))

    async def _history(self) -> bool:
        """Compute a piece of what is before all that is computed; no more of it in a round."""
        if await self._within(self._receded()):
            log.info("the history of the rollups is computed", action="repair")
        return False

    async def _receded(self) -> bool:
        """Compute the newest piece of the history that lacks; tell whether it was the last."""

        async def computed(row: Any) -> Telling:
            low, found = await self._buckets.newest(self.connection, row["high"], self.step)
            if found:
                await self._computed(low, row["high"])
            elif not await self._buckets.cleared(self.connection, row["high"]):
                return []
            return [(RECEDE, low, row["version"])]

        told = await self._told((HISTORY,), computed)
        return any(low is None for _, low, _ in told)

    async def _told(self, found: tuple[Any, ...], computed: Callable[[Any], Awaitable[Telling]]) -> Telling:
        """Find what to compute, compute it, and tell so; return what was told, nothing where nothing was found.

        Raises:
            _LeftError: it is left to the next round.
        """
        connection = self.connection
        if not self._spread:
            async with connection.transaction():
                with _left():
                    await connection.execute(LOCK)
                row = await connection.fetchrow(*found)
                told = [] if row is None else await computed(row)
                await self._tell(told)
                failpoints.reach("rollups.before_commit")
            return told
        row = await promptly(connection, connection.fetchrow(*found))
        if row is None:
            return []
        await self._shown()
        with _left():
            async with connection.transaction():
                told = await computed(row)
                failpoints.reach("rollups.before_commit")
        await self._shown()
        failpoints.reach("rollups.before_telling")
        async with connection.transaction():
            await self._tell(told)
        return told

    async def _tell(self, told: Telling) -> None:
        for statement, *arguments in told:
            if await self.connection.execute(statement, *arguments) == "UPDATE 0":
                raise _LeftError("notes were struck off by somebody else meanwhile")

    async def _shown(self) -> None:
        try:
            await parts_shown(self.connection, self._health.beat)
        except NotShownError as error:
            raise _LeftError(str(error), all_=True) from error

    async def _computed(self, low: datetime | None, high: datetime) -> None:
        """Compute the buckets of a range in the transaction that is under way, and learn how long steps may be."""
        began = time.monotonic()
        try:
            with _left():
                for name, statements in self._buckets.statements.items():
                    at = time.perf_counter()
                    for statement in statements:
                        await self.connection.execute(statement, low, high)
                    refresh_seconds.record(time.perf_counter() - at, {"aggregate": name})
        except _LeftError:
            self.step = max(self.step / 2, HOUR)
            raise
        took = time.monotonic() - began
        if took > SLOW:
            self.step = max(self.step / 2, HOUR)
        elif took < QUICK and (low is None or high - low >= self.step):
            self.step = min(self.step * 2, LONGEST_STEP)

    async def _within(self, step: Coroutine[Any, Any, bool]) -> bool:
        """Return what a step comes to, whose connection is dropped where the server falls silent."""
        longest = sum(map(len, self._buckets.statements.values())) * self._longest + PATIENCE
        if self._spread:
            longest += 2 * (SETTLING + PATIENCE)
        return await with_deadline(step, longest, self.connection.terminate)


def _ranges(found: Sequence[Any]) -> list[LateRange]:
    """Return what is to be computed of rows of `NOTES`."""
    return merged(Note(*row) for row in found if row["range_start"] is not None)


@contextlib.contextmanager
def _left() -> Iterator[None]:
    """Tell what is refused in the block, as it may pass or others may go on, from all else."""
    try:
        yield
    except DATABASE_AWAY:
        raise
    except DatabaseRefusedError as error:
        raise _LeftError(str(error)) from error
