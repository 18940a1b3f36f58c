"""`millrace up` as people run it: a process with a data folder and ports of its own."""

import asyncio
import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from services.local.environment import environment
from services.local.plan import make_plan
from services.platform.postgres.connections import Connector
from services.platform.settings import Settings
from tests.support import eventually
from tests.support.alarms import alarms
from tests.support.servers import installations
from tests.support.service import ROOT
from tests.support.stack import RunningStack, said_by, stack_settings

RIGHT = "ok: all answers are right to the letter"


@pytest.fixture
def stack_in(tmp_path: Path, database_mode: str) -> RunningStack:
    """A stack in the mode of the test, not started."""
    settings = stack_settings(tmp_path / "data", installations()[database_mode].bin)
    return RunningStack(settings, tmp_path / "up.log")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a stack in the mode that it finds by itself."""
    return stack_settings(tmp_path / "data")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with two workers for all tests that may share one, in a folder called as folders may be."""
    folder = tmp_path_factory.mktemp("shared")
    settings = stack_settings(folder / 'größer, "and\'s" \\n %d $HOME')
    two = settings.model_copy(update={"local": settings.local.model_copy(update={"workers": 2})})
    stack = RunningStack(two, folder / "up.log")
    asyncio.run(stack.start())
    yield stack
    stack.stop()


def passwords(stack: RunningStack) -> list[str]:
    found: dict[str, str] = json.loads((stack.settings.local.data_dir / "credentials.json").read_bytes())
    assert len(found) == 5
    return list(found.values())


async def test_up_answers_the_demo_to_the_letter_without_a_word_of_alarm_and_leaves_nothing_behind(
    stack_in: RunningStack, database_mode: str
) -> None:
    async with stack_in as stack:
        first, second = (said_by("demo", stack.settings) for _ in range(2))
        assert (first.returncode, RIGHT in first.stdout) == (0, True), first
        assert (second.returncode, RIGHT in second.stdout) == (0, True), second
        installation = installations()[database_mode]
        assert f"PostgreSQL {installation.version}" in stack.log_text()
        assert ("in plain mode" in stack.log_text()) == (installation.timescaledb is None)
        data = stack.settings.local.data_dir
        async with httpx.AsyncClient() as client:
            for service in make_plan(stack.settings, data).services:
                assert (await client.get(f"{service.url}/metrics")).status_code == 200
        said = [stack.log, data / "postgresql.log", data / "valkey.log"]
        assert alarms(line for log in said for line in log.read_text().splitlines()) == []
        family = stack.family()
        assert stack.stop() == 0
        assert not [process for process in family if process.is_running()]
        assert "Traceback" not in stack.log_text()


def test_no_password_stands_in_a_log_a_command_line_or_an_open_file(running: RunningStack) -> None:
    secrets = passwords(running)
    lines = [" ".join(process.cmdline()) for process in running.family()]
    assert not [secret for secret in secrets if secret in running.log_text() or secret in "".join(lines)]
    files = [file for file in running.settings.local.data_dir.iterdir() if file.is_file()]
    telling = [file for file in files if any(secret in file.read_text() for secret in secrets)]
    assert {file.name for file in telling} == {"credentials.json", "env.sh", "valkey.conf"}
    assert not [file for file in telling if file.stat().st_mode & 0o077]


def test_the_shell_file_opens_the_database(running: RunningStack) -> None:
    psql = installations()["plain"].bin / "psql"
    file = shlex.quote(str(running.settings.local.data_dir / "env.sh"))
    script = f". {file} && {psql} -Atc 'select max(version) from schema_migrations'"
    told = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert int(told.stdout) >= 1


def test_the_shell_file_leads_commands_to_services_on_other_ports(running: RunningStack) -> None:
    file = shlex.quote(str(running.settings.local.data_dir / "env.sh"))
    script = f". {file} && {shlex.quote(sys.executable)} -m services.cli"
    for command in ("latest --match '*'", "dead-letters list"):
        run = ["/bin/sh", "-c", f"{script} {command}"]
        told = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr


async def test_the_console_stands_where_up_says(running: RunningStack) -> None:
    [address] = re.findall(r"console +(\S+)", running.log_text())
    async with httpx.AsyncClient() as client:
        assert "<!doctype html>" in (await client.get(address)).text


def test_a_second_up_on_the_folder_names_the_first_in_one_line(running: RunningStack) -> None:
    assert running.process
    second = said_by("up", running.settings)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"process {running.process.pid} already runs a stack" in second.stderr


def test_a_copy_of_a_running_stack_is_refused_in_one_line(running: RunningStack, settings: Settings) -> None:
    # What comes and goes meanwhile may fail to be copied.
    subprocess.run(["cp", "-a", running.settings.local.data_dir, settings.local.data_dir], check=False)
    up = said_by("up", settings)
    assert up.returncode == 2
    assert up.stderr.count("\n") == 1
    assert f"was copied from {running.settings.local.data_dir}/postgresql while a server ran there" in up.stderr


async def test_a_child_that_dies_comes_back(running: RunningStack) -> None:
    for name in ("worker", "valkey-server", "postgres", "ingest"):
        running.child(name).kill()
    await eventually(lambda: running.log_text().count("ended unasked") == 4, 30)
    await eventually(lambda: said_by("demo", running.settings).returncode == 0, 60)
    assert len(running.children("worker")) == 2


