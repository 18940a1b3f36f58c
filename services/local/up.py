"""`millrace up`: the stack from the first check to the last process gone."""

import asyncio
import contextlib
import signal
from pathlib import Path

import structlog
import typer

from services.platform.settings import Settings

from .changes import follow_changes
from .guards import sole_user
from .plan import make_plan
from .stack import Stack
from .welcome import welcome, write_shell_file

__all__ = ["run_up"]

log = structlog.get_logger(__name__)


def run_up(settings: Settings, *, reload: bool = False) -> None:
    """Run everything until SIGINT or SIGTERM; a second one does not wait for what is in hand.

    Args:
        settings: the whole tree; the servers' URLs in it are replaced by those of the embedded ones.
        reload: restart a service when its code changes, apply sql/ when it changes.

    Raises:
        StartError: something cannot start; nothing is left running.
    """
    folder = settings.local.data_dir.resolve()
    with sole_user(folder):
        asyncio.run(_run(settings, folder, reload=reload))


async def _run(settings: Settings, folder: Path, *, reload: bool) -> None:
    stack = Stack(make_plan(settings, folder))
    stop = asyncio.Event()
    _on_signals(stop, stack)
    work = asyncio.create_task(_work(stack, reload=reload))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await work
    finally:
        work.cancel()
        stopped.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((work,))
        if stop.is_set():
            typer.echo("Stopping: what is in hand is finished first (again Ctrl-C: not even that).")
        await stack.stop()
    typer.echo(f"Stopped. The data stay in {folder}.")


async def _work(stack: Stack, *, reload: bool) -> None:
    applied = await stack.start()
    write_shell_file(stack.plan)
    typer.echo(welcome(stack.plan, applied.capability))
    if reload:
        await follow_changes(stack)
    await asyncio.get_running_loop().create_future()


def _on_signals(stop: asyncio.Event, stack: Stack) -> None:
    def receive() -> None:
        if stop.is_set():
            stack.hurry()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, receive)
