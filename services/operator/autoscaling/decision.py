"""The decision: how many workers, and why.

Desired are the workers that drain the arrivals and, within the catch-up time, the backlog:
`(arrivals + backlog / catch-up time) / what one worker drains`. As in the HorizontalPodAutoscaler
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details) nothing changes within a
tolerance of the present number, a target at 0 is left alone, one outside the bounds is brought back at once, and
`behavior` holds back the rest: a recommendation comes first, then bounds, windows and policies. Where the backlog or
the rates are unknown the number of workers stays; where they say that more workers would not help, because nothing
drains or the database is the limit, only the age of the oldest entry adds workers, and two at most.
"""

import math
from dataclasses import dataclass, field, replace

from ..specs.scaling import BacklogAutoscalerSpec
from .behavior import History, limited, stabilised
from .rates import BUSY_WAIT, FORGET_AFTER, STALLED_AFTER, Counts, Rates, follow

__all__ = ["Decision", "Measurement", "State", "decide"]

TOLERANCE = 0.1
"""Share of the present number within which it stays, as the HorizontalPodAutoscaler's default."""

AGE_STEPS = 2
"""Workers that are added at most on the word of the oldest entry's age alone."""

KEPT_UP_FOR = 60.0
"""Seconds of keeping up after which one worker fewer is worth a try; scaleDown's window has its say beside it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is there now.

    Attributes:
        at: seconds of a clock that never goes back.
        replicas: the scale subresource's `spec.replicas`.
        ready: workers that are ready to drain.
        counts: the stream's, None where they could not be read; `problem` says why, for a person.
    """

    at: float
    replicas: int
    ready: int
    counts: Counts | None
    problem: str = "the stream's server does not tell its backlog"


@dataclass(frozen=True, slots=True)
class AgeGrowth:
    """Growth by age alone: since when the oldest entry has been too old, and how many workers there were."""

    since: float
    workers: int


@dataclass(frozen=True, slots=True)
class State:
    """What is kept from one decision to the next, in memory only: without it the number stays until rates are known.

    Attributes:
        rates: arrivals and drain.
        history: what `behavior` looks back on.
        pending: the change last decided, until it shows: when, from which number, to which.
        age_growth: growth that the age of the oldest entry alone caused, None while it is young enough.
        heard: when counts last came, or the state began.
    """

    rates: Rates = field(default_factory=Rates)
    history: History = field(default_factory=History)
    pending: tuple[float, int, int] | None = None
    age_growth: AgeGrowth | None = None
    heard: float | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A number of workers and why, before bounds and `behavior`; `frozen` where too little is known for one."""

    replicas: int
    reason: str
    message: str
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there shall be, and why.

    Attributes:
        replicas: what the scale is to be set to; the present number where nothing is to be done.
        reason: one word in CamelCase, for a condition.
        message: what a person needs to know, and to do where something is to be done.
        frozen: too little is known, so that the number of workers stays.
        limited: why it is not the recommended number (a reason of the HorizontalPodAutoscaler's condition
            ScalingLimited: TooManyReplicas, ScaleDownStabilized, …), or "".
        arrivals: rows/s that come in, None where unknown.
        drain: rows/s that one worker drains, None where unknown.
    """

    replicas: int
    reason: str
    message: str
    frozen: bool = False
    limited: str = ""
    arrivals: float | None = None
    drain: float | None = None


def decide(state: State, seen: Measurement, spec: BacklogAutoscalerSpec) -> tuple[State, Decision]:
    """Decide on the number of workers.

    The caller sets the scale to the decision's number where it differs, and comes back with what it then sees: a
    change counts for the policies once the number shows, so that one the API server refused does not.

    Returns:
        The state to decide with next, and the decision.
    """
    state = _caught_up(state, seen)
    rates = state.rates
    decision = _bounds(seen, spec) or _unknown(seen)
    if decision is None:
        recommendation, growth = _recommended(rates, state.age_growth, seen.at, seen.replicas, spec)
        decision = _behaved(state.history, seen, recommendation, spec)
        history = state.history.noted(seen.at, recommendation.replicas, spec.behavior)
        state = replace(state, age_growth=growth, history=history)
    if decision.replicas != seen.replicas:
        state = replace(state, pending=(seen.at, seen.replicas, decision.replicas))
    drain = rates.drain.each if rates.drain else None
    return state, replace(decision, arrivals=rates.arrivals.value if rates.arrivals.known else None, drain=drain)


def _caught_up(state: State, seen: Measurement) -> State:
    """Take in what is seen; begin anew after a gap, with the present number as the first recommendation.

    Without that first recommendation scaleDown's window would be empty after a restart, and the number could fall at
    once. Changes that took place are kept over a gap: the policies count what happened to the pods, not what is known.
    """
    heard = state.heard
    if heard is None or not 0 <= seen.at - heard <= FORGET_AFTER:
        changes = state.history.changes if heard is not None and seen.at >= heard else ()
        state = State(history=History(((seen.at, seen.replicas),), changes), heard=seen.at)
    if state.pending is not None:
        at, before, after = state.pending
        done = seen.replicas == after
        history = state.history.changed(at, before, after) if done else state.history
        state = replace(state, history=history, pending=None)
    if seen.counts is not None and seen.at - seen.counts.at <= FORGET_AFTER:
        state = replace(state, rates=follow(state.rates, seen.counts, seen.ready), heard=max(seen.at, seen.counts.at))
    return state


