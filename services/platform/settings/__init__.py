"""The one settings tree: defaults here, changed by environment variables, documented from itself.

``MILLRACE_<SECTION>_<NAME>`` sets ``section.name``; the environment wins over the default. Unknown names with
the prefix are refused, so that a misspelt setting never passes unseen.
"""

from .addresses import Scattered
from .describe import describe, markdown, masked
from .postgres_url import PostgresAddress, postgres_address
from .sections import (
    AuthSettings,
    ClientSettings,
    DatabaseSettings,
    HttpSettings,
    IngestSettings,
    LocalSettings,
    LogSettings,
    QuerySettings,
    RedisSettings,
    RepairSettings,
    TelemetrySettings,
    WorkerSettings,
)
from .tree import Settings, SettingsError, load

__all__ = [
    "AuthSettings",
    "ClientSettings",
    "DatabaseSettings",
    "HttpSettings",
    "IngestSettings",
    "LocalSettings",
    "LogSettings",
    "PostgresAddress",
    "QuerySettings",
    "RedisSettings",
    "RepairSettings",
    "Scattered",
    "Settings",
    "SettingsError",
    "TelemetrySettings",
    "WorkerSettings",
    "describe",
    "load",
    "markdown",
    "masked",
    "postgres_address",
]
