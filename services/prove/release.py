"""A release of the chart in a cluster, as its objects tell of it: pods, Services, the ways to them and its database."""

import asyncio
import base64
import contextlib
import shutil
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lightkube import AsyncClient
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod, Secret, Service

from services.local.process import adorned
from services.platform.runtime.starting import StartError
from services.platform.runtime.tasks import end

__all__ = ["Release", "ServicePort", "forwarded", "through"]

COMPONENT = "app.kubernetes.io/component"
BREAKABLE = {"ingest", "query", "worker", "operator", "redis", "timescaledb", "timescaledb-replica"}
# CloudNativePG's labels: which Cluster a pod is of, and what a server's pod is in it. A pooler's has no such part.
CLUSTER = "cnpg.io/cluster"
ROLE = "cnpg.io/instanceRole"

_FORWARD_AGAIN = 0.5


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A Service and its port."""

    service: str
    port: int


class Release:
    """What is asked about one release; every name is read from labels, none is guessed."""

    def __init__(self, client: AsyncClient, namespace: str, name: str, cluster: str | None = None) -> None:
        """Remember which one; `cluster` is the name of CloudNativePG's Cluster that is its database."""
        self._client = client
        self._labels: dict[str, Any] = {"app.kubernetes.io/instance": name}
        self.namespace = namespace
        self.name = name
        self.cluster = cluster

    async def pods(self) -> dict[str, list[Pod]]:
        """Return the pods that are not about to leave, by component and name.

        CloudNativePG's are of the components `primary`, `standby` and `pooler`.
        """
        found = defaultdict[str, list[Pod]](list)
        async for pod in self._client.list(Pod, labels=self._labels):
            if (component := _labels(pod).get(COMPONENT, "")) in BREAKABLE and _stays(pod):
                found[component].append(pod)
        if self.cluster:
            async for pod in self._client.list(Pod, labels={CLUSTER: self.cluster}):
                role = _labels(pod).get(ROLE, "pooler")
                if _stays(pod):
                    found["standby" if role == "replica" else role].append(pod)
        return {component: sorted(found[component], key=_name) for component in sorted(found)}

    async def service_port(self, component: str) -> ServicePort | None:
        """Return the Service of a component, None where it has none."""
        async for service in self._client.list(Service, labels={**self._labels, COMPONENT: component}):
            if service.spec and service.spec.ports:
                return ServicePort(_name(service), service.spec.ports[0].port)
        return None

    async def reader_url(self) -> str:
        """Return the reading role's connection as query has it.

        Raises:
            StartError: query does not tell.
            ApiError: the API server refuses.
        """
        async for query in self._client.list(Deployment, labels={**self._labels, COMPONENT: "query"}):
            spec = query.spec.template.spec
            containers = spec.containers if spec is not None else []
            for variable in [variable for container in containers for variable in container.env or []]:
                key = variable.valueFrom and variable.valueFrom.secretKeyRef
                if variable.name == "MILLRACE_DATABASE_READER_URL" and key and key.name:
                    data = (await self._client.get(Secret, key.name)).data or {}
                    return base64.b64decode(data[key.key]).decode()
        raise StartError(f"query of release {self.name} in namespace {self.namespace} has no connection from a Secret")

    async def kill(self, pod: Pod) -> None:
        """End a pod without grace. One that has a volume has a second, so that its successor never runs beside it.

        Raises:
            ApiError: the API server refuses.
        """
        owners = {owner.kind for owner in (pod.metadata and pod.metadata.ownerReferences) or []}
        await self._client.delete(
            Pod, _name(pod), grace_period=0 if owners.isdisjoint({"StatefulSet", "Cluster"}) else 1
        )

    async def evict(self, pod: Pod) -> None:
        """Ask a pod to leave, with the grace it has.

        Raises:
            ApiError: the API server refuses.
        """
        await self._client.delete(Pod, _name(pod))


def through(url: str, port: int) -> str:
    """Return a database's URL by way of a port of this machine; its certificate is for another name."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    query = "sslmode=require" if "sslmode" in parts.query else ""
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}", query=query))


@contextlib.asynccontextmanager
async def forwarded(namespace: str, service: str, port: int) -> AsyncIterator[int]:
    """Yield a port on 127.0.0.1 that leads to a pod of a Service; when that pod is gone, soon to another one.

    It is `kubectl port-forward`, started again whenever it ends.

    Raises:
        StartError: there is no kubectl.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise StartError("no kubectl on the PATH; it forwards ports into the cluster")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local: int = probe.getsockname()[1]
    command = adorned([kubectl, "port-forward", "--namespace", namespace, f"service/{service}", f"{local}:{port}"])
    task = asyncio.create_task(_forward(command))
    try:
        yield local
    finally:
        await end((task,))


async def _forward(command: list[str]) -> None:
    nothing = asyncio.subprocess.DEVNULL
    while True:
        process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
        try:
            await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await asyncio.sleep(_FORWARD_AGAIN)


def _labels(pod: Pod) -> dict[str, str]:
    return dict((pod.metadata and pod.metadata.labels) or {})


def _stays(pod: Pod) -> bool:
    return pod.metadata is not None and pod.metadata.deletionTimestamp is None


def _name(thing: Pod | Service) -> str:
    return str(thing.metadata and thing.metadata.name)
