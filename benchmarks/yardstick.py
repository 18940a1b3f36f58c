"""The yardstick: a bare binary COPY of prepared buffers by one connection, a transaction each."""

import io
import itertools
import time
from collections.abc import Sequence

from services.worker.copy import binary_copy, ordered

from .bodies import Shape, columns
from .figures import Measures
from .processes import snapshot
from .stack import Bench

__all__ = ["copy_run"]

MOST_ROWS = 3_000_000
MOST_BUFFERS = 10_000


async def copy_run(bench: Bench, shape: Shape, seconds: float, *, compressed: bool) -> Measures:
    """Copy the rows of a shape into the yardstick's table, as many at a time as a request of the shape has.

    Args:
        bench: the stack, in whose database the table is.
        shape: the rows.
        seconds: how long.
        compressed: sort each buffer and let TimescaleDB compress it on COPY, instead of the row store.
    """
    buffers = _buffers(shape, ordered_rows=compressed)
    switch = "on" if compressed else "off"
    if bench.compresses:
        await bench.database.execute(
            f"set timescaledb.enable_direct_compress_copy = {switch};"
            f"set timescaledb.enable_direct_compress_copy_client_sorted = {switch}"
        )
    await bench.empty()
    rows, before, client = 0, snapshot(bench.stack.family()), time.process_time()
    began = time.monotonic()
    for buffer in itertools.cycle(buffers):
        await bench.database.copy_to_table(
            "yardstick", source=io.BytesIO(buffer), columns=["timestamp", "sensor_id", "value"], format="binary"
        )
        rows += shape.rows
        if time.monotonic() - began >= seconds:
            break
    took, client = time.monotonic() - began, time.process_time() - client
    cost = before.until(snapshot(bench.stack.family()))
    return {
        "rows/s": rows / took,
        "PostgreSQL µs/row": 1e6 * cost.postgres / rows,
        "client µs/row": 1e6 * client / rows,
        "bytes/row": await bench.size("yardstick") / rows,
    }


def _buffers(shape: Shape, *, ordered_rows: bool) -> Sequence[bytes]:
    count = min(MOST_BUFFERS, max(1, MOST_ROWS // shape.rows))
    made = columns(shape, count * shape.rows)
    parts = (made.take(slice(first, first + shape.rows)) for first in range(0, len(made), shape.rows))
    return [b"".join(binary_copy(ordered(part) if ordered_rows else part)) for part in parts]
