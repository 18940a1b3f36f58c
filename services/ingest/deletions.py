"""Deletions by HTTP: readings that people take back, counted first, asked for once, and listed with who and why."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from services.contract import keyed_id, new_group
from services.contract.codec import MAX_SENSOR_ID
from services.platform.http.auth import caller
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import Instant, by_name, only, wrong
from services.platform.settings import IngestSettings

from .body import read_body
from .doors.json.requests import idempotency_key
from .limits.in_flight import Load
from .store import Deletions, Meant

__all__ = ["deletions"]

SensorId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SENSOR_ID, pattern=r"^[^\u0000]+$")]
_NO_NUL = r"^[^\u0000]*$"


class Wanted(BaseModel, extra="forbid"):
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


def deletions(store: Deletions, load: Load, settings: IngestSettings) -> APIRouter:
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
        with load.request() as held:
            wanted = _wanted(await read_body(headers, request.receive, settings, held))
            meant = Meant(sorted(set(wanted.sensor_ids)), wanted.start, wanted.end)
            if dry_run:
                rows, hours = await store.count(meant)
                return _json(Counted(rows=rows, hours=hours), 200)
            name = caller(request).name
            deletion_id = new_group() if key is None else keyed_id(name, key)
            found, new = await store.take(deletion_id, meant, wanted.reason, name or wanted.requested_by)
        deletion = Deletion.model_validate(found)
        if (Meant(deletion.sensor_ids, deletion.start, deletion.end), deletion.reason) != (meant, wanted.reason):
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


def _wanted(body: bytes) -> Wanted:
    try:
        wanted = Wanted.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        if faults[0]["type"] in {"json_invalid", "model_type"}:
            raise Problem("malformed_body", f"the body is no JSON object: {faults[0]['msg']}") from None
        named = [{"parameter": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in faults[:100]]
        detail = "; ".join(f"{fault['parameter']}: {fault['message']}" for fault in named[:3])
        raise Problem("invalid_parameter", detail, parameters=named) from None
    if wanted.start >= wanted.end:
        raise wrong(start="must be before end")
    return wanted


def _json(body: BaseModel, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, "application/json")


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": Wanted.model_json_schema(),
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
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": 255,
                "pattern": r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
            },
        }
    ],
}
