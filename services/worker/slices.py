"""Slices of clients without an Idempotency-Key: which came before, told in the transaction that stores the others.

A key is claimed as a ledger row is: whoever has the same in another transaction is waited for, and what is rolled back
claims nothing.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from .work import Part, Selection, Unit

__all__ = ["claim_slices", "correct_ledger"]

# Sorted, so that two workers cannot deadlock. Nearly all are new: those that are not are fewer to tell.
_CLAIM = """
with claimed as (
  insert into ingest_recent (key) select key from unnest($1::uuid[]) as slice (key) order by 1
  on conflict do nothing
  returning key
)
select array(select key from unnest($1::uuid[]) as slice (key) except select key from claimed)
"""
_CORRECT = """
update ingest_ledger set rows = batch.rows
from unnest($1::uuid[], $2::int[]) as batch (batch_id, rows)
where ingest_ledger.batch_id = batch.batch_id
"""


async def claim_slices(connection: Any, parts: Sequence[Part]) -> list[slice]:
    """Claim the slices of `parts`; return the rows of those that came before, or before in these parts.

    Raises:
        DATABASE_FAILURES: nothing is claimed.
    """
    first: dict[uuid.UUID, slice] = {}
    repeated = [rows for part in parts for key, rows in part.slices() if first.setdefault(key, rows) is not rows]
    if not first:
        return []
    return repeated + [first[key] for key in await connection.fetchval(_CLAIM, list(first))]


async def correct_ledger(connection: Any, selection: Selection, units: Sequence[Unit]) -> None:
    """Write how many rows are left of those units of which some came before.

    Raises:
        DATABASE_FAILURES: nothing is written.
    """
    changed = [unit for unit in units if any(map(selection.repeated, unit.parts))]
    await connection.execute(_CORRECT, [unit.ledger_id for unit in changed], list(map(selection.rows, changed)))
