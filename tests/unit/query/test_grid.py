"""The grid against a reference that looks at every instant, and what people write for lengths and instants."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples

from services.contract.instants import instant_of, micros_of
from services.query.grid import Bucket, Grid, GridError, moment, offsets, parse_bucket, written, zone_of
from tests.support import series
from tests.support.series import ANCHORS, ZONES, Asked, Reading

UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2024, 3, 31, 12, 34, 56, 789_000, tzinfo=UTC)


def laid(start: datetime, end: datetime, bucket: Bucket, zone: str) -> Grid:
    return Grid.over(micros_of(start), micros_of(end), bucket, zone_of(zone))


def instants(grid: Grid) -> list[datetime]:
    return [instant_of(edge) for edge in grid.edges.tolist()]


@examples(max_examples=400, deadline=None)
@given(series.cases())
def test_edges_are_those_that_a_walk_through_time_finds(case: tuple[dict[str, list[Reading]], Asked]) -> None:
    asked = case[1]
    bucket = asked.bucket or (1, "d")
    grid = laid(asked.start, min(asked.end, asked.start + timedelta(days=500)), Bucket(*bucket), asked.zone)
    end = min(asked.end, asked.start + timedelta(days=500))
    if len(grid) < 3000:
        assert instants(grid) == series.edges(asked.start, end, bucket, asked.zone)
    assert (grid.first_cut, grid.last_cut) == (instants(grid)[0] < asked.start, instants(grid)[-1] > end)
    assert not ((grid.edges - grid.edges[0]) % grid.grain).any()
    most = Grid.most(micros_of(asked.start), micros_of(end), Bucket(*bucket), zone_of(asked.zone))
    # A date that clocks skipped is counted, and is no bucket.
    assert 0 <= most - len(grid) <= 1


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2024, 3, 30, 23, tzinfo=UTC), 23),
        ("Europe/Berlin", datetime(2024, 10, 26, 22, tzinfo=UTC), 25),
        ("Australia/Lord_Howe", datetime(2024, 4, 6, 13, tzinfo=UTC), 24.5),
        ("Australia/Lord_Howe", datetime(2024, 10, 5, 13, 30, tzinfo=UTC), 23.5),
        ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC), 23),
        ("Asia/Kathmandu", datetime(2024, 5, 31, 18, 15, tzinfo=UTC), 24),
        ("Pacific/Apia", datetime(2011, 12, 29, 10, tzinfo=UTC), 24),
        # Clocks went from 23:30 to 00:30 of the next day, which begins with the change.
        ("America/Toronto", datetime(1919, 3, 31, 4, 30, tzinfo=UTC), 23.5),
    ],
)
def test_a_day_has_the_hours_of_its_zone(zone: str, day: datetime, hours: float) -> None:
    grid = laid(day, day + timedelta(microseconds=1), Bucket(1, "d"), zone)
    assert instants(grid) == [day, day + timedelta(hours=hours)]
    assert not grid.first_cut


def test_a_date_that_clocks_skipped_has_no_bucket() -> None:
    grid = laid(datetime(2011, 12, 29, 10, tzinfo=UTC), datetime(2012, 1, 1, 10, tzinfo=UTC), Bucket(1, "d"), ZONES[7])
    assert [at.astimezone(ZoneInfo(ZONES[7])).day for at in instants(grid)] == [29, 31, 1, 2]


def test_grains_are_as_coarse_as_the_edges_allow() -> None:
    year = datetime(2023, 12, 31, 23, tzinfo=UTC), datetime(2024, 12, 31, 23, tzinfo=UTC)
    hour = 3_600_000_000
    assert laid(*year, Bucket(1, "d"), "Europe/Berlin").grain == hour
    assert laid(*year, Bucket(1, "d"), "UTC").grain == 24 * hour
    assert laid(*year, Bucket(1, "mo"), "Australia/Lord_Howe").grain == hour // 2
    assert laid(*year, Bucket(5, "m"), "Europe/Berlin").grain == hour // 12


@pytest.mark.parametrize(
    ("text", "bucket"),
    [
        ("250ms", "250ms"), ("10s", "10s"), ("5m", "5m"), ("1h", "1h"), ("1d", "1d"), ("1w", "1w"), ("1mo", "1mo"),
        ("1y", "1y"), ("PT5M", "5m"), ("P1D", "1d"), ("P1W", "1w"), ("P1W1D", "8d"), ("P1M", "1mo"), ("P1Y", "1y"),
        ("P1Y6M", "18mo"), ("PT1H30M", "90m"), ("PT0.25S", "250ms"), ("PT0,5S", "500ms"), ("PT3600S", "1h"),
    ],
)  # fmt: skip
def test_lengths_are_read(text: str, bucket: str) -> None:
    assert str(parse_bucket(text)) == bucket


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no length"), ("5", "no length"), ("1.5h", "no length"), ("-5m", "no length"), ("5 m", "no length"),
        ("5min", "no length"), ("P", "no length"), ("PT", "no length"), ("P1DT", "no length"), ("0s", "1ms or more"),
        ("PT0S", "1ms or more"), ("P1DT12H", "mixes"), ("P1M1D", "mixes"), ("PT0.0005S", "milliseconds"),
        ("999999999999h", "longer"), ("11000y", "longer"), ("\u0665m", "no length"),
    ],
)  # fmt: skip
def test_what_is_no_length_is_told(text: str, why: str) -> None:
    with pytest.raises(GridError, match=why):
        parse_bucket(text)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-10-22T23:00:00+02:00", "2025-10-22T21:00:00+00:00"),
        ("1761166800000", "2025-10-22T21:00:00+00:00"),
        ("now", "2024-03-31T12:34:56.789000+00:00"),
        ("now-6h", "2024-03-31T06:34:56.789000+00:00"),
        ("-6h", "2024-03-31T06:34:56.789000+00:00"),
        ("-250ms", "2024-03-31T12:34:56.539000+00:00"),
        # 14:34 in Berlin, on either side of the change.
        ("now-1d", "2024-03-30T13:34:56.789000+00:00"),
        ("now-1w", "2024-03-24T13:34:56.789000+00:00"),
        ("now-1mo", "2024-02-29T13:34:56.789000+00:00"),
        ("now-1y", "2023-03-31T12:34:56.789000+00:00"),
        ("now/d", "2024-03-30T23:00:00+00:00"),
        ("now-1d/d", "2024-03-29T23:00:00+00:00"),
        ("-1d/d", "2024-03-29T23:00:00+00:00"),
        ("now/w", "2024-03-24T23:00:00+00:00"),
        ("now/mo", "2024-02-29T23:00:00+00:00"),
        ("now/h", "2024-03-31T12:00:00+00:00"),
    ],
)
def test_instants_are_read(text: str, instant: str) -> None:
    assert instant_of(moment(text, micros_of(NOW), BERLIN)).isoformat() == instant


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "RFC 3339"), ("yesterday", "expression such as now"), ("6h", "RFC 3339"), ("now+6h", "RFC 3339"),
        ("now-", "RFC 3339"), ("/d", "RFC 3339"), ("now-1d/q", "RFC 3339"), ("1761166800", "13 digits"),
        ("2025-10-22T21:00:00", "add Z"), ("2025-10-22T21:00:00 02:00", "%2B"), ("now-9999y", "years 1 to 9999"),
        ("now-999999999999d", "years 1 to 9999"), ("now-999999999999h", "years 1 to 9999"),
    ],
)  # fmt: skip
def test_what_is_no_instant_is_told(text: str, why: str) -> None:
    with pytest.raises(GridError, match=why):
        moment(text, micros_of(NOW), BERLIN)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "europe/berlin", "localtime", "../../etc/passwd", "America", "a\0", "+1"]
)
def test_what_is_no_zone_is_told(name: str) -> None:
    with pytest.raises(GridError, match="IANA"):
        zone_of(name)


def test_no_bucket_reaches_beyond_time() -> None:
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for bucket in (Bucket(1, "d"), Bucket(7, "d"), Bucket(1, "y"), Bucket(1000, "y"), Bucket(7, "h"), Bucket(1, "mo")):
        for zone in ZONES:
            for start in (first, last - timedelta(days=1)):
                try:
                    grid = laid(start, start + timedelta(hours=1), bucket, zone)
                except GridError as error:
                    assert "years 1 to 9999" in str(error)
                else:
                    assert len(instants(grid)) == len(grid) + 1


def test_offsets_are_those_of_the_zone_at_each_instant() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for name in [*ZONES, "Africa/Monrovia", "Europe/Amsterdam"]:
        zone = ZoneInfo(name)
        around = [micros_of(anchor) + rng.randrange(-(10**10), 10**10) for anchor in ANCHORS for _ in range(50)]
        old = [rng.randrange(-3_000_000_000, 0) * 1_000_000 for _ in range(500)]
        given = np.array(around + old, np.int64)
        expected = []
        for instant in given.tolist():
            offset = instant_of(instant).astimezone(zone).utcoffset()
            assert offset is not None
            expected.append(round(offset / timedelta(minutes=1)))
        assert offsets(given, zone).tolist() == expected


def test_instants_are_written_with_the_nearest_minute_of_an_offset() -> None:
    assert written(micros_of(NOW), UTC_ZONE) == "2024-03-31T12:34:56.789000Z"
    assert written(micros_of(NOW), BERLIN) == "2024-03-31T14:34:56.789000+02:00"
    assert written(0, ZoneInfo("America/St_Johns")) == "1969-12-31T20:30:00-03:30"
    # Local time was 44 minutes and 30 seconds behind.
    text = written(0, ZoneInfo("Africa/Monrovia"))
    assert (text, datetime.fromisoformat(text)) == ("1969-12-31T23:16:00-00:44", datetime(1970, 1, 1, tzinfo=UTC))
    assert written(micros_of(datetime.max.replace(tzinfo=UTC)), BERLIN) == "9999-12-31T23:59:59.999999+00:00"
