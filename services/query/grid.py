"""The one grid of buckets: lengths and expressions of time as people write them, and where buckets begin in a zone.

Buckets up to the hour have a fixed length and are counted from local midnight of 2000-01-03 in the zone. Days, weeks,
months and years follow the zone's calendar: a day begins with the first instant of its local date, so it may have 23
or 25 hours, weeks begin on Monday; several days or weeks are counted from 2000-01-03, several months or years from
2000-01. Instants are microseconds since 1970-01-01 UTC.
"""

import functools
import math
import re
import zoneinfo
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from services.contract.instants import MICROSECOND, InstantError, instant_of, micros_of, parse_instant

from .table import Column, Kind

__all__ = [
    "EPOCHS",
    "Bucket",
    "Grid",
    "GridError",
    "moment",
    "offsets",
    "parse_bucket",
    "whole",
    "written",
    "zone_of",
    "zoned",
]

Numbers = NDArray[np.int64]

EPOCHS = {"s": 1_000_000, "ms": 1000, "us": 1}
"""What instants may be counted in since 1970-01-01 UTC, and how many microseconds that is."""

_ORIGIN = date(2000, 1, 3)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECOND, _MINUTE, _QUARTER, _HOUR = 1_000_000, 60_000_000, 900_000_000, 3_600_000_000
_FIXED = {"ms": 1000, "s": _SECOND, "m": _MINUTE, "h": _HOUR}
_LONGEST = 9999 * 366 * 24 * _HOUR

_LENGTH = re.compile(r"(\d{1,12})(ms|s|m|h|d|w|mo|y)", re.ASCII)
_ISO = re.compile(
    r"P(?=\w)(?:(\d{1,5})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,7})D)?"
    r"(?:T(?=\d)(?:(\d{1,8})H)?(?:(\d{1,9})M)?(?:(\d{1,11})(?:[.,](\d{1,9}))?S)?)?",
    re.ASCII,
)
_MILLISECONDS = re.compile(r"\d{13}", re.ASCII)
_MOMENT = re.compile(r"(?:now)?(?:-(\d{1,12})(ms|s|m|h|d|w|mo|y))?(?:/(s|m|h|d|w|mo|y))?", re.ASCII)


class GridError(ValueError):
    """A text names no length, instant or zone, or no grid can be made; the message says why, with the fix."""


