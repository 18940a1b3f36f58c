"""`POST /ingest`: what it takes and answers, as it is documented and as it is done."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import parameters, wrong
from services.platform.settings import IngestSettings

from ...accept import REFUSALS, Acceptance, Ack, Asked, Decoder, IngestParameters
from ...dedup import NATURAL, dedup
from ...formats import LAYOUTS
from ...formats.json import MEDIA_TYPE as JSON
from ...idempotency import KEY_SCHEMA, idempotency_key
from ...readings import SHOWN_FAULTS, Decoded
from ...slices import by_reading
from ..header_key import HeaderKeyDoor
from ..taken import taken
from .body import readings_body

__all__ = ["IngestDoor"]

_NAMES = ("ack", "partial", "layout", "dedup")
_DEDUP = ("none", "reading", NATURAL)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_PLAIN = IngestParameters()


@dataclass(frozen=True, slots=True)
class IngestDoor(HeaderKeyDoor):
    """Takes a batch of readings in any of the formats."""

    settings: IngestSettings
    formats: Mapping[str, Mapping[str, Decoder]]
    path: str = "/ingest"
    name: str = "json"

    def asked(self, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
        """Return what a request asks for.

        202 says that less is certain than the default promises: the readings are in the stream, as `ack=queued` asks
        for, or `ack=stored` was asked for and did not come about in time.

        Raises:
            Problem: `invalid_parameter` or `unsupported_media_type`.
        """
        parameters, decode, once = _parameters(caller, query, headers, self.formats)
        return Asked(
            parameters,
            _once(decode, caller.name) if once else decode,
            _told_queued if parameters.ack is Ack.QUEUED else _told,
        )

    def refusal(self, problem: Problem, _: Mapping[bytes, bytes]) -> Response:
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
                    "content": {JSON: {"example": _ANSWER}},
                },
                202: {"description": "In the stream, not yet further", "model": IngestAnswer},
                **problem_responses(
                    *sorted(
                        (
                            *REFUSALS,
                            "batch_dead",
                            "invalid_parameter",
                            "key_reused",
                            "too_many_rows",
                            "unsupported_media_type",
                        )
                    )
                ),
            },
            openapi_extra=readings_body(self.settings) | {"parameters": [_KEY_HEADER]},
        )


def _told(accepted: Acceptance) -> Response:
    return taken(accepted, 202 if accepted.timed_out else 200)


def _told_queued(accepted: Acceptance) -> Response:
    return taken(accepted, 202)


def _parameters(
    caller: Caller, query: bytes, headers: Mapping[bytes, bytes], formats: Mapping[str, Mapping[str, Decoder]]
) -> tuple[IngestParameters, Decoder, bool]:
    """Return what is asked for, what reads the body, and whether each reading is stored once.

    Raises:
        Problem: `invalid_parameter` or `unsupported_media_type`, naming the parameter and the fix.
    """
    media = headers.get(b"content-type", b"application/json").split(b";", 1)[0].strip().lower().decode("latin-1")
    key = idempotency_key(headers)
    if not query and key is None and media == JSON and caller.dedup is None:
        return _PLAIN, formats[JSON]["rows"], False
    layouts = formats.get(media)
    if layouts is None:
        detail = f"{media[:60]!r} is not taken; send as Content-Type one of {', '.join(formats)}"
        raise Problem("unsupported_media_type", detail)
    values: dict[str, str] = {}
    for name, value in parameters(query):
        if name not in _NAMES:
            raise wrong(**{name[:40]: f"is not known here; there are {', '.join(_NAMES)}"})
        if name in values:
            raise wrong(**{name: "is given more than once"})
        values[name] = value
    ack, partial = values.get("ack", Ack.DURABLE), values.get("partial", "false")
    if ack not in set(Ack):
        raise wrong(ack="must be queued, durable or stored")
    if partial not in _BOOLEANS:
        raise wrong(partial="must be true or false")
    layout = values.get("layout", "rows")
    if layout not in LAYOUTS:
        raise wrong(layout=f"must be {' or '.join(LAYOUTS)}")
    if layout not in layouts:
        having = ", ".join(media for media, layouts in formats.items() if layout in layouts)
        raise wrong(layout=f"{layout} is not for {media}; it is for {having}")
    once = dedup(values, caller, _DEDUP)
    if once == "reading" and key is not None:
        raise wrong(dedup="reading goes without an Idempotency-Key, which stores the whole request once")
    asks = IngestParameters(Ack(ack), _BOOLEANS[partial], key, natural=once == NATURAL)
    return asks, layouts[layout], once == "reading"


def _once(decode: Decoder, caller: str) -> Decoder:
    """Return what decodes a body and gives each of its readings a key."""

    async def decoded(body: bytes, most: int) -> Decoded:
        found = decode(body, most)
        return by_reading(found if isinstance(found, Decoded) else await found, caller)

    return decoded


async def _documented(
    ack: Annotated[Ack, Query(description="How far the answer promises.")] = Ack.DURABLE,
    partial: Annotated[bool, Query(description="Take the good readings and list the bad ones.")] = False,
    layout: Annotated[
        Literal["rows", "wide"], Query(description="A reading in each row, or a column for each sensor.")
    ] = "rows",
    dedup: Annotated[
        Literal["none", "reading", "natural"],
        Query(
            description="Whether a reading that was taken before, in whatever request, is stored once (`reading`), or "
            "only the first of a sensor and instant (`natural`). The caller's setting by default."
        ),
    ] = "none",
) -> None:
    """Take readings as one batch: all of it or, with `partial`, its good part.

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


_ANSWER = {"batch_id": "019a0b1c-8f00-7000-8000-000000000001", "accepted": 1, "rejected": []}
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Repeating a request with its key stores it once.",
    "schema": KEY_SCHEMA,
}
