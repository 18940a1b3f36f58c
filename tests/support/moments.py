"""Scenarios of one batch and one fault: they fail where the batch is not stored once."""

import signal

import httpx
import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings

from .faults import Failpoints, drained
from .ingest import READING
from .patience import eventually
from .readings import rows_in
from .service import Service

__all__ = ["counted", "killed_worker", "repeated_request", "send", "stored_once", "told"]

PATIENCE = 60.0


async def send(settings: Settings, key: str | None = None) -> httpx.Response:
    """Send ten readings."""
    headers = {"Idempotency-Key": key} if key else {}
    url = f"http://{settings.ingest.host}:{settings.ingest.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        return await client.post("/ingest", json=[READING] * 10, headers=headers)


async def counted(process: Service, name: str) -> float:
    """Return the sum of a process's counter."""
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{process.url}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def told(process: Service, word: str) -> bool:
    """Tell whether a process is not ready and names `word` as the reason."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{process.url}/readyz")
    return answer.status_code == 503 and word in answer.text


async def stored_once(settings: Settings, patience: float = PATIENCE) -> None:
    """Wait until the stream is empty, and see that the ten readings are there once."""
    await drained(settings, patience)
    stored = len(await rows_in(settings.database))
    assert stored == 10, f"{stored} readings are stored, not 10"


async def killed_worker(
    ingest: Service, victim: Service, heir: Service, failpoints: Failpoints, place: Place, patience: float = PATIENCE
) -> float:
    """Kill a worker at `place`, let an heir go on, and return how many batches it found in the ledger."""
    settings = ingest.settings
    failpoints.given_to(victim)
    async with ingest:
        victim.start()
        await victim.ready()
        failpoints.arm(place, "kill")
        assert (await send(settings)).status_code == 200
        await eventually(lambda: _ended_by(victim) == -signal.SIGKILL, patience)
        async with heir:
            await stored_once(settings, patience)
            return await counted(heir, "millrace_batches_duplicate_total")


async def repeated_request(
    ingest: Service, worker: Service, failpoints: Failpoints, place: Place, action: str, patience: float = PATIENCE
) -> None:
    """Let ingest die or fail at `place`, and repeat the request with its key until it is acknowledged."""
    settings = ingest.settings
    failpoints.given_to(ingest)
    async with worker, ingest:
        failpoints.arm(place, action)
        if action == "fail":
            assert (await send(settings, "key-1")).status_code == 503
        else:
            with pytest.raises(httpx.TransportError):
                await send(settings, "key-1")
            ingest.start()
            await ingest.ready()
        assert (await send(settings, "key-1")).status_code == 200
        await stored_once(settings, patience)


def _ended_by(process: Service) -> int | None:
    assert process.process
    return process.process.poll()
