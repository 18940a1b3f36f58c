"""The section `local`."""

from pathlib import Path

from pydantic import PositiveInt

from .section import MIB, Section, setting

__all__ = ["LocalSettings"]


class LocalSettings(Section):
    """The one-machine stack of `millrace up`."""

    data_dir: Path = setting(Path(".millrace"), "Folder of the embedded servers' data.")
    redis_port: int = setting(16379, "Port of the embedded Valkey.", "", ge=1, le=65535)
    postgres_port: int = setting(15432, "Port of the embedded PostgreSQL.", "", ge=1, le=65535)
    workers: PositiveInt = setting(1, "Worker processes.", "processes")
    maxmemory: PositiveInt = setting(1024 * MIB, "Memory limit of the embedded Valkey.", "bytes")
