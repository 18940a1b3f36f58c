"""A release with read replicas: its own test, every pod's death under load, and data that outlive an uninstall."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from tests.support import eventually
from tests.support.cluster import kubectl
from tests.support.release import Release, released

REPLICAS = ["millrace-timescaledb-replica-0", "millrace-timescaledb-replica-1"]
READING = """
select count(*) from pg_stat_activity where usename = 'millrace_reader' and datname = 'sensors'
and query ~ 'sensor_data|COPY'
"""
ROWS = 300_000


@pytest.fixture(scope="module")
def release() -> Any:
    """A release with two replicas, one for all tests of this file."""
    with released({"timescaledb": {"replicas": {"count": 2}}}) as made:
        yield made


def demo(*options: str) -> str:
    return f"millrace demo --ingest http://millrace-ingest:8000 --query http://millrace-query:8001 {' '.join(options)}"


def test_the_release_passes_its_own_test_and_repeats_it(release: Release) -> None:
    for _ in range(2):
        assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")


def test_what_the_chart_renders_is_taken_by_the_api_server(release: Release) -> None:
    rendered = release.helm("get", "manifest", "millrace")
    done = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif("INGRESS_URL" not in os.environ, reason="INGRESS_URL names no ingress controller's address")
async def test_the_demo_goes_through_an_ingress_and_through_a_route(release: Release) -> None:
    url = os.environ["INGRESS_URL"]
    gateway = dict(zip(("namespace", "name"), os.environ.get("GATEWAY", "").split("/"), strict=False))
    entrances: dict[str, dict[str, Any]] = {"ingress": {"enabled": True}}
    if gateway.get("name"):
        entrances["httpRoute"] = {"enabled": True, "parentRefs": [gateway]}
    for entrance, values in entrances.items():
        release.install({"timescaledb": {"replicas": {"count": 2}}, entrance: values})
        command = [sys.executable, "-m", "services.cli", "demo", "--ingest", url, "--query", url, "--patience", "20"]
        await eventually(partial(succeeds, command), 60)


def succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def is_asked(release: Release, replica: str) -> bool:
    return release.psql(READING, replica) != "0"


async def test_query_reads_from_both_replicas_and_survives_the_loss_of_both(release: Release) -> None:
    asking = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); " + demo("--sensor", "asked", "--patience 10")
    release.run("asker", f"{asking} >/dev/null || exit 1; sleep 0.05; done")
    for replica in REPLICAS:
        await eventually(partial(is_asked, release, replica), 60, 0.2)
    for replica in REPLICAS:
        release.namespace.run("delete", "pod", replica, "--grace-period=0", "--force")
    for replica in REPLICAS:
        release.wait_until_ready("timescaledb-replica")
        await eventually(partial(is_asked, release, replica), 60, 0.2)
    phase = release.namespace.get("pod", "asker")["status"]["phase"]
    assert phase in {"Running", "Succeeded"}, release.namespace.run("logs", "asker")
    release.namespace.run("delete", "pod", "asker", "--grace-period=1")


async def test_each_pod_dies_under_load_and_nothing_is_lost_or_doubled(release: Release) -> None:
    release.psql("truncate sensor_data")
    release.send(ROWS, "--batch 250", "--connections 4")
    for component in ("worker", "redis", "ingest", "timescaledb", "timescaledb-replica", "query", "operator"):
        victims = release.pods(component)
        release.namespace.run("delete", "pod", victims[0], "--grace-period=0", "--force")
        await eventually(partial(release.pods, component), 60, 0.5)
        release.wait_until_ready(component)
    journal = await release.sent(500)
    verdict = await release.verdict(journal, 120)
    assert verdict.promised == ROWS
    assert verdict.clean, verdict
    release.namespace.run("delete", "pod", "sender")


async def test_an_upgrade_and_a_rollback_under_load_lose_and_double_nothing(release: Release) -> None:
    release.psql("truncate sensor_data")
    release.send(ROWS, "--batch 250", "--connections 4")
    values = {"timescaledb": {"replicas": {"count": 2}}, "podAnnotations": {"round": "two"}}
    release.install(values)
    release.helm("rollback", "millrace", "--wait", "--timeout", "3m")
    verdict = await release.verdict(await release.sent(500), 120)
    assert (verdict.promised, verdict.clean) == (ROWS, True), verdict
    release.namespace.run("delete", "pod", "sender")


def test_data_and_passwords_outlive_an_uninstall(release: Release) -> None:
    secret = release.namespace.get("secret", "millrace-database")["data"]
    before = release.psql("select count(*) from sensor_data")
    release.uninstall()
    release.install({"timescaledb": {"replicas": {"count": 2}}})
    assert release.namespace.get("secret", "millrace-database")["data"] == secret
    assert release.psql("select count(*) from sensor_data") == before
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")
