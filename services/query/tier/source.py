"""The files that a question needs, looked up in its own snapshot and read while it is held.

A question that may need them locks the table and its chunks before it has its snapshot. A chunk that is moved is
dropped in the transaction that lists its files: so either the question sees the files listed, and a table without that
chunk, or it has the chunk for as long as it needs it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

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
from ..reads import Ask, Reads
from ..router import Span, common, without
from .union import united

__all__ = ["LOCK", "Tier"]

log = structlog.get_logger(__name__)

LOCK = "lock table public.sensor_data in access share mode"

_YOUNG = timedelta(hours=22)
"""Nothing younger than a day goes to the tier; clocks may differ by two hours."""

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

_BOUNDS = datetime(1800, 1, 1, tzinfo=UTC), datetime(2250, 1, 1, tzinfo=UTC)


class Tier:
    """The tier as the query service has it."""

    def __init__(self, settings: Settings) -> None:
        """Open nothing until a question needs it."""
        self._location = settings.tier.location
        self._most = settings.query.max_tier_rows
        self._storage: Storage | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def look(self, connection: Connection) -> None:
        """See that what is in the tier can be read.

        Raises:
            UnfitError: there are files, and no location.
            DATABASE_FAILURES: the database is away or refuses.
        """
        if not self._location and await connection.fetchval("select exists (select from tier_files)"):
            raise UnfitError("readings are in the cold tier; set MILLRACE_TIER_LOCATION to where its files lie")

    def concerns(self, reads: Sequence[Reads]) -> bool:
        """Tell whether readings may be in the tier, as far as their instants tell."""
        return bool(self._location) and any(each.start < datetime.now(UTC) - _YOUNG for each in reads)

    async def joined(self, connection: Connection, plan: Plan) -> tuple[Plan, list[Span]]:
        """Return a plan that has the tier's readings, too, and which spans of what it reads are in the tier.

        Args:
            connection: in a transaction that has `LOCK`, and its one snapshot.
            plan: what is asked.

        Raises:
            Problem: tier_unavailable; invalid_parameter, where there are more readings than may be.
            DATABASE_FAILURES: the database is away or refuses.
        """
        spans: list[Span] = []
        found: list[Readings] = []
        reads = [(each, await self._sensors(connection, each)) for each in plan.reads]
        whole: list[Span] = []
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
                look = _Look(self, connection, each, sensors, span, self._most - sum(map(len, found)))
                found += await look.readings()
        if not found or not any(map(len, found)):
            return plan, common(spans, spans)
        together = await asyncio.to_thread(_together, found)
        return await asyncio.to_thread(united, plan, together), common(spans, spans)

    async def read(self, jobs: Sequence[tuple[Any, ...]]) -> list[Readings]:
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
            return list(await asyncio.gather(*(loop.run_in_executor(self._threads, read, storage, *job) for job in jobs)))
        except STORAGE_FAILURES as error:
            log.warning("a file of the tier could not be read", action="ask", error=f"{type(error).__name__}: {error}")
            raise Problem(
                "tier_unavailable",
                "readings of this range are in the cold tier, whose files cannot be read now; try again",
                {"Retry-After": "5"},
            ) from None

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
        self, tier: Tier, connection: Connection, reads: Reads, sensors: list[str], span: Span, most: int
    ) -> None:
        self._tier, self._connection, self._reads, self._span, self._most = tier, connection, reads, span, most
        self._sensors = sensors

    async def readings(self) -> list[Readings]:
        """Return them, as far as they are needed."""
        ends = [instant_of(end) for end in self._span]
        files = await self._connection.fetch(_FILES, *ends)
        if not files:
            return []
        least = min(file["deletions"] for file in files)
        deleted = [
            Deleted(row[0], frozenset(row[1]), micros_of(row[2]), micros_of(row[3]), row[4])
            for row in await self._connection.fetch(_DELETED, least, self._sensors, *ends)
        ]
        if self._reads.limit is None:
            found = await self._of(files, self._sensors, deleted)
            self._check(found)
            return found
        return await self._nearest(files, deleted)

    async def _nearest(self, files: Sequence[Any], deleted: Sequence[Deleted]) -> list[Readings]:
        """Return readings day by day, until each sensor has as many as are needed."""
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
            self._check(found)
            counts = _counts(found)
            left = [sensor for sensor in left if counts.get(sensor, 0) < limit]
            begin, width = begin + width, min(width * 4, _MOST_DAYS)
        return found

    async def _of(self, files: Iterable[Any], sensors: Sequence[str], deleted: Sequence[Deleted]) -> list[Readings]:
        hashes = [(sensor, hash_of(sensor)) for sensor in sensors]
        jobs = []
        for file in files:
            own = tuple(sensor for sensor, number in hashes if number % file["buckets"] == file["bucket"])
            if own:
                later = [each for each in deleted if each.number > file["deletions"]]
                jobs.append((file["path"], own, self._span, later))
        return [self._behind(each) for each in await self._tier.read(jobs) if len(each)]

    def _behind(self, found: Readings) -> Readings:
        """Return readings without those that a page before had."""
        behind, first = self._reads.behind, self._sensors[0]
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


async def _asked(connection: Connection, each: Reads) -> list[Span]:
    """Return the spans of readings, as far as the tier may have any."""
    low, high = _BOUNDS
    start, end = max(each.start, low), min(each.end, high)
    if start >= end:
        return []
    span = micros_of(start), micros_of(end)
    if each.within is None:
        return [span]
    ranges = [found for row in await connection.fetch(each.within.statement, *each.within.arguments) for found in row[0]]
    return common(
        [span],
        [
            (micros_of(max(found.lower or FIRST, low)), micros_of(min(found.upper or LAST, high)))
            for found in ranges
        ],
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
