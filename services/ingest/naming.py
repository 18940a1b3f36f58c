"""What labelled series are called: all doors make ids here, and refuse names by which nobody could choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract import Series, SeriesError, check_series, series_id, series_of
from services.contract.series import FIELD, ID, NAME
from services.platform.http.errors import Problem

__all__ = [
    "MOST_LABEL_BYTES",
    "RESERVED",
    "Dictionary",
    "KnownSeries",
    "Named",
    "SeriesDictionary",
    "identified",
]

MOST_LABEL_BYTES = 100 * 1024 * 1024
"""Of all series of one body: protocols that name a label once may use it in each of a million series."""

_MOST_REMEMBERED = 64 * 1024 * 1024
_ENTRY = 500
"""Bytes that what is remembered takes beside its texts, about."""

_MOST_DICTIONARIES, _MOST_IN_DICTIONARY = 64, 20_000
"""Of whole bodies, and of series in one, that are remembered."""

RESERVED = {
    NAME: "is the name itself; send it as name",
    FIELD: "is the field itself; send it as field",
    ID: "is the id, which is made from name and labels; leave it out",
}
"""Labels by which nobody could choose a series, as these words mean something else there."""


class Named(NamedTuple):
    """A series behind its sensor id, and about how many bytes its name and labels have."""

    sensor_id: str
    series: Series
    size: int


def identified(
    name: str,
    labels: Mapping[str, str],
    field_name: str | None = None,
    kind: str | None = None,
    unit: str | None = None,
) -> Named:
    """Return the series of a name, field and labels, of which a kind and a unit are told.

    Raises:
        SeriesError: it breaks the limits, or has a label that means something else where series are chosen.
    """
    for label in RESERVED.keys() & labels.keys():
        raise SeriesError("labels", "reserved", f"label {label!r} {RESERVED[label]}")
    series = series_of(name, labels.items(), field_name, kind, unit)
    check_series(series)
    size = sum(len(label) + len(value) + 4 for label, value in series.labels)
    return Named(series_id(series), series, size + len(name) + 8)


_id_of, _series_of, _size_of = attrgetter("sensor_id"), attrgetter("series"), attrgetter("size")


class Dictionary(NamedTuple):
    """The series of a body by their codes; many bodies may share one, and nobody changes it.

    Attributes:
        sensor_ids: by codes.
        series: by sensor ids.
        size: bytes of all names and labels, about.
    """

    sensor_ids: list[str]
    series: Mapping[str, Series]
    size: int


@dataclass(slots=True)
class SeriesDictionary:
    """Gives the series of one body their codes, in the order in which they are met.

    Attributes:
        codes: by sensor ids.
        series: by sensor ids.
        size: bytes of all names and labels, about.
    """

    codes: dict[str, int] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    size: int = 0

    def code(self, named: Named) -> int:
        """Return the code of a series, the next one where it is new.

        Raises:
            Problem: `too_many_rows`: the labels of all series together are too large.
        """
        code = self.codes.get(named.sensor_id)
        if code is None:
            code = self.codes[named.sensor_id] = len(self.codes)
            self.series[named.sensor_id] = named.series
            self.size += named.size
            _check(self.size)
        return code

    @staticmethod
    def beginning(first: Dictionary) -> "SeriesDictionary":
        """Return one that goes on behind the codes of another body's part."""
        codes = dict(zip(first.sensor_ids, range(len(first.sensor_ids)), strict=True))
        return SeriesDictionary(codes, dict(first.series), first.size)

    def done(self) -> Dictionary:
        """Return what was met."""
        return Dictionary(list(self.codes), self.series, self.size)


def _check(size: int) -> None:
    if size > MOST_LABEL_BYTES:
        limit = MOST_LABEL_BYTES // 1024**2
        detail = f"the labels of all series together have more than {limit} MiB: send smaller batches or fewer"
        raise Problem("too_many_rows", detail)


class KnownSeries:
    """The series that a process has lately met, each with a number, by which those of a body are told apart at once.

    Once it is full its owner begins with another: whoever still reads a body by this one goes on with its numbers.
    """

    def __init__(self) -> None:
        self._named: list[Named] = []
        self._numbers: dict[str, int] = {}
        self._size = 0
        self._adding = Lock()
        # Agents send the same series again and again, and so do the entries that are made of their bodies.
        self._dictionary = lru_cache(_MOST_DICTIONARIES)(self._made)

    @property
    def full(self) -> bool:
        """Whether it, and what its series are found by, holds too much."""
        return self._size > _MOST_REMEMBERED

    def number(self, named: Named, found_by: int) -> int:
        """Return the number of a series, which its owner will find by so many bytes more."""
        with self._adding:
            self._size += found_by + _ENTRY
            number = self._numbers.setdefault(named.sensor_id, len(self._named))
            if number == len(self._named):
                self._named.append(named)
                self._size += named.size + _ENTRY
        return number

    def named(self, number: int) -> Named:
        """Return the series of a number."""
        return self._named[number]

    def dictionary(self, numbers: NDArray[np.int64]) -> tuple[Dictionary, NDArray[np.uint32]]:
        """Return the dictionary of a body's series, and the code of each of `numbers`.

        Raises:
            Problem: `too_many_rows`: the labels of all series together are too large.
        """
        distinct, codes = np.unique(numbers, return_inverse=True)
        found = self._dictionary if len(distinct) <= _MOST_IN_DICTIONARY else self._made
        return found(distinct.tobytes()), codes.astype(np.uint32)

    def _made(self, numbers: bytes) -> Dictionary:
        named = list(map(self._named.__getitem__, np.frombuffer(numbers, np.int64).tolist()))
        size = sum(map(_size_of, named))
        _check(size)
        ids = list(map(_id_of, named))
        return Dictionary(ids, dict(zip(ids, map(_series_of, named), strict=True)), size)
