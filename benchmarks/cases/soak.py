"""Whether anything grows: the stack for half an hour at 70 % of its own rate, its ledger short of memory."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import numpy as np

from services.contract import GROUP, StreamNames
from services.platform.runtime.tasks import end

from ..bodies import Shape, write_requests
from ..case import Case, Options
from ..figures import Measures
from ..processes import peaks, reset_peaks
from ..stack import Bench
from ..way import way_run
from ..wrk import load

__all__ = ["CASES", "growth"]

SHAPE = Shape(1_000)
CONNECTIONS = 8
SHARE = 0.7
SEGMENT = 120.0
"""Seconds after which readings are made anew, so that none comes late."""

PREPARED_ROWS = 5_000_000
BETWEEN_LOOKS = 10.0
HORIZON = 10 / 60
"""Hours that the ledger remembers here; its rows rise until then and must stay level from then on."""

WAITING = {"ids in the queue", "late ranges"}


async def measure(bench: Bench, options: Options) -> Measures:
    """Find the rate, run at its 70 % and hold the last third of what was seen against the third before it."""
    full = (await way_run(bench, SHAPE, options.seconds, CONNECTIONS))["rows/s"]
    await bench.empty()
    samples: list[Measures] = []
    watching = asyncio.create_task(_watch(bench, samples))
    began, sent = time.monotonic(), 0
    try:
        while (left := began + 60 * options.minutes - time.monotonic()) > 1:
            sent += await _segment(bench, min(SEGMENT, left), SHARE * full)
        await bench.drained()
    finally:
        await end([watching])
    took = time.monotonic() - began
    found = {"full: rows/s": full, "rows": sent, "rows/s": sent / took, "minutes": took / 60}
    return found | growth(samples)


async def _segment(bench: Bench, seconds: float, rows_per_second: float) -> int:
    file = bench.folder / "requests"
    write_requests(SHAPE, PREPARED_ROWS // SHAPE.rows, file, bench.ingest.removeprefix("http://"))
    sent = await load(bench.ingest, seconds, CONNECTIONS, file, rows_per_second / SHAPE.rows)
    return sent.acknowledged * SHAPE.rows


async def _watch(bench: Bench, samples: list[Measures]) -> None:
    names = StreamNames(bench.settings.redis.stream)
    while True:
        reset_peaks(bench.stack.family())
        await asyncio.sleep(BETWEEN_LOOKS)
        server = await bench.redis.info()
        samples.append(
            {
                **{f"{role} MiB": mebibytes for role, mebibytes in peaks(bench.stack.family()).items()},
                "Valkey connections": server["connected_clients"],
                "consumers": len(await bench.redis.xinfo_consumers(names.stream, GROUP)),
                "ids in the queue": await bench.redis.hlen(names.queued),
                "PostgreSQL connections": await bench.database.fetchval("select count(*) from pg_stat_activity"),
                "ledger rows": await bench.database.fetchval("select count(*) from ingest_ledger"),
                "late ranges": await bench.database.fetchval("select count(*) from late_ranges"),
            }
        )


def growth(samples: Sequence[Mapping[str, float]]) -> Measures:
    """Return each measure's mean in the last third, and its ratio to the mean in the third before it.

    "greatest growth" is the greatest of those ratios among what must stay level, which what waits need not.
    """
    third = len(samples) // 3
    found: Measures = {}
    if not third:
        return found
    ratios = {}
    for name in samples[-1]:
        before, last = (
            float(np.mean([sample.get(name, 0.0) for sample in part]))
            for part in (samples[-2 * third : -third], samples[-third:])
        )
        ratios[name] = last / before if before else 1.0
        found |= {f"last third: {name}": last, f"growth: {name}": ratios[name]}
    return found | {"greatest growth": max(ratio for name, ratio in ratios.items() if name not in WAITING)}


CASES = (
    Case(
        "soak",
        "at 70 % for half an hour, ledger horizon 10 minutes",
        measure,
        sections={"worker": {"ledger_horizon": HORIZON}, "ingest": {"backlog_age": 60.0}},
        once=True,
        asked=True,
    ),
)
