"""Cases of the way out: each kind of question by HTTP against the same SQL by asyncpg, in turn."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from services.platform.postgres.connections import Connector
from services.query.plan import SQL

from ..asked import Question, bare, by_http
from ..case import Case, Options
from ..figures import Measures
from ..history import BUSY, fill, settle
from ..processes import peaks, reset_peaks, snapshot
from ..stack import Bench

__all__ = ["CASES"]

BELOW_ALL_IDS = -(1 << 63)
ASKED_SENSORS = 200
SECONDS = 3.0


@dataclass(slots=True)
class Questions:
    """The questions about one history, which `prepare` stores; every kind about many sensors."""

    kinds: dict[str, list[Question]] = field(default_factory=dict)
    busy: Question | None = None

    async def prepare(self, bench: Bench, options: Options) -> None:
        """Store the history and write the questions down."""
        past = await fill(bench, options.rows)
        await settle(bench, past)
        sensors = past.sensors[:ASKED_SENSORS]
        day = past.start + (past.end - past.start) / 3
        self.kinds = {
            "get_range, an hour": [_range(sensor, day, day + timedelta(hours=1)) for sensor in sensors],
            "get_range, a day": [_range(sensor, day, day + timedelta(days=1)) for sensor in sensors],
            "get_range, the last hour": [_range(sensor, past.end - timedelta(hours=1), past.end) for sensor in sensors],
            "min, a day": [_least(sensor, day, day + timedelta(days=1)) for sensor in sensors],
            "min, all": [_least(sensor, past.start, past.end) for sensor in sensors],
            "hourly, a day": [_hours(sensor, day, day + timedelta(days=1)) for sensor in sensors],
            "hourly, all": [_all_hours(sensor) for sensor in sensors],
        }
        self.busy = _range(BUSY, past.start, past.end)

    async def measure(self, bench: Bench, _: Options) -> Measures:
        """Ask every kind both ways, and then for the million rows."""
        found: Measures = {}
        database = bench.settings.database
        reader = await Connector(database.reader_url, database, default_transaction_read_only="on", jit="off").connect()
        try:
            for kind, questions in self.kinds.items():
                direct, http = await bare(reader, questions, SECONDS), await by_http(bench, questions, SECONDS)
                found |= {f"{kind}: ms": http, f"{kind}: asyncpg ms": direct, f"{kind}: × asyncpg": http / direct}
                found[f"{kind}: ms beyond 1.2 × asyncpg"] = http - 1.2 * direct
            return found | await self._million(bench, reader)
        finally:
            await reader.close()

    async def _million(self, bench: Bench, reader: Any) -> Measures:
        if self.busy is None:
            raise ValueError("prepare was not called")
        rows = len(await reader.fetch(self.busy.statement, *self.busy.arguments))
        direct = await bare(reader, [self.busy], SECONDS)
        resting = peaks(bench.stack.family())["query"]
        reset_peaks(bench.stack.family())
        before = snapshot(bench.stack.family())
        began = time.monotonic()
        http = await by_http(bench, [self.busy], SECONDS + 1)
        cost, took = before.until(snapshot(bench.stack.family())), time.monotonic() - began
        return {
            "a million rows: rows/s": 1000 * rows / http,
            "a million rows: asyncpg rows/s": 1000 * rows / direct,
            "a million rows: × asyncpg": direct / http,
            "a million rows: cores of query": cost.seconds["query"] / took,
            "a million rows: cores of PostgreSQL": cost.postgres / took,
            "a million rows: query peak MiB": peaks(bench.stack.family())["query"],
            "a million rows: × query's peak before": peaks(bench.stack.family())["query"] / resting,
        }


def _range(sensor: str, start: datetime, end: datetime) -> Question:
    return Question(_path("/get_range", sensor, start, end), SQL["readings"], (sensor, start, end, BELOW_ALL_IDS))


def _least(sensor: str, start: datetime, end: datetime) -> Question:
    return Question(_path("/min", sensor, start, end), SQL["minimum"], (sensor, start, end))


def _hours(sensor: str, start: datetime, end: datetime) -> Question:
    return Question(_path("/hourly", sensor, start, end), SQL["hours"], (sensor, start, end))


def _all_hours(sensor: str) -> Question:
    """Ask without a range, as the demo does; the statement then has the first and the last instants there are."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    return Question(f"/hourly?sensor_id={sensor}", SQL["hours"], (sensor, first, last))


def _path(route: str, sensor: str, start: datetime, end: datetime) -> str:
    return f"{route}?{urlencode({'sensor_id': sensor, 'start': start.isoformat(), 'end': end.isoformat()})}"


_QUESTIONS = Questions()

CASES = (
    Case(
        "queries",
        "questions by HTTP against the same SQL by asyncpg",
        _QUESTIONS.measure,
        prepare=_QUESTIONS.prepare,
    ),
)
