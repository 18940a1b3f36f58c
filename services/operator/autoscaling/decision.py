"""The decision: how many workers, and why.

Wanted are the workers that drain the arrivals and, within the catch-up time, the backlog:
`(arrivals + backlog / catch-up time) / what one worker drains`. As in the HorizontalPodAutoscaler
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details) nothing changes within a
tolerance of the present number, a target at 0 is left alone, one outside the bounds is brought back at once, and
`behavior` holds back the rest. Where numbers are missing the number of workers stays; where they say that more workers
would not help, because nothing drains or the database is the limit, only the age of the oldest entry adds workers, and
two at most.
"""

from dataclasses import dataclass, field, replace

from ..specs.scaling import BacklogAutoscalerSpec
from .behavior import History, limited, stabilised
from .desired import Blind, Wish, wished
from .rates import FORGET_AFTER, Counts, Rates, follow

__all__ = ["Decision", "Measurement", "State", "decide"]


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
    problem: str = "the stream's server gave no numbers"


@dataclass(frozen=True, slots=True)
class State:
    """What is kept from one decision to the next, in memory only: without it the number stays until rates are known.

    Attributes:
        rates: arrivals and drain.
        history: what `behavior` looks back on.
        asked: the number last decided and the one it was to replace, until it shows, with the time.
        blind: growth without known rates.
        heard: when numbers last came, or the state began.
    """

    rates: Rates = field(default_factory=Rates)
    history: History = field(default_factory=History)
    asked: tuple[float, int, int] | None = None
    blind: Blind | None = None
    heard: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there shall be, and why.

    Attributes:
        replicas: what the scale is to be set to; the present number where nothing is to be done.
        reason: one word in CamelCase, for a condition.
        message: what a person needs to know, and to do where something is to be done.
        frozen: the numbers do not suffice, so that the number of workers stays.
        held: why it is not the number that the numbers ask for (a reason of the HorizontalPodAutoscaler's
            ScalingLimited: TooManyReplicas, ScaleDownStabilized, …), or "".
        arrivals: rows/s that come in, None where unknown.
        drain: rows/s that one worker drains, None where unknown.
    """

    replicas: int
    reason: str
    message: str
    frozen: bool = False
    held: str = ""
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
    decision = _bounds(seen, spec) or _missing(seen)
    if decision is None:
        wish, blind = wished(rates, state.blind, seen.at, seen.replicas, spec)
        state = replace(state, blind=blind)
        decision = _behaved(state.history, seen, wish, spec)
        state = replace(state, history=state.history.noted(seen.at, wish.replicas, spec.behavior))
    if decision.replicas != seen.replicas:
        state = replace(state, asked=(seen.at, seen.replicas, decision.replicas))
    drain = rates.drain.each if rates.drain else None
    return state, replace(decision, arrivals=rates.arrivals.value if rates.arrivals.known else None, drain=drain)


def _caught_up(state: State, seen: Measurement) -> State:
    """Take in what is seen; begin anew after a gap, with the present number as the first recommendation."""
    heard = state.heard
    if heard is None or not 0 <= seen.at - heard <= FORGET_AFTER:
        changes = state.history.changes if heard is not None and seen.at >= heard else ()
        state = State(history=History(((seen.at, seen.replicas),), changes), heard=seen.at)
    if state.asked is not None:
        at, before, after = state.asked
        done = seen.replicas == after
        state = replace(state, history=state.history.changed(at, before, after) if done else state.history, asked=None)
    if seen.counts is not None and seen.at - seen.counts.at <= FORGET_AFTER:
        state = replace(state, rates=follow(state.rates, seen.counts, seen.ready), heard=max(seen.at, seen.counts.at))
    return state


def _bounds(seen: Measurement, spec: BacklogAutoscalerSpec) -> Decision | None:
    if seen.replicas == 0:
        return Decision(0, "ScalingDisabled", "the target is set to 0 workers; set it to 1 or more to scale it again")
    if seen.replicas > spec.max_replicas:
        return Decision(spec.max_replicas, "AboveMaximum", f"{seen.replicas} workers are more than maxReplicas")
    if seen.replicas < spec.min_replicas:
        return Decision(spec.min_replicas, "BelowMinimum", f"{seen.replicas} workers are fewer than minReplicas")
    return None


def _missing(seen: Measurement) -> Decision | None:
    if seen.counts is None:
        message = f"{seen.problem}; the number of workers stays until numbers come again"
        return Decision(seen.replicas, "NumbersMissing", message, frozen=True)
    if seen.at - seen.counts.at > FORGET_AFTER:
        old = f"the stream's numbers are {seen.at - seen.counts.at:.0f} s old"
        return Decision(seen.replicas, "NumbersStale", f"{old}; the number of workers stays", frozen=True)
    return None


def _behaved(history: History, seen: Measurement, wish: Wish, spec: BacklogAutoscalerSpec) -> Decision:
    """Bring the wish within the bounds, the windows and the policies, in this order."""
    behavior, now, current = spec.behavior, seen.at, seen.replicas
    if wish.frozen:
        return Decision(current, wish.reason, wish.message, frozen=True)
    within = min(max(wish.replicas, spec.min_replicas), spec.max_replicas)
    calm = min(max(stabilised(history, now, current, within, behavior), spec.min_replicas), spec.max_replicas)
    final = limited(history, now, current, calm, behavior)
    held = ""
    if final != calm:
        held = "ScaleUpLimit" if calm > current else "ScaleDownLimit"
    elif calm != within:
        held = "ScaleUpStabilized" if within > calm else "ScaleDownStabilized"
    elif within != wish.replicas:
        held = "TooManyReplicas" if wish.replicas > within else "TooFewReplicas"
    return Decision(final, wish.reason, _told(wish, final, held), held=held)


def _told(wish: Wish, final: int, held: str) -> str:
    why = {
        "TooManyReplicas": f"maxReplicas is {final}; raise it if the database can take more",
        "TooFewReplicas": f"minReplicas is {final}",
        "ScaleUpStabilized": f"{final} until scaleUp's stabilization window agrees",
        "ScaleDownStabilized": f"{final} until scaleDown's stabilization window agrees",
        "ScaleUpLimit": f"{final} is as far as scaleUp's policies let it go now",
        "ScaleDownLimit": f"{final} is as far as scaleDown's policies let it go now",
    }.get(held)
    return f"{wish.message}; {why}" if why else wish.message
