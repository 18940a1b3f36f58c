"""A release of the chart on a real cluster: installed by Helm, loaded from inside, held against a journal."""

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from .chart import CHART, NO_HELM, helm
from .cluster import IMAGE, Namespace, kubectl
from .oracle import Verdict, judge
from .patience import eventually

__all__ = ["Release", "released"]

REPOSITORY, _, TAG = IMAGE.rpartition(":")
LITTLE = {"requests": {"cpu": "20m"}}
SMALL: dict[str, Any] = {
    "image": {"repository": REPOSITORY, "tag": TAG},
    "ingest": {"autoscaling": {"enabled": False}, "resources": LITTLE},
    "query": {"autoscaling": {"enabled": False}, "replicas": 1, "resources": LITTLE},
    "worker": {"resources": LITTLE},
    "operator": {"resources": LITTLE},
    "redis": {"storage": {"size": "1Gi"}, "resources": LITTLE},
    "timescaledb": {"storage": {"size": "2Gi"}, "resources": LITTLE},
}
"""Values for a test's cluster, over which a test's own go."""


class Release:
    """Release `millrace` in a namespace that takes restricted pods alone."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        assert kubectl("label", "namespace", namespace.name, restricted, "--overwrite").returncode == 0

    def helm(self, *arguments: str) -> str:
        """Run Helm in the namespace; it must go well."""
        done = helm(*arguments, "--namespace", self.namespace.name)
        assert done.returncode == 0, f"{done.stderr}\n{self.namespace.run('get', 'pods')}"
        return done.stdout

    def install(self, values: dict[str, Any]) -> None:
        """Install or upgrade with values over `SMALL`, and wait as `--wait` does."""
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name, own in (("small", SMALL), ("own", values)):
                path = Path(folder, f"{name}.yaml")
                path.write_text(yaml.safe_dump(own))
                files += ["--values", str(path)]
            self.helm("upgrade", "--install", "millrace", str(CHART), *files, "--wait", "--timeout", "3m")

    def uninstall(self) -> None:
        """Uninstall it; volumes and Secrets stay."""
        self.helm("uninstall", "millrace", "--wait")

    def psql(self, statement: str, pod: str = "millrace-timescaledb-0", database: str = "sensors") -> str:
        """Run a statement on a database server as superuser and return what it says."""
        command = ["psql", "-XqAt", "-U", "postgres", "-d", database, "-c", statement]
        return self.namespace.run("exec", pod, "--", *command).strip()

    def redis(self, *command: str) -> str:
        """Run redis-cli in Redis' pod."""
        return self.namespace.run("exec", "millrace-redis-0", "--", "redis-cli", *command).strip()

    def pods(self, component: str) -> list[str]:
        """Return the names of a component's pods that are there and not about to leave."""
        label = f"app.kubernetes.io/component={component}"
        found = json.loads(self.namespace.run("get", "pods", "--selector", label, "--output=json"))["items"]
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def run(self, name: str, *command: str) -> None:
        """Start a pod of Millrace's own image that may call ingest and query, and runs a shell command."""
        labels = {
            "app.kubernetes.io/name": "millrace",
            "app.kubernetes.io/instance": "millrace",
            "app.kubernetes.io/component": "test",
        }
        container = {
            "name": "run",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", *command],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }
        self.namespace.make(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        )

    def send(self, rows: int, *options: str) -> None:
        """Begin to send made readings with keys and patience, and keep a journal."""
        send = f"millrace send --rows {rows} --url http://millrace-ingest:8000 --patience 300 --journal /tmp/journal"
        self.run("sender", f"{send} {' '.join(options)} >&2; code=$?; echo JOURNAL; cat /tmp/journal; exit $code")

    async def sent(self, timeout: float) -> str:
        """Wait until all is sent, and return the journal."""

        def over() -> bool:
            phase: str = self.namespace.get("pod", "sender")["status"]["phase"]
            assert phase != "Failed", self.namespace.run("logs", "sender", "--tail=20")
            return phase == "Succeeded"

        await eventually(over, timeout, 1.0)
        return self.namespace.run("logs", "sender").rpartition("JOURNAL\n")[2]

    async def verdict(self, journal: str, timeout: float) -> Verdict:
        """Wait until nothing waits in the stream, and hold the journal against the table."""
        await eventually(lambda: self.redis("xlen", "sensor_stream") == "0", timeout, 1.0)
        return judge(journal, [int(float(value)) for value in self.psql("select value from sensor_data").split()])

    def wait_until_ready(self, component: str) -> None:
        """Wait until a component's pods are ready."""
        label = f"app.kubernetes.io/component={component}"
        self.namespace.run("wait", "pod", "--selector", label, "--for=condition=Ready", "--timeout=100s")


@contextmanager
def released(values: dict[str, Any], before: Callable[[str], None] = lambda _: None) -> Iterator[Release]:
    """Yield a release in a namespace of its own, and uninstall it; that the namespace's deletion ends is checked.

    `before` gets the namespace's name, to put into it what the release shall find.
    """
    try:
        helm("version")
    except LookupError:
        pytest.skip(NO_HELM)
    name = f"millrace-{uuid.uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).returncode == 0
    try:
        made = Release(Namespace(name))
        before(name)
        made.install(values)
        yield made
        made.uninstall()
    finally:
        deleted = kubectl("delete", "namespace", name, "--wait=true", "--timeout=90s")
    assert deleted.returncode == 0, deleted.stderr
