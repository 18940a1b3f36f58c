"""Changes of an aggregate's query: in place where TimescaleDB can, by consent where it cannot."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.operator.planning.aggregate import REBUILD

from ..support import TestDatabase, eventually
from ..support.cluster import Namespace
from ..support.late import connected, insert
from .test_operator_objects import asked, begun

HOURLY = ("continuousaggregate", "measurement-hourly")

CONSENT = {"metadata": {"annotations": {REBUILD: "true"}}}


async def with_history(namespace: Namespace, database: TestDatabase, operator: Any) -> list[dict[str, Any]]:
    """Begin with forty days of materialised hours; return the aggregate's columns."""
    async with connected(database, "writer") as writer:
        await insert(writer, *(datetime.now(UTC) - timedelta(days=day) for day in range(1, 41)))
    await begun(namespace, database, operator(), "schema", "measurement-hourly")
    found = await namespace.ready(*HOURLY)
    async with connected(database, "owner") as owner:
        await owner.execute("call refresh_continuous_aggregate('measurement_hourly', null, now() - interval '1 hour')")
    columns: list[dict[str, Any]] = found["spec"]["columns"]
    return columns


async def test_a_new_column_is_added_in_place_and_filled(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    columns = await with_history(namespace, timescaledb, operator)
    oid = await asked(timescaledb, "select 'measurement_hourly'::regclass::oid")
    added = [*columns, {"name": "total", "function": "sum", "of": "value"}]
    namespace.patch(*HOURLY, {"spec": {"columns": added}})
    await namespace.ready(*HOURLY)
    assert await asked(timescaledb, "select sum(total) from measurement_hourly") == 40
    assert await asked(timescaledb, "select 'measurement_hourly'::regclass::oid") == oid


async def test_a_lost_column_needs_consent_which_serves_for_one_rebuild(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    columns = await with_history(namespace, timescaledb, operator)
    namespace.patch(*HOURLY, {"spec": {"columns": columns[:3]}})
    told = await namespace.reason(*HOURLY, "False", "NeedsRebuild")
    assert REBUILD in told["message"]
    assert await asked(timescaledb, "select sum(samples) from measurement_hourly") == 40

    namespace.patch(*HOURLY, CONSENT)
    await namespace.ready(*HOURLY)
    assert await asked(timescaledb, "select count(*) from measurement_hourly") == 40
    gone = "select count(*) from pg_attribute where attrelid = 'measurement_hourly'::regclass and attname = 'samples'"
    assert await asked(timescaledb, gone) == 0
    await eventually(lambda: REBUILD not in namespace.get(*HOURLY)["metadata"].get("annotations", {}), 30)
    assert await eventually(lambda: namespace.events("Rebuilt"), 30)

    namespace.patch(*HOURLY, {"spec": {"columns": columns[:2]}})
    await namespace.reason(*HOURLY, "False", "NeedsRebuild")


async def test_a_rebuild_that_would_lose_history_is_refused_with_the_reason(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    columns = await with_history(namespace, timescaledb, operator)
    await asked(timescaledb, "select count(*) from drop_chunks('sensor_data', older_than => interval '20 days')")
    before = await asked(timescaledb, "select count(*) from measurement_hourly")
    namespace.patch(*HOURLY, CONSENT | {"spec": {"columns": columns[:3]}})
    await namespace.reason(*HOURLY, "False", "RebuildLosesHistory")
    assert await asked(timescaledb, "select count(*) from measurement_hourly") == before
