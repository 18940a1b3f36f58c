"""`millrace prove-cluster`: a release under load, its pods deleted at random, and the verdict."""

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from lightkube.core.exceptions import ApiError
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from services.platform.kubernetes import API_ERRORS, connect
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.runtime.starting import StartError
from services.platform.settings import DatabaseSettings, Settings

from .harness import beside, loaded, once_back, proof_table, settled, show
from .release import Release, forwarded, through
from .verdict import Verdict, judge

__all__ = ["Target", "run_prove_cluster"]

_DRAINED_WITHIN = 300.0
_BACK_WITHIN = 120.0
_POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True)
class Target:
    """Which release is proved, and the addresses of ingest and database; None is by a forwarded port.

    `cluster` is the name of CloudNativePG's Cluster that is its database, None where there is none.
    """

    namespace: str
    release: str
    ingest: str | None
    database: str | None
    cluster: str | None


def run_prove_cluster(settings: Settings, target: Target, minutes: float, seed: int | None) -> bool:
    """Run the proof against the cluster of KUBECONFIG's current context; tell whether the promise was kept.

    Raises:
        StartError: there is no such release, it holds readings already, or the cluster refuses.
    """
    journal = (settings.local.data_dir / "prove-cluster" / "journal").resolve()
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_bytes(b"")
    try:
        return asyncio.run(_proved(settings, target, minutes, secrets.randbits(32) if seed is None else seed, journal))
    except API_ERRORS as error:
        raise StartError(f"the cluster: {error}") from None


async def _proved(settings: Settings, target: Target, minutes: float, seed: int, journal: Path) -> bool:
    client = connect(target.namespace)
    try:
        proof = ClusterProof(Release(client, target.namespace, target.release, target.cluster), seed, journal)
        async with contextlib.AsyncExitStack() as ways:
            verdict = await proof.run(*await _ways(ways, proof.release, target, settings), minutes * 60)
    finally:
        await client.aclose()
    Console().print(proof.table(verdict))
    return verdict.clean


async def _ways(
    ways: contextlib.AsyncExitStack, release: Release, target: Target, settings: Settings
) -> tuple[str, str, DatabaseSettings]:
    """Return the addresses of ingest and of a worker, and how to read the database."""

    async def way(component: str) -> int:
        found = await release.service_port(component)
        if found is None:
            raise StartError(
                f"there is no release {target.release} with {component} in namespace {target.namespace}; "
                "say --namespace and --release as in `helm list --all-namespaces`"
            )
        return await ways.enter_async_context(forwarded(target.namespace, found.service, found.port))

    worker = f"http://127.0.0.1:{await way('worker')}"
    ingest = target.ingest or f"http://127.0.0.1:{await way('ingest')}"
    url = target.database
    if url is None and target.cluster:
        # Its pooler may be what the reader's URL names; the forwarded port leads to the primary itself.
        port = await ways.enter_async_context(forwarded(target.namespace, f"{target.cluster}-rw", _POSTGRES_PORT))
        url = through(await release.reader_url(), port)
    elif url is None:
        if await release.service_port("timescaledb") is None:
            raise StartError("the release's database is not its own: say --database with the reading role's URL")
        url = through(await release.reader_url(), await way("timescaledb"))
    return ingest, worker, settings.database.model_copy(update={"reader_url": SecretStr(url)})


class ClusterProof:
    """One run: its faults and what it has seen."""

    def __init__(self, release: Release, seed: int, journal: Path) -> None:
        self.release = release
        self._seed = seed
        self._journal = journal
        self._dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._faults: Counter[tuple[str, str]] = Counter()
        self._components: list[str] = []
        # Who is next: each once, in an order of its own, before anyone again.
        self._turns: list[str] = []
        self._waiting: int | None = None
        self._ends_at = 0.0

    async def run(self, ingest: str, worker: str, database: DatabaseSettings, seconds: float) -> Verdict:
        """Load by `ingest` and break for `seconds`, then let everything drain and judge.

        Raises:
            StartError: the table holds readings already, or the release has no pods.
            ApiError: the API server refuses.
        """
        console = Console(stderr=True)
        console.print(f"namespace {self.release.namespace}, release {self.release.name}, seed {self._seed}")
        before = await _once_there(self._journal, database)
        if before.stored:
            raise StartError(
                f"sensor_data holds {before.stored:,} rows; the proof counts its own and needs an empty table: "
                "take a release of its own, or truncate sensor_data"
            )
        self._components = list(await self.release.pods())
        self._ends_at = time.monotonic() + seconds
        async with httpx.AsyncClient(base_url=worker, timeout=5.0) as asking:
            showing = show(console, self._line, lambda: self._entries(asking), lambda: self.table(None))
            async with loaded(ingest, self._journal), beside(showing):
                while (left := self._ends_at - time.monotonic()) > 0:
                    await self._break_something(left)
            # What is not drained by five minutes counts as lost.
            await settled(lambda: self._entries(asking), lambda entries: entries == 0, _DRAINED_WITHIN)
        verdict = await _once_there(self._journal, database)
        return replace(verdict, refused=verdict.refused - before.refused)

    async def _break_something(self, left: float) -> None:
        await asyncio.sleep(min(left, self._dice.uniform(1.0, 8.0)))
        if not self._turns:
            self._turns = self._dice.sample(self._components, len(self._components))
        component, how = self._turns.pop(), self._dice.choice(("killed", "asked to leave"))
        try:
            pods = (await self.release.pods()).get(component)
            if pods:
                pod = self._dice.choice(pods)
                await (self.release.kill(pod) if how == "killed" else self.release.evict(pod))
                self._faults[component, how] += 1
        except API_ERRORS as error:
            # A pod that has gone by itself, an API server that is away for a moment: the next fault is soon.
            if is_refusal(error):
                raise

    async def _entries(self, asking: httpx.AsyncClient) -> int | None:
        try:
            waiting = (await asking.get("/backlog")).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            self._waiting = None
            return None
        self._waiting = waiting["rows"]
        entries: int = waiting["entries"]
        return entries

    def _line(self) -> str:
        return f"{sum(self._faults.values())} pods deleted, {self._ends_at - time.monotonic():.0f} s left"

    def table(self, verdict: Verdict | None) -> Table:
        """Return the faults so far, and the verdict where there is one."""
        faults = []
        for component in self._components:
            killed, asked = (self._faults[component, how] for how in ("killed", "asked to leave"))
            faults.append((component, f"killed {killed}, asked to leave {asked}"))
        waiting = "no worker answers" if self._waiting is None else f"{self._waiting:,}"
        return proof_table(self._seed, faults, waiting, self._ends_at, verdict)


def is_refusal(error: Exception) -> bool:
    """Tell whether the API server refuses for good, as where deleting pods is not allowed."""
    return isinstance(error, ApiError) and error.response.status_code in {401, 403}


async def _once_there(journal: Path, database: DatabaseSettings) -> Verdict:
    """Judge as soon as the database answers: ways to it take a moment."""
    try:
        return await once_back(_BACK_WITHIN, judge, journal, database)
    except DATABASE_AWAY as error:
        raise StartError(f"the database cannot be reached: {error}") from None
