"""COPY out of the database at the pace of whoever takes it, ended early without harm to the connection.

asyncpg reads the next piece only when its output function returns, so a slow client holds the rows in the database.
Its own way to end a COPY early loses the connection where more than one piece is under way. So nothing cancels it
here: who leaves has the server end the statement, and what still comes is read and dropped.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from services.platform.postgres.connections import Connection

__all__ = ["copy_out", "inlined"]


async def copy_out(
    connection: Connection,
    statement: str,
    sink: Callable[[bytes], Awaitable[None]],
    end: Callable[[int], Awaitable[None]],
) -> None:
    """Push what a statement gives into `sink`, piece by piece, as binary COPY.

    Where that is left early, because it is cancelled or `sink` fails, `end` is given the process id of the
    connection's backend and ends its statement; where that does not help, the connection is given up.
    """
    pieces: asyncio.Queue[bytes] = asyncio.Queue(1)
    left = False

    async def output(piece: bytes) -> None:
        if not left:
            await pieces.put(piece)

    async def copy() -> None:
        try:
            await connection.copy_from_query(statement, output=output, format="binary")
        finally:
            await output(b"")

    copying = asyncio.create_task(copy())
    try:
        while piece := await pieces.get():
            await sink(piece)
        await copying
    finally:
        left = True
        if pieces.full():
            pieces.get_nowait()
        try:
            if not copying.done():
                await end(connection.get_server_pid())
                await asyncio.wait({copying}, timeout=1)
        finally:
            if not copying.done():
                connection.terminate()
            await asyncio.gather(copying, return_exceptions=True)


def inlined(statement: str, arguments: Sequence[str | int | datetime]) -> str:
    """Return a statement with its arguments in it, as COPY wants them: `$1` is the first.

    asyncpg would do so by statements of its own, prepared by names that another client of a pooler may have.
    """
    literals = [_literal(argument) for argument in arguments]
    return re.sub(r"\$(\d+)", lambda match: literals[int(match[1]) - 1], statement)


def _literal(value: str | int | datetime) -> str:
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'::pg_catalog.timestamptz"
    if isinstance(value, int):
        return f"({value})"
    if "\0" in value:
        raise ValueError("PostgreSQL has no zero byte in a text")
    # Written so, a backslash means the same whatever standard_conforming_strings says.
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f" E'{quoted}'::pg_catalog.text"
