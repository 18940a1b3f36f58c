"""`millrace run operator`: looks after one namespace, by one active process at a time.

kopf runs the process and only watches: `handlers` says why. The holder of the Lease acts, by five loops beside each
other: passes, which bring the database to the resources (`reconcile`); autoscaling; and, on the database that the
passes found, repair of late ranges, deletions and the filling of the catalogue, which are the same loops as on one
machine (`database.repair`).
"""

import asyncio
import contextlib
import socket
import uuid

import kopf
import uvloop
from lightkube import AsyncClient
from lightkube.core.exceptions import ConfigError

from services.database.partitions.loop import PartitionLoop
from services.database.repair.catalogue import CatalogueLoop
from services.database.repair.deletions import DeletionLoop
from services.database.repair.loop import RepairLoop, repair_health
from services.database.tier.loop import TierLoop
from services.platform.http.serving import health_app, serving
from services.platform.kubernetes import API_ERRORS, connect
from services.platform.postgres.errors import words_of
from services.platform.runtime.health import Health
from services.platform.runtime.starting import StartError
from services.platform.runtime.tasks import end, fail_fast
from services.platform.settings import Settings

from .autoscaling.loop import Autoscaling
from .cluster.defaults import read_defaults
from .cluster.kinds import GROUP, KINDS, VERSION, listed
from .cluster.lease import lead
from .handlers import configured, registry
from .reconcile import Reconciler

__all__ = ["run_operator"]

LEASE = "millrace-operator"

DEFINITIONS_PATIENCE = 60.0
"""Seconds to wait at the start for an API server that defines the resources."""

STUCK_AFTER = 300.0
"""Seconds without a pass or a look at the autoscalers after which the process is unhealthy."""


def run_operator(settings: Settings) -> None:
    """Look after a namespace until SIGTERM or SIGINT.

    Raises:
        StartError: a port is taken, the configuration is wrong, or there is no API server with the definitions.
    """
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(_Operator(settings).run())


class _Operator:
    """The process: its parts, and what they share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._defaults = read_defaults(settings.operator.resources) if settings.operator.resources else []
        self._identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._health = Health("cluster", "database", stuck_after=STUCK_AFTER)
        self._scaling_health = Health(stuck_after=STUCK_AFTER)
        self._repair_health = repair_health(settings)
        self._leading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve health at once, wait for the API server, then hand over to kopf, which calls `_start` and `_stop`."""
        own = self._settings.operator
        app = health_app("Millrace operator", self._health)
        async with serving(app, own.host, own.port, "MILLRACE_OPERATOR_PORT"):
            self._client = await self._connected(own.namespace)
            reconciler = Reconciler(self._client, self._settings, self._defaults, self._health)
            repair = RepairLoop(self._settings.repair, self._repair_health, reconciler.keeper.database)
            deletions = DeletionLoop(self._settings.repair, self._repair_health, reconciler.keeper.database)
            catalogue = CatalogueLoop(self._settings.repair, self._repair_health, reconciler.keeper.database)
            partitions = PartitionLoop(self._repair_health, reconciler.keeper.database)
            tier = TierLoop(self._settings.tier, self._repair_health, reconciler.keeper.database)
            scaling = Autoscaling(self._client, self._settings.redis, self._scaling_health)
            self._parts = (reconciler, repair, deletions, catalogue, partitions, tier, scaling)
            loops = {"passes": self._health, "autoscaling": self._scaling_health, "repair": self._repair_health}
            await kopf.operator(
                registry=registry(reconciler.wake, self._start, self._stop, loops),
                settings=configured(),
                standalone=True,
                # Else kopf asks for the user's name, which an arbitrary id has not.
                identity=self._identity,  # type: ignore[arg-type] # a NewType that kopf keeps to itself
                namespaces=[self._client.namespace],
                liveness_endpoint=f"http://{own.host}:{own.liveness_port}/healthz",
            )

    async def _connected(self, namespace: str | None) -> AsyncClient:
        """Return a client of an API server that knows the kinds.

        Raises:
            StartError: there is none, or it does not for a long time.
        """
        problem: str | None = None
        try:
            client = connect(namespace)
            async with asyncio.timeout(DEFINITIONS_PATIENCE):
                while problem := await _undefined(client):
                    self._health.lacks("cluster", problem)
                    await asyncio.sleep(2)
        except ConfigError as error:
            raise StartError(f"there is neither a service account nor a kubeconfig: {error}") from None
        except TimeoutError:
            raise StartError(f"{problem}; apply k8s/crds and see what this account may do") from None
        return client

    async def _start(self) -> None:
        self._leading = fail_fast(lead(self._client, LEASE, self._identity, self._act, self._standby))

    async def _stop(self) -> None:
        if self._leading:
            await end((self._leading,))
        await self._client.aclose()

    def _standby(self) -> None:
        """Count as ready: this one is there to take over."""
        for part in ("cluster", "database"):
            self._health.has(part)

    async def _act(self) -> None:
        """Run all loops while the Lease is held; an error that one does not handle ends them all, and the process."""
        async with asyncio.TaskGroup() as parts:
            for part in self._parts:
                parts.create_task(part.run())


async def _undefined(client: AsyncClient) -> str | None:
    for name, kind in KINDS.items():
        try:
            await listed(client, kind)
        except API_ERRORS as error:
            return f"{name} of {GROUP}/{VERSION} cannot be listed: {words_of(error)}"
    return None
