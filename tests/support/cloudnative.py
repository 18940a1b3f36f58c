"""A database by CloudNativePG: the project's manifest on small volumes, its primary, and what may befall it."""

import functools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from .cluster import K8S, Namespace, kubectl
from .patience import eventually
from .release import Release

__all__ = ["NO_CLOUDNATIVE", "CloudNative", "CloudNativeRelease", "has_cloudnative"]

NO_CLOUDNATIVE = "CloudNativePG is not in the cluster: it has no clusters.postgresql.cnpg.io"

NAME = "sensors"
"""Of the Cluster in k8s/cloudnative-pg.yaml."""

_KIND = "clusters.postgresql.cnpg.io"
_HEALTHY_WITHIN = 300.0


def has_cloudnative() -> bool:
    """Tell whether the cluster knows CloudNativePG's kinds."""
    return kubectl("get", "crd", _KIND).returncode == 0


class CloudNative:
    """The Cluster of the project's manifest in a namespace, once it was applied."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._leaving: set[str] = set()

    @staticmethod
    def manifest() -> str:
        """Return the project's manifest, with volumes that a test's node has room for."""
        found = list(yaml.safe_load_all((K8S / "cloudnative-pg.yaml").read_text()))
        for each in found:
            if each["kind"] == "Cluster":
                each["spec"]["storage"]["size"] = "2Gi"
        return yaml.safe_dump_all(found)

    def status(self) -> dict[str, Any]:
        """Return what CloudNativePG says of the Cluster, empty at its beginning."""
        found: dict[str, Any] = self._namespace.get(_KIND, NAME).get("status", {})
        return found

    @property
    def primary(self) -> str:
        """The pod of the primary."""
        name: str = self.status()["currentPrimary"]
        return name

    @property
    def standbys(self) -> list[str]:
        """The pods of the others."""
        status = self.status()
        return [name for name in status["instanceNames"] if name != status["currentPrimary"]]

    @property
    def poolers(self) -> list[str]:
        """The pods of its pooler."""
        return [pod["metadata"]["name"] for pod in self._pods("pooler")]

    @property
    def pooler_addresses(self) -> list[str]:
        """The addresses that the pooler's connections come from."""
        return [pod["status"]["podIP"] for pod in self._pods("pooler")]

    async def healthy(self) -> None:
        """Wait until three servers serve, none of which was told to leave, and nothing is under way."""

        def so() -> bool:
            status, there = self.status(), self._pods("instance")
            ready = {
                pod["metadata"]["uid"]
                for pod in there
                for condition in pod["status"].get("conditions", [])
                if condition["type"] == "Ready" and condition["status"] == "True"
            }
            whole = len(there) == len(ready - self._leaving) == status.get("readyInstances") == 3
            quiet = status.get("phase") == "Cluster in healthy state"
            return whole and quiet and status["currentPrimary"] == status["targetPrimary"]

        await eventually(so, _HEALTHY_WITHIN, 0.5)

    def _pods(self, role: str) -> list[dict[str, Any]]:
        label = f"cnpg.io/cluster={NAME},cnpg.io/podRole={role}"
        found = self._namespace.run("get", "pods", "--selector", label, "--output=json")
        return list(json.loads(found)["items"])

    def _tell_to_leave(self, pods: Sequence[str], *how: str) -> None:
        self._leaving |= {self._namespace.get("pod", pod)["metadata"]["uid"] for pod in pods}
        self._namespace.run("delete", "pod", *pods, *how)

    async def led_by_another(self, than: str) -> None:
        """Wait until another pod than this one is the primary."""
        await eventually(lambda: self.status()["currentPrimary"] != than, _HEALTHY_WITHIN, 0.5)

    def kill(self, *pods: str) -> None:
        """Delete pods, all at once and with no grace."""
        self._tell_to_leave(pods, "--grace-period=0", "--force")

    def delete(self, pod: str) -> None:
        """Ask a pod to leave, with the grace it has."""
        self._tell_to_leave([pod], "--wait=false")

    def lose(self, pod: str) -> None:
        """Take a server's pod and its volume claim away, as a lost node with a local disk does."""
        self._namespace.run("delete", "pvc", pod, "--wait=false")
        self.kill(pod)

    def switch_over(self) -> None:
        """Ask for another primary, as `kubectl cnpg promote` does."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        change = {
            "targetPrimary": self.standbys[0],
            "targetPrimaryTimestamp": now,
            "phase": "Switchover in progress",
            "phaseReason": f"Switching over to {self.standbys[0]}",
        }
        patch = json.dumps({"status": change})
        self._namespace.run("patch", _KIND, NAME, "--subresource=status", "--type=merge", f"--patch={patch}")

    def set_parameter(self, name: str, value: str) -> None:
        """Change a parameter of all servers; where it needs a restart, they are rolled."""
        self._namespace.patch(_KIND, NAME, {"spec": {"postgresql": {"parameters": {name: value}}}})


class CloudNativeRelease(Release):
    """A release whose database is CloudNativePG's."""

    @functools.cached_property
    def database(self) -> CloudNative:
        """The database."""
        return CloudNative(self.namespace)

    def psql(self, statement: str, pod: str = "", database: str = "sensors") -> str:
        """Run a statement on a server as superuser, on the primary where no `pod` is said, and return what it says."""
        command = ["psql", "-XqAt", "-U", "postgres", "-d", database, "-c", statement]
        at = pod or self.database.primary
        return self.namespace.run("exec", at, "--container", "postgres", "--", *command).strip()
