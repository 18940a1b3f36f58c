"""Answers in Arrow: their batches as they come, and frames of all of them. Needs the extra `arrow`."""

import io
import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from .errors import BrokenAnswerError, MillraceError

if TYPE_CHECKING:
    import pandas as pd
    from arro3.core import ChunkedArray, RecordBatchReader, Schema, Table

__all__ = ["ArrowBytes", "meta_of", "reader", "to_pandas"]

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The last bytes of a whole stream."""


class ArrowBytes(io.RawIOBase):
    """The bytes of an answer as a file, which ends where the answer does.

    An answer that breaks off is an error of the file, and so is one that lacks its end: a reader of Arrow takes the end
    of a file between two batches for that of the stream.
    """

    def __init__(self, parts: Generator[bytes]) -> None:
        super().__init__()
        self._parts = parts
        self._left = memoryview(b"")
        self._tail = b""
        self.fault: MillraceError | None = None
        """Why reading failed; readers in other languages pass on a text alone."""

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer with what has come, and return how many bytes that is; 0 at the end.

        Raises:
            MillraceError: the answer is not whole.
        """
        target = memoryview(buffer).cast("B")
        try:
            while not self._left:
                part = next(self._parts, None)
                if part is None:
                    if self._tail != _END:
                        raise BrokenAnswerError("the answer breaks off; what was read is not all")
                    return 0
                self._tail = (self._tail + part[-len(_END) :])[-len(_END) :]
                self._left = memoryview(part)
        except MillraceError as fault:
            self.fault = fault
            raise
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Give the answer up, and its connection."""
        self._parts.close()
        super().close()


def reader(file: ArrowBytes) -> "RecordBatchReader":
    """Return what reads batch by batch; nothing but the schema is read yet.

    Raises:
        ImportError: the extra is not installed.
        MillraceError: the answer is not whole.
    """
    try:
        from arro3.io import read_ipc_stream  # noqa: PLC0415 -- an extra
    except ImportError:
        raise ImportError("Arrow needs an extra: pip install 'millrace-client[arrow]'") from None
    try:
        return read_ipc_stream(io.BufferedReader(file, 65_536))
    except Exception as error:
        raise file.fault or BrokenAnswerError(f"this is no Arrow stream: {error}") from error


def meta_of(schema: "Schema") -> dict[str, Any]:
    """Return what an answer tells of itself."""
    meta: dict[str, Any] = json.loads(schema.metadata.get(b"millrace.meta", b"{}"))
    return meta


def to_pandas(table: "Table") -> "pd.DataFrame":
    """Return a frame of a table of text, int64, float64 and instants."""
    import pandas as pd  # noqa: PLC0415 -- an extra

    # Of two columns with one name, which only `layout=wide` could make, both stay.
    frame = pd.DataFrame({place: _series(table[place]) for place in range(table.num_columns)})
    frame.columns = pd.Index(table.column_names)
    return frame


def _series(column: "ChunkedArray") -> Any:
    import pandas as pd  # noqa: PLC0415 -- an extra
    from arro3.core import DataType  # noqa: PLC0415 -- an extra

    of: Any = DataType  # its stubs take each of these questions for one that is always true
    kind: Any = column.type
    instants = of.is_timestamp(kind)
    numbers = column.cast(DataType.int64()) if instants else column
    if numbers.null_count:
        dtype = "Int64" if of.is_integer(kind) else "float64" if of.is_floating(kind) else None
        return pd.Series(numbers.to_pylist(), dtype=dtype)
    dtype = "int64" if of.is_integer(numbers.type) else "float64" if of.is_floating(kind) else "str"
    found = pd.Series(numbers.to_numpy() if len(numbers) else [], dtype=dtype)
    if not instants:
        return found
    return found.astype("datetime64[us]").dt.tz_localize("UTC").dt.tz_convert(kind.tz)
