"""The root of the settings tree and how it is read."""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from .auth import AuthSettings
from .client import ClientSettings
from .database import DatabaseSettings
from .http import HttpSettings
from .ingest import IngestSettings
from .local import LocalSettings
from .log import LogSettings
from .mqtt import MqttSettings
from .operator import OperatorSettings
from .query import QuerySettings
from .redis import RedisSettings
from .repair import RepairSettings
from .telemetry import TelemetrySettings
from .tier import TierSettings
from .worker import WorkerSettings

__all__ = ["PREFIX", "Settings", "SettingsError", "load", "variables"]

PREFIX = "MILLRACE_"


class SettingsError(Exception):
    """A setting is unknown or has a wrong value; the message names the variable and the fix."""


class Settings(BaseSettings):
    """Everything that can be set, section by section."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="_", env_nested_max_split=1, extra="forbid", frozen=True
    )

    pg_bin: Path | None = Field(
        None,
        description="Folder of PostgreSQL's programs for the one-machine stack and the tests; "
        "found by itself where it is not set.",
    )
    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    client: ClientSettings = ClientSettings()
    http: HttpSettings = HttpSettings()
    ingest: IngestSettings = IngestSettings()
    worker: WorkerSettings = WorkerSettings()
    query: QuerySettings = QuerySettings()
    repair: RepairSettings = RepairSettings()
    tier: TierSettings = TierSettings()
    mqtt: MqttSettings = MqttSettings()
    operator: OperatorSettings = OperatorSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
    local: LocalSettings = LocalSettings()

    @model_validator(mode="after")
    def _age_below_horizon(self) -> "Settings":
        age, horizon = self.ingest.backlog_age, self.worker.ledger_horizon
        if age >= horizon * 3600:
            raise ValueError(
                f"MILLRACE_INGEST_BACKLOG_AGE ({age:g} s) must be below MILLRACE_WORKER_LEDGER_HORIZON "
                f"({horizon:g} hours): readings that were accepted would be too old to be stored"
            )
        return self


def variables() -> Iterator[tuple[str, str, str]]:
    """Yield (environment variable, section or "", field) of every setting."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for leaf in section.model_fields:
                yield f"{PREFIX}{name}_{leaf}".upper(), name, leaf
        else:
            yield f"{PREFIX}{name}".upper(), "", name


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: an unknown variable with our prefix, or a value that does not fit; values are not shown,
            as they may be secret.
    """
    known = {variable for variable, _, _ in variables()}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; `millrace config` lists all there are")
    try:
        return Settings()
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise SettingsError("; ".join(map(_named, faults))) from None


def _named(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    variable = "_".join(map(str, fault["loc"])).upper()
    # A fault of several settings together names them itself.
    return f"{PREFIX}{variable}: {message}" if variable else message
