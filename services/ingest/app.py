"""The ingest service, put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI

from services.dead_letters.replay import Replay
from services.dead_letters.routes import changing_many, changing_one, seeing
from services.platform.http.app import bare_app
from services.platform.http.auth import Scope, guard
from services.platform.runtime.health import Health, health_routes
from services.platform.runtime.tasks import end, fail_fast
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Durability, Listener, Stream, Usages, names_of, redis_client

from .accept import Acceptor
from .admin.app import admin_app
from .admin.deletions import Deletions, deletions
from .admin.mending import mending
from .commit.group_commit import GroupCommit
from .direct import DirectWay
from .doors.ingest.door import IngestDoor
from .doors.line_protocol.decode import LinesDecoder
from .doors.line_protocol.dialects import DIALECTS
from .doors.line_protocol.discovery import OPEN_PATHS, discovery
from .doors.line_protocol.door import LineProtocolDoor
from .doors.lorawan.door import NETWORKS, WebhookDoor
from .doors.otlp.decode import MetricsDecoder
from .doors.otlp.door import PATHS as OTLP_PATHS
from .doors.otlp.door import OtlpDoor
from .doors.remote_write.decode import SamplesDecoder
from .doors.remote_write.door import PATHS as REMOTE_WRITE_PATHS
from .doors.remote_write.door import RemoteWriteDoor
from .fast_path import Door, FastPath
from .formats import formats_of
from .formats.isolation import Isolation
from .limits.admission import Admission
from .limits.in_flight import InFlight
from .limits.new_series import NewSeries
from .limits.rates import Rates
from .limits.usage import Reporter
from .limits.window import Window
from .passed_over import PassedOver, doors
from .receipts import Receipts, batches

__all__ = ["create_app"]

_DISK_COMMITS = 8
"""Entries written beside each other where each must be asked for by WAITAOF, up to a second long."""


def create_app(settings: Settings) -> FastAPI:
    """Return the app; it connects when it starts, and answers 503 until the stream's server is there.

    `app.state.admin` is the app of the administrative port, which lives inside this one's life, and `app.state.direct`
    takes this app's requests that are here whole.
    """
    names = names_of(settings.redis)
    stream = Stream(redis_client(settings.redis), names)
    ear = redis_client(settings.redis, patience=60.0)
    listener = Listener(ear, names)
    health = Health("stream")
    letters = DeadLetters(stream.client, names)
    admission = Admission(stream, letters, settings.redis, settings.ingest, health)
    receipts = Receipts(settings.database)
    window = Window(settings.ingest, settings.database)
    group_commit = GroupCommit(listener, lambda: admission.proof, window, settings.ingest, settings.redis.timeout)
    in_flight = InFlight(settings.ingest)
    rates = Rates()
    isolation = Isolation(settings.ingest.max_decoded_bytes)
    reporter = Reporter(rates, Usages(stream.client, names))
    tasks: list[asyncio.Task[None]] = []

    async def commit() -> None:
        # Nothing connects before the first entry: where the server is away just now, that entry is refused.
        async with contextlib.aclosing(redis_client(settings.redis, single=True, fit=admission.knows)) as client:
            await group_commit.run(Stream(client, names, settings.redis.durable_replicas))

    async def commits() -> None:
        """Start as many as the server's durability calls for, as soon as it is known.

        Where the reply to XADD is the proof, one suffices: what arrives meanwhile shares the next entry.
        """
        count = _DISK_COMMITS if await admission.first_proof() is Durability.WAITAOF else 1
        tasks.extend(fail_fast(commit()) for _ in range(count))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks.extend(fail_fast(work()) for work in (admission.run, listener.run, window.run, reporter.run, commits))
        try:
            yield
        finally:
            await end(tasks)
            await isolation.close()
            receipts.close()
            new_series.close()
            await stream.client.aclose()
            await ear.aclose()

    app = bare_app(
        FastPath,
        "Millrace ingest",
        "Takes readings over HTTP and keeps them safe until they are in the database exactly once.",
        root_path=settings.ingest.root_path,
        lifespan=lifespan,
    )
    passed_over = PassedOver()
    new_series = NewSeries(settings.database)
    acceptor = Acceptor(settings.ingest, admission, rates, group_commit, receipts, window, passed_over, new_series)
    check = guard(app, settings.auth, Scope.INGEST, OPEN_PATHS)
    lines, samples, points = LinesDecoder(), SamplesDecoder(), MetricsDecoder()
    opened: Sequence[Door] = (
        IngestDoor(check, settings.ingest, formats_of(isolation)),
        *(LineProtocolDoor(check, lines, dialect) for dialect in DIALECTS),
        *(RemoteWriteDoor(check, samples, path) for path in REMOTE_WRITE_PATHS),
        *(OtlpDoor(check, points, path) for path in OTLP_PATHS),
        *(WebhookDoor(check, network) for network in NETWORKS),
    )
    app.open(opened, acceptor, in_flight)
    app.state.direct = DirectWay(opened, acceptor, in_flight, settings.ingest.root_path)
    app.include_router(discovery())
    app.include_router(batches(stream, receipts))
    app.include_router(health_routes(health))
    replay = Replay(stream, letters, admission.admit, settings.worker.ledger_horizon)
    app.state.admin = admin_app(
        seeing(letters),
        changing_one(letters, replay, mending(in_flight, window, settings.ingest)),
        changing_many(letters, replay),
        deletions(Deletions(settings.database), in_flight, settings.ingest),
        doors(passed_over),
    )
    guard(app.state.admin, settings.auth, Scope.ADMIN)
    return app
