"""What clients of line protocol ask before they write: whether the server is there, and has their database or bucket.

A database is a label here, so each that somebody names is there, and nothing is made or told but what was asked.
"""

import re
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from services import __version__
from services.platform.http.body import receive_body
from services.platform.http.parameters import parameters

__all__ = ["OPEN_PATHS", "discovery"]

OPEN_PATHS = frozenset({"/ping", "/health", "/query"})
"""What is answered without a key: clients ask it before they show one, or show it as a parameter."""

_API = {"X-Influxdb-Version": "1.8.10", "X-Influxdb-Build": f"Millrace {__version__}"}
"""Clients tell by the version which API they may speak; this is the last that all of them know."""

_CREATE = re.compile(r'\s*create\s+database\s+(?:"[^"]+"|[^\s";]+)[^;]*', re.IGNORECASE)
_SHOW = re.compile(r"\s*show\s+databases\s*", re.IGNORECASE)
_NO_INFLUXQL = (
    "of InfluxQL only CREATE DATABASE and SHOW DATABASES are answered; questions go to /series at the query port"
)
_MOST_BYTES, _PATIENCE = 64 * 1024, 10.0
"""Of a form, and seconds for it to arrive."""
_ID = "0000000000000001"

Text = Annotated[str, Query(max_length=1024)]


def discovery() -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["line protocol"])

    @router.api_route("/ping", methods=["GET", "HEAD"], status_code=204, include_in_schema=False)
    async def ping() -> Response:
        return Response(status_code=204, headers=_API)

    @router.get("/health", include_in_schema=False)
    async def health() -> Response:
        return _json({"name": "millrace", "status": "pass", "message": "takes line protocol", "version": __version__})

    @router.get("/query", include_in_schema=False)
    async def query(q: Text = "", db: Text = "") -> Response:
        return _answered(q, db)

    @router.post("/query", include_in_schema=False)
    async def query_by_form(request: Request, q: Text = "", db: Text = "") -> Response:
        body = await receive_body(request.receive, _MOST_BYTES, _PATIENCE, advice="send one statement")
        form = dict(parameters(body.strip()))
        return _answered(form.get("q", q), form.get("db", db))

    @router.get("/api/v2/buckets", include_in_schema=False)
    async def buckets(name: Text = "") -> Response:
        return _json({"links": {"self": "/api/v2/buckets"}, "buckets": [_bucket(name)] if name else []})

    @router.post("/api/v2/buckets", include_in_schema=False)
    async def make_bucket(name: Annotated[str, Body(embed=True, max_length=1024)]) -> Response:
        return _json(_bucket(name), 201)

    @router.get("/api/v2/orgs", include_in_schema=False)
    async def orgs(org: Text = "") -> Response:
        found = {"id": _ID, "name": org or "millrace", "status": "active"}
        return _json({"links": {"self": "/api/v2/orgs"}, "orgs": [found]})

    return router


def _answered(q: str, db: str) -> Response:
    """Answer statements of InfluxQL, of which clients need two before they write."""
    statements = [statement for statement in q.split(";") if statement.strip()]
    if not statements:
        return _json({"error": 'missing required parameter "q"'}, 400)
    results: list[dict[str, Any]] = []
    for number, statement in enumerate(statements):
        if _CREATE.fullmatch(statement):
            results.append({"statement_id": number})
        elif _SHOW.fullmatch(statement):
            series = {"name": "databases", "columns": ["name"], "values": [[db]] if db else []}
            results.append({"statement_id": number, "series": [series]})
        else:
            return _json({"error": _NO_INFLUXQL}, 400)
    return _json({"results": results})


def _bucket(name: str) -> dict[str, Any]:
    return {"id": _ID, "orgID": _ID, "name": name, "type": "user", "retentionRules": []}


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, _API, "application/json")
