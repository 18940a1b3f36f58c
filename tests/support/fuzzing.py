"""What schemathesis is told beside the documents: how bodies are sent that are neither JSON nor a form."""

from typing import Any

import cramjam
import schemathesis

from .bodies import ARROW, CSV, NDJSON, PARQUET

__all__ = ["as_it_is", "snappy"]


@schemathesis.serializer("application/x-protobuf")  # type: ignore[untyped-decorator]
def snappy(_: object, value: Any) -> bytes:
    """Return a body in a block of snappy, so that more than snappy's own check is met."""
    return bytes(cramjam.snappy.compress_raw(_data(value)))


@schemathesis.serializer(NDJSON, "application/ndjson", "application/jsonl", CSV, ARROW, PARQUET)  # type: ignore[untyped-decorator]
def as_it_is(_: object, value: Any) -> bytes:
    """Return a body as its example or the fuzzer has it, which is a format's only by luck."""
    return _data(value)


def _data(value: Any) -> bytes:
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()
