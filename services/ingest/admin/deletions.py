"""Deletions: readings that people take back, counted first, written down once, and listed with who and why."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field, SecretStr, StringConstraints, ValidationError

from services.contract import keyed_id, new_group
from services.contract.codec import MAX_SENSOR_ID
from services.platform.http.auth import caller
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import Instant, by_name, only, wrong
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_FAILURES, StatementCancelledError, with_deadline, words_of
from services.platform.settings import DatabaseSettings, IngestSettings

from ..idempotency import KEY_SCHEMA, idempotency_key
from ..limits.body import read_body
from ..limits.in_flight import InFlight

__all__ = ["Deletions", "deletions"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

_DELETION = """
select
  number, deletion_id, sensor_ids, range_start as start, range_end as "end", reason, requested_by, requested_at,
  deleted_until, rows, hours, finished_at, problem
from deletions
"""
_FIND = f"{_DELETION} where deletion_id = $1"
_PAGE = f"{_DELETION} where number < $1 order by number desc limit $2"
# asyncpg sends the first and the last instant that Python has as infinities.
_COUNT = """
select coalesce(sum(rows), 0)::bigint, count(*)
from (
  select count(*) as rows from sensor_data
  where sensor_id = any($1) and timestamp >= greatest($2, timestamptz '0001-01-01Z')
    and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
  group by time_bucket(interval '1 hour', timestamp)
) as hours
"""
# Workers hold this lock shared while they write: see `_CLAIM` in `worker/transaction.py`.
_LOCK = "select pg_advisory_xact_lock(hashtext('millrace deletions'))"
_TAKE = """
insert into deletions
  (deletion_id, sensor_ids, range_start, range_end, reason, requested_by, requested_at, deleted_until, last_id)
select $1, $2, span.first, least($4, timestamptz '9999-12-31 23:59:59.999999Z'), $5, $6, $7, span.first,
  coalesce(pg_sequence_last_value('public.sensor_data_id_seq'), 0)
from (select greatest($3, timestamptz '0001-01-01Z') as first) as span
on conflict do nothing
"""
_LOCKED = 5.0
"""Seconds that the transactions of workers are waited for."""
_COUNTED = 20.0
"""Seconds that counting may take."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which readings a deletion takes back: of `sensor_ids`, with `start <= timestamp < end`."""

    sensor_ids: list[str]
    start: datetime
    end: datetime


