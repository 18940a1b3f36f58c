"""The body of a replay: the readings that take the place of a dead letter's own."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from services.contract import Columns
from services.dead_letters.routes import Body
from services.platform.http.parameters import by_name
from services.platform.settings import IngestSettings

from ..doors.ingest.body import json_body
from ..formats.json import decode_json
from ..limits.body import read_body
from ..limits.in_flight import InFlight
from ..limits.window import Window
from ..readings import check

__all__ = ["mending"]


def mending(in_flight: InFlight, window: Window, settings: IngestSettings) -> Body:
    """Return a body that is read, counted and checked as one of `POST /ingest` is; it may be left out."""

    @contextlib.asynccontextmanager
    async def mended(request: Request) -> AsyncIterator[Columns | None]:
        with in_flight.request() as counted:
            body = await read_body(by_name(request.headers.raw), request.receive, settings, counted)
            columns = None
            if body:
                columns = check(decode_json(body, settings.max_rows), window.limits(), partial=False).columns
            yield columns

    described = {"requestBody": {**json_body(settings)["requestBody"], "required": False}}
    return Body(mended, described, ("invalid_readings", "malformed_body", "overloaded"))
