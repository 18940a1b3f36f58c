"""Answers as columns: what stands between the store, which reads them, and the encoders, which write them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hours", "Readings"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one sensor, ordered by (timestamp, id); timestamps are microseconds since 1970-01-01 UTC."""

    ids: Integers
    timestamps: Integers
    values: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, rows: int) -> "Readings":
        """Return the first rows, at most `rows`."""
        return Readings(self.ids[:rows], self.timestamps[:rows], self.values[:rows])


@dataclass(frozen=True, slots=True)
class Hours:
    """Hour buckets of one sensor in their order; `buckets` are microseconds since 1970-01-01 UTC."""

    buckets: Integers
    avg: Floats
    min: Floats
    max: Floats
    samples: Integers

    def __len__(self) -> int:
        return len(self.buckets)
