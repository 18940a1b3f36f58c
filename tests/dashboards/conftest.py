"""A one-machine stack and a bridge under a load that has something of everything, and a Prometheus that scrapes all.

What is on Kubernetes alone is not here. This process stands for it: with the operator's own instruments, and with
gauges that are called as the kubelet and kube-state-metrics call theirs.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import prometheus_client
import pytest
import pytest_asyncio
import yaml

from services.local.plan import Plan
from services.platform.runtime.metrics import corrected_drifts, reconcile_seconds
from services.platform.runtime.telemetry import telemetry
from services.platform.settings import MqttSettings, Settings, TelemetrySettings
from tests.support import Service, eventually, free_port
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.prometheus import PROMETHEUS, Prometheus, running
from tests.support.readings import sql
from tests.support.servers import installations
from tests.support.service import ROOT
from tests.support.stack import RunningStack, stack_settings

SCRAPE = 1.0
"""Seconds between scrapes here."""

SENSORS = ["boiler-1", "it's", 'the "hot" one']
PORTS = {"ingest": 8000, "query": 8001, "worker": 8002, "repair": 8003}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What runs, and since when, in seconds since 1970."""

    settings: Settings
    prometheus: Prometheus
    query: httpx.AsyncClient
    since: float


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    """The stack with TimescaleDB where that is here, under load until the module's last test is over."""
    if PROMETHEUS is None:
        pytest.skip("prometheus is not here")
    folder = tmp_path_factory.mktemp("dashboards")
    found = installations()
    installation = found.get("timescaledb") or found["plain"]
    settings = stack_settings(folder / "data", installation.bin)
    since = time.time()
    async with contextlib.AsyncExitStack() as stack:
        plan = (await stack.enter_async_context(RunningStack(settings, folder / "up.log"))).plan
        stack.enter_context(telemetry(TelemetrySettings(), "operator"))
        port = free_port()
        server, thread = prometheus_client.start_http_server(port, "127.0.0.1")
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        address = f"http://127.0.0.1:{settings.query.port}"
        query = await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=30))
        broker = stack.enter_context(mosquitto(folder))
        await eventually(broker.listens)
        bridge = Service("mqtt", bridged(plan.settings, broker), folder / "bridge.log")
        await stack.enter_async_context(bridge)
        load = asyncio.create_task(load_for_ever(plan, query, broker))
        stack.push_async_callback(ended, load)
        await eventually(lambda: stored(load, query), 60)
        prometheus = await stack.enter_async_context(
            running(scraping(settings, [port, bridge.settings.mqtt.port]), folder / "prometheus")
        )
        yield Loaded(plan.settings, prometheus, query, since)


def bridged(settings: Settings, broker: Mosquitto) -> Settings:
    """Return the settings of a bridge from a broker to the stack."""
    own = MqttSettings(
        port=free_port(),
        broker=f"mqtt://127.0.0.1:{broker.port}",
        topics="devices/{device}/{name}",
        ingest_url=f"http://127.0.0.1:{settings.ingest.port}",
    )
    return settings.model_copy(update={"mqtt": own})


def scraping(settings: Settings, more: list[int]) -> Any:
    """Return compose's configuration of Prometheus with its names and ports as they are here, and `more` of them."""
    configuration = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": f"{SCRAPE:g}s", "evaluation_interval": f"{SCRAPE:g}s"}
    configuration["rule_files"] = [str(ROOT / "monitoring" / "alarms.yaml")]
    [job] = configuration["scrape_configs"]
    named = {name: each["port"] for each in job.pop("dns_sd_configs") for name in each["names"]}
    assert named == PORTS
    here = [getattr(settings, name).port for name in named]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{each}" for each in [*here, *more]]}]
    return configuration


async def ended(load: "asyncio.Task[None]") -> None:
    """Stop the load, and raise what stopped it before."""
    load.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await load


async def stored(load: "asyncio.Task[None]", query: httpx.AsyncClient) -> bool:
    """Tell whether readings of all sensors can be asked for."""
    assert not load.done(), load.exception()
    return len((await query.get("/latest", params={"match": "*"})).json()["data"]) > len(SENSORS)


async def load_for_ever(plan: Plan, query: httpx.AsyncClient, broker: Mosquitto) -> None:
    """Send good, late, wrong and repeated readings, messages, questions, and deletions, round by round."""
    settings = plan.settings
    # What the database refuses becomes a dead letter.
    await sql(settings.database, "alter table sensor_data add constraint not_666 check (value <> 666)")
    ingest, admin = (f"http://127.0.0.1:{port}" for port in (settings.ingest.port, settings.ingest.admin_port))
    show_kubernetes()
    async with httpx.AsyncClient(base_url=ingest, timeout=30) as client:
        for number in itertools.count():
            await send(client, number)
            await asyncio.to_thread(broker.publish, "devices/a/heat", f'{{"ts": {time.time():.3f}, "v": {number}}}')
            for path in ("/get_range", "/min", "/hourly"):
                span = {"start": "2025-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"} if path != "/hourly" else {}
                (await query.get(path, params={"sensor_id": SENSORS[0], **span})).raise_for_status()
            if number % 5 == 0:
                await correct(admin, number)
            if number == 1:
                await keep_out(plan, client)
            reconcile_seconds.record(0.02)
            corrected_drifts.add(1, {"kind": "Hypertable"})
            await asyncio.sleep(SCRAPE / 4)


