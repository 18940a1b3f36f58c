"""What the columns of a continuous aggregate are is told by its definition, or not at all."""

import pytest

from services.query.definitions import partials_in

BUCKET = """time_bucket('01:00:00'::interval, "timestamp")"""


def definition(items: str, rest: str = "", groups: str = f"({BUCKET}), sensor_id", bucket: str = BUCKET) -> str:
    return f" SELECT {bucket} AS bucket,\n    sensor_id,\n    {items}\n   FROM sensor_data{rest}\n  GROUP BY {groups};"


def test_known_columns_become_partials() -> None:
    assert partials_in(definition("avg(value) AS avg,\n    min(value) AS min,\n    count(*) AS samples")) == {
        "bucket": "bucket",
        "sensor_id": "sensor_id",
        "count": "samples",
        "min": "min",
        "sum": "avg * samples",
    }


def test_names_stay_quoted_and_a_sum_is_taken_before_an_average() -> None:
    found = partials_in(
        definition(
            'avg(value) AS "a, (""x"")",\n    sum(value) AS "Sum",\n    count(value) AS n,\n    var_pop(value) AS v'
        )
    )
    assert (found["sum"], found["count"], found["squares"]) == ('"Sum"', "n", "v * n")


def test_columns_of_other_kinds_are_passed_over() -> None:
    items = (
        "percentile_cont((0.9)::double precision) WITHIN GROUP (ORDER BY value) AS p90,\n"
        "    (max(value) - min(value)) AS spread,\n"
        "    avg(value) FILTER (WHERE (value > (0)::double precision)) AS avg,\n"
        '    first(value, "timestamp") AS first,\n    count(*) AS count'
    )
    assert partials_in(definition(items)).keys() == {"bucket", "sensor_id", "count"}


@pytest.mark.parametrize(
    "other",
    [
        definition("avg(value) AS avg"),
        definition("count(*) AS count", rest="\n  WHERE (value > (0)::double precision)"),
        definition("count(*) AS count", groups=f"({BUCKET}), sensor_id, value"),
        definition("count(*) AS count", groups=f"({BUCKET})"),
        definition("count(*) AS count", groups=f"({BUCKET}), sensor_id\n HAVING (count(*) > 1)"),
        definition("count(DISTINCT value) AS count"),
        definition("count(*) FILTER (WHERE (value > (0)::double precision)) AS count"),
        definition("count(*) AS count").replace("sensor_data", "other"),
        definition("count(*) AS count").replace("sensor_data", "(sensor_data JOIN other USING (sensor_id))"),
        definition("count(*) AS count", bucket="""time_bucket('01:00:00'::interval, (now() - "timestamp"))"""),
        definition("count(*) AS count").replace("sensor_id,", "lower(sensor_id) AS sensor_id,"),
        "",
    ],
)
def test_what_is_no_rollup_of_readings_is_none(other: str) -> None:
    assert partials_in(other) == {}
