"""Whose value a reading is: the sensor id it names, or the one that name, field and labels come to."""

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from services.contract import Series, SeriesError, check_series, series_id, series_of

__all__ = ["sensor_id_of"]


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
    series = series_of(name, () if labels is UNSET else labels.items(), None if field is UNSET else field)
    if series not in known:
        check_series(series)
        known[series] = series_id(series)
    return known[series]
