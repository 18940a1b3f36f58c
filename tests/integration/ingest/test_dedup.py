"""`dedup=reading`: what was taken before is stored once, whatever it comes with."""

import httpx
import pytest

from services.platform.settings import Settings
from tests.support import eventually
from tests.support.ingest import assert_problem
from tests.support.readings import rows_in
from tests.support.worker import Start

T = 1_761_166_800_000_000


def readings(*numbers: int) -> list[dict[str, object]]:
    return [{"sensor_id": f"s{n}", "timestamp": f"2025-10-22T21:00:{n:02}Z", "value": n} for n in numbers]


async def test_readings_that_are_grouped_anew_are_stored_once(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    async def post(*numbers: int) -> None:
        answer = await client.post("/ingest?dedup=reading", json=readings(*numbers))
        assert (answer.status_code, answer.json()["accepted"]) == (200, len(numbers))

    await post(1, 2, 3)
    await start()
    await post(3, 4)
    await post(2, 1, 5, 5)
    lines = "".join(f"m v={n} {T + n}000\n" for n in (1, 2))
    for body in (lines, "m v=9 " + lines.split()[2] + "\n" + lines):
        assert (await client.post("/write?dedup=reading", content=body)).status_code == 204
    await post(6)

    async def there() -> bool:
        return any(row[0] == "s6" for row in await rows_in(settings.database))

    await eventually(there)
    rows = await rows_in(settings.database)
    assert [row[0] for row in rows if row[0].startswith("s")] == [f"s{n}" for n in range(1, 7)]
    assert sorted(row[2] for row in rows if row[0].startswith("m")) == [1.0, 2.0, 9.0]


@pytest.mark.parametrize(
    ("query", "headers"), [("dedup=maybe", {}), ("dedup=reading", {"Idempotency-Key": "k"}), ("dedup=", {})]
)
async def test_a_dedup_that_is_none_or_beside_a_key_is_refused(
    query: str, headers: dict[str, str], client: httpx.AsyncClient
) -> None:
    answer = await client.post(f"/ingest?{query}", json=readings(1), headers=headers)
    assert "dedup" in assert_problem(answer, 422, "invalid_parameter")["detail"]
