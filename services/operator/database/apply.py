"""Read, compare, alter: one transaction under one lock, so that two operators cannot both add a policy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from services.platform.postgres import DATABASE_AWAY, Capability

from ..planning.hypertable import plan_hypertable
from ..planning.plan import Plan
from ..planning.steps import Step
from ..resources import HypertableSpec
from .inspect import inspect_table

__all__ = ["RECONCILE_LOCK", "ReconcileError", "reconcile_hypertable"]

log = structlog.get_logger(__name__)

RECONCILE_LOCK = 0x6D696C6C_72656300
"""Key of the advisory lock that a reconciliation holds."""

# A change of a table waits for everybody who uses it, and everybody who comes later waits behind the change.
PRELUDE = """
set local lock_timeout = '5s';
set local intervalstyle = 'postgres';
set local search_path = public, pg_temp;
"""


class ReconcileError(Exception):
    """The database refuses a step, and nothing of the plan was applied; the message says which and why."""


async def reconcile_hypertable(connection: asyncpg.Connection, spec: HypertableSpec, capability: Capability) -> Plan:
    """Bring a hypertable to `spec` and return the plan that was applied: no steps where it was so already.

    Args:
        connection: the owner's, outside a transaction.
        spec: what is wanted.
        capability: of the connection's database.

    Raises:
        ReconcileError: the database refuses, or somebody holds the table for long.
        DATABASE_AWAY: the connection is lost; the plan was applied whole or not at all.
    """
    async with reconciling(connection):
        plan = plan_hypertable(spec, await inspect_table(connection, spec.table, capability), capability)
        for step in plan.steps:
            await run(connection, step)
    return plan


@asynccontextmanager
async def reconciling(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the lock of a reconciliation in a transaction.

    Raises:
        ReconcileError: the database refuses something in it.
    """
    try:
        async with connection.transaction():
            await connection.execute(PRELUDE)
            await connection.execute("select pg_advisory_xact_lock($1)", RECONCILE_LOCK)
            yield
    except DATABASE_AWAY:
        raise
    except asyncpg.PostgresError as error:
        raise ReconcileError(f"the database refuses: {error}") from error


async def run(connection: asyncpg.Connection, step: Step) -> None:
    """Run one step.

    Raises:
        ReconcileError: the database refuses it.
    """
    try:
        await connection.execute(step.sql)
    except DATABASE_AWAY:
        raise
    except asyncpg.PostgresError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise ReconcileError(f"{step}: {error.message}{hint}") from error
    log.info("database changed", action="reconcile", step=str(step))
