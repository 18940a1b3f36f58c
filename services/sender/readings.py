"""Made readings: batches as JSON bodies, built column by column, the same ones for the same arguments.

A reading's value is the number of its row, counted from 0 over the whole run, so that every row can be told
from every other in the database.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
from numpy.typing import NDArray

__all__ = ["Batch", "Fleet", "make"]

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


@dataclass(frozen=True, slots=True)
class Batch:
    """One request's readings as a JSON array; `first_row` counts over the whole run, from 0."""

    number: int
    first_row: int
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who measures what and when.

    Attributes:
        sensors: how many there are: sensor-0001, sensor-0002 and so on.
        start: instant of the first readings, with a time zone.
        step: seconds from one round of all sensors to the next.
        seed: draws each row's sensor at random; None takes them in turn.
    """

    sensors: int
    start: datetime
    step: float
    seed: int | None = None

    def until(self, end: datetime, rows: int) -> "Fleet":
        """Return the same fleet with such a start that the last of `rows` readings are of `end`."""
        return replace(self, start=end - self.span(rows))

    def span(self, rows: int) -> timedelta:
        """Return the time from the first to the last of `rows` readings."""
        return timedelta(seconds=self.step * ((rows - 1) // self.sensors))


def make(fleet: Fleet, rows: int, size: int) -> Iterator[Batch]:
    """Yield `rows` readings in batches of `size`; a batch's content depends on its number alone."""
    heads = [b'{"sensor_id":"sensor-%04d","timestamp":' % number for number in range(1, fleet.sensors + 1)]
    start = np.datetime64(fleet.start.astimezone(UTC).replace(tzinfo=None), "us")
    step = round(fleet.step * 1_000_000)
    for number, first in enumerate(range(0, rows, size)):
        row = np.arange(first, min(first + size, rows))
        rounds, sensor = np.divmod(row, fleet.sensors)
        if fleet.seed is not None:
            sensor = np.random.default_rng((fleet.seed, number)).integers(0, fleet.sensors, len(row))
        times = start + rounds * np.timedelta64(step, "us")
        yield Batch(number, first, len(row), _body(heads, sensor, times, row.astype(np.float64)))


def _body(
    heads: list[bytes],
    sensor: NDArray[np.int64],
    times: NDArray[np.datetime64],
    values: NDArray[np.float64],
) -> bytes:
    """Return the JSON array; orjson writes whole columns, which are cut at the commas and interleaved."""
    parts = [b',"value":'] * (5 * len(values))
    parts[0::5] = [heads[item] for item in sensor.tolist()]
    parts[1::5] = orjson.dumps(times, option=_JSON)[1:-1].split(b",")
    parts[3::5] = orjson.dumps(values, option=_JSON)[1:-1].split(b",")
    parts[4::5] = [b"},"] * len(values)
    parts[-1] = b"}]"
    return b"[" + b"".join(parts)
