"""Arrivals and what a worker drains, followed from the stream's totals.

A worker's rate shows only while entries wait: where workers keep up, they drain what arrives, not what they could. So
the rate of a number of workers (a `Level`) is measured over spans in which entries waited all along and the number of
ready workers did not change; a worker that is starting takes no part. It is the whole fleet's rate, divided: the
database is shared, and a rate measured with many workers is too low for few, never too high.

Totals, not samples, are what is followed: between two looks nothing is missed, however far apart they are, and a look
that fails costs nothing but time. Everything is thrown away after a gap of `FORGET_AFTER` seconds, or when a total
falls (the stream's server lost data).
"""

from dataclasses import dataclass, replace

from services.platform.runtime.rates import UNMEASURED, Rate

__all__ = ["BUSY_WAIT", "FORGET_AFTER", "STALLED_AFTER", "Counts", "Level", "Rates", "follow"]

BUSY_WAIT = 2.0
"""Rows that wait for longer than this many seconds of draining keep every worker busy; fewer may be on their way
through workers that wait for more."""

STALLED_AFTER = 20.0
"""Seconds without a settled row, though rows wait, after which nothing drains; a transaction takes no longer."""

WORTH = 0.2
"""Share of its due that a further worker must bring, or adding it was fruitless. Low, for rates vary by themselves."""

FORGET_AFTER = 30.0
"""Seconds without counts after which rates are measured anew: what came meanwhile may be a burst or a long calm, and
the mean over the gap is neither."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the stream's server counted, in one step.

    Attributes:
        at: when, in seconds of the clock that `Measurement.at` has.
        accepted: rows ever written to the stream; never falls while the server keeps its data.
        settled: rows ever acknowledged and deleted, dead letters among them.
        rows: rows that wait, delivered or not.
        age: of the oldest entry, in seconds.
    """

    at: float
    accepted: int
    settled: int
    rows: int
    age: float


@dataclass(frozen=True, slots=True)
class Level:
    """What `workers` busy workers drained together, first measured at the time `since`."""

    workers: int
    since: float
    rate: Rate = UNMEASURED

    @property
    def each(self) -> float:
        """Rows/s of one worker."""
        return self.rate.value / self.workers


@dataclass(frozen=True, slots=True)
class Rates:
    """What the counts so far tell.

    Attributes:
        last: the newest counts.
        ready: workers that were ready then.
        arrivals: rows/s that come in.
        level: the present or latest number of workers at work.
        before: the one known before it.
        fruitless: two levels of which the second, with more workers, hardly drained more; until it is otherwise.
        base: where the span now measured began; `least`: the fewest rows that waited in it.
        stalled: for how many seconds nothing was settled though rows waited.
        kept_up: for how many seconds the same number of workers has kept up with the arrivals.
    """

    last: Counts | None = None
    ready: int = 0
    arrivals: Rate = UNMEASURED
    level: Level | None = None
    before: Level | None = None
    fruitless: tuple[Level, Level] | None = None
    base: Counts | None = None
    least: int = 0
    stalled: float = 0.0
    kept_up: float = 0.0

    @property
    def drain(self) -> Level | None:
        """The newest level that is known."""
        return next((level for level in (self.level, self.before) if level and level.rate.known), None)


def follow(rates: Rates, counts: Counts, ready: int) -> Rates:
    """Take in new counts and the number of workers that are ready.

    Arrivals do not depend on the workers and are measured at every look. What is drained is measured only between two
    looks that saw the same number of ready workers; another number begins another span.
    """
    last = rates.last
    if last is None or _broken(last, counts):
        return Rates(last=counts, ready=ready, base=counts, least=counts.rows)
    seconds = counts.at - last.at
    if seconds <= 0:
        return rates
    # One that became ready between the looks drained for a part of the time that nobody knows.
    steady = ready == rates.ready and ready > 0
    rates = replace(rates, arrivals=rates.arrivals.blend(counts.accepted - last.accepted, seconds))
    # Both looks: rows that came a moment ago could not have been settled, nor by workers that were not there.
    still = min(ready, rates.ready) > 0 and counts.settled == last.settled and min(counts.rows, last.rows) > 0
    rates = replace(rates, stalled=rates.stalled + seconds if still else 0.0)
    rates = _draining(rates, last, counts) if steady else replace(rates, kept_up=0.0, base=counts, least=counts.rows)
    return replace(rates, last=counts, ready=ready)


def _broken(last: Counts, counts: Counts) -> bool:
    """Tell whether nothing is to be learned from the difference of two counts."""
    fell = counts.accepted < last.accepted or counts.settled < last.settled
    return fell or abs(counts.at - last.at) > FORGET_AFTER


def _draining(rates: Rates, last: Counts, counts: Counts) -> Rates:
    """Measure the span since `base`, and begin the next one.

    A span is longer than from look to look where a large transaction lets nothing show meanwhile: it goes on until
    rows are settled, else those seconds would be lost and the rows of the transaction would seem to have taken none.
    Where the stall is a real one, the span ends and is not measured.
    """
    base, least = rates.base or last, min(rates.least, counts.rows)
    if 0 < rates.stalled < STALLED_AFTER:
        return replace(rates, least=least, kept_up=0.0)
    settled, seconds = counts.settled - base.settled, counts.at - base.at
    # The fewest rows that waited decide: had they run out in between, the workers drained what came, not what they can.
    busy = least > 0 and least >= BUSY_WAIT * settled / seconds
    kept_up = 0.0 if busy else rates.kept_up + counts.at - last.at
    fresh = replace(rates, base=counts, least=counts.rows, kept_up=kept_up)
    if settled and busy:
        fresh = _measured(fresh, rates.ready, settled, seconds, counts.at)
    return fresh


def _measured(rates: Rates, workers: int, settled: int, seconds: float, now: float) -> Rates:
    """Take a busy span into the level of its number of workers, and compare that with the level before.

    A level that was never known leaves no trace as `before`: of a number of workers that was there for seconds only
    nothing can be said, and what it would be compared with would be noise.
    """
    level, before = rates.level, rates.before
    if level is None or level.workers != workers:
        before = level if level is not None and level.rate.known else before
        level = Level(workers, now)
    level = replace(level, rate=level.rate.blend(settled, seconds))
    rates = replace(rates, level=level, before=before)
    if before is None or not level.rate.known:
        return rates
    return replace(rates, fruitless=(before, level) if _fruitless(before, level) else None)


def _fruitless(before: Level, level: Level) -> bool:
    """Tell whether more workers drain hardly more together than fewer did.

    Their due is what the workers before would drain if there were so many of them: twice the workers owe twice the
    rate. A fall owes nothing, so that only growth can be fruitless.
    """
    due = before.rate.value * (level.workers / before.workers - 1)
    return level.workers > before.workers and level.rate.value - before.rate.value < WORTH * due
