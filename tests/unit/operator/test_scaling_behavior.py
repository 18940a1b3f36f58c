"""Laws of `behavior`, against a timeline of the number of workers."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.operator.autoscaling.behavior import History, limited, stabilised
from services.operator.specs.scaling import (
    BacklogAutoscalerSpec,
    Behavior,
    Policy,
    PolicyType,
    ScaleDown,
    ScaleUp,
    SelectPolicy,
)

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"}

_policies = st.lists(
    st.builds(Policy, type=st.sampled_from(PolicyType), value=st.integers(1, 120), periodSeconds=st.integers(1, 90)),
    min_size=1,
    max_size=3,
).map(tuple)
_rules = {
    "stabilization_window_seconds": st.integers(0, 90),
    "select_policy": st.sampled_from(SelectPolicy),
    "policies": _policies,
}
behaviors = st.builds(Behavior, scale_up=st.builds(ScaleUp, **_rules), scale_down=st.builds(ScaleDown, **_rules))
_walk = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=40)


@dataclass
class Timeline:
    """The model: what was recommended and how many workers there were, second by second."""

    workers: dict[int, int] = field(default_factory=dict)
    recommended: dict[int, int] = field(default_factory=dict)

    def allowed(self, now: int, desired: int, behavior: Behavior) -> int:
        current = self.workers[now - 1]
        up = min([desired, *self.within(now, behavior.scale_up.stabilization_window_seconds)])
        down = max([desired, *self.within(now, behavior.scale_down.stabilization_window_seconds)])
        calm = up if up > current else min(current, down)
        rules = behavior.scale_up if calm > current else behavior.scale_down
        if calm == current or rules.select_policy is SelectPolicy.DISABLED:
            return current
        sign = 1 if calm > current else -1
        reach = [self.reach(policy, now, sign) for policy in rules.policies]
        widest = (max if sign > 0 else min) if rules.select_policy is SelectPolicy.MAX else (min if sign > 0 else max)
        return sorted((current, calm, widest(reach)))[1]

    def within(self, now: int, window: int) -> list[int]:
        return [desired for second, desired in self.recommended.items() if now - window < second < now]

    def reach(self, policy: Policy, now: int, sign: int) -> int:
        start = self.workers.get(now - policy.period_seconds, self.workers[0])
        return start + sign * (policy.value if policy.type is PolicyType.PODS else -(-start * policy.value // 100))


@given(behaviors, st.integers(0, 60), _walk)
def test_windows_and_policies_hold_against_a_timeline(
    behavior: Behavior, start: int, walk: list[tuple[int, int]]
) -> None:
    model, history, current, now = Timeline({0: start}), History(), start, 0
    for pause, desired in walk:
        for second in range(now + 1, now + pause):
            model.workers[second] = current
        now += pause
        model.workers.setdefault(now - 1, current)
        calm = stabilised(history, now, current, desired, behavior)
        found = limited(history, now, current, calm, behavior)
        assert found == model.allowed(now, desired, behavior)
        history = history.noted(now, desired, behavior).changed(now, current, found)
        model.recommended[now], model.workers[now], current = desired, found, found


@given(st.integers(1, 100))
def test_by_default_growth_may_double_at_once_and_shrinking_halves_a_minute(current: int) -> None:
    behavior, empty = Behavior(), History()
    assert limited(empty, 0, current, 1000, behavior) == max(2 * current, current + 4)
    assert limited(empty, 0, current, 0, behavior) == current // 2


def test_a_spec_is_read_as_kubernetes_writes_it() -> None:
    rules = {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}]}
    spec = BacklogAutoscalerSpec.model_validate(
        {"scaleTargetRef": TARGET, "maxReplicas": 5, "behavior": {"scaleDown": rules}}
    )
    assert (spec.min_replicas, spec.catch_up_seconds, spec.behavior.scale_up) == (1, 60, ScaleUp())
    assert spec.behavior.scale_down.policies == (Policy(type=PolicyType.PODS, value=1, period_seconds=30),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"minReplicas": 6},
        {"minReplicas": 0},
        {"cathUpSeconds": 5},
        {"behavior": {"scaleUp": {"policies": []}}},
        {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}},
    ],
)
def test_a_wrong_spec_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BacklogAutoscalerSpec.model_validate({"scaleTargetRef": TARGET, "maxReplicas": 5, **wrong})
