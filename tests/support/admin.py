"""Ingest with both its ports inside a test's own event loop."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from services.ingest.app import create_app
from services.platform.settings import Settings

from .patience import eventually

__all__ = ["Ports", "both_ports"]


@dataclass(frozen=True, slots=True)
class Ports:
    """A client of the public port, and one of the administrative."""

    public: httpx.AsyncClient
    admin: httpx.AsyncClient


@contextlib.asynccontextmanager
async def both_ports(settings: Settings) -> AsyncIterator[Ports]:
    """Run ingest in this process and yield its clients, once it is ready."""
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as public,
        httpx.AsyncClient(transport=httpx.ASGITransport(app.state.admin), base_url="http://admin") as admin,
    ):

        async def ready() -> bool:
            return (await public.get("/readyz")).status_code == 200

        await eventually(ready)
        yield Ports(public, admin)
