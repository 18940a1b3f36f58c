"""What compose.citus.yaml does to make a cluster, done to servers that want passwords: they get in at each other."""

import asyncio
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from pydantic import SecretStr

from services.database.schema.apply import apply
from services.local.citus import make_cluster
from services.local.process import ordinary_account
from services.platform.settings import DatabaseSettings
from tests.conftest import ABSENT
from tests.support import free_port
from tests.support.servers import OPTIONS, installations
from tests.support.service import ROOT

PASSWORDS = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"


class Loader(yaml.SafeLoader):
    """Reads a file that overrides another."""


def as_list(loader: Loader, node: yaml.SequenceNode) -> list[Any]:
    found: list[Any] = loader.construct_sequence(node)
    return found


for tag in ("!override", "!reset"):
    Loader.add_constructor(tag, as_list)


def service(file: str, name: str) -> Any:
    return yaml.load((ROOT / file).read_text(), Loader)["services"][name]


async def shell(script: str, variables: dict[str, str], *replaced: tuple[str, str]) -> None:
    """Run a script of compose's, whose `$$` is the shell's, with other names in place of its containers'."""
    for name, ours in (("$$", "$"), *replaced):
        script = script.replace(name, ours)
    process = await asyncio.create_subprocess_exec(
        "sh", "-euc", script, env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def counted(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not here")
async def test_compose_makes_a_cluster_whose_servers_log_in_at_each_other_by_password(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = installations().get("citus")
    if installation is None:
        pytest.skip(ABSENT["citus"])
    secrets, passfile, data = open_folder / "secrets", open_folder / "passfile", open_folder / "data"
    for folder in (secrets, open_folder / "grafana", data):
        folder.mkdir(mode=0o711)
    paths = (("/secrets", str(secrets)), ("/grafana", str(open_folder / "grafana")), ("/run/passfile", str(passfile)))
    await shell(service("compose.yaml", "secrets")["command"][0], {}, *paths)
    account = ordinary_account()
    owner = f"chown {account.uid}" if account else "true"
    entrypoint = service("compose.citus.yaml", "timescaledb")["entrypoint"][2]
    await shell(entrypoint, {}, *paths, ("chown postgres", owner), ('exec docker-entrypoint.sh "$@"', "true"))
    monkeypatch.setenv("PGPASSFILE", str(passfile))

    password = (secrets / "postgres").read_text().strip()
    cluster = make_cluster(data, [free_port() for _ in range(3)], installation, password, OPTIONS)
    (data / "pg_hba.conf").write_text(PASSWORDS)
    here, *nodes = (server.port for server in cluster.servers)
    await cluster.start()
    try:
        for server in cluster.servers:
            await cluster.run(server, "postgres", "create database sensors")
            await cluster.run(server, "sensors", "create extension citus")
        names = [("-h timescaledb", f"-h 127.0.0.1 -p {here}"), ("host('timescaledb'", f"host('127.0.0.1', {here}")]
        names += [(f"'node-{number}', 5432", f"'127.0.0.1', {port}") for number, port in enumerate(nodes, 1)]
        names += [("/bootstrap.sql", str(ROOT / "sql/bootstrap.sql"))]
        for _ in range(2):
            await shell(service("compose.citus.yaml", "cluster")["command"][2], {}, *paths, *names)
        urls = {
            role: line.partition("=")[2].strip().replace("@timescaledb/", f"@127.0.0.1:{here}/")
            for line in (secrets / "env.sh").read_text().splitlines()
            for role in ("owner", "writer", "reader")
            if f"_{role.upper()}_URL=" in line
        }
        done = await apply(DatabaseSettings(**{f"{role}_url": SecretStr(url) for role, url in urls.items()}))
        assert done.capability.spread
        writer = await asyncpg.connect(urls["writer"])
        try:
            rows = [(datetime.now(UTC), f"sensor-{number}", 1.0) for number in range(100)]
            columns = ["timestamp", "sensor_id", "value"]
            await writer.copy_records_to_table("sensor_data", records=rows, columns=columns)
        finally:
            await writer.close()
        assert await counted(urls["reader"], "select count(*) from sensor_data") == 100
        for server in cluster.nodes:
            placed = f"select count(*) from citus_shards where nodeport = {server.port}"
            assert await counted(urls["owner"], placed) > 0
        # Without the file the servers are shut out, so that it is what lets them in.
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(cluster.nodes[0].url("millrace_writer", "not this"))
    finally:
        await cluster.stop()
