"""Whatever is sent: no service fails, and what was taken is answered as a model in plain Python answers it."""

import gzip
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import orjson
import pytest
import zstandard

from services.platform.settings import Settings
from tests.support.faults import Make, chance, drained, worker
from tests.support.ingest import JSON

pytestmark = pytest.mark.long

START = datetime(2025, 10, 22, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}
Model = dict[str, list[tuple[datetime, float]]]


def instant(dice: random.Random) -> datetime:
    """Return an instant within eight hours, often a full one, so that readings and questions meet."""
    when = START + timedelta(microseconds=dice.randrange(8 * 3600 * 10**6))
    return dice.choice([when, when.replace(minute=0, second=0, microsecond=0)])


def said(dice: random.Random, when: datetime) -> str:
    return when.astimezone(timezone(timedelta(minutes=dice.randrange(-840, 840)))).isoformat()


def readings(dice: random.Random, sensors: list[str]) -> list[tuple[str, datetime, float]]:
    values = (0.0, -0.0, 5e-324, 1e100, -1e-7, 0.1)
    return [
        (dice.choice(sensors), instant(dice), dice.choice([*values, dice.uniform(-1e6, 1e6)]))
        for _ in range(dice.randrange(1, 40))
    ]


def body(dice: random.Random, made: list[tuple[str, datetime, float]]) -> bytes:
    return orjson.dumps(
        [{"sensor_id": sensor, "timestamp": said(dice, when), "value": value} for sensor, when, value in made]
    )


def damaged(dice: random.Random, whole: bytes) -> bytes:
    """Return bytes with some of them changed, taken out, doubled or cut off."""
    content = bytearray(whole)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(content) + 1)
        change = dice.choice([dice.randbytes(1), b"", b"\0", b"]", b'"', b"NaN", b"1e999", content[at : at + 20]])
        content[at : at + dice.randrange(3)] = change
    return bytes(content[: dice.choice([None, dice.randrange(len(content) + 1)])])


async def test_row_36_whatever_is_sent_no_service_fails_and_what_was_taken_is_answered_as_a_model_answers(
    settings: Settings, service: Make, scale: float
) -> None:
    dice = chance()
    model: Model = defaultdict(list)
    ingest, query = service("ingest", settings), service("query", settings)
    async with ingest, query, service("worker", worker(settings, "w")), httpx.AsyncClient(timeout=30) as client:

        async def status(content: bytes, encoding: str) -> int:
            headers = {**JSON, "Content-Encoding": encoding}
            return (await client.post(f"{ingest.url}/ingest", content=content, headers=headers)).status_code

        for _ in range(round(100 * scale)):
            made = readings(dice, ["s-1", "s-2", "s-3"])
            encoding = dice.choice(list(ENCODINGS))
            assert await status(ENCODINGS[encoding](body(dice, made)), encoding) == 200
            for sensor, when, value in made:
                model[sensor].append((when, value))
            for _ in range(5):
                encoding, noise = dice.choice(list(ENCODINGS)), body(dice, readings(dice, ["noise"]))
                # The damage lies inside of the compression, or in it.
                inside = dice.random() < 0.5
                packed = ENCODINGS[encoding](damaged(dice, noise) if inside else noise)
                found = await status(packed if inside else damaged(dice, packed), encoding)
                assert found in {200, 400, 413, 422}, found
        await drained(settings)
        for _ in range(round(200 * scale)):
            await compare(client, query.url, model, dice)
    for process in (ingest, query):
        assert "Traceback" not in process.log_text()


async def compare(client: httpx.AsyncClient, url: str, model: Model, dice: random.Random) -> None:
    """Ask all three questions of a random range, and hold the answers against the model's."""
    sensor = dice.choice(sorted(model))
    start, end = sorted([instant(dice), instant(dice) + timedelta(microseconds=1)])
    if start == end:
        return
    wanted = sorted((when, value) for when, value in model[sensor] if start <= when < end)

    async def ask(path: str) -> Any:
        asked = {"sensor_id": sensor, "start": said(dice, start), "end": said(dice, end)}
        answer = await client.get(f"{url}{path}", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = [(datetime.fromisoformat(row["timestamp"]), row["value"]) for row in (await ask("/get_range"))["data"]]
    assert [when for when, _ in found] == [when for when, _ in wanted]
    assert sorted(found) == wanted
    assert (await ask("/min"))["min_value"] == min((value for _, value in wanted), default=None)
    hours: dict[datetime, list[float]] = defaultdict(list)
    for when, value in model[sensor]:
        hours[when.replace(minute=0, second=0, microsecond=0)].append(value)
    assert [
        (datetime.fromisoformat(row["timestamp"]), row["min"], row["max"], row["samples"])
        for row in await ask("/hourly")
    ] == [
        (hour, min(values), max(values), len(values)) for hour, values in sorted(hours.items()) if start <= hour < end
    ]
