"""Verdicts in the ledger: duplicates, keys with another body, and which batches were refused, now or before."""

import uuid
from collections.abc import Sequence
from typing import Any

from services.contract import Outcome, Verdict, encode_refusals
from services.contract.instants import instant_of
from services.platform.runtime.foreign_content import refusals

from .work import ApartError, Part, Verdicts

__all__ = ["DUPLICATE", "judge_known", "record_refusals"]

DUPLICATE = Verdict(Outcome.DUPLICATE)

# Instants that Python does not know stand in nobody's ledger but by hand.
_KNOWN = """
select batch_id, digest, greatest(least(accepted_at, '9999-01-01Z'), '0001-01-01Z') as accepted_at, dead
from ingest_ledger where batch_id = any($1::uuid[])
"""
_DEAD = "update ingest_ledger set dead = $2::text::jsonb where batch_id = $1"
_REPEATED = "update ingest_ledger set repeats = repeats + 1 where batch_id = any($1::uuid[])"


async def judge_known(connection: Any, parts: Sequence[Part]) -> Verdicts:
    """Return verdicts on what the ledger knew already: duplicates, keys with another body, dead ones.

    A keyed duplicate that was accepted at another moment is a client's repeat, and counted as one in its ledger row;
    any other is the same entry, read again.

    Raises:
        ApartError: some batches of a part were refused.
        DATABASE_FAILURES: the ledger cannot be asked.
    """
    if not parts:
        return {}
    rows = await connection.fetch(_KNOWN, [part.ledger_id for part in parts])
    ledger = {row["batch_id"]: row for row in rows}
    if any(part.batches > 1 and ledger[part.ledger_id]["dead"] is not None for part in parts):
        raise ApartError
    verdicts = {part: _known_verdict(part, ledger[part.ledger_id]) for part in parts}
    repeated = {
        part.ledger_id
        for part, verdict in verdicts.items()
        if verdict is DUPLICATE
        and part.ledger_id.version != 7
        and ledger[part.ledger_id]["accepted_at"] != instant_of(part.batch.accepted_at)
    }
    if repeated:
        await connection.execute(_REPEATED, sorted(repeated))
    return verdicts


def _known_verdict(part: Part, row: Any) -> Verdict:
    if row["digest"] != part.batch.digest:
        return Verdict(Outcome.DEAD, "key_reused", "its Idempotency-Key was stored with other readings")
    return refusals(row["dead"]).get(part.position, DUPLICATE)


async def record_refusals(connection: Any, refused: Verdicts) -> None:
    """Note in the ledger which batches become dead letters and why: a repeat of one meets the same verdict.

    Raises:
        DATABASE_FAILURES: nothing is noted.
    """
    by_row: dict[uuid.UUID, list[tuple[int, Verdict]]] = {}
    for part, verdict in refused.items():
        by_row.setdefault(part.ledger_id, []).append((part.position, verdict))
    for ledger_id, dead in by_row.items():
        await connection.execute(_DEAD, ledger_id, encode_refusals(dead))
