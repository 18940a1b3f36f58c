"""The stream's server is there and refuses: that is told by its name, and ingest is not ready while it lasts."""

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, ClusterDownError, ResponseError

from services.local.valkey import ValkeyServer
from services.platform.admission import stream_problem
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import redis_client
from tests.conftest import whole
from tests.support import TestDatabase, eventually
from tests.support.ingest import READING, assert_problem, taking


@pytest.fixture
def own(database: TestDatabase, valkey: ValkeyServer) -> Settings:
    """Settings on a Valkey of the test's own."""
    return whole(database, RedisSettings(url=SecretStr(valkey.url)))


async def no_replicas(control: Redis, _: ValkeyServer) -> None:
    await control.config_set("min-replicas-to-write", 1)


async def failing_disk(control: Redis, valkey: ValkeyServer) -> None:
    (valkey.folder / "dump.rdb").mkdir()
    await control.config_set("save", "3600 1")
    await control.bgsave()
    await eventually(lambda: _bgsave_failed(control))


async def _bgsave_failed(control: Redis) -> bool:
    return bool((await control.info("persistence"))["rdb_last_bgsave_status"] == "err")


async def replica(control: Redis, _: ValkeyServer) -> None:
    await control.replicaof("127.0.0.1", "1")


async def stale_replica(control: Redis, valkey: ValkeyServer) -> None:
    await control.config_set("replica-serve-stale-data", "no")
    await replica(control, valkey)


async def mend(control: Redis) -> None:
    await control.replicaof("NO", "ONE")
    await control.config_set("min-replicas-to-write", 0)
    await control.config_set("save", "")


@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        (no_replicas, "stream_full", "min-replicas-to-write"),
        (failing_disk, "stream_full", "MISCONF"),
        (replica, "stream_full", "read-only replica"),
        (stale_replica, "stream_unavailable", "MASTERDOWN"),
    ],
)
async def test_a_server_that_refuses_writes_is_named_and_makes_ingest_not_ready(
    own: Settings, valkey: ValkeyServer, spoil: object, code: str, named: str
) -> None:
    async with taking(own) as client, redis_client(own.redis) as control:
        assert callable(spoil)
        await spoil(control, valkey)
        refused = await client.post("/ingest", json=READING)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)

        async def told() -> bool:
            answer = await client.get("/readyz")
            return answer.status_code == 503 and named in answer.json()["reasons"]["stream"]

        await eventually(told)
        assert named in assert_problem(await client.post("/ingest", json=READING), 503, code)["detail"]
        await mend(control)

        async def taken() -> bool:
            ready = (await client.get("/readyz")).status_code == 200
            return ready and (await client.post("/ingest", json=READING)).status_code == 200

        await eventually(taken)


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (BusyLoadingError("Redis is loading the dataset in memory"), "stream_unavailable", "loading its data"),
        (ClusterDownError("The cluster is down"), "stream_unavailable", "CLUSTERDOWN"),
        (ResponseError("Command # 2 of pipeline caused error: MISCONF Errors"), "stream_full", "MISCONF"),
        (ResponseError("OOM allow-oom flag is not set on the script"), "stream_full", "out of memory"),
        (ConnectionRefusedError("NOREPLICAS"), "stream_unavailable", "cannot be reached"),
    ],
)
def test_what_a_server_says_of_its_state_is_told(error: Exception, code: str, named: str) -> None:
    problem = stream_problem(error)
    assert (problem.code, named in problem.detail) == (code, True)
