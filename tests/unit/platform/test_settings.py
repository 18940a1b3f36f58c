"""The settings tree: the environment wins, misspelt names are refused, secrets are never shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from services.platform.settings import (
    DatabaseSettings,
    RedisSettings,
    Settings,
    SettingsError,
    describe,
    load,
    markdown,
)
from services.platform.settings.tree import PREFIX, variables

SECRET = "hunter2hunter2"
VARIABLES = [variable for variable, _, _ in variables()]


def test_the_environment_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_MAX_ROWS", "7")
    monkeypatch.setenv("MILLRACE_PG_BIN", "/somewhere")
    settings = load()
    assert settings.ingest.max_rows == 7
    assert settings.ingest.port == 8000
    assert settings.pg_bin == Path("/somewhere")


@pytest.mark.parametrize("name", ["MILLRACE_INGEST_PROT", "MILLRACE_INGEST", "MILLRACE_", "millrace_ingest_prot"])
def test_an_unknown_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"unknown setting {name};"):
        load()


def test_every_unknown_name_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_B", "1")
    monkeypatch.setenv("MILLRACE_A", "1")
    with pytest.raises(SettingsError, match="MILLRACE_A, MILLRACE_B"):
        load()


def test_other_programs_names_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILL_RACE", "1")
    load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MILLRACE_INGEST_PORT", SECRET),
        ("MILLRACE_INGEST_PORT", "65536"),
        ("MILLRACE_WORKER_BATCH_ROWS", "0"),
        ("MILLRACE_TELEMETRY_SAMPLE_RATIO", "1.1"),
        ("MILLRACE_WORKER_LINGER", "1.1"),
        ("MILLRACE_LOG_LEVEL", SECRET),
        ("MILLRACE_INGEST_MAX_PAST", "inf"),
        ("MILLRACE_REDIS_URL", SECRET),
        ("MILLRACE_REDIS_URL", f"http://{SECRET}"),
        ("MILLRACE_REDIS_URL", f"redis://:{SECRET}/x@localhost:6379/0"),
        ("MILLRACE_DATABASE_READER_URL", f"mysql://user:{SECRET}@localhost/sensors"),
        ("MILLRACE_DATABASE_WRITER_URL", f"postgresql://user:{SECRET}#x@localhost/sensors"),
        ("MILLRACE_DATABASE_OWNER_URL", f"postgresql://[{SECRET}/sensors"),
        ("MILLRACE_TELEMETRY_OTLP_ENDPOINT", f"user:{SECRET}@collector:4318"),
        ("MILLRACE_TELEMETRY_OTLP_ENDPOINT", f"http://user:{SECRET}/x@collector:4318"),
        ("MILLRACE_CLIENT_KEY", f"millrace_{SECRET}\n"),
        ("MILLRACE_CLIENT_KEY", f"millrace_{SECRET}\r\nX-Other: 1"),
        ("MILLRACE_CLIENT_KEY", f"millrace_ü{SECRET}"),
    ],
)
def test_a_wrong_value_is_named_but_not_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as raised:
        load()
    assert SECRET not in str(raised.value)


def test_several_hosts_may_stand_in_a_databases_url(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://writer@first:5432,second:5433/sensors"
    monkeypatch.setenv("MILLRACE_DATABASE_WRITER_URL", url)
    assert load().database.writer_url.get_secret_value() == url


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_documented_variable_is_read(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = {item.variable: item for item in describe(Settings())}[variable]
    value = {"False": "true", "auto": "json", "info": "debug"}.get(default.default)
    if value is None:
        own = {
            "MILLRACE_HTTP_CORS_ORIGINS": "https://app.example.com",
            "MILLRACE_MQTT_BROKER": "mqtts://elsewhere",
            "MILLRACE_MQTT_VERSION": "3.1.1",
            "MILLRACE_QUERY_CALLER_SHARE": "0.5",
            "MILLRACE_TELEMETRY_SAMPLE_RATIO": "0.5",
            "MILLRACE_TIER_LOCATION": "file:///srv/tier",
            "MILLRACE_WORKER_DEAD_LETTER_RETENTION": "30",
            "MILLRACE_WORKER_LINGER": "0.5",
            "MILLRACE_DATABASE_REPLICA_URL": "postgresql://elsewhere/sensors",
            "MILLRACE_TELEMETRY_OTLP_ENDPOINT": "http://elsewhere:4318",
        }
        try:
            value = own.get(variable) or str(type(_number(default.default))(_number(default.default) + 1))
        except ValueError:
            value = default.default.replace("127.0.0.1", "elsewhere") if variable.endswith("_URL") else "/elsewhere"
    monkeypatch.setenv(variable, value)
    found = {item.variable: item for item in describe(load())}[variable]
    assert found.value not in {default.value, ""}


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


def test_every_setting_says_what_it_means() -> None:
    for item in describe(Settings()):
        assert item.variable.startswith(PREFIX)
        assert item.meaning.endswith("."), item.variable


def unchecked(url: str) -> Settings:
    """Return settings with `url`, even one that would be refused."""
    secret = SecretStr(url)
    return Settings(
        redis=RedisSettings().model_copy(update={"url": secret}),
        database=DatabaseSettings().model_copy(update={"writer_url": secret}),
    )


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h:1/0",
        f"redis://user:{SECRET}@h:1/0",
        f"rediss://user:{SECRET}%40@h",
        f"redis://h:1/0?password={SECRET}",
        f"unix:///run/redis.sock?db=0&password={SECRET}",
        f"redis://user:{SECRET}/with:odd@signs?@h",
        f"postgresql://user@h:1/db?password=a@{SECRET}",
        f"postgresql://user@h:1/db?password=a@b&sslpassword={SECRET}",
        f"redis://user:x?pass=y{SECRET}@h",
        f"{SECRET}",
    ],
)
def test_a_secret_is_never_shown(url: str) -> None:
    settings = unchecked(url)
    told = "".join(str(item) for item in describe(settings)) + repr(settings) + settings.model_dump_json()
    assert SECRET not in told


@given(st.text(min_size=1), st.text(st.characters(codec="ascii")))
def test_no_password_is_shown_whatever_its_signs(password: str, user: str) -> None:
    password = f"<{password}>"
    settings = unchecked(f"redis://{user}:{password}@h:1/0")
    shown = next(item.value for item in describe(settings) if item.variable == "MILLRACE_REDIS_URL")
    assert password not in shown


def test_the_password_of_a_collector_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_TELEMETRY_OTLP_ENDPOINT", f"http://user:{SECRET}@collector:4318")
    shown = next(item.value for item in describe(load()) if item.variable == "MILLRACE_TELEMETRY_OTLP_ENDPOINT")
    assert shown == "http://user:***@collector:4318"


def test_what_is_no_secret_of_a_url_is_shown() -> None:
    settings = Settings(redis=RedisSettings(url=SecretStr(f"redis://user:{SECRET}@h:1/0?db=3")))
    shown = next(item.value for item in describe(settings) if item.variable == "MILLRACE_REDIS_URL")
    assert shown == "redis://user:***@h:1/0?db=3"


def test_the_page_names_every_variable_and_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_PORT", "9999")
    page = markdown()
    assert [variable for variable in VARIABLES if f"| `{variable}` |" not in page] == []
    assert "9999" not in page
    assert str(Settings().worker.name) not in page


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        setattr(Settings().ingest, "port", 1)  # noqa: B010 -- the type checker knows it, too


@pytest.mark.parametrize(
    ("age", "horizon", "right"), [("7199", "2", True), ("7200", "2", False), ("86400", "1", False)]
)
def test_a_backlog_may_not_grow_older_than_the_ledger_remembers(
    monkeypatch: pytest.MonkeyPatch, age: str, horizon: str, right: bool
) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_BACKLOG_AGE", age)
    monkeypatch.setenv("MILLRACE_WORKER_LEDGER_HORIZON", horizon)
    if right:
        assert load().worker.ledger_horizon == 2
        return
    with pytest.raises(SettingsError, match=r"^MILLRACE_INGEST_BACKLOG_AGE .* MILLRACE_WORKER_LEDGER_HORIZON"):
        load()
