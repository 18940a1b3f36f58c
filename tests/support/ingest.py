"""What the tests of ingest share."""

from typing import Any

import httpx

from services.contract import Entry, decode
from services.platform.stream import Stream

from .readings import raw_entries

__all__ = ["BODY", "JSON", "READING", "assert_problem", "entries"]

READING: dict[str, Any] = {"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}
BODY = b'[{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}]'
JSON = {"Content-Type": "application/json"}


async def entries(stream: Stream) -> list[Entry]:
    """Return what stands in the stream, decoded."""
    return [decode(fields) for _, fields in await raw_entries(stream)]


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is this problem and return its members."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:millrace:problem:{code}")
    return body
