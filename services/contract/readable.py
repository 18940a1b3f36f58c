"""Entries in plain values, for the person who sees only packed bytes at ``redis-cli``."""

from collections.abc import Mapping
from typing import Any

from .codec import decode
from .entry import Batch, Columns
from .errors import EntryError, NewerVersionError
from .instants import instant_of
from .names import FIELD_PAYLOAD, FIELD_ROWS, FIELD_VERSION
from .series import Series

__all__ = ["readable_entry", "readings"]

_OURS = {FIELD_VERSION, FIELD_ROWS, FIELD_PAYLOAD}


def readable_entry(entry_id: bytes, fields: Mapping[bytes, bytes], rows: int) -> dict[str, Any]:
    """Return an entry as far as it can be read, in plain values.

    Args:
        entry_id: its id in the stream.
        fields: its fields; those beside the contract's, such as a dead letter's reason, are kept.
        rows: how many of its first rows are wanted.
    """
    found: dict[str, Any] = {
        "id": _text(entry_id),
        "version": _text(fields.get(FIELD_VERSION, b"")),
        "rows": _text(fields.get(FIELD_ROWS, b"")),
        "bytes": len(fields.get(FIELD_PAYLOAD, b"")),
        **{_text(name): _text(value) for name, value in fields.items() if name not in _OURS},
    }
    try:
        entry = decode(dict(fields))
    except EntryError as error:
        sort = "newer" if isinstance(error, NewerVersionError) else "damaged"
        return found | {"problem": f"{sort}: {error}"}
    return found | {
        "group": str(entry.group) if entry.group else None,
        "batches": [_batch(batch) for batch in entry.batches],
        "first_rows": readings(entry.columns.take(slice(rows))),
    }


def _batch(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": str(batch.batch_id),
        "rows": batch.rows,
        "accepted_at": _rfc3339(batch.accepted_at),
        "keyed": batch.batch_id.version != 7,
        "digest": batch.digest.hex() if batch.digest else None,
        "notify": batch.notify,
        "traceparent": batch.traceparent,
        "slices": len(batch.slices),
        "natural": batch.natural,
    }


def readings(columns: Columns) -> list[dict[str, Any]]:
    """Return rows as ingest takes them: sensor_id, or name and labels, timestamp (RFC 3339) and value."""
    called = [_called(sensor_id, columns.series.get(sensor_id)) for sensor_id in columns.sensor_ids]
    return [
        {**called[sensor], "timestamp": _rfc3339(timestamp), "value": value}
        for sensor, timestamp, value in zip(
            columns.index.tolist(), columns.timestamps.tolist(), columns.values.tolist(), strict=True
        )
    ]


def _called(sensor_id: str, series: Series | None) -> dict[str, Any]:
    if series is None:
        return {"sensor_id": sensor_id}
    field = {} if series.field is None else {"field": series.field}
    return {"name": series.name, **field, "labels": dict(series.labels)}


def _rfc3339(micros: int) -> str:
    return instant_of(micros).isoformat().replace("+00:00", "Z")


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
