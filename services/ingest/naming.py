"""What labelled series are called: all doors make ids here, and refuse names by which nobody could choose."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import NamedTuple, TypeVar

from services.contract import Series, SeriesError, check_series, series_id, series_of
from services.contract.series import FIELD, ID, NAME
from services.platform.http.errors import Problem

__all__ = ["MOST_LABEL_BYTES", "RESERVED", "Named", "Remembered", "SeriesDictionary", "identified"]

MOST_LABEL_BYTES = 100 * 1024 * 1024
"""Of all series of one body: protocols that name a label once may use it in each of a million series."""

_MOST_REMEMBERED = 64 * 1024 * 1024
_ENTRY = 500
"""Bytes that what is remembered takes beside its texts, about."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

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


def identified(name: str, labels: Mapping[str, str], field_name: str | None = None) -> Named:
    """Return the series of a name, field and labels.

    Raises:
        SeriesError: it breaks the limits, or has a label that means something else where series are chosen.
    """
    for label in RESERVED.keys() & labels.keys():
        raise SeriesError("labels", "reserved", f"label {label!r} {RESERVED[label]}")
    series = series_of(name, labels.items(), field_name)
    check_series(series)
    size = sum(len(label) + len(value) + 4 for label, value in series.labels)
    return Named(series_id(series), series, size + len(name) + 8)


class Remembered(dict[K, V]):
    """What a process has lately met and need not work out again; all of it is forgotten where it becomes too much."""

    size = 0

    def keep(self, key: K, value: V, size: int) -> V:
        """Return a value, which is remembered from now on; its texts and the key's have about so many bytes."""
        self.size += size + _ENTRY
        if self.size > _MOST_REMEMBERED:
            self.clear()
            self.size = size + _ENTRY
        self[key] = value
        return value


_id_of, _series_of, _size_of = attrgetter("sensor_id"), attrgetter("series"), attrgetter("size")


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
        return self.codes_of([named])[0] if code is None else code

    def codes_of(self, named: Sequence[Named]) -> list[int]:
        """Return the codes of series, the next ones for those that are new.

        Raises:
            Problem: `too_many_rows`: the labels of all series together are too large.
        """
        new = {one.sensor_id: one for one in named if one.sensor_id not in self.codes}
        self.codes.update(zip(new, count(len(self.codes)), strict=False))
        self.series.update(zip(new, map(_series_of, new.values()), strict=True))
        self.size += sum(map(_size_of, new.values()))
        if self.size > MOST_LABEL_BYTES:
            limit = MOST_LABEL_BYTES // 1024**2
            detail = f"the labels of all series together have more than {limit} MiB: send smaller batches or fewer"
            raise Problem("too_many_rows", detail)
        return list(map(self.codes.__getitem__, map(_id_of, named)))
