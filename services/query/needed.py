"""What the questions need of a database: their tables and functions, and the rights to them."""

from datetime import UTC, datetime

from services.platform.postgres.connections import Connection

from .statements import statements

__all__ = ["ask_all"]

_NEVER = datetime(2000, 1, 1, tzinfo=UTC)
_NOTHING = ("", _NEVER, _NEVER, 0)
"""A sensor that nobody has, an empty range, and an id: finding nothing costs next to nothing."""


async def ask_all(connection: Connection) -> None:
    """Ask each question about nothing.

    Raises:
        asyncpg.PostgresError: one cannot be answered.
    """
    for statement in statements(__package__, "queries.sql").values():
        await connection.fetch(statement, *_NOTHING[: 4 if "$4" in statement else 3])
