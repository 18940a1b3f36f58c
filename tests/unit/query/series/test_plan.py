"""What is asked of the database before a question's own statement."""

from datetime import UTC, datetime, timedelta

import pytest

from services.contract.instants import micros_of
from services.query.plan import Plan, RoutedPlan
from services.query.router import Rollup
from services.query.series.groups import unlabelled
from services.query.series.plan import plan
from services.query.series.question import Limits, Parameters, ask

NOW = micros_of(datetime(2025, 10, 22, 22, tzinfo=UTC))
TERMS = dict.fromkeys(("bucket", "sensor_id", "count", "sum"), "x")
MINUTE = timedelta(minutes=1) // timedelta(microseconds=1)
ROLLUPS = [Rollup(width, f"r{width}", width * MINUTE, 0, TERMS) for width in (15, 60)]


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        ("2025-10-22T21:00:01Z", "2025-10-22T21:29:59Z", ()),
        ("2025-10-22T21:00:00Z", "2025-10-22T21:14:59.999999Z", ()),
        ("2025-10-22T21:00:00Z", "2025-10-22T21:15:00Z", (15,)),
        ("2025-10-22T20:30:00Z", "2025-10-22T21:59:00Z", (15,)),
        ("2025-10-22T20:30:00Z", "2025-10-22T22:00:00Z", (60, 15)),
    ],
)
def test_only_rollups_with_a_whole_bucket_in_the_range_are_asked_after(
    start: str, end: str, asked: tuple[int, ...]
) -> None:
    question = ask(Parameters(["sensor-1"], start, end, agg="sum"), NOW, Limits(1, 1))
    planned = plan(question, unlabelled(question.sensors, question.by), ROLLUPS)
    if asked:
        assert isinstance(planned, RoutedPlan)
        assert planned.arguments[0] == asked
    else:
        assert isinstance(planned, Plan)
