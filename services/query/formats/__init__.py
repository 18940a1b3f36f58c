"""Columns to bytes: one module a format, each with an encoder for each shape of answer that it can write."""

from collections.abc import Callable, Mapping
from enum import Enum, auto

from . import arrow, csv, json, ndjson, parquet
from .encoder import Encoder

__all__ = ["COMPRESSED", "FORMATS", "MEDIA_TYPES", "Encoder", "Shape"]


class Shape(Enum):
    """How an answer lays out its rows."""

    PAGE = auto()
    """Rows, and where there are more, the cursor of the next page, for which JSON alone has a place."""
    LIST = auto()
    """Rows alone."""
    SERIES = auto()
    """Rows, what the answer tells of itself, and the cursor of the next page; JSON alone has a place for all."""
    COLUMNS = auto()
    """The same, a column after the other. Formats that are columns by themselves have no other layout."""
    ROW = auto()
    """The only row."""


MEDIA_TYPES: Mapping[str, str] = {
    "json": json.MEDIA_TYPE,
    "ndjson": ndjson.MEDIA_TYPE,
    "csv": csv.MEDIA_TYPE,
    "arrow": arrow.MEDIA_TYPE,
    "parquet": parquet.MEDIA_TYPE,
}
"""What the parameter `format` may say, and the media types it stands for: of those liked equally the first wins."""

COMPRESSED = frozenset({parquet.MEDIA_TYPE})
"""Formats that compress by themselves."""

FORMATS: Mapping[tuple[Shape, str], Callable[..., Encoder]] = {
    (Shape.PAGE, json.MEDIA_TYPE): json.PageEncoder,
    (Shape.LIST, json.MEDIA_TYPE): json.ListEncoder,
    (Shape.ROW, json.MEDIA_TYPE): json.RowEncoder,
    (Shape.SERIES, json.MEDIA_TYPE): json.SeriesEncoder,
    (Shape.COLUMNS, json.MEDIA_TYPE): json.ColumnsEncoder,
    (Shape.SERIES, ndjson.MEDIA_TYPE): ndjson.LinesEncoder,
    (Shape.SERIES, csv.MEDIA_TYPE): csv.CsvEncoder,
    (Shape.SERIES, arrow.MEDIA_TYPE): arrow.ArrowEncoder,
    (Shape.SERIES, parquet.MEDIA_TYPE): parquet.ParquetEncoder,
    (Shape.PAGE, ndjson.MEDIA_TYPE): ndjson.LinesEncoder,
    (Shape.LIST, ndjson.MEDIA_TYPE): ndjson.LinesEncoder,
    (Shape.PAGE, csv.MEDIA_TYPE): csv.CsvEncoder,
    (Shape.LIST, csv.MEDIA_TYPE): csv.CsvEncoder,
    (Shape.PAGE, arrow.MEDIA_TYPE): arrow.ArrowEncoder,
    (Shape.LIST, arrow.MEDIA_TYPE): arrow.ArrowEncoder,
    (Shape.PAGE, parquet.MEDIA_TYPE): parquet.ParquetEncoder,
    (Shape.LIST, parquet.MEDIA_TYPE): parquet.ParquetEncoder,
}
"""The encoders by an answer's shape and media type; each is made of the answer's columns, its meta and its zone."""
