"""Whether `/hourly` stays right while rows change beside a proof's load: by SQL, deletions, late readings, retention.

It has sensors of its own, so that nothing that the load was promised is touched. Rows of 100 days ago are dropped at
the beginning, and late ones are sent there: their hours must stay as they were. All others must be what their rows say.
"""

import asyncio
import contextlib
import operator
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from rich.table import Table
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from services.contract import keyed_id
from services.platform.postgres.capability import capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_FAILURES, DatabaseRefusedError
from services.platform.settings import Settings
from services.sender.deletions import DeletionRequest, request_deletion

from .harness import settled

__all__ = ["Changes", "HourlyVerdict", "hourly_table"]

_SENSORS = [f"changed-{number}" for number in range(1, 9)]

_HISTORY = """
insert into sensor_data (timestamp, sensor_id, value)
select at, sensor, random()
from generate_series($1::timestamptz, $1::timestamptz + interval '1 day', '17 minutes') at, unnest($2::text[]) sensor
"""
# Each takes a sensor, an instant and a number of hours.
_BY_HAND = (
    """
    delete from sensor_data
    where sensor_id = $1 and timestamp >= $2 and timestamp < $2 + $3 * interval '1 hour'
    """,
    """
    update sensor_data set value = value + 1
    where sensor_id = $1 and timestamp >= $2 and timestamp < $2 + $3 * interval '1 hour'
    """,
    """
    insert into sensor_data (timestamp, sensor_id, value)
    select at, $1::text, 5 from generate_series($2::timestamptz, $2 + $3 * interval '1 hour', '50 minutes') at
    """,
)
# No trigger notes on a Citus cluster what is done by hand.
_NOTE = """
insert into late_ranges (range_start, range_end)
values (date_bin('1 hour', $1, '2000-01-03Z'), date_bin('1 hour', $2, '2000-01-03Z') + interval '1 hour')
"""
# Not to now: the watermark must not pass rows that the load is about to send.
_MATERIALISE = "call refresh_continuous_aggregate('measurement_hourly', null, now() - interval '20 days')"
_DROP = "select drop_chunks('sensor_data', older_than => interval '90 days')"
_KEPT = """
select sensor_id, bucket, avg, min, max, samples from measurement_hourly
where bucket < now() - interval '91 days' and sensor_id = any($1) order by 1, 2
"""
_TRUTH = """
select date_trunc('hour', timestamp, 'UTC'), avg(value), min(value), max(value), count(*)
from sensor_data where sensor_id = $1 and timestamp >= $2 group by 1 order by 1
"""

_UNDELETED = "select count(*) from deletions where finished_at is null"
_DELETED_WITHIN = 60.0


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, DatabaseRefusedError) and getattr(error, "sqlstate", None) == "55P03"


_UNTIL_UNLOCKED = AsyncRetrying(
    retry=retry_if_exception(_is_locked), stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True
)


@dataclass(frozen=True, slots=True)
class HourlyVerdict:
    """How the hours stood in the end.

    Attributes:
        changes: how many changes were made before.
        sensors: how many sensors' hours were held against their rows.
        wrong: those of them whose hours were wrong.
        kept: whether the hours behind retention were as before.
        undeleted: deletions that were taken and not carried out.
    """

    changes: int
    sensors: int
    wrong: tuple[str, ...]
    kept: bool
    undeleted: int

    @property
    def clean(self) -> bool:
        """Whether something was changed, and every hour was right."""
        return self.changes > 0 and self.sensors > 0 and not self.wrong and self.kept and not self.undeleted


