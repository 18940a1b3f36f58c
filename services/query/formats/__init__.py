"""Columns to bytes: one module a format, each with an encoder for each shape of answer that it can write."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Protocol

from ..table import Table
from . import json

__all__ = ["FORMATS", "Encoder", "Shape"]


class Shape(Enum):
    """How an answer lays out its rows."""

    PAGE = auto()
    """Rows, and where there are more, the cursor of the next page."""
    LIST = auto()
    """Rows alone."""
    ROW = auto()
    """The only row."""


class Encoder(Protocol):
    """Writes one answer, part by part."""

    def rows(self, table: Table) -> bytes:
        """Return the next rows, at least one."""

    def end(self, following: str | None = None) -> bytes:
        """Return the end of the answer; `following` is the cursor of the next page where there is one."""


FORMATS: Mapping[tuple[Shape, str], Callable[[], Encoder]] = {
    (Shape.PAGE, json.MEDIA_TYPE): json.PageEncoder,
    (Shape.LIST, json.MEDIA_TYPE): json.ListEncoder,
    (Shape.ROW, json.MEDIA_TYPE): json.RowEncoder,
}
"""The encoders by an answer's shape and media type."""
