"""How many workers the rates ask for, before bounds and `behavior`."""

import math
from dataclasses import dataclass

from ..specs.scaling import BacklogAutoscalerSpec
from .rates import BUSY_WAIT, STALLED_AFTER, Counts, Rates

__all__ = ["Blind", "Wish", "wished"]

TOLERANCE = 0.1
"""Share of the present number within which it stays, as the HorizontalPodAutoscaler's default."""

BLIND_STEPS = 2
"""Workers that are added at most on the word of the oldest entry's age alone."""

EASY_AFTER = 60.0
"""Seconds of keeping up after which one worker fewer is worth a try; scaleDown's window has its say beside it."""


@dataclass(frozen=True, slots=True)
class Blind:
    """Growth by age alone: since when the oldest entry has been too old, and how many workers there were."""

    since: float
    workers: int


@dataclass(frozen=True, slots=True)
class Wish:
    """A number of workers and why; `frozen` where too little is known for one."""

    replicas: int
    reason: str
    message: str
    frozen: bool = False


def wished(
    rates: Rates, blind: Blind | None, now: float, current: int, spec: BacklogAutoscalerSpec
) -> tuple[Wish, Blind | None]:
    """Return what the rates ask for, and the growth by age to go on with.

    Args:
        rates: with the newest counts in them.
        blind: what the last call returned.
        now: seconds.
        current: workers that the target is set to, ready or not.
        spec: for the catch-up time and the window of scaling down.
    """
    counts = rates.last
    if counts is None or not rates.arrivals.known:
        message = f"arrivals are being measured; {current} workers stay meanwhile"
        return Wish(current, "MeasuringRates", message, frozen=True), blind
    if rates.ready == 0:
        message = f"none of {current} workers is ready; look at their pods, more of them would not help"
        return Wish(current, "NoReadyWorker", message, frozen=True), blind
    wish = _by_rates(rates, counts, current, spec)
    if counts.age <= spec.catch_up_seconds:
        return wish, None
    blind = blind or Blind(now, current)
    number = _by_age(blind, now, spec)
    if number <= wish.replicas:
        return wish, blind
    old = f"the oldest entry waits for {counts.age:.0f} s, longer than the catch-up time"
    return Wish(number, "OldestTooOld", f"{old}, so {number} workers are tried; {wish.message}"), blind


def _by_age(blind: Blind, now: float, spec: BacklogAutoscalerSpec) -> int:
    """Add a worker for each catch-up time that the oldest entry stays too old, up to `BLIND_STEPS`."""
    steps = 1 + int((now - blind.since) / spec.catch_up_seconds)
    return min(blind.workers + min(steps, BLIND_STEPS), spec.max_replicas)


def _by_rates(rates: Rates, counts: Counts, current: int, spec: BacklogAutoscalerSpec) -> Wish:
    if rates.stalled >= STALLED_AFTER:
        wait = f"nothing was settled for {rates.stalled:.0f} s though {counts.rows} rows wait"
        message = f"{wait}; look at the database and the workers' logs, more workers hardly help"
        return Wish(current, "NothingDrains", message, frozen=True)
    drain = rates.drain
    if drain is None:
        return _unmeasured(rates, counts, current, spec)
    needed = (rates.arrivals.value + counts.rows / spec.catch_up_seconds) / drain.each
    number = current if abs(needed / current - 1) <= TOLERANCE else max(1, math.ceil(needed - 1e-9))
    load = (
        f"{rates.arrivals.value:.0f} rows/s arrive and {counts.rows} rows wait, "
        f"a worker drains {drain.each:.0f} rows/s: {needed:.1f} workers drain it in {spec.catch_up_seconds} s"
    )
    keeps_up = counts.rows <= BUSY_WAIT * rates.arrivals.value
    if number >= current and keeps_up and rates.ready < drain.workers and _sharing_costs(rates):
        return _tried(rates, f"{load}, measured when {drain.workers} slowed each other down", current)
    if number > current:
        return _worth_it(rates, Wish(number, "BacklogGrows", load), current)
    return Wish(number, "FewerSuffice" if number < current else "WithinTolerance", load)


def _tried(rates: Rates, load: str, current: int) -> Wish:
    """Go down step by step while the workers keep up with what arrives, whatever the rate known so far says."""
    if rates.easy >= EASY_AFTER and current > 1:
        return Wish(current - 1, "FewerMaySuffice", f"{load}; {current} have kept up, so one fewer is tried")
    return Wish(current, "KeepsUp", f"{load}; {current} keep up")


def _unmeasured(rates: Rates, counts: Counts, current: int, spec: BacklogAutoscalerSpec) -> Wish:
    """Go down only on what is a fact without a drain rate: nothing comes, or the workers have long kept up."""
    easy = rates.easy >= EASY_AFTER
    if easy and rates.arrivals.value == 0 and counts.rows == 0:
        return Wish(spec.min_replicas, "NothingArrives", "nothing arrives and nothing waits")
    if easy and current > 1:
        message = f"{current} workers have kept up for {rates.easy:.0f} s; one fewer is tried"
        return Wish(current - 1, "FewerMaySuffice", message)
    message = f"what a worker drains shows only while entries wait; {current} workers stay meanwhile"
    return Wish(current, "MeasuringRates", message, frozen=True)


def _worth_it(rates: Rates, wish: Wish, current: int) -> Wish:
    """Stay where the last workers that were added brought nothing; age alone still adds a few, as a trial."""
    if rates.fruitless is None:
        return wish
    before, level = rates.fruitless
    message = (
        f"{wish.message}; but {level.workers} workers drain {level.rate.value:.0f} rows/s together, {before.workers} "
        f"drained {before.rate.value:.0f}: look at the database and at entries that stay pending, "
        "more workers hardly help"
    )
    return Wish(current, "MoreHardlyHelp", message)


def _sharing_costs(rates: Rates) -> bool:
    few, many = rates.before, rates.level
    if few is None or many is None or not many.rate.known:
        return False
    return few.workers < many.workers and few.each > (1 + TOLERANCE) * many.each
