"""A past to ask questions about: many rows, most of them compressed, as the columnstore policy leaves them."""

import asyncio
import io
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np

from services.contract import Columns
from services.worker.copy import binary_copy, ordered

from .stack import Bench

__all__ = ["BUSY", "History", "fill"]

SENSORS = 1_000
A_BLOCK = 1_000
"""Readings of each sensor in one COPY: what the columnstore's batches hold at their best."""

BUSY = "meter-99999"
BUSY_ROWS = 1_000_000
STEP = timedelta(seconds=10)
PATIENCE = 300.0
"""Seconds that a policy's refresh, which is under way when ours is wanted, may take."""


@dataclass(frozen=True, slots=True)
class History:
    """What was stored.

    Attributes:
        sensors: those that measured every ten seconds; `BUSY` beside them has a million readings.
        start: of all readings.
        end: behind all readings.
    """

    sensors: tuple[str, ...]
    start: datetime
    end: datetime


async def fill(bench: Bench, rows: int) -> History:
    """Store about `rows` readings, the last twentieth in the row store; refresh the hour buckets and analyze.

    They end two hours ago, on a whole hour.
    """
    await bench.empty()
    blocks = max(2, rows // (SENSORS * A_BLOCK))
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    start = end - blocks * A_BLOCK * STEP
    for number in range(blocks):
        if bench.compresses:
            # Blocks follow each other in time, so that the promise of sorted rows is kept.
            switch = "off" if number >= min(blocks - 1, blocks * 0.95) else "on"
            await bench.database.execute(
                f"set timescaledb.enable_direct_compress_copy = {switch};"
                f"set timescaledb.enable_direct_compress_copy_client_sorted = {switch}"
            )
        block = b"".join(binary_copy(ordered(_block(start, number, blocks))))
        await bench.database.copy_to_table(
            "sensor_data", source=io.BytesIO(block), columns=["timestamp", "sensor_id", "value"], format="binary"
        )
    if bench.capability.edition == "full":
        span = f"'{start.isoformat()}', '{end.isoformat()}'"
        await _refresh(bench, span)
    await bench.database.execute("vacuum analyze sensor_data")
    return History(tuple(_name(number) for number in range(SENSORS)), start, end)


async def _refresh(bench: Bench, span: str) -> None:
    """Refresh the hour buckets, once a policy's refresh that is under way has ended."""
    began = time.monotonic()
    while True:
        try:
            await bench.database.execute(f"call refresh_continuous_aggregate('measurement_hourly', {span})")
        except asyncpg.LockNotAvailableError:
            if time.monotonic() - began > PATIENCE:
                raise
            await asyncio.sleep(1)
        else:
            return


def _block(start: datetime, number: int, blocks: int) -> Columns:
    step = STEP // timedelta(microseconds=1)
    begin = round(start.timestamp() * 1e6) + number * A_BLOCK * step
    rounds = begin + step * np.arange(A_BLOCK)
    busy = begin + np.arange(BUSY_ROWS // blocks) * (A_BLOCK * step) // (BUSY_ROWS // blocks)
    index = np.concatenate((np.repeat(np.arange(SENSORS), A_BLOCK), np.full(len(busy), SENSORS))).astype(np.uint32)
    times = np.concatenate((np.tile(rounds, SENSORS), busy))
    noise = np.random.default_rng(number).normal(0, 0.2, len(times))
    values = np.round(50 + 30 * np.sin(times / 6e8 + index) + noise, 2)
    return Columns([*map(_name, range(SENSORS)), BUSY], index, times, values)


def _name(number: int) -> str:
    return f"meter-{number:05}"
