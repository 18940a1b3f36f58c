"""One resource against the database: what is desired, what was done for it, what there is to report."""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import TypeVar

import asyncpg
from pydantic import ValidationError

from services.database.aggregates.status import HypertableStatus, aggregate_status, hypertable_status
from services.database.partitions.upkeep import finite
from services.platform.postgres.capability import Capability
from services.platform.settings import DatabaseSettings

from ..cluster.kinds import Found
from ..planning.aggregate import REBUILD
from ..planning.steps import Plan
from ..refusals import Reason, Refusal, invalid
from ..specs.resources import ContinuousAggregateSpec, HypertableSpec, Resource
from ..status.reports import Report, aggregate_report, hypertable_report
from .apply import fill_aggregate, reconcile_aggregate, reconcile_hypertable
from .background import Background, Work
from .rebuild import drop_leftovers, rebuild_aggregate

__all__ = ["Objects", "by_depth", "conflicts"]

Spec = TypeVar("Spec", bound=Resource)

NO_TIER = "no chunk goes to the tier: set MILLRACE_TIER_LOCATION, in the chart config.tier.location, for the operator"
"""What a resource is told that has a `tier`, where nobody said where files shall lie."""

Outcome = tuple[Report, tuple[str, ...]]
"""What to report, and the steps that were applied."""


class Objects:
    """The hypertables and continuous aggregates of one database, for one pass."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        capability: Capability,
        settings: DatabaseSettings,
        background: Background,
        *,
        tier: bool,
    ) -> None:
        """Take what they are brought to their resources by; `tier`: whether files of the cold tier have a place."""
        self._connection, self._capability = connection, capability
        self._settings, self._background, self._tier = settings, background, tier

    async def hypertable(self, found: Found) -> Outcome:
        """Bring a hypertable to its resource.

        Raises:
            Refusal: nothing was applied.
            DATABASE_AWAY: the connection is lost.
        """
        spec = _parsed(HypertableSpec, found)
        plan = await _applied(reconcile_hypertable(self._connection, spec, self._capability))
        if spec.tier and not self._tier:
            plan = replace(plan, unsupported=(*plan.unsupported, NO_TIER))
        return hypertable_report(plan, await self._status(spec.table)), tuple(map(str, plan.steps))

    async def _status(self, table: str) -> HypertableStatus | None:
        if self._capability.timescaledb:
            return await hypertable_status(self._connection, table)
        if self._capability.spread and table == "sensor_data":
            return HypertableStatus(len(await finite(self._connection)), 0, {})
        return None

    async def aggregate(self, found: Found) -> Outcome:
        """Bring a continuous aggregate to its resource; what takes long goes on in the background.

        Raises:
            Refusal: nothing was applied.
            DATABASE_AWAY: the connection is lost.
        """
        spec = _parsed(ContinuousAggregateSpec, found)
        if self._capability.edition != "full":
            plan = await _applied(reconcile_aggregate(self._connection, spec, self._capability))
            return aggregate_report(plan, None, None), ()
        consent = found.annotations.get(REBUILD) == "true"
        plan = await _applied(self._aggregate(spec, consent=consent))
        problem = (
            self._background.offer(spec.name, self._settings, self._work(spec, plan)) if _takes_long(plan) else None
        )
        status = await aggregate_status(self._connection, spec.name)
        return aggregate_report(plan, status, problem), tuple(map(str, plan.steps))

    async def _aggregate(self, spec: ContinuousAggregateSpec, *, consent: bool) -> Plan:
        """Apply a plan, and end what an earlier spec began: work under way, and what it left half built."""
        plan = await reconcile_aggregate(self._connection, spec, self._capability, rebuild=consent)
        if not _takes_long(plan):
            await self._background.withdraw(spec.name)
        if not plan.rebuild:
            await drop_leftovers(self._connection, spec)
        return plan

    def _work(self, spec: ContinuousAggregateSpec, plan: Plan) -> Work:
        async def rebuild(connection: asyncpg.Connection, guard: asyncpg.Connection) -> Refusal | None:
            return await rebuild_aggregate(connection, guard, spec, self._capability)

        async def fill(connection: asyncpg.Connection, guard: asyncpg.Connection) -> Refusal | None:
            await fill_aggregate(connection, guard, spec.name)
            return None

        return rebuild if plan.rebuild else fill


def conflicts(found: Sequence[Found], field: str) -> dict[str, Refusal]:
    """Return, by uid, why a resource cannot have the name in its spec's `field`: an older one, earlier in the list."""
    first: dict[str, Found] = {}
    refusals = {}
    for one in found:
        name = str(one.spec.get(field))
        older = first.setdefault(name, one)
        if older is not one:
            why = f"{older.kind.__name__} {older.name} describes {name} already; delete one of the two"
            refusals[one.uid] = Refusal(Reason.CONFLICT, why)
    return refusals


def by_depth(aggregates: Sequence[Found]) -> list[Found]:
    """Return aggregates so that each stands behind the one it is made of."""
    sources = {str(one.spec.get("name")): str(one.spec.get("source", {}).get("aggregate")) for one in aggregates}

    def depth(one: Found) -> int:
        name, seen = str(one.spec.get("name")), set[str]()
        while name in sources and name not in seen:
            seen.add(name)
            name = sources[name]
        return len(seen)

    return sorted(aggregates, key=depth)


def _parsed(model: type[Spec], found: Found) -> Spec:
    try:
        return model.model_validate(found.spec)
    except ValidationError as error:
        raise invalid(error) from None


async def _applied(reconciling: Awaitable[Plan]) -> Plan:
    """Return the plan that was applied; its refusals are raised as one, by the first's reason."""
    plan = await reconciling
    if plan.refusals:
        message = "; ".join(refusal.message for refusal in plan.refusals)
        raise Refusal(plan.refusals[0].reason, message)
    return plan


def _takes_long(plan: Plan) -> bool:
    return plan.fill or plan.rebuild
