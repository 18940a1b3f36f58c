"""`POST /ingest`: what it takes and answers, as it is documented and as it is done."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.contract.codec import MAX_SENSOR_ID, MAX_VALUE
from services.contract.series import MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS, MAX_NAME
from services.platform.http.auth import Caller, Check
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import parameters, wrong
from services.platform.settings import IngestSettings

from ...accept import Acceptor, Ack, IngestParameters
from ...fast_path import Request
from ...idempotency import KEY_SCHEMA, idempotency_key
from ...limits.body import ENCODINGS
from ...readings import SHOWN_FAULTS, Decoded
from ...slices import by_reading
from .decode import decode_json

__all__ = ["JsonDoor", "readings_body"]

_MEDIA_TYPE = "application/json"
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_DEDUP = ("none", "reading")
_PLAIN = IngestParameters()


@dataclass(frozen=True, slots=True)
class JsonDoor:
    """Takes a JSON array of readings, or one."""

    acceptor: Acceptor
    check: Check
    settings: IngestSettings
    path: str = "/ingest"
    name: str = "json"

    def credentials(self, headers: Mapping[bytes, bytes], query: bytes) -> Caller:  # noqa: ARG002 -- a key never stands in an address
        """Return whose API key stands in the Authorization header.

        Raises:
            Problem: `no_key`, `wrong_key` or `forbidden`.
        """
        return self.check(headers)

    async def answer(self, request: Request) -> Response:
        """Take a request's readings in, and tell what became of them.

        202 says that less is certain than the default promises: the readings are in the stream, as `ack=queued` asks
        for, or `ack=stored` was asked for and did not come about in time.

        Raises:
            Problem: whatever the client can mend or must wait for.
            ClientDisconnect: the client went away.
        """
        asks, once = _parameters(request.query, request.headers)

        def decode(body: bytes, most: int) -> Decoded:
            decoded = decode_json(body, most)
            return by_reading(decoded, request.caller.name) if once else decoded

        accepted = await self.acceptor.accept(request, asks, decode)
        body = {
            "batch_id": accepted.batch_id,
            "accepted": accepted.rows,
            "rejected": accepted.faults[:SHOWN_FAULTS],
        }
        status = 202 if asks.ack is Ack.QUEUED or accepted.timed_out else 200
        headers = {"Idempotent-Replayed": "true"} if accepted.repeated else None
        return Response(orjson.dumps(body), status, headers, _MEDIA_TYPE)

    def refusal(self, problem: Problem) -> Response:
        """Return problem+json."""
        return problem.response()

    def document(self, app: FastAPI) -> None:
        """Describe the route; `answer` serves it, and `_parameters` reads what `_documented` describes."""
        app.router.add_api_route(
            self.path,
            _documented,
            methods=["POST"],
            summary="Take a batch of readings",
            tags=["ingest"],
            response_model=IngestAnswer,
            responses={
                200: {
                    "description": "Taken as far as `ack` asks",
                    "content": {_MEDIA_TYPE: {"example": _ANSWER}},
                },
                202: {"description": "In the stream, not yet further", "model": IngestAnswer},
                **problem_responses(*_REFUSALS),
            },
            openapi_extra=readings_body(self.settings) | {"parameters": [_KEY_HEADER]},
        )


def _parameters(query: bytes, headers: Mapping[bytes, bytes]) -> tuple[IngestParameters, bool]:
    """Read query string and headers; return what they ask for, and whether each reading is stored once.

    Raises:
        Problem: `invalid_parameter` or `unsupported_media_type`, naming the parameter and the fix.
    """
    media = headers.get(b"content-type", b"application/json").split(b";", 1)[0].strip().lower()
    if media != b"application/json":
        shown = media.decode("latin-1")[:60]
        raise Problem("unsupported_media_type", f"{shown!r} is not taken; send Content-Type: {_MEDIA_TYPE}")
    key = idempotency_key(headers)
    if not query and key is None:
        return _PLAIN, False
    values: dict[str, str] = {}
    for name, value in parameters(query):
        if name not in {"ack", "partial", "dedup"}:
            raise wrong(**{name[:40]: "is not known here; there are ack, partial and dedup"})
        if name in values:
            raise wrong(**{name: "is given more than once"})
        values[name] = value
    ack, partial = values.get("ack", Ack.DURABLE), values.get("partial", "false")
    if ack not in set(Ack):
        raise wrong(ack="must be queued, durable or stored")
    if partial not in _BOOLEANS:
        raise wrong(partial="must be true or false")
    dedup = values.get("dedup", "none")
    if dedup not in _DEDUP:
        raise wrong(dedup=f"must be {' or '.join(_DEDUP)}")
    if dedup != "none" and key is not None:
        raise wrong(dedup="goes without an Idempotency-Key, which stores the whole request once")
    return IngestParameters(Ack(ack), _BOOLEANS[partial], key), dedup == "reading"


async def _documented(
    ack: Annotated[Ack, Query(description="How far the answer promises.")] = Ack.DURABLE,
    partial: Annotated[bool, Query(description="Take the good readings and list the bad ones.")] = False,
    dedup: Annotated[
        Literal["none", "reading"],
        Query(description="Whether a reading that was taken before, in whatever request, is stored once."),
    ] = "none",
) -> None:
    """Take a JSON array of readings, or one reading, as one batch: all of it or, with `partial`, its good part.

    Without an Idempotency-Key a client's own retry is at-least-once; with one it is exactly-once.
    """


class Rejected(BaseModel):
    """A record that was refused."""

    index: int
    field: str | None
    code: str
    message: str


class IngestAnswer(BaseModel):
    """What became of a request's readings; `rejected` names the first of the refused ones."""

    batch_id: uuid.UUID
    accepted: int = Field(ge=1)
    rejected: list[Rejected] = Field(max_length=SHOWN_FAULTS)


