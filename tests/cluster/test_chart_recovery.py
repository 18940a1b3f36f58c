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
BACKUP = {"enabled": True, "storage": {"size": "2Gi"}, "drill": {"enabled": True}}
VALUES = {"timescaledb": {"backup": BACKUP, "parameters": {"max_slot_wal_keep_size": "256MB"}}}
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


def runs(release: Release) -> frozenset[str]:
    """Return the runs of the archive that have a base backup; the oldest go when there are too many of these."""
    return frozenset(in_archive(release, f"({BASES} || true) | cut -d / -f 3").split())


async def backed_up(release: Release, but: frozenset[str] = frozenset()) -> None:
    """Wait until a run of the archive, but for those, has a base backup."""
    await eventually(lambda: runs(release) - but, 120, 1.0)


def take_base_backup(release: Release, person: Person) -> None:
    """Take one, as the page says."""
    person.types(*commands(PAGE, "Switch it on.")[1:])
    release.namespace.run("delete", "job", "before-change")


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


def restored(release: Release) -> str:
    """Restore the server that was lost to the last commit archived, and return what that said."""
    values = ["timescaledb.restore.enabled=true", "timescaledb.restore.instant="]
    release.helm("upgrade", "millrace", str(CHART), "--reuse-values", "--wait", "--set", ",".join(values))
    return release.namespace.run("logs", "millrace-timescaledb-0", "--container=restore")