class Deletions:
    """Takes deletions down, counts and lists them. They are rare: each look has a connection of its own."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Connect later, so that the database may be away."""
        self._settings = settings
        self._turns = asyncio.Semaphore(4)

    async def take(
        self, deletion_id: uuid.UUID, chosen: Selection, reason: str, requested_by: str
    ) -> tuple[dict[str, Any], bool]:
        """Write a deletion down, and return it and whether it is new; one that is there already stays as it is.

        When it is written, the transactions of workers that do not know it are over, and what they stored has ids up
        to its `last_id`.

        Raises:
            Problem: `database_unavailable`.
        """

        async def write(connection: Any) -> tuple[dict[str, Any], bool]:
            async with connection.writing():
                if found := await connection.fetchrow(_FIND, deletion_id):
                    return dict(found), False
                await connection.execute(_LOCK)
                who = (reason, requested_by, datetime.now(UTC))
                status = await connection.execute(_TAKE, deletion_id, chosen.sensor_ids, chosen.start, chosen.end, *who)
                return dict(await connection.fetchrow(_FIND, deletion_id)), status == "INSERT 0 1"

        limits: dict[str, str | int] = {"lock_timeout": int(_LOCKED * 1000), "synchronous_commit": "on"}
        return await self._on_connection(self._settings.writer_url, write, 2 * _LOCKED, **limits)

    async def count(self, chosen: Selection) -> tuple[int, int]:
        """Return how many rows of the table a deletion would meet, and in how many hours.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        rows, hours = await self._read(
            lambda connection: connection.fetchrow(_COUNT, chosen.sensor_ids, chosen.start, chosen.end)
        )
        return rows, hours

    async def find(self, deletion_id: uuid.UUID) -> dict[str, Any] | None:
        """Return a deletion, None where there is none.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        found = await self._read(lambda connection: connection.fetchrow(_FIND, deletion_id))
        return dict(found) if found else None

    async def page(self, after: int | None, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` deletions behind the number `after`, the newest first.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        found = await self._read(lambda connection: connection.fetch(_PAGE, after or 1 << 62, limit))
        return [dict(row) for row in found]

    async def _read(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """Return what `work` reads with the reading role; few look at a time, for a count may read much."""

        async def ask(connection: Connection) -> Any:
            async with connection.asking():
                return await work(connection)

        async with self._turns:
            return await self._on_connection(
                self._settings.reader_url, ask, _COUNTED, default_transaction_read_only="on"
            )

    async def _on_connection(
        self, url: SecretStr, work: Callable[[Any], Coroutine[Any, Any, T]], limit: float, **session: str | int
    ) -> T:
        """Return what `work` gets by a connection of its own, within `limit` seconds.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        timeouts = {"statement_timeout": int(limit * 1000), "idle_in_transaction_session_timeout": 2000}
        connector = Connector(url, self._settings, **timeouts, **session)
        try:
            connection = await connector.connect()
            try:
                return await with_deadline(work(connection), limit + 1, connection.terminate)
            finally:
                connection.terminate()
        except StatementCancelledError:
            detail = f"the database did not answer within {limit:g} s; narrow the range, or name fewer sensors"
            raise Problem("query_timeout", detail, {"Retry-After": "5"}) from None
        except DATABASE_FAILURES as error:
            log.warning("a deletion cannot be seen to", action="delete", error=words_of(error))
            detail = (
                "the database is away, busy or of an older schema; send the request again, with its Idempotency-Key"
            )
            raise Problem("database_unavailable", detail, {"Retry-After": "2"}) from None


SensorId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SENSOR_ID, pattern=r"^[^\u0000]+$")]
_NO_NUL = r"^[^\u0000]*$"


class DeletionRequest(BaseModel, extra="forbid"):
    """Which readings are taken back, and why."""

    sensor_ids: list[SensorId] = Field(min_length=1, max_length=1000, description="Whose, to the letter.")
    start: Instant = Field(description="First instant of the range.")
    end: Instant = Field(description="First instant after the range.")
    reason: str = Field(min_length=1, max_length=500, pattern=_NO_NUL, description="Kept with the deletion.")
    requested_by: str = Field(
        "", max_length=64, pattern=_NO_NUL, description="Who asks; where there are API keys, it is the key's caller."
    )


class Deletion(BaseModel):
    """A deletion and how far it is carried out: `finished_at` is null until it is, `problem` tells what holds it up."""

    deletion_id: uuid.UUID
    sensor_ids: list[str]
    start: datetime
    end: datetime
    reason: str
    requested_by: str
    requested_at: datetime
    deleted_until: datetime
    rows: int
    hours: int
    finished_at: datetime | None
    problem: str | None


class Counted(BaseModel):
    """How many readings stand in the table that a deletion would take back, and in how many hours."""

    rows: int
    hours: int


class Page(BaseModel):
    """A page of deletions, the newest first; `next` goes on, and is null behind the oldest."""

    deletions: list[Deletion]
    next: int | None


def deletions(store: Deletions, in_flight: InFlight, settings: IngestSettings) -> APIRouter:
    """Return the routes of deletions."""
    router = APIRouter(tags=["deletions"])
    refusals = ("body_timeout", "body_too_large", "malformed_body", "overloaded", "unsupported_encoding")

    @router.post(
        "/deletions",
        status_code=202,
        responses={
            200: {"description": "Counted, and nothing written", "model": Counted},
            202: {"description": "Taken; it is carried out soon", "model": Deletion},
            **problem_responses("invalid_parameter", "key_reused", "query_timeout", "database_unavailable", *refusals),
        },
        response_class=Response,
        openapi_extra=_BODY,
        dependencies=[Depends(only("dry_run"))],
    )
    async def request_deletion(
        request: Request, dry_run: Annotated[bool, Query(description="Count, and delete nothing.")] = False
    ) -> Response:
        """Take readings back: those of the sensors in the range that were accepted until now, stored or not.

        Repeating a request with its Idempotency-Key is harmless.
        """
        headers = by_name(request.headers.raw)
        key = idempotency_key(headers)
        with in_flight.request() as counted:
            asks = _request(await read_body(headers, request.receive, settings, counted))
            chosen = Selection(sorted(set(asks.sensor_ids)), asks.start, asks.end)
            if dry_run:
                rows, hours = await store.count(chosen)
                return _json(Counted(rows=rows, hours=hours), 200)
            name = caller(request).name
            deletion_id = new_group() if key is None else keyed_id(name, key)
            found, new = await store.take(deletion_id, chosen, asks.reason, name or asks.requested_by)
        deletion = Deletion.model_validate(found)
        if (Selection(deletion.sensor_ids, deletion.start, deletion.end), deletion.reason) != (chosen, asks.reason):
            raise Problem("key_reused", "the Idempotency-Key came with another deletion before; use a fresh key")
        return _json(deletion, 202, {} if new else {"Idempotent-Replayed": "true"})

    @router.get(
        "/deletions",
        responses=problem_responses("invalid_parameter", "query_timeout", "database_unavailable"),
        dependencies=[Depends(only("limit", "after"))],
    )
    async def page(
        limit: Annotated[int, Query(ge=1, le=1000, description="Most deletions of the page.")] = 100,
        after: Annotated[
            int | None, Query(ge=1, le=1 << 62, description="Begin behind this one; `next` of the page before.")
        ] = None,
    ) -> Page:
        """List deletions, the newest first, with who asked, why, and how far they are."""
        found = await store.page(after, limit)
        more = found[-1]["number"] if len(found) == limit else None
        return Page(deletions=[Deletion.model_validate(one) for one in found], next=more)

    @router.get(
        "/deletions/{deletion_id}",
        responses=problem_responses("unknown_deletion", "invalid_parameter", "query_timeout", "database_unavailable"),
        dependencies=[Depends(only())],
    )
    async def show(
        deletion_id: Annotated[uuid.UUID, Path(description="From the answer to `POST /deletions`.")],
    ) -> Deletion:
        """Show one deletion and how far it is."""
        found = await store.find(deletion_id)
        if found is None:
            raise Problem("unknown_deletion", f"there is no deletion {deletion_id}")
        return Deletion.model_validate(found)

    return router


def _request(body: bytes) -> DeletionRequest:
    """Read a body strictly: a name that is not known may be a bound misspelt, and the range then wider than was meant.

    Raises:
        Problem: `malformed_body` or `invalid_parameter`.
    """
    try:
        asks = DeletionRequest.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        if faults[0]["type"] in {"json_invalid", "model_type"}:
            raise Problem("malformed_body", f"the body is no JSON object: {faults[0]['msg']}") from None
        named = [{"parameter": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in faults[:100]]
        detail = "; ".join(f"{fault['parameter']}: {fault['message']}" for fault in named[:3])
        raise Problem("invalid_parameter", detail, parameters=named) from None
    if asks.start >= asks.end:
        raise wrong(start="must be before end")
    return asks


def _json(body: BaseModel, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, "application/json")


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": DeletionRequest.model_json_schema(),
                "example": {
                    "sensor_ids": ["sensor-1"],
                    "start": "2025-10-22T21:00:00Z",
                    "end": "2025-10-22T22:00:00Z",
                    "reason": "the probe hung in the air",
                },
            }
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Repeating a request with its key asks once.",
            "schema": KEY_SCHEMA,
        }
    ],
}
