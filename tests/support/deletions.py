"""Deletions in tests: asked for by HTTP, and carried out at the moment that a test chooses."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx

from services.database.repair.deletions import delete_once
from services.platform.postgres.capability import capability
from services.platform.settings import DatabaseSettings
from services.sender.deletions import DeletionRequest, request_deletion

__all__ = ["ask_deletion", "carry_out", "instant"]


def instant(micros: int) -> str:
    """Return microseconds since 1970 as a request has them."""
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat()


async def ask_deletion(
    admin: httpx.AsyncClient, sensors: list[str], start: int, end: int, key: str | None = None, requested_by: str = ""
) -> dict[str, Any]:
    """Ask for a deletion of `start <= timestamp < end`, in microseconds, and return the answer."""
    answer = await request_deletion(
        admin, DeletionRequest(sensors, instant(start), instant(end), "wrong", requested_by), key
    )
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def carry_out(database: DatabaseSettings) -> int:
    """Carry out what was asked for, as the repair process does; return how many deletions still wait."""
    connection = await asyncpg.connect(database.owner_url.get_secret_value())
    try:
        return await delete_once(connection, await capability(connection))
    finally:
        await connection.close()
