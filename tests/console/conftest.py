"""The whole one-machine stack with readings of many kinds, and Chromium to look at it.

The stack is made once. A test fails where one of its pages logs an error, breaks the content security policy, or asks
another host. Playwright has a loop of its own, beside which no test of asyncio runs: these are a session by themselves.
"""

import asyncio
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from services.platform.postgres.connections import Connector
from tests.support import eventually
from tests.support.chromium import launch_options
from tests.support.stack import RunningStack, stack_settings

from .looks import LIGHT, Look, Watch

MILLION = "million"
FLEET = 100_000
_BATCH = 50_000


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """A running stack, loaded."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-console-"))
    folder.chmod(0o711)
    running = RunningStack(stack_settings(folder / "data"), folder / "up.log")
    asyncio.run(running.start())
    try:
        asyncio.run(_load(running))
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def browser(stack: RunningStack) -> Iterator[Browser]:
    """Chromium from the path; begun behind the stack, which is made in a loop of its own."""
    assert stack.process
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(**launch_options())
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser, stack: RunningStack) -> Iterator[Callable[..., Page]]:
    """Open the console at a fragment, for a `Look`; behind the test nothing may have gone wrong in it."""
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []
    base = f"http://127.0.0.1:{stack.settings.query.port}/console/"

    def opened(fragment: str, look: Look = LIGHT, *, at: str = base) -> Page:
        context = browser.new_context(**look.options())
        contexts.append(context)
        page = context.new_page()
        watches.append(Watch(page, at))
        page.goto(f"{at}{fragment}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [fault for watch in watches for fault in watch.faults] == []


async def _load(stack: RunningStack) -> None:
    """Send readings of several kinds to ingest, the last of them now, and wait until they can be asked for."""
    now = datetime.now(UTC).replace(microsecond=0)
    url = f"http://127.0.0.1:{stack.settings.ingest.port}/ingest?ack=stored"
    async with httpx.AsyncClient(timeout=60) as client:

        async def send(readings: list[dict[str, object]]) -> None:
            for first in range(0, len(readings), _BATCH):
                body = orjson.dumps(readings[first : first + _BATCH])
                answer = await client.post(url, content=body, headers={"content-type": "application/json"})
                assert answer.status_code in {200, 202}, answer.text

        await send(list(_boilers(now)))
        await send(list(_rooms(now)))
        await send(
            [
                {"sensor_id": f"unit-{number:06}", "timestamp": now.isoformat(), "value": number}
                for number in range(FLEET)
            ]
        )
        instants = np.datetime64(now.replace(tzinfo=None)) - np.arange(1_000_000)[::-1].astype("timedelta64[s]")
        walk = np.cumsum(np.random.default_rng(7).normal(0, 0.02, len(instants))) + 20
        texts = np.datetime_as_string(instants, unit="s")
        await send(
            [
                {"sensor_id": MILLION, "timestamp": f"{at}Z", "value": round(value, 3)}
                for at, value in zip(texts, walk.tolist(), strict=True)
            ]
        )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stack.settings.query.port}", timeout=60) as client:

        async def stored() -> bool:
            counted = await client.get("/series", params={"sensor_id": MILLION, "start": "-20d", "agg": "count"})
            assert counted.status_code == 200, counted.text
            return [row["count"] for row in counted.json()["data"]] == [1_000_000]

        await eventually(stored, 120)
    await _give_units(stack)


async def _give_units(stack: RunningStack) -> None:
    """Units come with protocols that have them; here their owner writes them."""
    plan = stack.plan
    owner = await Connector(plan.settings.database.owner_url, plan.settings.database).connect()
    try:
        await owner.execute(
            "update sensors set unit = case name when 'temperature' then '°C' else '%' end where name is not null"
        )
        await owner.execute("update sensors set unit = '°C' where sensor_id like 'boiler-%'")
        await owner.execute("analyze")
    finally:
        await owner.close()


def _boilers(now: datetime) -> Iterator[dict[str, object]]:
    """Yield two days of twenty boilers, a reading a minute; one was silent for three hours, one is since yesterday."""
    for number in range(1, 21):
        for minute in range(2 * 24 * 60):
            at = now - timedelta(minutes=minute)
            if (number == 3 and 400 < minute < 580) or (number == 7 and minute < 30 * 60):
                continue
            value = 60 + number + 8 * math.sin(minute / 229 + number) + 2 * math.sin(minute / 17 * number)
            yield {"sensor_id": f"boiler-{number:02}", "timestamp": at.isoformat(), "value": round(value, 2)}


def _rooms(now: datetime) -> Iterator[dict[str, object]]:
    """Yield a day of labelled series, two in each of six rooms."""
    for room in ("attic", "cellar", "hall", "kitchen", "office", "workshop"):
        labels = {"site": "north" if room < "i" else "south", "room": room}
        for step in range(24 * 12):
            at = (now - timedelta(minutes=5 * step)).isoformat()
            shift = len(room)
            yield {
                "name": "temperature",
                "labels": labels,
                "timestamp": at,
                "value": round(19 + 3 * math.sin(step / 45 + shift), 2),
            }
            yield {
                "name": "humidity",
                "labels": labels,
                "timestamp": at,
                "value": round(48 + 12 * math.cos(step / 60 + shift), 1),
            }
