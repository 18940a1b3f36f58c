"""The section `redis`: where the stream is, and how sure a write to it must be."""

from typing import Self

from pydantic import PositiveFloat, SecretStr, model_validator

from .addresses import Discovery, StreamUrl, discovery
from .section import Section, setting

__all__ = ["RedisSettings"]


class RedisSettings(Section):
    """The stream's server: Redis 7.2 or later, or Valkey."""

    url: StreamUrl = setting(
        SecretStr("redis://127.0.0.1:6379/0"),
        "Where the server is: redis://, rediss:// or unix://; behind Sentinels "
        "redis+sentinel://HOST:PORT,HOST:PORT/NAME/0, in a Redis Cluster redis+cluster://HOST:PORT,HOST:PORT; "
        "with rediss+ both speak TLS.",
    )
    stream: str = setting("sensor_stream", "Name of the stream; the keys beside it derive from it.")
    timeout: PositiveFloat = setting(5.0, "How long one command may take.", "s")
    allow_weak_durability: bool = setting(
        False,
        "Start although the server can neither fsync each write nor be asked by WAITAOF; "
        "`durable` then means no more than `queued`.",
    )
    durable_replicas: int = setting(
        0,
        "Replicas that must have fsynced a write as well before it is `durable`, by WAITAOF; "
        "from 1 on, a failover to the replica that is furthest loses nothing of it.",
        "replicas",
        ge=0,
    )

    @property
    def discovery(self) -> Discovery | None:
        """Where to ask for the server; None where the URL names it."""
        return discovery(self.url.get_secret_value())

    @model_validator(mode="after")
    def _one_slot(self) -> Self:
        found = self.discovery
        if found and not found.primary and set("{}") & set(self.stream):
            raise ValueError("in a cluster MILLRACE_REDIS_STREAM holds no braces: all its keys stand in one slot")
        return self
