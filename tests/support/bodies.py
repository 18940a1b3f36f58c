"""Readings written in each format that `/ingest` takes, by libraries that are not the service's own."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["ARROW", "CSV", "JSON", "NDJSON", "PARQUET", "WRITERS", "arrow_of", "parquet_of", "table_of"]

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"

Record = Mapping[str, Any]


def flat(record: Record) -> dict[str, Any]:
    """Return a reading as a row of a table, with a column for each label."""
    labels = {f"labels.{name}": value for name, value in record.get("labels", {}).items()}
    return {name: value for name, value in record.items() if name != "labels"} | labels


def _names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in flat(record)))


def _json(records: Sequence[Record]) -> bytes:
    return json.dumps(records).encode()


def _ndjson(records: Sequence[Record]) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


def _csv(records: Sequence[Record]) -> bytes:
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, _names(records))
    lines.writeheader()
    lines.writerows(map(flat, records))
    return text.getvalue().encode()


def table_of(records: Sequence[Record]) -> pa.Table:
    """Return readings as a table, their timestamps as texts."""
    return pa.table({name: [flat(record).get(name) for record in records] for name in _names(records)})


def arrow_of(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    """Return a table as Arrow's IPC stream, in record batches of so many rows."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, rows)
    return sink.getvalue()


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    """Return a table as Parquet."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


WRITERS: Mapping[str, Callable[[Sequence[Record]], bytes]] = {
    JSON: _json,
    NDJSON: _ndjson,
    CSV: _csv,
    ARROW: lambda records: arrow_of(table_of(records)),
    PARQUET: lambda records: parquet_of(table_of(records)),
}
"""What writes readings, by its media type."""
