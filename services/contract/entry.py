"""The entry as the services hold it: batches, and all their readings as columns."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from .series import Series

__all__ = ["Batch", "Columns", "Entry", "Slice"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Readings as columns; all three arrays have one item a row.

    Attributes:
        sensor_ids: the dictionary of distinct sensor ids, in no particular order; others may share it, so it stays.
        index: uint32, a row's position in `sensor_ids`.
        timestamps: int64, microseconds since 1970-01-01 UTC.
        values: float64.
        series: what the labelled ones of `sensor_ids` stand for; plain ones are not in it.
    """

    sensor_ids: list[str]
    index: NDArray[np.uint32]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    series: Mapping[str, Series] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Columns":
        """Return the chosen rows with the same dictionary."""
        return Columns(self.sensor_ids, self.index[rows], self.timestamps[rows], self.values[rows], self.series)

    def compact(self) -> "Columns":
        """Return the same rows with a dictionary of only those ids that they use."""
        used, index = np.unique(self.index, return_inverse=True)
        sensor_ids = [self.sensor_ids[code] for code in used.tolist()]
        series = {sensor_id: self.series[sensor_id] for sensor_id in sensor_ids if sensor_id in self.series}
        return Columns(sensor_ids, index.astype(np.uint32), self.timestamps, self.values, series)

    @staticmethod
    def concat(parts: Sequence["Columns"]) -> "Columns":
        """Join `parts` (at least one) in their order, with one dictionary for all.

        Those of parts that share one, or what its sensors stand for, are looked through once.
        """
        if len(parts) == 1:
            return parts[0]
        labelled = {id(part.series): part.series for part in parts if part.series}
        if len(labelled) <= 1 and all(part.sensor_ids is parts[0].sensor_ids for part in parts):
            series = next(iter(labelled.values()), parts[0].series)
            return Columns(parts[0].sensor_ids, *_rows(parts, [part.index for part in parts]), series)
        known: dict[str, int] = {}
        recoded: dict[int, NDArray[np.uint32]] = {}
        indexes = []
        for part in parts:
            dictionary = id(part.sensor_ids)
            if dictionary not in recoded:
                codes = [known.setdefault(sensor_id, len(known)) for sensor_id in part.sensor_ids]
                recoded[dictionary] = np.array(codes, np.uint32)
            indexes.append(recoded[dictionary][part.index])
        joined: dict[str, Series] = {}
        for one in labelled.values():
            joined |= one
        return Columns(list(known), *_rows(parts, indexes), joined)


def _rows(
    parts: Sequence[Columns], indexes: Sequence[NDArray[np.uint32]]
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]]:
    """Return index, timestamps and values of all parts; `indexes` are theirs in one dictionary."""
    return (
        np.concatenate(indexes),
        np.concatenate([part.timestamps for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


class Slice(msgspec.Struct, frozen=True, gc=False):
    """Rows of a batch that a client without an Idempotency-Key sends again together, or not at all.

    Attributes:
        rows: how many they are; a batch's slices have its rows in their order.
        key: 16 bytes, a hash of who sends them and what they say.
    """

    rows: int
    key: bytes


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What one request brought. A struct, for there are many: it is made in a tenth of a dataclass's time.

    Attributes:
        batch_id: the id that the client was told.
        rows: how many rows of the entry are this batch's.
        accepted_at: when ingest accepted it, microseconds since 1970-01-01 UTC.
        traceparent: W3C trace context of the request, where it is sampled.
        digest: hash of the readings, for batches with an Idempotency-Key.
        notify: whether somebody waits to hear that it is stored.
        slices: what is stored once though it comes again; none where equal readings are readings of their own.
        natural: whether only the first reading of a sensor and instant is stored, whoever sent it; without slices.
    """

    batch_id: uuid.UUID
    rows: int
    accepted_at: int
    traceparent: str | None = None
    digest: bytes | None = None
    notify: bool = False
    slices: tuple[Slice, ...] = ()
    natural: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry: whole batches, their rows one after the other in `columns`.

    Attributes:
        group: ledger id that the anonymous batches share; None where each batch stands for itself.
        batches: in the order of their rows.
        columns: the rows of all batches.
    """

    group: uuid.UUID | None
    batches: list[Batch]
    columns: Columns

    def ledger_id(self, batch: Batch) -> uuid.UUID:
        """Return the ledger row that decides whether `batch` is new: the group's or its own."""
        return self.group if self.group is not None and batch.batch_id.version == 7 else batch.batch_id
