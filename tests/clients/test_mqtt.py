"""The bridge from a real Mosquitto, while bridge, broker, ingest and the connections between them are killed."""

import asyncio
import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from services.contract import series_id, series_of
from services.platform.settings import MqttSettings
from tests.support import eventually, free_port
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.programs import found
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
                rows = await rough.settled(len(sent), name)
    rough.judge(f"Mosquitto by the bridge, MQTT {version}", sent, rows)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mosquitto, Path]]:
    """A broker that speaks TLS alone, and asks for a login; and the certificate by which it is checked."""
    folder = tmp_path_factory.mktemp("secured")
    certificate, key, logins = folder / "ca.crt", folder / "ca.key", folder / "logins"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, *name, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    subprocess.run([found("mosquitto_passwd"), "-b", "-c", logins, "ann", "secret"], check=True, capture_output=True)
    more = f"cafile {certificate}\ncertfile {certificate}\nkeyfile {key}\npassword_file {logins}\n"
    with mosquitto(folder, more, anonymous=False) as broker:
        yield broker, certificate


def bridged(rough: Rough, secured: tuple[Mosquitto, Path], log: Path, password: str) -> Service:
    broker, certificate = secured
    own = MqttSettings(
        port=free_port(),
        broker=f"mqtts://localhost:{broker.port}",
        topics="secured/{device}/{name}",
        user="ann",
        password=SecretStr(password),
        ca_file=certificate,
        ingest_url=rough.url,
    )
    return Service("mqtt", rough.settings.model_copy(update={"mqtt": own}), log)


async def test_what_cannot_be_stored_is_acknowledged_and_counted(
    rough: Rough, secured: tuple[Mosquitto, Path], tmp_path: Path
) -> None:
    broker, certificate = secured
    login = ["--cafile", str(certificate), "-u", "ann", "-P", "secret"]
    now = time.time_ns() // 1_000_000
    lines = f'on\n{{"a": "x"}}\n{{"ts": 1000000, "a": 1}}\n{{"ts": {now}, "a": 1, "{"n" * 129}": 2}}\n7\n'
    await eventually(broker.listens)
    broker.publish("secured/a/secured_old", f'{{"ts": {now}, "v": 3}}', "-r", *login)
    broker.publish("secured/b/secured_old", "4", "-r", *login)
    async with bridged(rough, secured, tmp_path / "log", "secret") as bridge, httpx.AsyncClient() as client:
        broker.publish("secured/a/secured", lines, *login)
        expected = {"malformed": 1.0, "empty": 1.0, "retained": 1.0, "refused": 2.0, "taken": 2.0}

        async def counted() -> bool:
            text = (await client.get(f"{bridge.url}/metrics")).text
            return outcomes(text) == expected and in_hand(text) == 0

        await eventually(counted, 30)
        rows = await rough.settled(2, "secured")
        assert sorted(value for _, _, value in rows) == [1.0, 7.0]
        assert [value for _, _, value in await rough.settled(1, "secured_old")] == [3.0]
    said = bridge.log_text()
    assert "it is neither a number nor JSON" in said
    assert all(f'"outcome": "{one}"' in said for one in expected if one != "taken")


async def test_a_login_that_the_broker_refuses_is_told(
    rough: Rough, secured: tuple[Mosquitto, Path], tmp_path: Path
) -> None:
    bridge = bridged(rough, secured, tmp_path / "log", "wrong")
    bridge.start()

    async def refused() -> bool:
        async with httpx.AsyncClient() as client:
            with contextlib.suppress(httpx.TransportError):
                return "Not authorized" in (await client.get(f"{bridge.url}/readyz")).text
        return False

    await eventually(refused, 30)
    assert bridge.terminate() == 0


def outcomes(metrics: str) -> dict[str, float]:
    return {
        match[1]: float(match[2])
        for match in re.finditer(r'^millrace_mqtt_messages_total\{.*outcome="(\w+)".*\} (.+)$', metrics, re.MULTILINE)
    }


def in_hand(metrics: str) -> float | None:
    match = re.search(r"^millrace_mqtt_messages_in_hand\{.*\} (.+)$", metrics, re.MULTILINE)
    return None if match is None else float(match[1])


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
