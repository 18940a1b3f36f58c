"""Errors that reach a client: RFC 9457 problem+json with a stable code, one table for all services."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

__all__ = ["KINDS", "MEDIA_TYPE", "Kind", "Problem", "install", "internal", "problem_responses"]

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of problem: its HTTP status and its title."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "answer_too_large": Kind(422, "The answer is too large"),
    "bad_request": Kind(400, "The request breaks a rule of HTTP"),
    "batch_dead": Kind(422, "The database refused the batch; it is kept as a dead letter"),
    "backlog_full": Kind(429, "The backlog is full"),
    "body_timeout": Kind(408, "The body took too long to arrive"),
    "body_too_large": Kind(413, "The body is too large"),
    "cors_refused": Kind(400, "Pages of this origin may not send this"),
    "database_unavailable": Kind(503, "The database is not available"),
    "forbidden": Kind(403, "The API key does not allow this"),
    "headers_timeout": Kind(408, "The request's headers took too long to arrive"),
    "headers_too_large": Kind(431, "The request's headers are too large"),
    "internal": Kind(500, "Internal error"),
    "invalid_parameter": Kind(422, "A parameter is missing or wrong"),
    "invalid_readings": Kind(422, "Some readings are wrong"),
    "key_reused": Kind(422, "The Idempotency-Key was used for another body"),
    "letter_damaged": Kind(422, "The dead letter cannot be replayed as it stands"),
    "letter_expired": Kind(409, "The dead letter is older than the ledger remembers"),
    "malformed_body": Kind(422, "The body cannot be read"),
    "method_not_allowed": Kind(405, "The path does not take this method"),
    "misdirected": Kind(421, "The request is for a server that speaks TLS"),
    "no_key": Kind(401, "An API key is needed"),
    "not_acceptable": Kind(406, "The answer cannot be had in this format"),
    "not_found": Kind(404, "There is nothing at this path"),
    "overloaded": Kind(503, "More requests are under way than the service may hold"),
    "query_timeout": Kind(503, "The question took too long"),
    "rate_limited": Kind(429, "The caller sends or asks more than it may"),
    "stream_full": Kind(503, "The stream's server takes no writes"),
    "stream_unavailable": Kind(503, "The stream's server is not available"),
    "tier_unavailable": Kind(503, "The files of the cold tier are not available"),
    "too_many_rows": Kind(413, "The batch has too many readings"),
    "too_many_series": Kind(422, "The caller begins more series than it may"),
    "unknown_batch": Kind(404, "No such batch is known"),
    "unknown_deletion": Kind(404, "There is no such deletion"),
    "unknown_letter": Kind(404, "There is no such dead letter"),
    "unsupported_encoding": Kind(415, "The content encoding is not supported"),
    "unsupported_media_type": Kind(415, "The media type is not supported"),
    "uri_too_long": Kind(414, "The request's target is too long"),
    "wrong_key": Kind(401, "The API key is not valid"),
}
"""Every code that a client can meet."""

_BY_STATUS = {413: "body_too_large", 415: "unsupported_media_type"}
"""Codes of what FastAPI and Starlette refuse by themselves; all else that they refuse is a `bad_request`."""


class Problem(Exception):  # noqa: N818 -- RFC 9457's own word
    """An error with a code of `KINDS`, a detail that names the fault and its fix, and members of its own."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: object) -> None:
        super().__init__(detail)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        body = {
            "type": f"urn:millrace:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "code": self.code,
            "detail": self.detail,
            **self.members,
        }
        return Response(orjson.dumps(body), self.kind.status, self.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error that leaves `app` a problem, and none a traceback."""
    # A redirect to the path without its last slash would lead to whatever host the request names.
    app.router.redirect_slashes = False

    async def on_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 -- narrows for the type checker
        return error.response()

    async def on_parameters(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        faults = [{"parameter": str(fault["loc"][-1]), "message": _message(fault)} for fault in error.errors()]
        named = "; ".join(f"{fault['parameter']}: {fault['message']}" for fault in faults)
        return Problem("invalid_parameter", named, parameters=faults).response()

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == 405:
            detail = f"{request.method} is not allowed at {request.url.path}"
            return Problem("method_not_allowed", detail, {"Allow": ", ".join(_allowed(request))}).response()
        if error.status_code == 404:
            return Problem("not_found", f"there is nothing at {request.url.path}").response()
        return _with_status(error).response()

    async def on_anything(_: Request, __: Exception) -> Response:
        return internal().response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_parameters)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_anything)


def internal() -> Problem:
    """Return the problem of a fault that is ours."""
    return Problem("internal", "the fault is ours; the log of the service tells more")


_MESSAGES = {
    "bool_parsing": "is neither true nor false",
    "enum": "is none of {expected}",
    "extra_forbidden": "is not known here",
    "greater_than_equal": "is less than {ge}, the least that is taken",
    "int_parsing": "is no whole number",
    "int_parsing_size": "is too large a number",
    "less_than_equal": "is more than {le}, the most that is taken",
    "literal_error": "is none of {expected}",
    "missing": "is missing",
    "string_pattern_mismatch": "is not of the form {pattern}",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "has fewer than {min_length} characters",
    "uuid_parsing": "is no UUID",
}
"""What pydantic finds wrong, by its own names, in words of ours."""

_NO_NUL = r"[^\u0000]"


def _message(fault: Mapping[str, Any]) -> str:
    """Return what is wrong with a parameter; what a reader of ours says of it stands as it is."""
    kind, facts = fault["type"], fault.get("ctx", {})
    if kind == "string_too_short" and facts["min_length"] == 1:
        return "is empty"
    if kind == "string_pattern_mismatch" and _NO_NUL in facts["pattern"]:
        return "holds a NUL character"
    return _MESSAGES[kind].format_map(facts) if kind in _MESSAGES else str(fault["msg"])


def _with_status(error: HTTPException) -> Problem:
    problem = Problem(_BY_STATUS.get(error.status_code, "bad_request"), str(error.detail), error.headers)
    if problem.kind.status != error.status_code:
        problem.kind = Kind(error.status_code, HTTPStatus(error.status_code).phrase)
    return problem


def _allowed(request: Request) -> list[str]:
    """Return the methods of all routes at a path; Starlette's own header names those of the first."""
    found: set[str] = set()
    for route in _flat(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _flat(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Yield routes, those of routers that FastAPI keeps whole among them; ours are included without a prefix."""
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is None:
            yield route
        else:
            yield from _flat(router.routes)


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route that can meet `codes`, each code with an example."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        example = {
            "type": f"urn:millrace:problem:{code}",
            "title": kind.title,
            "status": kind.status,
            "code": code,
            "detail": "what is wrong and how to mend it",
        }
        response = by_status.setdefault(
            kind.status,
            {"description": kind.title, "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": {}}}},
        )
        response["content"][MEDIA_TYPE]["examples"][code] = {"value": example}
    return by_status


_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(KINDS)},
        "detail": {"type": "string"},
    },
}
