"""The one gateway to the stream: whatever moves an entry moves its counts in the same script."""

from .connection import (
    STREAM_ERRORS,
    Durability,
    answers_nothing,
    durability,
    fsyncs_each,
    is_misused,
    names_of,
    redis_client,
    said,
    settings_problem,
    takes_no_writes,
    waitaof_holds,
)
from .dead_letters import FIRST, DeadLetters, Letter, LetterGoneError, Search
from .discovery import Server, server_of
from .gateway import Backlog, Delivery, GroupMissingError, Losses, Settlement, Stream
from .settlements import Listener
from .usage import Usages

__all__ = [
    "FIRST",
    "STREAM_ERRORS",
    "Backlog",
    "DeadLetters",
    "Delivery",
    "Durability",
    "GroupMissingError",
    "Letter",
    "LetterGoneError",
    "Listener",
    "Losses",
    "Search",
    "Server",
    "Settlement",
    "Stream",
    "Usages",
    "answers_nothing",
    "durability",
    "fsyncs_each",
    "is_misused",
    "names_of",
    "redis_client",
    "said",
    "server_of",
    "settings_problem",
    "takes_no_writes",
    "waitaof_holds",
]
