"""Every metric, in one place: nobody else makes one. Prometheus shows them with `_total` behind counters."""

from collections.abc import Callable, Iterable
from typing import Protocol

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .durations import Durations

__all__ = [
    "DURATIONS",
    "METER",
    "backlog_age_seconds",
    "backlog_bytes",
    "backlog_entries",
    "backlog_rows",
    "bytes_under_way",
    "commit_seconds",
    "corrected_drifts",
    "dead_batches",
    "dead_letters",
    "dead_letters_removed",
    "deletions_waiting",
    "duplicate_batches",
    "entries_added",
    "entry_age_seconds",
    "foreign_content",
    "late_ranges_noted",
    "late_ranges_waiting",
    "mqtt_messages",
    "mqtt_messages_in_hand",
    "query_seconds",
    "queue_seconds",
    "reconcile_seconds",
    "refresh_seconds",
    "refused_requests",
    "request_seconds",
    "requests_under_way",
    "retention_stopped",
    "rows_accepted",
    "rows_deleted",
    "rows_inexact",
    "rows_rejected",
    "rows_repeated",
    "rows_returned",
    "rows_written",
    "show_backlog",
    "stream_losses",
    "tier_chunks_waiting",
    "tier_failures",
    "tier_rows_moved",
    "values_skipped",
    "worker_retries",
]

METER = "millrace"
"""Name of the meter that all are of."""

DURATIONS: list[Durations] = []
"""Those that count by themselves: whoever reads the meter reads them too."""

_meter = metrics.get_meter(METER)
_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]


def _histogram(name: str, description: str) -> metrics.Histogram:
    return _meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS)


def _durations(name: str, description: str) -> Durations:
    DURATIONS.append(Durations(name, description, _SECONDS))
    return DURATIONS[-1]


rows_accepted = _meter.create_counter("millrace_rows_accepted", "1", "Readings taken into the stream.")
rows_rejected = _meter.create_counter("millrace_rows_rejected", "1", "Readings refused by partial=true, by code.")
values_skipped = _meter.create_counter(
    "millrace_values_skipped",
    "1",
    "What agents sent and the service does not keep, by door and kind: strings, not_finite, nanoseconds (below a "
    "microsecond, cut off), histograms, exemplars and others.",
)
refused_requests = _meter.create_counter("millrace_requests_refused", "1", "Requests refused whole, by code.")
rows_inexact = _meter.create_counter(
    "millrace_rows_inexact", "1", "Readings taken with a value from 2^53 on, where a 64-bit float rounds integers."
)
entries_added = _meter.create_counter(
    "millrace_entries_added", "1", "Entries written to the stream: rows accepted by them are what group commit gains."
)
request_seconds = _durations("millrace_ingest_request_seconds", "From a request's first byte to its answer.")
queue_seconds = _histogram("millrace_ingest_queue_seconds", "Writing one entry, its fsync included.")
rows_written = _meter.create_counter("millrace_rows_written", "1", "Readings committed to the database.")
rows_deleted = _meter.create_counter(
    "millrace_rows_deleted", "1", "Readings taken back, by where they were: stream, table."
)
rows_repeated = _meter.create_counter(
    "millrace_rows_repeated",
    "1",
    "Readings that were left out, for they came before: of clients without an Idempotency-Key, or by dedup=natural.",
)
duplicate_batches = _meter.create_counter("millrace_batches_duplicate", "1", "Batches the ledger knew already.")
dead_batches = _meter.create_counter("millrace_batches_dead", "1", "Batches made dead letters, by reason: should be 0.")
dead_letters_removed = _meter.create_counter(
    "millrace_dead_letters_removed", "1", "Dead letters replayed, deleted or expired, by how."
)
late_ranges_noted = _meter.create_counter("millrace_late_ranges_noted", "1", "Ranges noted for repair.")
stream_losses = _meter.create_counter(
    "millrace_stream_losses",
    "1",
    "What somebody took away from the stream, by what: the group or stream (made again), each entry that vanished, a "
    "consumer with what it held (delivered again). Should be 0.",
)
foreign_content = _meter.create_counter(
    "millrace_foreign_content",
    "1",
    "What did not belong into a channel, key or table and was passed over, by what: settlement_event, count, mark, "
    "refusal, usage, late_range, dead_letter (one that a replay could not read), newer_entry (it stays pending for a "
    "newer worker). After an upgrade it should be still.",
)
worker_retries = _meter.create_counter("millrace_worker_retries", "1", "Attempts that failed, by what failed.")
commit_seconds = _histogram("millrace_worker_commit_seconds", "One transaction: ledger, COPY, commit.")
entry_age_seconds = _histogram("millrace_worker_entry_age_seconds", "From acceptance to commit, oldest of a write.")
query_seconds = _histogram("millrace_query_seconds", "From a question to the end of its answer, by route.")
rows_returned = _meter.create_counter("millrace_query_rows", "1", "Rows sent to clients, by route.")
reconcile_seconds = _histogram("millrace_operator_pass_seconds", "One pass over all resources.")
corrected_drifts = _meter.create_counter("millrace_operator_drifts", "1", "Changes by hand put right, by kind.")
retention_stopped = _meter.create_counter(
    "millrace_retention_stopped", "1", "Retention policies stopped because a refresh would empty what they drop."
)
tier_rows_moved = _meter.create_counter(
    "millrace_tier_rows_moved", "1", "Readings that went to files of the cold tier."
)
tier_failures = _meter.create_counter(
    "millrace_tier_failures", "1", "Passes over the cold tier that were cut short, as by a storage that is away."
)
mqtt_messages = _meter.create_counter(
    "millrace_mqtt_messages",
    "1",
    "Messages that the MQTT bridge is done with, by outcome: taken, and, not stored or not all, malformed, refused, "
    "empty (no numbers), retained (without a time of its own), dropped (of quality of service 0, too many).",
)
refresh_seconds = _histogram("millrace_repair_refresh_seconds", "Refreshing one late range.")


