"""Passwords: by what our verifier makes every client logs in, or it is refused in advance and by name."""

import asyncio
import base64
import hashlib
import hmac
import os
import subprocess
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from services.database.schema.apply import SchemaError, login
from services.database.schema.scram import _prepared
from services.operator.planning.quoting import literal
from services.platform.postgres.connections import Connector
from services.platform.settings import RedisSettings, postgres_address
from services.platform.stream import redis_client
from tests.support import TestDatabase
from tests.support.late import connected
from tests.support.servers import installations

ROLE = "password_probe"
TAKEN = {
    "signs of URLs": "p@s:s/w?o#r%d&+=[]{}|\\^`<>\"' ",
    "ASCII controls": "a\x01\x7f\t\nb",
    "composed": "Grüße",
    "decomposed": "Gru\u0308ße",
    "ligature": "\ufb01x",
    "soft hyphen": "a\u00adb",
    "zero width joiner": "a\u200db",
    "no-break space": "a\u00a0b",
    "mapped to nothing at all": "\u00ad",
    "control": "ä\x07",
    "private use": "ä\ue000",
    "unassigned in 3.2": "a\U0001f600b",
    "right to left": "\u05d0\u0661\u05d1",
    "both directions": "\u05d0b",
    "direction mark": "ä\u200f",
}
REFUSED = {"zero width space": "a\u200bb", "tone mark": "a\u0340b", "subscript letter": "a\u2090b"}


@pytest.fixture
async def superuser(database: TestDatabase) -> AsyncIterator[Any]:
    async with connected(database, "superuser") as connection:
        await connection.execute(f"create role {ROLE}")
        yield connection
        await connection.execute(f"drop role {ROLE}")


def named(database: TestDatabase, password: str) -> SecretStr:
    address = postgres_address(database.superuser_url)
    return SecretStr(replace(address, user=ROLE, password=password).url())


@pytest.mark.parametrize("password", TAKEN.values(), ids=TAKEN.keys())
async def test_a_password_lets_asyncpg_and_libpq_in(database: TestDatabase, superuser: Any, password: str) -> None:
    url = named(database, password)
    await login(superuser, ROLE, url)
    ours = await Connector(url, database.settings).connect()
    assert await ours.fetchval("select current_user") == ROLE
    await ours.close()
    psql = max(installations().values(), key=lambda found: (found.bin / "psql").exists()).bin / "psql"
    if psql.exists():
        assert await asyncio.to_thread(by_libpq, psql, url) == ROLE
    with pytest.raises(asyncpg.InvalidPasswordError):
        await Connector(named(database, password + "x"), database.settings).connect()


def by_libpq(psql: Path, url: SecretStr) -> str:
    command: list[str | Path] = [psql, url.get_secret_value(), "-XAtc", "select current_user"]
    environment = {**os.environ, "PGCLIENTENCODING": "UTF8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return str(done.stdout.strip() or done.stderr)


@pytest.mark.parametrize("password", REFUSED.values(), ids=REFUSED.keys())
async def test_a_password_that_clients_read_differently_is_refused_by_name(
    database: TestDatabase, superuser: Any, password: str
) -> None:
    with pytest.raises(SchemaError, match=rf"password of {ROLE} .* U\+{ord(password[1]):04X}.*choose another") as told:
        await login(superuser, ROLE, named(database, password))
    assert password not in str(told.value)


SIGNS = "aB1 אا١٠\u00ad\u200d\u00a0\u3000ﬁⅨä\u0308\u1f600😀\x01\x07\x7f\u0378\u200f\u2028\ufeffﷺ\u0340\u2090\u200b"


async def test_the_server_prepares_passwords_as_we_do(superuser: Any) -> None:
    await superuser.execute("set scram_iterations = 1")
    texts = [f"a{character}" for character in map(chr, range(0x80, 0x280))]
    texts += [character + more for character in SIGNS for more in SIGNS]
    for text in texts:
        try:
            prepared = _prepared(text)
        except ValueError:
            continue
        await superuser.execute(f"alter role {ROLE} password {literal(text)}")
        verifier = await superuser.fetchval("select rolpassword from pg_authid where rolname = $1", ROLE)
        assert made_of(verifier, prepared), [unicodedata.name(character, "?") for character in text]


def made_of(verifier: str, prepared: str) -> bool:
    _, salt, keys = verifier.split("$")
    iterations, salt = salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", prepared.encode(), base64.b64decode(salt), int(iterations))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64encode(stored).decode() == keys.split(":")[0]


@pytest.mark.parametrize("password", TAKEN.values(), ids=TAKEN.keys())
async def test_a_stream_takes_any_password_that_its_url_encodes(redis_settings: RedisSettings, password: str) -> None:
    async with redis_client(redis_settings) as admin:
        await admin.acl_setuser(ROLE, enabled=True, passwords=[f"+{password}"], categories=["+@all"])
        try:
            parts = urlsplit(redis_settings.url.get_secret_value())
            netloc = f"{ROLE}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
            url = SecretStr(parts._replace(netloc=netloc).geturl())
            async with redis_client(RedisSettings(url=url)) as client:
                assert await client.acl_whoami() == ROLE
        finally:
            await admin.acl_deluser(ROLE)
