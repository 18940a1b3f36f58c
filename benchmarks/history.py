"""A past to ask questions about: many rows, most of them compressed, as the columnstore policy leaves them."""

import asyncio
import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np

from services.contract import Columns
from services.contract.instants import MICROSECOND, micros_of
from services.contract.series import series_id, series_of
from services.worker.copy import binary_copy, ordered

from .stack import Bench

__all__ = ["BUSY", "FLEET", "History", "fill", "fill_fleet", "settle"]

SENSORS = 1_000
FLEET = 100_000
FLEET_NAME, FLEET_SITES, FLEET_ROOMS = "temperature", 100, 20
FLEET_WEEKS, FLEET_A_WEEK = 4, 50
A_BLOCK = 1_000
"""Readings of each sensor in one COPY: what the columnstore's batches hold at their best."""

BUSY = "meter-99999"
BUSY_ROWS = 1_000_000
STEP = timedelta(seconds=10)
PATIENCE = 1800.0
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


async def fill(bench: Bench, rows: int, span: timedelta | None = None) -> History:
    """Store about `rows` readings, the last twentieth in the row store.

    They end two hours ago, on a whole hour, and are ten seconds apart, or so far that they go back by `span`.
    """
    await bench.empty()
    blocks = max(2, rows // (SENSORS * A_BLOCK))
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    step = span // (blocks * A_BLOCK) if span else STEP
    start = end - blocks * A_BLOCK * step
    for number in range(blocks):
        # Blocks follow each other in time, so that the promise of sorted rows is kept.
        await _compressing(bench, on=number < min(blocks - 1, blocks * 0.95))
        await _copy(bench, _block(start, number, blocks, step))
    return History(tuple(_name(number) for number in range(SENSORS)), start, end)


async def fill_fleet(bench: Bench) -> None:
    """Store what a hundred thousand labelled sensors measured in an hour of each of four weeks.

    The last week is in the row store. They are in the catalogue; `site` and `room` are their labels.
    """
    labels = [
        {
            "site": f"site-{number % FLEET_SITES:02}",
            "room": f"room-{number // FLEET_SITES % FLEET_ROOMS:02}",
            "unit": f"{number}",
        }
        for number in range(FLEET)
    ]
    ids = [series_id(series_of(FLEET_NAME, of.items())) for of in labels]
    await bench.database.executemany(
        "insert into sensors (sensor_id, name, labels) values ($1, $2, $3::text::jsonb) on conflict do nothing",
        [(sensor, FLEET_NAME, json.dumps(of)) for sensor, of in zip(ids, labels, strict=True)],
    )
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    week, step = timedelta(days=7), timedelta(minutes=1)
    for number in range(FLEET_WEEKS):
        await _compressing(bench, on=number < FLEET_WEEKS - 1)
        begin = micros_of(end - (FLEET_WEEKS - number) * week)
        times = np.tile(begin + step // MICROSECOND * np.arange(FLEET_A_WEEK), FLEET)
        index = np.repeat(np.arange(FLEET), FLEET_A_WEEK).astype(np.uint32)
        values = np.round(20 + np.random.default_rng(number).normal(0, 2, len(times)), 2)
        await _copy(bench, Columns(ids, index, times, values))


async def _compressing(bench: Bench, *, on: bool) -> None:
    """Have what is copied from now on compressed at once, or not."""
    if bench.compresses:
        switch = "on" if on else "off"
        await bench.database.execute(
            f"set timescaledb.enable_direct_compress_copy = {switch};"
            f"set timescaledb.enable_direct_compress_copy_client_sorted = {switch}"
        )


async def _copy(bench: Bench, columns: Columns) -> None:
    block = b"".join(binary_copy(ordered(columns)))
    await bench.database.copy_to_table(
        "sensor_data", source=io.BytesIO(block), columns=["timestamp", "sensor_id", "value"], format="binary"
    )


async def settle(bench: Bench, past: History) -> None:
    """Refresh the rollups and analyze what was stored."""
    if bench.capability.edition == "full":
        for rollup in ("measurement_hourly", "sensor_rollup_15m"):
            await _refresh(bench, rollup, f"'{past.start.isoformat()}', '{past.end.isoformat()}'")
            await bench.database.execute(f"analyze {rollup}")
    await bench.database.execute("vacuum analyze sensor_data, sensors")


async def _refresh(bench: Bench, rollup: str, span: str) -> None:
    """Refresh a rollup, once a policy's refresh that is under way has ended."""
    began = time.monotonic()
    while True:
        try:
            await bench.database.execute(f"call refresh_continuous_aggregate('{rollup}', {span})")
        except asyncpg.LockNotAvailableError:
            if time.monotonic() - began > PATIENCE:
                raise
            await asyncio.sleep(1)
        else:
            return


def _block(start: datetime, number: int, blocks: int, apart: timedelta) -> Columns:
    step = apart // MICROSECOND
    begin = micros_of(start) + number * A_BLOCK * step
    rounds = begin + step * np.arange(A_BLOCK)
    busy = begin + np.arange(BUSY_ROWS // blocks) * (A_BLOCK * step) // (BUSY_ROWS // blocks)
    index = np.concatenate((np.repeat(np.arange(SENSORS), A_BLOCK), np.full(len(busy), SENSORS))).astype(np.uint32)
    times = np.concatenate((np.tile(rounds, SENSORS), busy))
    noise = np.random.default_rng(number).normal(0, 0.2, len(times))
    values = np.round(50 + 30 * np.sin(times / 6e8 + index) + noise, 2)
    return Columns([*map(_name, range(SENSORS)), BUSY], index, times, values)


def _name(number: int) -> str:
    return f"meter-{number:05}"
