"""The whole one-machine stack with readings of many kinds, and Chromium to look at it.

The stack is made once. A test fails where one of its pages logs an error, breaks the content security policy, or asks
another host. Playwright has a loop of its own, beside which no test of asyncio runs: these are a session by themselves.
"""

import asyncio
import contextlib
import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import orjson
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from services.platform.postgres.connections import Connector
from services.platform.settings import Settings
from tests.support import Service, eventually, free_port
from tests.support.chromium import launch_options
from tests.support.proxy import Proxy, moved, proxied, server_of
from tests.support.stack import RunningStack, stack_settings

from .looks import LIGHT, Look, Watch

T = TypeVar("T")

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


@contextlib.contextmanager
def query_beside(settings: Settings, log: Path) -> Iterator[str]:
    """Run a query service at a port of its own beside the stack's, and yield where its console is."""
    query = settings.query.model_copy(update={"port": free_port()})
    service = Service("query", settings.model_copy(update={"query": query}), log)
    service.start()
    try:
        # Each retry of a refused connection waits twice as long as the one before.
        with httpx.Client(transport=httpx.HTTPTransport(retries=7)) as client:
            assert client.get(f"{service.url}/healthz").status_code == 200
        yield f"{service.url}/console/"
    finally:
        service.terminate()


class Narrow:
    """A query service with little room for a question, whose way to the database can be closed.

    Attributes:
        console: where its console is.
    """

    CELLS = 2000

    def __init__(self, console: str, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.console = console
        self._proxy = proxy
        self._loop = loop

    @contextlib.contextmanager
    def without_database(self) -> Iterator[None]:
        """Let nothing pass between the service and the database inside the block."""
        self._loop.call_soon_threadsafe(self._proxy.open.clear)
        self._loop.call_soon_threadsafe(self._proxy.cut)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._proxy.open.set)


@pytest.fixture(scope="session")
def narrow(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    """A query service beside the stack's; the proxy before its database has a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    way = proxied(*server_of(stack.plan.settings, "reader"))
    try:
        proxy = there(way.__aenter__())
        settings = moved(stack.plan.settings, proxy.port, connect_timeout=3.0)
        query = settings.query.model_copy(update={"max_cells": Narrow.CELLS})
        settings = settings.model_copy(update={"query": query})
        with query_beside(settings, tmp_path_factory.mktemp("narrow") / "log") as console:
            yield Narrow(console, proxy, loop)
        there(way.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


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
