"""Answers of OTLP/HTTP in the form of the request: what was taken, and google.rpc.Status for what was not."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from services.platform.http.errors import Problem

from ...readings import faults_of
from .decode import JSON, PROTOBUF
from .messages import BAD_REQUEST, RESPONSE, STATUS

__all__ = ["media_type", "refused", "taken"]

_STATUSES = {408: 503, 422: 400, 429: 503}
"""Of what OTLP lets clients send again, 503 is what all of them do; 400 tells them that nothing helps."""

_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 500: 13, 503: 14}
"""Of gRPC, by statuses of HTTP."""
_UNKNOWN = 2

_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def media_type(headers: Mapping[bytes, bytes]) -> str | None:
    """Return which of the two forms a request is in; None for any other."""
    given = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower().decode("latin-1")
    return given if given in {PROTOBUF, JSON} else None


def taken(media: str, rejected: int, message: str) -> Response:
    """Return the answer to a request whose points were taken but for `rejected`; a message alone is a warning."""
    if media == JSON:
        # As proto3 has it: what is zero is left out, and 64-bit integers are texts.
        told = {"rejectedDataPoints": str(rejected)} if rejected else {}
        body = {"partialSuccess": told | {"errorMessage": message}} if message else {}
        return Response(orjson.dumps(body), media_type=media)
    partial = {"rejected_data_points": rejected, "error_message": message} if message else None
    return Response(bytes(RESPONSE(partial_success=partial).SerializeToString()), media_type=media)


def refused(media: str | None, problem: Problem) -> Response:
    """Return the answer to a request that is refused; who sends another form is told in JSON."""
    status = _STATUSES.get(problem.kind.status, problem.kind.status)
    code = _CODES.get(status, _UNKNOWN)
    violations = _violations(problem)
    if media == PROTOBUF:
        details = []
        if violations:
            packed = BAD_REQUEST(field_violations=violations).SerializeToString()
            details.append({"type_url": _BAD_REQUEST, "value": packed})
        body = bytes(STATUS(code=code, message=problem.detail, details=details).SerializeToString())
    else:
        told = {"details": [{"@type": _BAD_REQUEST, "fieldViolations": violations}]} if violations else {}
        body = orjson.dumps({"code": code, "message": problem.detail, **told})
    headers = problem.headers | ({"Retry-After": "1"} if status == 503 and "Retry-After" not in problem.headers else {})
    return Response(body, status, headers, media or JSON)


def _violations(problem: Problem) -> Sequence[Mapping[str, Any]]:
    """Return what is wrong with which point, as google.rpc.BadRequest has it."""
    return [
        {"field": f"data point {fault.index}: {fault.field}", "description": fault.message}
        for fault in faults_of(problem)
    ]
