"""The oracle of `/series`: a slow reference in plain Python, with datetime and zoneinfo and without numpy or SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume
from hypothesis import strategies as st

from .aggregates import AGGREGATES, HELD, PERCENTILES, SUMMED, Placed, Window, covered, made

__all__ = [
    "AGGREGATES",
    "ANCHORS",
    "BY",
    "FILLS",
    "LABELS",
    "PERCENTILES",
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
LABELS = {"a": {"room": "x"}, "B": {"room": "x", "floor": "1"}, "ä": {"room": "y"}}
"""The labels of some sensors; the others have none."""

BY = ["sensor_id", "all", "room", "floor,room"]
FILLS = ["none", "null", "previous", "linear", "0", "-2.5"]


@dataclass(frozen=True)
class Asked:
    """A question, its bucket as a count and a unit, None for the whole range; when it is asked, None for long after."""

    start: datetime
    end: datetime
    zone: str
    aggregates: Sequence[str]
    bucket: tuple[int, str] | None
    fill: str
    by: str = "sensor_id"
    now: datetime | None = None


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


def keys(sensor: str, by: str) -> dict[str, str]:
    """Return what tells the rows of a sensor's group from those of others."""
    if by == "sensor_id":
        return {"sensor_id": sensor}
    return {} if by == "all" else {name: LABELS.get(sensor, {}).get(name, "") for name in by.split(",")}


def answer(sensors: dict[str, list[Reading]], asked: Asked) -> list[dict[str, Any]]:
    """Return the rows that a question must give, their timestamps as instants; ids follow what is given."""
    placed: list[Placed] = []
    for sensor, given in sensors.items():
        placed += [Placed(at, len(placed) + number, value, sensor) for number, (at, value) in enumerate(given)]
    placed.sort(key=lambda reading: (reading.at, reading.id))
    groups: dict[tuple[str, ...], list[str]] = {}
    for sensor in sorted(sensors):
        groups.setdefault(tuple(keys(sensor, asked.by).values()), []).append(sensor)
    rows: list[dict[str, Any]] = []
    for _, members in sorted(groups.items()):
        readings = [reading for reading in placed if reading.sensor in members]
        if asked.aggregates:
            rows += [keys(members[0], asked.by) | row for row in _buckets(readings, asked)]
        else:
            inside = [reading for reading in readings if asked.start <= reading.at < asked.end]
            rows += [{"sensor_id": members[0], "timestamp": each.at, "value": each.value} for each in inside]
    return rows


def _buckets(readings: list[Placed], asked: Asked) -> list[dict[str, Any]]:
    laid = [asked.start, asked.end]
    if asked.bucket:
        laid = edges(asked.start, asked.end, asked.bucket, asked.zone)
    inside = [reading for reading in readings if reading.at < asked.end]
    until = min(asked.end, asked.now or asked.end)
    windows = [Window(max(low, asked.start), min(high, asked.end), until) for low, high in pairwise(laid)]
    counted = [any(window.low <= reading.at < window.high for reading in inside) for window in windows]
    held = [covered(inside, window) for window in windows]
    shown = [place for place in range(len(windows)) if counted[place] or asked.fill != "none"]
    rows: dict[int, dict[str, Any]] = {place: {"timestamp": laid[place]} for place in shown}
    for name in asked.aggregates:
        # What a bucket could be filled from: where it stands, and what is there.
        points = [
            (laid[place], made(name, inside, window))
            for place, window in enumerate(windows)
            if (held if name in HELD else counted)[place]
        ]
        known = dict(points)
        before, behind = _beside(readings, asked, name)
        points = [*before, *points, *behind]
        for place in shown:
            at = laid[place]
            if at in known:
                rows[place][name] = known[at]
            else:
                many = len(before) + sum(label < at for label in known)
                rows[place][name] = _filled(at, points[:many], points[many:], asked.fill)
    return list(rows.values())


Point = tuple[datetime, float | None]


def _beside(readings: list[Placed], asked: Asked, name: str) -> tuple[list[Point], list[Point]]:
    """Return the nearest reading before the range and that behind it, each as a bucket of its own."""
    found: list[list[Point]] = []
    for near in (
        [reading for reading in readings if reading.at < asked.start][-1:],
        [reading for reading in readings if reading.at >= asked.end][:1],
    ):
        found.append([])
        for reading in near if name not in HELD else []:
            at = reading.at
            label = edges(at, at + timedelta(microseconds=1), asked.bucket, asked.zone)[0] if asked.bucket else at
            alone = Window(at, at + timedelta(microseconds=1), at)
            found[-1].append((label, None if name in {"increase", "rate"} else made(name, [reading], alone)))
    return found[0], found[1]


def _filled(at: datetime, before: list[Point], behind: list[Point], fill: str) -> float | None:
    match fill:
        case "none" | "null":
            return None
        case "previous":
            return before[-1][1] if before else None
        case "linear":
            return _on_the_line(at, before[-1], behind[0]) if before and behind else None
    return float(fill)


def _on_the_line(at: datetime, low: Point, high: Point) -> float | None:
    share = (at - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0.0
    return None if low[1] is None or high[1] is None else low[1] + (high[1] - low[1]) * share


# Around the nights, as far as the buckets of some length reach.
_AWAY = st.one_of(
    st.integers(-4 * 3600, 4 * 3600).map(lambda second: timedelta(seconds=second)),
    st.integers(-40 * 24, 40 * 24).map(lambda hour: timedelta(hours=hour)),
    st.integers(-3_000_000, 3_000_000).map(lambda micro: timedelta(microseconds=micro)),
    # Not behind now, where no value is held.
    st.integers(-1200, 400).map(lambda day: timedelta(days=day)),
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
    aggregates = draw(st.lists(st.sampled_from([*AGGREGATES, *PERCENTILES]), unique=True, max_size=8))
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
    by = draw(st.sampled_from(BY)) if aggregates else "sensor_id"
    return sensors, Asked(start, end, draw(st.sampled_from(ZONES)), aggregates, bucket, fill, by)


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
            if isinstance(value, float) and name in SUMMED and got[name] is not None:
                value = pytest.approx(value, rel=1e-9, abs=1e-9)  # noqa: PLW2901 -- of quarters up to 1000
            assert got[name] == value, (name, got, right)
