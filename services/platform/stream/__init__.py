"""The one gateway to the stream: whatever moves an entry moves its counts in the same script."""

from .connection import Durability, durability, redis_client, settings_problem
from .gateway import Backlog, DeadLetter, Delivery, GroupMissingError, Outcome, Settlement, Stream

__all__ = [
    "Backlog",
    "DeadLetter",
    "Delivery",
    "Durability",
    "GroupMissingError",
    "Outcome",
    "Settlement",
    "Stream",
    "durability",
    "redis_client",
    "settings_problem",
]
