"""Passes over the tier, for as long as a process runs or once by a command: the same either way."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import tier_chunks_waiting, tier_failures, tier_rows_moved
from services.platform.settings import TierSettings
from services.platform.tier.storage import STORAGE_FAILURES, Storage, open_storage

from ..repair.loop import Database, Rounds, reconnecting
from .export import TierError
from .move import SETTLED, Moved, due, move
from .upkeep import collect, distrust, expire, rewrite

__all__ = ["Pass", "TierLoop", "owner_of", "pass_once"]

log = structlog.get_logger(__name__)

LOCK = "select pg_try_advisory_lock(hashtext('millrace tier'))"
UNLOCK = "select pg_advisory_unlock(hashtext('millrace tier'))"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did.

    Attributes:
        moved: the chunks that went.
        stayed: why others that are old enough did not, by their ranges.
        deleted: readings that deletions took out of files.
        removed: files that nobody needed any more.
        problem: why it ended early, such as what the storage said; what was not done is left to another pass.
    """

    moved: tuple[Moved, ...] = ()
    stayed: tuple[str, ...] = ()
    deleted: int = 0
    removed: int = 0
    problem: str = ""


def owner_of(database: "Connector") -> "Connector":
    """Return the way to the database for a pass, whose statements may take long."""
    return Connector(
        database.address,
        database.settings,
        # Chunks are left out by values, which a generic plan does not have.
        plan_cache_mode="force_custom_plan",
        max_parallel_workers_per_gather=0,
        client_min_messages="warning",
    )


async def pass_once(
    connection: Connection,
    capability: Capability,
    storage: Storage,
    grace: float,
    settled: timedelta = SETTLED,
) -> Pass | None:
    """Take one pass: retention, deletions, chunks, garbage. None where another process is at it.

    Args:
        connection: the owner's session, outside a transaction.
        capability: of its database; where there are no chunks nothing is done.
        storage: where the files lie.
        grace: seconds that a file stays once nobody will ask for it any more.
        settled: how old a chunk is that late readings made behind a move.

    Raises:
        DATABASE_FAILURES: the database is away or refuses; what is not done is left to another pass.
    """
    if capability.edition != "full":
        return Pass()
    if not await connection.fetchval(LOCK):
        return None
    moved, stayed, deleted, removed, problem = list[Moved](), list[str](), 0, 0, ""
    try:
        await expire(connection)
        await distrust(connection)
        deleted = await rewrite(connection, storage)
        for chunk in await due(connection, settled):
            try:
                moved.append(await move(connection, storage, chunk))
            except TierError as error:
                stayed.append(f"{chunk.start.isoformat()} to {chunk.end.isoformat()}: {error}")
        removed = await collect(connection, storage, grace)
    except (TierError, *STORAGE_FAILURES) as error:
        if connection.is_closed():
            raise
        problem = f"{type(error).__name__}: {error}"
        log.warning("a pass over the tier is cut short", action="tier", problem=problem)
    finally:
        if not connection.is_closed():
            await connection.execute(UNLOCK)
    return Pass(tuple(moved), tuple(stayed), deleted, removed, problem)


class TierLoop:
    """Takes passes for as long as it runs. Beside repair, so that neither holds the other up."""

    def __init__(self, settings: TierSettings, health: Health, database: Database) -> None:
        """Take what waits for the database; it is asked at each new connection."""
        self._settings, self._health, self._database = settings, health, database
        self._told: tuple[str, ...] = ()
        self._left: int | None = None
        tier_chunks_waiting.show(lambda: self._left)

    async def run(self) -> None:
        """Pass after pass, until cancelled; without a location there is nothing to do."""
        if self._settings.location:
            await reconnecting(self._health, "tier", self._rounds_on_a_connection)
        else:
            await asyncio.Event().wait()

    async def _rounds_on_a_connection(self, rounds: Rounds) -> None:
        database, capability = await self._database()
        storage = open_storage(self._settings.location)
        connection = await owner_of(Connector(database.owner_url, database)).session()
        try:
            with rounds.connected():
                while True:
                    done = await pass_once(connection, capability, storage, self._settings.grace)
                    if done:
                        self._tell(done)
                    if done and done.problem:
                        rounds.cut_short(done.problem)
                    else:
                        rounds.done()
                    await asyncio.sleep(self._settings.interval)
        finally:
            connection.terminate()

    def _tell(self, done: Pass) -> None:
        """Count what a pass did, and log what is new of what it left."""
        tier_rows_moved.add(sum(moved.rows for moved in done.moved))
        tier_failures.add(1 if done.problem else 0)
        self._left = len(done.stayed)
        if done.stayed != self._told:
            self._told = done.stayed
            for stayed in done.stayed:
                log.info("a chunk does not go to the tier yet", action="tier", problem=stayed)
