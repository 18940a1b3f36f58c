"""A real Kubernetes API server, by kubectl, and the operator as a process beside it."""

import base64
import json
import os
import subprocess
from typing import Any

import yaml

from services import __version__
from services.platform.settings import DatabaseSettings, RedisSettings, Settings

from .patience import eventually, free_port
from .service import ROOT

__all__ = ["IMAGE", "K8S", "Namespace", "kubectl", "operator_settings"]

K8S = ROOT / "k8s"

IMAGE = os.environ.get("MILLRACE_IMAGE", f"millrace:{__version__}")
"""The image that the cluster has."""

PATIENCE = 60.0
"""Seconds in which the operator must put right or report whatever it is."""


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl against the cluster of KUBECONFIG, which must be named: never whatever is the default."""
    assert os.environ.get("KUBECONFIG"), "KUBECONFIG must name the cluster of the tests"
    return subprocess.run(
        ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def operator_settings(redis: RedisSettings, namespace: str, **changed: Any) -> Settings:
    """Return settings for an operator of a namespace that notices changes by hand within two seconds."""
    settings = Settings(redis=redis)
    own = {"host": "127.0.0.1", "port": free_port(), "liveness_port": free_port(), "namespace": namespace}
    return settings.model_copy(
        update={"operator": settings.operator.model_copy(update={**own, "interval": 2.0, **changed})}
    )


class Namespace:
    """A namespace of a test, and what is asked about it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in this namespace and return what it wrote; it must go well."""
        done = kubectl("--namespace", self.name, *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def secret(self, settings: DatabaseSettings, admin_url: str | None = None) -> None:
        """Make or change the Secret with the connections of a database."""
        urls = {
            "owner-url": settings.owner_url.get_secret_value(),
            "writer-url": settings.writer_url.get_secret_value(),
            "reader-url": settings.reader_url.get_secret_value(),
        }
        if admin_url:
            urls["admin-url"] = admin_url
        data = {key: base64.b64encode(url.encode()).decode() for key, url in urls.items()}
        self.make({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "millrace-database"}, "data": data})

    def make(self, *resources: dict[str, Any]) -> None:
        """Apply resources."""
        self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(resources))

    def example(self, *names: str) -> None:
        """Apply files of k8s/examples."""
        for name in names:
            self.run("apply", "-f", str(K8S / "examples" / f"{name}.yaml"))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return a resource."""
        found: dict[str, Any] = json.loads(self.run("get", kind, name, "--output=json"))
        return found

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> None:
        """Merge a change into a resource."""
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def events(self, reason: str) -> list[str]:
        """Return the messages of all events of a reason."""
        found = json.loads(self.run("get", "events", "--output=json"))["items"]
        return [event["message"] for event in found if event["reason"] == reason]

    def condition(self, kind: str, name: str, type_: str = "Ready") -> dict[str, Any]:
        """Return a condition about the present generation of a resource, empty where there is none yet."""
        found = self.get(kind, name)
        now = found["metadata"]["generation"]
        conditions = found.get("status", {}).get("conditions", [])
        wanted = (one for one in conditions if one["type"] == type_ and one["observedGeneration"] == now)
        return next(wanted, {})

    async def ready(self, kind: str, name: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until a resource is Ready as it is described now, and return it."""
        await self.reason(kind, name, "True", None, timeout)
        return self.get(kind, name)

    async def reason(
        self, kind: str, name: str, status: str, reason: str | None, timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until the condition Ready has this status and reason, and return it."""

        def so() -> dict[str, Any]:
            now = self.condition(kind, name)
            return now if now.get("status") == status and reason in {None, now.get("reason")} else {}

        try:
            return await eventually(so, timeout, 0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.condition(kind, name)}") from None
