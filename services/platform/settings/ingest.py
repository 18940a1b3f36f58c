"""The section `ingest`: what is taken, and when it is refused."""

from pydantic import PositiveFloat, PositiveInt

from .section import MIB, ROOT_PATH, Section, setting

__all__ = ["IngestSettings"]


class IngestSettings(Section):
    """What `POST /ingest` takes, and when it says no."""

    host: str = setting("0.0.0.0", "Address to listen on.")  # noqa: S104 -- a service in a pod
    port: int = setting(8000, "Port to listen on.", "", ge=0, le=65535)
    root_path: str = setting("", "Path prefix at which a proxy shows this service, such as /ingest.", pattern=ROOT_PATH)
    admin_host: str = setting(
        "127.0.0.1",
        "Address of the administrative port; whoever reaches it may replay dead letters, and delete them and readings.",
    )
    admin_port: int = setting(8006, "Port of the administrative routes.", "", ge=0, le=65535)
    max_body_bytes: PositiveInt = setting(8 * MIB, "Largest body as sent.", "bytes")
    max_decoded_bytes: PositiveInt = setting(
        32 * MIB,
        "Largest body after decompression. Bodies of Arrow and Parquet are decoded one by one in a process of its own, "
        "started for the first of them, which takes at most six times as much beside its own 90 MiB.",
        "bytes",
    )
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