@functools.cache
def _zones() -> frozenset[str]:
    # Debian has the machine's own zone among them; an answer must not depend on that.
    return frozenset(zoneinfo.available_timezones() - {"localtime", "posixrules"})


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of an IANA name.

    Raises:
        GridError: there is none of this name.
    """
    if name not in _zones():
        raise GridError("is no IANA time zone; write one such as Europe/Berlin, or UTC")
    return ZoneInfo(name)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A length of buckets: so many units, which are `ms`, `s`, `m`, `h`, `d`, `w`, `mo` or `y`."""

    count: int
    unit: str

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def width(self) -> int | None:
        """The length in microseconds, None where the calendar gives it."""
        each = _FIXED.get(self.unit)
        return None if each is None else self.count * each

    def number(self, instant: int, zone: ZoneInfo) -> int:
        """Return which bucket holds an instant.

        Raises:
            GridError: its bucket does not begin and end in the years 1 to 9999.
        """
        if self.width is not None:
            return (instant - _first_instant(_ORIGIN, zone)) // self.width
        try:
            day = instant_of(instant).astimezone(zone).date()
        except OverflowError:
            raise _outside() from None
        number = self._number_of_day(day)
        # Where clocks went back over midnight, a local date comes again behind the first instant of the next one; where
        # a date was skipped, its bucket is empty.
        while self.begin(number + 1, zone) <= instant:
            number += 1
        while self.begin(number, zone) > instant:
            number -= 1
        return number

    def begin(self, number: int, zone: ZoneInfo) -> int:
        """Return the first instant of a bucket.

        Raises:
            GridError: it lies outside of the years 1 to 9999.
        """
        if self.width is not None:
            return _first_instant(_ORIGIN, zone) + number * self.width
        try:
            return _first_instant(self._first_day(number), zone)
        except (OverflowError, ValueError):
            raise _outside() from None

    def floor(self, instant: int, zone: ZoneInfo) -> int:
        """Return the first instant of the bucket that holds `instant`.

        Raises:
            GridError: the bucket reaches beyond the years 1 to 9999.
        """
        return self.begin(self.number(instant, zone), zone)

    def _number_of_day(self, day: date) -> int:
        match self.unit:
            case "mo":
                return ((day.year - 2000) * 12 + day.month - 1) // self.count
            case "y":
                return (day.year - 2000) // self.count
        return (day - _ORIGIN).days // (self.count * (7 if self.unit == "w" else 1))

    def _first_day(self, number: int) -> date:
        first = number * self.count
        match self.unit:
            case "mo":
                return date(2000 + first // 12, first % 12 + 1, 1)
            case "y":
                return date(2000 + first, 1, 1)
        return _ORIGIN + timedelta(first * (7 if self.unit == "w" else 1))


def parse_bucket(text: str) -> Bucket:
    """Return the bucket that `5m`, `1mo`, `PT5M` or the like names.

    Raises:
        GridError: it names none.
    """
    short = _LENGTH.fullmatch(text)
    bucket = Bucket(int(short[1]), short[2]) if short else _iso_bucket(text)
    if bucket.count == 0:
        raise GridError("is no length; take 1ms or more")
    days = {"d": 1, "w": 7, "mo": 28, "y": 365}
    if (bucket.width or bucket.count * days.get(bucket.unit, 0) * 24 * _HOUR) > _LONGEST:
        raise GridError("is longer than the years 1 to 9999; take less")
    return bucket


def _iso_bucket(text: str) -> Bucket:
    match = _ISO.fullmatch(text)
    if match is None:
        raise GridError("is no length such as 250ms, 10s, 5m, 1h, 1d, 1w, 1mo, 1y or PT5M")
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:7])
    fraction = (match[8] or "").ljust(9, "0")
    if fraction[3:].strip("0"):
        raise GridError("is no whole number of milliseconds")
    fixed = ((hours * 60 + minutes) * 60 + seconds) * 1000 + int(fraction[:3])
    if sum(map(bool, (years or months, weeks or days, fixed))) > 1:
        raise GridError("mixes months, days and hours, whose lengths have nothing in common; name one of them")
    if years or months:
        return Bucket(years, "y") if months == 0 else Bucket(years * 12 + months, "mo")
    if weeks or days:
        return Bucket(weeks, "w") if days == 0 else Bucket(weeks * 7 + days, "d")
    for unit in ("h", "m", "s"):
        if fixed and fixed % (_FIXED[unit] // 1000) == 0:
            return Bucket(fixed // (_FIXED[unit] // 1000), unit)
    return Bucket(fixed, "ms")


def moment(text: str, now: int, zone: ZoneInfo) -> int:
    """Return the instant that a text names: RFC 3339, 13 digits of milliseconds, or an expression such as `now-1d/d`.

    `now-1d` is the same time of day on the day before, in the zone; the `/d` goes down to the beginning of the day.

    Raises:
        GridError: it names none in the years 1 to 9999.
    """
    if _MILLISECONDS.fullmatch(text):
        return int(text) * 1000
    match = _MOMENT.fullmatch(text)
    # A lone unit says nothing of where to begin.
    if match is None or not text.startswith(("now", "-")):
        try:
            return micros_of(parse_instant(text))
        except InstantError as error:
            if error.code != "not_rfc3339" or "%2B" in str(error):
                raise GridError(str(error)) from None
            raise GridError(
                "is no RFC 3339 timestamp such as 2025-10-22T21:00:00Z, no 13 digits of milliseconds, and no "
                "expression such as now, now-6h or now-1d/d"
            ) from None
    instant = now
    if match[1]:
        instant = _before(now, Bucket(int(match[1]), match[2]), zone)
    return Bucket(1, match[3]).floor(instant, zone) if match[3] else instant


def _before(instant: int, length: Bucket, zone: ZoneInfo) -> int:
    """Return the instant a length before another: by days and longer units, the same local time of an earlier date."""
    try:
        if length.width is not None:
            return micros_of(instant_of(instant - length.width))
        local = instant_of(instant).astimezone(zone).replace(tzinfo=None)
        if length.unit in {"d", "w"}:
            earlier = local - timedelta(length.count * (7 if length.unit == "w" else 1))
        else:
            months = local.year * 12 + local.month - 1 - length.count * (12 if length.unit == "y" else 1)
            year, month = months // 12, months % 12 + 1
            earlier = local.replace(year=year, month=month, day=min(local.day, monthrange(year, month)[1]))
        return micros_of(earlier.replace(tzinfo=zone).astimezone(UTC))
    except (OverflowError, ValueError):
        raise GridError("lies outside of the years 1 to 9999") from None


def _first_instant(day: date, zone: ZoneInfo) -> int:
    """Return the first instant of a local date; of a date that clocks skipped, of the one behind it."""
    midnight = (day.toordinal() - _EPOCH_DAY) * 24 * _HOUR
    if zone.key == "UTC":
        return midnight
    before, after = (_offset(datetime.combine(day, time(fold=fold), zone)) for fold in (0, 1))
    if before >= after:
        return midnight - before
    # Clocks went forward over midnight: the date begins where they did, somewhere between the two readings of it.
    return _change(midnight - after, midnight - before, zone)


def _change(low: int, high: int, zone: ZoneInfo) -> int:
    """Return the first instant in (low, high] with the offset of `high`."""
    there = _offset(instant_of(high).astimezone(zone))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(instant_of(middle).astimezone(zone)) == there else (middle, high)
    return high


def _offset(local: datetime) -> int:
    """Return how many microseconds a time is east of UTC."""
    offset = local.utcoffset()
    return 0 if offset is None else offset // MICROSECOND


def _outside() -> GridError:
    return GridError("makes a bucket that reaches beyond the years 1 to 9999; take a range or bucket further inside")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The buckets of one range.

    Attributes:
        edges: where each bucket begins, and behind them where the last one ends.
        first_cut, last_cut: whether the range leaves out readings of the first bucket, or of the last.
        grain: the longest fixed length that divides the way from the first edge to each other one.
        floor: gives of any instant where its bucket would begin.
    """

    edges: Numbers
    first_cut: bool
    last_cut: bool
    grain: int
    floor: Callable[[int], int]

    def __len__(self) -> int:
        return len(self.edges) - 1

    @classmethod
    def most(cls, start: int, end: int, bucket: Bucket, zone: ZoneInfo) -> int:
        """Return how many buckets a range has, those of dates that clocks skipped counted in."""
        return bucket.number(end - 1, zone) - bucket.number(start, zone) + 1

    @classmethod
    def over(cls, start: int, end: int, bucket: Bucket, zone: ZoneInfo) -> "Grid":
        """Return the buckets that the range `start <= instant < end` touches.

        Raises:
            GridError: one of them reaches beyond the years 1 to 9999.
        """
        first, last = bucket.number(start, zone), bucket.number(end - 1, zone)
        if bucket.width is None:
            # A date that clocks skipped begins where the next one does, and is none.
            found = sorted({bucket.begin(number, zone) for number in range(first, last + 2)})
            _inside(found[0], found[-1])
            edges, grain = np.array(found, np.int64), math.gcd(*(high - low for low, high in pairwise(found)))
        else:
            begin, grain = bucket.begin(first, zone), bucket.width
            _inside(begin, begin + (last - first + 1) * grain)
            edges = begin + np.arange(last - first + 2, dtype=np.int64) * grain

        def floor(instant: int) -> int:
            try:
                return bucket.floor(instant, zone)
            except GridError:
                # At either end of time the instant itself is near enough to a bucket that has no beginning.
                return instant

        return cls(edges, bool(edges[0] < start), bool(edges[-1] > end), grain, floor)


def _inside(first: int, last: int) -> None:
    try:
        instant_of(first), instant_of(last)
    except OverflowError:
        raise _outside() from None


def whole(start: int, end: int) -> Grid:
    """Return the grid of one bucket that is the range itself."""
    return Grid(np.array([start, end], np.int64), False, False, end - start, lambda _: start)


def offsets(instants: Numbers, zone: ZoneInfo) -> Numbers:
    """Return the offsets from UTC, in whole minutes, that instants are written with in a zone.

    RFC 3339 has no seconds in an offset, and writes an instant with the nearest minute that can be written. Where the
    zone's local time leaves the years 1 to 9999, the offset is 0.
    """
    quarters, which = np.unique(instants // _QUARTER, return_inverse=True)
    # Looked up once a quarter of an hour, as clocks seldom change inside of one; where they do, once an instant.
    begins = (quarters * _QUARTER).tolist()
    first = np.fromiter((_minutes(begin, zone) for begin in begins), np.int64, len(begins))
    last = np.fromiter((_minutes(begin + _QUARTER - 1, zone) for begin in begins), np.int64, len(begins))
    found: Numbers = first[which]
    for place in np.flatnonzero((first != last)[which]).tolist():
        found[place] = _minutes(int(instants[place]), zone)
    return found


def zoned(instants: Numbers, zone: ZoneInfo) -> Column:
    """Return instants as a column that is written in a zone's time."""
    return Column(Kind.INSTANT, instants, offsets=None if zone.key == "UTC" else offsets(instants, zone))


def _minutes(instant: int, zone: ZoneInfo) -> int:
    try:
        return round(_offset(instant_of(instant).astimezone(zone)) / _MINUTE)
    except OverflowError:
        return 0


def written(instant: int, zone: ZoneInfo) -> str:
    """Return an instant as answers write it: in a zone's time with its offset, in UTC with a Z."""
    at = instant_of(instant)
    if zone.key == "UTC":
        return at.replace(tzinfo=None).isoformat() + "Z"
    minutes = _minutes(instant, zone)
    local = (at + timedelta(minutes=minutes)).replace(tzinfo=None)
    return f"{local.isoformat()}{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
