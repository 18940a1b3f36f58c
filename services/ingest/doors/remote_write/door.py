"""`POST /api/v1/write` and `/api/v1/push`: Prometheus remote write, to the letter of both versions' specifications."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from starlette.responses import Response

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem

from ...accept import Acceptance, Asked, IngestParameters
from ...dedup import NATURAL, asked_in, described
from ...idempotency import idempotency_key
from ...limits.body import SNAPPY
from ...readings import Decoded, Fault
from ...slices import whole
from ..header_key import HeaderKeyDoor
from .decode import SamplesDecoder

__all__ = ["PATHS", "RemoteWriteDoor"]

PATHS = ("/api/v1/write", "/api/v1/push")
"""Prometheus' own, and the one of Mimir and Cortex."""

_ENCODINGS = (SNAPPY, "zstd")
_MEDIA_TYPE = "application/x-protobuf"
_VERSIONS = {"": 1, "prometheus.WriteRequest": 1, "io.prometheus.write.v2.Request": 2}
_STATUSES = {408: 503, 413: 400, 422: 400, 429: 503}
"""Senders throw away what is answered 429, and some send again for ever what is answered 413: 503 is what they send
again, 400 what they do not."""

_DEDUP = ("batch", NATURAL)
_WRITTEN = "X-Prometheus-Remote-Write-{}-Written"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RemoteWriteDoor(HeaderKeyDoor):
    """Takes samples as Prometheus sends them. What is sent again is stored once: senders repeat whole requests."""

    decoder: SamplesDecoder
    path: str
    name: str = "remote_write"

    def asked(self, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
        """Return what a request asks for; 204 says that all its samples are safe.

        Samples that are no numbers, and markers of a series' end, are written as far as the sender is told: they
        cannot be kept, and it could do nothing about it.

        Raises:
            Problem: `invalid_parameter` or `unsupported_media_type`.
        """
        version = _version(headers)
        key = idempotency_key(headers)
        natural = asked_in(query, caller, _DEDUP) == NATURAL

        def decode(body: bytes, _: int) -> Decoded:
            decoded = self.decoder.decode(body, version)
            return decoded if key or natural else whole(decoded, caller.name)

        asks = IngestParameters(
            partial=True, key=key, encodings=_ENCODINGS, encoding=SNAPPY, slow=True, natural=natural
        )
        return Asked(asks, decode, partial(_answer, version))

    def refusal(self, problem: Problem, _: Mapping[bytes, bytes]) -> Response:
        """Return a refusal as senders read and log it: text."""
        status = _STATUSES.get(problem.kind.status, problem.kind.status)
        return _refused(status, problem.detail, {**problem.headers, **_written(2, 0)})

    def document(self, app: FastAPI) -> None:
        """Describe the route."""
        app.router.add_api_route(
            self.path,
            _documented,
            methods=["POST"],
            status_code=204,
            summary="Take samples as Prometheus does",
            tags=["remote write"],
            operation_id=f"remote_write{self.path.replace('/', '_')}",
            responses={
                400: {"description": "Some samples are wrong; the good ones are stored. Nothing helps but mending"},
                401: {"description": "An API key is needed, or is not valid"},
                415: {"description": "The media type or content encoding is not taken"},
                503: {"description": "Not now; send it again after `Retry-After` seconds"},
            },
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
                },
                "parameters": [described(_DEDUP)],
            },
        )


def _answer(version: int, accepted: Acceptance) -> Response:
    passed_over = sum(accepted.skipped.get(kind, 0) for kind in ("not_finite", "stale_markers"))
    written = _written(version, accepted.rows + passed_over)
    if accepted.faults:
        return _refused(400, _told(accepted.faults), written)
    return Response(status_code=204, headers=written)


def _version(headers: Mapping[bytes, bytes]) -> int:
    """Return the version of the message that a request holds.

    Raises:
        Problem: `unsupported_media_type`.
    """
    given = headers.get(b"content-type", _MEDIA_TYPE.encode()).decode("latin-1")
    media, *parameters = (part.strip() for part in given.split(";"))
    proto = next((value for name, _, value in (part.partition("=") for part in parameters) if name == "proto"), "")
    if media.lower() != _MEDIA_TYPE or proto not in _VERSIONS:
        known = " or ".join(name for name in _VERSIONS if name)
        raise Problem("unsupported_media_type", f"{given[:100]!r} is not taken; send {_MEDIA_TYPE};proto={known}")
    return _VERSIONS[proto]


def _written(version: int, samples: int) -> dict[str, str]:
    """Return the headers by which the second version tells what was written; the first knows none."""
    if version == 1:
        return {}
    counts = {"Samples": samples, "Histograms": 0, "Exemplars": 0}
    return {_WRITTEN.format(what): str(count) for what, count in counts.items()}


def _told(faults: list[Fault]) -> str:
    shown = "; ".join(f"series {fault.index}: {fault.message}" for fault in faults[:_SHOWN])
    return f"{len(faults)} series or samples are refused, the others are stored: {shown}"


def _refused(status: int, message: str, headers: Mapping[str, str]) -> Response:
    return Response(message, status, dict(headers), "text/plain; charset=utf-8")


async def _documented() -> None:
    """Take samples of series, snappy or zstd around protobuf; 204 says that all of them are safe.

    Both versions are taken, told apart by `proto` in the Content-Type. Without an Idempotency-Key, too, a request that
    is sent again is stored once.
    """