def readings_body(settings: IngestSettings) -> dict[str, Any]:
    """Return the OpenAPI description of a body of readings, with the limits that are in force."""
    size = settings.max_body_bytes / (1024 * 1024)
    limits = f"At most {settings.max_rows:,} readings and {size:.4g} MiB as sent"
    return {
        "requestBody": {
            "required": True,
            "description": f"{limits}; `Content-Encoding` {' or '.join(ENCODINGS)} is taken.",
            "content": {
                _MEDIA_TYPE: {
                    "schema": {"oneOf": [{"type": "array", "minItems": 1, "items": {"oneOf": _READINGS}}, *_READINGS]},
                    "examples": _EXAMPLES,
                }
            },
        }
    }


def _text(longest: int, about: str) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "pattern": "^[^\\u0000]*$",
        "description": about,
    }


def _reading(title: str, required: str, **called: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": title,
        "additionalProperties": False,
        "required": [required, "timestamp", "value"],
        "properties": {
            **called,
            "timestamp": {"type": "string", "format": "date-time", "description": "RFC 3339, with an offset."},
            "value": {"type": "number", "minimum": -MAX_VALUE, "maximum": MAX_VALUE},
        },
    }


_READINGS = [
    _reading("Reading", "sensor_id", sensor_id=_text(MAX_SENSOR_ID, "Whose value it is.")),
    _reading(
        "LabelledReading",
        "name",
        name=_text(MAX_NAME, "What is measured. The sensor's id is made from name, field and labels."),
        field=_text(MAX_NAME, "Which of several values that are measured together."),
        labels={
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": _text(MAX_LABEL_NAME, "Name of a label."),
            "additionalProperties": _text(MAX_LABEL_VALUE, "Its value."),
            "description": "Where and of what, such as room and device.",
        },
    ),
]
_EXAMPLES = {
    "plain": {
        "summary": "A sensor with an id",
        "value": [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3}],
    },
    "labelled": {
        "summary": "A series with a name and labels",
        "value": [
            {
                "name": "temperature",
                "labels": {"room": "kitchen", "floor": "1"},
                "timestamp": "2025-10-22T21:00:00Z",
                "value": 25.3,
            }
        ],
    },
}
_ANSWER = {"batch_id": "019a0b1c-8f00-7000-8000-000000000001", "accepted": 1, "rejected": []}
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Repeating a request with its key stores it once.",
    "schema": KEY_SCHEMA,
}
_REFUSALS = (
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
)