def _bounds(seen: Measurement, spec: BacklogAutoscalerSpec) -> Decision | None:
    """Bring a number outside the bounds back at once, as the HorizontalPodAutoscaler does, past `behavior`."""
    if seen.replicas == 0:
        return Decision(0, "ScalingDisabled", "the target is set to 0 workers; set it to 1 or more to scale it again")
    if seen.replicas > spec.max_replicas:
        return Decision(spec.max_replicas, "AboveMaximum", f"{seen.replicas} workers are more than maxReplicas")
    if seen.replicas < spec.min_replicas:
        return Decision(spec.min_replicas, "BelowMinimum", f"{seen.replicas} workers are fewer than minReplicas")
    return None


def _unknown(seen: Measurement) -> Decision | None:
    """Keep the number where the backlog is unknown, as the HorizontalPodAutoscaler does with a metric it cannot get."""
    if seen.counts is None:
        message = f"{seen.problem}; the number of workers stays until it does again"
        return Decision(seen.replicas, "BacklogUnknown", message, frozen=True)
    if seen.at - seen.counts.at > FORGET_AFTER:
        old = f"what is known of the backlog is {seen.at - seen.counts.at:.0f} s old"
        return Decision(seen.replicas, "BacklogStale", f"{old}; the number of workers stays", frozen=True)
    return None


def _behaved(
    history: History, seen: Measurement, recommendation: Recommendation, spec: BacklogAutoscalerSpec
) -> Decision:
    """Bring a recommendation within the bounds, the windows and the policies, in this order.

    The bounds hold behind the windows again, for these remember recommendations as they were, without bounds.
    """
    behavior, now, current = spec.behavior, seen.at, seen.replicas
    if recommendation.frozen:
        return Decision(current, recommendation.reason, recommendation.message, frozen=True)
    within = min(max(recommendation.replicas, spec.min_replicas), spec.max_replicas)
    stable = min(max(stabilised(history, now, current, within, behavior), spec.min_replicas), spec.max_replicas)
    final = limited(history, now, current, stable, behavior)
    limit = ""
    if final != stable:
        limit = "ScaleUpLimit" if stable > current else "ScaleDownLimit"
    elif stable != within:
        limit = "ScaleUpStabilized" if within > stable else "ScaleDownStabilized"
    elif within != recommendation.replicas:
        limit = "TooManyReplicas" if recommendation.replicas > within else "TooFewReplicas"
    return Decision(final, recommendation.reason, _told(recommendation, final, limit), limited=limit)


def _told(recommendation: Recommendation, final: int, limit: str) -> str:
    why = {
        "TooManyReplicas": f"maxReplicas is {final}; raise it if the database can take more",
        "TooFewReplicas": f"minReplicas is {final}",
        "ScaleUpStabilized": f"{final} until scaleUp's stabilization window agrees",
        "ScaleDownStabilized": f"{final} until scaleDown's stabilization window agrees",
        "ScaleUpLimit": f"{final} is as far as scaleUp's policies let it go now",
        "ScaleDownLimit": f"{final} is as far as scaleDown's policies let it go now",
    }.get(limit)
    return f"{recommendation.message}; {why}" if why else recommendation.message


def _recommended(
    rates: Rates, growth: AgeGrowth | None, now: float, current: int, spec: BacklogAutoscalerSpec
) -> tuple[Recommendation, AgeGrowth | None]:
    """Return what the rates and the age of the oldest entry ask for, and the growth by age to go on with.

    Age is looked at last, and only adds: it tells that something is too slow, and not whether workers are what is
    missing. So it grows by itself only where the rates do not grow already, and by few.

    Args:
        rates: with the newest counts in them.
        growth: what the last call returned.
        now: seconds.
        current: workers that the target is set to, ready or not.
        spec: for the catch-up time and the bounds.
    """
    counts = rates.last
    if counts is None or not rates.arrivals.known:
        message = f"arrivals are being measured; {current} workers stay meanwhile"
        return Recommendation(current, "MeasuringRates", message, frozen=True), growth
    if rates.ready == 0:
        message = f"none of {current} workers is ready; look at their pods, more of them would not help"
        return Recommendation(current, "NoReadyWorker", message, frozen=True), growth
    by_rates = _by_rates(rates, counts, current, spec)
    if counts.age <= spec.catch_up_seconds:
        return by_rates, None
    growth = growth or AgeGrowth(now, current)
    number = _by_age(growth, now, spec)
    if number <= by_rates.replicas:
        return by_rates, growth
    old = f"the oldest entry waits for {counts.age:.0f} s, longer than the catch-up time"
    message = f"{old}, so {number} workers are tried; {by_rates.message}"
    return Recommendation(number, "OldestTooOld", message), growth


