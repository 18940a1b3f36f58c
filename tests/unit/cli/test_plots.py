"""A plot stays inside its terminal whatever it is given, shows gaps, and marks time by the zone's clock."""

import io
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.cli.questions.plot import draw, lines_of, span_of
from services.contract.instants import instant_of

BERLIN = ZoneInfo("Europe/Berlin")
BLANK = "\N{BRAILLE PATTERN BLANK}"


def screen(width: int = 80, height: int = 24) -> Console:
    return Console(width=width, height=height, file=io.StringIO())


def row(at: datetime, sensor: str = "a", **values: float | None) -> dict[str, Any]:
    return {"sensor_id": sensor, "timestamp": at.isoformat(), **values}


def plot(rows: list[dict[str, Any]], zone: ZoneInfo = BERLIN, console: Console | None = None) -> list[str]:
    lines = lines_of(rows)
    return draw(lines, span_of(lines, {}), zone, console or screen()).splitlines()


def between(first: int, last: int) -> st.SearchStrategy[datetime]:
    return st.integers(first, last).map(instant_of)


instants = between(-62_135_000_000_000_000, 253_402_000_000_000_000)
numbers = st.floats(-1e300, 1e300, allow_nan=False)
zones = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"])


@given(
    st.lists(st.tuples(instants, st.sampled_from(["a", "b", "größe"]), numbers), min_size=1, max_size=30),
    zones,
    st.integers(40, 200),
    st.integers(10, 60),
)
def test_a_plot_fits_into_its_terminal(
    readings: list[tuple[datetime, str, float]], zone: str, width: int, height: int
) -> None:
    rows = [row(at, sensor, value=value) for at, sensor, value in readings]
    found = plot(rows, ZoneInfo(zone), screen(width, height))
    drawn = [line for line in found if "│" in line or "┤" in line]
    assert max(map(len, drawn)) <= width
    assert len(drawn) <= max(height, 8)
    assert any(set(line.partition("┤")[2] or line.partition("│")[2]) - {BLANK} for line in drawn), "nothing is drawn"


@given(
    between(160_000_000_000_000, 252_000_000_000_000_000),
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=3650)),
    zones,
)
def test_marks_are_where_the_zones_clock_says(first: datetime, length: timedelta, zone: str) -> None:
    found = plot([row(first, value=1.0), row(first + length, value=2.0)], ZoneInfo(zone))
    labels = next(after for line, after in pairwise(found) if "└" in line)
    for hour, minute in re.findall(r"(?<![:\d])(\d\d):(\d\d)(?![:\d])", labels):
        assert int(minute) % 5 == 0 or length < timedelta(hours=1)
        assert int(hour) < 24


def test_days_begin_at_local_midnight_when_clocks_change() -> None:
    start = datetime(2025, 10, 25, 10, tzinfo=UTC)
    found = plot([row(start + timedelta(minutes=10 * step), value=float(step % 7)) for step in range(300)])
    labels = next(after for line, after in pairwise(found) if "└" in line).split()
    assert labels == ["12:00", "10-26", "12:00", "10-27", "12:00"]


@pytest.mark.parametrize("missing", ["null", "absent"])
def test_a_gap_is_seen(missing: str) -> None:
    start = datetime(2025, 10, 25, tzinfo=UTC)
    rows = [row(start + timedelta(minutes=step), avg=None if 40 <= step < 60 else 1.0) for step in range(100)]
    if missing == "absent":
        rows = [each for each in rows if each["avg"] is not None]
    [drawn] = [line for line in plot(rows) if set(re.sub(r".*[│┤]", "", line)) - {BLANK} and re.search("[│┤]", line)]
    body = re.sub(r".*[│┤]", "", drawn).strip(BLANK)
    assert 10 < body.count(BLANK) < 20
    assert re.fullmatch(f"[^{BLANK}]+{BLANK}+[^{BLANK}]+", body), "more than one gap"


def test_each_sensor_and_aggregate_is_a_line_of_the_legend() -> None:
    at = datetime(2025, 10, 25, tzinfo=UTC)
    rows = [row(at + timedelta(hours=hour), sensor, avg=1.0 * hour, max=2.0) for sensor in "xy" for hour in range(3)]
    assert plot(rows)[-4:] == ["a x avg", "b x max", "c y avg", "d y max"]
    assert plot([row(at, "\x1b[31mred", value=1.0)])[-1] == "\\x1b[31mred"
