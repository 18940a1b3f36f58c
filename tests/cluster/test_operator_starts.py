"""What an operator finds when it starts: defaults, administrators, other databases, and what is missing."""

from pathlib import Path
from typing import Any

import yaml

from services.database.schema.apply import bootstrap

from ..support import TestDatabase, eventually
from ..support.cluster import K8S, Namespace
from ..support.extension import aged, installed
from ..support.late import connected
from .test_operator_objects import begun

DEFAULTS = ("schema", "sensor-data", "measurement-hourly")


async def test_default_resources_are_made_where_they_are_absent_and_then_left_alone(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any, tmp_path: Path
) -> None:
    texts = [yaml.safe_load((K8S / "examples" / f"{name}.yaml").read_text()) for name in DEFAULTS]
    defaults = tmp_path / "resources.yaml"
    defaults.write_text(yaml.safe_dump_all(texts))
    namespace.secret(timescaledb.settings)
    process = operator(resources=defaults)
    process.start()
    await process.ready()
    await namespace.ready("schema", "sensors")
    await namespace.ready("continuousaggregate", "measurement-hourly")
    namespace.patch("continuousaggregate", "measurement-hourly", {"spec": {"realTime": False}})
    process.terminate()
    process.start()
    await process.ready()
    await namespace.ready("continuousaggregate", "measurement-hourly")
    assert namespace.get("continuousaggregate", "measurement-hourly")["spec"]["realTime"] is False


async def test_defaults_of_another_kind_end_the_start_in_one_line(operator: Any, tmp_path: Path) -> None:
    defaults = tmp_path / "resources.yaml"
    defaults.write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n")
    process = operator(resources=defaults)
    process.start()
    assert process.process.wait(30) == 2
    assert "MILLRACE_OPERATOR_RESOURCES" in process.log_text()
    assert len(process.log_text().splitlines()) == 1


async def test_a_fresh_server_gets_database_roles_and_schema_from_the_administrator(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    fresh = {
        f"{role}_url": type(url)(url.get_secret_value().replace(f"/{timescaledb.name}", f"/{timescaledb.name}_fresh"))
        for role in ("owner", "writer", "reader")
        for url in [getattr(timescaledb.settings, f"{role}_url")]
    }
    namespace.secret(timescaledb.settings.model_copy(update=fresh), timescaledb.superuser_url)
    namespace.example("schema")
    namespace.patch("schema", "sensors", {"spec": {"adminUrlFrom": {"name": "millrace-database", "key": "admin-url"}}})
    process = operator()
    process.start()
    await namespace.ready("schema", "sensors")
    process.terminate()
    async with connected(timescaledb, "superuser") as superuser:
        await superuser.execute(f"drop database {timescaledb.name}_fresh with (force)")


async def test_timescaledb_is_brought_to_the_version_that_the_schema_names(
    namespace: Namespace, empty_database: TestDatabase, operator: Any
) -> None:
    before, newest = await aged(empty_database)
    namespace.secret(empty_database.settings, empty_database.superuser_url)
    namespace.example("schema", "sensor-data")
    named = {"adminUrlFrom": {"name": "millrace-database", "key": "admin-url"}, "timescaledbVersion": "99.0.0"}
    namespace.patch("schema", "sensors", {"spec": named})
    operator().start()
    told = await namespace.reason("schema", "sensors", "False", "TimescaleDBNotUpdated")
    assert before in told["message"]
    assert newest in told["message"]
    namespace.patch("schema", "sensors", {"spec": {"timescaledbVersion": newest}})
    schema = await namespace.ready("schema", "sensors")
    assert schema["status"]["timescaledb"] == newest
    assert await installed(empty_database) == newest
    await namespace.ready("hypertable", "sensor-data")


async def test_a_new_database_behind_resources_that_stayed_is_no_drift(
    namespace: Namespace, timescaledb: TestDatabase, empty_database: TestDatabase, operator: Any
) -> None:
    process = operator()
    await begun(namespace, timescaledb, process, *DEFAULTS)
    await namespace.ready("continuousaggregate", "measurement-hourly")
    process.terminate()
    await bootstrap(empty_database.superuser_url, empty_database.settings)
    namespace.secret(empty_database.settings)
    process.start()
    await eventually(lambda: [told for told in namespace.events("Applied") if told.startswith("0001 init")], 60)
    await process.ready()
    assert namespace.events("DriftCorrected") == []


async def test_a_secret_that_is_not_there_is_named(namespace: Namespace, operator: Any) -> None:
    namespace.example("schema")
    operator().start()
    told = await namespace.reason("schema", "sensors", "False", "SecretMissing")
    assert "millrace-database" in told["message"]


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
