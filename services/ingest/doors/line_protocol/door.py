"""`POST /write`, `/api/v2/write` and `/api/v3/write_lp`: line protocol, as Telegraf and InfluxDB's clients send it."""

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.responses import Response

from services.platform.http.auth import Caller, Check
from services.platform.http.errors import MEDIA_TYPE as PROBLEM
from services.platform.http.errors import Problem
from services.platform.http.parameters import parameters, wrong

from ...accept import Acceptance, Asked, IngestParameters
from ...dedup import NATURAL, dedup, described
from ...idempotency import idempotency_key
from ...readings import SHOWN_FAULTS, Decoded, Fault, faults_of
from ...slices import by_instant, by_reading
from ..taken import taken
from .decode import PRECISIONS, LinesDecoder
from .dialects import Dialect

__all__ = ["LineProtocolDoor"]

_LOST_ELSEWHERE = {408: 503, 429: 503, 422: 400}
"""Telegraf and others throw away what is answered 408, 429 or 422; 503 they send again, and 400 says that nothing
helps."""

_SHOWN_LINES = 5
_DEDUP = ("batch", "reading", NATURAL, "none")
_SLICED = ("batch", "reading")
_BOOLEANS = {"true": True, "false": False}
_EXAMPLE = "weather,place=harbour temperature=11.5,humidity=81i 1761166800000000000"


@dataclass(frozen=True, slots=True)
class _Asks:
    """What a request says beside its body: how its lines are read, what is stored once, and of which."""

    unit: int
    labels: Sequence[tuple[str, str]]
    dedup: str
    partial: bool