def show_kubernetes() -> None:
    """Show what exporters of Kubernetes would."""
    volume = {"namespace": "here", "persistentvolumeclaim": "data-millrace-redis-0"}
    workers = {"namespace": "here", "deployment": "millrace-worker"}
    archive = {"namespace": "here", "deployment": "millrace-backup"}
    drill = {"namespace": "here", "cronjob": "millrace-restore-drill"}
    gauges: dict[str, prometheus_client.Gauge] = {}
    for name, labels, value in [
        ("kubelet_volume_stats_capacity_bytes", volume, 100.0),
        ("kubelet_volume_stats_available_bytes", volume, 40.0),
        ("kube_deployment_spec_replicas", workers, 3.0),
        ("kube_deployment_status_replicas_ready", workers, 2.0),
        ("kube_deployment_status_replicas_ready", archive, 1.0),
        ("kube_cronjob_created", drill, 1e9),
        ("kube_cronjob_status_active", drill, 1.0),
        ("kube_cronjob_status_last_schedule_time", drill, 1.2e9),
        ("kube_cronjob_status_last_successful_time", drill, 1.1e9),
    ]:
        gauge = gauges.get(name) or prometheus_client.Gauge(name, "As its exporter has it.", [*labels])
        gauges[name] = gauge
        gauge.labels(**labels).set(value)


async def send(client: httpx.AsyncClient, number: int) -> None:
    """Send what a round brings."""
    now = datetime.now(UTC)
    late = datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=number)
    good = [reading(each, now, float(number % 7)) for each in SENSORS] + [reading("boiler-1", late, 1.0)]
    labelled = {"name": "temperature", "labels": {"site": "north"}, "timestamp": now.isoformat(), "value": number % 5}
    rounded = reading("boiler-1", now, 2.0**53)
    for body, parameters, headers in [
        ([*good, labelled, rounded], {}, {}),
        ([reading("boiler-1", now, 3.0)], {}, {"Idempotency-Key": f"twice-{number // 2}"}),
        ([good[0], {**good[0], "timestamp": "yesterday"}], {"partial": "true"}, {}),
    ]:
        answer = await client.post("/ingest", json=body, params=parameters, headers=headers)
        assert answer.status_code in {200, 422}, answer.text
    assert (await client.post("/ingest", content=b"[", headers={"Content-Type": "application/json"})).status_code == 422
    (await client.post("/ingest", json=[reading("boiler-1", now, 666.0)])).raise_for_status()
    # What agents send has texts, which are not kept.
    line = f'system,host=a load={number % 3},uptime="3 days" {round(now.timestamp()) * 1_000_000_000}'
    assert (await client.post("/write", params={"db": "telegraf"}, content=line)).status_code == 204


async def correct(admin: str, number: int) -> None:
    """Take some readings back, and all dead letters but those of the last rounds away."""
    async with httpx.AsyncClient(base_url=admin, timeout=30) as client:
        late = datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=number - 5)
        span = {"start": late.isoformat(), "end": (late + timedelta(hours=2)).isoformat()}
        body = {"sensor_ids": ["boiler-1"], **span, "reason": "the probe hung in the air"}
        (await client.post("/deletions", json=body)).raise_for_status()
        letters = (await client.get("/dead-letters")).json()["letters"]
        for letter in letters[3:]:
            (await client.delete(f"/dead-letters/{letter['letter_id']}")).raise_for_status()


async def keep_out(plan: Plan, client: httpx.AsyncClient) -> None:
    """Keep the workers away from the database until an attempt of theirs has failed."""
    worker = f"http://127.0.0.1:{plan.settings.worker.port}/readyz"
    connection = await asyncpg.connect(plan.postgres.superuser_url)

    async def failed() -> bool:
        return (await client.get(worker)).status_code == 503

    try:
        await connection.execute("alter role millrace_writer nologin")
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'millrace_writer'"
        )
        await send(client, 1)
        await eventually(failed, 30)
    finally:
        await connection.execute("alter role millrace_writer login")
        await connection.close()


def reading(sensor: str, at: datetime, value: float) -> dict[str, Any]:
    return {"sensor_id": sensor, "timestamp": at.isoformat(), "value": value}
