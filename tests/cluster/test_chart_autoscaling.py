"""A release whose workers cannot hold the load alone: more come, drain it, and leave."""

from collections.abc import AsyncIterator

import pytest

from tests.support import eventually
from tests.support.chart import NO_HELM, helm
from tests.support.cluster import Namespace, kubectl
from tests.support.release import Release


@pytest.fixture(params=["backlog", "keda"])
async def slow(namespace: Namespace, request: pytest.FixtureRequest) -> AsyncIterator[Release]:
    """A release of the test's own, whose workers write one small entry a transaction: several do more than one."""
    try:
        helm("version")
    except LookupError:
        pytest.skip(NO_HELM)
    if request.param == "keda" and kubectl("get", "crd", "scaledobjects.keda.sh").returncode:
        pytest.skip("this cluster has no KEDA")
    made = Release(namespace)
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 30}}
    made.install(
        {
            "config": {"ingest": {"entry_rows": 250}, "worker": {"batch_entries": 1}},
            "ingest": {"replicas": 1},
            "worker": {
                "autoscaling": {
                    "mode": request.param,
                    "maxReplicas": 4,
                    "catchUpSeconds": 5,
                    "behavior": behavior,
                    "keda": {"pollingInterval": 5, "rowsPerWorker": 100_000},
                }
            },
        }
    )
    yield made
    made.uninstall()


async def test_workers_grow_with_the_backlog_and_shrink_behind_it(slow: Release) -> None:
    def workers() -> int:
        number: int = slow.namespace.get("deployment", "millrace-worker")["spec"]["replicas"]
        return number

    assert workers() == 1
    slow.send(2_000_000, "--batch 250", "--connections 8")
    await eventually(lambda: workers() >= 3, 120, 1.0)
    verdict = await slow.verdict(await slow.sent(300), 300)
    assert (verdict.promised, verdict.clean) == (2_000_000, True), verdict
    await eventually(lambda: workers() == 1, 300, 1.0)
    assert slow.redis("xpending", "sensor_stream", "workers").split()[0] == "0"
