"""The one gateway to the stream: whatever moves an entry moves its counts in the same script."""

from .addresses import Server, server_of
from .connection import (
    STREAM_ERRORS,
    Durability,
    durability,
    fsyncs_each,
    is_full,
    redis_client,
    settings_problem,
    waitaof_holds,
)
from .dead import FIRST, DeadLetters, Letter, LetterGoneError, Search
from .gateway import Backlog, DeadLetter, Delivery, GroupMissingError, Settlement, Stream
from .news import Listener, News, Outcome

__all__ = [
    "FIRST",
    "STREAM_ERRORS",
    "Backlog",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Durability",
    "GroupMissingError",
    "Letter",
    "LetterGoneError",
    "Listener",
    "News",
    "Outcome",
    "Search",
    "Server",
    "Settlement",
    "Stream",
    "durability",
    "fsyncs_each",
    "is_full",
    "redis_client",
    "server_of",
    "settings_problem",
    "waitaof_holds",
]
