"""Texts, read part by part, unpacked and cut into pieces between records.

Pieces end at the same bytes of a file whenever it is read: with the record that reaches each whole number of
`PIECE_BYTES`. So most of a file is cut alike even by an import that does not know of an earlier one.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np
import zstandard

from .errors import ChangedError, ReadError
from .forms import Form, Words
from .pieces import ENDS_OF, TextPiece, names_of
from .records import Ends
from .state import Sent

__all__ = ["PIECE_BYTES", "Text", "unpacked"]

PIECE_BYTES = 1 << 20
"""Of a piece, but for its last record: tens of thousands of readings, as ingest takes them at once."""

_READINGS = 40_000
"""Of a piece of a wide table, at most."""

_PART = 4 * PIECE_BYTES
_READ = 1 << 16
"""Bytes that are read at once: of a damaged file, so many may be missed that stand before the damage."""
_LONGEST = 16 * PIECE_BYTES
"""Of one record."""

_DIRECTIVE = re.compile(rb"^# (DDL|DML|CONTEXT-DATABASE:(.*)|CONTEXT-RETENTION-POLICY:(.*))\r?$", re.MULTILINE)
"""What the exports of InfluxDB 1 say between their lines."""

_USUAL_POLICY = "autogen"
"""InfluxDB's own retention policy, which agents do not name."""

_DAMAGED = (OSError, EOFError, zlib.error, zstandard.ZstdError)


def unpacked(file: "io.BufferedReader[Any]") -> BinaryIO:
    """Return what a file holds, whether it is compressed by gzip, zstd or not."""
    magic = file.peek(4)
    if magic.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return file


@dataclass(frozen=True, slots=True)
class _Context:
    """What the lines of an export say of those that follow."""

    ddl: bool = False
    database: str | None = None
    policy: str | None = None

    def behind(self, directive: re.Match[bytes]) -> "_Context":
        """Return what is said behind a directive."""
        word, database, policy = directive.groups()
        if database is not None:
            return replace(self, database=database.decode(errors="replace").strip() or None)
        if policy is not None:
            name = policy.decode(errors="replace").strip()
            return replace(self, policy=None if name in {"", _USUAL_POLICY} else name)
        return replace(self, ddl=word == b"DDL")


