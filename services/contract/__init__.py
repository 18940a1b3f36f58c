"""What crosses between processes, each with its version: entries, dead letters, settlement events, usage; ids, names.

The producer and the consumers import these and nothing else writes a field name. ``examples/`` holds entries
that must decode for ever.
"""

from .codec import VERSION, decode, encode
from .dead_letter import LETTER_VERSION, DeadLetter, decode_letter, encode_letter
from .entry import Batch, Columns, Entry, Slice
from .errors import DamagedEntryError, EntryError, NewerVersionError
from .ids import ANONYMOUS, group_of, keyed_id, member_id, new_group, position_of
from .names import GROUP, STREAM, StreamNames
from .readable import readable_entry, readings
from .series import Series, SeriesError, check_series, series_id, series_of
from .settlement import (
    SETTLEMENT_VERSION,
    Outcome,
    SettlementEvent,
    Verdict,
    decode_refusals,
    decode_settlement,
    encode_refusals,
    encode_settlement,
)
from .usage import USAGE_VERSION, CallerUsage, decode_usage, encode_usage

__all__ = [
    "ANONYMOUS",
    "GROUP",
    "LETTER_VERSION",
    "SETTLEMENT_VERSION",
    "STREAM",
    "USAGE_VERSION",
    "VERSION",
    "Batch",
    "CallerUsage",
    "Columns",
    "DamagedEntryError",
    "DeadLetter",
    "Entry",
    "EntryError",
    "NewerVersionError",
    "Outcome",
    "Series",
    "SeriesError",
    "SettlementEvent",
    "Slice",
    "StreamNames",
    "Verdict",
    "check_series",
    "decode",
    "decode_letter",
    "decode_refusals",
    "decode_settlement",
    "decode_usage",
    "encode",
    "encode_letter",
    "encode_refusals",
    "encode_settlement",
    "encode_usage",
    "group_of",
    "keyed_id",
    "member_id",
    "new_group",
    "position_of",
    "readable_entry",
    "readings",
    "series_id",
    "series_of",
]
