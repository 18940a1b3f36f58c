"""`/console`, and `/` that leads there: files alone, which ask the same questions as everybody, from the browser.

None of them is secret, so they need no key: the page asks for one where the service wants it. Everything they name is
relative, so that they work behind any path prefix, and nothing is loaded from anywhere else.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from services.platform.http.errors import Problem
from services.platform.settings import QuerySettings

__all__ = ["CONSOLE_PATHS", "console"]

_FOLDER = Path(str(files(__package__))) / "static"
_FILES = {str(file.relative_to(_FOLDER)): file for file in sorted(_FOLDER.rglob("*")) if file.is_file()}
# By ourselves: what a machine's own list of types says of .js may keep a browser from running it.
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Asked each time whether it changed: behind an upgrade no file of before may stand beside a new one.
    "Cache-Control": "no-cache",
}

_LIMITS = "limits.json"

CONSOLE_PATHS = {"/", "/console", "/console/", f"/console/{_LIMITS}", *(f"/console/{name}" for name in _FILES)}
"""What is open to everybody."""


def console(settings: QuerySettings) -> APIRouter:
    """Return the routes: of the files, and of how much one question may ask for."""
    # Behind a prefix that we were not told of, and that is taken away before us, only what is relative leads there.
    start = f"{settings.root_path}/console/" if settings.root_path else "console/"
    limits = {
        "sensors": settings.max_sensors,
        # Columns are held until all of them are there.
        "cells": min(settings.max_cells, settings.max_held_rows),
        "page": settings.max_page,
    }
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def root() -> Response:
        return RedirectResponse(start, 307)

    @router.get("/console")
    async def folder() -> Response:
        return RedirectResponse(start, 307)

    @router.get(f"/console/{_LIMITS}")
    async def most() -> Response:
        return JSONResponse(limits, headers=_HEADERS)

    @router.get("/console/{name:path}")
    async def file(name: str) -> Response:
        found = _FILES.get(name or "index.html")
        if found is None:
            raise Problem("not_found", f"the console has no file {name[:80]!r}")
        return FileResponse(found, headers=_HEADERS, media_type=_TYPES.get(found.suffix, "text/plain"))

    return router