class Text:
    """One file, read once from its beginning to its end."""

    def __init__(self, name: str, file: BinaryIO, form: Form, words: Words, *, growing: bool) -> None:
        """Take the file; nothing is read.

        Args:
            name: of it, for messages.
            file: what it holds, unpacked.
            form: CSV, NDJSON or line protocol.
            words: what is said of it.
            growing: whether a last record that is not whole is left for later.
        """
        self._growing = growing
        self._name = name
        self._file = file
        self._form = form
        self._words = words
        self._data = b""
        self._last = False
        self._offset = 0
        self._line = 1
        self._head = b""
        self._most = PIECE_BYTES
        self._context = _Context()
        self._damage: ReadError | None = None

    def beginning(self) -> bytes:
        """Return the first two lines, which stay however the file grows.

        Raises:
            ReadError: it cannot be read.
        """
        self._fill(_PART)
        second = self._data.find(b"\n", self._data.find(b"\n") + 1)
        return self._data[: second + 1 or None]

    def begun(self, sent: Sequence[Sent]) -> Iterator[TextPiece]:
        """Yield the pieces of an earlier import, cut as they were.

        Raises:
            ChangedError: they are not what stands there.
            ReadError: the file cannot be read.
        """
        self._take_head()
        content = b"\n"
        for one in sent:
            self._hear(self._take(one.offset - self._offset))
            line, content = self._line, self._take(one.length)
            piece = TextPiece(self._form, one.offset, line, one.target, self._head, content)
            if piece.digest != one.digest:
                raise ChangedError(
                    f"{self._name}: what was imported of it from line {one.line} on is not what stands there now"
                )
            yield piece
        self._fill(2)
        if not content.endswith(b"\n") and not self._data.startswith((b"\n", b"\r\n")) and self._data:
            raise ChangedError(
                f"{self._name}: line {self._line} was not whole when it was imported; say --growing of such files"
            )

    def rest(self) -> Iterator[TextPiece]:
        """Yield the pieces behind what was read.

        Raises:
            ReadError: the file cannot be read further; whole records before that were yielded.
        """
        yield from self._rest()
        if self._damage is not None:
            raise self._damage

    def _rest(self) -> Iterator[TextPiece]:
        self._take_head()
        while not self._last or self._data:
            self._fill(len(self._data) + _PART)
            data, offset = self._data, self._offset
            ends = self._ends()
            said = self._directives(data, ends)
            at = 0
            while len(ends) and at < ends[-1]:
                grid = (offset + at) // PIECE_BYTES * PIECE_BYTES + PIECE_BYTES - offset
                limit = min([grid, *(place for place in said if place > at)])
                if not self._last and ends[-1] < limit:
                    break
                end = int(ends[np.searchsorted(ends, at, "right")]) if at in said else self._cut(ends, at, limit)
                line, content = self._line, self._take(end - at)
                if at in said:
                    self._hear(content)
                elif content.strip() and not self._context.ddl:
                    yield TextPiece(self._form, offset + at, line, self._target, self._head, content)
                at = end
            if self._last:
                return
            if at == 0 and len(data) > _LONGEST:
                raise ReadError(f"{self._name} line {self._line}: no record ends within {_LONGEST >> 20} MiB")

    @property
    def _target(self) -> str:
        return self._words.target(self._form, self._context.database, self._context.policy)

    def _hear(self, directives: bytes) -> None:
        """Heed what stands between pieces."""
        if self._form is Form.LINES:
            for found in _DIRECTIVE.finditer(directives):
                self._context = self._context.behind(found)

    def _cut(self, ends: Ends, at: int, limit: int) -> int:
        """Return where the piece ends that begins at `at`: with the record that reaches `limit`."""
        first, last = int(np.searchsorted(ends, at, "right")), int(np.searchsorted(ends, limit))
        return int(ends[min(last, first + self._most - 1, len(ends) - 1)])

    def _directives(self, data: bytes, ends: Ends) -> set[int]:
        """Return where the directives begin that are records."""
        if self._form is not Form.LINES or b"# " not in data:
            return set()
        return {found.start() for found in _DIRECTIVE.finditer(data)} & {0, *ends.tolist()}

    def _take_head(self) -> None:
        """Take the header of a CSV file, where it is not taken."""
        if self._form is not Form.CSV or self._offset:
            return
        self._fill(_PART)
        ends = self._ends()
        if not len(ends) and not self._last:
            raise ReadError(f"{self._name} line 1: the header does not end within {_PART >> 20} MiB")
        self._head = self._take(int(ends[0]) if len(ends) else len(self._data))
        if self._words.wide:
            self._most = max(_READINGS // max(len(names_of(self._head)), 1), 1)

    def _ends(self) -> Ends:
        """Return the ends of the records that are read."""
        whole = self._last and not self._growing and self._damage is None
        return ENDS_OF[self._form](self._data, last=whole)

    def _take(self, count: int) -> bytes:
        """Take so many bytes, or as many as there are.

        Raises:
            ReadError: what is damaged is among them.
        """
        self._fill(count)
        if self._damage is not None and len(self._data) < count:
            raise self._damage
        taken, self._data = self._data[:count], self._data[count:]
        self._offset += len(taken)
        self._line += taken.count(b"\n")
        return taken

    def _fill(self, count: int) -> None:
        """Read on until `count` bytes are there, or the file ends."""
        parts, size = [self._data], len(self._data)
        while not self._last and size < count:
            try:
                part = self._file.read(_READ)
            except _DAMAGED as error:
                part = b""
                self._damage = ReadError(f"{self._name}: it cannot be read to its end: {error}")
            self._last = not part
            parts.append(part)
            size += len(part)
        self._data = b"".join(parts)
