"""A database of CloudNativePG comes back from object storage by the commands of docs/cloudnative-pg.md."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import eventually
from tests.support.cloudnative import NO_CLOUDNATIVE, CloudNative, CloudNativeRelease, has_cloudnative
from tests.support.cluster import K8S, kubectl
from tests.support.person import Person, commands
from tests.support.release import released_as

PAGE = "cloudnative-pg.md"
VALUES = {"timescaledb": {"enabled": False}, "database": {"existingSecret": "my-database"}}
ROWS = 300_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the manifests of the project, for a node's small volumes and the bucket of S3_URL."""
    if not has_cloudnative():
        pytest.skip(NO_CLOUDNATIVE)
    if kubectl("get", "crd", "objectstores.barmancloud.cnpg.io").returncode:
        pytest.skip("CloudNativePG's Barman Cloud plugin is not in the cluster: it has no objectstores")
    if "S3_URL" not in os.environ:
        pytest.skip("S3_URL names no bucket, as http://HOST:PORT/BUCKET, that pods reach")
    url = urlsplit(os.environ["S3_URL"])
    made = tmp_path_factory.mktemp("person")
    (made / "k8s" / "backup").mkdir(parents=True)
    for path in (K8S / "cloudnative-pg.yaml", *(K8S / "backup").glob("*.yaml")):
        text = path.read_text().replace("{size: 100Gi}", "{size: 2Gi}")
        text = text.replace("s3://millrace-backup/", f"s3:/{url.path}/{uuid.uuid5(uuid.NAMESPACE_URL, str(made))}/")
        (made / path.relative_to(K8S.parent)).write_text(text.replace("https://s3.example.com", f"http://{url.netloc}"))
    return made


@pytest.fixture(scope="module")
def release(folder: Path) -> Iterator[CloudNativeRelease]:
    """A release with readings and a backup."""

    def prepare(namespace: str) -> None:
        person = Person(namespace, folder)
        person.types(*commands(PAGE, "The database."))
        person.types(commands(PAGE, "Millrace.")[0].partition("helm install")[0])

    with released_as(CloudNativeRelease, VALUES, prepare) as made:
        yield made


def what_is_there(release: CloudNativeRelease) -> str:
    """Return how many readings are stored, their sum, and how long the ledger is."""
    return release.psql("select count(*), sum(value), (select count(*) from ingest_ledger) from sensor_data")


async def archived(release: CloudNativeRelease) -> None:
    """Wait until all that is committed is in the store."""
    segment = release.psql("select pg_walfile_name(pg_switch_wal())")
    behind = f"select last_archived_wal >= '{segment}' from pg_stat_archiver"
    await eventually(lambda: release.psql(behind) == "t", 120, 1.0)


async def backed_up(release: CloudNativeRelease, times: int) -> None:
    """Wait until so many backups are complete."""

    def complete() -> bool:
        backups = json.loads(release.namespace.run("get", "backups.postgresql.cnpg.io", "--output=json"))["items"]
        return [backup.get("status", {}).get("phase") for backup in backups].count("completed") == times

    await eventually(complete, 300, 1.0)


async def test_the_database_comes_back_to_an_instant_and_elsewhere_from_nothing(
    release: CloudNativeRelease, folder: Path
) -> None:
    person = Person(release.namespace.name, folder)
    person.types(*commands(PAGE, "The backup."))
    await backed_up(release, 1)
    release.send(ROWS, "--batch 1000")
    await release.verdict(await release.sent(300), 120)
    release.namespace.run("delete", "pod", "sender")
    before = what_is_there(release)
    assert before.startswith(f"{ROWS}|")
    instant = release.psql("select clock_timestamp()")

    # A mistake, and back to the instant before it.
    release.psql("delete from sensor_data")
    await archived(release)
    restore = folder / "k8s" / "backup" / "restore.yaml"
    to_instant = restore.read_text().replace(
        '# recoveryTarget: {targetTime: "2026-11-28 03:00:00+00"}', TARGET % instant
    )
    assert instant in to_instant
    restore.write_text(to_instant)
    person.types(*commands(PAGE, "To an instant,"))
    release.database = CloudNative(release.namespace)
    await release.database.healthy()
    assert what_is_there(release) == before
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")

    # What was committed since then is in the store under the new name; from there it comes back elsewhere.
    await backed_up(release, 2)
    before = what_is_there(release)
    await archived(release)
    person.types(*commands(PAGE, "The Secrets"))
    again = to_instant.replace("serverName: sensors-2}", "serverName: sensors-3}")
    again = again.replace("serverName: sensors}", "serverName: sensors-2}").replace(TARGET % instant, "")
    restore.write_text(again)
    [whole] = commands(PAGE, "From nothing,")
    with released_as(
        CloudNativeRelease, VALUES, lambda name: Person(name, folder).types(whole.partition("helm install")[0])
    ) as other:
        assert what_is_there(other) == before
        assert "Phase:          Succeeded" in other.helm("test", "millrace", "--timeout", "2m")


TARGET = 'recoveryTarget: {targetTime: "%s"}'
