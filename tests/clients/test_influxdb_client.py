"""InfluxDB's Python client with its own batches and retries, while answers vanish and the stack is killed."""

import asyncio
import json
from pathlib import Path

import pytest

from services.contract import series_id, series_of
from tests.support import eventually
from tests.support.programs import with_packages

from .conftest import SECONDS, Rough, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERSION = "1.50.0"
WRITES = """
import json, sys, time
from influxdb_client import InfluxDBClient, WriteOptions

url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
options = WriteOptions(
    batch_size=500, flush_interval=200, retry_interval=500, max_retries=60, max_retry_time=120_000,
    max_retry_delay=1000, exponential_base=1,
)
sent, end = [], time.monotonic() + seconds
with InfluxDBClient(url=url, token="none", org="ours", timeout=2000) as client:
    assert client.ping()
    assert client.buckets_api().find_bucket_by_name("clients").name == "clients"
    print("asked", flush=True)
    with client.write_api(write_options=options) as api:
        while time.monotonic() < end:
            micros = time.time_ns() // 1000
            for host in range(20):
                value = float(micros % 1000 + host)
                api.write(bucket="clients", record=f"{name},host=h{host} v={value} {micros}000")
                sent.append([host, micros, value])
            time.sleep(0.05)
print(json.dumps(sent))
"""


async def test_readings_of_influxdb_s_client_are_stored_once(rough: Rough, tmp_path: Path) -> None:
    python = with_packages("influxdb-client", f"influxdb-client=={VERSION}")
    name, output = "influxdb_client", tmp_path / "sent"
    with running([python, "-c", WRITES, rough.url, name, str(SECONDS)], output) as process:
        await eventually(lambda: "asked" in output.read_text(), 60)
        await rough.trouble()
        assert await asyncio.to_thread(process.wait, 180) == 0, output.read_text()[-2000:]
    [line] = [line for line in output.read_text().splitlines() if line.startswith("[[")]
    ids = [series_id(series_of(name, [("host", f"h{n}"), ("bucket", "clients")], "v")) for n in range(20)]
    sent = [(ids[host], micros, value) for host, micros, value in json.loads(line)]
    rough.judge(f"influxdb-client {VERSION} for Python", sent, await rough.settled(len(sent), name))
