"""Parameters become a question, or each that is wrong is named with its fix."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.contract.instants import instant_of, micros_of
from services.query.grid import Grid, parse_bucket, zone_of
from services.query.series.question import _LADDER, Limits, Parameters, QuestionError, ask

NOW = micros_of(datetime(2025, 10, 22, 22, tzinfo=UTC))
LIMITS = Limits(3, 1000)
RIGHT = Parameters(["sensor-1"], "2025-10-22T21:00:00Z")


def faults(limits: Limits = LIMITS, **changed: Any) -> dict[str, str]:
    with pytest.raises(QuestionError) as caught:
        ask(replace(RIGHT, **changed), NOW, limits)
    assert all(f"{name}: {message}" in str(caught.value) for name, message in caught.value.faults.items())
    return caught.value.faults


def test_what_is_absent_has_its_default() -> None:
    asked = ask(RIGHT, NOW, LIMITS)
    assert (asked.end, asked.zone.key, asked.aggregates, asked.bucket, asked.grid, asked.fill) == (
        instant_of(NOW), "UTC", (), None, None, "none",
    )  # fmt: skip


def test_one_value_over_the_range_is_one_bucket_that_is_not_cut() -> None:
    grid = ask(replace(RIGHT, agg="avg", start="-1h", tz="Asia/Kathmandu"), NOW, LIMITS).grid
    assert grid is not None
    assert grid.edges.tolist() == [NOW - 3_600_000_000, NOW]
    assert (grid.first_cut, grid.last_cut) == (False, False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sensor_id": [""]}, "1 to 128 characters"),
        ({"sensor_id": ["x" * 129]}, "1 to 128 characters"),
        ({"sensor_id": ["a\0b"]}, "NUL"),
        ({"sensor_id": ["a", "b", "a"]}, "names a more than once"),
        ({"sensor_id": ["a", "b", "c", "d"]}, "MILLRACE_QUERY_MAX_SENSORS allows 3"),
        ({"start": "yesterday"}, "RFC 3339"),
        ({"end": "2025-10-22T21:00:00"}, "add Z"),
        ({"agg": ""}, "has '', which is none of avg, min"),
        ({"agg": "avg,p101"}, "has 'p101', which is none of avg, min"),
        ({"agg": "avg,p5,avg"}, "names avg more than once"),
        ({"agg": ",".join(f"p{number}" for number in range(11))}, "more than 10 percentiles"),
        ({"by": "all"}, "needs agg"),
        ({"agg": "avg", "by": ""}, "sensor_id, all, or names of labels"),
        ({"agg": "avg", "by": "room,"}, "sensor_id, all, or names of labels"),
        ({"agg": "avg", "by": "x" * 129}, "1 to 128 characters"),
        ({"agg": "avg", "by": "a\0b"}, "sensor_id, all, or names of labels"),
        ({"agg": "avg", "by": "room,floor,room"}, "names room more than once"),
        ({"agg": "avg", "by": "room,all"}, "has all beside others"),
        ({"agg": "avg", "by": "sensor_id,room"}, "has sensor_id beside others"),
        ({"agg": "avg", "by": "timestamp"}, "the name of another key of a row"),
        ({"agg": "avg,p5", "by": "p5"}, "the name of another key of a row"),
        ({"agg": "avg", "by": ",".join(f"l{number}" for number in range(11))}, "more than 10 labels"),
        ({"agg": "avg,max,avg"}, "names avg more than once"),
        ({"agg": "avg, max"}, "has ' max'"),
        ({"bucket": "5"}, "no length"),
        ({"bucket": "1h"}, "needs agg"),
        ({"tz": "Berlin"}, "IANA"),
        ({"fill": "null"}, "needs bucket"),
        ({"agg": "avg", "fill": "0"}, "needs bucket"),
        ({"agg": "avg", "bucket": "1h", "fill": "next"}, "none, null, previous, linear, and no number"),
        ({"agg": "avg", "bucket": "1h", "fill": "nan"}, "no number"),
        ({"agg": "avg", "bucket": "1h", "fill": "1e999"}, "no number"),
        ({"agg": "avg", "bucket": "1h", "fill": ""}, "no number"),
        ({"agg": "avg", "bucket": "1000y", "start": "0001-01-01T00:00:00Z"}, "years 1 to 9999"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], message: str) -> None:
    found = faults(**changed)
    assert list(found) == [list(changed)[-1] if "years 1" not in message else "bucket"]
    assert message in next(iter(found.values()))


def test_names_that_are_too_many_or_come_twice_are_each_looked_at_once() -> None:
    """Pairs of so many would take minutes."""
    many = [f"sensor-{number}" for number in range(100_000)]
    assert "MILLRACE_QUERY_MAX_SENSORS allows 3" in faults(sensor_id=[*many, many[-1]])["sensor_id"]
    assert faults(Limits(200_000, 1000), sensor_id=[*many, many[-1]]) == {
        "sensor_id": f"names {many[-1]} more than once"
    }
    percentiles = ",".join(f"p{number / 1000}" for number in range(100_000))
    assert "more than 10 percentiles" in faults(agg=percentiles)["agg"]
    assert "more than 10 labels" in faults(agg="avg", by=",".join(many))["by"]


def test_a_range_that_holds_nothing_names_both_ends() -> None:
    for start, end in [("now", None), ("now", "now-1h"), ("2025-10-22T23:00:00+01:00", "now")]:
        assert set(faults(start=start, end=end)) == {"start", "end"}


def test_all_that_is_wrong_is_named_at_once() -> None:
    wrong: dict[str, Any] = {
        "sensor_id": [""],
        "start": "x",
        "end": "y",
        "agg": "z",
        "bucket": "q",
        "tz": "Nowhere",
        "fill": "?",
    }
    assert faults(**wrong).keys() == wrong.keys()


def test_too_large_a_grid_is_told_the_smallest_bucket_that_fits() -> None:
    for sensors in (1, 2, 3):
        for bucket, start in [("1s", "-1d"), ("5m", "now-1y"), ("1d", "1900-01-01T00:00:00Z"), ("250ms", "-1h")]:
            for tz in ("UTC", "Australia/Lord_Howe"):
                names = ["a", "b", "c"][:sensors]
                found = faults(sensor_id=names, agg="avg", bucket=bucket, start=start, tz=tz)["bucket"]
                assert f"{sensors} × " in found
                assert "more than the 1000 of MILLRACE_QUERY_MAX_CELLS" in found
                named = parse_bucket(found.rsplit(" ", 1)[1])
                fits = ask(Parameters(names, start, None, "avg", str(named), tz), NOW, LIMITS)
                assert fits.grid is not None
                lesser = _LADDER[_LADDER.index(named) - 1]
                ends = micros_of(fits.start), micros_of(fits.end)
                assert Grid.most(*ends, lesser, zone_of(tz)) * sensors > LIMITS.cells


def test_more_sensors_than_cells_are_refused_by_their_own_name() -> None:
    for bucket in (None, "1h"):
        found = faults(Limits(10, 2), sensor_id=["a", "b", "c"], agg="avg", bucket=bucket)
        assert list(found) == ["sensor_id"]
        assert "MILLRACE_QUERY_MAX_CELLS" in found["sensor_id"]


def test_readings_have_no_cells() -> None:
    assert ask(replace(RIGHT, sensor_id=["a", "b", "c"], start="1970-01-01T00:00:00Z"), NOW, Limits(3, 1)).grid is None


def test_a_grid_at_its_limit_is_laid() -> None:
    start = instant_of(NOW - 1000 * 1_000_000) + timedelta(microseconds=1)
    assert ask(replace(RIGHT, start=start.isoformat(), agg="avg", bucket="1s"), NOW, LIMITS).grid is not None
    assert "bucket" in faults(start=(start - timedelta(seconds=1)).isoformat(), agg="avg", bucket="1s")
