"""Hypertables on real databases: created, kept as desired, put right when somebody changes them."""

from typing import Any

import pytest

from services.operator.planning.steps import Plan
from services.operator.reconcile.apply import reconcile_hypertable
from services.operator.refusals import Reason, Refusal
from services.operator.specs.resources import HypertableSpec
from services.platform.postgres.capability import capability
from tests.support import TestDatabase
from tests.support.late import connected

SENSOR_DATA = {
    "table": "sensor_data",
    "timeColumn": "timestamp",
    "chunkInterval": "7 days",
    "columnstore": {"segmentBy": ["sensor_id"], "orderBy": [{"column": "timestamp"}], "after": "8 days"},
}
HOSTILE = "we\"ird; drop' x\\"


async def reconcile(owner: Any, spec: dict[str, Any]) -> Plan:
    return await reconcile_hypertable(owner, HypertableSpec.model_validate(spec), await capability(owner))


async def settled(owner: Any, spec: dict[str, Any]) -> Plan:
    """Reconcile, and again: the second time nothing is left."""
    plan = await reconcile(owner, spec)
    assert await reconcile(owner, spec) == Plan()
    return plan


async def policies(owner: Any, name: str = "sensor_data") -> list[tuple[str, str, bool]]:
    rows = await owner.fetch(
        "select proc_name::text, coalesce(config->>'compress_after', config->>'drop_after'), scheduled"
        " from timescaledb_information.jobs where hypertable_name = $1 order by 1",
        name,
    )
    return [tuple(row) for row in rows]


async def test_what_init_sql_makes_needs_no_step(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        assert await reconcile(owner, SENSOR_DATA) == Plan()


async def test_a_plain_database_says_what_it_cannot_do(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        plan = await reconcile(owner, SENSOR_DATA)
    assert not plan.steps
    assert not plan.refusals
    assert bool(plan.unsupported) == (database.mode == "plain")


async def test_every_setting_follows_the_spec_there_and_back(timescaledb: TestDatabase) -> None:
    changed = SENSOR_DATA | {
        "chunkInterval": "1 day",
        "columnstore": {"segmentBy": [], "orderBy": [{"column": "timestamp", "descending": True}], "after": "9 days"},
        "retention": {"after": "90 days"},
        "tier": {"after": "1 month"},
    }
    async with connected(timescaledb, "owner") as owner:
        assert len((await settled(owner, changed)).steps) == 6
        assert await policies(owner) == [("policy_compression", "9 days", True), ("policy_retention", "90 days", True)]
        assert await owner.fetchval("select after::text from tier_policy") == "1 mon"
        await settled(owner, SENSOR_DATA)
        assert await policies(owner) == [("policy_compression", "8 days", True)]
        await settled(owner, {key: SENSOR_DATA[key] for key in ("table", "timeColumn", "chunkInterval")})
        assert await policies(owner) == []


@pytest.mark.parametrize(
    "drift",
    [
        "call remove_columnstore_policy('sensor_data')",
        (
            "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs"
            " where proc_name = 'policy_compression'"
        ),
        (
            'select alter_job(job_id, config => config || \'{"compress_after": "1 day"}\')'
            " from timescaledb_information.jobs where proc_name = 'policy_compression'"
        ),
        "select set_chunk_time_interval('sensor_data', interval '1 day')",
        "alter table sensor_data set (timescaledb.enable_columnstore, timescaledb.segmentby = '')",
        (
            "select delete_job(job_id) from timescaledb_information.jobs where proc_name = 'policy_compression';"
            "alter table sensor_data set (timescaledb.enable_columnstore = false)"
        ),
    ],
)
async def test_drift_is_put_right(timescaledb: TestDatabase, drift: str) -> None:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(drift)
        assert (await settled(owner, SENSOR_DATA)).steps
        assert await policies(owner) == [("policy_compression", "8 days", True)]


async def test_a_new_table_with_hostile_names_becomes_a_hypertable(timescaledb: TestDatabase) -> None:
    spec = {
        "table": HOSTILE,
        "timeColumn": "t'\"\\s",
        "chunkInterval": "1 month",
        "columnstore": {"segmentBy": ["s,'\"\\b"], "orderBy": [{"column": "t'\"\\s"}], "after": "1 day"},
        "retention": {"after": "1 year"},
    }
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(
            """create table "we""ird; drop' x\\" ("t'""\\s" timestamptz not null, "s,'""\\b" text, v float)"""
        )
        assert len((await settled(owner, spec)).steps) == 4
        assert len(await policies(owner, HOSTILE)) == 2
        assert await reconcile(owner, SENSOR_DATA) == Plan()


async def test_a_refused_spec_changes_nothing(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        plan = await reconcile(owner, SENSOR_DATA | {"chunkInterval": "1 day", "retention": {"after": "7 days"}})
        assert [refusal.reason for refusal in plan.refusals] == [Reason.RETENTION_INSIDE_REFRESH_WINDOW] * 2
        for name, refusal in zip(("measurement_hourly", "sensor_rollup_15m"), plan.refusals, strict=True):
            assert name in refusal.message
        plan = await reconcile(owner, SENSOR_DATA | {"table": "absent"})
        assert [refusal.reason for refusal in plan.refusals] == [Reason.SOURCE_UNKNOWN]
        assert await reconcile(owner, SENSOR_DATA) == Plan()


async def test_a_table_of_another_or_with_rows_is_left_alone(database: TestDatabase) -> None:
    async with connected(database, "superuser") as superuser, connected(database, "owner") as owner:
        await superuser.execute("create table theirs (timestamp timestamptz not null)")
        await owner.execute("create table full_one as select now() as timestamp")
        for table, reason in (("theirs", Reason.NOT_OWNED), ("full_one", Reason.INVALID)):
            spec = {"table": table, "timeColumn": "timestamp", "chunkInterval": "7 days"}
            assert [refusal.reason for refusal in (await reconcile(owner, spec)).refusals] == [reason]


async def test_a_step_that_the_database_refuses_undoes_the_plan(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("create table strange (t timestamptz not null, p point, v float)")
        spec = {"table": "strange", "timeColumn": "t", "chunkInterval": "7 days"}
        refused = spec | {"columnstore": {"segmentBy": ["v"], "orderBy": [{"column": "p"}], "after": "1 day"}}
        with pytest.raises(Refusal, match="set the columnstore of strange: "):
            await reconcile(owner, refused)
        assert len((await settled(owner, spec)).steps) == 1
