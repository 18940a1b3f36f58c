"""One active operator: it holds a Lease and renews it; another takes over when that stands still.

As in client-go (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection) no clock is compared with another machine's:
a candidate measures for how long the Lease has not changed by its own. A holder that cannot renew stops before others
may begin. The version of the Lease makes each write a comparison, so that of two candidates one wins.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog
from lightkube import AsyncClient
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from services.platform.kubernetes import API_ERRORS, missing
from services.platform.postgres.errors import words_of
from services.platform.runtime.health import Outage
from services.platform.runtime.tasks import end

__all__ = ["lead"]

log = structlog.get_logger(__name__)

DURATION = 15
"""Seconds without a change after which a Lease is anybody's."""

DEADLINE = 10.0
"""Seconds without a renewal after which the holder stops."""

PERIOD = 2.0
"""Seconds between looks and renewals."""


async def lead(
    client: AsyncClient,
    name: str,
    identity: str,
    work: Callable[[], Coroutine[Any, Any, None]],
    standby: Callable[[], None],
) -> None:
    """Do `work` whenever this candidate holds the Lease, until cancelled; then give the Lease back.

    Args:
        client: of the Lease's namespace.
        name: of the Lease.
        identity: that no other candidate has.
        work: is cancelled when the Lease is lost, and begun anew when it is held again.
        standby: is called at each look that finds the Lease in another's hands.

    Raises:
        Exception: what `work` raises.
    """
    election = _Election(client, name, identity)
    try:
        while True:
            if await election.held():
                log.info("this operator is the active one", action="lead", lease=name, identity=identity)
                await _work_while_held(election, work)
                log.warning("another operator may be the active one now", action="lead", lease=name)
            else:
                standby()
            await asyncio.sleep(PERIOD)
    finally:
        await asyncio.shield(election.release())


async def _work_while_held(election: "_Election", work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Work until the Lease could not be renewed for `DEADLINE` seconds, which is before others may begin.

    A renewal that fails once is no loss: the Lease is still this candidate's, and nobody else takes it meanwhile. Where
    the work ends by itself, so does this, with its error.
    """
    task = asyncio.create_task(work())
    try:
        renewed = time.monotonic()
        while time.monotonic() - renewed < DEADLINE:
            await asyncio.wait((task,), timeout=PERIOD)
            if task.done():
                return task.result()
            if await election.held():
                renewed = time.monotonic()
    finally:
        await end((task,))


class _Election:
    """A candidate and the Lease as it last saw it."""

    def __init__(self, client: AsyncClient, name: str, identity: str) -> None:
        self._client, self._name, self._identity = client, name, identity
        self._seen: tuple[str, float] = ("", 0.0)
        self._outage = Outage("lease")

    async def held(self) -> bool:
        """Take or renew the Lease; tell whether that went well."""
        try:
            taken = await self._taken()
        except API_ERRORS as error:
            self._outage.lasts(f"it could not be read or renewed: {words_of(error)}")
            return False
        self._outage.over()
        return taken

    async def release(self) -> None:
        """Give the Lease back, where this candidate has it, so that the next need not wait."""
        try:
            lease = await self._client.get(Lease, self._name)
            if lease.spec and lease.spec.holderIdentity == self._identity:
                lease.spec.holderIdentity = None
                await self._client.replace(lease)
        except API_ERRORS as error:
            log.warning("the lease could not be given back; it runs out", action="lead", problem=str(error))

    async def _taken(self) -> bool:
        """Take the Lease where nobody holds it or its holder has not renewed it for long; renew it where it is ours.

        The write carries the version that was read, so that of two that read the same one is refused: a conflict is
        an error here, and counts as not held.
        """
        now = datetime.now(UTC)
        try:
            lease = await self._client.get(Lease, self._name)
        except API_ERRORS as error:
            if not missing(error):
                raise
            lease = await self._client.create(Lease(metadata=ObjectMeta(name=self._name), spec=LeaseSpec()))
        spec = lease.spec or LeaseSpec()
        if spec.holderIdentity != self._identity:
            if spec.holderIdentity and not self._stands_still(lease):
                return False
            spec.holderIdentity, spec.acquireTime = self._identity, now
            spec.leaseTransitions = (spec.leaseTransitions or 0) + 1
        spec.renewTime, spec.leaseDurationSeconds, lease.spec = now, DURATION, spec
        await self._client.replace(lease)
        return True

    def _stands_still(self, lease: Lease) -> bool:
        """Tell whether the Lease has not changed for `DURATION` seconds, by this machine's clock alone."""
        version = (lease.metadata.resourceVersion if lease.metadata else None) or ""
        if self._seen[0] != version:
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] > DURATION
