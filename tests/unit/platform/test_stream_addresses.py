"""Addresses of Sentinels and of a cluster: what they say, and how a wrong one is refused."""

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio.connection import SSLConnection, parse_url

from services.contract import StreamNames
from services.platform.settings import Discovery, RedisSettings, SettingsError, describe, load
from services.platform.settings.addresses import discovery

SECRET = "hunter2hunter2"
WORDS = st.text(st.characters(categories=("L", "N"), include_characters="@:/?#%&+= "), min_size=1)


def read(url: str) -> Discovery:
    found = discovery(url)
    assert found
    return found


def test_a_sentinel_address_says_whom_to_ask_and_how_to_log_in() -> None:
    found = read("redis+sentinel://app:word@s1,s2:26380,[::1]:7/my%20primary/3?sentinel_username=x&sentinel_password=y")
    assert found.primary == "my primary"
    assert found.seeds == (("s1", 26379), ("s2", 26380), ("::1", 7))
    server, seed = parse_url(found.server_url), parse_url(found.seed_url)
    assert (server["username"], server["password"], server["db"]) == ("app", "word", 3)
    assert (seed["username"], seed["password"], seed["db"]) == ("x", "y", 0)


def test_sentinels_are_not_told_the_servers_password() -> None:
    for url in ("redis+sentinel://app:word@s1/p", "redis+sentinel://s1/p/2?username=app&password=word"):
        assert parse_url(read(url).server_url)["password"] == "word"
        assert not {"username", "password"} & parse_url(read(url).seed_url).keys()


def test_a_cluster_address_has_one_login_for_all_nodes() -> None:
    found = read("redis+cluster://app:word@h1:7000,h2")
    assert (found.primary, found.seeds) == ("", (("h1", 7000), ("h2", 6379)))
    assert found.seed_url == found.server_url
    assert parse_url(found.server_url)["password"] == "word"


@pytest.mark.parametrize(
    "url", ["rediss+sentinel://s1/p/0?ssl_ca_certs=/ca.crt", "rediss+cluster://h?ssl_ca_certs=/ca.crt"]
)
def test_tls_and_its_options_hold_for_whom_is_asked_and_for_servers(url: str) -> None:
    for each in (read(url).seed_url, read(url).server_url):
        options: dict[str, object] = {**parse_url(each)}
        assert options["connection_class"] is SSLConnection
        assert options["ssl_ca_certs"] == "/ca.crt"


@given(WORDS, WORDS)
def test_the_sentinels_login_may_have_any_signs(user: str, password: str) -> None:
    url = f"redis+sentinel://s1/p?sentinel_username={quote_plus(user)}&sentinel_password={quote_plus(password)}"
    seed = parse_url(read(url).seed_url)
    assert (seed["username"], seed["password"]) == (user, password)


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h", "unix:///run/redis.sock"])
def test_the_url_of_one_server_is_none_of_these(url: str) -> None:
    assert RedisSettings(url=SecretStr(url)).discovery is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"redis+sentinel://:{SECRET}@s1:1,s2:2", "NAME"),
        (f"redis+sentinel://:{SECRET}@s1:1/", "NAME"),
        (f"redis+sentinel://:{SECRET}@s1:1/{SECRET}/one", "NAME"),
        (f"redis+sentinel://:{SECRET}@s1:1/{SECRET}/0/0", "NAME"),
        (f"redis+sentinel://:{SECRET}@s1,,s2/p", "a host is missing between the commas"),
        (f"redis+sentinel://:{SECRET}@/p", "a host is missing"),
        (f"redis+sentinel://:{SECRET}@s1:x,s2/p", "host and port cannot be read"),
        (f"redis+cluster://:{SECRET}@h/1", "database 0 alone"),
        (f"redis+cluster://:{SECRET}@h?db=1", "database 0 alone"),
        (f"redis+cluster://:{SECRET}@h?sentinel_password={SECRET}", "redis\\+cluster://USER"),
        (f"redis+magic://:{SECRET}@h", "it must begin with redis://"),
    ],
)
def test_a_wrong_address_is_refused_with_what_is_wrong(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_REDIS_URL", url)
    with pytest.raises(SettingsError, match=f"MILLRACE_REDIS_URL: .*{why}") as raised:
        load()
    assert SECRET not in str(raised.value)


def test_in_a_cluster_a_streams_name_with_braces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_REDIS_STREAM", "a{b}")
    load()
    monkeypatch.setenv("MILLRACE_REDIS_URL", f"redis+cluster://:{SECRET}@h")
    with pytest.raises(SettingsError, match="MILLRACE_REDIS_STREAM holds no braces") as raised:
        load()
    assert SECRET not in str(raised.value)


def test_neither_password_of_a_sentinel_address_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_REDIS_URL", f"redis+sentinel://app:{SECRET}@s1,s2/p/0?sentinel_password={SECRET}")
    settings = load()
    [shown] = [item.value for item in describe(settings) if item.variable == "MILLRACE_REDIS_URL"]
    assert shown == "redis+sentinel://app:***@s1,s2/p/0?sentinel_password=***"
    assert SECRET not in repr(settings) + repr(settings.redis.discovery)


def test_all_names_of_a_stream_stand_in_its_slot() -> None:
    names = StreamNames("sensor_stream")
    sides = {names.dead, names.backlog, names.totals, names.queued, names.settled, names.probe}
    assert len(sides) == 6
    # What stands between the first braces is hashed alone.
    assert all(side.startswith("{sensor_stream}:") for side in sides)
