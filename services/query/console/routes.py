"""`/console`, and `/` that leads there: files alone, which ask the same questions as everybody, from the browser.

None of them is secret, so they need no key: the page asks for one where the service wants it. Everything they name is
relative, so that they work behind any path prefix, and nothing is loaded from anywhere else.
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse, RedirectResponse

from services.platform.http.errors import Problem
from services.platform.settings import QuerySettings

__all__ = ["CONSOLE_PATHS", "console"]


class _File(NamedTuple):
    """A file, held from the start on: a page is made of two dozen, and the plot waits for all of them."""

    body: bytes
    media_type: str
    tag: str


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


def _read(file: Path) -> _File:
    body = file.read_bytes()
    return _File(body, _TYPES.get(file.suffix, "text/plain"), f'"{hashlib.sha256(body).hexdigest()[:32]}"')


_FOLDER = Path(str(files(__package__))) / "static"
_FILES = {str(file.relative_to(_FOLDER)): _read(file) for file in sorted(_FOLDER.rglob("*")) if file.is_file()}

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
    async def file(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
        found = _FILES.get(name or "index.html")
        if found is None:
            raise Problem("not_found", f"the console has no file {name[:80]!r}")
        headers = {**_HEADERS, "ETag": found.tag}
        # Whoever compresses on the way may have made the tag a weak one.
        if found.tag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers, media_type=found.media_type)

    return router
