"""`GET /status`: what it answers, as it is documented and as it is done."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services import __version__
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import only
from services.platform.settings import Settings
from services.platform.stream import Stream

from ..dead_letters import administers
from .database import DatabaseLook
from .example import EXAMPLE
from .problems import Part, lacks
from .shared import Shared
from .stream import StreamLook

__all__ = ["Status", "StatusBoard"]

_KEPT, _SIZES_KEPT = 1.0, 15.0
"""Seconds for which an answer serves others; sizes change slowly, and cost more with each chunk."""


def _kept(_: object) -> float:
    return _KEPT


def _sizes_kept(sizes: Mapping[str, Part | datetime]) -> float:
    # A server that is there again is asked at once.
    return _KEPT if any(map(lacks, sizes.values())) else _SIZES_KEPT


class Named(BaseModel):
    """An answer holds what is named here and nothing else."""

    model_config = ConfigDict(extra="forbid")


class Lacking(Named):
    """A part that cannot be had."""

    problem: str = Field(description="Why, in words.")


class Database(Named):
    """What the database is."""

    edition: str = Field(description="`full`, `apache` or `none`, of TimescaleDB.")
    postgresql: str
    timescaledb: str | None
    text: str = Field(description="Both in a sentence.")
    missing: list[str] = Field(description="What does not work with it.")


class StreamState(Named):
    """What waits in the stream, and how fast it comes and goes."""

    entries: int
    rows: int
    bytes: int
    age: float = Field(description="Of the oldest entry, in seconds.")
    rows_in_per_second: float | None = Field(
        description="Readings taken in, a mean of about ten seconds, or since the last look; null at the first look."
    )
    rows_out_per_second: float | None = Field(description="Readings settled, dead letters among them; likewise.")
    workers: int = Field(description="Consumers that asked for entries within MILLRACE_WORKER_RECLAIM_IDLE.")


class DeadLetterCount(Named):
    """How many dead letters wait for somebody."""

    total: int


class LateRanges(Named):
    """Late ranges that wait for a refresh."""

    count: int
    oldest_age: float | None = Field(description="Since the oldest was noted, in seconds.")


class Aggregate(Named):
    """How far a continuous aggregate is; it may stand several times, once for each refresh policy.

    Without TimescaleDB, how far a table of hours or of quarters is, which the repair process keeps without a policy.
    """

    name: str
    watermark: datetime | None = Field(description="Up to where it is materialised; null before the first refresh.")
    behind: float | None = Field(description="Seconds from the watermark to now, the policy's end offset among them.")
    last_run: datetime | None
    last_status: str | None = Field(description="`success` or `failed`; null before the first run.")
    next_run: datetime | None
    schedule_interval: float | None = Field(description="In seconds; null without a refresh policy.")


class TableSize(Named):
    """How large a table is, approximately; what an aggregate keeps is told by its name."""

    name: str
    bytes: int | None
    chunks: int | None = Field(description="Null where the table has none.")
    columnstore_chunks: int | None
    bytes_before_compression: int | None = Field(description="Of the chunks in the columnstore; null without any.")
    bytes_after_compression: int | None
    retention: float | None = Field(description="Age in seconds at which chunks are dropped; null where none are.")


class Ledger(Named):
    """How large the ledger is, and how far it goes back. Of a large one statistics tell."""

    estimated_rows: int | None
    estimated_oldest: datetime | None
    horizon: float = Field(description="How long it remembers a batch, in seconds.")
    bytes: int


class CallerState(Named):
    """How much of its limits a caller uses, over all ingest processes that it sent to within the last minute."""

    name: str
    requests_per_second: float | None = Field(description="Requests that passed; null without such a limit.")
    requests_limit: float | None = Field(description="The sum of the processes' limits: each has its own.")
    rows_per_second: float | None
    rows_limit: float | None
    processes: int
    used: float = Field(description="The largest share of a limit in any one process; at 1 it is refused there.")


class Status(Named):
    """How all of Millrace fares; a part that cannot be had says why."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    as_of: datetime = Field(description="Of the answer; what it tells is at most a second older, sizes excepted.")
    version: str
    database: Database | Lacking
    admin: bool = Field(description="Whether this key may replay and delete dead letters.")
    stream: StreamState | Lacking
    dead_letters: DeadLetterCount | Lacking
    late_ranges: LateRanges | Lacking
    aggregates: list[Aggregate] | Lacking
    sizes_as_of: datetime = Field(description="Of `tables` and `ledger`, which are at most 15 s older than the answer.")
    tables: list[TableSize] | Lacking
    ledger: Ledger | Lacking
    callers: list[CallerState] | Lacking


class StatusBoard:
    """Looks at all parts for those who ask, and shares what it found among them. One a process."""

    def __init__(self, settings: Settings, stream: Stream) -> None:
        """Connect later, when somebody asks."""
        self._settings = settings
        self._database = DatabaseLook(settings.database, settings.worker.ledger_horizon)
        looks = (
            (StreamLook(stream, settings.worker.reclaim_idle).look, _kept),
            (self._database.fares, _kept),
            (self._database.sizes, _sizes_kept),
        )
        self._looks = [Shared(look, kept) for look, kept in looks]

    async def close(self) -> None:
        """Give up looks that are under way, and drop all connections to the database."""
        for look in self._looks:
            await look.close()
        self._database.close()

    def routes(self) -> APIRouter:
        """Return the route."""
        router = APIRouter(tags=["operations"])

        @router.get(
            "/status",
            summary="How all of Millrace fares",
            response_model=Status,
            responses=problem_responses("invalid_parameter"),
            dependencies=[Depends(only())],
        )
        async def status(request: Request) -> Response:
            """Return what waits, comes and goes, how far aggregates are, how large tables are, who is near a limit.

            A part that cannot be had, as its server is away, is `{"problem": "why"}`, and the others are answered. All
            who ask within a second share an answer.
            """
            found = await asyncio.gather(*(look.get() for look in self._looks))
            body = {"as_of": datetime.now(UTC), "version": __version__}
            body["admin"] = administers(request, self._settings)
            for parts in found:
                body |= parts
            ordered = {name: body[name] for name in Status.model_fields}
            return Response(orjson.dumps(ordered, option=orjson.OPT_UTC_Z), media_type="application/json")

        return router
