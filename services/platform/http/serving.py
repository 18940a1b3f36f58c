"""Running a service: one event loop, one HTTP port, a clear line where the port is taken, a graceful end."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from ..runtime.health import Health, health_routes
from ..runtime.starting import StartError
from .app import bare_app
from .direct import Direct, DirectProtocol, Heads
from .protocol import HEADER_TIMEOUT, raise_file_limit

__all__ = ["Port", "health_app", "serve", "serving", "stop_signal", "tune_gc"]

_GARBAGE = 20_000
"""Objects made and not yet freed after which the youngest are looked through."""

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients and proxies keep theirs (60 s is usual), or one
would now and then send a request into a connection that is just being closed."""


@dataclass(frozen=True, slots=True)
class Port:
    """What is served where; `setting` names the variable that chooses the port.

    `direct` takes requests before the app where it wants to.
    """

    app: ASGIApp
    host: str
    port: int
    setting: str
    direct: Direct | None = None


def health_app(title: str, health: Health) -> FastAPI:
    """Return an app with the operational routes alone, for processes whose work is no HTTP."""
    app = bare_app(FastAPI, title)
    app.include_router(health_routes(health))
    return app


def serve(ports: Sequence[Port], grace: float, header_timeout: float) -> None:
    """Serve each port's app until SIGTERM or SIGINT, then finish what is under way within `grace` seconds.

    The first one's life frames those of the others. Headers must arrive within `header_timeout` seconds.

    Raises:
        StartError: a port is taken.
    """
    tune_gc()
    uvloop.run(_serve(ports, grace, header_timeout))


async def _serve(ports: Sequence[Port], grace: float, header_timeout: float) -> None:
    raise_file_limit()
    async with contextlib.AsyncExitStack() as stack:
        for port in ports:
            await stack.enter_async_context(
                serving(
                    port.app,
                    port.host,
                    port.port,
                    port.setting,
                    grace,
                    header_timeout=header_timeout,
                    direct=port.direct,
                )
            )
        await stop_signal().wait()


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str,
    port: int,
    setting: str,
    grace: float = 1.0,
    *,
    header_timeout: float = HEADER_TIMEOUT,
    direct: Direct | None = None,
) -> AsyncIterator[None]:
    """Serve `app` inside the block, beside the caller's own work; behind it, what is under way has `grace` seconds.

    Signals are the caller's. `direct` takes requests before the app where it wants to.

    Raises:
        StartError: the port is taken; `setting` names the variable that chooses it.
    """
    server = _Server(_config(app, grace, header_timeout, direct))
    with _bound(host, port, setting) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if task.done():
                raise StartError("the HTTP port could not be served; the log says why")
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn's own would end the process by them before its telemetry is flushed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def tune_gc() -> None:
    """Collect cyclic garbage seldom, and never look through what was there at the start.

    Requests leave little of it behind; looking after every 700 new objects took a tenth of a small request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 20, 50)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _config(app: ASGIApp, grace: float, header_timeout: float, direct: Direct | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(  # type: ignore[arg-type]
            DirectProtocol, header_timeout=header_timeout, heads=None if direct is None else Heads(direct)
        ),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(grace)),
    )


def _bound(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"port {port} on {host} cannot be had ({error.strerror}); choose another: {setting}"
        ) from error
    listener.setblocking(False)
    return listener