@dataclass(slots=True)
class Changes:
    """The changes of one run, and what must hold after it.

    Attributes:
        settings: of the stack; `ingest` and `query` are asked by HTTP.
        dice: draws what is done.
        keys: Idempotency-Keys of what was sent, whose ledger rows are not the load's.
        done: how many changes of each kind were made.
    """

    settings: Settings
    dice: random.Random
    keys: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    _began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _kept: Sequence[Any] = ()
    _spread: bool = False
    _unsure: list[tuple[datetime, datetime]] = field(default_factory=list)

    async def begin(self) -> None:
        """Fill a history, materialise it and drop its oldest part, before anything is broken."""
        owner = await self._owner()
        try:
            able = await capability(owner)
            full, self._spread = able.edition == "full", able.spread
            for days in (100, 30):
                start = self._began - timedelta(days=days)
                await self._noted(owner, (start, start + timedelta(days=1)), _HISTORY, start, _SENSORS)
            if full:
                for statement in (_MATERIALISE, "select note_dropped_ranges()", _DROP):
                    # The repair loop has seen the history too, and may be refreshing it.
                    await _UNTIL_UNLOCKED(owner.execute, statement)
                self._kept = await owner.fetch(_KEPT, _SENSORS)
        finally:
            await owner.close()

    async def run(self) -> None:
        """Change something again and again, for ever; a database that is away is waited for."""
        while True:
            kind = self.dice.choice(("sql", "sql", "send", "send behind retention", "deletion", "retention"))
            with contextlib.suppress(*DATABASE_FAILURES, httpx.HTTPError):
                await self._change(kind)
                self.done[kind] = self.done.get(kind, 0) + 1
            await asyncio.sleep(self.dice.uniform(0.1, 0.6))

    @property
    def batch_ids(self) -> list[Any]:
        """Return the ledger's names of what was sent."""
        return [keyed_id("", key) for key in self.keys]

    async def judge(self) -> HourlyVerdict:
        """Hold the hours of every sensor against the rows, and those behind retention against what they were.

        Raises:
            DATABASE_FAILURES, httpx.HTTPError: a server is away.
        """
        owner = await self._owner()
        url = f"http://127.0.0.1:{self.settings.query.port}"
        wrong = []
        since = self._began - timedelta(days=60)
        try:
            await self._note_unsure(owner)
            undeleted = await self._undeleted(owner)
            sensors = [row[0] for row in await owner.fetch("select distinct sensor_id from sensor_data order by 1")]
            async with httpx.AsyncClient(base_url=url, timeout=60) as query:
                for sensor in sensors:
                    answer = await query.get("/hourly", params={"sensor_id": sensor, "start": since.isoformat()})
                    hours = answer.raise_for_status().json()
                    first = since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
                    if not _same(hours, await owner.fetch(_TRUTH, sensor, first)):
                        wrong.append(sensor)
            kept = await owner.fetch(_KEPT, _SENSORS) if self._kept else ()
            return HourlyVerdict(sum(self.done.values()), len(sensors), tuple(wrong), kept == self._kept, undeleted)
        finally:
            await owner.close()

    async def _undeleted(self, owner: Connection) -> int:
        """Return how many deletions are not carried out, once they should be."""
        return int(await settled(lambda: owner.fetchval(_UNDELETED), operator.not_, _DELETED_WITHIN))

    async def _change(self, kind: str) -> None:
        sensor, now = self.dice.choice(_SENSORS), datetime.now(UTC)
        at = now - timedelta(days=self.dice.choice((1, 29.5, 30)), hours=self.dice.uniform(0, 20))
        if kind.startswith("send"):
            behind = kind == "send behind retention"
            await self._send(
                sensor, self._began - timedelta(days=100, hours=-self.dice.uniform(1, 20)) if behind else at
            )
            return
        if kind == "deletion":
            await self._delete(sensor, at)
            return
        owner = await self._owner()
        try:
            await (owner.execute(_DROP) if kind == "retention" else self._by_hand(owner, sensor, at))
        finally:
            owner.terminate()

    async def _by_hand(self, owner: Connection, sensor: str, at: datetime) -> None:
        hours = self.dice.uniform(0, 5)
        await self._note_unsure(owner)
        await self._noted(owner, (at, at + timedelta(hours=hours)), self.dice.choice(_BY_HAND), sensor, at, hours)

    async def _noted(self, owner: Connection, span: tuple[datetime, datetime], *statement: Any) -> None:
        """Change rows of a span and note it where no trigger does, once more later where the commit is not answered."""
        if not self._spread:
            await owner.execute(*statement)
            return
        self._unsure.append(span)
        async with owner.transaction():
            await owner.execute(_NOTE, *span)
            await owner.execute(*statement)
        self._unsure.remove(span)

    async def _note_unsure(self, owner: Connection) -> None:
        """Note what somebody may have changed whose commit was not answered."""
        for span in list(self._unsure):
            await owner.execute(_NOTE, *span)
            self._unsure.remove(span)

    async def _send(self, sensor: str, at: datetime) -> None:
        key = f"change-{len(self.keys)}"
        self.keys.append(key)
        body = [{"sensor_id": sensor, "timestamp": at.isoformat(), "value": self.dice.uniform(0, 1)}]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.settings.ingest.port}") as ingest:
            await ingest.post("/ingest", json=body, headers={"Idempotency-Key": key})

    async def _delete(self, sensor: str, at: datetime) -> None:
        end = at + timedelta(hours=self.dice.uniform(0, 3))
        wanted = DeletionRequest([sensor], at.isoformat(), end.isoformat(), "proved")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.settings.ingest.admin_port}") as admin:
            (await request_deletion(admin, wanted)).raise_for_status()

    async def _owner(self) -> Connection:
        database = self.settings.database
        return await Connector(database.owner_url, database, lock_timeout=5000, statement_timeout=20_000).session()


def hourly_table(changes: Changes, hours: HourlyVerdict) -> Table:
    """Return what was changed beside the load, and how the hours stood in the end."""
    table = Table("change", "how often", title="hours")
    for kind, count in sorted(changes.done.items()):
        table.add_row(kind, f"{count:,}")
    table.add_section()
    table.add_row("sensors whose hours are what their rows say", f"{hours.sensors - len(hours.wrong):,}")
    table.add_row("sensors with wrong hours", ", ".join(hours.wrong) or "none")
    table.add_row("deletions not carried out", f"{hours.undeleted:,}")
    table.add_row("hours behind retention", "as they were" if hours.kept else "CHANGED")
    return table


def _same(hours: Sequence[Any], truth: Sequence[Any]) -> bool:
    """Tell whether an answer of `/hourly` is what the rows give; an average is a sum in some order."""
    return len(hours) == len(truth) and all(
        datetime.fromisoformat(hour["timestamp"]) == at
        and abs(hour["avg"] - avg) <= 1e-9 * max(abs(low), abs(high))
        and (hour["min"], hour["max"], hour["samples"]) == (low, high, count)
        for hour, (at, avg, low, high, count) in zip(hours, truth, strict=True)
    )
