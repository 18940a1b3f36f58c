"""The layout `wide`: a row a bucket, and a column for each sensor, or group of sensors, and aggregate."""

from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ..grid import zoned
from ..table import Column, Kind, Table

__all__ = ["Wide", "wide_name"]

_VALUES = 262_144
"""Values written at a time: each of thousands of columns costs as much as dozens of its rows."""


def wide_name(group: str, aggregate: str) -> str:
    """Return the name of a column; no aggregate has a space, so the last one of the name ends that of the group.

    Where all sensors are one group, which has no name, it is the aggregate alone.
    """
    return f"{group} {aggregate}" if group else aggregate


class Wide:
    """Gathers rows of groups and buckets; as many of them as cells are counted."""

    def __init__(self, groups: tuple[str, ...], labels: NDArray[np.int64], kinds: Mapping[str, Kind]) -> None:
        """Take the names of the groups, where each bucket begins, and what each aggregate holds."""
        self._groups = groups
        self._labels = labels
        self._kinds = kinds
        shape = (len(groups), len(labels))
        self._there = np.zeros(len(labels), np.bool_)
        self._nulls = {name: np.ones(shape, np.bool_) for name in kinds}
        self._values = {
            name: np.zeros(shape, np.int64 if kind is Kind.INTEGER else np.float64) for name, kind in kinds.items()
        }

    def add(self, table: Table) -> None:
        """Take rows, whose texts of `group` are the names in their order."""
        row, bucket = table["group"].values, np.searchsorted(self._labels, table["timestamp"].values)
        self._there[bucket] = True
        for name in self._kinds:
            column = table[name]
            self._values[name][row, bucket] = column.values
            self._nulls[name][row, bucket] = False if column.nulls is None else column.nulls

    def tables(self, zone: ZoneInfo, *, descending: bool) -> Iterator[Table]:
        """Yield the rows of the buckets of which some group had a row, in the order of time."""
        buckets = np.flatnonzero(self._there)
        if descending:
            buckets = buckets[::-1]
        step = max(_VALUES // max(len(self._groups) * len(self._kinds), 1), 1)
        for begin in range(0, len(buckets), step):
            part = buckets[begin : begin + step]
            columns = {"timestamp": zoned(self._labels[part], zone)}
            for place, group in enumerate(self._groups):
                for name, kind in self._kinds.items():
                    nulls = self._nulls[name][place, part]
                    values = self._values[name][place, part]
                    columns[wide_name(group, name)] = Column(kind, values, nulls if nulls.any() else None)
            yield Table(columns)
