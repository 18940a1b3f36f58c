"""One operator, one namespace, one database: what is described comes about, and what is not is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ..support import Service, TestDatabase, eventually
from ..support.cluster import Namespace
from ..support.databases import run
from ..support.late import connected, hourly, insert, insert_late

OBJECTS = ("schema", "sensor-data", "measurement-hourly", "measurement-daily")

REFRESH_JOBS = """
select count(*) from timescaledb_information.jobs
where proc_name = 'policy_refresh_continuous_aggregate' and hypertable_name = $1
"""

REMOVE_POLICY = "select remove_continuous_aggregate_policy('measurement_hourly')"


async def asked(database: TestDatabase, query: str, *arguments: object) -> Any:
    async with connected(database, "owner") as owner:
        return await owner.fetchval(query, *arguments)


async def begun(namespace: Namespace, database: TestDatabase, operator: Service, *examples: str) -> None:
    """Start the operator on a database, and wait until its Schema is ready."""
    namespace.secret(database.settings)
    namespace.example(*(examples or OBJECTS))
    operator.start()
    await namespace.ready("schema", "sensors")


async def test_examples_become_ready_and_tell_what_is_there(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    async with connected(timescaledb, "writer") as writer:
        await insert(writer, datetime.now(UTC) - timedelta(hours=3))
    await begun(namespace, timescaledb, operator())
    schema = namespace.get("schema", "sensors")["status"]
    assert schema["timescaledb"].startswith("2.")
    assert schema["edition"] == "full"
    assert schema["version"] >= 1
    assert schema["pending"] == []
    await namespace.ready("hypertable", "sensor-data")
    await namespace.ready("continuousaggregate", "measurement-daily")
    hours = await namespace.ready("continuousaggregate", "measurement-hourly")
    # The policies of a test's database wait for a year.
    await run(
        timescaledb.superuser_url, "select alter_job(job_id, next_start => now()) from timescaledb_information.jobs"
    )

    def told() -> bool:
        status = namespace.get("continuousaggregate", "measurement-hourly")["status"]
        return "watermark" in status and "nextRun" in status["refresh"]

    await eventually(told, 90)
    assert hours["status"]["lateRanges"] == 0
    shown = namespace.run("get", "schemas,hypertables,continuousaggregates")
    assert "measurement-hourly" in shown


async def test_a_policy_that_somebody_removed_is_back_and_told(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator())
    await namespace.ready("continuousaggregate", "measurement-hourly")
    await asked(timescaledb, REMOVE_POLICY)

    async def back() -> bool:
        return bool(await asked(timescaledb, REFRESH_JOBS, "measurement_hourly") == 1)

    await eventually(back, 60)
    await eventually(lambda: namespace.events("DriftCorrected"), 30)


async def test_an_aggregate_that_somebody_dropped_is_made_anew_with_its_history(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    async with connected(timescaledb, "writer") as writer:
        await insert(writer, datetime.now(UTC) - timedelta(days=40))
    await begun(namespace, timescaledb, operator(), "schema", "sensor-data", "measurement-hourly")
    await namespace.ready("continuousaggregate", "measurement-hourly")
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("drop materialized view measurement_hourly")

    async def back() -> bool:
        there = await asked(timescaledb, "select to_regclass('measurement_hourly') is not null")
        return there and bool(await asked(timescaledb, "select count(*) from measurement_hourly") == 1)

    await eventually(back, 60)
    await namespace.ready("continuousaggregate", "measurement-hourly")


async def test_a_changed_interval_changes_the_one_job(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    refresh = {"refresh": {"startOffset": "9 days", "endOffset": "2 minutes", "schedule": "5 minutes"}}
    namespace.patch("continuousaggregate", "measurement-hourly", {"spec": refresh})
    await namespace.ready("continuousaggregate", "measurement-hourly")
    config = "select config ->> 'start_offset' from timescaledb_information.jobs where hypertable_name = $1"
    assert await asked(timescaledb, config, "measurement_hourly") == "9 days"
    assert await asked(timescaledb, REFRESH_JOBS, "measurement_hourly") == 1


async def test_an_age_for_the_tier_is_kept_by_the_server_and_reaches_the_database(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "sensor-data")
    namespace.patch("hypertable", "sensor-data", {"spec": {"tier": {"after": "90 days"}}})

    async def told() -> bool:
        return bool(await asked(timescaledb, "select after = '90 days' from tier_policy"))

    await eventually(told, 60)


async def test_a_late_reading_and_a_row_by_sql_are_materialised_without_a_policy(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    late = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=30)
    async with connected(timescaledb, "writer") as writer:
        await insert(writer, late + timedelta(minutes=1), late + timedelta(hours=5), late + timedelta(days=29))
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    namespace.patch("continuousaggregate", "measurement-hourly", {"spec": {"realTime": False}})
    await namespace.ready("continuousaggregate", "measurement-hourly")
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("call refresh_continuous_aggregate('measurement_hourly', null, now() - interval '1 hour')")
        # By SQL, without a note: TimescaleDB's own log tells.
        await insert(owner, late + timedelta(hours=5, minutes=1))
    async with connected(timescaledb, "writer") as writer:
        await insert_late(writer, late + timedelta(minutes=2))

    async def materialised() -> bool:
        counts = [
            await asked(timescaledb, "select samples from measurement_hourly where bucket = $1", hour)
            for hour in (late, late + timedelta(hours=5))
        ]
        return counts == [2, 2]

    await eventually(materialised, 60)
    assert (await hourly(timescaledb))[late] == 2
    await eventually(
        lambda: namespace.get("continuousaggregate", "measurement-hourly")["status"]["lateRanges"] == 0, 30
    )


async def test_what_shows_only_across_objects_is_told_and_not_applied(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator())
    await namespace.ready("continuousaggregate", "measurement-hourly")
    namespace.patch("hypertable", "sensor-data", {"spec": {"columnstore": None, "retention": {"after": "3 days"}}})
    told = await namespace.reason("hypertable", "sensor-data", "False", "RetentionInsideRefreshWindow")
    assert "measurement_hourly" in told["message"]
    retention = "select count(*) from timescaledb_information.jobs where proc_name = 'policy_retention'"
    assert await asked(timescaledb, retention) == 0


async def test_an_unknown_source_and_a_second_description_are_conditions(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "sensor-data", "measurement-hourly")
    await namespace.ready("continuousaggregate", "measurement-hourly")
    hours = namespace.get("continuousaggregate", "measurement-hourly")
    about = {"apiVersion": hours["apiVersion"], "kind": hours["kind"]}
    nowhere = hours["spec"] | {"name": "elsewhere", "source": {"table": "nothing"}}
    namespace.make(
        about | {"metadata": {"name": "twin"}, "spec": hours["spec"]},
        about | {"metadata": {"name": "orphan"}, "spec": nowhere},
    )
    told = await namespace.reason("continuousaggregate", "twin", "False", "Conflict")
    assert "measurement-hourly" in told["message"]
    told = await namespace.reason("continuousaggregate", "orphan", "False", "SourceUnknown")
    assert "nothing" in told["message"]
    assert namespace.condition("continuousaggregate", "measurement-hourly")["status"] == "True"


async def test_an_expression_is_one_expression_and_no_second_statement(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    hours = await namespace.ready("continuousaggregate", "measurement-hourly")
    hostile = {"name": "hostile", "expression": "max(value)) from sensor_data; drop table sensor_data cascade; --"}
    spec = hours["spec"] | {"name": "hostile", "columns": [hostile], "allowExpressions": True}
    about = {"apiVersion": hours["apiVersion"], "kind": hours["kind"]}
    namespace.make(about | {"metadata": {"name": "hostile"}, "spec": spec})
    await namespace.reason("continuousaggregate", "hostile", "False", "Invalid")
    assert await asked(timescaledb, "select to_regclass('sensor_data') is not null")
