"""`POST /ingest`, answered before the app's middleware, which would cost more than the work itself.

What FastAPI documents is `routes.include_ingest`; other methods and paths are the app's.
"""

import structlog
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from services.platform.http.auth import Check
from services.platform.http.errors import Problem, internal
from services.platform.http.parameters import by_name
from services.platform.http.protocol import ARRIVED

from .accept import Acceptance, Request

__all__ = ["PATH", "EntranceApp"]

log = structlog.get_logger(__name__)

PATH = "/ingest"


class EntranceApp(FastAPI):
    """An app whose `state` holds the `acceptance` of readings and the `check` of who sends them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        acceptance: Acceptance = self.state.acceptance
        check: Check = self.state.check
        try:
            headers = by_name(scope["headers"])
            request = Request(check(headers), scope["query_string"], headers, receive, ARRIVED in scope)
            response = await acceptance.take(request)
        except ClientDisconnect:
            return
        except Problem as problem:
            response = problem.response()
        except Exception:
            log.exception("a request failed", action="ingest")
            response = internal().response()
        await response(scope, receive, send)
