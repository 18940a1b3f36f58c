"""Where records end: in CSV, NDJSON and line protocol, found in a part of a file that begins with a record.

A newline inside a quoted text ends no record. Whatever the part, the same ends are found, so that a file is cut at the
same places each time. A quotation mark without a second one within `MOST_RECORD` bytes opens no text: its line is a
record of its own, which ingest refuses by name, and reading goes on behind it.
"""

import csv
import io
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.ingest.doors.line_protocol.grammar import parse_line

__all__ = ["MOST_RECORD", "Ends", "ends_of_csv", "ends_of_lines", "ends_of_ndjson"]

MOST_RECORD = 1 << 20
"""Bytes of a record that has newlines within."""

Ends = NDArray[np.int64]

_PLAIN = re.compile(
    rb'(?:[^"\n]*+\n'
    rb'|(?:\\[ ,=]|[^ "\n])++ (?:[^"\\\n]|\\[ ,=](?!")|(?<==)"(?:\\["\\]|[^"\n])*+"(?=[, \r\n]))*+\n)++'
)
"""Lines of line protocol that end with their newline: quotation marks stand in pairs, around whole values of fields."""

_CLOSED = b'""\n'
"""Behind a part, it ends a text that is open there, and its line, even where a backslash stands before it."""


def ends_of_ndjson(data: bytes, *, last: bool) -> Ends:
    """Return the ends of lines.

    Args:
        data: a part of the file.
        last: whether the file ends with it.
    """
    found = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if last and data and (not len(found) or found[-1] < len(data)):
        return np.append(found, len(data))
    return found


def ends_of_csv(data: bytes, *, last: bool) -> Ends:
    """Return the ends of records, as the decoder of ingest reads them.

    Args:
        data: a part of the file.
        last: whether the file ends with it.
    """
    if b'"' not in data and data.count(b"\r") == data.count(b"\r\n"):
        return ends_of_ndjson(data, last=last)
    lines = list(io.StringIO(data.decode("latin-1"), newline=""))
    if not last and lines and not lines[-1].endswith("\n"):
        lines.pop()
    starts = np.cumsum([0, *map(len, lines)])
    ends, at = list[int](), 0
    while at < len(lines):
        for count in _rows(lines, at):
            if starts[count] - starts[at] > MOST_RECORD:
                break
            ends.append(count)
            at = count
        if at < len(lines):
            if not last and len(data) - starts[at] < MOST_RECORD:
                break
            at += 1
            ends.append(at)
    return starts[ends].astype(np.int64)


def _rows(lines: list[str], at: int) -> Iterator[int]:
    """Yield how many lines there are up to the end of each row, from line `at` on, to the first that does not end."""
    rest = _Rest(lines, at)
    reader = csv.reader(rest)
    try:
        for _ in reader:
            if rest.ended:
                return
            yield at + reader.line_num
    except csv.Error:
        return


class _Rest:
    """Lines from one on; it knows whether more were asked for than there are, as a text that is open does."""

    def __init__(self, lines: list[str], at: int) -> None:
        self._lines = lines
        self._at = at
        self.ended = False

    def __iter__(self) -> "_Rest":
        return self

    def __next__(self) -> str:
        if self._at == len(self._lines):
            self.ended = True
            raise StopIteration
        self._at += 1
        return self._lines[self._at - 1]


def ends_of_lines(data: bytes, *, last: bool) -> Ends:
    """Return the ends of lines of line protocol, as the grammar of ingest reads them.

    Args:
        data: a part of the file.
        last: whether the file ends with it.
    """
    newlines = ends_of_ndjson(data, last=last)
    if b'"' not in data:
        return newlines
    found, at = list[Ends](), 0
    closed = data if last else data + _CLOSED
    while at < len(data):
        if plain := _PLAIN.match(data, at):
            first, behind = np.searchsorted(newlines, (at, plain.end()), "right")
            found.append(newlines[first:behind])
            at = plain.end()
            continue
        _, end = parse_line(closed, at, 0)
        if end > len(data) or end - at > MOST_RECORD:
            if not last and len(data) - at < MOST_RECORD:
                break
            end = data.find(b"\n", at) + 1 or len(data)
        found.append(np.array([end]))
        at = end
    return np.concatenate(found) if found else newlines[:0]
