"""What every format's encoder is: made for the columns of one answer, given its rows part by part, closed behind it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from ..table import Kind, Table

__all__ = ["Columns", "Encoder"]

Columns = Mapping[str, Kind]
"""The names of an answer's columns in their order, and what each holds."""


class Encoder(ABC):
    """Writes one answer, part by part."""

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        """Take the answer's columns: some formats name them although there is no row.

        `meta` is what the answer tells of itself, None where that is nothing; `zone` the time zone that formats name
        whose instants are numbers.
        """
        self.columns = columns
        self.meta = meta
        self.zone = zone
        self._before = b""

    @abstractmethod
    def rows(self, table: Table) -> bytes:
        """Take the next rows, at least one, and return what is ready to go out; there may be nothing yet."""

    @abstractmethod
    def end(self, following: str | None = None) -> bytes:
        """Return the end of the answer; `following` is the cursor of the next page where there is one."""

    def ending(self, following: str | None = None) -> Iterator[bytes]:
        """Yield the end of the answer in parts: a format that needs all rows first has most of it there."""
        yield self.end(following)

    def _begun(self) -> bytes:
        """Return what goes before the first rows where it has not gone out yet."""
        before, self._before = self._before, b""
        return before

    def close(self) -> None:
        """Give up what an answer that did not come to its end still holds."""
        return
