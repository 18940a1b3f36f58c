"""Bodies to readings: one module a format, and the table from the media type of a body to what reads it.

JSON and its lines come as records; CSV, Arrow and Parquet as a `table`. Arrow and Parquet are read in `isolation`.
"""

from collections.abc import Awaitable, Callable, Mapping

from ..readings import Decoded
from . import csv, json, ndjson
from .isolation import Isolation

__all__ = ["IN_PROCESS", "LAYOUTS", "formats_of"]

LAYOUTS = ("rows", "wide")
"""How a body lays out its readings: one a row, or a column for each sensor."""

IN_PROCESS: Mapping[str, Mapping[str, Callable[[bytes, int], Decoded]]] = {
    json.MEDIA_TYPE: {"rows": json.decode_json},
    **{media: {"rows": ndjson.decode_ndjson} for media in ndjson.MEDIA_TYPES},
    csv.MEDIA_TYPE: csv.LAYOUTS,
}
"""What reads a body in this process, by its media type and layout."""


def formats_of(
    isolation: Isolation,
) -> Mapping[str, Mapping[str, Callable[[bytes, int], Decoded | Awaitable[Decoded]]]]:
    """Return what reads a body, by its media type and layout."""
    return {**IN_PROCESS, **isolation.formats()}
