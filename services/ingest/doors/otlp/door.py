"""`POST /v1/metrics`: metrics by OpenTelemetry's protocol over HTTP, to the letter of its specification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem

from ...accept import Acceptance, Asked, IngestParameters
from ...dedup import NATURAL, asked_in, described
from ...idempotency import idempotency_key
from ...readings import Decoded, Fault
from ...slices import whole
from ..header_key import HeaderKeyDoor
from .answers import media_type, refused, taken
from .decode import JSON, PROTOBUF, MetricsDecoder

__all__ = ["PATHS", "OtlpDoor"]

PATHS = ("/v1/metrics", "/otlp/v1/metrics", "/api/v1/otlp/v1/metrics")
"""OTLP's own; Mimir's, whose base is /otlp; and Prometheus'."""

_DEDUP = ("batch", NATURAL)
_SHOWN = 5
_WARNING = (
    "buckets of {} exponential histogram points are not kept, only count, sum, min and max: send histograms with "
    "explicit bounds (OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=explicit_bucket_histogram)"
)


@dataclass(frozen=True, slots=True)
class OtlpDoor(HeaderKeyDoor):
    """Takes metrics as SDKs and the Collector send them. What is sent again is stored once: they repeat requests."""

    decoder: MetricsDecoder
    path: str
    name: str = "otlp"

    def asked(self, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
        """Return what a request asks for; what is wrong with some points is told beside the success of the others.

        Raises:
            Problem: `invalid_parameter` or `unsupported_media_type`.
        """
        media = media_type(headers)
        if media is None:
            given = headers.get(b"content-type", b"").decode("latin-1")[:100]
            raise Problem("unsupported_media_type", f"Content-Type {given!r} is not taken; send {PROTOBUF} or {JSON}")
        key = idempotency_key(headers)
        natural = asked_in(query, caller, _DEDUP) == NATURAL

        def decode(body: bytes, _: int) -> Decoded:
            decoded = self.decoder.decode(body, media)
            return decoded if key or natural else whole(decoded, caller.name)

        return Asked(
            IngestParameters(partial=True, key=key, slow=True, natural=natural), decode, partial(_answer, media)
        )

    def refusal(self, problem: Problem, headers: Mapping[bytes, bytes]) -> Response:
        """Return a refusal as google.rpc.Status."""
        return refused(media_type(headers), problem)

    def document(self, app: FastAPI) -> None:
        """Describe the route."""
        app.router.add_api_route(
            self.path,
            _documented,
            methods=["POST"],
            summary="Take metrics as OpenTelemetry sends them",
            tags=["OTLP"],
            operation_id=f"otlp{self.path.replace('/', '_')}",
            responses={
                200: {"description": "Taken; `partialSuccess` tells what is wrong with some", "content": _content({})},
                400: {"description": "The request or all its points are wrong; nothing helps but mending"} | _STATUS,
                401: {"description": "An API key is needed, or is not valid"} | _STATUS,
                413: {"description": "The body is too large, or has too many readings"} | _STATUS,
                415: {"description": "The media type or content encoding is not taken"} | _STATUS,
                503: {"description": "Not now; send it again after `Retry-After` seconds"} | _STATUS,
            },
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {
                        PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
                        JSON: {"schema": {"type": "object"}, "example": _EXAMPLE},
                    },
                },
                "parameters": [described(_DEDUP)],
            },
        )


def _answer(media: str, accepted: Acceptance) -> Response:
    without_buckets = accepted.skipped.get("exponential_buckets", 0)
    rejected = len({fault.index for fault in accepted.faults})
    told = [_told(rejected, accepted.faults)] if rejected else []
    if without_buckets:
        told.append(_WARNING.format(without_buckets))
    return taken(media, rejected, "; ".join(told))


def _told(rejected: int, faults: Sequence[Fault]) -> str:
    shown = "; ".join(f"data point {fault.index}: {fault.message}" for fault in faults[:_SHOWN])
    return f"{rejected} data points are refused, the others are stored: {shown}"


def _content(example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
        JSON: {"schema": {"type": "object"}, "example": example},
    }


_STATUS = {"content": _content({"code": 3, "message": "..."})}
_EXAMPLE = {
    "resourceMetrics": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "boiler"}}]},
            "scopeMetrics": [
                {
                    "scope": {"name": "plant"},
                    "metrics": [
                        {
                            "name": "temperature",
                            "unit": "Cel",
                            "gauge": {"dataPoints": [{"timeUnixNano": "1761166800000000000", "asDouble": 71.5}]},
                        }
                    ],
                }
            ],
        }
    ]
}


async def _documented() -> None:
    """Take the data points of metrics, in protobuf or JSON; 200 says that all of them are safe.

    Gauges, sums, histograms and summaries become readings of labelled series. The answer has the form of the request.
    Without an Idempotency-Key, too, a request that is sent again is stored once.
    """
