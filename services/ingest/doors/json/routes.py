"""The routes: the documentation of `/ingest`, which the entrance answers, and `/batches/{batch_id}`."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query
from pydantic import BaseModel, Field

from services.contract import Outcome, group_of, position_of
from services.contract.codec import MAX_VALUE
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import only
from services.platform.runtime.foreign_content import pass_over
from services.platform.stream import STREAM_ERRORS, Stream

from ...store import Receipt, Receipts, ReceiptsUnavailableError
from .entrance import PATH
from .requests import Ack

__all__ = ["READINGS_BODY", "batches", "include_ingest"]


class Rejected(BaseModel):
    """A record that was refused."""

    index: int
    field: str | None
    code: str
    message: str


class IngestAnswer(BaseModel):
    """What became of a request's readings; `rejected` names the first hundred refused ones."""

    batch_id: uuid.UUID
    accepted: int = Field(ge=1)
    rejected: list[Rejected]


class BatchStatus(BaseModel):
    """Where a batch is: in the stream, committed, committed with a repeat refused, or a dead letter.

    A dead letter has the `code` of its reason, and the `reason` in words.
    """

    batch_id: uuid.UUID
    status: Literal["queued", "stored", "duplicate", "dead"]
    committed_at: datetime | None = None
    code: str | None = None
    reason: str | None = None


def include_ingest(app: FastAPI) -> None:
    """Document `POST /ingest`."""
    app.router.add_api_route(
        PATH,
        _documented,
        methods=["POST"],
        summary="Take a batch of readings",
        tags=["ingest"],
        response_model=IngestAnswer,
        responses={
            200: {
                "description": "Taken as far as `ack` asks",
                "content": {"application/json": {"example": _ANSWER}},
            },
            202: {"description": "In the stream, not yet further", "model": IngestAnswer},
            **problem_responses(
                "backlog_full",
                "batch_dead",
                "body_timeout",
                "body_too_large",
                "invalid_parameter",
                "invalid_readings",
                "key_reused",
                "malformed_body",
                "overloaded",
                "rate_limited",
                "stream_full",
                "stream_unavailable",
                "too_many_rows",
                "unsupported_encoding",
                "unsupported_media_type",
            ),
        },
        openapi_extra=READINGS_BODY,
    )


async def _documented(
    ack: Annotated[Ack, Query(description="How far the answer promises.")] = Ack.DURABLE,
    partial: Annotated[bool, Query(description="Take the good readings and list the bad ones.")] = False,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Repeating a request with its key stores it once.",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        ),
    ] = None,
) -> None:
    """Take a JSON array of readings, or one reading, as one batch: all of it or, with `partial`, its good part.

    Without an Idempotency-Key a client's own retry is at-least-once; with one it is exactly-once.
    """


def batches(stream: Stream, receipts: Receipts) -> APIRouter:
    """Return `GET /batches/{batch_id}`."""
    router = APIRouter(tags=["ingest"])

    @router.get(
        "/batches/{batch_id}",
        responses=problem_responses("unknown_batch", "invalid_parameter", "database_unavailable", "stream_unavailable"),
        response_model_exclude_none=True,
        dependencies=[Depends(only())],
    )
    async def batch(
        batch_id: Annotated[uuid.UUID, Path(description="From the answer to `/ingest`.")],
    ) -> BatchStatus:
        """Tell what became of a batch: queued, stored, duplicate (stored, a repeat was refused) or dead."""
        try:
            found = await receipts.find(batch_id)
            if found is None or found.verdict.outcome is Outcome.DEAD:
                if await _queued(stream, batch_id):
                    return BatchStatus(batch_id=batch_id, status="queued")
                # It may have left the stream for the ledger between the two looks; and a dead one may be replayed.
                found = await receipts.find(batch_id)
        except ReceiptsUnavailableError:
            raise Problem("database_unavailable", "the ledger cannot be read now", {"Retry-After": "2"}) from None
        except STREAM_ERRORS:
            raise Problem("stream_unavailable", "the stream cannot be asked now", {"Retry-After": "1"}) from None
        if found is None:
            detail = f"batch {batch_id} was never taken here, or longer ago than the ledger remembers"
            raise Problem("unknown_batch", detail)
        return _status(batch_id, found)

    return router


async def _queued(stream: Stream, batch_id: uuid.UUID) -> bool:
    if await stream.mark(batch_id) is not None:
        return True
    position = position_of(batch_id)
    count = await stream.mark(group_of(batch_id)) if position else None
    if count is not None and not count.isdigit():
        pass_over("mark", stream.names.queued, f"{count[:20]!r} of {group_of(batch_id)} is no count of batches")
        return False
    return count is not None and (len(count) > 9 or position <= int(count))


def _status(batch_id: uuid.UUID, receipt: Receipt) -> BatchStatus:
    verdict = receipt.verdict
    dead = verdict.outcome is Outcome.DEAD
    return BatchStatus(
        batch_id=batch_id,
        status=verdict.outcome.value,
        committed_at=None if dead else receipt.committed_at,
        code=verdict.code if dead else None,
        reason=verdict.reason if dead else None,
    )


_READING = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sensor_id", "timestamp", "value"],
    "properties": {
        "sensor_id": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[^\\u0000]*$"},
        "timestamp": {"type": "string", "format": "date-time", "description": "RFC 3339, with an offset."},
        "value": {"type": "number", "minimum": -MAX_VALUE, "maximum": MAX_VALUE},
    },
}
_EXAMPLE = [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}]
_ANSWER = {"batch_id": "019a0b1c-8f00-7000-8000-000000000001", "accepted": 1, "rejected": []}
READINGS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "At most 50,000 readings and 8 MiB as sent; `Content-Encoding` gzip or zstd is taken.",
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"type": "array", "minItems": 1, "items": _READING}, _READING]},
                "example": _EXAMPLE,
            }
        },
    }
}
