"""`millrace up --reload`: a changed file restarts the services that hold it."""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import structlog
from watchfiles import awatch

import services
from services.platform.runtime.starting import StartError

from .stack import Stack

__all__ = ["affected", "follow_changes"]

log = structlog.get_logger(__name__)

ROOT = Path(services.__file__).parents[1]
WORKLOADS = {"ingest": "ingest", "worker": "worker", "query": "query", "database": "repair"}
"""What each part's change restarts."""

APART = {"local", "operator", "prove", "sender"}
"""Parts that no service of the stack holds."""


async def follow_changes(stack: Stack) -> None:
    """Watch services/ and sql/ for ever, restart what a change touches and apply changed SQL."""
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    await _warm_up(stack)
    async for changes in awatch(ROOT / "services", ROOT / "sql", step=20):
        paths = [Path(path).relative_to(ROOT) for _, path in changes]
        if any(path.parts[0] == "sql" for path in paths):
            await _apply(stack)
        workloads = affected(paths)
        began = time.monotonic()
        touched = [service for service in stack.plan.services if service.workload in workloads]
        try:
            await stack.restart(touched)
        except StartError as error:
            log.error(str(error), action="reload")
            continue
        await _warm_up(stack)
        for service in touched:
            log.info("restarted", action="reload", part=service.name, seconds=round(time.monotonic() - began, 2))


def affected(paths: Iterable[Path]) -> set[str]:
    """Return the workloads that a change of `paths`, relative to the root, touches.

    What stands below all services (contract, platform, cli) touches each of them; what it does not hold, the
    supervisor itself (local) among it, restarts none.
    """
    parts = {path.parts[1] for path in paths if path.parts[0] == "services" and path.suffix != ".pyc"}
    if parts - WORKLOADS.keys() - APART:
        return set(WORKLOADS.values())
    return {WORKLOADS[part] for part in parts if part in WORKLOADS}


async def _warm_up(stack: Stack) -> None:
    await asyncio.gather(*(service.warm_up() for service in stack.plan.services))


async def _apply(stack: Stack) -> None:
    try:
        await stack.apply_schema()
    except StartError as error:
        log.error(str(error), action="reload")