def test_the_demo_says_what_was_expected_where_other_readings_are(running: RunningStack) -> None:
    other = [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 1.5}]
    url = f"http://127.0.0.1:{running.settings.ingest.port}/ingest?ack=stored"
    assert httpx.post(url, json=other, timeout=30).status_code == 200
    demo = said_by("demo", running.settings)
    assert demo.returncode == 1
    assert "expected on a fresh database" in demo.stderr
    assert "Where other readings of the sensor are stored" in demo.stderr
    assert "gone" not in demo.stderr


async def test_the_demo_says_so_where_its_readings_were_deleted(running: RunningStack) -> None:
    assert said_by("demo --sensor bereft", running.settings).returncode == 0
    plan = running.plan
    owner = await Connector(plan.settings.database.owner_url, plan.settings.database).connect()
    try:
        await owner.execute("delete from sensor_data where sensor_id = 'bereft' and value > 25")
    finally:
        await owner.close()
    demo = said_by("demo --sensor bereft", running.settings)
    assert demo.returncode == 1
    assert "The Idempotency-Key millrace-demo-bereft was taken before" in demo.stderr
    assert "4 of the demo's 6 readings are gone" in demo.stderr
    assert "Where other readings" not in demo.stderr


async def test_a_demo_that_begins_beside_the_stack_waits_for_it(stack_in: RunningStack) -> None:
    demo = asyncio.create_task(asyncio.to_thread(said_by, "demo", stack_in.settings))
    async with stack_in:
        said = await demo
    assert (said.returncode, RIGHT in said.stdout) == (0, True), said
    assert said.stderr.startswith("Waiting up to 30 s: ")


def test_workers_get_names_and_ports_of_their_own(running: RunningStack, tmp_path: Path) -> None:
    plan = make_plan(running.settings, tmp_path)
    workers = [service for service in plan.services if service.workload == "worker"]
    assert [worker.name for worker in workers] == ["worker-1", "worker-2"]
    assert len({port for _, port in plan.ports.values()}) == len(plan.ports) == 8
    said = [json.loads(line) for line in running.log_text().splitlines() if line.startswith("{")]
    assert {line.get("consumer") for line in said if line["service"] == "worker"} == {"worker-1", "worker-2"}


@pytest.mark.parametrize(
    "setting",
    ["MILLRACE_INGEST_PORT", "MILLRACE_WORKER_PORT", "MILLRACE_LOCAL_REDIS_PORT", "MILLRACE_LOCAL_POSTGRES_PORT"],
)
def test_a_taken_port_is_told_in_one_line_before_anything_starts(settings: Settings, setting: str) -> None:
    with socket.create_server(("127.0.0.1", int(environment(settings)[setting]))):
        up = said_by("up", settings)
    assert up.returncode == 2
    assert up.stderr.count("\n") == 1
    assert setting in up.stderr
    assert not (settings.local.data_dir / "postgresql").exists()


def test_one_port_for_two_is_told_in_one_line(settings: Settings) -> None:
    twice = settings.model_copy(update={"query": settings.query.model_copy(update={"port": settings.ingest.port})})
    up = said_by("up", twice)
    assert up.returncode == 2
    assert "wanted twice: by MILLRACE_INGEST_PORT and MILLRACE_QUERY_PORT" in up.stderr


def test_a_data_folder_of_another_version_is_told_in_one_line(settings: Settings) -> None:
    data = settings.local.data_dir / "postgresql"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    (data / "postgresql.conf").touch()
    up = said_by("up", settings)
    assert up.returncode == 2
    assert up.stderr.count("\n") == 1
    assert "was made by PostgreSQL 15" in up.stderr


def test_a_folder_made_in_one_mode_keeps_to_it(tmp_path: Path) -> None:
    found = installations()
    if len(found) < 2:
        pytest.skip("only one of the modes is at hand")
    data = tmp_path / "postgresql"
    data.mkdir()
    (data / "PG_VERSION").write_text(f"{found['plain'].major}\n")
    (data / "postgresql.conf").touch()
    assert make_plan(Settings(), tmp_path).postgres.installation == found["plain"]


def test_programs_that_are_not_there_are_told_in_one_line(settings: Settings, tmp_path: Path) -> None:
    up = said_by("up", settings.model_copy(update={"pg_bin": tmp_path}))
    assert up.returncode == 2
    assert up.stderr.count("\n") == 1
    assert "MILLRACE_PG_BIN" in up.stderr


def test_a_data_folder_that_cannot_be_made_is_told_in_one_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    local = settings.local.model_copy(update={"data_dir": tmp_path / "file" / "data"})
    up = said_by("up", settings.model_copy(update={"local": local}))
    assert up.returncode == 2
    assert up.stderr.count("\n") == 1
    assert "MILLRACE_LOCAL_DATA_DIR" in up.stderr


async def test_nothing_outlives_a_supervisor_that_is_killed(settings: Settings, tmp_path: Path) -> None:
    async with RunningStack(settings, tmp_path / "up.log") as stack:
        family = stack.family()
        assert stack.process
        stack.process.kill()
        stack.process.wait()
        await eventually(lambda: not [process for process in family if _alive(process)], 30)


def test_the_demo_without_a_stack_says_so(settings: Settings) -> None:
    demo = said_by("demo", settings)
    assert demo.returncode == 1
    assert "Does `make up` run?" in demo.stderr


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        # It ended between the two questions.
        return False
