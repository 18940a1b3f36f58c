"""A real Telegraf, by each of its outputs, while answers vanish and the stack is killed: each reading once."""

import asyncio
import time
from pathlib import Path

import pytest

from services.contract import series_id, series_of
from tests.support.programs import built
from tests.support.readings import Row
from tests.support.snippets import snippets

from .conftest import SECONDS, Rough, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERSION = "v1.37.2"
MODULE = "github.com/influxdata/telegraf"
TAGS = (
    "custom,inputs.tail,inputs.mqtt_consumer,outputs.influxdb,outputs.influxdb_v2,outputs.http,"
    "parsers.influx,parsers.json_v2,parsers.value,serializers.influx"
)
HOSTS = 20
"""Lines of one instant."""

AGENT = """
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 1000
  metric_buffer_limit = 100000
  omit_hostname = true

[[inputs.tail]]
  files = ["{file}"]
  initial_read_offset = "beginning"
  watch_method = "poll"
  max_undelivered_lines = 100000
  path_tag = ""
  data_format = "influx"
"""
PAGE = "docs/doors/line-protocol.md"
OUTPUTS = {"influxdb": "db", "influxdb_v2": "bucket", "http": "db"}
"""Outputs, and the label that says to which database each wrote."""


def configured(output: str, file: Path, url: str) -> str:
    """Return a configuration of Telegraf with an output as the docs have it, and less patience."""
    [documented] = [one.text for one in snippets() if one.page == PAGE and f"[[outputs.{output}]]" in one.text]
    return AGENT.format(file=file) + documented.replace("http://localhost:8000", url) + '  timeout = "2s"\n'


@pytest.mark.parametrize("output", OUTPUTS)
async def test_telegraf_s_readings_are_stored_once(output: str, rough: Rough, tmp_path: Path) -> None:
    telegraf = built("telegraf", f"{MODULE}/cmd/telegraf", MODULE, VERSION, TAGS)
    file, configuration = tmp_path / "lines", tmp_path / "telegraf.conf"
    file.touch()
    configuration.write_text(configured(output, file, rough.url))
    name = f"telegraf_{output}"
    with running([telegraf, "--config", configuration], tmp_path / "telegraf.log"):
        sent, _ = await asyncio.gather(lines_into(file, name, output), rough.trouble())
        rows = await rough.settled(len(sent), name)
    rough.judge(f"Telegraf {VERSION}, `outputs.{output}`", sent, rows)


async def lines_into(file: Path, name: str, output: str) -> list[Row]:
    """Write lines for a while, an instant of many at a time; return the readings that they are."""
    sent: list[Row] = []
    ids = [series_id(series_of(name, [("host", f"h{n}"), (OUTPUTS[output], "telegraf")], "v")) for n in range(HOSTS)]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        micros = time.time_ns() // 1000
        lines = "".join(f"{name},host=h{host} v={micros % 1000 + host} {micros}000\n" for host in range(HOSTS))
        with file.open("a") as opened:
            opened.write(lines)
        sent += [(sensor, micros, float(micros % 1000 + host)) for host, sensor in enumerate(ids)]
        await asyncio.sleep(0.05)
    return sent
