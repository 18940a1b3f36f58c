"""The sections of the settings tree. Each field says its meaning, its unit and, where it helps, its reason."""

import os
import socket
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr, model_validator

from .addresses import ClientKey, DatabaseUrl, EndpointUrl, Origins, Scattered, StreamUrl, scattered

__all__ = [
    "AuthSettings",
    "ClientSettings",
    "DatabaseSettings",
    "HttpSettings",
    "IngestSettings",
    "LocalSettings",
    "LogSettings",
    "OperatorSettings",
    "QuerySettings",
    "RedisSettings",
    "RepairSettings",
    "TelemetrySettings",
    "WorkerSettings",
]

MIB = 1024 * 1024
_ROOT_PATH = r"^(/[A-Za-z0-9._~-]+)*$"


def setting(default: Any, meaning: str, unit: str = "", **constraints: Any) -> Any:
    """Return a field with its meaning and unit, which the documentation is made from."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **constraints)


class Section(BaseModel):
    """A branch of the tree: frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RedisSettings(Section):
    """The stream's server: Redis 7.2 or later, or Valkey."""

    url: StreamUrl = setting(
        SecretStr("redis://127.0.0.1:6379/0"),
        "Where the server is: redis://, rediss:// or unix://; behind Sentinels "
        "redis+sentinel://HOST:PORT,HOST:PORT/NAME/0, in a Redis Cluster redis+cluster://HOST:PORT,HOST:PORT; "
        "with rediss+ both speak TLS.",
    )
    stream: str = setting("sensor_stream", "Name of the stream; the keys beside it derive from it.")
    timeout: PositiveFloat = setting(5.0, "How long one command may take.", "s")
    allow_weak_durability: bool = setting(
        False,
        "Start although the server can neither fsync each write nor be asked by WAITAOF; "
        "`durable` then means no more than `queued`.",
    )
    durable_replicas: int = setting(
        0,
        "Replicas that must have fsynced a write as well before it is `durable`, by WAITAOF; "
        "from 1 on, a failover to the replica that is furthest loses nothing of it.",
        "replicas",
        ge=0,
    )

    @property
    def scattered(self) -> Scattered | None:
        """Where to ask for the server; None where the URL names it."""
        return scattered(self.url.get_secret_value())

    @model_validator(mode="after")
    def _one_slot(self) -> Self:
        found = self.scattered
        if found and not found.primary and set("{}") & set(self.stream):
            raise ValueError("in a cluster MILLRACE_REDIS_STREAM holds no braces: all its keys stand in one slot")
        return self


class DatabaseSettings(Section):
    """PostgreSQL 16 to 18, best with TimescaleDB 2.24 or later."""

    owner_url: DatabaseUrl = setting(
        SecretStr("postgresql://millrace_owner@127.0.0.1:5432/sensors"),
        "Connection of the role that owns the schema: the operator and the repair loop. "
        "A pooler on its way must keep sessions.",
    )
    writer_url: DatabaseUrl = setting(
        SecretStr("postgresql://millrace_writer@127.0.0.1:5432/sensors"),
        "Connection of the writing role: workers, and ingest where deletions are asked for. "
        "Like the reader's it may lead through a pooler that keeps transactions.",
    )
    reader_url: DatabaseUrl = setting(
        SecretStr("postgresql://millrace_reader@127.0.0.1:5432/sensors"),
        "Connection of the reading role: query, and the receipts of ingest.",
    )
    replica_url: DatabaseUrl | None = setting(
        None,
        "The reading role's connection to read replicas, several hosts separated by commas; "
        "query asks them first while they are fresh.",
    )
    connect_timeout: PositiveFloat = setting(5.0, "How long connecting may take.", "s")
    pool_size: PositiveInt = setting(8, "Most connections a process holds.", "connections")


class AuthSettings(Section):
    """Who may do what."""

    keys_file: Path | None = setting(
        None, "YAML file of callers and their hashed keys; where it is not set, whoever reaches a port may use it."
    )


class HttpSettings(Section):
    """What every HTTP port asks of connections."""

    header_timeout: PositiveFloat = setting(
        10.0, "How long a connection may be open before a request's headers have arrived; then it is closed.", "s"
    )
    cors_origins: Origins = setting(
        "",
        "Origins whose pages may send readings and ask questions from a browser, separated by commas, "
        "such as https://app.example.com; `*` is all. Where it is not set, browsers let none.",
    )


class ClientSettings(Section):
    """What the commands that talk to a running Millrace send."""

    key: ClientKey | None = setting(
        None, "API key of `millrace send`, `demo`, `dead-letters`, `delete` and `deletions`."
    )


