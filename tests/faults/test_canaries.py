"""No password, key or Idempotency-Key of a running stack appears in what it logs, answers, exports or prints."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from services.local.credentials import Credentials
from services.local.environment import environment
from services.local.valkey import ValkeyServer
from services.platform.settings import AuthSettings, ClientSettings, LogSettings, RedisSettings, Settings
from services.platform.stream import redis_client
from tests.support import Service, TestDatabase, eventually, free_port
from tests.support.canaries import Canaries, Collector, collecting
from tests.support.faults import Make, worker
from tests.support.ingest import BODY, JSON, READING
from tests.support.late import connected
from tests.support.servers import installations, standalone
from tests.support.service import ROOT

pytestmark = pytest.mark.long

RANGE = "sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T22:00:00Z"
LOOKS = ["/metrics", "/healthz", "/readyz", "/openapi.json", "/docs", "/nowhere"]
SERVICES = ["ingest", "worker", "query", "repair"]
COMMANDS = [
    "config", "config --json", "entries --dead", "entries --pending --json", "dead-letters list",
    "dead-letters show 0-1", "dead-letters replay --all", "keys list", "aggregates", "schema apply", "demo",
    "send --rows 10 --batch 5", "send --rows 1 --patience 0 --url http://127.0.0.1:1",
]  # fmt: skip


class Heard:
    """All that somebody outside was told, and where."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str]] = []

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **request: Any) -> int:
        answer = await client.request(method, path, **request)
        self.words.append((f"{method} {path} {request}", f"{answer.headers}\n{answer.text}"))
        return answer.status_code

    async def run(self, command: str, settings: Settings, **variables: str) -> str:
        line = [sys.executable, "-m", "services.cli", *command.split()]
        done = await asyncio.to_thread(
            lambda: subprocess.run(
                line, cwd=ROOT, env=environment(settings) | variables, capture_output=True, text=True, timeout=120,
                check=False,
            )
        )  # fmt: skip
        self.words.append((f"{command} {list(variables)}", done.stdout + done.stderr))
        return done.stdout + done.stderr


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
async def database(
    tmp_path_factory: pytest.TempPathFactory, canaries: Canaries, database_mode: str
) -> AsyncIterator[TestDatabase]:
    folder = tmp_path_factory.mktemp("postgres")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o711)
    words = Credentials(*(canaries.password(name) for name in Credentials.__struct_fields__))
    (folder / "credentials.json").write_bytes(msgspec.json.encode(words))
    async with standalone(folder, database_mode, installations()[database_mode]) as made:
        yield made


@pytest.fixture
async def valkey(tmp_path: Path, canaries: Canaries) -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "own" / "valkey", free_port(), canaries.password("redis"), 256 * 1024 * 1024)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def redis_settings(valkey: ValkeyServer) -> RedisSettings:
    return RedisSettings(url=SecretStr(valkey.url), timeout=2.0)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


async def test_no_secret_leaves_a_stack_that_is_used_broken_and_asked_everything(
    settings: Settings, database: TestDatabase, valkey: ValkeyServer, service: Make, canaries: Canaries,
    collector: Collector, tmp_path: Path,
) -> None:  # fmt: skip
    file = tmp_path / "keys.yaml"
    keys = {scope: canaries.caller(file, scope, scope) for scope in ("ingest", "query", "admin")}
    everything = canaries.caller(file, "everything", "ingest", "query", "admin")
    endpoint = f"http://probe:{canaries.password('collector')}@127.0.0.1:{collector.server_port}"
    telemetry = settings.telemetry.model_copy(
        update={"otlp_endpoint": SecretStr(endpoint), "sample_ratio": 1.0, "metric_interval": 1.0}
    )
    settings = worker(settings, "w").model_copy(
        update={
            "auth": AuthSettings(keys_file=file), "client": ClientSettings(key=SecretStr(everything)),
            "telemetry": telemetry, "log": LogSettings(level="debug"),
        }
    )  # fmt: skip
    once = canaries.password("Idempotency-Key")
    told = [valkey.url, everything, once, endpoint]
    told += [getattr(settings.database, f"{role}_url").get_secret_value() for role in ("owner", "writer", "reader")]
    assert all(canaries.in_(text) for text in [*told, *keys.values()]), "the search itself finds nothing"
    heard = Heard()
    processes = [service(workload, settings) for workload in SERVICES]
    for process in processes:
        process.start()
    await asyncio.gather(*(process.ready(60.0) for process in processes))
    ports = [process.url for process in processes] + [f"http://127.0.0.1:{settings.ingest.admin_port}"]

    await use(heard, settings, keys, once, database)
    await look(heard, ports)
    for command in COMMANDS:
        await heard.run(command, settings)
    await use_with_wrong_keys(heard, ports, keys, once)
    await start_with_wrong_passwords(heard, settings, canaries, service)
    await set_bad_urls(heard, settings, canaries)

    for server in (valkey, database.server):
        heard.words.append((server.name, server.log.read_text(errors="replace")))
        await server.stop()
        await ask_everything(heard, settings, keys, once)
        await look(heard, ports)
        for command in ["entries", "aggregates"]:
            await heard.run(command, settings)
        await server.start()
    await asyncio.gather(*(process.ready(60.0) for process in processes))
    for process in processes:
        process.terminate()

    assert b"store" in collector.bodies("/v1/traces"), "no span was exported"
    assert b"millrace_rows_accepted" in collector.bodies("/v1/metrics")
    logs = [(process.workload, process.log_text()) for process in processes]
    assert '"action": "accept"' in logs[0][1], "it did not log at the level debug"
    for _, text in logs:
        assert all(json.loads(line)["event"] for line in text.splitlines())
    exported = [(path, body.decode("latin-1")) for path, _, body in collector.kept]
    servers = [(server.name, server.log.read_text(errors="replace")) for server in (valkey, database.server)]
    assert [
        (where, canaries.in_(text)) for where, text in heard.words + logs + exported + servers if canaries.in_(text)
    ] == []
    assert not [where for where, text in heard.words if "Traceback" in text]


