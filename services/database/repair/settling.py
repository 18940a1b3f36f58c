"""Waiting until the rows show what was committed, and nobody is left who may not know that an hour is closed.

Who writes to the table has a lock on it until his commit is decided. On a Citus cluster the coordinator decides: each
node has its part prepared by then, and commits it afterwards. Where a node, or the way to it, dies in between, the part
stays prepared until Citus's recovery commits it. A node lists a part from its preparation on until the part is shown, a
restart included. So all that was decided when the nodes were asked for their lists is shown by them once nothing of
these lists is left; a node that does not answer may have parts of which nobody knows. Parts that are prepared and will
be rolled back are waited for as well.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from services.platform.postgres.connections import Connection

from .late_ranges import promptly

__all__ = ["SETTLING", "NotShownError", "parts_shown", "writers_over"]

log = structlog.get_logger(__name__)

SETTLING = 10.0
"""Seconds to wait, before what waits is left to the next round."""

WRITERS = """
select array_agg(virtualtransaction) from pg_locks
where locktype = 'relation' and relation = 'public.sensor_data'::regclass and mode = 'RowExclusiveLock' and granted
  and database = (select oid from pg_database where datname = current_database())
"""
OVER = """
select not exists (
  select from pg_locks
  where locktype = 'relation' and relation = 'public.sensor_data'::regclass and mode = 'RowExclusiveLock'
    and virtualtransaction = any($1::text[])
)
"""

# A node that is switched off is not asked, and has not answered either.
PARTS = r"""
select n.nodename || ':' || n.nodeport as node, coalesce(lists.success, false) as answered, lists.result as parts
from pg_dist_node n
left join run_command_on_all_nodes($command$
  select coalesce(string_agg(gid, ' '), '') from pg_prepared_xacts
  where database = current_database() and gid like 'citus\_%'
$command$) as lists using (nodeid)
where n.noderole = 'primary' and n.nodecluster = current_setting('citus.cluster_name')
"""


class NotShownError(Exception):
    """A node may not show yet what was committed; the message says which and why."""


async def writers_over(connection: Connection, beat: Callable[[], None]) -> bool:
    """Wait for all who have written to the table and have not ended; tell whether they have.

    Raises:
        DATABASE_FAILURES: the database cannot be asked.
    """
    writers = await promptly(connection, connection.fetchval(WRITERS))

    async def over() -> bool:
        return bool(await promptly(connection, connection.fetchval(OVER, writers)))

    if writers and not await _in_time(over, beat):
        log.info("an ended hour waits for a transaction that writes", action="repair", writers=len(writers))
        return False
    return True


async def parts_shown(connection: Connection, beat: Callable[[], None]) -> None:
    """Wait until all nodes of a Citus cluster show what was committed before.

    Args:
        connection: the owner's, to the coordinator, outside a transaction.
        beat: is called while it waits.

    Raises:
        NotShownError: they may not.
        DATABASE_FAILURES: the coordinator cannot be asked.
    """
    waited_for = await _listed(connection)

    async def shown() -> bool:
        nonlocal waited_for
        if waited_for:
            waited_for &= await _listed(connection)
        return not waited_for

    if not await _in_time(shown, beat):
        node, part = min(waited_for)
        raise NotShownError(f"{len(waited_for)} prepared transactions are not over yet, such as {part} on {node}")


async def _listed(connection: Connection) -> set[tuple[str, str]]:
    """Return the prepared parts, each with its node.

    Raises:
        NotShownError: a node does not tell its own.
    """
    rows: list[Any] = await promptly(connection, connection.fetch(PARTS))
    for row in rows:
        if not row["answered"]:
            why = row["parts"] or "it is switched off"
            raise NotShownError(f"the node {row['node']} does not tell its prepared transactions: {why}")
    return {(row["node"], part) for row in rows for part in row["parts"].split()}


async def _in_time(settled: Callable[[], Awaitable[bool]], beat: Callable[[], None]) -> bool:
    until = time.monotonic() + SETTLING
    while not await settled():
        if time.monotonic() > until:
            return False
        beat()
        await asyncio.sleep(0.1)
    return True
