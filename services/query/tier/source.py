"""The files that a question needs, looked up in its own snapshot and read while it is held.

A question that may need them locks the table and its chunks, or the gate, before it has its snapshot. A chunk that is
moved is dropped in the transaction that lists its files: so either the question sees the files listed, and a table
without that chunk, or it has the chunk for as long as it needs it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import structlog

from services.contract.instants import instant_of, micros_of
from services.platform.http.errors import Problem
from services.platform.postgres.connections import Connection
from services.platform.postgres.schema import UnfitError
from services.platform.settings import Settings
from services.platform.tier.files import Readings, hash_of
from services.platform.tier.storage import STORAGE_FAILURES, Storage, open_storage

from ..plan import FIRST, LAST, Plan
from ..reads import Ask, Reads
from ..router import Span, common, without
from ..table import Column, Kind, Table
from .look import FILES, Look
from .union import united

__all__ = ["Joined", "Tier"]

Sized = TypeVar("Sized", Readings, Table)

log = structlog.get_logger(__name__)

_LOCK, _GATE = (f"lock table public.{name} in access share mode" for name in ("sensor_data", "tier_gate"))

_CHUNKS_THERE = "select count(*) from pg_catalog.pg_inherits where inhparent = 'sensor_data'::regclass"
_MOST_CHUNKS = 256
"""Chunks up to which all are locked, and a move waits for the questions about its own alone; a server has room for some
thousand locks, of all sessions together, and beyond a move waits for every question about the tier."""

_DAY_ROWS = 10_000_000
"""Readings that a sensor may have in a day, which is the least of a slice; thirty bytes are held of each."""

_YOUNG = timedelta(hours=22)
"""Nothing younger than a day goes to the tier; clocks may differ by two hours."""

_DAY = timedelta(days=1)

_FEW, _SLICE = 5_000, 250_000
"""Readings of files up to which those of a sensor go with the statement, and up to which they are a slice."""

_AT_ONCE, _A_THREAD = 8, 16
"""Files that one question reads at once, and how many a thread reads one after the other at the most."""

_CHUNKS = """
select greatest(c.range_start, $1) as low, least(c.range_end, $2) as high
from tier_chunks c where c.range_start < $2 and c.range_end > $1
"""

_BELOW_ALL_IDS = -(1 << 63)

_BOUNDS = datetime(1800, 1, 1, tzinfo=UTC), datetime(2250, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """A plan with the tier's readings.

    Attributes:
        plan: whose statement has the readings, too.
        spans: which of what it reads are in the tier.
        beside: partials that go beside the statement's; None where there are none.
        slices: plans of parts of a large range, whose readings of the tier `rows` has; none where `plan` has all.
    """

    plan: Plan
    spans: list[Span]
    beside: Table | None = None
    slices: tuple[Plan, ...] = ()


class Tier:
    """The tier as the query service has it.

    Attributes:
        lock: what a question executes before it has its snapshot.
    """

    def __init__(self, settings: Settings) -> None:
        """Open nothing until a question needs it."""
        self._location = settings.tier.location
        self._most = settings.query.max_tier_rows
        self.lock = _GATE
        self._storage: Storage | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def look(self, connection: Connection) -> None:
        """See that what is in the tier can be read, and what to lock.

        Raises:
            UnfitError: there are files, and no location.
            DATABASE_FAILURES: the database is away or refuses.
        """
        if not self._location and await connection.fetchval("select exists (select from tier_files)"):
            raise UnfitError("readings are in the cold tier; set MILLRACE_TIER_LOCATION to where its files lie")
        self.lock = _LOCK if await connection.fetchval(_CHUNKS_THERE) <= _MOST_CHUNKS else _GATE

    def concerns(self, reads: Sequence[Reads]) -> bool:
        """Tell whether readings may be in the tier, as far as their instants tell."""
        return bool(self._location) and any(each.start < datetime.now(UTC) - _YOUNG for each in reads)

    async def joined(self, connection: Connection, plan: Plan) -> "Joined":
        """Return what gives the tier's readings, too.

        Args:
            connection: in a transaction that has `lock`, and its one snapshot.
            plan: what is asked.

        Raises:
            Problem: tier_unavailable; invalid_parameter, where there are more readings than may be.
            DATABASE_FAILURES: the database is away or refuses.
        """
        spans: list[Span] = []
        found: list[Readings] = []
        whole: list[Span] = []
        tables: list[Table] = []
        if plan.sliceable and (slices := await self._slices(connection, plan)):
            chunks = await connection.fetch(_CHUNKS, *map(instant_of, _bounded(plan.reads[0])))
            return Joined(plan, [(micros_of(row["low"]), micros_of(row["high"])) for row in chunks], slices=slices)
        for each in plan.reads:
            sensors = await self._sensors(connection, each)
            asked = await _asked(connection, each)
            if each.limit is None:
                asked = without(asked, whole)
                whole += asked
            for span in asked:
                rows = await connection.fetch(_CHUNKS, *map(instant_of, span))
                if not rows or not sensors:
                    continue
                inside = [(micros_of(row["low"]), micros_of(row["high"])) for row in rows]
                if each.limit is None:
                    spans += inside
                look = Look(
                    self.read, connection, each, sensors=sensors, span=span, most=self._most - sum(map(len, found))
                )
                if each.grouped is None:
                    found += await look.readings()
                else:
                    tables += await look.partials(each.grouped)
        if any(map(len, found)):
            plan = await asyncio.to_thread(lambda: united(plan, _together(found)))
        return Joined(plan, common(spans, spans), Table.joined(tables) if tables else None)

    async def rows(self, connection: Connection, plan: Plan) -> Table | None:
        """Return the tier's readings of a slice, in the columns of the plan's statement and the order of time.

        Raises:
            Problem: tier_unavailable; invalid_parameter, where there are more readings than may be.
            DATABASE_FAILURES: the database is away or refuses.
        """
        (each,) = plan.reads
        span, sensors = _bounded(each), await self._sensors(connection, each)
        if span[0] >= span[1]:
            return None
        look = Look(self.read, connection, each, sensors=sensors, span=span, most=max(self._most, _DAY_ROWS))
        found = await look.readings()
        return await asyncio.to_thread(_table, _together(found)) if found else None

    async def read(self, reader: Callable[..., Sized], jobs: Sequence[tuple[Any, ...]]) -> list[Sized]:
        """Read files, some at once.

        Raises:
            Problem: tier_unavailable.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_AT_ONCE, "tier")
        loop = asyncio.get_running_loop()
        try:
            if self._storage is None:
                self._storage = await loop.run_in_executor(self._threads, open_storage, self._location)
            storage = self._storage

            def some(part: Sequence[tuple[Any, ...]]) -> list[Sized]:
                return [reader(storage, *job) for job in part]

            # A thread takes some at a time, as to hand over one costs a good part of reading it.
            width = max(min(len(jobs) // _AT_ONCE, _A_THREAD), 1)
            parts = [jobs[begin : begin + width] for begin in range(0, len(jobs), width)]
            found = await asyncio.gather(*(loop.run_in_executor(self._threads, some, part) for part in parts))
            return [each for part in found for each in part]
        except STORAGE_FAILURES as error:
            log.warning("a file of the tier could not be read", action="ask", error=f"{type(error).__name__}: {error}")
            raise Problem(
                "tier_unavailable",
                "readings of this range are in the cold tier, whose files cannot be read now; try again",
                {"Retry-After": "5"},
            ) from None

    async def _slices(self, connection: Connection, plan: Plan) -> tuple[Plan, ...]:
        """Return plans of parts of a range, cut between days; none where its readings are few enough for one."""
        (each,) = plan.reads
        span = _bounded(each)
        if span[0] >= span[1]:
            return ()
        number = hash_of(each.sensors[0] if not isinstance(each.sensors, Ask) else "")
        rows: dict[date, int] = defaultdict(int)
        for file in await connection.fetch(FILES, *map(instant_of, span)):
            if number % file["buckets"] == file["bucket"]:
                rows[file["day"]] += file["rows"]
        if sum(rows.values()) <= _FEW:
            return ()
        edges, held = [each.start], 0
        for day in sorted(rows):
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            if held and held + rows[day] > _SLICE and start > edges[-1]:
                edges.append(start)
                held = 0
            held += rows[day]
        # Behind the last day there is nothing to wait for.
        behind = start + _DAY
        edges += [behind, each.end] if edges[-1] < behind < each.end else [each.end]
        return tuple(_part(plan, low, high) for low, high in pairwise(edges) if low < high)

    async def _sensors(self, connection: Connection, each: Reads) -> list[str]:
        if not isinstance(each.sensors, Ask):
            return list(each.sensors)
        return [row[0] for row in await connection.fetch(each.sensors.statement, *each.sensors.arguments)]

    def close(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _part(plan: Plan, low: datetime, high: datetime) -> Plan:
    """Return the plan of a part of a range; only the first one may begin behind a page's last row."""
    sensor, first, _, *others = plan.arguments
    above = others if low == first else [_BELOW_ALL_IDS] * len(others)
    reads = replace(plan.reads[0], start=low, end=high)
    return replace(plan, arguments=(sensor, low, high, *above), reads=(reads,), sliceable=False, divisible=False)


def _bounded(each: Reads) -> Span:
    """Return the range of readings, as far as the tier may have any."""
    low, high = _BOUNDS
    return micros_of(min(max(each.start, low), high)), micros_of(max(min(each.end, high), low))


def _table(found: Readings) -> Table:
    order = np.lexsort((found.id, found.at))
    return Table(
        {
            "id": Column(Kind.INTEGER, found.id[order]),
            "timestamp": Column(Kind.INSTANT, found.at[order]),
            "value": Column(Kind.FLOAT, found.value[order]),
        }
    )


async def _asked(connection: Connection, each: Reads) -> list[Span]:
    """Return the spans of readings, as far as the tier may have any."""
    low, high = _BOUNDS
    span = _bounded(each)
    if span[0] >= span[1]:
        return []
    if each.within is None:
        return [span]
    ranges = [
        found for row in await connection.fetch(each.within.statement, *each.within.arguments) for found in row[0]
    ]
    return common(
        [span],
        [(micros_of(max(found.lower or FIRST, low)), micros_of(min(found.upper or LAST, high))) for found in ranges],
    )


def _together(found: Sequence[Readings]) -> Readings:
    """Return readings of several files as one."""
    places: dict[str, int] = {}
    moved = []
    for each in found:
        new = np.array([places.setdefault(sensor, len(places)) for sensor in each.sensors], np.int64)
        moved.append(new[each.place])
    return Readings(
        tuple(places),
        np.concatenate(moved),
        np.concatenate([each.id for each in found]),
        np.concatenate([each.at for each in found]),
        np.concatenate([each.value for each in found]),
    )
