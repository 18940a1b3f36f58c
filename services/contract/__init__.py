"""What crosses the stream: the entry's schema and version, its codec, ids, names and instants.

The producer and the consumers import these and nothing else writes a field name. ``examples/`` holds entries
that must decode for ever.
"""

from .clear import clear, readings
from .codec import VERSION, decode, encode
from .entry import Batch, Columns, Entry
from .errors import DamagedEntryError, EntryError, NewerVersionError
from .ids import ANONYMOUS, group_of, keyed_id, member_id, new_group, position_of
from .names import GROUP, STREAM, StreamNames

__all__ = [
    "ANONYMOUS",
    "GROUP",
    "STREAM",
    "VERSION",
    "Batch",
    "Columns",
    "DamagedEntryError",
    "Entry",
    "EntryError",
    "NewerVersionError",
    "StreamNames",
    "clear",
    "decode",
    "encode",
    "group_of",
    "keyed_id",
    "member_id",
    "new_group",
    "position_of",
    "readings",
]
