"""The aggregates as the oracle of `/series` makes them: plain Python over the readings of a group of sensors."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

__all__ = ["AGGREGATES", "HELD", "PERCENTILES", "SUMMED", "Placed", "Window", "covered", "made"]

AGGREGATES = [
    *("avg", "min", "max", "sum", "count", "first", "last", "stddev"),
    *("delta", "increase", "rate", "integral", "twa"),
]
PERCENTILES = ["median", "p0", "p25", "p90", "p99.9", "p100", "p33.333333"]
HELD = {"integral", "twa"}
SUMMED = {"avg", "sum", "stddev", "delta", "increase", "rate", "integral", "twa"}
"""The aggregates that are sums in some order."""


@dataclass(frozen=True)
class Placed:
    """A reading of some sensor."""

    at: datetime
    id: int
    value: float
    sensor: str


@dataclass(frozen=True)
class Window:
    """A bucket as far as the range reaches, and until when the last value of a sensor is held."""

    low: datetime
    high: datetime
    until: datetime


def made(name: str, readings: Sequence[Placed], window: Window) -> float | None:
    """Return an aggregate of a bucket, of all readings of its sensors in the order of (at, id), those outside too."""
    inside = [reading for reading in readings if window.low <= reading.at < window.high]
    if name in HELD:
        spans = list(_spans(readings, window))
        seconds = math.fsum(span for span, _ in spans)
        area = math.fsum(span * value for span, value in spans)
        return None if seconds == 0 else area if name == "integral" else area / seconds
    if name in {"increase", "rate"}:
        rise = math.fsum(step for reading, step in _steps(readings) if reading in inside)
        return rise if name == "increase" else rise / (window.high - window.low).total_seconds()
    if name == "delta":
        return math.fsum(own[-1].value - own[0].value for own in _by_sensor(inside))
    values = [reading.value for reading in inside]
    return _percentile(name, values) if name in PERCENTILES else _OF_VALUES[name](values)


def covered(readings: Sequence[Placed], window: Window) -> bool:
    """Tell whether any value is held in a bucket."""
    return any(span > 0 for span, _ in _spans(readings, window))


def _by_sensor(readings: Iterable[Placed]) -> list[list[Placed]]:
    sensors: dict[str, list[Placed]] = {}
    for reading in readings:
        sensors.setdefault(reading.sensor, []).append(reading)
    return list(sensors.values())


def _steps(readings: Sequence[Placed]) -> Iterable[tuple[Placed, float]]:
    for own in _by_sensor(readings):
        for before, reading in pairwise(own):
            yield reading, reading.value - before.value if reading.value >= before.value else reading.value


def _spans(readings: Sequence[Placed], window: Window) -> Iterable[tuple[float, float]]:
    for own in _by_sensor(readings):
        ends = [reading.at for reading in own[1:]]
        # Behind the range nothing is looked at.
        for reading, end in zip(own, [*ends, max(window.until, own[-1].at)], strict=True):
            low, high = max(reading.at, window.low), min(end, window.high)
            if high > low:
                yield (high - low) / timedelta(seconds=1), reading.value


def _percentile(name: str, values: Sequence[float]) -> float:
    """Return what lies between the two readings around a place, as `percentile_cont` has it."""
    ordered = sorted(values)
    place = (0.5 if name == "median" else float(name[1:]) / 100) * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (place - math.floor(place)) * (high - low)


def _stddev(values: Sequence[float]) -> float | None:
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


_OF_VALUES: dict[str, Callable[[Sequence[float]], float | None]] = {
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "sum": math.fsum,
    "count": len,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "stddev": _stddev,
}
