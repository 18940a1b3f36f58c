"""How many workers a backlog needs: pure decisions from the stream's counts, with the manners of autoscaling/v2."""

from .algorithm import Decision, Measurement, State, decide
from .rates import Counts
from .spec import BacklogAutoscalerSpec, Behavior, Policy, PolicyType, ScaleDown, ScaleTarget, ScaleUp, SelectPolicy

__all__ = [
    "BacklogAutoscalerSpec",
    "Behavior",
    "Counts",
    "Decision",
    "Measurement",
    "Policy",
    "PolicyType",
    "ScaleDown",
    "ScaleTarget",
    "ScaleUp",
    "SelectPolicy",
    "State",
    "decide",
]
