"""The whole way: requests by wrk until the time is over, and then until the last of their rows is committed."""

import os
import time

from services.platform.runtime.starting import StartError

from .bodies import Shape, write_requests
from .figures import Measures
from .processes import Cost, machine_seconds, peaks, reset_peaks, snapshot
from .stack import Bench
from .wrk import load

__all__ = ["prepared_requests", "way_run"]

PREPARED_ROWS = {1: 250_000, 10: 1_500_000, 100: 3_000_000}
MOST_PREPARED = 12_000_000
"""Rows that are prepared, by rows a request; a run that needs more begins anew, and says so as `rounds`."""


def prepared_requests(rows: int) -> int:
    """Return how many requests of so many rows are prepared for a run."""
    return PREPARED_ROWS.get(rows, MOST_PREPARED) // rows


async def way_run(bench: Bench, shape: Shape, seconds: float, connections: int) -> Measures:
    """Load the stack by a shape and measure the whole way.

    Rows a second are those stored, over the time from the first acceptance to the last commit; CPU time is that of
    the same span.

    Raises:
        StartError: rows that were acknowledged are not in the table.
    """
    file = bench.folder / "requests"
    await bench.empty()
    write_requests(shape, prepared_requests(shape.rows), file, bench.ingest.removeprefix("http://"))
    os.sync()
    reset_peaks(bench.stack.family())
    log_start = await bench.database.fetchval("select pg_current_wal_insert_lsn()")
    before, machine, own = snapshot(bench.stack.family()), machine_seconds(), _own_seconds()
    sent = await load(bench.ingest, seconds, connections, file)
    loaded_at, waiting = time.time(), await bench.waiting()
    drained_at = await bench.drained()
    cost, worked = before.until(snapshot(bench.stack.family())), machine_seconds()
    accepted = await bench.database.fetchval("select min(extract(epoch from accepted_at))::float8 from ingest_ledger")
    stored = await bench.database.fetchval("select count(*) from sensor_data")
    if stored < sent.acknowledged * shape.rows:
        raise StartError(f"{sent.acknowledged * shape.rows:,} rows acknowledged, but only {stored:,} stored")
    took, own = drained_at - accepted, _own_seconds() - own
    log_bytes = await bench.database.fetchval("select pg_current_wal_insert_lsn() - $1::pg_lsn", log_start)
    return {
        "rows/s": stored / took,
        "requests/s": sent.per_second,
        "accepted rows/s": sent.per_second * shape.rows,
        **_costs(cost, stored, shape.rows),
        "latency p50 ms": sent.p50 / 1000,
        "latency p99 ms": sent.p99 / 1000,
        "refused requests": sent.refused,
        "unanswered requests": sent.broken,
        "rounds": sent.rounds,
        "backlog at the end, rows": waiting,
        "drained in s": drained_at - loaded_at,
        "cores of the stack": cost.total / took,
        "cores of the load generator": own / took,
        "cores of others": max(0.0, worked[0] - machine[0] - cost.total - own) / took,
        "cores stolen": (worked[1] - machine[1]) / took,
        "bytes/row": await bench.size("sensor_data") / stored,
        "WAL bytes/row": float(log_bytes) / stored,
        **{f"{role} MiB": mebibytes for role, mebibytes in peaks(bench.stack.family()).items()},
    }


def _own_seconds() -> float:
    """Return the CPU seconds of the harness and of the load generators that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _costs(cost: Cost, rows: int, a_request: int) -> Measures:
    """Return microseconds a row, and a request, of each role and in all."""
    per_row = {role: 1e6 * seconds / rows for role, seconds in {**cost.seconds, "all": cost.total}.items()}
    return {
        **{f"{role} µs/row": spent for role, spent in per_row.items()},
        **{f"{role} µs/request": spent * a_request for role, spent in per_row.items()},
    }