class IngestSettings(Section):
    """What `POST /ingest` takes, and when it says no."""

    host: str = setting("0.0.0.0", "Address to listen on.")  # noqa: S104 -- a service in a pod
    port: int = setting(8000, "Port to listen on.", "", ge=0, le=65535)
    root_path: str = setting(
        "", "Path prefix at which a proxy shows this service, such as /ingest.", pattern=_ROOT_PATH
    )
    admin_host: str = setting(
        "127.0.0.1",
        "Address of the administrative port; whoever reaches it may replay dead letters, and delete them and readings.",
    )
    admin_port: int = setting(8006, "Port of the administrative routes.", "", ge=0, le=65535)
    max_body_bytes: PositiveInt = setting(8 * MIB, "Largest body as sent.", "bytes")
    max_decoded_bytes: PositiveInt = setting(32 * MIB, "Largest body after decompression.", "bytes")
    max_rows: PositiveInt = setting(50_000, "Most readings in a batch.", "rows", le=1_000_000)
    body_timeout: PositiveFloat = setting(10.0, "How long a body may take to arrive.", "s")
    max_requests: PositiveInt = setting(4096, "Most requests under way at once; more are answered 503.", "requests")
    max_bytes_under_way: PositiveInt = setting(
        256 * MIB,
        "Most bytes of bodies, as sent and after decompression, that requests under way hold; more are answered 503. "
        "The process needs about twice that beside its own 150 MiB.",
        "bytes",
    )
    max_past: PositiveFloat = setting(
        10 * 365.25, "Oldest timestamp taken, before now. A wild one would make a chunk of its own.", "days"
    )
    max_future: PositiveFloat = setting(
        10.0, "Latest timestamp taken, after now. A later one would push watermarks ahead.", "minutes"
    )
    entry_rows: PositiveInt = setting(50_000, "Rows after which a shared stream entry is full.", "rows")
    stored_timeout: PositiveFloat = setting(
        5.0, "How long `ack=stored` waits for the commit before it answers 202.", "s"
    )
    backlog_bytes: PositiveInt = setting(
        512 * MIB, "Backlog at which ingest answers 429. Keep it well below the server's maxmemory.", "bytes"
    )
    backlog_entries: PositiveInt = setting(1_000_000, "Backlog at which ingest answers 429.", "entries")
    backlog_rows: PositiveInt = setting(100_000_000, "Backlog at which ingest answers 429.", "rows")
    backlog_age: PositiveFloat = setting(
        86_400.0,
        "Age of the oldest entry at which ingest answers 429; must stay below the ledger's horizon.",
        "s",
    )


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
    dead_letter_limit: PositiveInt = setting(
        1000,
        "Dead letters at which workers write no more of them and stop, so that one bad deployment cannot bury "
        "everything; they go on when some are replayed or deleted.",
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
        32,
        "Mean rows a sensor in a transaction from which they are compressed on COPY; 0 turns it off. "
        "Fewer make poor columnstore batches.",
        "rows",
        ge=0,
    )


class QuerySettings(Section):
    """What questions may cost."""

    host: str = setting("0.0.0.0", "Address to listen on.")  # noqa: S104 -- a service in a pod
    port: int = setting(8001, "Port to listen on.", "", ge=0, le=65535)
    root_path: str = setting("", "Path prefix at which a proxy shows this service, such as /query.", pattern=_ROOT_PATH)
    statement_timeout: PositiveFloat = setting(30.0, "Longest statement, its streaming included.", "s")
    max_limit: PositiveInt = setting(10_000_000, "Largest `limit` of `/get_range`.", "rows")
    max_replica_lag: PositiveFloat = setting(
        5.0, "How far a read replica may be behind; while one is further, others and the primary are asked.", "s"
    )


class RepairSettings(Section):
    """The loops that refresh the buckets that late rows touched, and carry out deletions."""

    host: str = setting("0.0.0.0", "Address of the health and metrics port.")  # noqa: S104 -- a service in a pod
    port: int = setting(8003, "Port of health and metrics.", "", ge=0, le=65535)
    interval: PositiveFloat = setting(2.0, "Time between looks for late ranges and deletions.", "s")
    refresh_timeout: PositiveFloat = setting(600.0, "Longest single refresh.", "s")


class OperatorSettings(Section):
    """The operator of a cluster."""

    host: str = setting("0.0.0.0", "Address of the health and metrics port.")  # noqa: S104 -- a service in a pod
    port: int = setting(8004, "Port of readiness and metrics.", "", ge=0, le=65535)
    liveness_port: int = setting(8005, "Port of kopf's own probe.", "", ge=1, le=65535)
    namespace: str | None = setting(None, "Namespace to look after; the pod's or the kubeconfig's where it is not set.")
    resources: Path | None = setting(None, "YAML file with resources that are made at the start where they are absent.")
    interval: PositiveFloat = setting(20.0, "Longest time until a change by hand is noticed.", "s", le=60)


class TelemetrySettings(Section):
    """Traces and metrics. `/metrics` is always there."""

    otlp_endpoint: EndpointUrl | None = setting(None, "OTLP/HTTP base address, such as http://collector:4318.")
    sample_ratio: float = setting(0.01, "Share of requests that are traced.", "", ge=0, le=1)
    metric_interval: PositiveFloat = setting(30.0, "Time between metric exports by OTLP.", "s")


class LogSettings(Section):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Least level that is written.")
    format: Literal["auto", "pretty", "json"] = setting("auto", "auto: pretty on a terminal, JSON elsewhere.")


class LocalSettings(Section):
    """The one-machine stack of `millrace up`."""

    data_dir: Path = setting(Path(".millrace"), "Folder of the embedded servers' data.")
    redis_port: int = setting(16379, "Port of the embedded Valkey.", "", ge=1, le=65535)
    postgres_port: int = setting(15432, "Port of the embedded PostgreSQL.", "", ge=1, le=65535)
    workers: PositiveInt = setting(1, "Worker processes.", "processes")
    maxmemory: PositiveInt = setting(1024 * MIB, "Memory limit of the embedded Valkey.", "bytes")