class Restored(Release):
    """A release that is installed by the page's command, over values of a small one."""

    folder: Path

    def install(self, values: dict[str, Any]) -> None:
        """Type the command, for a small release."""
        [command, _] = commands(PAGE, "From nothing,")
        (self.folder / "small.yaml").write_text(yaml.safe_dump({**SMALL, **values}))
        Person(self.namespace.name, self.folder).types(
            command.replace("millrace charts", "millrace --values small.yaml charts")
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person types: with the chart, and the manifest of a claim for the lab's volumes."""
    found = tmp_path_factory.mktemp("person")
    (found / "charts").mkdir()
    (found / "charts" / "millrace").symlink_to(CHART)
    (found / "k8s").mkdir()
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
        before, begun = what_is_there(lost), runs(lost)
        volume = lost.namespace.get("pvc", "millrace-backup")["spec"]["volumeName"]
    assert before.split("|")[0] == str(ROWS + 6)
    claim = (K8S / "backups-claim.yaml").read_text().replace("VOLUME", volume)
    (folder / "k8s" / "backups-claim.yaml").write_text(claim)
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
        await backed_up(found, begun)


async def test_a_server_lost_under_load_comes_back_and_what_is_sent_again_is_stored_once(
    release: Release, folder: Path
) -> None:
    await backed_up(release)
    begun = runs(release)
    release.send(ROWS, SEND)
    await eventually(lambda: int(release.psql("select count(*) from sensor_data")) > ROWS // 4, 200, 0.5)
    lose(release)
    person = Person(release.namespace.name, folder)
    person.types(*commands(PAGE, "In its release,")[:1])
    verdict = await release.verdict(await release.sent(300), 120)
    # What was committed in the last moments may not have been archived; nothing is there twice.
    assert (verdict.promised, verdict.doubled) == (ROWS, 0)
    assert verdict.lost < ROWS // 10
    release.namespace.run("delete", "pod", "sender")
    release.send(ROWS, SEND)
    verdict = await release.verdict(await release.sent(300), 120)
    assert (verdict.promised, verdict.lost, verdict.doubled) == (ROWS, 0, 0)
    release.namespace.run("delete", "pod", "sender")
    await backed_up(release, begun)


async def test_a_database_is_never_restored_over_and_comes_back_to_an_instant(release: Release, folder: Path) -> None:
    one_command, to_instant = commands(PAGE, "In its release,")
    await backed_up(release)
    begun = runs(release)
    release.send(ROWS // 10, SEND.replace("--run recovery", "--run instant"))
    await release.sent(100)
    await eventually(lambda: release.redis("xlen", "sensor_stream") == "0", 100, 0.5)
    release.namespace.run("delete", "pod", "sender")
    first, second = release.psql("select distinct sensor_id from sensor_data order by 1 limit 2").split()
    await take_back(release, first)
    before = what_is_there(release)
    instant = release.psql("select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    await take_back(release, second)
    assert what_is_there(release) != before
    # Of a later backup nothing may come back.
    person = Person(release.namespace.name, folder)
    take_base_backup(release, person)
    await archived(release)

    after = what_is_there(release)
    disabled = "timescaledb.restore.enabled=false"
    release.helm("upgrade", "millrace", str(CHART), "--reuse-values", "--wait", "--set", disabled)
    with pytest.raises(AssertionError, match="nothing is restored over a database"):
        person.types(one_command)
    assert what_is_there(release) == after

    person.types(to_instant.replace("2026-11-28T03:00:00Z", instant))
    assert what_is_there(release) == before
    assert goes_the_whole_way(release)
    await backed_up(release, begun)
    assert release.psql("select sensor_ids from deletions") == f"{{{first}}}"


async def take_back(release: Release, sensor: str) -> None:
    """Take back all readings of a sensor, and wait until that is done."""
    count = f"select count(*) from sensor_data where sensor_id = '{sensor}'"
    assert release.psql(count) != "0"
    delete = ["millrace", "delete", "--sensor", sensor, "--reason", "wrong", "--yes"]
    span = ["--start", "2020-01-01T00:00:00Z", "--end", "2030-01-01T00:00:00Z"]
    release.namespace.run("exec", "deployment/millrace-ingest", "--", *delete, *span)
    open_ones = "select count(*) from deletions where finished_at is null"
    await eventually(lambda: release.psql(open_ones) == "0", 60, 0.5)
    assert release.psql(count) == "0"


async def test_a_drill_goes_well_under_load_and_fails_on_a_backup_that_is_broken(
    release: Release, folder: Path
) -> None:
    await backed_up(release)
    begun = runs(release)
    release.load("--batch 200")
    well, said = await drilled(release)
    await release.unload()
    assert well, said
    assert "the server's readings to the letter" in said

    take_base_backup(release, Person(release.namespace.name, folder))
    newest = in_archive(release, f"{BASES} | sort | tail -n 1")
    in_archive(release, f"printf broken | dd of={newest}/base.tar.gz bs=1 seek=100000 conv=notrunc")
    well, said = await drilled(release)
    assert not well
    assert "is damaged" in said

    # A restore takes the one before.
    await archived(release)
    before = what_is_there(release)
    lose(release)
    said = restored(release)
    assert f"base backup {newest.rpartition('/')[2]} is damaged; trying the one before" in said
    assert what_is_there(release) == before

    # Without a segment of its log, a base backup leads nowhere.
    await backed_up(release, begun)
    release.psql("select pg_switch_wal()")
    await archived(release)
    segment = in_archive(release, "ls -d /archive/run-*/wal/*[0-9A-F] | sort | tail -n 1")
    in_archive(release, f"mv {segment} /archive/aside")
    well, said = await drilled(release)
    assert not well
    assert "the archive does not lead from base backup" in said
    in_archive(release, f"mv /archive/aside {segment}")
    well, said = await drilled(release)
    assert well, said


async def test_a_drill_fails_where_what_is_restored_is_not_what_the_server_has(release: Release) -> None:
    await backed_up(release)
    release.psql("create database other", database="postgres")
    release.psql("create table sensor_data (timestamp timestamptz)", database="other")
    one = "insert into sensor_data (timestamp, sensor_id, value) values ('2026-11-02', 'one', 1)"
    release.psql(one)
    drill = "cronjob/millrace-restore-drill"
    release.namespace.run("set", "env", drill, "DATABASE=other")
    well, said = await drilled(release)
    release.namespace.run("set", "env", drill, "DATABASE=sensors")
    assert not well
    assert "the days above differ" in said
    assert "< 2026-11-02|" in said
    release.psql("drop database other", database="postgres")


async def test_what_waited_in_the_stream_is_stored_once_from_its_copy_whatever_was_stored_since(
    release: Release, folder: Path
) -> None:
    await backed_up(release)
    copy, back = (commands(PAGE, part)[0] for part in ("A copy of the stream.", "The stream back,"))
    person = Person(release.namespace.name, folder)
    claim = (K8S / "restore-stream.yaml").read_text().replace("storage: 8Gi", "storage: 1Gi")
    (folder / "k8s" / "restore-stream.yaml").write_text(claim)
    release.psql("truncate sensor_data")
    release.namespace.run("scale", "deployment", "millrace-operator", "millrace-worker", "--replicas=0")
    await eventually(lambda: not release.pods("worker"), 60, 0.5)
    release.send(ROWS // 10, SEND.replace("--run recovery", "--run stream"))
    journal = await release.sent(100)
    release.namespace.run("delete", "pod", "sender")
    waiting = release.redis("xlen", "sensor_stream")
    assert waiting != "0"
    person.types(copy)

    # Some of it, or all, is stored and gone from the stream when both are lost, and the database has it.
    release.namespace.run("scale", "deployment", "millrace-worker", "--replicas=1")
    await eventually(lambda: int(release.redis("xlen", "sensor_stream")) < int(waiting), 100, 0.1)
    release.namespace.run("scale", "deployment", "millrace-worker", "--replicas=0")
    await eventually(lambda: not release.pods("worker"), 60, 0.5)
    await archived(release)
    before = what_is_there(release)
    lose(release)
    restored(release)
    assert what_is_there(release) == before
    person.types(back)
    release.namespace.run("scale", "deployment", "millrace-worker", "--replicas=1")
    verdict = await release.verdict(journal, 120)
    assert (verdict.promised, verdict.lost, verdict.doubled) == (ROWS // 10, 0, 0)


async def test_an_archive_that_was_away_for_too_long_begins_anew(release: Release) -> None:
    await backed_up(release)
    begun = runs(release)
    release.namespace.run("scale", "deployment/millrace-backup", "--replicas=0")
    await eventually(lambda: not release.pods("backup"), 60, 0.5)
    for _ in range(20):
        release.psql("select pg_logical_emit_message(false, '', repeat('x', 1 << 24)); select pg_switch_wal()")
    release.psql("checkpoint")
    assert release.psql("select wal_status from pg_replication_slots where slot_name = 'backup'") == "lost"
    release.namespace.run("scale", "deployment/millrace-backup", "--replicas=1")
    release.namespace.run("rollout", "status", "deployment/millrace-backup", "--timeout=100s")
    await backed_up(release, begun)
    well, said = await drilled(release)
    assert well, said


async def test_of_another_database_in_its_place_nothing_is_archived_over_the_backups(release: Release) -> None:
    await backed_up(release)
    await archived(release)
    before = what_is_there(release)
    lose(release)
    values = "timescaledb.restore.enabled=false"
    release.helm("upgrade", "millrace", str(CHART), "--reuse-values", "--set", values)
    await eventually(lambda: "of another database" in release.log("deployment/millrace-backup"), 120, 1.0)
    # Whoever sees that takes the empty one away, and restores.
    release.namespace.run("delete", "statefulset/millrace-timescaledb", "pvc/data-millrace-timescaledb-0")
    restored(release)
    assert what_is_there(release) == before


def test_the_pod_for_the_stream_runs_the_image_of_the_release(release: Release) -> None:
    _, pod = yaml.safe_load_all((K8S / "restore-stream.yaml").read_text())
    server = release.namespace.get("statefulset", "millrace-redis")["spec"]["template"]["spec"]
    assert pod["spec"]["containers"][0]["image"] == server["containers"][0]["image"]
