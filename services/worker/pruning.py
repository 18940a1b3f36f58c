"""Forgetting what was stored longer ago than anybody sends it again, piece by piece so that nobody waits for long."""

import datetime as dt
from typing import Any

__all__ = ["prune_ledger", "prune_slices"]

_PRUNE_LEDGER = """
with pruner as (select pg_try_advisory_xact_lock(hashtext('millrace ledger pruning')) as alone)
delete from ingest_ledger where batch_id in (
  select batch_id from ingest_ledger, pruner where alone and committed_at < now() - $1::interval limit 20000
)
"""
_PRUNE_SLICES = """
with pruner as (select pg_try_advisory_xact_lock(hashtext('millrace slice pruning')) as alone)
delete from ingest_recent where key in (
  select key from ingest_recent, pruner where alone and committed_at < now() - $1::interval limit 100000
)
"""


async def prune_ledger(connection: Any, horizon: float) -> int:
    """Delete up to 20,000 ledger rows older than `horizon` hours; return how many. One worker at a time does."""
    return await _deleted(connection, _PRUNE_LEDGER, horizon)


async def prune_slices(connection: Any, horizon: float) -> int:
    """Delete up to 100,000 keys of slices older than `horizon` hours; return how many. One worker at a time does."""
    return await _deleted(connection, _PRUNE_SLICES, horizon)


async def _deleted(connection: Any, statement: str, horizon: float) -> int:
    status = await connection.execute(statement, dt.timedelta(hours=horizon))
    return int(status.split()[-1])
