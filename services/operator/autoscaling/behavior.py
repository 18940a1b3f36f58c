"""Stabilisation windows and policies of autoscaling/v2.

The algorithm is the HorizontalPodAutoscaler's, as
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior describes it
and kubernetes/kubernetes `pkg/controller/podautoscaler/horizontal.go` does it: first
`stabilizeRecommendationWithBehaviors`, then `convertDesiredReplicasWithBehaviorRate`. What the policies count are
changes that really took place, so `History.changed` is called once a change is known to be done.
"""

import math
from dataclasses import dataclass, replace

from ..specs.scaling import Behavior, PolicyType, ScaleDown, ScaleUp, SelectPolicy

__all__ = ["History", "limited", "stabilised"]

Noted = tuple[tuple[float, int], ...]
"""Times in seconds, with a number of workers each."""


@dataclass(frozen=True, slots=True)
class History:
    """What was recommended, and by how much the number of workers changed (up above zero), each with its time."""

    recommended: Noted = ()
    changes: Noted = ()

    def noted(self, now: float, desired: int, behavior: Behavior) -> "History":
        """Note a recommendation as it was before stabilisation, and forget what no window or policy asks for."""
        rules = (behavior.scale_up, behavior.scale_down)
        window = max(rule.stabilization_window_seconds for rule in rules)
        period = max(policy.period_seconds for rule in rules for policy in rule.policies)
        return History((*_since(self.recommended, now - window), (now, desired)), _since(self.changes, now - period))

    def changed(self, now: float, before: int, after: int) -> "History":
        """Note a change that took place."""
        return replace(self, changes=(*self.changes, (now, after - before))) if before != after else self


def stabilised(history: History, now: float, current: int, desired: int, behavior: Behavior) -> int:
    """Return `desired`, held back by the recommendations inside the windows.

    Growth goes to the lowest number recommended within scaleUp's window, shrinking to the highest within scaleDown's;
    between the two the number stays.
    """
    up_since = now - behavior.scale_up.stabilization_window_seconds
    down_since = now - behavior.scale_down.stabilization_window_seconds
    lowest = min([desired, *(number for _, number in _since(history.recommended, up_since))])
    highest = max([desired, *(number for _, number in _since(history.recommended, down_since))])
    return min(max(current, lowest), highest)


def limited(history: History, now: float, current: int, desired: int, behavior: Behavior) -> int:
    """Return the number of workers nearest to `desired` that the policies let be reached from `current` now."""
    if desired > current:
        return min(desired, max(current, _up_limit(history, now, current, behavior.scale_up)))
    if desired < current:
        return max(desired, min(current, _down_limit(history, now, current, behavior.scale_down)))
    return current


def _up_limit(history: History, now: float, current: int, rules: ScaleUp) -> int:
    """Return how far up the policies let it go: each counts from the number that there was when its period began."""
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    proposed = []
    for policy in rules.policies:
        start = _period_start(history, now, current, policy.period_seconds)
        # Exact integers: 10 workers and 10 per cent must not become 12 by a rounding of 1.1.
        more = policy.value if policy.type is PolicyType.PODS else math.ceil(start * policy.value / 100)
        proposed.append(start + more)
    return min(proposed) if rules.select_policy is SelectPolicy.MIN else max(proposed)


def _down_limit(history: History, now: float, current: int, rules: ScaleDown) -> int:
    """Return how far down the policies let it go; the largest change is here the lowest number."""
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    proposed = []
    for policy in rules.policies:
        start = _period_start(history, now, current, policy.period_seconds)
        fewer = policy.value if policy.type is PolicyType.PODS else math.ceil(start * policy.value / 100)
        proposed.append(start - fewer)
    return max(proposed) if rules.select_policy is SelectPolicy.MIN else min(proposed)


def _period_start(history: History, now: float, current: int, period: float) -> int:
    """Return how many workers there were `period` seconds ago: those of now, less the changes since."""
    return current - sum(change for _, change in _since(history.changes, now - period))


def _since(noted: Noted, time: float) -> Noted:
    return tuple(note for note in noted if note[0] > time)
