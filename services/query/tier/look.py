"""One look for readings of sensors in a span: which files have them, how many are needed, what deletions leave."""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from services.contract.instants import instant_of, micros_of
from services.platform.http.parameters import wrong
from services.platform.postgres.connections import Connection
from services.platform.tier.files import Deleted, Readings, hash_of, read

from ..reads import Grouped, Reads
from ..router import Span
from ..table import Table
from .grouping import read_grouped

__all__ = ["FILES", "Look", "ReadFiles"]

Sized = TypeVar("Sized", Readings, Table)


class ReadFiles(Protocol):
    """Reads files by a function of a storage and the rest of a job, some at once."""

    def __call__(
        self, reader: Callable[..., Sized], jobs: Sequence[tuple[Any, ...]]
    ) -> Coroutine[Any, Any, list[Sized]]:
        """Return what it made of each job."""


_HELD = 4_000_000
"""Readings of files that are read before those that are not wanted are let go."""

_MOST_DAYS = 64
"""Days that are looked through at once where few readings are needed; the first time it is one."""

FILES = """
select f.path, f.day, f.bucket, f.buckets, f.deletions, f.rows
from tier_files f
where f.last >= greatest($1, timestamptz '0001-01-01Z') and f.first < least($2, timestamptz '9999-12-31Z')
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


class Look:
    """One look for the readings of sensors in a span."""

    def __init__(
        self, read_files: ReadFiles, connection: Connection, reads: Reads, *, sensors: list[str], span: Span, most: int
    ) -> None:
        """Take what is looked for; `most` readings may be held."""
        self._read, self._connection, self._reads, self._span, self._most = read_files, connection, reads, span, most
        self._sensors, self._first = sensors, sensors[0]

    async def partials(self, wanted: Grouped) -> list[Table]:
        """Return partials of all of them, a table a file."""
        files = await self._files()
        ordinals = {sensor: place + 1 for place, sensor in enumerate(self._sensors)}
        reader = partial(read_grouped, wanted=wanted, ordinals=ordinals)
        jobs = self._jobs(files, self._sensors, await self._deleted(files))
        return [table for table in await self._read(reader, jobs) if len(table)]

    async def _files(self) -> list[Any]:
        return list(await self._connection.fetch(FILES, *map(instant_of, self._span)))

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
            self._check(found)
            counts = _counts(found)
            left = [sensor for sensor in left if counts.get(sensor, 0) < limit]
            begin, width = begin + width, min(width * 4, _MOST_DAYS)
        return found

    async def _of(self, files: Sequence[Any], sensors: Sequence[str], deleted: Sequence[Deleted]) -> list[Readings]:
        """Return readings of files, some files at a time, so that too many are noticed before they are held."""
        found: list[Readings] = []
        for part in _parts(files):
            read_ = await self._read(read, self._jobs(part, sensors, deleted))
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
