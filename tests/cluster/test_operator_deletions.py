"""What a deleted resource takes with it, and what it leaves."""

from typing import Any

from ..support import TestDatabase, eventually
from ..support.cluster import Namespace
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
