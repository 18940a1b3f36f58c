"""The stream behind a Sentinel, and in a cluster: the whole way is the same."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from services.contract import StreamNames
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import DeadLetters, Stream, redis_client
from tests.support import eventually, free_port
from tests.support.discovery import PASSWORD, alone, clustered
from tests.support.ingest import READING, taking
from tests.support.readings import rows_in
from tests.support.worker import Start


@contextlib.asynccontextmanager
async def _clustered(folder: Path) -> AsyncIterator[str]:
    async with clustered(folder) as (_, url):
        yield url


@pytest.fixture(params=[alone, _clustered], ids=["sentinel", "cluster"])
async def settings(
    request: pytest.FixtureRequest, timescaledb_settings: Settings, tmp_path: Path
) -> AsyncIterator[Settings]:
    async with request.param(tmp_path) as url:
        yield timescaledb_settings.model_copy(update={"redis": RedisSettings(url=SecretStr(url))})


async def test_a_reading_goes_the_whole_way_and_a_damaged_entry_to_the_dead_letters(
    settings: Settings, start: Start
) -> None:
    await start()
    names = StreamNames()
    async with taking(settings) as client, redis_client(settings.redis) as redis:
        answer = await client.post("/ingest?ack=stored", json=[READING])
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
        assert (await client.get(f"/batches/{answer.json()['batch_id']}")).json()["status"] == "stored"
        await redis.xadd(names.stream, {"v": "1", "n": "1", "e": b"damaged"})
        await eventually(DeadLetters(redis, names).count)
        await eventually(lambda: _empty(Stream(redis, names)))
    assert [value for _, _, value in await rows_in(settings.database)] == [25.3]


async def test_a_seed_that_is_away_is_passed_over_and_where_all_are_the_error_names_them(settings: Settings) -> None:
    url, away = settings.redis.url.get_secret_value(), f"127.0.0.1:{free_port()}"
    login, _, rest = url.rpartition("@")
    with_one = RedisSettings(url=SecretStr(f"{login}@{away},{rest}"))
    async with contextlib.aclosing(redis_client(with_one)) as redis:
        assert await redis.ping()
    none_left = RedisSettings(url=SecretStr(f"{login}@{away}{rest[rest.find('/') :] if '/' in rest else ''}"))
    async with contextlib.aclosing(redis_client(none_left)) as redis:
        with pytest.raises(RedisConnectionError, match=f"nobody tells where .* is: {away}: ") as raised:
            await redis.ping()
    assert PASSWORD not in str(raised.value)


async def test_a_primary_that_no_sentinel_knows_is_named(tmp_path: Path) -> None:
    async with alone(tmp_path) as url:
        settings = RedisSettings(url=SecretStr(url.replace("/mymaster/", "/another/")))
        async with contextlib.aclosing(redis_client(settings)) as redis:
            with pytest.raises(RedisConnectionError, match="nobody tells where the primary another is"):
                await redis.ping()


async def _empty(stream: Stream) -> bool:
    return (await stream.backlog()).entries == 0
