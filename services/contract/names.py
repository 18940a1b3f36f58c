"""Names that people type at ``redis-cli``: the stream, its group and the keys beside it."""

from dataclasses import dataclass

__all__ = ["FIELD_PAYLOAD", "FIELD_ROWS", "FIELD_VERSION", "GROUP", "STREAM", "StreamNames"]

STREAM = "sensor_stream"
"""Default name of the stream."""

GROUP = "workers"
"""The one consumer group."""

FIELD_VERSION = b"v"
"""Entry field: the contract's version, decimal digits."""

FIELD_ROWS = b"n"
"""Entry field: rows in the entry, decimal digits, so that a backlog can be counted without decoding."""

FIELD_PAYLOAD = b"e"
"""Entry field: the packed entry."""


@dataclass(frozen=True, slots=True)
class StreamNames:
    """All key names that belong to one stream. The braces keep them in the stream's slot on Redis Cluster."""

    stream: str = STREAM

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return f"{{{self.stream}}}:dead"

    @property
    def backlog(self) -> str:
        """Hash with ``rows`` and ``bytes``: what stands in the stream, moved only together with it."""
        return f"{{{self.stream}}}:backlog"

    @property
    def totals(self) -> str:
        """Hash with ``accepted`` and ``settled``: rows ever written to the stream and taken off it."""
        return f"{{{self.stream}}}:totals"

    @property
    def queued(self) -> str:
        """Hash of ledger ids that stand in the stream, to a digest (keyed) or a batch count (group)."""
        return f"{{{self.stream}}}:queued"

    @property
    def settled(self) -> str:
        """Channel on which workers tell which batches have just been stored or given up."""
        return f"{{{self.stream}}}:settled"

    @property
    def probe(self) -> str:
        """Key that is written to see whether the server keeps its word, and expires."""
        return f"{{{self.stream}}}:probe"
