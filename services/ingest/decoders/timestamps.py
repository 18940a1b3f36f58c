"""RFC 3339 timestamps, many at a time: texts of one length make a matrix of bytes, parsed column by column."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["INVALID", "parse_timestamps"]

INVALID = np.iinfo(np.int64).min
"""What stands where a text is no RFC 3339 timestamp with an offset."""

_SHORTEST, _LONGEST = len("2025-10-22T21:00:00Z"), len("2025-10-22T21:00:00.123456789+00:00")
_FRACTION_AT = 19
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_FIXED = {4: "-", 7: "-", 13: ":", 16: ":"}

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]


def parse_timestamps(texts: Sequence[str]) -> Numbers:
    """Return microseconds since 1970-01-01 UTC, one a text, `INVALID` where it is none.

    Follows RFC 3339, section 5.6, years 1 to 9999: an offset is required, up to nine digits of a second are read
    and what lies below the microsecond is cut off; a leap second is refused, as PostgreSQL has none.
    """
    result = np.full(len(texts), INVALID, np.int64)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    for length in np.unique(lengths).tolist():
        if not _SHORTEST <= length <= _LONGEST:
            continue
        rows = np.flatnonzero(lengths == length)
        chosen = texts if len(rows) == len(texts) else [texts[row] for row in rows.tolist()]
        # Replacing keeps one byte a character, so that one odd text cannot shift its neighbours.
        joined = "".join(chosen).encode("ascii", "replace")
        result[rows] = _parse_block(np.frombuffer(joined, np.uint8).reshape(len(chosen), length))
    return result


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
    ok = np.isin(block[:, 10], np.frombuffer(b"Tt ", np.uint8))
    for column, sign in _FIXED.items():
        ok &= block[:, column] == ord(sign)
    seconds = _date(block, ok) * 86_400 + _time(block, ok)
    micros = np.zeros(len(block), np.int64)
    if digits > 0:
        ok &= block[:, _FRACTION_AT] == ord(".")
        fraction = _number(block, _FRACTION_AT + 1, digits, ok)
        micros = fraction * 10 ** (6 - digits) if digits <= 6 else fraction // 10 ** (digits - 6)
    if offset_width == 6:
        seconds -= _offset(block[:, -6:], ok)
    return np.where(ok, seconds * 1_000_000 + micros, INVALID)


def _date(block: Bytes, ok: Flags) -> Numbers:
    """Return days since 1970-01-01 (the civil calendar as Howard Hinnant's days_from_civil counts it)."""
    year, month, day = _number(block, 0, 4, ok), _number(block, 5, 2, ok), _number(block, 8, 2, ok)
    ok &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    ok &= day <= _MONTH_DAYS[np.clip(month, 0, 12)] + (leap & (month == 2))
    year = year - (month <= 2)
    era_year = year % 400
    year_day = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    era_day = era_year * 365 + era_year // 4 - era_year // 100 + year_day
    return (year // 400) * 146_097 + era_day - 719_468


def _time(block: Bytes, ok: Flags) -> Numbers:
    hour, minute, second = _number(block, 11, 2, ok), _number(block, 14, 2, ok), _number(block, 17, 2, ok)
    ok &= (hour < 24) & (minute < 60) & (second < 60)
    return hour * 3600 + minute * 60 + second


def _offset(block: Bytes, ok: Flags) -> Numbers:
    sign, colon = block[:, 0], block[:, 3]
    ok &= ((sign == ord("+")) | (sign == ord("-"))) & (colon == ord(":"))
    hour, minute = _number(block, 1, 2, ok), _number(block, 4, 2, ok)
    ok &= (hour < 24) & (minute < 60)
    seconds = hour * 3600 + minute * 60
    return np.where(sign == ord("-"), -seconds, seconds)


def _number(block: Bytes, start: int, width: int, ok: Flags) -> Numbers:
    """Read `width` decimal digits of each row, and take the rows that hold another character out of `ok`."""
    number = np.zeros(len(block), np.int64)
    for column in range(start, start + width):
        digit = block[:, column] - np.uint8(ord("0"))
        ok &= digit <= 9
        number = number * 10 + digit
    return number
