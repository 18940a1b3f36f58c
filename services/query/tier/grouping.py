"""Partials of the readings of a file, as a statement gives those of the table's."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.platform.tier.files import Deleted, Readings, read
from services.platform.tier.storage import Storage

from ..reads import Grouped
from ..router import Span
from ..table import Column, Kind, Table

__all__ = ["grouped", "read_grouped"]


def read_grouped(
    storage: Storage,
    name: str,
    sensors: Sequence[str],
    span: Span,
    deleted: Sequence[Deleted],
    *,
    wanted: Grouped,
    ordinals: dict[str, int],
) -> Table:
    """Return the partials of a file's readings of sensors in a span.

    Raises:
        STORAGE_FAILURES: it cannot be read.
    """
    return grouped(read(storage, name, sensors, span, deleted), wanted, ordinals)


def grouped(readings: Readings, wanted: Grouped, ordinals: dict[str, int]) -> Table:
    """Return a partial for each sensor and bucket, labelled by the bucket's start.

    Args:
        readings: those of a sensor stand together, in the order of time.
        wanted: the buckets and partials.
        ordinals: of the sensors, from 1.
    """
    ordinal = np.array([ordinals[sensor] for sensor in readings.sensors], np.int64)[readings.place]
    bucket = np.searchsorted(wanted.edges, readings.at, "right") - 1
    begins = np.flatnonzero((np.diff(ordinal, prepend=-1) != 0) | (np.diff(bucket, prepend=-2) != 0))
    counts = np.diff(np.append(begins, len(ordinal)))
    values = readings.value
    columns = {
        "side": Column(Kind.INTEGER, np.zeros(len(begins), np.int64)),
        "ordinal": Column(Kind.INTEGER, ordinal[begins]),
        "grain": Column(Kind.INSTANT, wanted.edges[bucket[begins]]),
        "count": Column(Kind.INTEGER, counts),
    }
    for partial in wanted.names:
        columns[partial] = Column(Kind.FLOAT, _partial(partial, values, begins, counts) if len(begins) else values)
    return Table(columns)


def _partial(name: str, values: Any, begins: Any, counts: Any) -> Any:
    match name:
        case "sum":
            return np.add.reduceat(values, begins)
        case "min":
            # As in SQL, what is no number is greater than all numbers.
            return np.fmin.reduceat(values, begins)
        case "max":
            return np.maximum.reduceat(values, begins)
    mean = np.add.reduceat(values, begins) / counts
    return np.add.reduceat((values - np.repeat(mean, counts)) ** 2, begins)
