"""Discovery of the stream's server: connections ask Sentinels for the primary, or a cluster for the slot's node.

redis-py's own classes do not fit. Its SentinelManagedConnection asks only when a pool hands it out, so a client that
keeps to one connection would go on calling the primary of before; its RedisCluster has no such client at all, and
WAITAOF speaks of one connection. All keys of a stream stand in one slot, so one node is enough.

This module alone reaches into redis-py's connections; a test names the version that it was made for.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from ..settings import Discovery

__all__ = ["Fit", "FollowingPool", "Server", "losable", "server_of"]

log = structlog.get_logger(__name__)

Server = tuple[str, int]
"""Host and port."""

Fit = Callable[[Server], bool]
"""Tells whether a server may be written to."""

_LONGEST_QUESTION = 1.0
"""Seconds for one seed: the next may know."""
_HOPS = 5
_LOST = (ReadOnlyError, MovedError, ClusterDownError)
"""What a server answers that has the stream no more. Nothing of the command was done."""


def server_of(client: Redis) -> Server | None:
    """Return the server that a client has found last; None where its URL names one, or nothing was found yet."""
    pool = client.connection_pool
    return pool.server if isinstance(pool, FollowingPool) else None


class FollowingPool(ConnectionPool):
    """Connections to one server at a time, the one that was found last.

    Attributes:
        server: that one, None before the first.
    """

    def __init__(self, discovery: Discovery, key: str, fit: Fit | None, options: dict[str, Any]) -> None:
        """Find nothing yet.

        Args:
            discovery: whom to ask, and how to log in.
            key: whose slot's node is meant, in a cluster.
            fit: a server that it says no to is not connected to.
            options: of each connection.
        """
        known: dict[str, Any] = {**options, **parse_url(discovery.server_url)}
        super().__init__(_followed(known.pop("connection_class", Connection)), **known)
        self.connection_kwargs["following"] = weakref.proxy(self)
        self.server: Server | None = None
        self.primary = discovery.primary
        self._key = key
        self._fit = fit
        self._seeds = list(discovery.seeds)
        questions: dict[str, Any] = {**options, **parse_url(discovery.seed_url)}
        timeout = min(_LONGEST_QUESTION, options["socket_connect_timeout"])
        questions |= {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
        self._question_options = questions

    async def find(self) -> Server:
        """Return where the stream's server is. Where that is another one than before, leave the one before.

        Raises:
            redis.exceptions.ConnectionError: nobody knows, or it is not fit.
        """
        found = await self._ask_all()
        if self._fit and not self._fit(found):
            raise RedisConnectionError(f"{found[0]}:{found[1]} has the stream now and was not judged yet")
        if found != self.server:
            if self.server:
                log.warning("the stream has another server", action="follow", server=f"{found[0]}:{found[1]}")
            self.server = found
            await self.disconnect()
        return found

    async def _ask_all(self) -> Server:
        problems = []
        for seed in self._seeds:
            try:
                found = await (self._ask_sentinel(seed) if self.primary else self._ask_node(seed))
            except (RedisError, OSError) as error:
                problems.append(f"{seed[0]}:{seed[1]}: {error}")
            else:
                # Who knew is asked first the next time.
                self._seeds.sort(key=seed.__ne__)
                return found
        meant = f"the primary {self.primary}" if self.primary else "the stream's node"
        raise RedisConnectionError(f"nobody tells where {meant} is: {'; '.join(problems)}")

    async def _ask_sentinel(self, seed: Server) -> Server:
        found = await self._question(seed, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.primary)
        if not found:
            raise RedisConnectionError("it knows no primary of that name")
        host, port = found
        return host.decode(), int(port)

    async def _ask_node(self, node: Server) -> Server:
        """Ask for the key, and ask on where that leads, until a node has its slot."""
        for _ in range(_HOPS):
            try:
                await self._question(node, "EXISTS", self._key)
            except MovedError as moved:
                # A node that does not know its own name leaves it out.
                node = (moved.host or node[0], moved.port)
            else:
                return node
        raise RedisConnectionError("the cluster's nodes point to each other")

    async def _question(self, server: Server, *command: str) -> Any:
        host, port = server
        pool = ConnectionPool(**{**self._question_options, "host": host, "port": port})
        try:
            return await Redis(connection_pool=pool).execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await pool.aclose()


class _Following(Connection):
    """Asks for its server each time it connects, and leaves one that has lost the stream."""

    def __init__(self, **options: Any) -> None:
        self._pool: FollowingPool = options.pop("following")
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = await self._pool.find()
        await super()._connect()  # type: ignore[no-untyped-call]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        if self._pool.primary:
            # Sentinels may lag behind, and a replica would answer what is only read.
            await self.send_command("INFO", "replication", check_health=False)
            if b"role:master" not in await self.read_response():
                raise RedisConnectionError(f"{self.host}:{self.port} is not the primary yet, or no more")

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            if isinstance(error, _LOST) or "instance state changed" in str(error):
                await self.disconnect(nowait=True)
                raise RedisConnectionError(f"{self.host}:{self.port} has lost the stream: {error}") from error
            raise


class _FollowingTls(_Following, SSLConnection):
    """The same by TLS."""


def _followed(kind: type[Connection]) -> type[Connection]:
    return _FollowingTls if issubclass(kind, SSLConnection) else _Following


def losable(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return the same sort of connection, which counts one that is closed already as lost."""
    return type("_Connection", (_Losable, kind), {})


class _Losable(AbstractConnection):
    """Counts a connection that is closed already as lost: uvloop refuses to write to it by a RuntimeError."""

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)
        except RuntimeError as error:
            raise ConnectionResetError(str(error)) from error
