"""The MQTT bridge between a message's receipt and its acknowledgement: what the broker sends again is stored once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from services.platform.settings import MqttSettings, Settings
from tests.support import Service, eventually, free_port
from tests.support.faults import Make, drained, worker
from tests.support.moments import counted, told
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.proxy import Proxy, proxied
from tests.support.repeats import values

pytestmark = pytest.mark.long

MESSAGES = 200
TOPIC = "site/a/device/d/bridged"
TEMPLATE = "site/{site}/device/{device}/{name}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder) as running:
        yield running


@contextlib.asynccontextmanager
async def behind(settings: Settings, broker: Mosquitto, service: Make) -> AsyncIterator[tuple[Service, Proxy]]:
    """Yield a bridge that is ready, with a worker behind it, and its way to ingest."""
    await eventually(broker.listens)
    async with (
        proxied("127.0.0.1", settings.ingest.port) as way,
        service("worker", worker(settings, "w")),
    ):
        own = MqttSettings(
            host="127.0.0.1",
            port=free_port(),
            broker=f"mqtt://127.0.0.1:{broker.port}",
            topics=TEMPLATE,
            batch_messages=50,
            ingest_url=f"http://127.0.0.1:{way.port}",
        )
        async with service("mqtt", settings.model_copy(update={"mqtt": own})) as bridge:
            yield bridge, way


async def publish(broker: Mosquitto, numbers: range) -> None:
    """Publish messages whose values are numbers, each with a time of its own."""
    micros = time.time_ns() // 1000
    lines = "".join(f'{{"ts": {micros + number}, "v": {number}}}\n' for number in numbers)
    await asyncio.to_thread(broker.publish, TOPIC, lines)


async def lacks(bridge: Service, part: str) -> bool:
    """Tell whether a bridge, which may be starting, is not ready for want of `part`."""
    with contextlib.suppress(httpx.TransportError):
        return await told(bridge, part)
    return False


async def has_in_hand(bridge: Service, messages: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return await counted(bridge, "millrace_mqtt_messages_in_hand") == messages
    return False


async def has_taken(bridge: Service, messages: int) -> bool:
    """Tell whether a bridge has acknowledged so many messages since it began, and has no other in hand."""
    with contextlib.suppress(httpx.TransportError):
        return await has_in_hand(bridge, 0) and await counted(bridge, "millrace_mqtt_messages_total") == messages
    return False


async def stored_once(settings: Settings, bridge: Service, broker: Mosquitto, messages: int) -> None:
    """See that so many readings are stored, once, and that the broker has nothing more for the next bridge."""
    await drained(settings)
    assert await values(settings) == list(range(messages))
    await asyncio.to_thread(bridge.terminate)
    bridge.start()
    await bridge.ready()
    await publish(broker, range(messages, messages + 1))
    await eventually(lambda: has_taken(bridge, 1), 30.0)
    await drained(settings)
    assert await values(settings) == list(range(messages + 1))


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_row_55_a_bridge_killed_before_it_has_acknowledged_gets_the_messages_again_and_stores_them_once(
    settings: Settings, broker: Mosquitto, service: Make, lost: str
) -> None:
    async with service("ingest", settings), behind(settings, broker, service) as (bridge, way):
        if lost == "request":
            way.open.clear()
        else:
            way.swallows = True
        await publish(broker, range(MESSAGES))
        await eventually(lambda: has_in_hand(bridge, MESSAGES), 60.0)
        if lost == "answer":
            await eventually(lambda: values(settings), 60.0)
        bridge.kill()
        way.cut()
        way.open.set()
        way.swallows = False
        bridge.start()
        await eventually(lambda: has_taken(bridge, MESSAGES), 60.0)
        await stored_once(settings, bridge, broker, MESSAGES)


async def test_row_55_a_broker_restarted_before_messages_are_acknowledged_sends_them_again_and_they_are_stored_once(
    settings: Settings, broker: Mosquitto, service: Make
) -> None:
    async with service("ingest", settings), behind(settings, broker, service) as (bridge, way):
        way.swallows = True
        await publish(broker, range(MESSAGES))
        await eventually(lambda: has_in_hand(bridge, MESSAGES), 60.0)
        await eventually(lambda: values(settings), 60.0)
        await asyncio.to_thread(broker.stop)
        await eventually(lambda: lacks(bridge, "broker"), 30.0)
        broker.start()
        await eventually(lambda: broker.log.read_text().count("site/+/device/+/+") >= 2, 60.0)
        way.cut()
        way.swallows = False
        # What was in hand is acknowledged to nobody: the numbers that the broker gave it may be others' by now.
        await eventually(lambda: has_in_hand(bridge, 0), 60.0)
        await eventually(lambda: _has(settings, MESSAGES), 60.0)
        await stored_once(settings, bridge, broker, MESSAGES)


async def test_row_55_while_ingest_is_away_the_broker_keeps_what_comes_and_bridges_are_killed_and_it_is_stored_once(
    settings: Settings, broker: Mosquitto, service: Make
) -> None:
    ingest = service("ingest", settings)
    async with ingest, behind(settings, broker, service) as (bridge, _):
        await publish(broker, range(10))
        await eventually(lambda: has_taken(bridge, 10), 30.0)
        ingest.kill()
        kept = 10
        for _ in range(3):
            await publish(broker, range(kept, kept + MESSAGES))
            kept += MESSAGES
            await eventually(lambda: lacks(bridge, "ingest"), 30.0)
            bridge.kill()
            bridge.start()
        await eventually(lambda: lacks(bridge, "ingest"), 30.0)
        ingest.start()
        await eventually(lambda: has_taken(bridge, kept - 10), 60.0)
        await stored_once(settings, bridge, broker, kept)


async def _has(settings: Settings, rows: int) -> bool:
    return len(await values(settings)) >= rows
