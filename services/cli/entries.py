"""Stream entries in clear, for the person who sees only packed bytes at ``redis-cli``."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.contract import Batch, Entry, EntryError, NewerVersionError, decode
from services.contract.names import FIELD_PAYLOAD, FIELD_ROWS, FIELD_VERSION

__all__ = ["clear", "lines"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OURS = {FIELD_VERSION, FIELD_ROWS, FIELD_PAYLOAD}


def clear(entry_id: bytes, fields: Mapping[bytes, bytes], rows: int) -> dict[str, Any]:
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
        "first_rows": _rows(entry, rows),
    }


def lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield a clear entry as lines of text: itself first, then its batches and rows, indented."""
    details = {name: value for name, value in entry.items() if name not in {"id", "batches", "first_rows"}}
    yield f"{entry['id']}  {_pairs(details)}"
    for batch in entry.get("batches", []):
        yield f"  batch {_pairs(batch)}"
    for row in entry.get("first_rows", []):
        yield f"    {row['timestamp']}  {row['value']!r}  {row['sensor_id']}"


def _batch(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": str(batch.batch_id),
        "rows": batch.rows,
        "accepted_at": _instant(batch.accepted_at),
        "keyed": batch.batch_id.version != 7,
        "digest": batch.digest.hex() if batch.digest else None,
        "notify": batch.notify,
        "traceparent": batch.traceparent,
    }


def _rows(entry: Entry, count: int) -> list[dict[str, Any]]:
    first = entry.columns.take(slice(count))
    return [
        {"sensor_id": first.sensor_ids[sensor], "timestamp": _instant(timestamp), "value": value}
        for sensor, timestamp, value in zip(
            first.index.tolist(), first.timestamps.tolist(), first.values.tolist(), strict=True
        )
    ]


def _instant(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _pairs(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in values.items() if value not in {None, "", False})
