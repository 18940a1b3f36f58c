"""Several Valkeys that stand for one: a primary and its replica behind Sentinels, and a cluster of three."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from services.local.valkey import ValkeyServer

from .patience import eventually, free_port

__all__ = ["PASSWORD", "Node", "Sentinel", "alone", "clustered", "guarded", "owner"]

MEMORY = 256 * 1024 * 1024
PASSWORD = "secret"
SENTINEL_PASSWORD = "of-the-sentinels"
SENTINEL = """\
bind 127.0.0.1
port {port}
dir "{folder}"
requirepass {word}
sentinel sentinel-pass {word}
sentinel monitor mymaster 127.0.0.1 {primary} 2
sentinel auth-pass mymaster {password}
sentinel down-after-milliseconds mymaster 1000
sentinel failover-timeout mymaster 6000
"""


class Node(ValkeyServer):
    """A Valkey with more lines in its configuration."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        super().__init__(folder / "valkey", self.port, PASSWORD, MEMORY)
        self._config += "\n".join((f"masterauth {PASSWORD}", *lines, ""))

    async def ask(self, *command: object) -> Any:
        """Return the server's reply to a command."""
        async with Redis.from_url(self.url, protocol=2, decode_responses=True) as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def kill(self) -> None:
        """Kill the server."""
        assert self.process
        self.process.kill()
        await self.ended()


class Sentinel(Node):
    """A Sentinel that watches `mymaster`."""

    def __init__(self, folder: Path, primary: int) -> None:
        super().__init__(folder)
        self.url = f"redis://:{SENTINEL_PASSWORD}@127.0.0.1:{self.port}"
        self._config = SENTINEL.format(
            port=self.port,
            folder=self.folder,
            word=SENTINEL_PASSWORD,
            primary=primary,
            password=PASSWORD,
        )

    async def _launch(self, command: Sequence[str | Path], *_: object) -> None:
        await super()._launch([*command, "--sentinel"])


@contextlib.asynccontextmanager
async def alone(folder: Path) -> AsyncIterator[str]:
    """Yield the address of a primary without a replica, which one Sentinel watches."""
    primary = Node(folder / "primary")
    sentinel = Sentinel(folder / "sentinel", primary.port)
    try:
        await primary.start()
        await sentinel.start()
        yield _address([sentinel])
    finally:
        await asyncio.gather(primary.stop(), sentinel.stop())


@contextlib.asynccontextmanager
async def guarded(folder: Path, *lines: str) -> AsyncIterator[tuple[list[Node], list[Sentinel], str]]:
    """Yield a primary with its replica, three Sentinels and the address; the replica's configuration has `lines`."""
    primary = Node(folder / "primary")
    replica = Node(folder / "replica", f"replicaof 127.0.0.1 {primary.port}", *lines)
    sentinels = [Sentinel(folder / f"sentinel-{number}", primary.port) for number in range(3)]
    servers = [primary, replica, *sentinels]
    try:
        for server in servers:
            await server.start()

        async def complete() -> bool:
            flat = [await each.ask("SENTINEL", "MASTER", "mymaster") for each in sentinels]
            states = [dict(zip(each[::2], each[1::2], strict=True)) for each in flat]
            return all((state["num-slaves"], state["num-other-sentinels"]) == ("1", "2") for state in states)

        await eventually(complete, 60)
        await eventually(lambda: _in_step(primary), 60)
        yield [primary, replica], sentinels, _address(sentinels)
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


def _address(sentinels: Sequence[Sentinel]) -> str:
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
    return f"redis+sentinel://:{PASSWORD}@{hosts}/mymaster/0?sentinel_password={SENTINEL_PASSWORD}"


async def _in_step(primary: Node) -> bool:
    """Tell whether the primary's one replica has all that the primary has."""
    info = await primary.ask("INFO", "replication")
    return bool(info.get("slave0", {}).get("offset") == info["master_repl_offset"])


@contextlib.asynccontextmanager
async def clustered(folder: Path, *, replicated: str = "") -> AsyncIterator[tuple[list[Node], str]]:
    """Yield a cluster of three primaries and its address; a fourth node is the replica of a key's, if one is given."""
    lines = ("cluster-enabled yes", "cluster-node-timeout 1000", "cluster-replica-validity-factor 0")
    nodes = [Node(folder / f"node-{number}", *lines) for number in range(4 if replicated else 3)]
    try:
        for node in nodes:
            await node.start()
        for number, node in enumerate(nodes[:3]):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", number * 16384 // 3, (number + 1) * 16384 // 3 - 1)
        for number, node in enumerate(nodes):
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            await node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)

        async def sound() -> bool:
            states = [await node.ask("CLUSTER", "INFO") for node in nodes]
            known = f"cluster_known_nodes:{len(nodes)}\r"
            return all("cluster_state:ok" in state and known in state for state in states)

        await eventually(sound, 60)
        if replicated:
            kept = await owner(nodes, replicated)
            await nodes[-1].ask("CLUSTER", "REPLICATE", await kept.ask("CLUSTER", "MYID"))
            await eventually(lambda: _in_step(kept), 60)
        yield nodes, f"redis+cluster://:{PASSWORD}@127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def owner(nodes: Sequence[Node], key: str) -> Node:
    """Return the node that has a key's slot."""
    slot = await nodes[0].ask("CLUSTER", "KEYSLOT", key)
    shards = await nodes[0].ask("CLUSTER", "SLOTS")
    [port] = [shard[2][1] for shard in shards if shard[0] <= slot <= shard[1]]
    return next(node for node in nodes if node.port == port)
