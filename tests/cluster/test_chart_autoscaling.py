"""A release whose workers cannot hold the load alone: more come, drain it, and leave."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import eventually
from tests.support.cluster import kubectl
from tests.support.release import Release, released

NEEDS = {"keda": ("crd", "scaledobjects.keda.sh"), "cpu": ("apiservice", "v1beta1.metrics.k8s.io")}
DOORS = {"autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 3}}
ASKING = """
python -c 'import itertools, sys, urllib.request
for _ in itertools.count():
    urllib.request.urlopen("http://millrace-query:8001/hourly?sensor_id=sensor-0001").read()'
"""


def values(mode: str, **others: Any) -> dict[str, Any]:
    """Return values whose workers write one small entry a transaction: several do more than one."""
    return {
        "config": {"ingest": {"entry_rows": 250}, "worker": {"batch_entries": 1}},
        "worker": {
            "resources": {"requests": {"cpu": "50m"}},
            "autoscaling": {
                "mode": mode,
                "maxReplicas": 4,
                "catchUpSeconds": 5,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
                "keda": {"pollingInterval": 5, "rowsPerWorker": 100_000},
            },
        },
        "ingest": {"replicas": 1},
        **others,
    }


def replicas(release: Release, component: str) -> int:
    number: int = release.namespace.get("deployment", f"millrace-{component}")["spec"]["replicas"]
    return number


@pytest.fixture(params=["backlog", "keda", "cpu"])
def slow(request: pytest.FixtureRequest) -> Iterator[Release]:
    """A release of the test's own; where it scales by CPU, the doors do too."""
    mode: str = request.param
    if mode in NEEDS and kubectl("get", *NEEDS[mode]).returncode:
        pytest.skip(f"this cluster has nothing for the mode {mode}")
    with released(values(mode, **({"ingest": DOORS, "query": DOORS} if mode == "cpu" else {}))) as made:
        yield made


async def test_workers_grow_with_the_load_and_shrink_behind_it(slow: Release, request: pytest.FixtureRequest) -> None:
    growing = {"worker": 3}
    if request.node.callspec.params["slow"] == "cpu":
        growing |= {"ingest": 2, "query": 2}
        slow.run("asker", ASKING)
    else:
        assert replicas(slow, "worker") == 1
    slow.send(2_000_000, "--batch 250", "--connections 8")
    await eventually(lambda: all(replicas(slow, name) >= number for name, number in growing.items()), 180, 1.0)
    verdict = await slow.verdict(await slow.sent(300), 300)
    assert (verdict.promised, verdict.clean) == (2_000_000, True), verdict
    slow.namespace.run("delete", "pod", "asker", "--ignore-not-found", "--grace-period=1")
    await eventually(lambda: replicas(slow, "worker") == 1, 300, 1.0)
    assert slow.redis("xpending", "sensor_stream", "workers").split()[0] == "0"
