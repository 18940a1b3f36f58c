"""Which way rows go into the table: at once into the columnstore, or into the row store until a policy comes."""

from typing import Any

import numpy as np

from services.contract import Columns

__all__ = ["choose_path"]

_FULL_BATCH = 1000
"""Rows that a batch of the columnstore holds at most."""

_SEGMENTED = """
select coalesce(cardinality(segmentby), 0) > 0
from _timescaledb_catalog.compression_settings
where relid = 'sensor_data'::regclass
"""


async def choose_path(connection: Any, rows: Columns, least: int) -> None:
    """Have the transaction's COPY compress, where its rows make good columnstore batches.

    The rows are sorted, but `..._client_sorted` stays off: it would promise that no other COPY overlaps this one in
    time, and ORDER BY comes out wrong where one does. Without it, and without a second sort by the server, the chunk is
    marked unordered and every order comes out right.

    Args:
        connection: in the transaction, of a database that compresses on COPY.
        rows: what it copies, as `ordered` leaves them.
        least: mean rows a sensor from which they are compressed; 0 for never.
    """
    chosen = bool(least) and await _fills_batches(connection, rows, least)
    await connection.execute(
        f"set local timescaledb.enable_direct_compress_copy = {'on' if chosen else 'off'};"
        "set local timescaledb.enable_direct_compress_copy_sort_batches = off"
    )


async def _fills_batches(connection: Any, rows: Columns, least: int) -> bool:
    """Tell whether rows make good columnstore batches.

    A batch holds rows of one sensor, so that each should bring several; or of all the transaction, where somebody has
    set the columnstore so, as suits a hundred thousand sensors and more.
    """
    sensors = 1 + np.count_nonzero(np.diff(rows.index))
    if len(rows) >= least * sensors:
        return True
    return len(rows) >= _FULL_BATCH and not await connection.fetchval(_SEGMENTED)