def _by_age(growth: AgeGrowth, now: float, spec: BacklogAutoscalerSpec) -> int:
    """Add a worker for each catch-up time that the oldest entry stays too old, up to `AGE_STEPS`."""
    steps = 1 + int((now - growth.since) / spec.catch_up_seconds)
    return min(growth.workers + min(steps, AGE_STEPS), spec.max_replicas)


def _by_rates(rates: Rates, counts: Counts, current: int, spec: BacklogAutoscalerSpec) -> Recommendation:
    """Recommend what drains arrivals and backlog in the catch-up time, unless the rates say that they mislead.

    They mislead in three ways: nothing is settled at all, so that no rate is one of the workers'; the drain rate was
    measured when more workers shared the database than are needed, and is too low for few (`_fewer_tried`); or the
    workers added last brought nothing (`_worth_it`).
    """
    if rates.stalled >= STALLED_AFTER:
        wait = f"nothing was settled for {rates.stalled:.0f} s though {counts.rows} rows wait"
        message = f"{wait}; look at the database and the workers' logs, more workers hardly help"
        return Recommendation(current, "NothingDrains", message, frozen=True)
    drain = rates.drain
    if drain is None:
        return _unmeasured(rates, counts, current, spec)
    needed = (rates.arrivals.value + counts.rows / spec.catch_up_seconds) / drain.each
    # A quotient that is whole but for rounding must not ask for one worker more.
    number = current if abs(needed / current - 1) <= TOLERANCE else max(1, math.ceil(needed - 1e-9))
    flow = (
        f"{rates.arrivals.value:.0f} rows/s arrive and {counts.rows} rows wait, "
        f"a worker drains {drain.each:.0f} rows/s: {needed:.1f} workers drain it in {spec.catch_up_seconds} s"
    )
    keeps_up = counts.rows <= BUSY_WAIT * rates.arrivals.value
    if number >= current and keeps_up and rates.ready < drain.workers and _sharing_costs(rates):
        return _fewer_tried(rates, f"{flow}, measured when {drain.workers} slowed each other down", current)
    if number > current:
        return _worth_it(rates, Recommendation(number, "BacklogGrows", flow), current)
    return Recommendation(number, "FewerSuffice" if number < current else "WithinTolerance", flow)


def _fewer_tried(rates: Rates, flow: str, current: int) -> Recommendation:
    """Go down step by step while the workers keep up with what arrives, whatever the rate known so far says."""
    if rates.kept_up >= KEPT_UP_FOR and current > 1:
        message = f"{flow}; {current} have kept up, so one fewer is tried"
        return Recommendation(current - 1, "FewerMaySuffice", message)
    return Recommendation(current, "KeepsUp", f"{flow}; {current} keep up")


def _unmeasured(rates: Rates, counts: Counts, current: int, spec: BacklogAutoscalerSpec) -> Recommendation:
    """Go down only on what is a fact without a drain rate: nothing comes, or the workers have long kept up.

    This is the state after a restart beside workers that keep up: what they could drain shows only once entries wait,
    which may never be, and they must not stay for ever.
    """
    kept_up = rates.kept_up >= KEPT_UP_FOR
    if kept_up and rates.arrivals.value == 0 and counts.rows == 0:
        return Recommendation(spec.min_replicas, "NothingArrives", "nothing arrives and nothing waits")
    if kept_up and current > 1:
        message = f"{current} workers have kept up for {rates.kept_up:.0f} s; one fewer is tried"
        return Recommendation(current - 1, "FewerMaySuffice", message)
    message = f"what a worker drains shows only while entries wait; {current} workers stay meanwhile"
    return Recommendation(current, "MeasuringRates", message, frozen=True)


def _worth_it(rates: Rates, recommendation: Recommendation, current: int) -> Recommendation:
    """Stay where the last workers that were added brought nothing; age alone still adds a few, as a trial.

    A database that is the limit makes each worker slower, and the formula answers with ever more of them.
    """
    if rates.fruitless is None:
        return recommendation
    before, level = rates.fruitless
    message = (
        f"{recommendation.message}; but {level.workers} workers drain {level.rate.value:.0f} rows/s together, "
        f"{before.workers} drained {before.rate.value:.0f}: look at the database and at entries that stay pending, "
        "more workers hardly help"
    )
    return Recommendation(current, "MoreHardlyHelp", message)


def _sharing_costs(rates: Rates) -> bool:
    """Tell whether each of few workers drained clearly more than each of many: then the rate of many misleads."""
    few, many = rates.before, rates.level
    if few is None or many is None or not many.rate.known:
        return False
    return few.workers < many.workers and few.each > (1 + TOLERANCE) * many.each
