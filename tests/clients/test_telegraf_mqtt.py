"""Telegraf between a real Mosquitto and Millrace, while Telegraf, broker, ingest and workers are killed."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import eventually
from tests.support.mosquitto import mosquitto
from tests.support.programs import built
from tests.support.snippets import snippets

from .conftest import Rough, running
from .test_mqtt import all_out, published, publishing
from .test_telegraf import MODULE, TAGS, VERSION

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "docs/doors/mqtt.md"


async def test_messages_through_telegraf_are_stored_once(rough: Rough, tmp_path: Path) -> None:
    telegraf = built("telegraf", f"{MODULE}/cmd/telegraf", MODULE, VERSION, TAGS)
    configuration, log = tmp_path / "telegraf.conf", tmp_path / "telegraf.log"
    [documented] = [one.text for one in snippets() if one.page == PAGE and "mqtt_consumer" in one.text]
    name = "mqtt_telegraf"
    with mosquitto(tmp_path) as broker, ExitStack() as stack:
        own = documented.replace("http://localhost:8000", rough.url).replace(
            "localhost:1883", f"127.0.0.1:{broker.port}"
        )
        configuration.write_text(own + '  timeout = "2s"\n')
        command: list[str | Path] = [telegraf, "--config", configuration]
        process = stack.enter_context(running(command, log))

        async def kill_telegraf() -> None:
            nonlocal process
            process.kill()
            process.wait()
            process = stack.enter_context(running(command, log))

        async def stop_broker() -> None:
            await asyncio.to_thread(broker.stop)
            broker.start()

        # Only what is subscribed to is kept.
        await eventually(lambda: "site/+/device/+/+" in broker.log.read_text(), 30)
        with publishing(broker) as publisher:
            labels = {"bucket": "telegraf"}
            sent, _ = await asyncio.gather(
                published(publisher, name, ("t", "x_h"), **labels), rough.trouble(kill_telegraf, stop_broker)
            )
            await eventually(lambda: all_out(publisher), 60)
        rows = await rough.settled(len(sent), name)
    rough.judge(f"Mosquitto by Telegraf {VERSION}", sent, rows)
