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

    def noted(self, now: float, wish: int, behavior: Behavior) -> "History":
        """Note a recommendation as it was before stabilisation, and forget what no window or policy asks for."""
        rules = (behavior.scale_up, behavior.scale_down)
        window = max(rule.stabilization_window_seconds for rule in rules)
        period = max(policy.period_seconds for rule in rules for policy in rule.policies)
        return History((*_since(self.recommended, now - window), (now, wish)), _since(self.changes, now - period))

    def changed(self, now: float, before: int, after: int) -> "History":
        """Note a change that took place."""
        return replace(self, changes=(*self.changes, (now, after - before))) if before != after else self


def stabilised(history: History, now: float, current: int, wish: int, behavior: Behavior) -> int:
    """Return `wish`, held back by the recommendations inside the windows.

    Growth goes to the lowest number recommended within scaleUp's window, shrinking to the highest within scaleDown's;
    between the two the number stays.
    """
    up_since = now - behavior.scale_up.stabilization_window_seconds
    down_since = now - behavior.scale_down.stabilization_window_seconds
    lowest = min([wish, *(number for _, number in _since(history.recommended, up_since))])
    highest = max([wish, *(number for _, number in _since(history.recommended, down_since))])
    return min(max(current, lowest), highest)


def limited(history: History, now: float, current: int, wish: int, behavior: Behavior) -> int:
    """Return the number of workers nearest to `wish` that the policies let be reached from `current` now."""
    if wish > current:
        return min(wish, max(current, _up_limit(history, now, current, behavior.scale_up)))
    if wish < current:
        return max(wish, min(current, _down_limit(history, now, current, behavior.scale_down)))
    return current


def _up_limit(history: History, now: float, current: int, rules: ScaleUp) -> int:
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
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    proposed = []
    for policy in rules.policies:
        start = _period_start(history, now, current, policy.period_seconds)
        fewer = policy.value if policy.type is PolicyType.PODS else math.ceil(start * policy.value / 100)
        proposed.append(start - fewer)
    return max(proposed) if rules.select_policy is SelectPolicy.MIN else min(proposed)


def _period_start(history: History, now: float, current: int, period: float) -> int:
    return current - sum(change for _, change in _since(history.changes, now - period))


def _since(noted: Noted, time: float) -> Noted:
    return tuple(note for note in noted if note[0] > time)
