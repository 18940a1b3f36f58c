"""What a deleted resource takes with it, and what it leaves."""

from typing import Any

from ..support import TestDatabase, eventually
from ..support.cluster import Namespace
from ..support.late import connected, insert
from .test_operator_objects import asked, begun

THERE = "select to_regclass($1) is not null"


async def test_retain_leaves_the_object_and_needs_no_finalizer(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    process = operator()
    await begun(namespace, timescaledb, process)
    found = await namespace.ready("continuousaggregate", "measurement-daily")
    assert not found["metadata"].get("finalizers")
    namespace.run("delete", "continuousaggregate", "measurement-daily")
    namespace.run("delete", "hypertable", "sensor-data")
    # A pass over what is left has come and gone when a new resource is seen to.
    namespace.patch("continuousaggregate", "measurement-hourly", {"spec": {"realTime": False}})
    await namespace.ready("continuousaggregate", "measurement-hourly")
    assert await asked(timescaledb, THERE, "measurement_daily")
    assert await asked(timescaledb, THERE, "sensor_data")


async def test_delete_takes_the_object_even_if_the_operator_was_away(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    process = operator()
    await begun(namespace, timescaledb, process)
    namespace.patch("continuousaggregate", "measurement-daily", {"spec": {"deletionPolicy": "Delete"}})
    await namespace.ready("continuousaggregate", "measurement-daily")

    async def noted() -> bool:
        return bool(await asked(timescaledb, "select count(*) from dropped_with_resource") == 1)

    await eventually(noted, 30)
    process.kill()
    namespace.run("delete", "continuousaggregate", "measurement-daily", "--timeout=10s")
    assert await asked(timescaledb, THERE, "measurement_daily")
    operator().start()

    async def gone() -> bool:
        return not await asked(timescaledb, THERE, "measurement_daily")

    await eventually(gone, 60)
    assert await asked(timescaledb, THERE, "measurement_hourly")


async def test_a_second_schema_is_told_that_there_is_one(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema")
    first = namespace.get("schema", "sensors")
    about = {"apiVersion": first["apiVersion"], "kind": first["kind"]}
    namespace.make(about | {"metadata": {"name": "another"}, "spec": first["spec"]})
    told = await namespace.reason("schema", "another", "False", "AnotherSchema")
    assert "sensors" in told["message"]


async def test_plain_postgresql_gets_what_it_can_have_and_the_rest_is_told(
    namespace: Namespace, database: TestDatabase, operator: Any
) -> None:
    async with connected(database, "writer") as writer:
        await insert(writer)
    await begun(namespace, database, operator(), "schema", "sensor-data", "measurement-hourly")
    schema = await namespace.ready("schema", "sensors")
    if database.mode == "timescaledb":
        await namespace.ready("hypertable", "sensor-data")
        await namespace.ready("continuousaggregate", "measurement-hourly")
    else:
        assert schema["status"]["edition"] == "none"
        assert schema["status"]["notSupported"]
        assert namespace.condition("schema", "sensors", "Degraded")["reason"] == "NotSupported"
        await namespace.reason("hypertable", "sensor-data", "False", "NotSupported")
        await namespace.reason("continuousaggregate", "measurement-hourly", "False", "NotSupported")
