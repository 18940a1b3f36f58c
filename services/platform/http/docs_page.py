"""`/docs`: the OpenAPI document for people. Its files come along, and it finds them behind any path prefix."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse

__all__ = ["DOCS_PATHS", "docs_routes"]

_SCRIPT, _STYLE, _ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"
_FOLDER = Path(str(files("fastapi_swagger.resources")))
_FROM_HERE_ALONE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)

DOCS_PATHS = {"/docs", "/openapi.json", *(f"/docs/{name}" for name in (_SCRIPT, _STYLE, _ICON))}
"""What is shown to people, none of it secret."""


def docs_routes(title: str) -> APIRouter:
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
