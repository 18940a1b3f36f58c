"""An HTTP app of ours: its errors are problems, it refuses URLs it cannot read, answers HEAD, and shows `/docs`."""

from typing import Any, TypeVar

from fastapi import FastAPI

from services import __version__

from ..runtime.telemetry import BY_OURSELVES
from . import errors
from .docs_page import docs_routes
from .head import HeadOfGet
from .parameters import Legible

__all__ = ["application"]

App = TypeVar("App", bound=FastAPI)


def application(
    kind: type[App], title: str, description: str = "", *, root_path: str = "", lifespan: Any = None
) -> App:
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
    app.add_middleware(Legible)
    app.add_middleware(HeadOfGet)
    app.include_router(docs_routes(title))
    return app
