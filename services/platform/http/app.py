"""An HTTP app of ours, and `/docs`, the OpenAPI document for people.

Its errors are problems, it refuses URLs that it cannot read and answers HEAD. The files of `/docs` come along, and it
finds them behind any path prefix.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse

from services import __version__

from ..runtime.telemetry import BY_OURSELVES
from . import errors
from .middleware import HeadFromGet
from .parameters import StrictUrls

__all__ = ["DOCS_PATHS", "bare_app"]

App = TypeVar("App", bound=FastAPI)

_SCRIPT, _STYLE, _ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"
_FOLDER = Path(str(files("fastapi_swagger.resources")))
_FROM_HERE_ALONE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)

DOCS_PATHS = {"/docs", "/openapi.json", *(f"/docs/{name}" for name in (_SCRIPT, _STYLE, _ICON))}
"""What is shown to people, none of it secret."""


def bare_app(kind: type[App], title: str, description: str = "", *, root_path: str = "", lifespan: Any = None) -> App:
    """Return an app without routes of its own; `root_path` is the prefix at which a proxy shows it."""
    app = kind(
        title=title,
        version=__version__,
        description=description,
        lifespan=lifespan,
        servers=[{"url": root_path}] if root_path else None,
        telemetry=BY_OURSELVES,
        docs_url=None,
        redoc_url=None,
    )
    errors.install(app)
    app.add_middleware(StrictUrls)
    app.add_middleware(HeadFromGet)
    app.include_router(_docs_routes(title))
    return app


def _docs_routes(title: str) -> APIRouter:
    """Return `/docs` and its files. All it names is relative, so a proxy's prefix needs no setting here."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> Response:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url=f"docs/{_SCRIPT}",
            swagger_css_url=f"docs/{_STYLE}",
            swagger_favicon_url=f"docs/{_ICON}",
            # Else it would show each document to a validator of Swagger's.
            swagger_ui_parameters={"validatorUrl": None},
        )
        page.headers["Content-Security-Policy"] = _FROM_HERE_ALONE
        return page

    @router.get(f"/docs/{_SCRIPT}")
    async def script() -> Response:
        return FileResponse(_FOLDER / _SCRIPT)

    @router.get(f"/docs/{_STYLE}")
    async def style() -> Response:
        return FileResponse(_FOLDER / _STYLE)

    @router.get(f"/docs/{_ICON}")
    async def icon() -> Response:
        return FileResponse(_FOLDER / _ICON)

    return router
