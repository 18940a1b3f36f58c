"""URLs of servers: each part reaches the driver as itself, and what could be read in two ways is refused unseen."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio.connection import parse_url

from services.platform.settings import RedisSettings, SettingsError, load, postgres_address

SECRET = "hunter2hunter2"
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(ANY, ANY, ANY)
def test_any_login_and_database_come_out_as_they_went_in(user: str, password: str, database: str) -> None:
    encoded = [quote(part, safe="") for part in (user, password, database)]
    address = postgres_address("postgresql://{}:{}@one,[::1]:5433/{}?sslmode=require".format(*encoded))
    assert (address.user, address.password, address.database) == (user, password, database)
    assert address.hosts == (("one", None), ("::1", 5433))
    assert postgres_address(address.url()) == address
    said = "postgresql://one/?user={}&password={}&dbname={}".format(*encoded)
    assert postgres_address(said).arguments()["password"] == password


@given(ANY, ANY)
def test_any_login_of_a_stream_comes_out_as_it_went_in(user: str, password: str) -> None:
    url = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@h:1/3"
    found = parse_url(RedisSettings(url=SecretStr(url)).url.get_secret_value())
    assert (found["username"], found["password"], found["host"], found["db"]) == (user, password, "h", 3)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://me@one:5432,two:5433/d", (("one", 5432), ("two", 5433))),
        ("postgresql://me@[::1]:5432,[fe80::1]/d", (("::1", 5432), ("fe80::1", None))),
        ("postgresql:///d?host=/run/postgresql&port=5433", (("/run/postgresql", 5433),)),
        ("postgresql://me@%2Frun%2Fpostgresql:5433/d", (("/run/postgresql", 5433),)),
        ("postgresql:///d?host=one,two&port=1,2", (("one", 1), ("two", 2))),
        ("postgres://", ()),
    ],
)
def test_hosts_may_be_several_addresses_or_folders(url: str, hosts: tuple[tuple[str, int | None], ...]) -> None:
    address = postgres_address(url)
    assert address.hosts == hosts
    assert postgres_address(address.url()) == address


def test_the_driver_gets_tls_options_and_no_login_in_its_own_url() -> None:
    address = postgres_address(f"postgresql://me:{SECRET}@one/d?sslmode=verify-full&sslrootcert=/a%20b/ca.crt")
    arguments = address.arguments()
    assert arguments["dsn"] == "postgresql://?sslmode=verify-full&sslrootcert=%2Fa+b%2Fca.crt"
    assert (arguments["host"], arguments["user"], arguments["password"]) == (["one"], "me", SECRET)
    assert SECRET not in repr(address)


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (f"me:{SECRET}@{SECRET}@h/0", "%40"),
        (f"me:12/{SECRET}@h/0", "%40"),
        (f"me:12?{SECRET}@h/0", "%40"),
        (f"me:12#{SECRET}@h/0", "%40"),
        (f"h/0?password=@{SECRET}", "%40"),
        (f"h/0#{SECRET}", "%23"),
        (f"me:{SECRET}%@h/0", "%25"),
        (f"me:{SECRET}%zz@h/0", "%25"),
        (f"me:{SECRET}%00@h/0", "zero byte"),
        (f"me:{SECRET}%ff@h/0", "UTF-8"),
        (f"me:{SECRET}\n@h/0", "%20"),
        (f"me:{SECRET}\\@h/0", "%20"),
        (f"me:{SECRET}/@h/0", "%40"),
        (f"me:[{SECRET}@h:x/0", "host and port"),
        (f"{SECRET}:99999/0", "host and port"),
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused_with_the_fix(
    scheme: str, rest: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"postgresql": "MILLRACE_DATABASE_READER_URL", "redis": "MILLRACE_REDIS_URL"}[scheme]
    monkeypatch.setenv(name, f"{scheme}://{rest}")
    with pytest.raises(SettingsError, match=f"{name}: .*{why}") as raised:
        load()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgresql://me:{SECRET}@h/d?password={SECRET}", "twice what its password"),
        (f"postgresql://me@h/d?user={SECRET}", "twice what its user"),
        (f"postgresql://me@h/d?host={SECRET}", "twice what its host"),
        (f"postgresql://me@h:1/d?port=2&password={SECRET}", "twice what its port"),
        (f"postgresql://me@h/d?password={SECRET}+", "%2B"),
        (f"postgresql://me@h/d?{SECRET}", "options"),
        (f"postgresql://me@::1/d?password={SECRET}", "host and port"),
        (f"redis://:{SECRET}@one:1,two:2/0", "host and port"),
        (f"redis://:{SECRET}@one:1/{SECRET}", "number of a database"),
        (f"REDIS://:{SECRET}@one:1/0", "begin with redis://"),
    ],
)
def test_what_is_said_twice_or_not_understood_is_refused(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MILLRACE_DATABASE_READER_URL" if url.startswith("postgresql") else "MILLRACE_REDIS_URL"
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingsError, match=f"{name}: .*{why}") as raised:
        load()
    assert SECRET not in str(raised.value)
