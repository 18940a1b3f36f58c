"""A stack of its own for clients of others, behind a proxy that swallows answers, and trouble for a while."""

import asyncio
import contextlib
import random
import secrets
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from services.platform.settings import Settings
from tests.support import eventually
from tests.support.proxy import Proxy, proxied
from tests.support.readings import Row, sql
from tests.support.servers import installations
from tests.support.stack import RunningStack, stack_settings

SECONDS = 30
"""How long a client sends while the stack is in trouble."""

HEAD = """\
# What real clients come to

Written by `make test-clients`: each client sends for {seconds} seconds to a stack whose answers are swallowed, whose
connections are cut, and whose ingest and workers are killed in turns; then what is stored is counted.

| client | sent | lost | doubled |
|---|---|---|---|
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the option that `make test-clients` gives."""
    parser.addoption("--client-results", type=Path, help="file that takes the table of what the clients came to")


@dataclass(frozen=True, slots=True)
class Rough:
    """A stack that is troubled: clients reach its ingest through a proxy."""

    stack: RunningStack
    settings: Settings
    proxy: Proxy
    verdicts: list[str] = field(default_factory=list)

    def judge(self, client: str, sent: Sequence[Row], rows: Sequence[Row]) -> None:
        """Note what a client sent and what of it is stored, and fail where a reading is lost or doubled."""
        doubled = [row for row, count in Counter(rows).items() if count > 1]
        lost, foreign = set(sent) - set(rows), set(rows) - set(sent)
        self.verdicts.append(f"| {client} | {len(sent)} | {len(lost)} | {len(doubled)} |\n")
        assert len(sent) == len(set(sent)) > 0, "what is sent must tell whether it comes twice"
        assert (len(lost), len(doubled), foreign) == (0, 0, set()), f"lost, doubled and foreign of {len(sent)}"

    @property
    def url(self) -> str:
        """Where clients send to."""
        return f"http://127.0.0.1:{self.proxy.port}"

    @property
    def ingest(self) -> str:
        """Ingest itself, behind the proxy."""
        return f"http://127.0.0.1:{self.settings.ingest.port}"

    async def trouble(self, *others: Callable[[], Awaitable[None]]) -> None:
        """Swallow answers, cut connections, kill ingest and workers in turns, and what others do; end in calm."""
        seed = secrets.randbits(32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        end = asyncio.get_running_loop().time() + SECONDS
        every = [self._swallow, self._cut, self._kill_ingest, self._kill_worker, *others]
        ways = list(every)
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(dice.uniform(0.5, 2))
            ways = ways or list(every)
            await ways.pop(dice.randrange(len(ways)))()

    async def _swallow(self) -> None:
        self.proxy.swallows = True
        await asyncio.sleep(1.5)
        self.proxy.cut()
        self.proxy.swallows = False

    async def _cut(self) -> None:
        self.proxy.cut()

    async def _kill_ingest(self) -> None:
        self._kill("ingest")

    async def _kill_worker(self) -> None:
        self._kill("worker")

    def _kill(self, word: str) -> None:
        for child in self.stack.children(word):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)

    async def rows(self, *names: str) -> list[Row]:
        """Return the readings of all series of some names, their ids first, sorted."""
        query = """
        select d.sensor_id, (extract(epoch from d.timestamp) * 1000000)::bigint, d.value
        from sensor_data d join sensors s using (sensor_id) where s.name = any($1) order by 1, 2, 3
        """
        return [tuple(row) for row in await sql(self.settings.database, query, names)]

    async def settled(self, count: int, *names: str) -> list[Row]:
        """Return the readings of some names once there are `count`, or as they are after three minutes.

        A client whose requests took too long on a busy disk begins each of them anew.
        """

        async def there() -> bool:
            return len(await self.rows(*names)) >= count

        with contextlib.suppress(TimeoutError, AssertionError):
            await eventually(there, 180)
        await asyncio.sleep(2)
        return await self.rows(*names)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rough(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rough]:
    """The stack, with TimescaleDB where that is here."""
    folder = tmp_path_factory.mktemp("clients")
    there = installations()
    installation = there.get("timescaledb") or there["plain"]
    settings = stack_settings(folder / "data", installation.bin)
    async with RunningStack(settings, folder / "up.log") as stack, proxied("127.0.0.1", settings.ingest.port) as proxy:
        found = Rough(stack, stack.plan.settings, proxy)
        yield found
    if file := request.config.getoption("--client-results", None):
        file.write_text(HEAD.format(seconds=SECONDS) + "".join(sorted(found.verdicts)))


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of somebody else until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables or None,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
