"""The oracle of `/series`: a slow reference in plain Python, with datetime and zoneinfo and without numpy or SQL."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume
from hypothesis import strategies as st

__all__ = [
    "AGGREGATES",
    "ANCHORS",
    "FILLS",
    "ZONES",
    "Asked",
    "Reading",
    "answer",
    "cases",
    "edges",
    "first_instant",
    "read",
    "same",
]

Reading = tuple[datetime, float]
"""Of one sensor; of those at one instant, the first in the list has the least id."""

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Cairo",
]

ANCHORS = [
    *(datetime(2024, 3, 31, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)),  # Berlin
    *(datetime(2024, 3, 10, 7, tzinfo=UTC), datetime(2024, 11, 3, 6, tzinfo=UTC)),  # New York
    *(datetime(2018, 11, 4, 3, tzinfo=UTC), datetime(2018, 2, 18, 2, tzinfo=UTC)),  # Sao Paulo, at midnight
    *(datetime(2006, 4, 2, 3, 31, tzinfo=UTC), datetime(2006, 10, 29, 2, 31, tzinfo=UTC)),  # St John's, at 00:01
    *(datetime(2024, 4, 6, 15, tzinfo=UTC), datetime(2024, 10, 5, 15, 30, tzinfo=UTC)),  # Lord Howe, by half an hour
    *(datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2012, 3, 31, 14, tzinfo=UTC)),  # Apia, a date skipped
    *(datetime(2024, 4, 25, 22, tzinfo=UTC), datetime(2024, 10, 31, 21, tzinfo=UTC)),  # Cairo, at midnight
    *(datetime(1985, 12, 31, 18, 30, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, tzinfo=UTC)),  # Kathmandu; the epoch
    *(datetime(1916, 4, 30, 22, tzinfo=UTC), datetime(2000, 1, 3, tzinfo=UTC)),  # Berlin's first; the origin
]
"""Nights in which clocks change, and other instants that something begins at."""

SENSORS = ["a", "B", "ä", "z 1"]
FIXED = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
AGGREGATES = ["avg", "min", "max", "sum", "count", "first", "last", "stddev"]
FILLS = ["none", "null", "previous", "linear", "0", "-2.5"]


@dataclass(frozen=True)
class Asked:
    """A question, its bucket as a count and a unit, None for the whole range."""

    start: datetime
    end: datetime
    zone: str
    aggregates: Sequence[str]
    bucket: tuple[int, str] | None
    fill: str


@cache
def first_instant(day: date, zone: str) -> datetime:
    """Return the first instant whose local date is `day` or a later one, found by looking at each."""
    local = ZoneInfo(zone)

    def begun(at: datetime) -> bool:
        return at.astimezone(local).date() >= day

    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    while not begun(at):
        at += timedelta(minutes=15)
    while begun(at - timedelta(seconds=1)):
        at -= timedelta(seconds=1)
    return at


def edges(start: datetime, end: datetime, bucket: tuple[int, str], zone: str) -> list[datetime]:
    """Return the edges of the buckets that a range touches, walked from 2000 on, one after the other."""
    count, unit = bucket
    if unit in FIXED:
        width = timedelta(seconds=count * FIXED[unit])
        origin = first_instant(date(2000, 1, 3), zone)
        found = [origin + (start - origin) // width * width]
        while found[-1] < end:
            found.append(found[-1] + width)
        return found

    def begin(number: int) -> datetime:
        if unit in {"d", "w"}:
            return first_instant(date(2000, 1, 3) + timedelta(days=number * count * (7 if unit == "w" else 1)), zone)
        months = number * count * (12 if unit == "y" else 1)
        return first_instant(date(2000 + months // 12, months % 12 + 1, 1), zone)

    days = {"d": 1, "w": 7, "mo": 30.436875, "y": 365.2425}[unit] * count
    number = int((start - datetime(2000, 1, 3, tzinfo=UTC)).total_seconds() / 86400 / days) - 3
    while begin(number + 1) <= start:
        number += 1
    assert begin(number) <= start
    found = [begin(number)]
    while found[-1] < end:
        number += 1
        if begin(number) != found[-1]:
            found.append(begin(number))
    return found


def _stddev(values: Sequence[float]) -> float | None:
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


_MAKERS: dict[str, Callable[[Sequence[float]], float | None]] = {
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "sum": math.fsum,
    "count": len,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "stddev": _stddev,
}


def _made(values: Sequence[float], aggregates: Iterable[str]) -> dict[str, float | None]:
    return {name: _MAKERS[name](values) for name in aggregates}


def answer(sensors: dict[str, list[Reading]], asked: Asked) -> list[dict[str, Any]]:
    """Return the rows that a question must give, their timestamps as instants."""
    rows: list[dict[str, Any]] = []
    for sensor in sorted(sensors):
        readings = sorted(sensors[sensor], key=lambda reading: reading[0])
        inside = [(at, value) for at, value in readings if asked.start <= at < asked.end]
        if asked.aggregates:
            rows += [{"sensor_id": sensor, **row} for row in _buckets(readings, inside, asked)]
        else:
            rows += [{"sensor_id": sensor, "timestamp": at, "value": value} for at, value in inside]
    return rows


def _buckets(readings: list[Reading], inside: list[Reading], asked: Asked) -> list[dict[str, Any]]:
    laid = [asked.start, asked.end]
    if asked.bucket:
        laid = edges(asked.start, asked.end, asked.bucket, asked.zone)
    made: list[dict[str, float | None] | None] = []
    for low, high in pairwise(laid):
        values = [value for at, value in inside if low <= at < high]
        made.append(_made(values, asked.aggregates) if values else None)
    before = [reading for reading in readings if reading[0] < asked.start][-1:]
    behind = [reading for reading in readings if reading[0] >= asked.end][:1]
    # All that a bucket could be filled from: where it stands, and what is there.
    points = [(laid[place], there) for place, there in enumerate(made) if there]
    for near in (before, behind):
        for at, value in near:
            label = edges(at, at + timedelta(microseconds=1), asked.bucket, asked.zone)[0] if asked.bucket else at
            points.insert(0 if near is before else len(points), (label, _made([value], asked.aggregates)))
    rows: list[dict[str, Any]] = []
    for place, there in enumerate(made):
        many = sum(each is not None for each in made[:place]) + len(before)
        shown = there or _filled(laid[place], points[:many], points[many:], asked)
        if shown is not None:
            rows.append({"timestamp": laid[place], **shown})
    return rows


def _filled(
    at: datetime,
    before: list[tuple[datetime, dict[str, float | None]]],
    behind: list[tuple[datetime, dict[str, float | None]]],
    asked: Asked,
) -> dict[str, float | None] | None:
    nothing: dict[str, float | None] = dict.fromkeys(asked.aggregates)
    match asked.fill:
        case "none":
            return None
        case "null":
            return nothing
        case "previous":
            return before[-1][1] if before else nothing
        case "linear":
            return _on_the_line(at, before[-1], behind[0]) if before and behind else nothing
    return dict.fromkeys(asked.aggregates, float(asked.fill))


def _on_the_line(
    at: datetime, low: tuple[datetime, dict[str, float | None]], high: tuple[datetime, dict[str, float | None]]
) -> dict[str, float | None]:
    share = (at - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0.0
    found: dict[str, float | None] = {}
    for name, left in low[1].items():
        right = high[1][name]
        found[name] = None if left is None or right is None else left + (right - left) * share
    return found


# Around the nights, as far as the buckets of some length reach.
_AWAY = st.one_of(
    st.integers(-4 * 3600, 4 * 3600).map(lambda second: timedelta(seconds=second)),
    st.integers(-40 * 24, 40 * 24).map(lambda hour: timedelta(hours=hour)),
    st.integers(-3_000_000, 3_000_000).map(lambda micro: timedelta(microseconds=micro)),
    st.integers(-1200, 1200).map(lambda day: timedelta(days=day)),
)
_VALUES = st.integers(-4000, 4000).map(lambda quarters: quarters / 4)
_MOST_BUCKETS = 2000


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, list[Reading]], Asked]:
    """Return readings of some sensors around a night, and a question about them that is not too large for Python."""
    anchor = draw(st.sampled_from(ANCHORS))
    instants: st.SearchStrategy[list[datetime]] = st.lists(_AWAY.map(lambda away: anchor + away), max_size=14)
    sensors = {}
    for sensor in draw(st.lists(st.sampled_from(SENSORS), min_size=1, max_size=3, unique=True)):
        at = draw(instants)
        # Twins, which only their ids tell apart.
        at += draw(st.lists(st.sampled_from(at), max_size=3)) if at else []
        sensors[sensor] = [(each, draw(_VALUES)) for each in at]
    start, end = sorted((anchor + draw(_AWAY), anchor + draw(_AWAY)))
    end = max(end, start + timedelta(microseconds=1))
    aggregates = draw(st.lists(st.sampled_from(AGGREGATES), unique=True))
    bucket, fill = None, "none"
    if aggregates and draw(st.integers(0, 9)) > 0:
        fill = draw(st.sampled_from(FILLS))
        unit = draw(st.sampled_from(["ms", "s", "m", "h", "d", "w", "mo", "y"]))
        count: int = draw(st.sampled_from([1, 2, 3, 5, 7, 15, 250]))
        bucket = (count, unit)
        seconds = FIXED.get(unit) or {"d": 1, "w": 7, "mo": 30, "y": 365}[unit] * 86400
        if unit in {"mo", "y"}:
            bucket = (min(bucket[0], 7), unit)
        assume((end - start).total_seconds() / (seconds * bucket[0]) < _MOST_BUCKETS)
    return sensors, Asked(start, end, draw(st.sampled_from(ZONES)), aggregates, bucket, fill)


def read(rows: list[dict[str, Any]], zone: str) -> list[dict[str, Any]]:
    """Return an answer's rows with their timestamps as instants, which must be written as the zone has them."""
    for row in rows:
        at = datetime.fromisoformat(row["timestamp"])
        local = at.astimezone(ZoneInfo(zone))
        assert row["timestamp"].endswith("Z") == (zone == "UTC")
        assert at.replace(tzinfo=None) - local.replace(tzinfo=None) < timedelta(minutes=1)
    return [row | {"timestamp": datetime.fromisoformat(row["timestamp"]).astimezone(UTC)} for row in rows]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Hold an answer's rows against the reference's: what is summed to 1e-9, all else exactly."""
    assert [list(row) for row in found] == [list(row) for row in expected]
    for got, right in zip(found, expected, strict=True):
        for name, value in right.items():
            if isinstance(value, float) and name in {"avg", "sum", "stddev"} and got[name] is not None:
                value = pytest.approx(value, rel=1e-9, abs=1e-9)  # noqa: PLW2901 -- of quarters up to 1000
            assert got[name] == value, (name, got, right)
