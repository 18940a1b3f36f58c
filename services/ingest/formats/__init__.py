"""Bodies to readings: one module a format, and the table from the media type of a body to what reads it."""

from collections.abc import Callable, Mapping

from ..readings import Decoded
from . import csv, json, ndjson

__all__ = ["FORMATS", "LAYOUTS"]

LAYOUTS = ("rows", "wide")
"""How a body lays out its readings: one a row, or a column for each sensor."""

FORMATS: Mapping[str, Mapping[str, Callable[[bytes, int], Decoded]]] = {
    json.MEDIA_TYPE: {"rows": json.decode_json},
    **{media: {"rows": ndjson.decode_ndjson} for media in ndjson.MEDIA_TYPES},
    csv.MEDIA_TYPE: csv.LAYOUTS,
}
"""What reads a body, by its media type and layout."""