@dataclass(frozen=True, slots=True)
class LineProtocolDoor:
    """Takes lines by one version of InfluxDB's API.

    Good lines are taken where others are wrong, as InfluxDB does: the answer then names those. What is sent again is
    stored once, unless `dedup=none` is asked for or a line has no time. Who accepts problem+json is answered as by
    `/ingest`: what InfluxDB answers does not tell what is full from what is wrong.
    """

    check: Check
    decoder: LinesDecoder
    dialect: Dialect
    name: str = "line_protocol"

    @property
    def path(self) -> str:
        """Where lines are POSTed to."""
        return self.dialect.path

    def credentials(self, headers: Mapping[bytes, bytes], query: bytes) -> Caller:
        """Return whose API key a request shows in its header or, as clients of the first version do, as parameter `p`.

        Raises:
            Problem: `no_key`, `wrong_key` or `forbidden`.
        """
        if b"authorization" not in headers and (password := _password(query)) is not None:
            headers = {b"authorization": b"Bearer " + password}
        return self.check(headers)

    def asked(self, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
        """Return what a request asks for; 204 says that all its lines are safe.

        Raises:
            Problem: `invalid_parameter`.
        """
        key = idempotency_key(headers)
        asks = self._asks(caller, query)

        def decode(body: bytes, _: int) -> Decoded:
            lines = self.decoder.decode(body, asks.unit, asks.labels, time.time_ns() // 1000)
            slice_it = asks.dedup in _SLICED and lines.timed and key is None and len(lines.decoded)
            sliced = by_reading if asks.dedup == "reading" else by_instant
            return sliced(lines.decoded, caller.name) if slice_it else lines.decoded

        wanted = IngestParameters(partial=asks.partial, key=key, slow=True, natural=asks.dedup == NATURAL)
        return Asked(wanted, decode, taken if _takes_problems(headers) else self._answer)

    def refusal(self, problem: Problem, headers: Mapping[bytes, bytes]) -> Response:
        """Return a refusal as this version's clients read it, or as a problem where the client takes these."""
        if _takes_problems(headers):
            return problem.response()
        faults = faults_of(problem)
        status = _LOST_ELSEWHERE.get(problem.kind.status, problem.kind.status)
        return self._refusal(status, problem.detail, faults, problem.headers)

    def document(self, app: FastAPI) -> None:
        """Describe the route."""
        refusal = {"content": {"application/json": {"example": self.dialect.refusal(400, "...", [])}}}
        app.router.add_api_route(
            self.path,
            _documented,
            methods=["POST"],
            status_code=204,
            summary=f"Take lines as InfluxDB {self.dialect.version} does",
            tags=["line protocol"],
            operation_id=f"write_lines_v{self.dialect.version}",
            responses={
                400: {"description": "Lines are wrong; the good ones are stored. Nothing helps but mending", **refusal},
                401: {"description": "An API key is needed, or is not valid", **refusal},
                413: {"description": "The body is too large; send smaller ones", **refusal},
                503: {"description": "Not now; send it again after `Retry-After` seconds", **refusal},
            },
            openapi_extra={
                "requestBody": {"required": False, "content": {"text/plain": {"example": _EXAMPLE}}},
                "parameters": [
                    *(
                        _parameter(name, "Which database is meant; a label of each series.")
                        for name in self.dialect.labels
                    ),
                    _parameter(
                        "precision", f"Unit of timestamps; `{self.dialect.precision}` by default.", ["", *PRECISIONS]
                    ),
                    described(_DEDUP),
                    _parameter(
                        "accept_partial", "Whether good lines are stored where others are wrong: yes.", _BOOLEANS
                    ),
                ],
            },
        )

    def _answer(self, accepted: Acceptance) -> Response:
        return self._partial(accepted.faults, accepted.rows) if accepted.faults else Response(status_code=204)

    def _asks(self, caller: Caller, query: bytes) -> _Asks:
        """Read the query string; parameters that only other servers need are passed over, as InfluxDB does.

        Raises:
            Problem: `invalid_parameter`.
        """
        values = dict(parameters(query))
        precision = values.get("precision") or self.dialect.precision
        if precision not in PRECISIONS:
            raise wrong(precision=f"must be one of {', '.join(PRECISIONS)}")
        partial = values.get("accept_partial", "true")
        if partial not in _BOOLEANS:
            raise wrong(accept_partial="must be true or false")
        labels = [(name, values[name]) for name in self.dialect.labels if values.get(name)]
        return _Asks(PRECISIONS[precision], labels, dedup(values, caller, _DEDUP), _BOOLEANS[partial])

    def _partial(self, faults: Sequence[Fault], rows: int) -> Response:
        """Return the answer to lines of which some were wrong, and the others are stored."""
        shown = "; ".join(fault.message for fault in faults[:_SHOWN_LINES])
        more = f"; and {len(faults) - _SHOWN_LINES} more" if len(faults) > _SHOWN_LINES else ""
        message = f"partial write: {rows} readings are stored, dropped={len(faults)}: {shown}{more}"
        return self._refusal(400, message, faults, {})

    def _refusal(self, status: int, message: str, faults: Sequence[Fault], headers: Mapping[str, str]) -> Response:
        body = orjson.dumps(self.dialect.refusal(status, message, faults[:SHOWN_FAULTS]))
        shown = message.encode("ascii", "replace").decode()[:500]
        return Response(body, status, {**headers, "X-Influxdb-Error": shown}, "application/json")


def _takes_problems(headers: Mapping[bytes, bytes]) -> bool:
    return PROBLEM.encode() in headers.get(b"accept", b"")


@functools.lru_cache(maxsize=256)
def _password(query: bytes) -> bytes | None:
    return next((value.encode() for name, value in parameters(query) if name == "p"), None)


def _parameter(name: str, about: str, values: Iterable[str] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if values:
        schema["enum"] = list(values)
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


async def _documented() -> None:
    """Take lines of measurements, each with its tags, fields and time; 204 says that all of them are safe.

    Each number or truth value is a reading of the series that measurement, field and tags name. Texts are not kept.
    Without an Idempotency-Key, too, what a client sends again is stored once, as long as each line has its own time.
    """
