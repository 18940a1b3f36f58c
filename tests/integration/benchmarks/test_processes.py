from pathlib import Path

import psutil
import pytest
import redis

from benchmarks.processes import peaks, snapshot
from services.local.valkey import ValkeyServer
from tests.support import eventually
from tests.support.patience import free_port


async def test_what_rewrites_valkeys_log_counts_as_valkey_and_its_memory_not_twice(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey", free_port(), "word", 1 << 29)
    await server.start()
    try:
        with redis.from_url(server.url) as client:
            client.mset({f"key-{number}": bytes(100) for number in range(100_000)})
            client.config_set("rdb-key-save-delay", 50)
            client.bgrewriteaof()
            process = psutil.Process(server.pid)

            async def forked() -> bool:
                return any("aof-rewrite" in " ".join(child.cmdline()) for child in process.children())

            await eventually(forked)
            family = [process, *process.children()]
            spent = snapshot(family).processes
            assert {role for role, _ in spent.values()} == {"Valkey"}
            assert len(spent) == 2
            assert peaks(family).keys() == {"Valkey"}
            assert peaks(family) == pytest.approx(peaks([process]), rel=0.1)
    finally:
        await server.stop()
