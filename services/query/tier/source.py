"""The files that a question needs, looked up in its own snapshot and read while it is held.

A question that may need them locks the table and its chunks, or the gate, before it has its snapshot. A chunk that is
moved is dropped in the transaction that lists its files: so either the question sees the files listed, and a table
without that chunk, or it has the chunk for as long as it needs it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import structlog

from services.contract.instants import instant_of, micros_of
from services.platform.http.errors import Problem
from services.platform.http.parameters import wrong
from services.platform.postgres.connections import Connection
from services.platform.postgres.schema import UnfitError
from services.platform.settings import Settings
from services.platform.tier.files import Deleted, Readings, hash_of, read
from services.platform.tier.storage import STORAGE_FAILURES, Storage, open_storage

from ..plan import FIRST, LAST, Plan
from ..reads import Ask, Grouped, Reads
from ..router import Span, common, without
from ..table import Table
from .grouping import read_grouped
from .union import united

__all__ = ["Joined", "Tier"]

Sized = TypeVar("Sized", Readings, Table)

log = structlog.get_logger(__name__)

_LOCK, _GATE = (f"lock table public.{name} in access share mode" for name in ("sensor_data", "tier_gate"))

_CHUNKS_THERE = "select count(*) from pg_catalog.pg_inherits where inhparent = 'sensor_data'::regclass"
_MOST_CHUNKS = 256
"""Chunks up to which all are locked, and a move waits for the questions about its own alone; a server has room for some
thousand locks, of all sessions together, and beyond a move waits for every question about the tier."""

_YOUNG = timedelta(hours=22)
"""Nothing younger than a day goes to the tier; clocks may differ by two hours."""

_SLICE = 250_000
"""Readings of files up to which a range is asked for as a whole; of a larger one, part by part."""

_HELD = 4_000_000
"""Readings of files that are read before those that are not wanted are let go."""

_AT_ONCE = 8
"""Files that one question reads at once."""

_MOST_DAYS = 64
"""Days that are looked through at once where few readings are needed; the first time it is one."""

_FILES = """
select f.path, f.day, f.bucket, f.buckets, f.deletions, f.rows
from tier_files f
where f.last >= greatest($1, timestamptz '0001-01-01Z') and f.first < least($2, timestamptz '9999-12-31Z')
"""

_CHUNKS = """
select greatest(c.range_start, $1) as low, least(c.range_end, $2) as high
from tier_chunks c where c.range_start < $2 and c.range_end > $1
"""

_DELETED = """
select d.number, d.sensor_ids, d.range_start, d.range_end, d.last_id
from deletions d
where d.number > $1 and d.sensor_ids && $2::text[] and d.range_start < $4 and d.range_end > $3
"""

_KNOWN = """
select t.sensor_id, t.first, t.last, t.last_id, t.last_value, exists (
  select from deletions d
  where t.sensor_id = any (d.sensor_ids) and t.last >= d.range_start and t.last < d.range_end and t.last_id <= d.last_id
) as deleted
from tier_sensors t
where t.sensor_id = any ($1::text[]) and t.first < $3 and t.last >= $2
"""

# Those of which no reading that is younger than the tier's is in the table.
_UNANSWERED = """
select asked.sensor_id
from unnest($1::text[]) as asked (sensor_id)
left join lateral (
  select true as found
  from sensor_data
  where sensor_id = asked.sensor_id and timestamp > (select max(last) from tier_files)
    and timestamp < least($2, timestamptz '9999-12-31 23:59:59.999999Z')
  limit 1
) as younger on true
where younger.found is null
"""

_BOUNDS = datetime(1800, 1, 1, tzinfo=UTC), datetime(2250, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """A plan with the tier's readings.

    Attributes:
        plan: whose statement has the readings, too.
        spans: which of what it reads are in the tier.
        beside: partials that go beside the statement's; None where there are none.
        slices: plans of parts of a large range, each to be joined by itself; none where `plan` has all.
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
        reads = [(each, await self._sensors(connection, each)) for each in plan.reads]
        whole: list[Span] = []
        tables: list[Table] = []
        if plan.sliceable and (slices := await self._slices(connection, plan)):
            chunks = await connection.fetch(_CHUNKS, *map(instant_of, _bounded(plan.reads[0])))
            return Joined(plan, [(micros_of(row["low"]), micros_of(row["high"])) for row in chunks], slices=slices)
        for each, sensors in reads:
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
                look = _Look(self, connection, each, sensors=sensors, span=span, most=self._most - sum(map(len, found)))
                if each.grouped is None:
                    found += await look.readings()
                else:
                    tables += await look.partials(each.grouped)
        if any(map(len, found)):
            plan = await asyncio.to_thread(lambda: united(plan, _together(found)))
        return Joined(plan, common(spans, spans), Table.joined(tables) if tables else None)

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
            return list(
                await asyncio.gather(*(loop.run_in_executor(self._threads, reader, storage, *job) for job in jobs))
            )
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
        for file in await connection.fetch(_FILES, *map(instant_of, span)):
            if number % file["buckets"] == file["bucket"]:
                rows[file["day"]] += file["rows"]
        if sum(rows.values()) <= _SLICE:
            return ()
        edges, held = [each.start], 0
        for day in sorted(rows):
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            if held and held + rows[day] > _SLICE and start > edges[-1]:
                edges.append(start)
                held = 0
            held += rows[day]
        edges.append(each.end)
        return tuple(_part(plan, low, high) for low, high in pairwise(edges) if low < high)

    async def _sensors(self, connection: Connection, each: Reads) -> list[str]:
        if not isinstance(each.sensors, Ask):
            return list(each.sensors)
        return [row[0] for row in await connection.fetch(each.sensors.statement, *each.sensors.arguments)]

    def close(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


class _Look:
    """One look for the readings of sensors in a span."""

    def __init__(
        self, tier: Tier, connection: Connection, reads: Reads, *, sensors: list[str], span: Span, most: int
    ) -> None:
        self._tier, self._connection, self._reads, self._span, self._most = tier, connection, reads, span, most
        self._sensors, self._first = sensors, sensors[0]

    async def partials(self, wanted: Grouped) -> list[Table]:
        """Return partials of all of them, a table a file."""
        files = await self._files()
        ordinals = {sensor: place + 1 for place, sensor in enumerate(self._sensors)}
        reader = partial(read_grouped, wanted=wanted, ordinals=ordinals)
        jobs = self._jobs(files, self._sensors, await self._deleted(files))
        return [table for table in await self._tier.read(reader, jobs) if len(table)]

    async def _files(self) -> list[Any]:
        return list(await self._connection.fetch(_FILES, *map(instant_of, self._span)))

    async def _deleted(self, files: Sequence[Any]) -> list[Deleted]:
        if not files:
            return []
        least = min(file["deletions"] for file in files)
        ends = map(instant_of, self._span)
        return [
            Deleted(row[0], frozenset(row[1]), micros_of(row[2]), micros_of(row[3]), row[4])
            for row in await self._connection.fetch(_DELETED, least, self._sensors, *ends)
        ]

    async def readings(self) -> list[Readings]:
        """Return them, as far as they are needed."""
        if self._reads.limit is not None:
            return await self._nearest()
        files = await self._files()
        return await self._of(files, self._sensors, await self._deleted(files))

    async def _nearest(self) -> list[Readings]:
        """Return as many as are needed of each sensor; where that is its newest one, without a look into files."""
        ends = [instant_of(end) for end in self._span]
        newest = self._reads.descending and self._reads.limit == 1
        if newest:
            rows = await self._connection.fetch(_UNANSWERED, self._sensors, self._reads.end)
            self._sensors = [row[0] for row in rows]
        known = await self._connection.fetch(_KNOWN, self._sensors, *ends)
        at_hand = [row for row in known if newest and row["last"] < ends[1] and not row["deleted"]]
        looked_for = {row["sensor_id"] for row in known} - {row["sensor_id"] for row in at_hand}
        self._sensors = [sensor for sensor in self._sensors if sensor in looked_for]
        found = [_newest(at_hand)] if at_hand else []
        return found + (await self._by_days() if self._sensors else [])

    async def _by_days(self) -> list[Readings]:
        """Return readings day by day, until each sensor has as many as are needed."""
        files = await self._files()
        deleted = await self._deleted(files)
        days: dict[date, list[Any]] = defaultdict(list)
        for file in files:
            days[file["day"]].append(file)
        left, limit = list(self._sensors), self._reads.limit or 0
        found: list[Readings] = []
        order = sorted(days, reverse=self._reads.descending)
        begin, width = 0, 1
        while begin < len(order) and left:
            part = [file for day in order[begin : begin + width] for file in days[day]]
            found += await self._of(part, left, deleted)
            counts = _counts(found)
            left = [sensor for sensor in left if counts.get(sensor, 0) < limit]
            begin, width = begin + width, min(width * 4, _MOST_DAYS)
        return found

    async def _of(self, files: Sequence[Any], sensors: Sequence[str], deleted: Sequence[Deleted]) -> list[Readings]:
        """Return readings of files, some files at a time, so that too many are noticed before they are held."""
        found: list[Readings] = []
        for part in _parts(files):
            read_ = await self._tier.read(read, self._jobs(part, sensors, deleted))
            found += [self._behind(each) for each in read_ if len(each)]
            self._check(found)
        return found

    def _jobs(self, files: Iterable[Any], sensors: Sequence[str], deleted: Sequence[Deleted]) -> list[tuple[Any, ...]]:
        """Return what to read of which file: its path, sensors, the span, and what to leave out."""
        hashes = [(sensor, hash_of(sensor)) for sensor in sensors]
        jobs = []
        for file in files:
            own = tuple(sensor for sensor, number in hashes if number % file["buckets"] == file["bucket"])
            if own:
                later = [each for each in deleted if each.number > file["deletions"]]
                jobs.append((file["path"], own, self._span, later))
        return jobs

    def _behind(self, found: Readings) -> Readings:
        """Return readings without those that a page before had."""
        behind, first = self._reads.behind, self._first
        if behind is None or first not in found.sensors:
            return found
        at, above = micros_of(behind[0]), behind[1]
        if self._reads.descending:
            there = (found.at < at) | ((found.at == at) & (found.id < above))
        else:
            there = (found.at > at) | ((found.at == at) & (found.id > above))
        return found.taken(there | (found.place != found.sensors.index(first)))

    def _check(self, found: Sequence[Readings]) -> None:
        if sum(map(len, found)) > self._most:
            raise wrong(
                start="more readings are in the cold tier than the MILLRACE_QUERY_MAX_TIER_ROWS that one question may "
                "take; ask about a shorter range or fewer sensors, or by pages of fewer rows"
            )


def _part(plan: Plan, low: datetime, high: datetime) -> Plan:
    """Return the plan of a part of a range; only the first one may begin behind a page's last row."""
    sensor, _, _, *others = plan.arguments
    reads = replace(plan.reads[0], start=low, end=high)
    return replace(plan, arguments=(sensor, low, high, *others), reads=(reads,), sliceable=False, divisible=False)


def _bounded(each: Reads) -> Span:
    """Return the range of readings, as far as the tier may have any."""
    low, high = _BOUNDS
    return micros_of(min(max(each.start, low), high)), micros_of(max(min(each.end, high), low))


def _parts(files: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield files, as many at a time as have `_HELD` readings."""
    part: list[Any] = []
    held = 0
    for file in files:
        if part and held + file["rows"] > _HELD:
            yield part
            part, held = [], 0
        part.append(file)
        held += file["rows"]
    if part:
        yield part


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


def _newest(rows: Sequence[Any]) -> Readings:
    """Return the newest readings of sensors, as the database knows them."""
    return Readings(
        tuple(row["sensor_id"] for row in rows),
        np.arange(len(rows)),
        np.array([row["last_id"] for row in rows], np.int64),
        np.array([micros_of(row["last"]) for row in rows], np.int64),
        np.array([row["last_value"] for row in rows], np.float64),
    )


def _counts(found: Iterable[Readings]) -> dict[str, int]:
    """Return how many readings each sensor has."""
    counts: dict[str, int] = defaultdict(int)
    for each in found:
        numbers = np.bincount(each.place, minlength=len(each.sensors))
        for sensor, many in zip(each.sensors, numbers.tolist(), strict=True):
            counts[sensor] += many
    return counts


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
