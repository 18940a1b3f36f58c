"""A backup comes back by the very commands that docs/upgrade-and-backup.md names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import eventually
from tests.support.cluster import K8S
from tests.support.person import Person, commands
from tests.support.release import Release, released

PAGE = "upgrade-and-backup.md"
ROWS = 100_000
VALUES = {"timescaledb": {"replicas": {"count": 1}}}


def what_is_there(release: Release) -> str:
    """Return how many readings are stored, their sum, and how long the ledger is."""
    return release.psql("select count(*), sum(value), (select count(*) from ingest_ledger) from sensor_data")


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A release with a replica, one for all tests of this file."""
    with released(VALUES) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where backups lie, and the manifests of the project."""
    found = tmp_path_factory.mktemp("backups")
    (found / "k8s").symlink_to(K8S)
    return found


async def restored(release: Release, before: str) -> None:
    """Check that all is there again, that the replica follows, and that readings go the whole way."""
    assert what_is_there(release) == before
    await eventually(lambda: release.psql("select state from pg_stat_replication") == "streaming", 120, 1.0)
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")


def empty(release: Release) -> None:
    """Take away what the primary has."""
    release.namespace.run("exec", "millrace-timescaledb-0", "--", "sh", "-c", "rm -rf $PGDATA/*")


async def test_a_dump_comes_back(release: Release, folder: Path) -> None:
    release.send(ROWS, "--batch 500")
    await release.verdict(await release.sent(120), 60)
    before = what_is_there(release)
    dump, restore = commands(PAGE, "Logical")
    person = Person(release.namespace.name, folder)
    person.types(dump)
    person.types(restore)
    for workload in ("operator", "worker", "query"):
        release.namespace.run("rollout", "status", f"deployment/millrace-{workload}", "--timeout=100s")
    await restored(release, before)


async def test_a_base_backup_comes_back_into_its_release(release: Release, folder: Path) -> None:
    before = what_is_there(release)
    backup, restore, replicas = commands(PAGE, "Physical")
    person = Person(release.namespace.name, folder)
    person.types(backup)
    empty(release)
    person.types(restore)
    person.types(replicas)
    await restored(release, before)


async def test_a_base_backup_comes_back_elsewhere_with_its_secret(release: Release, folder: Path) -> None:
    before = what_is_there(release)
    backup, restore, replicas = commands(PAGE, "Physical")
    keep, make = commands(PAGE, "Secrets")[0].splitlines(keepends=True)
    person = Person(release.namespace.name, folder)
    person.types(backup + keep)
    with released(VALUES, lambda name: Person(name, folder).types(make)) as other:
        assert what_is_there(other).startswith("0|")
        there = Person(other.namespace.name, folder)
        there.types(restore)
        there.types(replicas)
        await restored(other, before)


def test_the_pod_for_restoring_runs_the_image_of_the_release(release: Release) -> None:
    [pod] = yaml.safe_load_all((K8S / "restore.yaml").read_text())
    server = release.namespace.get("statefulset", "millrace-timescaledb")["spec"]["template"]["spec"]
    assert pod["spec"]["containers"][0]["image"] == server["containers"][0]["image"]
