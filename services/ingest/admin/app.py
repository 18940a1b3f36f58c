"""The app of the administrative port."""

from fastapi import APIRouter, FastAPI, Request, Response

from services.platform.http.app import bare_app
from services.platform.stream import STREAM_ERRORS

from ..limits.admission import stream_problem

__all__ = ["admin_app"]


def admin_app(*routers: APIRouter) -> FastAPI:
    """Return an app with the routes of `routers`, whose errors of the stream are problems."""
    app = bare_app(FastAPI, "Millrace administration", "Dead letters, and deletions of readings.")

    async def on_stream(_: Request, error: Exception) -> Response:
        return stream_problem(error).response()

    for kind in STREAM_ERRORS:
        app.add_exception_handler(kind, on_stream)
    for router in routers:
        app.include_router(router)
    return app
