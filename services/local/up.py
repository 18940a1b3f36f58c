"""`millrace up`: the stack from the first check to the last process gone, and what it says when everything runs."""

import asyncio
import contextlib
import os
import shlex
import signal
from pathlib import Path

import typer

from services.platform.postgres.capability import Capability
from services.platform.settings import Settings

from .demo import Demo
from .guards import sole_user
from .plan import Plan, make_plan
from .reload import follow_changes
from .stack import Stack

__all__ = ["run_up"]


SHELL_FILE = "env.sh"


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
    _write_shell_file(stack.plan)
    typer.echo(_welcome(stack.plan, applied.capability))
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


def _welcome(plan: Plan, capability: Capability) -> str:
    """Return the text; it holds no password."""
    settings = plan.settings
    urls = {service.name: service.url for service in plan.services}
    shell = _near(plan.folder / SHELL_FILE)
    key = settings.client.key
    demo = Demo(
        f"http://localhost:{settings.ingest.port}",
        f"http://localhost:{settings.query.port}",
        key=key.get_secret_value() if key else None,
    )
    lines = [
        "",
        "Millrace runs.",
        "",
        f"  ingest    {urls.pop('ingest')}/docs",
        f"            http://{settings.ingest.admin_host}:{settings.ingest.admin_port}/docs (dead letters)",
        f"  query     {urls['query']}/docs",
        f"  console   {urls.pop('query')}/console/",
        *(f"  {name:<9} {url}/readyz" for name, url in urls.items()),
        f"  stream    Valkey on 127.0.0.1:{settings.local.redis_port}, stream {settings.redis.stream}",
        f"  database  {capability} on 127.0.0.1:{plan.postgres.port}, database sensors",
        f"            from {plan.postgres.installation.bin}",
        *(f"            not here: {what}" for what in capability.missing),
        f"  data      {_near(plan.folder)} (passwords in credentials.json; servers' logs beside them)",
        "",
        "Try it (or all of it by `make demo`):",
        "",
        *(f"  {command}" for command in demo.commands()),
        "",
        "Bring in what you have, CSV, line protocol, Parquet and others:",
        "",
        "  .venv/bin/millrace import FILE",
        "",
        "Look inside (the first line brings ports and passwords into the shell):",
        "",
        f"  . {shlex.quote(shell)}",
        f"  {shlex.quote(str(plan.postgres.installation.bin / 'psql'))}",
        f"  redis-cli -p {settings.local.redis_port} xinfo stream {settings.redis.stream}",
        "",
        "Ctrl-C drains and stops it.",
        "",
    ]
    return "\n".join(lines)


def _write_shell_file(plan: Plan) -> None:
    """Write what a shell sources to reach the servers with psql, redis-cli and millrace; only we can read it."""
    database = plan.settings.database
    values = {
        "MILLRACE_INGEST_PORT": plan.settings.ingest.port,
        "MILLRACE_INGEST_ADMIN_PORT": plan.settings.ingest.admin_port,
        "MILLRACE_QUERY_PORT": plan.settings.query.port,
        "MILLRACE_REDIS_URL": plan.settings.redis.url.get_secret_value(),
        "MILLRACE_DATABASE_OWNER_URL": database.owner_url.get_secret_value(),
        "MILLRACE_DATABASE_WRITER_URL": database.writer_url.get_secret_value(),
        "MILLRACE_DATABASE_READER_URL": database.reader_url.get_secret_value(),
        "PGHOST": "127.0.0.1",
        "PGPORT": plan.postgres.port,
        "PGDATABASE": "sensors",
        "PGUSER": "millrace_owner",
        "PGPASSWORD": plan.credentials.owner,
        "REDISCLI_AUTH": plan.credentials.redis,
    }
    file = plan.folder / SHELL_FILE
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.writelines(f"export {name}={shlex.quote(str(value))}\n" for name, value in values.items())


def _near(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
