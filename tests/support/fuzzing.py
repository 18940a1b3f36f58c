"""What schemathesis is told beside the documents: how a body of Prometheus' remote read is sent."""

from typing import Any

import cramjam
import schemathesis

__all__ = ["snappy"]


@schemathesis.serializer("application/x-protobuf")  # type: ignore[untyped-decorator]
def snappy(_: object, value: Any) -> bytes:
    """Return a body in a block of snappy, so that more than snappy's own check is met."""
    data = getattr(value, "data", value)
    return bytes(cramjam.snappy.compress_raw(data if isinstance(data, bytes) else str(data).encode()))
