"""A file of the tier: the readings of one day and one bucket of sensors, sorted by sensor, timestamp and id.

Row groups have statistics, so that who asks for few sensors of many reads few of them. The columns are those of the
table and nothing is ours about the files: whatever reads Parquet reads them.
"""

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .storage import Storage

__all__ = ["Deleted", "Fingerprint", "Readings", "Writer", "buckets_for", "fingerprint", "hash_of", "read", "verified"]

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]

ROW_GROUP = 16_384
"""Rows: what is read for one sensor at the least, where it has fewer."""

_ROWS_A_BUCKET = 2_000_000
_MOST_BUCKETS = 64


def hash_of(sensor_id: str) -> int:
    """Return the number that, modulo the buckets of a day, tells the bucket of a sensor."""
    return zlib.crc32(sensor_id.encode())


def buckets_for(rows: int) -> int:
    """Return into how many buckets a day of so many rows is laid, a power of two."""
    return min(1 << max(-(-rows // _ROWS_A_BUCKET) - 1, 0).bit_length(), _MOST_BUCKETS)


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Columns of readings.

    Attributes:
        sensors: ids.
        place: of each reading's sensor among them.
        id: of each reading.
        at: microseconds since 1970-01-01 UTC.
        value: of each reading.
    """

    sensors: tuple[str, ...]
    place: Numbers
    id: Numbers
    at: Numbers
    value: Floats

    def __len__(self) -> int:
        return len(self.at)

    def taken(self, rows: Any) -> "Readings":
        """Return some of the readings."""
        return Readings(self.sensors, self.place[rows], self.id[rows], self.at[rows], self.value[rows])


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What two sets of readings have in common only if they are the same, for all that chance may do.

    Attributes:
        rows: how many there are.
        sums: of ids, instants, the bits of values, and hashes of sensors, modulo 2**64, in no order.
    """

    rows: int = 0
    sums: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __add__(self, other: "Fingerprint") -> "Fingerprint":
        sums = [(mine + its) % 2**64 for mine, its in zip(self.sums, other.sums, strict=True)]
        return Fingerprint(self.rows + other.rows, (sums[0], sums[1], sums[2], sums[3]))


def fingerprint(readings: Readings) -> Fingerprint:
    """Return the fingerprint of readings."""
    hashes = np.array([hash_of(sensor) for sensor in readings.sensors], np.uint64)
    columns = (
        readings.id.view(np.uint64),
        readings.at.view(np.uint64),
        np.ascontiguousarray(readings.value).view(np.uint64),
        hashes[readings.place] if len(hashes) else hashes,
    )
    found = [int(column.sum(dtype=np.uint64)) for column in columns]
    return Fingerprint(len(readings), (found[0], found[1], found[2], found[3]))


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion: readings of sensors with `start <= at < end` in microseconds, and ids up to `last_id`."""

    number: int
    sensors: frozenset[str]
    start: int
    end: int
    last_id: int


class Writer:
    """Writes one file.

    Attributes:
        written: fingerprint of what it was given.
        first, last: the earliest and the latest instant.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        """Open the file.

        Raises:
            STORAGE_FAILURES: it cannot be had.
        """
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415

        self._arrow = pa
        self._schema = pa.schema(
            [
                pa.field("id", pa.int64(), nullable=False),
                pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
                pa.field("sensor_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
                pa.field("value", pa.float64(), nullable=False),
            ]
        )
        self._stream = storage.create(name)
        self._file = parquet.ParquetWriter(
            self._stream,
            self._schema,
            compression="zstd",
            use_dictionary=["sensor_id", "value"],
            column_encoding={"id": "DELTA_BINARY_PACKED", "timestamp": "DELTA_BINARY_PACKED"},
            sorting_columns=parquet.SortingColumn.from_ordering(
                self._schema, [("sensor_id", "ascending"), ("timestamp", "ascending"), ("id", "ascending")]
            ),
        )
        self._held: list[Readings] = []
        self.written = Fingerprint()
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min

    def add(self, readings: Readings) -> None:
        """Take the next readings, in their order; all come with the same sensors.

        Raises:
            STORAGE_FAILURES: they cannot be written.
        """
        if not len(readings):
            return
        self._held.append(readings)
        self.written += fingerprint(readings)
        self.first = min(self.first, int(readings.at.min()))
        self.last = max(self.last, int(readings.at.max()))
        if sum(map(len, self._held)) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the end of the file.

        Raises:
            STORAGE_FAILURES: it cannot be written.
        """
        if self._held:
            self._flush()
        self._file.close()
        self._stream.close()

    def _flush(self) -> None:
        pa = self._arrow
        held, self._held = self._held, []
        place = np.concatenate([each.place for each in held])
        # The dictionary of a row group holds its own sensors alone.
        own, local = np.unique(place, return_inverse=True)
        names = [held[0].sensors[number] for number in own.tolist()]
        at = pa.array(np.concatenate([each.at for each in held])).cast(pa.timestamp("us", "UTC"))
        columns = [
            pa.array(np.concatenate([each.id for each in held])),
            at,
            pa.DictionaryArray.from_arrays(pa.array(local.astype(np.int32)), pa.array(names, pa.string())),
            pa.array(np.concatenate([each.value for each in held])),
        ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=2 * ROW_GROUP)


def read(
    storage: Storage,
    name: str,
    sensors: Sequence[str] | None = None,
    span: tuple[int, int] | None = None,
    deleted: Sequence[Deleted] = (),
) -> Readings:
    """Return a file's readings, in its order, without those that were deleted.

    Args:
        storage: where it lies.
        name: its path there.
        sensors: of which they are; None for all. Their places are those in this sequence.
        span: half-open, in microseconds; None for all.
        deleted: what to leave out.

    Raises:
        STORAGE_FAILURES: it is not there, or damaged, or cannot be had.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with storage.open(name) as stream, parquet.ParquetFile(stream, read_dictionary=["sensor_id"]) as file:
            groups = _groups(file.metadata, None if sensors is None else sorted(sensors), span)
            table = file.read_row_groups(groups, columns=["id", "timestamp", "sensor_id", "value"], use_threads=False)
    except pa.ArrowException as error:
        raise OSError(f"{name}: {error}") from None
    return _chosen(_columns(table, sensors), span, deleted)


def _groups(metadata: Any, sensors: list[str] | None, span: tuple[int, int] | None) -> list[int]:
    """Return the row groups that may have readings of sensors, which are sorted, in a span."""
    if sensors is None and span is None:
        return list(range(metadata.num_row_groups))
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        ids = group.column(2).statistics
        if sensors is not None and ids is not None and ids.has_min_max:
            place = bisect_left(sensors, ids.min)
            if place == len(sensors) or sensors[place] > ids.max:
                continue
        instants = group.column(1).statistics
        if span is not None and instants is not None and instants.has_min_max:
            low, high = instants.min_raw, instants.max_raw
            if high < span[0] or low >= span[1]:
                continue
        found.append(number)
    return found


def _columns(table: Any, sensors: Sequence[str] | None) -> Readings:
    """Return the columns of an Arrow table's rows that are of sensors, whose places are those in that sequence."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    if not table.num_rows:
        none = np.zeros(0, np.int64)
        return Readings(tuple(sensors or ()), none, none, none, np.zeros(0))
    encoded = table["sensor_id"].unify_dictionaries().chunks
    place = np.concatenate([chunk.indices.to_numpy() for chunk in encoded]).astype(np.int64)
    names = encoded[0].dictionary
    columns = [table["id"].to_numpy(), table["timestamp"].cast("int64").to_numpy(), table["value"].to_numpy()]
    if sensors is None:
        return Readings(tuple(names.to_pylist()), place, *columns)
    # Names are looked up by Arrow: a file may have many sensors, and few of them are wanted.
    wanted = compute.index_in(names, value_set=pa.array(sensors, pa.string())).fill_null(-1).to_numpy()
    place = wanted.astype(np.int64)[place]
    there = np.flatnonzero(place >= 0)
    return Readings(tuple(sensors), place[there], *(column[there] for column in columns))


def _chosen(readings: Readings, span: tuple[int, int] | None, deleted: Sequence[Deleted]) -> Readings:
    """Return the readings in a span that were not deleted."""
    if span is None and not deleted:
        return readings
    there = np.ones(len(readings), np.bool_)
    if span is not None:
        there &= (readings.at >= span[0]) & (readings.at < span[1])
    for deletion in deleted:
        meant = np.array([sensor in deletion.sensors for sensor in readings.sensors], np.bool_)
        if meant.any():
            inside = (readings.at >= deletion.start) & (readings.at < deletion.end) & (readings.id <= deletion.last_id)
            there &= ~(meant[readings.place] & inside)
    return readings if there.all() else readings.taken(there)


def verified(storage: Storage, name: str) -> Fingerprint:
    """Return the fingerprint of what a file has, read back from the storage.

    Raises:
        STORAGE_FAILURES: it is not there, or damaged, or cannot be had.
    """
    return fingerprint(read(storage, name))
