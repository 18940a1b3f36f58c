"""Made readings, as columns and as whole HTTP requests in a file.

The readings are those of a live fleet: its clock begins now and runs through eight minutes, so that no row is late
for an aggregate unless it is asked to be, and none lies further ahead than ingest takes.
"""

import gzip
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from services.contract import Columns

from .doors import JSON, Door

__all__ = ["Shape", "columns", "framed", "write_requests"]

HOUR = 3_600_000
LATE_FROM, LATE_TO = 2 * HOUR, 26 * HOUR
SHUFFLED_OVER = 100_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What a case sends.

    Attributes:
        rows: readings a request.
        sensors: how many there are, 100,000 at most; they measure in turn.
        shuffled: whether neighbouring readings, 100,000 at a time, come in any order.
        late: share of readings that are between two hours and a day behind.
        days_ago: how long ago the first reading was; 0 is now.
        span: from the first reading to the last.
        packed: whether bodies are compressed by gzip.
        door: the protocol, and what is asked of it.
        together: how many neighbouring readings have one instant, as an agent's of one round have.
    """

    rows: int
    sensors: int = 1_000
    shuffled: bool = False
    late: float = 0.0
    days_ago: float = 0.0
    span: timedelta = timedelta(minutes=8)
    packed: bool = False
    door: Door = JSON
    together: int = 1


def columns(shape: Shape, rows: int) -> Columns:
    """Return `rows` readings of a shape, in the order in which they are sent; values have two decimals."""
    dice = np.random.default_rng(7)
    row = np.arange(rows)
    index = (row % shape.sensors).astype(np.uint32)
    span = shape.span // timedelta(milliseconds=1)
    rounds = row - row % shape.together
    times = round((time.time() - 86_400 * shape.days_ago) * 1000) + rounds * span // max(1, rows)
    swing = 30 * np.sin(times / 60_000 + index) + dice.normal(0, 0.2, rows)
    values = np.round(5_000 + 100 * swing).clip(1_000, 9_999) / 100
    if shape.late:
        behind = dice.integers(LATE_FROM, LATE_TO, rows)
        times = np.where(dice.random(rows) < shape.late, times - behind, times)
    if shape.shuffled:
        order = np.concatenate(
            [first + dice.permutation(min(SHUFFLED_OVER, rows - first)) for first in range(0, rows, SHUFFLED_OVER)]
        )
        index, times, values = index[order], times[order], values[order]
    ids = [f"meter-{number:05}" for number in range(shape.sensors)]
    return Columns(ids, index, times * 1000, values)


def write_requests(shape: Shape, requests: int, path: Path, host: str) -> None:
    """Write `requests` whole requests to a file, as wrk.lua reads them."""
    made = columns(shape, requests * shape.rows)
    step = max(1, 1_000_000 // shape.rows) * shape.rows
    with path.open("wb") as file:
        for first in range(0, len(made), step):
            for body in shape.door.bodies(made.take(slice(first, first + step)), shape.rows):
                packed = gzip.compress(body, 1, mtime=0) if shape.packed else body
                file.write(_post(shape, host, packed))


def _post(shape: Shape, host: str, body: bytes) -> bytes:
    lines = [
        f"POST {shape.door.path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in shape.door.headers),
        f"Content-Length: {len(body)}",
        *(["Content-Encoding: gzip"] if shape.packed else []),
    ]
    return framed("\r\n".join([*lines, "", ""]).encode() + body)


def framed(request: bytes) -> bytes:
    """Return a whole HTTP request as wrk.lua reads it."""
    return b"%08d" % len(request) + request
