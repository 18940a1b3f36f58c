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
    """All names that belong to one stream. The braces keep the keys in the stream's slot on Redis Cluster.

    Attributes:
        stream: its name.
        database: the number of the server's database that it stands in. Keys are apart by it, channels are not.
    """

    stream: str = STREAM
    database: int = 0

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
        """Hash with ``accepted`` and ``settled``: rows ever written to the stream and taken off it.

        Beside them stands what vanished entries are noticed by: ``removed`` (entries taken off), ``counted`` (rows
        taken off by who counts entries), and ``missing`` and ``uncounted`` as they were at the last look.
        """
        return f"{{{self.stream}}}:totals"

    @property
    def queued(self) -> str:
        """Hash of ledger ids that stand in the stream, to a digest (keyed) or a batch count (group)."""
        return f"{{{self.stream}}}:queued"

    @property
    def callers(self) -> str:
        """Hash of ingest processes to what each tells of its callers' use of their limits; it expires."""
        return f"{{{self.stream}}}:callers"

    @property
    def settled(self) -> str:
        """Channel of settlement events: which batches have just been stored or given up."""
        return f"{{{self.stream}}}:settled:{self.database}"

    @property
    def probe(self) -> str:
        """Key that is written to see whether the server keeps its word, and expires."""
        return f"{{{self.stream}}}:probe"
