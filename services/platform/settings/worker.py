"""The section `worker`: how large a transaction is, what is taken over when, and how long the ledger remembers."""

import os
import socket

from pydantic import PositiveFloat, PositiveInt

from .section import Section, setting

__all__ = ["WorkerSettings"]


class WorkerSettings(Section):
    """How entries become rows."""

    host: str = setting("0.0.0.0", "Address of the health and metrics port.")  # noqa: S104 -- a service in a pod
    port: int = setting(8002, "Port of health and metrics.", "", ge=0, le=65535)
    name: str = setting(
        f"{socket.gethostname()}-{os.getpid()}",
        "Consumer name. Where a restart keeps it, pending entries are taken up at once.",
    )
    batch_rows: PositiveInt = setting(100_000, "Rows after which a transaction is full.", "rows")
    batch_entries: PositiveInt = setting(512, "Entries after which a transaction is full.", "entries")
    # Far below the seconds of backlog from which an autoscaler takes workers to be busy.
    linger: float = setting(
        0.2,
        "Longest that what was read waits for more to share its transaction, where much comes in small entries; little "
        "never waits, nor what somebody waits for by ack=stored. 0 writes everything at once.",
        "s",
        ge=0,
        le=1,
    )
    block: PositiveFloat = setting(1.0, "How long a read waits for entries.", "s")
    reclaim_idle: PositiveFloat = setting(
        30.0,
        "Idle time after which another consumer's entry is taken over; above the transaction's limit.",
        "s",
    )
    reclaim_interval: PositiveFloat = setting(5.0, "Time between looks for entries to take over.", "s")
    transaction_timeout: PositiveFloat = setting(
        20.0,
        "Longest transaction, and longest wait inside one; notes of late rows rely on its being below a minute.",
        "s",
        le=50,
    )
    drain_timeout: PositiveFloat = setting(20.0, "How long SIGTERM waits for the batch in hand.", "s")
    ledger_horizon: PositiveFloat = setting(
        72.0, "How long the ledger remembers a batch; an older entry becomes a dead letter.", "hours"
    )
    repeat_horizon: PositiveFloat = setting(
        12.0,
        "How long what clients without an Idempotency-Key sent is remembered, so that what they send again is not "
        "stored again.",
        "hours",
    )
    dead_letter_limit: PositiveInt = setting(
        1000,
        "Dead letters at which workers write no more of them and stop, so that one bad deployment cannot make "
        "dead letters of everything; they go on when some are replayed or deleted.",
        "letters",
    )
    dead_letter_retention: PositiveFloat | None = setting(
        None, "Age at which dead letters are deleted; where it is not set, they stay until somebody decides.", "days"
    )
    janitor_interval: PositiveFloat = setting(60.0, "Time between prunings of ledger and consumers.", "s")
    consumer_idle: PositiveFloat = setting(
        300.0, "Idle time after which a consumer that holds nothing is removed.", "s"
    )
    compress_rows_per_sensor: int = setting(
        8,
        "Mean rows a sensor in a transaction from which they are compressed on COPY; 0 turns it off. "
        "Of fewer the row store is as cheap, unless the columnstore is not segmented by sensor.",
        "rows",
        ge=0,
    )
    remembered_sensors: PositiveInt = setting(
        1_000_000,
        "Sensors that a worker remembers to be in the catalogue, at some hundred bytes each; others cost a look.",
        "sensors",
    )
