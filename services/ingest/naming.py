"""What labelled series are called: all doors make ids here, and refuse names by which nobody could choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.contract import Series, SeriesError, check_series, series_id, series_of
from services.contract.series import FIELD, ID, NAME

__all__ = ["Named", "SeriesDictionary", "identified"]

Named = tuple[str, Series]
"""A series behind its sensor id."""

_RESERVED = {
    NAME: "is the name itself; send it as name",
    FIELD: "is the field itself; send it as field",
    ID: "is the id, which is made from name and labels; leave it out",
}
"""Labels by which nobody could choose a series, as these words mean something else there."""


def identified(name: str, labels: Mapping[str, str], field_name: str | None = None) -> Named:
    """Return the series of a name, field and labels, and its sensor id.

    Raises:
        SeriesError: it breaks the limits, or has a label that means something else where series are chosen.
    """
    for label in _RESERVED.keys() & labels.keys():
        raise SeriesError("labels", "reserved", f"label {label!r} {_RESERVED[label]}")
    series = series_of(name, labels.items(), field_name)
    check_series(series)
    return series_id(series), series


@dataclass(slots=True)
class SeriesDictionary:
    """Gives the series of one body their codes, in the order in which they are met.

    Attributes:
        codes: by sensor ids.
        series: by sensor ids.
    """

    codes: dict[str, int] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)

    def code(self, named: Named) -> int:
        """Return the code of a series, the next one where it is new."""
        sensor_id, series = named
        self.series[sensor_id] = series
        return self.codes.setdefault(sensor_id, len(self.codes))
