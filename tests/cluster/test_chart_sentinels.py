"""A release whose stream has replicas and Sentinels: each server dies under load, its volume too."""

import time
from functools import partial
from typing import Any

import pytest

from tests.support import eventually
from tests.support.cluster import kubectl
from tests.support.release import Release, released

NODES = ["millrace-redis-0", "millrace-redis-1", "millrace-redis-2"]
VALUES = {"redis": {"replicas": 2}, "ingest": {"replicas": 2}}
ROWS = 200_000


@pytest.fixture(scope="module")
def release() -> Any:
    """A release with two replicas of the stream's server, one for all tests of this file."""
    with released(VALUES) as made:
        yield made


def said(release: Release, node: str, container: str, *command: str) -> str:
    """Return what a command in a node's container says; "" where it is just not there."""
    execute = ["exec", node, "--container", container, "--", "redis-cli", *command]
    return kubectl("--namespace", release.namespace.name, *execute).stdout


def primary(release: Release, but: str = "") -> str:
    """Return the node that is the primary, as the Sentinels of all others than `but` agree; "" while they do not."""
    question = ["-p", "26379", "sentinel", "get-master-addr-by-name", "millrace"]
    told = {said(release, node, "sentinel", *question).partition(".")[0] for node in NODES if node != but}
    return told.pop() if len(told) == 1 else ""


def in_sync(release: Release) -> bool:
    """Tell whether the primary's two replicas have all that it has."""
    found = primary(release)
    info = said(release, found, "redis", "info", "replication") if found else ""
    return "role:master" in info and info.count("state=online") == 2


async def test_all_servers_follow_one_and_the_release_passes_its_own_test(release: Release) -> None:
    await eventually(partial(in_sync, release), 60, 1.0)
    assert primary(release) == NODES[0]
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")


@pytest.mark.parametrize("lost", ["server", "server and volume", "replica", "all servers"])
async def test_a_node_of_the_stream_is_lost_under_load_and_nothing_is_lost_or_doubled(
    release: Release, lost: str
) -> None:
    await eventually(partial(in_sync, release), 120, 1.0)
    release.psql("truncate sensor_data")
    release.send(ROWS, "--batch 100", "--connections 4")
    before = primary(release)
    victims = NODES if lost == "all servers" else [before]
    if lost == "replica":
        victims = [next(node for node in NODES if node != before)]
    began = time.monotonic()
    if lost == "server and volume":
        # It goes as soon as the pod has gone.
        release.namespace.run("delete", "pvc", f"data-{before}", "--wait=false")
    release.namespace.run("delete", "pod", *victims, "--grace-period=0", "--force")
    if lost == "server and volume":
        await eventually(lambda: primary(release, but=before) not in {"", before}, 60, 0.5)
    await eventually(partial(in_sync, release), 120, 1.0)
    print(f"{lost}: in sync after {time.monotonic() - began:.1f} s, {before} before, {primary(release)} now")
    verdict = await release.verdict(await release.sent(300), 120)
    assert (verdict.promised, verdict.clean) == (ROWS, True), verdict
    release.namespace.run("delete", "pod", "sender")


async def test_one_server_becomes_three_and_what_waited_in_it_is_stored() -> None:
    with released({"worker": {"autoscaling": {"mode": "off"}, "replicas": 0}}) as release:
        release.send(10_000, "--batch 100")
        journal = await release.sent(100)
        release.namespace.run("delete", "statefulset", "millrace-redis", "--wait=true")
        release.install({**VALUES, "worker": {"replicas": 1}})
        await eventually(partial(in_sync, release), 60, 1.0)
        verdict = await release.verdict(journal, 60)
        assert (verdict.promised, verdict.clean) == (10_000, True), verdict
