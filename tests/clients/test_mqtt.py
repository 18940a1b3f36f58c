"""The bridge from a real Mosquitto, while bridge, broker, ingest and the connections between them are killed."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from services.contract import series_id, series_of
from services.platform.settings import MqttSettings
from tests.support import eventually, free_port
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.proxy import proxied
from tests.support.readings import Row
from tests.support.service import Service

from .conftest import SECONDS, Rough

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEVICES = 20


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_messages_with_a_time_are_stored_once(version: str, rough: Rough, tmp_path: Path) -> None:
    name = f"mqtt_{version[0]}"
    with mosquitto(tmp_path) as broker:
        async with proxied("127.0.0.1", broker.port) as way:
            own = MqttSettings(
                port=free_port(),
                broker=f"mqtt://127.0.0.1:{way.port}",
                topics="site/{site}/device/{device}/{name}",
                version=version,
                batch_messages=50,
                ingest_url=rough.url,
            )

            async def stop_broker() -> None:
                await asyncio.to_thread(broker.stop)
                broker.start()

            async def kill_bridge() -> None:
                bridge.kill()
                bridge.start()

            async def cut_off() -> None:
                way.cut()

            bridge = Service("mqtt", rough.settings.model_copy(update={"mqtt": own}), tmp_path / "bridge.log")
            async with bridge:
                with publishing(broker) as publisher:
                    sent, _ = await asyncio.gather(
                        published(publisher, name), rough.trouble(stop_broker, kill_bridge, cut_off)
                    )
                    await eventually(lambda: all_out(publisher), 60)
                rows = await rough.settled(name, len(sent))
    doubled = {row: count for row, count in Counter(rows).items() if count > 1}
    assert not doubled, f"{len(doubled)} of {len(sent)} are there more than once"
    assert set(rows) == set(sent), f"{len(set(sent) - set(rows))} of {len(sent)} are lost"


@contextlib.contextmanager
def publishing(broker: Mosquitto) -> Iterator[Client]:
    """Yield a client that publishes again until the broker has acknowledged."""
    client = Client(CallbackAPIVersion.VERSION2, "publisher", protocol=MQTTv5)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", broker.port, clean_start=False)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def all_out(client: Client) -> bool:
    return not client._out_messages


async def published(client: Client, name: str, fields: tuple[str, str] = ("t", "x.h"), **labels: str) -> list[Row]:
    """Publish for a while, an instant of many devices at a time; return the readings that it is."""
    sent: list[Row] = []
    ids = [
        [series_id(series_of(name, [("site", "a"), ("device", f"d{n}"), *labels.items()], field)) for field in fields]
        for n in range(DEVICES)
    ]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        micros = time.time_ns() // 1000
        for device, (t, h) in enumerate(ids):
            payload = f'{{"ts": {micros}, "t": {device}.5, "x": {{"h": {micros % 1000}}}}}'
            client.publish(f"site/a/device/d{device}/{name}", payload, qos=1)
            sent += [(t, micros, device + 0.5), (h, micros, float(micros % 1000))]
        await asyncio.sleep(0.1)
    return sent
