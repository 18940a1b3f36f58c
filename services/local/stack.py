"""The stack as one thing: started from the ground up, kept alive, stopped from the top down."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import httpx

from services.database.schema.apply import Applied, SchemaError, apply, bootstrap
from services.platform.runtime.starting import StartError

from .guards import check_ports
from .plan import Plan
from .process import end_strays
from .service import ServiceProcess
from .supervisor import Part, supervise

__all__ = ["Stack"]

READY_WITHIN = 60.0
RESTART_GRACE = 1.0


class Stack:
    """The servers and services of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._supervisors: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> Applied:
        """Start everything and wait until all of it is ready; return what was done to the database.

        Raises:
            StartError: something cannot start, or is not ready within a minute; the message says why.
        """
        plan = self.plan
        await asyncio.gather(
            end_strays(plan.valkey.folder, "valkey-server"),
            *(end_strays(server.folder, "postgres") for server in plan.databases),
        )
        check_ports(plan.ports)
        await asyncio.gather(plan.valkey.start(), *(server.start() for server in plan.databases))
        if plan.cluster:
            await plan.cluster.unite("sensors")
        applied = await self.apply_schema()
        for service in plan.services:
            await service.start()
        await _wait_ready(plan.services)
        for part in plan.parts:
            self._keep(part)
        return applied

    async def apply_schema(self) -> Applied:
        """Bring the database to the schema in sql/.

        Raises:
            StartError: it refuses.
        """
        database = self.plan.settings.database
        try:
            await bootstrap(self.plan.postgres.superuser_url, database)
            return await apply(database)
        except SchemaError as error:
            raise StartError(str(error)) from error

    async def restart(self, services: Sequence[ServiceProcess]) -> None:
        """Stop and start some services and wait until they are ready; what they had in hand is redone.

        Raises:
            StartError: one is not ready.
        """
        await asyncio.gather(*(self._forget(service) for service in services))
        await asyncio.gather(*(service.stop(RESTART_GRACE) for service in services))
        await asyncio.gather(*(service.start() for service in services))
        try:
            await _wait_ready(services)
        finally:
            for service in services:
                self._keep(service)

    async def stop(self) -> None:
        """Stop everything: no new readings, workers drained, then questions, then the servers."""
        plan = self.plan
        for part in plan.parts:
            await self._forget(part)
        await asyncio.gather(*(service.cool_down() for service in plan.services))
        for workloads in ({"ingest"}, {"worker"}, {"query", "repair"}):
            await asyncio.gather(*(each.stop() for each in plan.services if each.workload in workloads))
        await asyncio.gather(plan.valkey.stop(), *(server.stop() for server in plan.databases))

    def hurry(self) -> None:
        """Kill the services where they stand; their unfinished work is redone at the next start."""
        for service in self.plan.services:
            service.kill()

    def _keep(self, part: Part) -> None:
        self._supervisors[part.name] = asyncio.create_task(supervise(part))

    async def _forget(self, part: Part) -> None:
        supervisor = self._supervisors.pop(part.name, None)
        if supervisor:
            supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor


async def _wait_ready(services: Sequence[ServiceProcess]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    async with httpx.AsyncClient(timeout=5.0) as client:
        for service in services:
            while problem := await _problem(client, service):
                if not service.running:
                    raise StartError(f"{service.name} ended at once; its lines above say why")
                if time.monotonic() > deadline:
                    raise StartError(f"{service.name} is not ready after {READY_WITHIN:g} s: {problem}")
                await asyncio.sleep(0.05)


async def _problem(client: httpx.AsyncClient, service: ServiceProcess) -> str | None:
    try:
        answer = await client.get(f"{service.url}/readyz")
    except httpx.TransportError:
        return "it does not answer; its lines above say why"
    if answer.status_code == 200:
        return None
    return "; ".join(f"{part}: {why}" for part, why in answer.json()["reasons"].items())
