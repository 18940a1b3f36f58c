"""Labelled series: a name, a field and labels, and the sensor id that they come to, the same for ever."""

import base64
import hashlib
from collections.abc import Iterable
from itertools import chain

import msgspec

__all__ = [
    "FIELD",
    "ID",
    "KINDS",
    "MAX_LABELS",
    "MAX_LABEL_NAME",
    "MAX_LABEL_VALUE",
    "MAX_NAME",
    "MAX_UNIT",
    "NAME",
    "Series",
    "SeriesError",
    "check_series",
    "series_id",
    "series_of",
    "unit_of",
]

MAX_NAME = 128
"""Longest name or field of a series, in characters."""

MAX_LABELS = 64
"""Most labels of a series."""

MAX_LABEL_NAME = 128
"""Longest name of a label, in characters."""

MAX_LABEL_VALUE = 1024
"""Longest value of a label, in characters."""

MAX_UNIT = 63
"""Longest unit of a series, in characters, as UCUM and OpenTelemetry have it."""

NAME, FIELD, ID = "__name__", "__field__", "__sensor_id__"
"""Labels that stand for the name and the field of a series, and for the id of a sensor, where sensors are chosen.

A stored series may have labels that are called so: before ingest refused them they were taken.
"""

_SHOWN_NAME = 40
_HASH_CHARACTERS = 20
"""Of five bits each: 100 bits."""


KINDS = ("gauge", "counter", "updowncounter", "histogram", "summary", "info", "stateset")
"""Of series, as OpenTelemetry and OpenMetrics call them."""


class Series(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a labelled series is called, and what its agent says of it.

    Attributes:
        name: of what is measured, such as "temperature".
        field: which of several values that are measured together; None where there is one.
        labels: pairs of name and value in the order of their names, none of which comes twice.
        kind: one of `KINDS`; None where nobody told. It has no part in what the series is called.
        unit: of the values, as the agent writes it, such as "Cel"; None where nobody told. It has no part either.
    """

    name: str
    field: str | None
    labels: tuple[tuple[str, str], ...]
    kind: str | None = None
    unit: str | None = None


class SeriesError(ValueError):
    """A series breaks the limits.

    Attributes:
        part: "name", "field" or "labels".
        code: such as "empty" or "too_long".
    """

    def __init__(self, part: str, code: str, message: str) -> None:
        super().__init__(message)
        self.part, self.code = part, code


def series_of(
    name: str,
    labels: Iterable[tuple[str, str]],
    field: str | None = None,
    kind: str | None = None,
    unit: str | None = None,
) -> Series:
    """Return the series of a name and labels in any order."""
    return Series(name, field, tuple(sorted(labels)), kind, unit)


def unit_of(text: str) -> str | None:
    """Return a unit as a series may have it; None for a text that is none. Readings are worth more than it is."""
    return text if 0 < len(text) <= MAX_UNIT and "\0" not in text else None


def series_id(series: Series) -> str:
    """Return the sensor id of a series that `check_series` has passed.

    It is the first 40 characters of the name, "#", and the first 20 characters (RFC 4648 base32, small letters) of the
    BLAKE2b-512 of name, field and all labels in the order of the code points of their names, as UTF-8 with a NUL
    between any two; a field that is none is empty.
    """
    canonical = "\0".join((series.name, series.field or "", *chain.from_iterable(series.labels)))
    digest = base64.b32encode(hashlib.blake2b(canonical.encode()).digest()[:15]).decode().lower()
    return f"{series.name[:_SHOWN_NAME]}#{digest[:_HASH_CHARACTERS]}"


def check_series(series: Series) -> None:
    """See that a series holds to the limits.

    Raises:
        SeriesError: it does not.
        ValueError: its labels are not as `series_of` leaves them.
    """
    _check("name", "name", series.name, MAX_NAME)
    if series.field is not None:
        _check("field", "field", series.field, MAX_NAME)
    if len(series.labels) > MAX_LABELS:
        raise SeriesError("labels", "too_many", f"{len(series.labels)} labels; at most {MAX_LABELS} are taken")
    before = ""
    for name, value in series.labels:
        _check("labels", "the name of a label", name, MAX_LABEL_NAME)
        _check("labels", f"label {name[:40]!r}", value, MAX_LABEL_VALUE)
        if name <= before:
            raise ValueError(f"label {name[:40]!r} comes twice or out of order")
        before = name
    if series.kind not in (None, *KINDS):
        raise ValueError(f"{series.kind!r} is no kind of series")
    if series.unit is not None and unit_of(series.unit) is None:
        raise ValueError("a unit is empty, too long or holds NUL")


def _check(part: str, what: str, text: str, longest: int) -> None:
    if not text:
        raise SeriesError(part, "empty", f"{what} is empty; leave it out")
    if len(text) > longest:
        raise SeriesError(part, "too_long", f"{what} has {len(text)} characters; at most {longest} are taken")
    if "\0" in text:
        raise SeriesError(part, "nul", f"{what} holds a NUL character")
