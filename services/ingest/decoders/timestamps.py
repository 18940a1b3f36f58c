"""RFC 3339 timestamps, many at a time: texts of one length make a matrix of bytes, parsed column by column."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["INVALID", "parse_timestamps"]

INVALID = np.iinfo(np.int64).min
"""What stands where a text is no RFC 3339 timestamp with an offset."""

_SHORTEST, _LONGEST = len("2025-10-22T21:00:00Z"), len("2025-10-22T21:00:00.123456789+00:00")
_FRACTION_AT = 19
_ZERO = np.uint8(ord("0"))
_SEPARATORS = [4, 7, 13, 16]
_SIGNS = np.frombuffer(b"--::", np.uint8)[:, np.newaxis]
_TENS, _ONES = [0, 2, 5, 8, 11, 14, 17], [1, 3, 6, 9, 12, 15, 18]

# Days from 1970-01-01 to the first of each month of the years 1 to 9999, and the first of the month after.
_MONTHS = np.arange("0001-01", "10000-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_MONTH_LENGTHS = np.diff(_MONTHS)
_FIRST_MONTH = 13

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]


def parse_timestamps(texts: Sequence[str]) -> Numbers:
    """Return microseconds since 1970-01-01 UTC, one a text, `INVALID` where it is none.

    Follows RFC 3339, section 5.6, years 1 to 9999: an offset is required, up to nine digits of a second are read
    and what lies below the microsecond is cut off; a leap second is refused, as PostgreSQL has none.
    """
    lengths = set(map(len, texts))
    if len(lengths) == 1:
        return _parse_length(texts, lengths.pop())
    result = np.full(len(texts), INVALID, np.int64)
    for length in lengths:
        rows = [row for row, text in enumerate(texts) if len(text) == length]
        result[rows] = _parse_length([texts[row] for row in rows], length)
    return result


def _parse_length(texts: Sequence[str], length: int) -> Numbers:
    if not _SHORTEST <= length <= _LONGEST:
        return np.full(len(texts), INVALID, np.int64)
    # Replacing keeps one byte a character, so that one odd text cannot shift its neighbours.
    joined = "".join(texts).encode("ascii", "replace")
    return _parse_block(np.frombuffer(joined, np.uint8).reshape(len(texts), length))


def _parse_block(block: Bytes) -> Numbers:
    zulu = (block[:, -1] | 0x20) == ord("z")
    if zulu.all():
        return _parse_kind(block, 1)
    result = np.full(len(block), INVALID, np.int64)
    result[zulu] = _parse_kind(block[zulu], 1)
    result[~zulu] = _parse_kind(block[~zulu], 6)
    return result


def _parse_kind(block: Bytes, offset_width: int) -> Numbers:
    digits = block.shape[1] - offset_width - _FRACTION_AT - 1
    if digits == 0 or digits > 9 or len(block) == 0:
        return np.full(len(block), INVALID, np.int64)
    columns = np.ascontiguousarray(block.T)
    ok = (columns[_SEPARATORS] == _SIGNS).all(axis=0) & _is_one_of(columns[10], b"Tt ")
    micros = _seconds(columns, ok) * 1_000_000
    if digits > 0:
        ok &= columns[_FRACTION_AT] == ord(".")
        fraction = _number(columns[_FRACTION_AT + 1 : _FRACTION_AT + 1 + digits], ok)
        micros += fraction * 10 ** (6 - digits) if digits <= 6 else fraction // 10 ** (digits - 6)
    if offset_width == 6:
        micros -= _offset(columns[-6:], ok) * 1_000_000
    return np.where(ok, micros, INVALID)


def _seconds(columns: Bytes, ok: Flags) -> Numbers:
    """Return seconds since 1970-01-01 of date and time, and take the rows that have none out of `ok`."""
    tens, ones = columns[_TENS] - _ZERO, columns[_ONES] - _ZERO
    ok &= (np.maximum(tens, ones) <= 9).all(axis=0)
    century, year, month, day, hour, minute, second = tens * np.uint8(10) + ones
    months = (century.astype(np.int64) * 100 + year) * 12 + month - _FIRST_MONTH
    ok &= (months >= 0) & (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    months[~ok] = 0
    ok &= (day >= 1) & (day <= _MONTH_LENGTHS[months])
    days: Numbers = _MONTHS[months] + day - 1
    seconds: Numbers = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds


def _offset(columns: Bytes, ok: Flags) -> Numbers:
    ok &= _is_one_of(columns[0], b"+-") & (columns[3] == ord(":"))
    hour, minute = _number(columns[1:3], ok), _number(columns[4:6], ok)
    ok &= (hour < 24) & (minute < 60)
    seconds = hour * 3600 + minute * 60
    return np.where(columns[0] == ord("-"), -seconds, seconds)


def _is_one_of(column: Bytes, signs: bytes) -> Flags:
    found: Flags = column == signs[0]
    for sign in signs[1:]:
        found |= column == sign
    return found


def _number(columns: Bytes, ok: Flags) -> Numbers:
    """Read the decimal number that stands in `columns`, and take the rows with another character out of `ok`."""
    digits = columns - _ZERO
    ok &= (digits <= 9).all(axis=0)
    number: Numbers = np.zeros(columns.shape[1], np.int64)
    for digit in digits:
        number = number * 10 + digit
    return number
