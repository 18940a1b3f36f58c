"""The whole stack killed under load: whatever was acknowledged is there once, and the next `up` recovers."""

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from services.local.credentials import credentials
from services.platform.settings import Settings
from tests.support import eventually
from tests.support.servers import installations
from tests.support.stack import RunningStack, stack_settings

ROWS = 200
JSON = {"Content-Type": "application/json"}


@dataclass
class Sender:
    """Posts batches, each with a key and values of its own, and repeats what was not acknowledged."""

    url: str
    name: str
    acknowledged: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10) as client:
            number = 0
            while not self.done.is_set():
                key = f"{self.name}-{number}"
                try:
                    answer = await client.post(
                        f"{self.url}/ingest", content=_batch(key), headers={"Idempotency-Key": key, **JSON}
                    )
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    self.acknowledged.append(key)
                    number += 1


def _batch(key: str) -> bytes:
    readings = [
        {"sensor_id": key, "timestamp": f"2026-10-01T00:{row // 60:02d}:{row % 60:02d}Z", "value": row}
        for row in range(ROWS)
    ]
    return json.dumps(readings).encode()


async def _counts(settings: Settings) -> dict[str, int]:
    words = credentials(settings.local.data_dir / "credentials.json")
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=settings.local.postgres_port,
        user="millrace_reader",
        password=words.reader,
        database="sensors",
    )
    try:
        rows: list[Any] = await connection.fetch("select sensor_id, count(*) from sensor_data group by sensor_id")
    finally:
        await connection.close()
    return {row["sensor_id"]: row["count"] for row in rows}


@pytest.mark.long
async def test_what_was_acknowledged_before_everything_was_killed_is_there_once(
    tmp_path: Path, database_mode: str
) -> None:
    settings = stack_settings(tmp_path / "data", installations()[database_mode].bin)
    url = f"http://127.0.0.1:{settings.ingest.port}"
    run = secrets.token_hex(4)
    senders = [Sender(url, f"{run}-{number}") for number in range(4)]
    async with RunningStack(settings, tmp_path / "up.log") as stack:
        tasks = [asyncio.create_task(sender.run()) for sender in senders]
        for _ in range(2):
            await _more(senders, 40)
            stack.kill_everything()
            await stack.start()
        await _more(senders, 40)
        for sender in senders:
            sender.done.set()
        await asyncio.gather(*tasks)
        expected = dict.fromkeys((key for sender in senders for key in sender.acknowledged), ROWS)

        async def settled() -> bool:
            return sum((await _counts(settings)).values()) >= sum(expected.values())

        await eventually(settled, 60)
        assert stack.stop() == 0
        await stack.start()
        assert await _counts(settings) == expected


async def _more(senders: list[Sender], batches: int) -> None:
    def total() -> int:
        return sum(len(sender.acknowledged) for sender in senders)

    wanted = total() + batches
    await eventually(lambda: total() >= wanted, 60)
