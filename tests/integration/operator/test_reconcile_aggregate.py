"""Continuous aggregates on a real TimescaleDB: created and filled, kept as desired, put right after drift."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.operator.planning.steps import Plan
from services.operator.reconcile.apply import reconcile_aggregate
from services.operator.refusals import Reason
from services.operator.specs.resources import ContinuousAggregateSpec
from services.platform.postgres.capability import capability
from tests.support import TestDatabase
from tests.support.late import connected, filled, insert

HOURLY: dict[str, Any] = {
    "name": "measurement_hourly",
    "source": {"table": "sensor_data"},
    "bucket": {"width": "1 hour", "column": "timestamp"},
    "groupBy": ["sensor_id"],
    "columns": [
        {"name": "avg", "function": "avg", "of": "value"},
        {"name": "min", "function": "min", "of": "value"},
        {"name": "max", "function": "max", "of": "value"},
        {"name": "samples", "function": "count"},
    ],
    "realTime": True,
    "refresh": {"startOffset": "7 days", "endOffset": "1 minute", "schedule": "1 minute"},
}
ROLLUP: dict[str, Any] = HOURLY | {
    "name": "sensor_rollup_15m",
    "bucket": {"width": "15 minutes", "column": "timestamp"},
    "columns": [
        {"name": "count", "function": "count"},
        *({"name": name, "function": name, "of": "value"} for name in ("sum", "min", "max", "stddev")),
    ],
    "realTime": False,
}
DAILY: dict[str, Any] = {
    "name": "daily",
    "source": {"aggregate": "measurement_hourly"},
    "bucket": {"width": "1 day", "column": "bucket", "timeZone": "Europe/Berlin"},
    "groupBy": ["sensor_id"],
    "columns": [{"name": "samples", "function": "sum", "of": "samples"}],
    "realTime": False,
    "refresh": {"startOffset": "30 days", "endOffset": "1 hour", "schedule": "1 hour"},
    "columnstore": {"after": "60 days"},
    "retention": {"after": "10 years"},
}
EVERYTHING = HOURLY | {
    "name": "we\"ird; drop' x\\",
    "bucket": {"width": "15 minutes", "column": "timestamp"},
    "columns": [
        {"name": "first'\"", "function": "first", "of": "value"},
        {"name": "last", "function": "last", "of": "value"},
        {"name": "p90", "function": "percentile", "of": "value", "argument": 0.9},
        {"name": "spread", "expression": "max(value) - min(value)"},
    ],
    "allowExpressions": True,
}
OLD = datetime.now(UTC) - timedelta(days=40)


async def reconcile(owner: Any, spec: dict[str, Any]) -> Plan:
    return await reconcile_aggregate(owner, ContinuousAggregateSpec.model_validate(spec), await capability(owner))


async def settled(database: TestDatabase, owner: Any, spec: dict[str, Any]) -> Plan:
    """Reconcile, fill where that is due, and again: nothing is left."""
    plan = await reconcile(owner, spec)
    if plan.fill:
        await filled(database, spec["name"])
    assert await reconcile(owner, spec) == Plan()
    return plan


async def policies(owner: Any) -> list[tuple[Any, ...]]:
    rows = await owner.fetch(
        "select config->>'start_offset', config->>'end_offset', schedule_interval::text, scheduled"
        " from timescaledb_information.jobs where proc_name = 'policy_refresh_continuous_aggregate'"
        " and hypertable_name <> 'sensor_rollup_15m' order by 1"
    )
    return [tuple(row) for row in rows]


USUAL = [("7 days", "00:01:00", "00:01:00", True)]


@pytest.mark.parametrize("spec", [HOURLY, ROLLUP], ids=lambda spec: spec["name"])
async def test_what_the_schema_makes_needs_no_step(timescaledb: TestDatabase, spec: dict[str, Any]) -> None:
    async with connected(timescaledb, "owner") as owner:
        assert await reconcile(owner, spec) == Plan()


async def test_a_rollup_dropped_by_hand_comes_back_with_its_history(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        await insert(owner, OLD, OLD + timedelta(hours=5))
        await owner.execute("drop materialized view sensor_rollup_15m")
        assert (await settled(timescaledb, owner, ROLLUP)).fill
        assert await owner.fetchval("select sum(count) from sensor_rollup_15m") == 2


async def test_a_plain_database_says_what_it_cannot_do(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        plan = await reconcile(owner, HOURLY)
    assert plan.steps == ()
    assert bool(plan.unsupported) == (database.mode == "plain")


@pytest.mark.parametrize(
    "drift",
    [
        "select remove_continuous_aggregate_policy('measurement_hourly')",
        "select add_continuous_aggregate_policy('measurement_hourly', interval '30 days', interval '8 days', '1 hour')",
        (
            "select alter_job(job_id, schedule_interval => '1 hour') from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        ),
        (
            "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        ),
        (
            "select alter_job(job_id, config => config || '{\"start_offset\": null}') from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        ),
        "alter materialized view measurement_hourly set (timescaledb.materialized_only = true)",
        "select add_retention_policy('measurement_hourly', drop_after => interval '1 year')",
    ],
)
async def test_drift_is_put_right(timescaledb: TestDatabase, drift: str) -> None:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(drift)
        plan = await settled(timescaledb, owner, HOURLY)
        assert plan.steps
        assert not plan.fill
        assert await policies(owner) == USUAL


async def test_an_aggregate_dropped_by_hand_comes_back_with_its_history(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, OLD, datetime.now(UTC))
        await owner.execute("drop materialized view measurement_hourly")
        assert (await settled(timescaledb, owner, HOURLY)).fill
        assert await policies(owner) == USUAL
        await owner.execute("alter materialized view measurement_hourly set (timescaledb.materialized_only = true)")
        assert await owner.fetchval("select samples from measurement_hourly") == 2


async def test_changed_offsets_and_schedules_replace_the_policy(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        refresh = {"startOffset": "3 days", "endOffset": "1 hour", "schedule": "10 minutes"}
        assert len((await settled(timescaledb, owner, HOURLY | {"refresh": refresh})).steps) == 2
        assert await policies(owner) == [("3 days", "01:00:00", "00:10:00", True)]
        assert (
            len((await settled(timescaledb, owner, HOURLY | {"refresh": refresh | {"schedule": "1 hour"}})).steps) == 1
        )
        await settled(timescaledb, owner, {key: value for key, value in HOURLY.items() if key != "refresh"})
        assert await policies(owner) == []


async def test_everything_is_created_and_settles(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, OLD)
        await settled(timescaledb, owner, EVERYTHING)
        row = await owner.fetchrow('select * from "we""ird; drop\' x\\"')
        assert tuple(row)[2:] == (1, 1, 1, 0)
        await settled(timescaledb, owner, DAILY)
        assert await reconcile(owner, HOURLY) == Plan()


async def test_a_new_column_is_added_in_place_and_filled(timescaledb: TestDatabase) -> None:
    wider = HOURLY | {"columns": [{"name": "total", "function": "sum", "of": "value"}, *HOURLY["columns"]]}
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, OLD)
        await filled(timescaledb, "measurement_hourly")
        plan = await reconcile(owner, wider)
        assert [str(step) for step in plan.steps][:1] == ["add the column total to measurement_hourly"]
        assert await owner.fetchval("select total from measurement_hourly") is None
        assert await reconcile(owner, wider) == Plan(fill=True)
        await filled(timescaledb, "measurement_hourly")
        assert await owner.fetchval("select total from measurement_hourly") == 2
        assert await reconcile(owner, wider) == Plan()


async def test_filling_leaves_alone_what_the_source_no_longer_covers(timescaledb: TestDatabase) -> None:
    wider = HOURLY | {"columns": [{"name": "total", "function": "sum", "of": "value"}, *HOURLY["columns"]]}
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, OLD + timedelta(days=20))
        await filled(timescaledb, "measurement_hourly")
        await owner.execute("select drop_chunks('sensor_data', older_than => interval '30 days')")
        await settled(timescaledb, owner, wider)
        rows = await owner.fetch("select samples, total from measurement_hourly order by bucket")
        assert [tuple(row) for row in rows] == [(1, None), (1, 1)]


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"source": {"table": "absent"}}, Reason.SOURCE_UNKNOWN, "no hypertable absent"),
        ({"source": {"aggregate": "sensor_data"}}, Reason.SOURCE_UNKNOWN, "no continuous aggregate sensor_data"),
        ({"name": "sensor_data"}, Reason.INVALID, "no continuous aggregate"),
        ({"name": "n", "groupBy": ["absent"]}, Reason.INVALID, 'column "absent" does not exist'),
        ({"name": "n", "bucket": {"width": "1 hour", "column": "value"}}, Reason.INVALID, "time_bucket"),
        ({"bucket": {"width": "2 hours", "column": "timestamp"}}, Reason.NEEDS_REBUILD, "another source, bucket"),
        ({"groupBy": []}, Reason.NEEDS_REBUILD, "cannot lose its column sensor_id"),
        ({"columns": HOURLY["columns"][:3]}, Reason.NEEDS_REBUILD, "cannot lose its column samples"),
    ],
)
async def test_what_cannot_be_done_in_place_changes_nothing(
    timescaledb: TestDatabase, change: dict[str, Any], reason: Reason, words: str
) -> None:
    async with connected(timescaledb, "owner") as owner:
        plan = await reconcile(owner, HOURLY | change)
        assert plan.steps == ()
        assert [refusal.reason for refusal in plan.refusals] == [reason]
        assert words in plan.refusals[0].message
        assert await reconcile(owner, HOURLY) == Plan()


async def test_a_source_that_drops_rows_inside_the_window_is_refused(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("select add_retention_policy('sensor_data', drop_after => interval '7 days')")
        plan = await reconcile(owner, HOURLY)
        assert [refusal.reason for refusal in plan.refusals] == [Reason.RETENTION_INSIDE_REFRESH_WINDOW]
