"""Asking ingest's administrative port to take readings back."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import httpx  # whose import takes longer than `millrace --help`

__all__ = ["DELETIONS", "DeletionRequest", "request_deletion"]

DELETIONS = "/deletions"
"""The route."""


@dataclass(frozen=True, slots=True)
class DeletionRequest:
    """What a deletion takes back: the range is half-open, its instants RFC 3339 with an offset."""

    sensor_ids: list[str]
    start: str
    end: str
    reason: str
    requested_by: str = ""

    @property
    def body(self) -> bytes:
        """The body of a request."""
        return orjson.dumps(asdict(self))


async def request_deletion(
    client: "httpx.AsyncClient", request: DeletionRequest, key: str | None = None
) -> "httpx.Response":
    """Ask the administrative port for a deletion, and return its answer; with a `key` it may be asked again.

    Raises:
        httpx.TransportError: there was no answer.
    """
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    return await client.post(DELETIONS, content=request.body, headers=headers)
