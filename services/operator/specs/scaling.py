"""What people write into the `spec` of a BacklogAutoscaler: bounds, catch-up time, and `behavior` of autoscaling/v2.

Field names, bounds and meaning of `behavior` are those of the HorizontalPodAutoscaler
(https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/), and so is what
is not given: scaling up starts at once and may add 4 workers or double them every 15 s, whichever is more. Only scaling
down is calmer: after the same 300 s of stabilisation at most half of the workers go in a minute, where the
HorizontalPodAutoscaler would let all go in 15 s.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from .resources import Resource

__all__ = [
    "BacklogAutoscalerSpec",
    "Behavior",
    "Policy",
    "PolicyType",
    "ScaleDown",
    "ScaleTarget",
    "ScaleUp",
    "SelectPolicy",
]

Replicas = Annotated[int, Field(ge=1, le=1000)]
Seconds = Annotated[int, Field(ge=0, le=3600)]


class _Part(Resource):
    model_config = ConfigDict(populate_by_name=True)


class PolicyType(StrEnum):
    """What the value of a policy counts."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which policy holds where there are several: that of the largest change, of the smallest, or no change at all."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class Policy(_Part):
    """At most `value` workers, or per cent of the workers, in any `period_seconds`."""

    type: PolicyType
    value: int = Field(ge=1)
    period_seconds: int = Field(ge=1, le=1800)


Policies = Annotated[tuple[Policy, ...], Field(min_length=1)]


class ScaleUp(_Part):
    """How the number grows; within the window the lowest number that was recommended counts."""

    stabilization_window_seconds: Seconds = 0
    select_policy: SelectPolicy = SelectPolicy.MAX
    policies: Policies = (
        Policy(type=PolicyType.PERCENT, value=100, period_seconds=15),
        Policy(type=PolicyType.PODS, value=4, period_seconds=15),
    )


class ScaleDown(_Part):
    """How the number shrinks; within the window the highest number that was recommended counts."""

    stabilization_window_seconds: Seconds = 300
    select_policy: SelectPolicy = SelectPolicy.MAX
    policies: Policies = (Policy(type=PolicyType.PERCENT, value=50, period_seconds=60),)


class Behavior(_Part):
    """Steps and calm in both directions."""

    scale_up: ScaleUp = ScaleUp()
    scale_down: ScaleDown = ScaleDown()


class ScaleTarget(_Part):
    """What is scaled, by its scale subresource."""

    api_version: str = Field(min_length=1)
    kind: str = Field(min_length=1)
    name: str = Field(min_length=1)


class BacklogAutoscalerSpec(_Part):
    """Keeps as many workers as drain the arrivals and the backlog within `catch_up_seconds`."""

    scale_target_ref: ScaleTarget
    min_replicas: Replicas = 1
    max_replicas: Replicas
    catch_up_seconds: int = Field(default=60, ge=5, le=86400)
    behavior: Behavior = Behavior()

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas is above maxReplicas; lower it or raise maxReplicas")
        return self
