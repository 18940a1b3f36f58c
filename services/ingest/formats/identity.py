"""Whose value a reading is: the sensor id it names, or the one that name, field and labels come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from services.contract import Series, SeriesError, series_of

from ..naming import identified
from .columns import Texts

__all__ = ["LABEL", "Sensors", "in_order", "is_label", "sensor_id_of", "sensors_of", "sensors_of_fields"]

LABEL = "labels."
"""What the name of a label's column begins with."""


def sensor_id_of(
    sensor_id: str | UnsetType,
    name: str | UnsetType,
    field: str | UnsetType,
    labels: Mapping[str, str] | UnsetType,
    known: dict[Series, str],
) -> str:
    """Return the sensor id of a reading, and put that of a series that is met for the first time into `known`.

    Raises:
        SeriesError: it has none, two, or one that breaks the limits.
    """
    if sensor_id is not UNSET:
        for part, value in (("name", name), ("field", field), ("labels", labels)):
            if value is not UNSET:
                raise SeriesError(part, "two_identities", f"{part} stands beside sensor_id, and is what makes one")
        return sensor_id
    if name is UNSET:
        if field is UNSET and labels is UNSET:
            raise SeriesError("sensor_id", "missing", "sensor_id is missing; a reading has one, or name and labels")
        raise SeriesError("name", "missing", "name is missing; labels belong to a name")
    given = {} if labels is UNSET else labels
    series = series_of(name, given.items(), None if field is UNSET else field)
    if series not in known:
        known[series] = identified(name, given, series.field).sensor_id
    return known[series]


def is_label(name: str) -> bool:
    """Tell whether a column's name is that of a label's."""
    return name.startswith(LABEL)


@dataclass(frozen=True, slots=True)
class Sensors:
    """Whose value each reading is.

    Attributes:
        ids: sensor ids.
        codes: of each reading, the place of its sensor's id, -1 where it names none.
        series: what the ids of labelled series stand for.
        wrong: why the sensors at places are none.
    """

    ids: list[str]
    codes: NDArray[np.int64]
    series: Mapping[str, Series] = field(default_factory=dict)
    wrong: Mapping[int, SeriesError] = field(default_factory=dict)


def sensors_of(parts: Mapping[str, Texts], rows: int) -> Sensors:
    """Return whose value each row is, of the columns that tell it by their names."""
    if list(parts) == ["sensor_id"]:
        return Sensors(parts["sensor_id"].dictionary, parts["sensor_id"].codes)
    keys, codes = _combinations([part.codes for part in parts.values()], rows)
    return _identified([dict(_texts_of(parts, key)) for key in keys.tolist()], codes)


def sensors_of_fields(parts: Mapping[str, Texts], fields: Sequence[str], rows: int) -> Sensors:
    """Return whose value each cell of rows × `fields` is: these are sensors or, where there is a name, its fields."""
    if not parts:
        return Sensors(list(fields), np.broadcast_to(np.arange(len(fields)), (rows, len(fields))))
    keys, codes = _combinations([part.codes for part in parts.values()], rows)
    common = [dict(_texts_of(parts, key)) for key in keys.tolist()]
    matrix = codes[:, np.newaxis] * len(fields) + np.arange(len(fields))
    return _identified([each | {"field": name} for each in common for name in fields], matrix)


def _combinations(columns: Sequence[NDArray[np.int64]], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct combinations of codes, one a row of a matrix, and which of them each row has."""
    codes = np.zeros(rows, np.int64)
    first = np.zeros(min(rows, 1), np.int64)
    for column in columns:
        # Counted anew for each column, they stay far below what 64 bits hold.
        _, first, codes = np.unique(codes * (rows + 1) + column + 1, return_index=True, return_inverse=True)
    return np.stack([column[first] for column in columns], axis=1), codes


def _texts_of(parts: Mapping[str, Texts], key: Sequence[int]) -> list[tuple[str, str]]:
    """Return the texts that a combination of codes stands for, by their columns' names, without empty cells."""
    return [(name, part.dictionary[code]) for (name, part), code in zip(parts.items(), key, strict=True) if code >= 0]


def _identified(called: Sequence[Mapping[str, str]], codes: NDArray[np.int64]) -> Sensors:
    """Return the sensors that are called by fields of readings; which reading is whose, `codes` tell."""
    known: dict[Series, str] = {}
    ids, wrong = list[str](), dict[int, SeriesError]()
    for place, fields in enumerate(called):
        found = {name.removeprefix(LABEL): text for name, text in fields.items() if is_label(name)}
        labels: Mapping[str, str] | UnsetType = found or UNSET
        sensor_id, name, field_ = (fields.get(part, UNSET) for part in ("sensor_id", "name", "field"))
        try:
            ids.append(sensor_id_of(sensor_id, name, field_, labels, known))
        except SeriesError as error:
            ids.append("")
            wrong[place] = error
    return Sensors(ids, codes, {sensor_id: series for series, sensor_id in known.items()}, wrong)


def in_order(ids: Sequence[str], codes: NDArray[np.int64]) -> tuple[list[str], NDArray[np.uint32]]:
    """Return ids in the order in which rows first have them, and each row's: as any other format would tell them."""
    if _is_ordered(len(ids), codes):
        return list(ids), codes.astype(np.uint32)
    used, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return [ids[code] for code in used[order].tolist()], rank[inverse]


def _is_ordered(count: int, codes: NDArray[np.int64]) -> bool:
    if not len(codes):
        return count == 0
    newest = np.maximum.accumulate(codes)
    return bool(codes[0] == 0 and newest[-1] == count - 1 and (np.diff(newest) <= 1).all())
