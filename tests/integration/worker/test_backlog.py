"""The worker's own count of what waits, by HTTP."""

from collections.abc import Callable

import httpx
from pydantic import SecretStr

from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import Service, eventually, free_port
from tests.support.readings import add_entry, entry_of

NOW = 1_790_000_000_000_000


async def backlog(settings: Settings) -> httpx.Response:
    """Return the worker's answer, as soon as there is any."""

    async def answers() -> list[httpx.Response]:
        async with httpx.AsyncClient() as client:
            try:
                return [await client.get(f"http://127.0.0.1:{settings.worker.port}/backlog")]
            except httpx.TransportError:
                return []

    return (await eventually(answers, 30))[0]


async def test_the_backlog_counts_rows_that_wait_and_rows_that_a_worker_holds(
    timescaledb_settings: Settings, stream: Stream, service: Callable[[str, Settings], Service]
) -> None:
    # Its database is away: entries stay where they are, delivered or not.
    nowhere = SecretStr(f"postgresql://127.0.0.1:{free_port()}/sensors")
    away = timescaledb_settings.database.model_copy(update={"writer_url": nowhere})
    settings = timescaledb_settings.model_copy(update={"database": away})
    await stream.ensure_group()
    for number in range(3):
        await add_entry(stream, entry_of([(f"s{number}", NOW, 1.0), (f"s{number}", NOW, 2.0)]))
    await stream.read_new("someone", 1, 0.1)
    service("worker", settings).start()
    found = await backlog(settings)
    assert found.status_code == 200
    told = found.json()
    assert (told["entries"], told["rows"]) == (3, 6)
    assert told["bytes"] > 0
    assert told["age"] >= 0


async def test_while_the_stream_is_away_there_is_no_number(
    timescaledb_settings: Settings, service: Callable[[str, Settings], Service]
) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
    redis = timescaledb_settings.redis.model_copy(update={"url": nowhere})
    settings = timescaledb_settings.model_copy(update={"redis": redis})
    service("worker", settings).start()
    found = await backlog(settings)
    assert found.status_code == 503
    assert found.json()["code"] == "stream_unavailable"