class Gauge:
    """A value that is read when somebody looks. Here stand its name and what it means; who has the value shows it."""

    def __init__(self, name: str, description: str) -> None:
        self._name, self._description = name, description

    def show(self, read: Callable[[], float | None]) -> None:
        """Show what `read` returns at each look; None shows nothing."""

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            value = read()
            return [] if value is None else [Observation(value)]

        _meter.create_observable_gauge(self._name, [callback], "1", self._description)


requests_under_way = Gauge("millrace_ingest_requests_under_way", "Requests that have not been answered.")
bytes_under_way = Gauge("millrace_ingest_bytes_under_way", "Bytes of the bodies of requests under way.")
dead_letters = Gauge("millrace_dead_letters", "Dead letters that wait for somebody: alarm on more than 0.")
late_ranges_waiting = Gauge("millrace_late_ranges_waiting", "Late ranges that the last round left.")
deletions_waiting = Gauge("millrace_deletions_waiting", "Deletions that the last round left: should be 0.")
tier_chunks_waiting = Gauge("millrace_tier_chunks_waiting", "Chunks old enough for the tier that the last pass left.")
mqtt_messages_in_hand = Gauge("millrace_mqtt_messages_in_hand", "Messages that the MQTT bridge has not acknowledged.")
backlog_entries = Gauge("millrace_backlog_entries", "Entries in the stream, delivered or not.")
backlog_rows = Gauge("millrace_backlog_rows", "Readings in the stream, delivered or not.")
backlog_bytes = Gauge("millrace_backlog_bytes", "Bytes of the entries in the stream.")
backlog_age_seconds = Gauge(
    "millrace_backlog_age_seconds", "Age of the oldest entry in the stream: the first number to alarm on."
)


class Backlog(Protocol):
    """What waits in the stream."""

    @property
    def entries(self) -> int: ...

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def age(self) -> float: ...


def show_backlog(read: Callable[[], Backlog | None]) -> None:
    """Show the backlog as four gauges."""

    def field(name: str) -> Callable[[], float | None]:
        return lambda: None if (backlog := read()) is None else getattr(backlog, name)

    backlog_entries.show(field("entries"))
    backlog_rows.show(field("rows"))
    backlog_bytes.show(field("bytes"))
    backlog_age_seconds.show(field("age"))
