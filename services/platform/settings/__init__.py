"""The one settings tree: defaults here, changed by environment variables, documented from itself.

``MILLRACE_<SECTION>_<NAME>`` sets ``section.name``; the environment wins over the default. Unknown names with
the prefix are refused, so that a misspelt setting never passes unseen.
"""

from .addresses import Discovery
from .auth import AuthSettings
from .client import ClientSettings
from .database import DatabaseSettings
from .describe import describe, markdown, masked
from .http import HttpSettings
from .ingest import IngestSettings
from .local import LocalSettings
from .log import LogSettings
from .mqtt import MqttSettings
from .postgres_url import PostgresAddress, postgres_address
from .query import QuerySettings
from .redis import RedisSettings
from .repair import RepairSettings
from .telemetry import TelemetrySettings
from .tier import TierSettings
from .tree import Settings, SettingsError, load
from .worker import WorkerSettings

__all__ = [
    "AuthSettings",
    "ClientSettings",
    "DatabaseSettings",
    "Discovery",
    "HttpSettings",
    "IngestSettings",
    "LocalSettings",
    "LogSettings",
    "MqttSettings",
    "PostgresAddress",
    "QuerySettings",
    "RedisSettings",
    "RepairSettings",
    "Settings",
    "SettingsError",
    "TelemetrySettings",
    "TierSettings",
    "WorkerSettings",
    "describe",
    "load",
    "markdown",
    "masked",
    "postgres_address",
]
