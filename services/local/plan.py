"""What runs on this machine: the embedded servers and the services, with their settings tied together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.platform.runtime.starting import StartError
from services.platform.settings import Settings, WorkerSettings

from .citus import Cluster, make_cluster, with_citus
from .credentials import Credentials, credentials
from .environment import environment
from .installations import find_installations
from .postgres import PostgresServer
from .service import ServiceProcess
from .supervisor import Part
from .valkey import ValkeyServer

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to run; nothing of it does yet.

    Attributes:
        folder: where the data live.
        settings: what the services are given: the embedded servers' URLs, and what the user set.
        ports: each setting that names a port, to its host and number.
        cluster: that `postgres` is the coordinator of; None where it is alone.
    """

    folder: Path
    settings: Settings
    credentials: Credentials
    valkey: ValkeyServer
    postgres: PostgresServer
    services: tuple[ServiceProcess, ...]
    ports: Mapping[str, tuple[str, int]]
    cluster: Cluster | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return all that is kept alive."""
        return (self.valkey, *self.databases, *self.services)

    @property
    def databases(self) -> tuple[PostgresServer, ...]:
        """Return the servers of the database."""
        return tuple(self.cluster.servers) if self.cluster else (self.postgres,)


def make_plan(settings: Settings, folder: Path, nodes: Sequence[int] = ()) -> Plan:
    """Tie servers and services together; passwords are made where there are none yet.

    Args:
        settings: what the user set.
        folder: where the data live.
        nodes: ports of the nodes of a Citus cluster; a single server is the database where there are none.

    Raises:
        StartError: there is no PostgreSQL, or none that fits the data folder.
    """
    local = settings.local
    words = credentials(folder / "credentials.json")
    valkey = ValkeyServer(folder / "valkey", local.redis_port, words.redis, local.maxmemory)
    cluster = _cluster(settings, folder, words, nodes) if nodes else None
    postgres = cluster.coordinator if cluster else _postgres(settings, folder, words)
    tied = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"url": SecretStr(valkey.url)}),
            "database": settings.database.model_copy(update=_urls(postgres, words)),
            **{name: _at_home(getattr(settings, name)) for name in ("ingest", "query", "worker", "repair")},
        }
    )
    return Plan(folder, tied, words, valkey, postgres, tuple(_services(tied)), _ports(tied), cluster)


def _cluster(settings: Settings, folder: Path, words: Credentials, nodes: Sequence[int]) -> Cluster:
    ports = (settings.local.postgres_port, *nodes)
    return make_cluster(folder, ports, with_citus(settings.pg_bin), words.superuser, {})


def _postgres(settings: Settings, folder: Path, words: Credentials) -> PostgresServer:
    found = find_installations(settings.pg_bin)
    if not found:
        raise StartError("no PostgreSQL 16 to 18 was found; install one and name its programs: MILLRACE_PG_BIN")
    servers = [
        PostgresServer(folder / "postgresql", settings.local.postgres_port, installation, words.superuser)
        for installation in (found[:1] if settings.pg_bin else found)
    ]
    fitting = [server for server in servers if server.misfit() is None]
    if not fitting:
        raise StartError(str(servers[0].misfit()))
    return fitting[0]


def _urls(postgres: PostgresServer, words: Credentials) -> dict[str, SecretStr]:
    return {
        "owner_url": SecretStr(postgres.url("millrace_owner", words.owner)),
        "writer_url": SecretStr(postgres.url("millrace_writer", words.writer)),
        "reader_url": SecretStr(postgres.url("millrace_reader", words.reader)),
    }


def _at_home(section: Any) -> Any:
    """Let a service be reached from this machine alone, unless its host was set."""
    return section if "host" in section.model_fields_set else section.model_copy(update={"host": "127.0.0.1"})


def _workers(settings: Settings) -> Iterator[WorkerSettings]:
    """Yield each worker's settings: names that a restart keeps, and ports ten apart."""
    first = settings.worker
    for number in range(settings.local.workers):
        update = {"name": f"worker-{number + 1}", "port": first.port + 10 * number}
        yield first.model_copy(update=update)


def _services(settings: Settings) -> Iterator[ServiceProcess]:
    ingest, query, repair = settings.ingest, settings.query, settings.repair
    grace = ingest.body_timeout + ingest.stored_timeout
    variables = environment(settings)
    yield ServiceProcess("ingest", "ingest", variables, _url(ingest), grace)
    for worker in _workers(settings):
        own = environment(settings.model_copy(update={"worker": worker}))
        yield ServiceProcess(worker.name, "worker", own, _url(worker), worker.drain_timeout + 5)
    yield ServiceProcess("query", "query", variables, _url(query), 5.0)
    yield ServiceProcess("repair", "repair", variables, _url(repair), 5.0)


def _ports(settings: Settings) -> dict[str, tuple[str, int]]:
    ingest, query, repair = settings.ingest, settings.query, settings.repair
    workers = {f"MILLRACE_WORKER_PORT (for {worker.name})": (worker.host, worker.port) for worker in _workers(settings)}
    return {
        "MILLRACE_INGEST_PORT": (ingest.host, ingest.port),
        "MILLRACE_INGEST_ADMIN_PORT": (ingest.admin_host, ingest.admin_port),
        "MILLRACE_QUERY_PORT": (query.host, query.port),
        **workers,
        "MILLRACE_REPAIR_PORT": (repair.host, repair.port),
        "MILLRACE_LOCAL_REDIS_PORT": ("127.0.0.1", settings.local.redis_port),
        "MILLRACE_LOCAL_POSTGRES_PORT": ("127.0.0.1", settings.local.postgres_port),
    }


def _url(section: Any) -> str:
    host = "127.0.0.1" if section.host == "0.0.0.0" else section.host  # noqa: S104 -- compared, not bound
    return f"http://{host}:{section.port}"
