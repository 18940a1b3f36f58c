"""NDJSON: the objects of JSON, one a line."""

from ..table import Table
from .encoder import Encoder
from .json import objects

__all__ = ["MEDIA_TYPE", "LinesEncoder"]

MEDIA_TYPE = "application/x-ndjson"


class LinesEncoder(Encoder):
    """Writes a line a row; an answer without rows is empty."""

    def rows(self, table: Table) -> bytes:
        """Return the lines of the next rows."""
        return objects(table, b"{", b"}\n")

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return nothing: the last line is whole."""
        return b""
