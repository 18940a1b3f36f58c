"""Questions about many sensors, by HTTP against the best SQL that we know, by asyncpg, in turn.

A thousand sensors measured for more than a year; a hundred thousand with labels measured for the last four weeks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from services.platform.postgres.connections import Connection, Connector
from services.query.copy_out import CopyReader, copy_out, inlined
from services.query.plan import SQL
from services.query.table import Kind

from ..asked import Question, bare, by_http, median_ms
from ..case import Case, Options
from ..figures import Measures
from ..history import BUSY, FLEET, fill, fill_fleet, settle
from ..stack import Bench

__all__ = ["CASES"]

ASKED_SENSORS = 200
TOGETHER = 100
SPAN = timedelta(days=400)
ZONE = "Europe/Berlin"
FOUR = {"agg": "avg,min,max,count"}
SECONDS, LONG = 3.0, 8.0
"""How long a kind of question is asked, and one that takes about a second."""

HOURS = """
select bucket, avg, min, max, samples from measurement_hourly
where sensor_id = $1 and bucket >= $2 and bucket < $3 order by bucket
"""
DAYS = """
select sensor_id, date_trunc('day', bucket, $4::text) as day,
  sum(avg * samples) / sum(samples) as avg, min(min) as min, max(max) as max, sum(samples)::bigint as count
from measurement_hourly
where sensor_id = any($1::text[]) and bucket >= $2 and bucket < $3
group by 1, 2 order by 1, 2
"""
LATEST = """
select sensors.sensor_id, newest.timestamp, newest.value
from sensors cross join lateral (
  select timestamp, value from sensor_data where sensor_id = sensors.sensor_id order by timestamp desc limit 1
) as newest
where name = 'temperature'
"""
DISTINCT = """
select distinct on (sensor_id) sensor_id, timestamp, value
from sensor_data where sensor_id like 'temperature#%' order by sensor_id, timestamp desc
"""
SITE = 'temperature{site="site-07"}'
PAGE = """
select sensor_id, name, field, labels::text, kind, unit, first_seen from sensors
where name = 'temperature' and labels @> '{"site": "site-07"}' order by sensor_id collate "C" limit 1000
"""

FORMATS = ("arrow", "parquet", "csv", "ndjson")


@dataclass(slots=True)
class Questions:
    """The questions about both fleets, which `prepare` stores."""

    small: dict[str, list[Question]] = field(default_factory=dict)
    million: Question = field(default_factory=lambda: _of(""))

    async def prepare(self, bench: Bench, options: Options) -> None:
        """Store what is asked about, and write the questions down."""
        past = await fill(bench, options.rows, SPAN)
        await fill_fleet(bench)
        await settle(bench, past)
        begin = (past.start + (past.end - past.start) / 3).replace(minute=0, second=0, microsecond=0)
        month = begin, begin + timedelta(days=30)
        midnight = past.end.astimezone(ZoneInfo(ZONE)).replace(hour=0)
        year = midnight.replace(year=midnight.year - 1), midnight
        together = past.sensors[:TOGETHER]
        self.small = {
            "a sensor's 30 days by 1h": [
                Question(_series([sensor], *month, {"bucket": "1h"} | FOUR), HOURS, (sensor, *month))
                for sensor in past.sensors[:ASKED_SENSORS]
            ],
            "100 sensors' year by local days": [
                Question(_series(together, *year, {"bucket": "1d", "tz": ZONE} | FOUR), DAYS, (together, *year, ZONE))
            ],
        }
        span = past.start, past.end
        self.million = Question(_series([BUSY], *span, {}), SQL["readings"], (BUSY, *span, -(1 << 63)))

    async def measure(self, bench: Bench, _: Options) -> Measures:
        """Ask every kind both ways."""
        database = bench.settings.database
        reader = await Connector(database.reader_url, database, default_transaction_read_only="on", jit="off").connect()
        try:
            found: Measures = {}
            for kind, questions in self.small.items():
                direct, http = await bare(reader, questions, SECONDS), await by_http(bench, questions, SECONDS)
                found |= {f"{kind}: ms": http, f"{kind}: SQL ms": direct, f"{kind}: × SQL": http / direct}
                found[f"{kind}: ms beyond 1.2 × SQL"] = http - 1.2 * direct
            return found | await self._million(bench, reader) | await _fleet(bench, reader)
        finally:
            await reader.close()

    async def _million(self, bench: Bench, reader: Connection) -> Measures:
        """Reduce a million readings to a plot, and send them in each format."""

        async def fetch() -> None:
            await reader.fetch(self.million.statement, *self.million.arguments)

        statement = inlined(self.million.statement, self.million.arguments)

        async def columns() -> None:
            pieces = CopyReader({"id": Kind.INTEGER, "timestamp": Kind.INSTANT, "value": Kind.FLOAT})
            async for piece in copy_out(reader, statement, _stays):
                pieces.feed(piece)

        fetched, copied = await median_ms(fetch, LONG), await median_ms(columns, SECONDS)
        plot = await by_http(bench, [_of(f"{self.million.path}&points=2000")], SECONDS)
        found = {
            "a million readings: asyncpg ms": fetched,
            "a million readings: columns ms": copied,
            "2000 points: ms": plot,
            "2000 points: × columns": plot / copied,
        }
        for name in FORMATS:
            http = await by_http(bench, [_of(f"{self.million.path}&format={name}")], SECONDS)
            found |= {f"a million readings, {name}: ms": http, f"a million readings, {name}: × asyncpg": fetched / http}
        return found


async def _fleet(bench: Bench, reader: Connection) -> Measures:
    """Ask for the newest readings of a hundred thousand sensors, and for a page of them."""
    name = "a hundred thousand latest"
    latest = _of(f"/latest?{urlencode({'match': 'temperature{}'})}", LATEST)
    best, http = await bare(reader, [latest], LONG), await by_http(bench, [latest], LONG)
    distinct = await bare(reader, [_of("", DISTINCT)], 1)
    page = _of(f"/sensors?{urlencode({'match': SITE, 'limit': 1000})}", PAGE)
    sql, shown = await bare(reader, [page], SECONDS), await by_http(bench, [page], SECONDS)
    return {
        f"{name}: ms": http,
        f"{name}: SQL ms": best,
        f"{name}: × SQL": http / best,
        f"{name}: distinct on ms": distinct,
        f"{name}: × distinct on": http / distinct,
        "a page of 1,000 sensors: ms": shown,
        "a page of 1,000 sensors: SQL ms": sql,
        "a page of 1,000 sensors: ms beyond SQL": shown - sql,
    }


def _series(sensors: Sequence[str], start: datetime, end: datetime, parameters: Mapping[str, str]) -> str:
    ids = [("sensor_id", sensor) for sensor in sensors]
    given = {"start": start.isoformat(), "end": end.isoformat(), **parameters}
    return f"/series?{urlencode([*ids, *given.items()])}"


def _of(path: str, statement: str = "") -> Question:
    return Question(path, statement, ())


async def _stays(backend: int) -> None:
    """End no statement: all rows are taken."""


_QUESTIONS = Questions()

CASES = (
    Case(
        "questions",
        f"questions about a thousand sensors and {FLEET:,} by HTTP against SQL by asyncpg",
        _QUESTIONS.measure,
        columnstore=True,
        prepare=_QUESTIONS.prepare,
    ),
)
