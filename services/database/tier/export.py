"""A chunk's readings as files: day by day, sorted, laid into buckets of sensors, and read back to be compared.

Everything is read in one snapshot. What the server tells of it, counts and sums, must be what was written and what
the storage gives back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from services.contract.instants import POSTGRES_EPOCH, instant_of
from services.platform.postgres.connections import Connection
from services.platform.runtime import failpoints
from services.platform.tier.files import Fingerprint, Readings, Writer, buckets_for, hash_of, verified
from services.platform.tier.storage import Storage

__all__ = ["Bounds", "Chunk", "Exported", "File", "Mark", "TierError", "export", "mark_of"]

_DAY = timedelta(days=1)

_ROW = np.dtype(
    [
        ("columns", ">i2"),
        ("ordinal_size", ">i4"), ("ordinal", ">i8"),
        ("id_size", ">i4"), ("id", ">i8"),
        ("at_size", ">i4"), ("at", ">i8"),
        ("value_size", ">i4"), ("value", ">f8"),
    ]
)  # fmt: skip
_HEADER, _TRAILER = 19, 2
"""Bytes around the rows of a binary COPY."""

_PIECE = 8 * 1024 * 1024

MARK = """
select count(*) as rows, coalesce(sum(id), 0)::text as ids,
  coalesce(sum(hashfloat8extended(value, 0)), 0)::text as value_hashes,
  coalesce(sum(_timescaledb_functions.to_unix_microseconds(timestamp)), 0)::text as instants,
  coalesce(sum(hashtextextended(sensor_id, 0)), 0)::text as sensor_hashes,
  max(timestamp) as last
from {relation}
"""

DAYS = """
select (timestamp at time zone 'UTC')::date as day, count(*) as rows from {relation} group by 1 order by 1
"""

SENSORS = """
select sensor_id from {relation} where timestamp >= $1 and timestamp < $2 group by 1 order by sensor_id collate "C"
"""

ROWS = """
select ordinal, id, timestamp, value
from {relation}
join (
  select sensor_id, row_number() over (order by sensor_id collate "C") as ordinal
  from (select sensor_id from {relation} where timestamp >= {start} and timestamp < {end} group by 1) as of_the_day
) as numbered using (sensor_id)
where timestamp >= {start} and timestamp < {end}
order by ordinal, timestamp, id
"""


class TierError(Exception):
    """A chunk cannot go to the tier now; the message says why."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its quoted name, and its half-open range."""

    relation: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """What a chunk holds, as the server tells: the same of two looks where nothing was changed between them."""

    rows: int
    ids: int
    sums: tuple[int, int, int]
    last: datetime | None


@dataclass(frozen=True, slots=True)
class File:
    """A file that was written: its path, its place, and what is in it."""

    path: str
    day: date
    bucket: int
    buckets: int
    first: datetime
    last: datetime
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """A sensor's earliest instant, and its newest reading by (timestamp, id); microseconds since 1970-01-01 UTC."""

    first: int
    last: int
    last_id: int
    last_value: float

    def joined(self, later: "Bounds") -> "Bounds":
        """Return the bounds of these readings and later ones."""
        return Bounds(min(self.first, later.first), later.last, later.last_id, later.last_value)


@dataclass(frozen=True, slots=True)
class Exported:
    """A chunk's files, what it held when they were written, and each of its sensors with their bounds."""

    mark: Mark
    files: tuple[File, ...]
    sensors: Mapping[str, Bounds]


async def mark_of(connection: Connection, relation: str) -> Mark:
    """Return the mark of a relation."""
    row = await connection.fetchrow(MARK.format(relation=relation))
    sums = int(row["value_hashes"]), int(row["instants"]), int(row["sensor_hashes"])
    return Mark(row["rows"], int(row["ids"]), sums, row["last"])


async def export(connection: Connection, storage: Storage, chunk: Chunk, name: str) -> Exported:
    """Write a chunk's files and read them back.

    Their paths are noted before, and the notes committed: a file of which nobody knows is never made.

    Args:
        connection: the owner's, outside a transaction.
        storage: where they go.
        chunk: which one.
        name: of each file in its folder, which no other export has.

    Raises:
        TierError: what was written is not what the chunk holds.
        STORAGE_FAILURES: the files cannot be written.
        DATABASE_FAILURES: the rows cannot be read.
    """
    days = await connection.fetch(DAYS.format(relation=chunk.relation))
    paths = {
        row["day"]: [
            f"day={row['day'].isoformat()}/bucket={bucket}-of-{buckets_for(row['rows'])}/{name}.parquet"
            for bucket in range(buckets_for(row["rows"]))
        ]
        for row in days
    }
    noted = [path for each in paths.values() for path in each]
    await connection.execute("insert into tier_garbage (path) select unnest($1::text[])", noted)
    failpoints.reach("tier.after_intent")
    found: list[tuple[File, Fingerprint]] = []
    sensors: dict[str, Bounds] = {}
    async with connection.writing("repeatable read"):
        mark = await mark_of(connection, chunk.relation)
        for row in await connection.fetch(DAYS.format(relation=chunk.relation)):
            if row["day"] not in paths:
                raise TierError("readings of another day came while it was read")
            files, bounds = await _day(connection, storage, chunk, row["day"], paths[row["day"]])
            found += files
            for sensor, later in bounds.items():
                sensors[sensor] = sensors[sensor].joined(later) if sensor in sensors else later
    failpoints.reach("tier.after_write")
    whole = sum((print_ for _, print_ in found), Fingerprint())
    if (whole.rows, whole.sums[0]) != (mark.rows, mark.ids % 2**64):
        raise TierError(f"{whole.rows} readings were written, and the chunk has {mark.rows}")
    for file, print_ in found:
        back = await asyncio.to_thread(verified, storage, file.path)
        if back != print_:
            raise TierError(f"{file.path} read back has {back.rows} readings and sums that are not those written")
    failpoints.reach("tier.after_verify")
    return Exported(mark, tuple(file for file, _ in found), sensors)


