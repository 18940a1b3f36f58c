"""A release of the chart on a real cluster: installed by Helm, loaded from inside, held against a journal."""

import json
import shlex
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from .chart import CHART, NO_HELM, helm
from .cluster import IMAGE, Namespace, kubectl
from .oracle import Verdict, judge
from .patience import eventually

__all__ = ["Release", "released", "released_as"]

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


R = TypeVar("R", bound="Release")


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

    def load(self, *options: str) -> None:
        """Begin to send made readings for ever, with keys and patience, and keep a journal until `unload`."""
        start = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        send = f"millrace send --rows {10**12} --start {start} --step 0.001 --url http://millrace-ingest:8000"
        how = f"--patience 300 --journal /tmp/journal {' '.join(options)}"
        wait = "sender=$!; while [ ! -e /tmp/enough ]; do sleep 0.2; done; kill $sender; wait $sender"
        # The shell's own word about the end must not get between the journal's lines.
        self.run("sender", f"exec 2>/dev/null; {send} {how} >/dev/null & {wait}; echo JOURNAL; cat /tmp/journal")

    async def unload(self) -> str:
        """End what `load` began, and return the journal: it has what was sent, and what was answered by now."""
        self.namespace.run("exec", "sender", "--", "touch", "/tmp/enough")
        journal = await self.sent(60)
        self.namespace.run("delete", "pod", "sender")
        return journal

    async def watch(self) -> None:
        """Begin to ask and to send a reading at a time, and note how long each waits for a good answer."""
        source = shlex.quote(Path(__file__).with_name("waits.py").read_text())
        self.run("watcher", f"python -c {source} http://millrace-ingest:8000 http://millrace-query:8001")
        await eventually(lambda: "watching" in self.log("watcher"), 100, 0.5)

    async def waits(self) -> dict[str, float]:
        """End what `watch` began, and return the longest waits in seconds: a question, and both kinds of sending."""
        self.namespace.run("exec", "watcher", "--", "touch", "/tmp/enough")
        await eventually(lambda: self.namespace.get("pod", "watcher")["status"]["phase"] == "Succeeded", 60, 0.5)
        longest: dict[str, float] = json.loads(self.log("watcher").splitlines()[-1])
        self.namespace.run("delete", "pod", "watcher")
        return longest

    def log(self, pod: str) -> str:
        """Return what a pod has said, nothing before it runs."""
        return kubectl("--namespace", self.namespace.name, "logs", pod).stdout

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
        stored = self.psql("select value from sensor_data where sensor_id like 'sensor-%'").split()
        return judge(journal, [int(float(value)) for value in stored])

    def wait_until_ready(self, component: str) -> None:
        """Wait until a component's pods are ready."""
        label = f"app.kubernetes.io/component={component}"
        self.namespace.run("wait", "pod", "--selector", label, "--for=condition=Ready", "--timeout=100s")


@contextmanager
def released(values: dict[str, Any], before: Callable[[str], None] = lambda _: None) -> Iterator[Release]:
    """Yield a release in a namespace of its own, and uninstall it; that the namespace's deletion ends is checked.

    `before` gets the namespace's name, to put into it what the release shall find.
    """
    with released_as(Release, values, before) as made:
        yield made


@contextmanager
def released_as(kind: type[R], values: dict[str, Any], before: Callable[[str], None]) -> Iterator[R]:
    """Do the same for a kind of release."""
    try:
        helm("version")
    except LookupError:
        pytest.skip(NO_HELM)
    name = f"millrace-{uuid.uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).returncode == 0
    try:
        made = kind(Namespace(name))
        before(name)
        made.install(values)
        yield made
        made.uninstall()
    finally:
        deleted = kubectl("delete", "namespace", name, "--wait=true", "--timeout=90s")
    assert deleted.returncode == 0, deleted.stderr
