"""The bundled server comes back from its archive by the very commands that docs/upgrade-and-backup.md names."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import eventually
from tests.support.chart import CHART
from tests.support.cluster import K8S
from tests.support.person import Person, commands
from tests.support.release import SMALL, Release, released, released_as

PAGE = "upgrade-and-backup.md"
ROWS = 1_000_000
VALUES = {"timescaledb": {"backup": {"enabled": True, "storage": {"size": "2Gi"}, "drill": {"enabled": True}}}}
SEND = "--batch 1000 --run recovery --start 2026-11-01T00:00:00Z"
BASES = "ls -d /archive/run-*/base/[0-9]*"


def what_is_there(release: Release) -> str:
    """Return how many readings are stored, a hash of them all, and what the ledger knows."""
    hashed = "select count(*), sum(hash_record_extended(r, 0)::numeric) from sensor_data r"
    return release.psql(hashed) + "|" + release.psql("select count(*), sum(rows) from ingest_ledger")


async def archived(release: Release) -> None:
    """Wait until all that is committed is in the archive."""
    position = release.psql("select pg_current_wal_flush_lsn()")
    there = f"select restart_lsn >= '{position}' from pg_replication_slots where slot_name = 'backup' and active"
    await eventually(lambda: release.psql(there) == "t", 60, 0.5)


def in_archive(release: Release, command: str) -> str:
    """Run a command beside the archive."""
    return release.namespace.run("exec", "deployment/millrace-backup", "--", "sh", "-euc", command).strip()


async def backed_up(release: Release, runs: int = 1) -> None:
    """Wait until so many runs of the archive have a base backup."""
    count = f"({BASES} || true) | cut -d / -f 3 | sort -u | wc -l"
    await eventually(lambda: in_archive(release, count) == str(runs), 120, 1.0)


async def drilled(release: Release) -> tuple[bool, str]:
    """Hold a drill; return whether it went well, and what it said."""
    name = f"drill-{uuid.uuid4().hex[:6]}"
    release.namespace.run("create", "job", name, "--from=cronjob/millrace-restore-drill")

    def over() -> list[str]:
        status = release.namespace.get("job", name)["status"]
        return [kind for kind in ("succeeded", "failed") if status.get(kind)]

    ended = await eventually(over, 240, 1.0)
    said = release.log(f"job/{name}")
    release.namespace.run("delete", "job", name)
    return ended == ["succeeded"], said


def goes_the_whole_way(release: Release) -> bool:
    """Tell whether a demo of readings does."""
    return "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")


def lose(release: Release) -> None:
    """Take the server away with its volume, without grace."""
    release.namespace.run("delete", "statefulset", "millrace-timescaledb", "--cascade=orphan")
    release.namespace.run("delete", "pod", "millrace-timescaledb-0", "--grace-period=0", "--force")
    release.namespace.run("delete", "pvc", "data-millrace-timescaledb-0")


class Restored(Release):
    """A release that is installed by the page's command, over values of a small one."""

    folder: Path

    def install(self, _: dict[str, Any]) -> None:
        """Type the command, for a small release."""
        [command, *_] = commands(PAGE, "From nothing,")
        (self.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
        Person(self.namespace.name, self.folder).types(
            command.replace("millrace charts", "millrace --values small.yaml charts")
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person types: with the chart, and the manifest of a claim for the lab's volumes."""
    found = tmp_path_factory.mktemp("person")
    (found / "charts").mkdir()
    (found / "charts" / "millrace").symlink_to(CHART)
    (found / "k8s" / "backup").mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A release with an archive and a million readings, one for the tests of this file that lose its server."""
    with released(VALUES) as made:
        yield made


async def test_a_release_comes_back_from_nothing_by_one_command(folder: Path) -> None:
    with released(VALUES) as lost:
        await backed_up(lost)
        assert goes_the_whole_way(lost)
        lost.send(ROWS, SEND)
        journal = await lost.sent(300)
        assert (await lost.verdict(journal, 120)).clean
        await archived(lost)
        before = what_is_there(lost)
        volume = lost.namespace.get("pvc", "millrace-backup")["spec"]["volumeName"]
    assert before.split("|")[0] == str(ROWS + 6)
    claim = (K8S / "backup" / "claim.yaml").read_text().replace("VOLUME", volume)
    (folder / "k8s" / "backup" / "claim.yaml").write_text(claim)
    [_, bring] = commands(PAGE, "From nothing,")
    Restored.folder = folder
    with released_as(
        Restored, {}, lambda name: Person(name, folder).types(bring.replace("pv VOLUME", f"pv {volume}"))
    ) as found:
        assert what_is_there(found) == before
        assert goes_the_whole_way(found)
        # What is sent again with its keys is known.
        found.send(ROWS, SEND)
        verdict = await found.verdict(await found.sent(300), 120)
        assert (verdict.promised, verdict.lost, verdict.doubled) == (ROWS, 0, 0)
        await backed_up(found, 2)
