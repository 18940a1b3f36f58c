"""From BacklogAutoscalers to the scale of their workers: what the decisions of `scaling` need, and what they cause."""

from .loop import Autoscaling

__all__ = ["Autoscaling"]
