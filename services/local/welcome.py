"""What `millrace up` says when everything runs: where things are, and what to type next."""

import os
import shlex
from pathlib import Path

from services.platform.postgres.capability import Capability

from .demo import Demo
from .plan import Plan

__all__ = ["welcome", "write_shell_file"]

SHELL_FILE = "env.sh"


def welcome(plan: Plan, capability: Capability) -> str:
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
        f"  query     {urls.pop('query')}/docs",
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


def write_shell_file(plan: Plan) -> None:
    """Write what a shell sources to reach the servers with psql, redis-cli and millrace; only we can read it."""
    database = plan.settings.database
    values = {
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
