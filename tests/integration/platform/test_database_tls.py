"""TLS to the database: what the connection's URL says about certificates is kept to by every client of ours."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from services.local.installations import Installation
from services.local.postgres import PostgresServer
from services.local.process import ordinary_account
from services.platform.postgres.connections import Connector
from services.platform.postgres.pool import Pool
from services.platform.postgres.schema import wait_for_schema
from services.platform.runtime.health import Health
from services.platform.settings import DatabaseSettings
from tests.support import eventually, free_port
from tests.support.servers import installations

WORD = "canary-of-the-password"
ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


def with_tls() -> Installation | None:
    """Return a PostgreSQL that was built with OpenSSL; of which version does not matter to a connection."""
    for folder in [*(each.bin for each in installations().values()), *Path("/usr/lib/postgresql").glob("*/bin")]:
        try:
            asked: list[str | Path] = [folder / "pg_config", "--configure", "--version"]
            built = subprocess.run(asked, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        configured, version = built.stdout.splitlines()
        if "openssl" in configured:
            return Installation(folder, version.split()[1], None)
    return None


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of a test's own."""

    certificate: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> "Authority":
        made = cls(folder / f"{name}.crt")
        openssl("req", "-x509", *fresh(folder / f"{name}.key"), "-subj", f"/CN={name}", "-out", made.certificate)
        return made

    def sign(self, folder: Path, host: str) -> tuple[Path, Path]:
        """Return a certificate for a host, and its key."""
        certificate, key = folder / "server.crt", folder / "server.key"
        issuer = ("-CA", self.certificate, "-CAkey", self.certificate.with_suffix(".key"))
        names = ("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}")
        openssl("req", "-x509", *issuer, *fresh(key), *names, "-out", certificate)
        return certificate, key


def fresh(key: Path) -> list[str | Path]:
    """Return the options for a key that is made in this file, and a certificate of two days."""
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-days", "2"]


def openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server whose certificate is for `localhost` and of `ours`; `theirs` has signed nothing."""

    server: PostgresServer
    ours: Path
    theirs: Path

    def url(self, options: str, host: str = "localhost") -> str:
        return f"postgresql://postgres:{WORD}@{host}:{self.server.port}/postgres?{options}"


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    installation = with_tls()
    if installation is None or shutil.which("openssl") is None:
        pytest.skip("no PostgreSQL with TLS, or no openssl, was found here")
    ours, theirs = (Authority.make(tmp_path, name) for name in ("ours", "theirs"))
    certificate, key = ours.sign(tmp_path, "localhost")
    if account := ordinary_account():
        os.chown(key, account.uid, account.gid)
        os.chown(certificate, account.uid, account.gid)
    options = {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
    server = PostgresServer(tmp_path / "data", free_port(), installation, WORD, options)
    await server.start()
    yield Guarded(server, ours.certificate, theirs.certificate)
    await server.stop()


def to(url: str) -> Connector:
    return Connector(SecretStr(url), DatabaseSettings())


async def lacking(url: str) -> str:
    """Return what a service says that it waits for at a URL."""
    health = Health("database")
    waiting = asyncio.create_task(wait_for_schema(to(url), health))
    try:
        return await eventually(lambda: health.reasons()["database"].removeprefix("starting"), 30)
    finally:
        waiting.cancel()


async def test_the_right_authority_is_taken_by_every_client(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    said = guarded.url(f"sslmode=verify-full&sslrootcert={guarded.ours}")
    monkeypatch.setenv("PGSSLROOTCERT", str(guarded.ours))
    for url in (said, guarded.url("sslmode=verify-full")):
        connections = Pool(to(url))
        async with connections.lent() as connection:
            assert await connection.fetchval(ENCRYPTED)
        connections.drop()
        assert "no schema yet" in await lacking(url)


async def test_another_authority_or_name_is_refused_and_named_without_the_password(guarded: Guarded) -> None:
    theirs = guarded.url(f"sslmode=verify-full&sslrootcert={guarded.theirs}")
    elsewhere = guarded.url(f"sslmode=verify-full&sslrootcert={guarded.ours}", "127.0.0.1")
    for url, why in (theirs, "certificate verify failed"), (elsewhere, "IP address mismatch"):
        told = await lacking(url)
        assert "cannot be reached" in told
        assert why in told
        assert WORD not in told
        with pytest.raises(OSError, match=why):
            await to(url).connect()


async def test_a_server_that_asks_for_tls_gets_no_plain_connection(guarded: Guarded) -> None:
    hba = guarded.server.folder / "pg_hba.conf"
    hba.write_text("hostssl all all all scram-sha-256\n")
    local = await asyncpg.connect(guarded.url("sslmode=require"))
    await local.execute("select pg_reload_conf()")
    await local.close()
    assert "no encryption" in await eventually(lambda: told_plain(guarded), 30)


async def told_plain(guarded: Guarded) -> str:
    told = await lacking(guarded.url("sslmode=disable"))
    return told if "no encryption" in told else ""
