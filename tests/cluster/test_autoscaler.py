"""BacklogAutoscalers: what they refuse, what freezes them, and real workers under a real backlog."""

import json
import uuid
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.platform.settings import DatabaseSettings

from ..support import eventually, free_port
from ..support.cluster import IMAGE, K8S, Namespace

ROWS = 1_000_000
"""One worker, which drains 10,000 rows/s at most, would need a hundred seconds for them."""

WORKERS = ("backlogautoscaler", "workers")


def autoscaler(name: str = "workers", target: str = "worker", **spec: Any) -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "BacklogAutoscaler",
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": reference, "maxReplicas": 4, **spec},
    }


def deployment(replicas: int) -> dict[str, Any]:
    """Describe workers that never start: only their number is looked at."""
    container = {"name": "worker", "image": "millrace.invalid/none", "imagePullPolicy": "Never"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "worker"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "worker"}},
            "template": {"metadata": {"labels": {"app": "worker"}}, "spec": {"containers": [container]}},
        },
    }


def replicas(namespace: Namespace) -> int:
    number: int = namespace.get("deployment", "worker")["spec"]["replicas"]
    return number


async def test_a_number_outside_the_bounds_is_brought_back_and_told(namespace: Namespace, operator: Any) -> None:
    namespace.make(deployment(7), autoscaler(minReplicas=2))
    operator().start()
    await eventually(lambda: replicas(namespace) == 4, 30)
    assert "7 to 4" in (await eventually(lambda: namespace.events("Rescaled"), 10))[0]
    status = namespace.get(*WORKERS)["status"]
    assert status["lastChange"]["reason"] == "AboveMaximum"
    namespace.run("scale", "deployment/worker", "--replicas=1")
    await eventually(lambda: replicas(namespace) == 2, 30)


async def test_a_target_that_is_not_there_is_named(namespace: Namespace, operator: Any) -> None:
    daemons = autoscaler("daemons")
    daemons["spec"]["scaleTargetRef"]["kind"] = "DaemonSet"
    namespace.make(autoscaler(), daemons)
    operator().start()
    told = await namespace.reason(*WORKERS, "False", "TargetMissing")
    assert "worker" in told["message"]
    await namespace.reason("backlogautoscaler", "daemons", "False", "TargetNotScalable")


async def test_two_on_one_target_or_one_beside_a_horizontal_autoscaler_are_refused(
    namespace: Namespace, operator: Any
) -> None:
    namespace.make(deployment(7), autoscaler(maxReplicas=9))
    operator().start()
    await namespace.ready(*WORKERS)
    namespace.make(autoscaler("younger"))
    told = await namespace.reason("backlogautoscaler", "younger", "False", "Conflict")
    assert "workers" in told["message"]
    namespace.run("autoscale", "deployment/worker", "--min=1", "--max=9", "--name=other")
    told = await namespace.reason(*WORKERS, "False", "Conflict")
    assert "HorizontalPodAutoscaler other" in told["message"]
    assert replicas(namespace) == 7
    namespace.run("delete", "hpa", "other")
    await namespace.ready(*WORKERS)


async def test_missing_numbers_freeze_the_number_of_workers(
    namespace: Namespace, operator: Any, redis_settings: Any
) -> None:
    process = operator()
    nowhere = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
    away = redis_settings.model_copy(update={"url": nowhere})
    process.settings = process.settings.model_copy(update={"redis": away})
    namespace.make(deployment(3), autoscaler())
    process.start()
    told = await namespace.reason(*WORKERS, "Unknown", "BacklogUnknown")
    assert "stays" in told["message"]
    assert namespace.condition(*WORKERS, "Degraded")["status"] == "True"
    assert replicas(namespace) == 3


async def test_workers_grow_with_a_backlog_and_shrink_behind_it_and_each_row_is_stored_once(
    namespace: Namespace,
) -> None:
    await whole_way(namespace)
    namespace.make(
        autoscaler(catchUpSeconds=10, behavior={"scaleDown": {"stabilizationWindowSeconds": 30}}, maxReplicas=4)
    )
    await namespace.ready(*WORKERS)
    assert replicas(namespace) == 1
    send = ["send", "--rows", str(ROWS), "--batch", "1000", "--url", "http://ingest:8000"]
    namespace.run("create", "job", "sender", f"--image={IMAGE}", "--", "millrace", *send)
    await eventually(lambda: replicas(namespace) >= 3, 90, 1.0)
    namespace.run("wait", "--for=condition=complete", "job/sender", "--timeout=110s")
    await eventually(lambda: stored(namespace) == (ROWS, ROWS), 240, 3.0)
    await eventually(lambda: replicas(namespace) == 1, 240, 1.0)
    assert stored(namespace) == (ROWS, ROWS)
    assert namespace.get(*WORKERS)["status"]["backlogRows"] == 0
    consumers = namespace.run("exec", "deployment/redis", "--", "redis-cli", "xpending", "sensor_stream", "workers")
    assert consumers.split()[0] == "0"


async def whole_way(namespace: Namespace) -> None:
    """Run servers, services and operator in the namespace."""
    words = {role: uuid.uuid4().hex for role in ("owner", "writer", "reader")}
    urls = {
        f"{role}_url": SecretStr(f"postgresql://millrace_{role}:{word}@timescaledb:5432/sensors")
        for role, word in words.items()
    }
    admin = uuid.uuid4().hex
    namespace.secret(DatabaseSettings(**urls), f"postgresql://postgres:{admin}@timescaledb:5432/postgres")
    word = {"stringData": {"admin-password": admin}}
    namespace.patch("secret", "millrace-database", word)
    namespace.run("create", "secret", "generic", "millrace-redis", "--from-literal=url=redis://redis:6379/0")
    namespace.run("apply", "-f", str(K8S / "operator.yaml"), "-f", str(Path(__file__).with_name("workloads.yaml")))
    namespace.example("schema", "sensor-data", "measurement-hourly")
    namespace.patch("schema", "sensors", {"spec": {"adminUrlFrom": {"name": "millrace-database", "key": "admin-url"}}})
    await namespace.ready("schema", "sensors", 120)
    for name in ("worker", "ingest", "millrace-operator"):
        namespace.run("rollout", "status", f"deployment/{name}", "--timeout=100s")


def stored(namespace: Namespace) -> tuple[int, int]:
    """Return how many readings are stored, and how many different ones: a made value is the number of its row."""
    count = "select json_build_array(count(*), count(distinct value)) from sensor_data"
    psql = ["psql", "-qAt", "-U", "postgres", "-d", "sensors", "-c", count]
    rows, different = json.loads(namespace.run("exec", "deployment/timescaledb", "--", *psql))
    return rows, different