async def _day(
    connection: Connection, storage: Storage, chunk: Chunk, day: date, paths: Sequence[str]
) -> tuple[list[tuple[File, Fingerprint]], dict[str, Bounds]]:
    """Write the files of a day; return them, and the bounds of the sensors that are in them."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    names = tuple(
        row[0] for row in await connection.fetch(SENSORS.format(relation=chunk.relation), start, start + _DAY)
    )
    bounds = {"start": _literal(start), "end": _literal(start + _DAY)}
    laid = _Laid(storage, names, paths)
    try:
        await connection.copy_from_query(
            ROWS.format(relation=chunk.relation, **bounds), output=laid.take, format="binary"
        )
        writers = await asyncio.to_thread(laid.finish)
    except BaseException:
        await asyncio.to_thread(laid.leave)
        raise
    files = []
    for bucket, writer in writers.items():
        size = await asyncio.to_thread(storage.size, paths[bucket])
        ends = instant_of(writer.first), instant_of(writer.last)
        file = File(paths[bucket], day, bucket, len(paths), *ends, writer.written.rows, size)
        files.append((file, writer.written))
    return files, laid.bounds


def _literal(instant: datetime) -> str:
    return f"'{instant.isoformat()}'::timestamptz"


class _Laid:
    """The rows of a day on their way into the files of their buckets.

    Attributes:
        bounds: of the sensors whose rows came.
    """

    def __init__(self, storage: Storage, sensors: tuple[str, ...], paths: Sequence[str]) -> None:
        self._storage, self._sensors, self._paths = storage, sensors, paths
        self._bucket = np.array([hash_of(sensor) % len(paths) for sensor in sensors], np.int64)
        self._writers: dict[int, Writer] = {}
        self._held = bytearray()
        self._begun = False
        self.bounds: dict[str, Bounds] = {}

    async def take(self, piece: bytes) -> None:
        """Take a piece of a binary COPY."""
        self._held += piece
        if len(self._held) >= _PIECE:
            await asyncio.to_thread(self._add)

    def finish(self) -> dict[int, Writer]:
        """Write what is left; return the writers by their buckets."""
        self._add()
        if len(self._held) != _TRAILER:
            raise TierError("what the server sent is no whole binary COPY")
        for writer in self._writers.values():
            writer.close()
        return self._writers

    def leave(self) -> None:
        """Close what is open; the paths are noted, so the files will be removed."""
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError:
                continue

    def _add(self) -> None:
        if not self._begun:
            del self._held[:_HEADER]
            self._begun = True
        many = len(self._held) // _ROW.itemsize
        rows: Any = np.frombuffer(bytes(self._held[: many * _ROW.itemsize]), _ROW)
        del self._held[: many * _ROW.itemsize]
        if not many:
            return
        place = rows["ordinal"].astype(np.int64) - 1
        at = rows["at"].astype(np.int64) + POSTGRES_EPOCH
        readings = Readings(self._sensors, place, rows["id"].astype(np.int64), at, rows["value"].astype(np.float64))
        self._bound(readings)
        bucket = self._bucket[place]
        for number in np.unique(bucket).tolist():
            if number not in self._writers:
                self._writers[number] = Writer(self._storage, self._paths[number])
            self._writers[number].add(readings.taken(bucket == number))

    def _bound(self, readings: Readings) -> None:
        """Take the bounds of rows, which come in the order of sensor, timestamp and id."""
        begins = np.flatnonzero(np.diff(readings.place, prepend=-1))
        ends = np.append(begins[1:], len(readings)) - 1
        columns = (
            readings.place[begins],
            readings.at[begins],
            readings.at[ends],
            readings.id[ends],
            readings.value[ends],
        )
        for place, *bounds in zip(*(column.tolist() for column in columns), strict=True):
            sensor, later = self._sensors[place], Bounds(*bounds)
            known = self.bounds.get(sensor)
            self.bounds[sensor] = known.joined(later) if known else later
