"""The app of the administrative port."""

from fastapi import APIRouter, FastAPI

from services.platform.http.app import bare_app

__all__ = ["admin_app"]


def admin_app(*routers: APIRouter) -> FastAPI:
    """Return an app with the routes of `routers`."""
    app = bare_app(
        FastAPI, "Millrace administration", "Dead letters, deletions of readings, and what the doors do not keep."
    )
    for router in routers:
        app.include_router(router)
    return app
