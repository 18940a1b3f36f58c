"""Clients of the stream's server, and what that server promises."""

import enum
import time
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from services.contract import StreamNames

from ..settings import RedisSettings
from .discovery import Fit, FollowingPool, losable

__all__ = [
    "STREAM_ERRORS",
    "Durability",
    "answers_nothing",
    "durability",
    "fsyncs_each",
    "is_misused",
    "names_of",
    "redis_client",
    "said",
    "settings_problem",
    "takes_no_writes",
    "waitaof_holds",
]

_LONGEST_FSYNC = 3.0
_SHORTEST_WAIT = 0.5

STREAM_ERRORS = (RedisError, OSError, TimeoutError)
"""What a command on the stream can raise when the server is away, loading, full or read-only."""


_TAKES_NO_WRITES = {
    "OOM": "it is out of memory",
    "READONLY": "it is a read-only replica",
    "MISCONF": "its disk fails (MISCONF)",
    "NOREPLICAS": "fewer replicas follow it than its min-replicas-to-write wants (NOREPLICAS)",
}
_ANSWERS_NOTHING = {
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it is a replica and has lost its primary (MASTERDOWN)",
    "CLUSTERDOWN": "its cluster is down (CLUSTERDOWN)",
}
# Of these the client takes the sign off the server's words.
_NAMED = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    BusyLoadingError: "LOADING",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
}


def takes_no_writes(error: BaseException) -> str | None:
    """Return why a server that is there takes no writes, None where that is not what the error says."""
    return _TAKES_NO_WRITES.get(_sign(error))


def answers_nothing(error: BaseException) -> str | None:
    """Return why a server that is there answers nothing about data, None where that is not what the error says."""
    return _ANSWERS_NOTHING.get(_sign(error))


def said(error: BaseException) -> str | None:
    """Return what the server itself says, None where it says nothing and the client's library speaks."""
    return str(error) if isinstance(error, ResponseError | AuthenticationError) else None


def _sign(error: BaseException) -> str:
    """Return the sign by which a server says what state it is in, "" where it says none."""
    if type(error) in _NAMED:
        return _NAMED[type(error)]
    words = str(error) if isinstance(error, ResponseError) else ""
    return next((sign for sign in (*_TAKES_NO_WRITES, *_ANSWERS_NOTHING) if sign in words), "")


def is_misused(error: BaseException) -> bool:
    """Tell whether a key of the stream holds what does not belong there; the error's words say which."""
    return isinstance(error, ResponseError) and str(error).startswith("MISUSED")


class Durability(enum.Enum):
    """How a write is known to be on disk."""

    REPLY = "appendfsync always: the reply is the proof"
    WAITAOF = "asked by WAITAOF after each write"
    NONE = "neither appendfsync always nor WAITAOF"


def names_of(settings: RedisSettings) -> StreamNames:
    """Return the names of the stream and of all beside it."""
    found = settings.discovery
    options: Any = parse_url(found.server_url if found else settings.url.get_secret_value())
    return StreamNames(settings.stream, options.get("db", 0))


def redis_client(
    settings: RedisSettings, *, patience: float = 0.0, single: bool = False, fit: Fit | None = None
) -> Redis:
    """Return a client; nothing connects before the first command.

    Where the URL names Sentinels or a cluster, each connection asks where the stream's server is, and asks again when
    that server is gone or has lost the stream to another one.

    Args:
        settings: where the server is.
        patience: seconds a reply may take beyond the command timeout, for reads that block.
        single: keep to one connection and try nothing twice, so that WAITAOF speaks of the writes before it.
        fit: asked before a server that was found so is connected to; where it is not fit, that fails.
    """
    options = {
        "protocol": 2,
        "socket_timeout": settings.timeout + patience,
        "socket_connect_timeout": settings.timeout,
        "socket_keepalive": True,
        "health_check_interval": 0,
        # A lost connection is tried once more, as after a server's restart; a slow server is not.
        "retry": Retry(
            ExponentialBackoff(cap=0.2, base=0.05), 0 if single else 1, supported_errors=(RedisConnectionError,)
        ),
    }
    pool = (
        FollowingPool(settings.discovery, settings.stream, fit, options)
        if settings.discovery
        else ConnectionPool.from_url(settings.url.get_secret_value(), **options)
    )
    pool.connection_class = losable(pool.connection_class)
    client = Redis(connection_pool=pool, single_connection_client=single)
    client.auto_close_connection_pool = True
    return client


async def durability(client: Redis, replicas: int = 0) -> Durability:
    """Tell how the server proves that a write is on its disk, and on those of so many replicas.

    Servers that hide CONFIG are asked through INFO and WAITAOF alone.

    Raises:
        redis.exceptions.RedisError: the server is away.
    """
    info = await client.info("persistence")
    if int(info.get("loading", 0)):
        # It says that it has no append-only file while it reads it.
        raise BusyLoadingError("the server is loading its data")
    if not int(info.get("aof_enabled", 0)):
        return Durability.NONE
    if not replicas and await fsyncs_each(client):
        return Durability.REPLY
    try:
        await client.execute_command("WAITAOF", 0, 0, 1)  # type: ignore[no-untyped-call]
    except ResponseError:
        return Durability.NONE
    return Durability.WAITAOF


async def fsyncs_each(client: Redis) -> bool:
    """Tell whether the server is known to fsync each write before it answers.

    Raises:
        redis.exceptions.RedisError: the server is away.
    """
    return await _config(client, "appendfsync") == "always"


async def waitaof_holds(client: Redis, key: str) -> bool:
    """Tell whether WAITAOF waits for the disk, where each second is fsynced; it takes about three seconds.

    `key` is written, and expires.

    Several versions answer before (github.com/redis/redis/pull/13793 tells why; Valkey 9.1 does it too). One fsync
    begins a second after the other, so an answer that comes at once behind an answer is untrue.

    Raises:
        redis.exceptions.RedisError: the server is away.
    """
    waits = []
    for _ in range(3):
        began = time.monotonic()
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.set(key, "written to see whether WAITAOF waits", ex=60)
            pipeline.execute_command("WAITAOF", 1, 0, int(1000 * _LONGEST_FSYNC))
            await pipeline.execute()
        waits.append(time.monotonic() - began)
    return min(waits[1:]) > _SHORTEST_WAIT


async def settings_problem(client: Redis) -> str | None:
    """Return why the server must not be trusted with the stream, or None.

    Raises:
        redis.exceptions.RedisError: the server is away.
    """
    policy = await _config(client, "maxmemory-policy") or (await client.info("memory")).get("maxmemory_policy")
    if policy not in {None, "noeviction"}:
        return f"its maxmemory-policy is {policy}, which drops the whole stream when memory runs out; set noeviction"
    return None


async def _config(client: Redis, name: str) -> str | None:
    try:
        found = await client.config_get(name)
    except ResponseError:
        return None
    return {_text(key): _text(value) for key, value in found.items()}.get(name)


def _text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
