"""Readings from files: CSV with the header sensor_id,timestamp,value, or a JSON object a line.

What a reading means is for ingest to judge; here only the form is read, and a fault names its line.
"""

import asyncio
import contextlib
import csv
import itertools
import math
import operator
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TextIO

import orjson

from .readings import Batch

__all__ = ["ReadError", "format_of", "read", "read_from"]

FIELDS = ("sensor_id", "timestamp", "value")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_BY_SUFFIX = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


class ReadError(Exception):
    """A file is not what it should be; the message names file and line."""


def format_of(path: Path) -> str:
    """Return the format that the name tells: csv or ndjson.

    Raises:
        ReadError: it tells none.
    """
    try:
        return _BY_SUFFIX[path.suffix.lower()]
    except KeyError:
        raise ReadError(f"{path}: the name does not tell the format; say --format csv or ndjson") from None


def read(file: TextIO, form: str, size: int) -> Iterator[Batch]:
    """Yield the readings of `file` in batches of `size`.

    Raises:
        ReadError: a line has not the form of a reading, or the file is no UTF-8.
    """
    readings = _csv(file) if form == "csv" else _ndjson(file)
    first = 0
    try:
        for number in itertools.count():
            chosen = list(itertools.islice(readings, size))
            if not chosen:
                return
            yield Batch(number, first, len(chosen), orjson.dumps(chosen))
            first += len(chosen)
    except UnicodeDecodeError as error:
        raise ReadError(f"{file.name}: not UTF-8: {error}") from None


async def read_from(file: Path, form: str | None, batch: int) -> AsyncIterator[Batch]:
    """Yield the readings of a file, or of standard input for "-", without holding up the loop.

    Raises:
        ReadError: the file cannot be read.
    """
    try:
        form = form or ("ndjson" if str(file) == "-" else format_of(file))
        with contextlib.nullcontext(sys.stdin) if str(file) == "-" else _opened(file) as opened:
            readings = read(opened, form, batch)
            while item := await asyncio.to_thread(next, readings, None):
                yield item
    except OSError as error:
        raise ReadError(f"{file}: {error.strerror}") from None


def _opened(file: Path) -> TextIO:
    return file.open(encoding="utf-8", newline="")


def _csv(file: TextIO) -> Iterator[dict[str, Any]]:
    lines = csv.reader(file)
    header = next(lines, [])
    if sorted(header) != sorted(FIELDS):
        raise ReadError(f"{file.name} line 1: the header must name {', '.join(FIELDS)}")
    pick = operator.itemgetter(*map(header.index, FIELDS))
    try:
        for line in lines:
            if line:
                sensor_id, timestamp, value = pick(line)
                if not _NUMBER.fullmatch(value) or math.isinf(float(value)):
                    raise ReadError(f"{file.name} line {lines.line_num}: {value[:40]!r} is no number of 64 bits")
                yield {"sensor_id": sensor_id, "timestamp": timestamp, "value": float(value)}
    except IndexError:
        raise ReadError(f"{file.name} line {lines.line_num}: fewer than {len(FIELDS)} fields") from None
    except (ValueError, csv.Error) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ReadError(f"{file.name} line {lines.line_num}: {error}") from None


def _ndjson(file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ReadError(f"{file.name} line {number}: {error}") from None
            # To the letter: what was read may have lost a name that stood twice, or digits.
            yield orjson.Fragment(line.strip())
