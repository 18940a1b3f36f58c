"""The one gateway to the stream: whatever moves an entry moves its counts in the same script."""

from .connection import STREAM_ERRORS, Durability, durability, is_full, redis_client, settings_problem
from .gateway import Backlog, DeadLetter, Delivery, GroupMissingError, Settlement, Stream
from .news import Listener, News, Outcome

__all__ = [
    "STREAM_ERRORS",
    "Backlog",
    "DeadLetter",
    "Delivery",
    "Durability",
    "GroupMissingError",
    "Listener",
    "News",
    "Outcome",
    "Settlement",
    "Stream",
    "durability",
    "is_full",
    "redis_client",
    "settings_problem",
]