async def use(heard: Heard, settings: Settings, keys: dict[str, str], once: str, database: TestDatabase) -> None:
    """Take readings in, have some refused by the database and some damaged, and see them as dead letters."""
    bearer = {scope: {"Authorization": f"Bearer {key}"} for scope, key in keys.items()}
    async with connected(database, "owner") as owner:
        await owner.execute("alter table sensor_data add constraint no_nine check (value <> 9)")
    async with redis_client(settings.redis) as stream:
        await stream.xadd(settings.redis.stream, {"hello": "world"})
    admin = f"http://127.0.0.1:{settings.ingest.admin_port}"
    async with httpx.AsyncClient(timeout=30) as client:
        post = f"http://127.0.0.1:{settings.ingest.port}/ingest?ack=stored"
        keyed = {**bearer["ingest"], "Idempotency-Key": once}
        assert await heard.ask(client, "POST", post, json=[READING], headers=keyed) in {200, 202}
        assert await heard.ask(client, "POST", post, json=[READING], headers=keyed) in {200, 202}
        assert await heard.ask(client, "POST", post, json=[{**READING, "value": 8}], headers=keyed) == 422
        keyed = {**bearer["ingest"], "Idempotency-Key": f"{once}-refused"}
        assert await heard.ask(client, "POST", post, json=[{**READING, "value": 9}], headers=keyed) in {202, 422}
        for path in (f"get_range?{RANGE}", f"min?{RANGE}", "hourly?sensor_id=sensor-1"):
            url = f"http://127.0.0.1:{settings.query.port}/{path}"
            assert await heard.ask(client, "GET", url, headers=bearer["query"]) == 200

        async def both_dead() -> bool:
            found = await client.get(f"{admin}/dead-letters", headers=bearer["admin"])
            return bool(found.json()["total"] == 2)

        await eventually(both_dead, 60.0)
        letters = (await client.get(f"{admin}/dead-letters", headers=bearer["admin"])).json()["letters"]
        for path in ["/dead-letters", *(f"/dead-letters/{letter['letter_id']}" for letter in letters)]:
            assert await heard.ask(client, "GET", f"{admin}{path}", headers=bearer["admin"]) == 200
            await heard.ask(client, "GET", f"{admin}{path}/readings", headers=bearer["admin"])


async def look(heard: Heard, ports: list[str]) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for port in ports:
            for path in LOOKS:
                await heard.ask(client, "GET", port + path)


async def ask_everything(heard: Heard, settings: Settings, keys: dict[str, str], once: str) -> None:
    """Ask each port its question; whatever it says, it says something."""
    ingest, query = f"http://127.0.0.1:{settings.ingest.port}", f"http://127.0.0.1:{settings.query.port}"
    async with httpx.AsyncClient(timeout=60) as client:
        for scope, method, url in [
            ("ingest", "POST", f"{ingest}/ingest"),
            ("ingest", "GET", f"{ingest}/batches/019a0b1c-8f00-7000-8000-000000000001"),
            ("admin", "GET", f"http://127.0.0.1:{settings.ingest.admin_port}/dead-letters"),
            ("query", "GET", f"{query}/hourly?sensor_id=sensor-1"),
        ]:
            headers = {"Authorization": f"Bearer {keys[scope]}", "Idempotency-Key": f"{once}-again", **JSON}
            await heard.ask(client, method, url, headers=headers, content=BODY if method == "POST" else b"")


