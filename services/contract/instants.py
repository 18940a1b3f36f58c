"""Instants: many as microseconds since 1970-01-01 UTC, few as `datetime`, and both as clients write them.

The grammar is RFC 3339, one for readings and for questions. Many are read at a time: texts of one length make a
matrix of bytes, parsed column by column. Few are read one by one.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EPOCH",
    "GUESSED",
    "INVALID",
    "MICROSECOND",
    "POSTGRES_EPOCH",
    "InstantError",
    "instant_of",
    "micros_in",
    "micros_of",
    "parse_instant",
    "parse_timestamps",
    "why_invalid",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""What microseconds are counted from."""

POSTGRES_EPOCH = 946_684_800_000_000
"""What PostgreSQL's binary formats count from, 2000-01-01 UTC, in microseconds since `EPOCH`."""

MICROSECOND = timedelta(microseconds=1)

INVALID = np.iinfo(np.int64).min
"""What stands where a text is no RFC 3339 timestamp with an offset."""

GUESSED = ((5_000_000_000, 1_000_000_000), (5_000_000_000_000, 1_000_000), (5_000_000_000_000_000, 1_000))
"""Below what size a number is a time in seconds, milliseconds, microseconds, and how many nanoseconds one of these is;
beyond, it is in nanoseconds itself. InfluxDB 3 reads `precision=auto` so."""

_FEW = 64
"""Texts that are read one by one in no more time than a matrix takes, however few its rows."""

_MOST = np.iinfo(np.int64).max
_SHORTEST, _LONGEST = len("2025-10-22T21:00:00Z"), len("2025-10-22T21:00:00.123456789+00:00")
_SECOND_AT, _FRACTION_AT = 16, 19
"""Where in a text the second begins, with its colon, and its fraction, with its point."""

_MOST_DIGITS = 9
_ZERO = np.uint8(ord("0"))
_SEPARATORS = [4, 7, 13, 16]
_SIGNS = np.frombuffer(b"--::", np.uint8)[:, np.newaxis]
_TENS, _ONES = [0, 2, 5, 8, 11, 14, 17], [1, 3, 6, 9, 12, 15, 18]

# Days from 1970-01-01 to the first of each month of the years 1 to 9999, and the first of the month after.
_MONTHS = np.arange("0001-01", "10000-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_MONTH_LENGTHS = np.diff(_MONTHS)
_FIRST_MONTH = 13

_ONE = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_PARTS = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(\.(?P<fraction>\d+))?(?P<offset>[Zz]|(?P<sign>[+ -])\d\d:\d\d)?",
    re.ASCII,
)

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]


