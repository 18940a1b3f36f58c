"""A replica of the stream's server that lags takes its place: replication promises less than a disk."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings
from services.platform.stream import redis_client
from tests.conftest import whole
from tests.support import TestDatabase, eventually, free_port
from tests.support.faults import Make, drained, worker
from tests.support.moments import counted, send
from tests.support.proxy import Proxy, proxied
from tests.support.readings import rows_in

pytestmark = pytest.mark.long


def address(server: ValkeyServer) -> tuple[str, int]:
    return "127.0.0.1", urlsplit(server.url).port or 0


async def ask(server: ValkeyServer, *words: Any) -> Any:
    async with redis_client(RedisSettings(url=SecretStr(server.url))) as client:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture
async def link(valkey: ValkeyServer) -> AsyncIterator[Proxy]:
    """What the replica follows its primary by."""
    async with proxied(*address(valkey)) as proxy:
        yield proxy


@pytest.fixture
async def replica(link: Proxy, tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A replica that has all its primary has."""
    server = ValkeyServer(tmp_path / "replica" / "valkey", free_port(), "secret", 256 * 1024 * 1024)
    await server.start()
    await ask(server, "CONFIG", "SET", "masterauth", "secret")
    await ask(server, "REPLICAOF", "127.0.0.1", link.port)
    yield server
    await server.stop()


async def followed(primary: ValkeyServer) -> bool:
    """Tell whether the replica has confirmed all that the primary has written."""
    info = await ask(primary, "INFO", "replication")
    return any(
        isinstance(each, dict) and each["state"] == "online" and each["offset"] == info["master_repl_offset"]
        for each in info.values()
    )


@pytest.fixture
async def front(valkey: ValkeyServer) -> AsyncIterator[Proxy]:
    """The address that services know, which leads to the primary."""
    async with proxied(*address(valkey)) as proxy:
        yield proxy


async def test_row_12_a_replica_that_lags_and_is_promoted_loses_what_it_had_not_got_and_doubles_nothing(
    database: TestDatabase, valkey: ValkeyServer, replica: ValkeyServer, link: Proxy, front: Proxy, service: Make
) -> None:
    url = SecretStr(f"redis://:secret@127.0.0.1:{front.port}/0")
    settings = whole(database, RedisSettings(url=url, timeout=2.0))
    first, second = (service("worker", worker(settings, "w")) for _ in range(2))
    async with service("ingest", settings) as ingest:
        assert (await send(settings, "replicated")).status_code == 200
        await eventually(lambda: followed(valkey))
        link.open.clear()
        async with first:
            assert (await send(settings, "stored in time")).status_code == 200
            await drained(settings)
        assert (await send(settings, "waits")).status_code == 200
        assert len(await rows_in(settings.database)) == 20

        assert valkey.process
        valkey.process.kill()
        await valkey.ended()
        link.cut()
        front.server = address(replica)

        async def refused() -> bool:
            return "it is a read-only replica" in (await send(settings, "read-only")).text

        await eventually(refused, 30)
        await ask(replica, "REPLICAOF", "NO", "ONE")
        await eventually(ingest.is_ready, 30)
        async with second:
            await drained(settings)
            # The acknowledgement was lost with the primary, and the entry came again.
            await eventually(lambda: counted(second, "millrace_batches_duplicate_total"))
            assert len(await rows_in(settings.database)) == 20

            for key in ("replicated", "stored in time", "waits"):
                assert (await send(settings, key)).status_code == 200
            await drained(settings)
    assert len(await rows_in(settings.database)) == 30
