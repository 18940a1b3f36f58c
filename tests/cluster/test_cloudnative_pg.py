"""A release on CloudNativePG's three servers, as docs/cloudnative-pg.md installs it, and what each loss costs."""

import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support import eventually
from tests.support.cloudnative import NO_CLOUDNATIVE, CloudNative, CloudNativeRelease, has_cloudnative
from tests.support.person import Person, commands
from tests.support.release import released_as

from .test_chart_proof import prove

PAGE = "cloudnative-pg.md"
VALUES = {"timescaledb": {"enabled": False}, "database": {"existingSecret": "my-database"}}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudNativeRelease]:
    """The release, one for all tests of this file."""
    if not has_cloudnative():
        pytest.skip(NO_CLOUDNATIVE)
    folder = tmp_path_factory.mktemp("person")
    with released_as(CloudNativeRelease, VALUES, lambda name: prepare(name, folder)) as made:
        yield made


def prepare(namespace: str, folder: Path) -> None:
    """Type what the page says before `helm install`."""
    (folder / "k8s").mkdir()
    (folder / "k8s" / "cloudnative-pg.yaml").write_text(CloudNative.manifest())
    person = Person(namespace, folder)
    person.types(*commands(PAGE, "The database."))
    [install] = commands(PAGE, "Millrace.")
    secret, _, values = install.partition("helm install")
    assert re.findall(r"--set (\S+)", values) == ["timescaledb.enabled=false", "database.existingSecret=my-database"]
    person.types(secret)


async def killed(database: CloudNative) -> None:
    """The primary's pod dies."""
    was = database.primary
    database.kill(was)
    await database.led_by_another(was)


async def left(database: CloudNative) -> None:
    """The primary's pod is asked to leave, as when its node is drained."""
    was = database.primary
    database.delete(was)
    await database.led_by_another(was)


async def switched_over(database: CloudNative) -> None:
    """Another server is made the primary on purpose."""
    was = database.primary
    database.switch_over()
    await database.led_by_another(was)


async def standby_killed(database: CloudNative) -> None:
    """One of the two standbys dies."""
    database.kill(database.standbys[0])


async def standbys_killed(database: CloudNative) -> None:
    """Both standbys die, so that nothing can be committed for a while."""
    database.kill(*database.standbys)


async def rolled(database: CloudNative) -> None:
    """A parameter changes that needs a restart of each server."""
    was = database.primary
    database.set_parameter("max_connections", "210")
    await database.led_by_another(was)


async def standby_lost(database: CloudNative) -> None:
    """A standby is lost with its volume."""
    database.lose(database.standbys[0])


async def primary_lost(database: CloudNative) -> None:
    """The primary is lost with its volume."""
    was = database.primary
    database.lose(was)
    await database.led_by_another(was)


LOSSES = [killed, left, switched_over, standby_killed, standbys_killed, rolled, standby_lost, primary_lost]


def test_the_release_passes_its_own_test(release: CloudNativeRelease) -> None:
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")


def test_a_commit_is_on_a_standby_before_it_is_one(release: CloudNativeRelease) -> None:
    assert release.psql("show synchronous_standby_names").startswith("ANY 1 (")
    assert release.psql("select count(*) from pg_stat_replication where sync_state = 'quorum'") == "2"


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
async def test_nothing_is_lost_or_doubled_when(
    loss: Callable[[CloudNative], Awaitable[None]],
    release: CloudNativeRelease,
    record_property: Callable[[str, object], None],
) -> None:
    await release.database.healthy()
    release.psql("truncate sensor_data")
    release.load("--ack stored", "--batch 50", "--connections 4")
    await release.watch()
    before = count(release)
    await loss(release.database)
    await release.database.healthy()
    # Behind it all, readings are stored again.
    await eventually(lambda: count(release) > before, 60, 1.0)
    waits = await release.waits()
    verdict = await release.verdict(await release.unload(), 120)
    assert verdict.clean, verdict
    assert verdict.promised > before
    record_property("verdict", verdict)
    record_property("waits", waits)
    print(f"{loss.__name__}: {verdict}, longest waits {waits}")


def count(release: CloudNativeRelease) -> int:
    """Return how many rows of the load are stored."""
    return int(release.psql("select count(*) from sensor_data where sensor_id like 'sensor-%'"))


async def test_the_operator_follows_the_primary(release: CloudNativeRelease) -> None:
    await release.database.healthy()
    was = release.database.primary
    release.database.switch_over()
    await release.database.led_by_another(was)
    release.namespace.patch("hypertable", "sensor-data", {"spec": {"retention": {"after": "900 days"}}})
    await release.namespace.ready("hypertable", "sensor-data")
    kept = "select config ->> 'drop_after' from timescaledb_information.jobs where proc_name = 'policy_retention'"
    assert "900 days" in release.psql(kept)
    await release.namespace.ready("schema", "sensors")
    # Late readings are refreshed by the operator's repair loop; the release's own test sends and asks such.
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")
    await eventually(lambda: release.psql("select count(*) from late_ranges") == "0", 60, 1.0)


async def test_nothing_is_lost_or_doubled_behind_the_pooler(release: CloudNativeRelease, tmp_path: Path) -> None:
    await release.database.healthy()
    [through_pooler] = commands(PAGE, "Behind the pooler,")
    Person(release.namespace.name, tmp_path).types(through_pooler)
    release.install(VALUES)
    release.psql("truncate sensor_data")
    release.load("--ack stored", "--batch 50", "--connections 4")
    await release.watch()
    poolers = ", ".join(f"'{address}'" for address in release.database.pooler_addresses)
    by_pooler = (
        f"select count(*) from pg_stat_activity where usename = 'millrace_writer' and client_addr in ({poolers})"
    )
    await eventually(lambda: release.psql(by_pooler) != "0", 60, 0.2)
    before = count(release)
    release.database.kill(*release.database.poolers[:1])
    await killed(release.database)
    await release.database.healthy()
    await eventually(lambda: count(release) > before, 60, 1.0)
    waits = await release.waits()
    verdict = await release.verdict(await release.unload(), 120)
    assert verdict.clean, verdict
    assert verdict.promised > before
    print(f"behind the pooler: {verdict}, longest waits {waits}")


def test_the_proof_deletes_servers_and_poolers_too(release: CloudNativeRelease) -> None:
    release.psql("truncate sensor_data")
    options = ["--namespace", release.namespace.name, "--cloudnative-pg", "sensors", "--minutes", "2", "--seed", "7"]
    found = prove(*options)
    print(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr
    figures = dict(re.findall(r"│ ([\w-]+(?: \w+)?) +│ (.*?) +│", found.stdout))
    assert (figures["lost"], figures["doubled"], figures["verdict"]) == ("0", "0", "kept")
    for component in ("primary", "standby", "pooler", "worker", "redis"):
        assert re.search(r"[1-9]", figures[component]), found.stdout