class InstantError(ValueError):
    """A text is no instant; the message says what is wrong with it, `code` of what sort that is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def instant_of(micros: int) -> datetime:
    """Return the instant so many microseconds after `EPOCH`.

    Raises:
        OverflowError: it lies outside of the years 1 to 9999.
    """
    return EPOCH + timedelta(microseconds=micros)


def micros_of(instant: datetime) -> int:
    """Return the microseconds from `EPOCH` to an instant, which has a time zone."""
    return (instant - EPOCH) // MICROSECOND


def micros_in(counts: Numbers, unit: int) -> Numbers:
    """Return counts of a unit of so many microseconds as microseconds; never `INVALID`.

    Those that int64 cannot hold are the farthest that it can: beyond every limit, which is what a check says of them.
    """
    farthest = _MOST // unit
    return np.clip(counts, -farthest, farthest) * unit


def parse_timestamps(texts: Sequence[str]) -> Numbers:
    """Return microseconds since 1970-01-01 UTC, one a text, `INVALID` where it is none.

    Follows RFC 3339, section 5.6, years 1 to 9999: an offset is required, a space may stand for the T, up to nine
    digits of a second are read and what lies below the microsecond is cut off; a leap second is refused, as
    PostgreSQL has none. That few and many are read alike is tested.
    """
    if len(texts) <= _FEW:
        return np.fromiter(map(_micros, texts), np.int64, len(texts))
    lengths = set(map(len, texts))
    if len(lengths) == 1:
        return _parse_length(texts, lengths.pop())
    result = np.full(len(texts), INVALID, np.int64)
    for length in lengths:
        rows = [row for row, text in enumerate(texts) if len(text) == length]
        result[rows] = _parse_length([texts[row] for row in rows], length)
    return result


def parse_instant(text: str) -> datetime:
    """Return the instant that one text names, the same that `parse_timestamps` reads.

    Raises:
        InstantError: it names none, or one outside of the years 1 to 9999 UTC.
    """
    if _ONE.fullmatch(text) is None:
        raise InstantError(*why_invalid(text))
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise InstantError("no_such_time", "lies outside of the years 1 to 9999") from None
    except ValueError:
        raise InstantError(*why_invalid(text)) from None


def why_invalid(text: str) -> tuple[str, str]:
    """Return a code and what is wrong with a text that is no instant, with the fix."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return "not_rfc3339", "is not an RFC 3339 timestamp such as 2025-10-22T21:00:00Z"
    if parts["offset"] is None:
        return "naive", "has no offset from UTC; add Z where it is in UTC, such as 2025-10-22T21:00:00Z"
    if parts["sign"] == " ":
        return "not_rfc3339", "has a space where its offset has a sign; in a URL a + is written %2B"
    if len(parts["fraction"] or "") > _MOST_DIGITS:
        return "too_precise", f"has more than {_MOST_DIGITS} digits behind the second"
    if parts["second"] == "60":
        return "leap_second", "has a second 60; PostgreSQL has no leap seconds: take :59 or the second after it"
    if parts["hour"] == "24":
        return "no_such_time", "has an hour 24, which RFC 3339 does not have; write 00 of the day after"
    return "no_such_time", "names a day, time or offset that does not exist"


def _micros(text: str) -> int:
    if _ONE.fullmatch(text) is None:
        return INVALID
    try:
        return micros_of(datetime.fromisoformat(text.upper()))
    except ValueError:
        return INVALID


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
    # Where there is no point there is one character less than a fraction of no digits has.
    digits = block.shape[1] - offset_width - _FRACTION_AT - 1
    if digits < -1 or digits == 0 or digits > _MOST_DIGITS or len(block) == 0:
        return np.full(len(block), INVALID, np.int64)
    minute = _shared_minute(block)
    start = 0 if minute is None else _SECOND_AT
    columns = np.ascontiguousarray(block[:, start:].T)
    if minute is None:
        ok = (columns[_SEPARATORS] == _SIGNS).all(axis=0) & _is_one_of(columns[10], b"Tt ")
        micros = _seconds(columns, ok) * 1_000_000
    else:
        ok = columns[0] == ord(":")
        second = _number(columns[1:3], ok)
        ok &= second < 60
        micros = minute + second * 1_000_000
    if digits > 0:
        point = _FRACTION_AT - start
        ok &= columns[point] == ord(".")
        fraction = _number(columns[point + 1 : point + 1 + digits], ok)
        micros += fraction * 10 ** (6 - digits) if digits <= 6 else fraction // 10 ** (digits - 6)
    if offset_width == 6:
        micros -= _offset(columns[-6:], ok) * 1_000_000
    return np.where(ok, micros, INVALID)


def _shared_minute(block: Bytes) -> int | None:
    """Return the minute that all texts name alike, as those of one body mostly do; None where they do not."""
    minutes = block[:, :_SECOND_AT]
    # As two words each, which are held against the first ones in a tenth of the time.
    if any((word != word[0]).any() for word in minutes.view(np.uint64).T):
        return None
    micros = _micros(f"{minutes[0].tobytes().decode()}:00Z")
    return None if micros == INVALID else micros


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
    number: Numbers = digits[0].astype(np.int64)
    for digit in digits[1:]:
        number *= 10
        number += digit
    return number
