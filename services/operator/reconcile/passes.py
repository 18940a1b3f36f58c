"""A pass: list all resources of the namespace, bring the database to them, report. Passes follow each other.

A pass begins when something changed and at the latest after the interval, and starts from nothing but what the API
server and the database say then. So it does not matter which events were missed, or how many came meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any

import asyncpg
from lightkube import AsyncClient

from services.platform.kubernetes import API_ERRORS
from services.platform.postgres.errors import DATABASE_AWAY, DatabaseRefusedError, words_of
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import reconcile_seconds
from services.platform.runtime.retry import pauses
from services.platform.runtime.telemetry import tracer
from services.platform.settings import Settings

from ..cluster.defaults import make_defaults
from ..cluster.kinds import ContinuousAggregate, Found, Hypertable, Schema, listed, remove_annotation
from ..planning.aggregate import REBUILD
from ..refusals import Reason, Refusal
from ..specs.resources import DeletionPolicy
from ..status.conditions import condition
from ..status.events import tell
from ..status.reports import REBUILDING, schema_report
from ..status.writer import StatusWriter
from .background import Background
from .dropping import Owned, drop_gone, remember
from .errors import away, refused
from .objects import Objects, Outcome, by_depth, conflicts
from .schema import SchemaKeeper

__all__ = ["Reconciler"]

Reconcile = Callable[[Found], Awaitable[Outcome]]

CALM = 0.2
"""Seconds between a change and the pass it causes, so that a burst of changes causes few."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""Seconds until the next pass while the API server or the database is away; each pause is twice the last."""


class Reconciler:
    """The loop of passes, for as long as this operator is the active one."""

    def __init__(
        self, client: AsyncClient, settings: Settings, defaults: Sequence[dict[str, Any]], health: Health
    ) -> None:
        """Begin with nothing known.

        Args:
            client: of the namespace to look after.
            settings: of which the database's hold for all that is no connection.
            defaults: resources that are made first where they are absent.
            health: hears about its parts "cluster" and "database".
        """
        self._defaults = defaults
        self._client, self._health, self._interval = client, health, settings.operator.interval
        self._woken = asyncio.Event()
        self.keeper = SchemaKeeper(client, settings.database)
        self._background = Background(self.wake)
        self._tier = bool(settings.tier.location)
        self._status = StatusWriter(client)
        self._undropped: set[str] = set()

    def wake(self) -> None:
        """Let the next pass begin."""
        self._woken.set()

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while True:
                self._health.beat()
                began = time.monotonic()
                with tracer.start_as_current_span("reconcile"):
                    well = await self._survived()
                reconcile_seconds.record(time.monotonic() - began)
                if well:
                    waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
                    await self._rest(self._interval)
                else:
                    await asyncio.sleep(next(waits))
        finally:
            await self._background.stop()
            self.keeper.lost()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
            await asyncio.sleep(CALM)
        self._woken.clear()

    async def _survived(self) -> bool:
        try:
            well = await self._pass()
        except API_ERRORS as error:
            problem = f"the API server is away or refuses: {words_of(error)}"
            self._health.lacks("cluster", problem)
            return False
        self._health.has("cluster")
        return well

    async def _pass(self) -> bool:
        """List, reconcile, report; return whether the database could be worked on.

        The first Schema is the namespace's; others are refused. Where it cannot be had, every other resource says why
        too: what was said of it before may no longer be so.
        """
        await make_defaults(self._client, self._defaults)
        self._defaults = ()
        schemas = await listed(self._client, Schema)
        tables, aggregates = await listed(self._client, Hypertable), await listed(self._client, ContinuousAggregate)
        for other in schemas[1:]:
            why = f"the Schema {schemas[0].name} is the one of this namespace; use another namespace"
            await self._status.refuse(other, Refusal(Reason.ANOTHER_SCHEMA, why))
        try:
            await self._reconcile(schemas[:1], tables, aggregates)
        except Refusal as why:
            self._health.lacks("database", why.message)
            for one in schemas[:1]:
                await self._status.refuse(one, why)
            behind = Refusal(why.reason, why.message, unknown=True)
            for one in (*tables, *aggregates):
                await self._status.refuse(one, behind)
            return not schemas
        self._health.has("database")
        return True

    async def _reconcile(self, schemas: list[Found], tables: list[Found], aggregates: list[Found]) -> None:
        """Bring the database to the resources: the schema, then tables, aggregates behind their sources, deletions.

        Raises:
            Refusal: the database cannot be worked on; what is wrong with one object alone is reported to it.
        """
        if not schemas:
            self.keeper.lost()
            why = "no Schema in this namespace names the database; make one"
            raise Refusal(Reason.NO_SCHEMA, why, unknown=True)
        [schema] = schemas
        connection, status, did = await self.keeper.keep(schema)
        settings, capability = await self.keeper.database()
        await self._status.write(schema, schema_report(status), did)
        objects = Objects(connection, capability, settings, self._background, tier=self._tier)
        twice = conflicts(tables, "table") | conflicts(aggregates, "name")
        try:
            for found in tables:
                await self._one(found, twice.get(found.uid), objects.hypertable)
            for found in by_depth(aggregates):
                await self._one(found, twice.get(found.uid), objects.aggregate)
            await self._deletions(connection, schema, [*tables, *aggregates], twice)
        except DATABASE_AWAY as error:
            self.keeper.lost()
            raise away(error) from None
        except DatabaseRefusedError as error:
            raise refused(error) from None

    async def _deletions(
        self, connection: asyncpg.Connection, schema: Found, objects: list[Found], twice: Container[str]
    ) -> None:
        """Note what is to go with its resource, and drop what is left of resources that are gone.

        Of two resources that describe one object only the first has a say. An object that cannot be dropped is told
        once, not at each pass.
        """
        living = [_owned(one) for one in objects]
        first = [one for one in objects if one.uid not in twice]
        goes = [_owned(one) for one in first if one.spec.get("deletionPolicy") == DeletionPolicy.DELETE]
        await remember(connection, schema.uid, goes, [_owned(one) for one in first if _owned(one) not in goes])
        problems = {str(problem) for problem in await drop_gone(connection, schema.uid, living)}
        for problem in sorted(problems - self._undropped):
            await tell(self._client, schema, "DropRefused", problem, warning=True)
        self._undropped = problems

    async def _one(self, found: Found, conflict: Refusal | None, reconcile: Reconcile) -> None:
        """Bring one object to its resource; what the database refuses of it does not keep the others from theirs."""
        try:
            if conflict:
                raise conflict
            report, did = await reconcile(found)
        except Refusal as why:
            await self._status.refuse(found, why)
        except DATABASE_AWAY:
            raise
        except DatabaseRefusedError as error:
            await self._status.refuse(found, refused(error))
        else:
            if _rebuilding(found) and report.conditions["Progressing"].reason != REBUILDING:
                # Consent is to one rebuild; before the status, for only that tells that there was one.
                await remove_annotation(self._client, found, REBUILD)
                await tell(self._client, found, "Rebuilt", "the new aggregate has taken the old one's place")
            await self._status.write(found, report, did)


def _rebuilding(found: Found) -> bool:
    return condition(found.status, "Progressing").get("reason") == REBUILDING


def _owned(found: Found) -> Owned:
    kind = found.kind.__name__
    return kind, str(found.spec.get("table" if kind == "Hypertable" else "name")), found.uid
