"""Fixtures of one service at its edges: the stream, and ingest in this process."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.contract import StreamNames
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client
from tests.support.ingest import taking


@pytest.fixture
async def stream(settings: Settings) -> AsyncIterator[Stream]:
    found = Stream(redis_client(settings.redis), StreamNames(settings.redis.stream))
    yield found
    await found.client.aclose()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app in this process, ready."""
    small = settings.ingest.model_copy(
        update={
            "max_body_bytes": 10_000, "max_decoded_bytes": 20_000, "max_rows": 100, "stored_timeout": 0.3,
            "body_timeout": 0.3,
        }
    )  # fmt: skip
    async with taking(settings.model_copy(update={"ingest": small})) as found:
        yield found
