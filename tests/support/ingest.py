"""What the tests of ingest share: the service inside a test's own event loop, and what it is given."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from services.contract import Entry, decode
from services.ingest.app import create_app
from services.platform.settings import Settings
from services.platform.stream import Stream

from .patience import eventually
from .readings import raw_entries

__all__ = ["BODY", "JSON", "READING", "assert_problem", "entries", "taking"]

READING: dict[str, Any] = {"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}
BODY = b'[{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}]'
JSON = {"Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def taking(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app in this process and yield a client of it, once it is ready."""
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client,
    ):

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready)
        yield client


async def entries(stream: Stream) -> list[Entry]:
    """Return what stands in the stream, decoded."""
    return [decode(fields) for _, fields in await raw_entries(stream)]


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is this problem and return its members."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:millrace:problem:{code}")
    return body