async def use_with_wrong_keys(heard: Heard, ports: list[str], keys: dict[str, str], once: str) -> None:
    """Show keys that are nearly right, at the wrong place, or beside what cannot be read."""
    async with httpx.AsyncClient(timeout=30) as client:
        for scope, key in keys.items():
            for shown in (
                f"Bearer {key}x",
                f"Bearer {key[:-1]}",
                f"Basic {key}",
                key,
                f"Bearer {key} {key}",
                f"bearer {key}",
            ):
                for port in ports:
                    for method, path in (("POST", f"/ingest?api_key={key}"), ("GET", f"/hourly?{RANGE}&key={key}")):
                        headers = {"Authorization": shown, "Idempotency-Key": f"{once}\tx"}
                        status = await heard.ask(client, method, port + path, headers=headers, content=b"{nonsense")
                        assert 400 <= status < 500, (scope, shown, port, path)


async def start_with_wrong_passwords(heard: Heard, settings: Settings, canaries: Canaries, service: Make) -> None:
    """Start processes that the servers turn away."""
    wrong = canaries.password("wrong")
    redis = settings.redis.model_copy(update={"url": SecretStr(_with(settings.redis.url.get_secret_value(), wrong))})
    urls = {
        f"{role}_url": SecretStr(_with(getattr(settings.database, f"{role}_url").get_secret_value(), wrong))
        for role in ("owner", "writer", "reader")
    }
    turned_away: list[Service] = []
    for workload in SERVICES:
        section = getattr(settings, workload).model_copy(update={"port": free_port()})
        if workload == "ingest":
            section = section.model_copy(update={"admin_port": section.port + 1})
        changed: dict[str, Any] = {workload: section, "database": settings.database.model_copy(update=urls)}
        turned_away.append(service(workload, settings.model_copy(update={**changed, "redis": redis})))
        turned_away[-1].start()

    async def all_say_so() -> bool:
        words = [process.log_text() + await _readiness(process) for process in turned_away]
        return all("password" in text for text in words)

    await eventually(all_say_so, 60.0)
    for process in turned_away:
        heard.words.append((f"{process.workload} /readyz", await _readiness(process)))
        process.terminate()
        heard.words.append((process.workload, process.log_text()))
    changed = {"redis": redis, "database": settings.database.model_copy(update=urls)}
    for command in ("entries", "schema apply", "aggregates"):
        assert await heard.run(command, settings.model_copy(update=changed))


async def _readiness(process: Service) -> str:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{process.url}/readyz")).text
    except httpx.TransportError:
        return ""


async def set_bad_urls(heard: Heard, settings: Settings, canaries: Canaries) -> None:
    """Give the commands settings that name no server."""
    word = canaries.password("unreadable")
    bad = [
        ("run ingest", "MILLRACE_REDIS_URL", f"redis://:{word}/x@127.0.0.1/0"),
        ("run ingest", "MILLRACE_REDIS_URL", word),
        ("run worker", "MILLRACE_DATABASE_WRITER_URL", f"postgresql://w:{word}#x@127.0.0.1/sensors"),
        ("run query", "MILLRACE_DATABASE_READER_URL", f"mysql://r:{word}@127.0.0.1/sensors"),
        ("run repair", "MILLRACE_DATABASE_OWNER_URL", f"postgresql://o:{word}@127.0.0.1:{word}/sensors"),
        ("run query", "MILLRACE_TELEMETRY_OTLP_ENDPOINT", f"probe:{word}@collector:4318"),
        ("dead-letters list", "MILLRACE_CLIENT_KEY", f"millrace_{word}\n"),
        ("config", "MILLRACE_CLIENT_KEY", f"millrace_{word} {word}"),
        ("run worker", "MILLRACE_WORKER_PORT", word),
    ]
    for command, name, value in bad:
        assert f"millrace: {name}" in await heard.run(command, settings, **{name: value})


def _with(url: str, password: str) -> str:
    before, _, behind = url.rpartition("@")
    return f"{before.rpartition(':')[0]}:{password}@{behind}"
