"""A piece of a file: what one request posts, under a key made from its content and its place."""

import csv
import hashlib
import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson

from .forms import Form
from .records import Ends, ends_of_csv, ends_of_lines, ends_of_ndjson

__all__ = ["ENDS_OF", "Piece", "TextPiece", "Told", "hint_of", "key_of", "names_of"]

ENDS_OF = {Form.CSV: ends_of_csv, Form.NDJSON: ends_of_ndjson, Form.LINES: ends_of_lines}
"""Where the records of a format of texts end."""

_BLANK = {Form.CSV: b"\r\n", Form.NDJSON: b" \t\r\n"}
"""What stands on a line that is no record."""


@dataclass(frozen=True, slots=True)
class Told:
    """A record that ingest names: its line, or row, counted from 1 over the whole file, and what stands there."""

    line: int
    record: Any


class Piece(Protocol):
    """A piece of any file."""

    @property
    def form(self) -> Form:
        """The format of its file."""

    @property
    def offset(self) -> int:
        """Where it begins: a byte of the text, once it is unpacked, or a row."""

    @property
    def length(self) -> int:
        """How many bytes or rows it has."""

    @property
    def line(self) -> int:
        """The number of its first line or row, from 1."""

    @property
    def target(self) -> str:
        """Path and query of the door that it is for."""

    @property
    def digest(self) -> bytes:
        """Hash of its content."""

    @property
    def names(self) -> Sequence[str]:
        """What the columns of its table are called; none where it is no table."""

    @property
    def unit(self) -> str:
        """What its records are counted in: `line` or `row`."""

    def body(self) -> bytes:
        """Return what is posted."""

    def halves(self) -> Sequence["Piece"]:
        """Return two pieces in its place; none where it has one record."""

    def told(self, indexes: Sequence[int]) -> list[Told]:
        """Return the records that an answer calls by these indexes."""

    def records(self) -> list[Told]:
        """Return all records."""


def key_of(piece: Piece, run: str) -> str:
    """Return a piece's Idempotency-Key: the same for the same content at the same place of whatever file.

    Keys stand in the ledger: what they are made of may never change.

    Args:
        piece: what is posted.
        run: name of the import, under which the same piece is stored once.
    """
    said = orjson.dumps([run, piece.form, piece.target, piece.offset, piece.length, piece.digest.hex()])
    return f"import-{hashlib.blake2b(said, digest_size=20).hexdigest()}"


def names_of(head: bytes) -> list[str]:
    """Return what the columns of a CSV file are called, by its header; none where it cannot be read."""
    try:
        return next(csv.reader(io.StringIO(head.decode("utf-8-sig", "replace"), newline="")), [])
    except csv.Error:
        return []


def hint_of(piece: Piece) -> str:
    """Return what may be wrong with the file as a whole where records of a piece are refused; empty where nothing is.

    It is for files that are nearly right, whose faults ingest can tell by their records alone.
    """
    names = set(piece.names)
    if len(names) == 1 and any(";" in name or "\t" in name for name in names):
        return "columns are separated by commas, and the header has none"
    if "layout=rows" in piece.target and not names & {"sensor_id", "name", "value"} and len(names - {"timestamp"}) > 1:
        return "if its columns are sensors, say --layout wide; else the header says sensor_id, timestamp, value"
    return ""


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Whole records of a text; `head` is the header of a CSV file, which is posted before each piece."""

    form: Form
    offset: int
    line: int
    target: str
    head: bytes
    content: bytes

    unit = "line"

    @property
    def length(self) -> int:
        """How many bytes of the file it is."""
        return len(self.content)

    @property
    def digest(self) -> bytes:
        """Hash of its content, the header included."""
        return hashlib.blake2b(self.body(), digest_size=20).digest()

    @property
    def names(self) -> list[str]:
        """What the columns are called; none where it is no CSV."""
        return names_of(self.head)

    def body(self) -> bytes:
        """Return what is posted."""
        return self.head + self.content

    def halves(self) -> list["TextPiece"]:
        """Return two pieces in its place; none where it has one record."""
        ends = self._ends()
        if len(ends) < 2:
            return []
        middle = int(ends[len(ends) // 2 - 1])
        line = self.line + self.content.count(b"\n", 0, middle)
        first = replace(self, content=self.content[:middle])
        return [first, replace(self, content=self.content[middle:], offset=self.offset + middle, line=line)]

    def told(self, indexes: Sequence[int]) -> list[Told]:
        """Return the records that an answer calls by these: in line protocol by lines, else by places among records."""
        found = self.records()
        if self.form is Form.LINES:
            starts = [one.line for one in found]
            return [found[bisect_right(starts, self.line + index) - 1] for index in indexes]
        return [found[min(index, len(found) - 1)] for index in indexes]

    def records(self) -> list[Told]:
        """Return all records, without lines that are none."""
        found, start, line = list[Told](), 0, self.line
        for end in self._ends().tolist():
            record = self.content[start:end]
            if self.form is Form.LINES or record.strip(_BLANK[self.form]):
                found.append(Told(line, record.decode(errors="backslashreplace").rstrip("\r\n")))
            line += record.count(b"\n")
            start = end
        return found

    def _ends(self) -> Ends:
        return ENDS_OF[self.form](self.content, last=True)
