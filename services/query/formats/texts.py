"""Rows of text without touching a row: texts of fixed width, padded with NUL, laid side by side; then all NUL fall out.

No text here holds a raw NUL, so the padding is told from the text by itself, and `bytes.translate` drops it at the
speed of memory. Numbers are written by orjson, a column at a time: they read back as the same bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..table import Column

__all__ = ["Part", "fractions", "instants", "local", "nullable", "numbers", "offsets", "placed", "side_by_side"]

Texts = NDArray[np.bytes_]
Part = bytes | Texts
"""A part of every row: the same bytes in each, or a text a row."""

_MINUTE, _DAY = 60_000_000, 86_400_000_000
_PAIRS = np.array([f"{number:02}" for number in range(100)], "S2")
_TRIPLES = np.array([f"{number:03}" for number in range(1000)], "S3")


def side_by_side(parts: list[Part], rows: int) -> bytes:
    """Return all rows' parts, one row after the other."""
    widths = [len(part) if isinstance(part, bytes) else part.itemsize for part in parts]
    sheet = np.empty(rows, [(f"{place}", f"S{width}") for place, width in enumerate(widths)])
    for place, part in enumerate(parts):
        sheet[f"{place}"] = part
    return sheet.tobytes().translate(None, b"\0")


def nullable(parts: list[Part], nulls: NDArray[np.bool_] | None, null: bytes) -> list[Part]:
    """Return a column's parts with `null` alone where it is null."""
    if nulls is None:
        return parts
    return [*(np.where(nulls, b"", part) for part in parts), np.where(nulls, null, b"")]


def placed(column: Column, write: Callable[[str], bytes]) -> Part:
    """Return the texts of a column, each of its distinct ones written once."""
    written = [write(text) for text in column.texts]
    return written[0] if len(written) == 1 else np.array(written, "S")[column.values]


def numbers(values: NDArray[Any]) -> Texts:
    """Return numbers as JSON has them."""
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    return np.array(text[1:-1].split(b","), "S25")


def local(column: Column) -> NDArray[np.int64]:
    """Return instants as the clocks of their offsets show them."""
    return column.values if column.offsets is None else column.values + column.offsets * _MINUTE


def instants(timestamps: NDArray[np.int64]) -> tuple[list[Part], NDArray[np.uint32]]:
    """Return the parts of `2025-10-22T21:00:00`, and the microseconds beyond the second."""
    day, rest = np.divmod(timestamps, _DAY)
    second, micro = np.divmod(rest, 1_000_000)
    days, nth = np.unique(day, return_inverse=True)
    dates = np.datetime_as_string(days.astype("M8[D]")).astype("S10")
    of_day = second.astype(np.uint32)
    clock: list[Part] = [
        dates[nth],
        b"T",
        _PAIRS[of_day // 3600],
        b":",
        _PAIRS[of_day // 60 % 60],
        b":",
        _PAIRS[of_day % 60],
    ]
    return clock, micro.astype(np.uint32)


def fractions(micro: NDArray[np.uint32]) -> list[Part]:
    """Return the parts of six digits of a second."""
    return [_TRIPLES[micro // 1000], _TRIPLES[micro % 1000]]


def offsets(minutes: NDArray[np.int64]) -> list[Part]:
    """Return the parts of offsets from UTC, such as `+05:45`."""
    size = np.abs(minutes)
    return [np.where(minutes < 0, b"-", b"+"), _PAIRS[size // 60], b":", _PAIRS[size % 60]]
