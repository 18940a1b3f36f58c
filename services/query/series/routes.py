"""`/series` as a route: its parameters and answer as OpenAPI shows them, and how it is served."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from services.contract.codec import MAX_SENSOR_ID
from services.contract.instants import micros_of
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import only, wrong
from services.platform.runtime.metrics import rows_returned
from services.platform.settings import QuerySettings

from ..catalogue.choice import TooManyError, ids_of
from ..catalogue.parameters import MATCH_REPEATED, Matches
from ..fetch import Fetcher
from ..formats.json import MEDIA_TYPE, SeriesEncoder
from ..grid import written
from ..rollups import Rollups
from ..router import Segment
from ..streaming import StreamedAnswer
from ..table import Table
from .merge import AGGREGATES, Merge
from .plan import plan
from .question import Limits, Parameters, QuestionError, SeriesQuestion, ask, with_sensors
from .routed import sources

__all__ = ["series"]

_PATH = "/series"

SensorId = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_SENSOR_ID, "pattern": r"^[^\u0000]+$"}),
]

_MOMENT = "RFC 3339 with an offset, 13 digits of milliseconds, or an expression: now, now-6h, -6h, now-1d/d."


class Source(BaseModel):
    """Where a part of the range was answered from."""

    model_config = ConfigDict(extra="forbid")

    start: str
    end: str
    from_: str = Field(alias="from", description="A rollup's name, or `rows`: the readings themselves.")


class Gone(BaseModel):
    """A part of the range whose readings are gone: what rollups keep of it is all there is."""

    model_config = ConfigDict(extra="forbid")

    start: str
    end: str


class Cut(BaseModel):
    """Whether the range leaves out a part of the first bucket, and of the last."""

    model_config = ConfigDict(extra="forbid")

    first: bool
    last: bool


class Meta(BaseModel):
    """What an answer tells of itself."""

    model_config = ConfigDict(extra="forbid")

    source: list[Source]
    rows_gone: list[Gone] = Field(
        default=[],
        description="Where the readings are gone, by retention or by hand, as far as rollups were looked at.",
    )
    bucket: str | None = Field(description="Null where no bucket was asked for.")
    tz: str
    cut: Cut


class Row(BaseModel):
    """A reading, with its `value`, or a bucket, with a key for each aggregate."""

    model_config = ConfigDict(extra="forbid")

    sensor_id: str
    timestamp: datetime = Field(description="Of the reading, or the start of the bucket; with the offset of `tz`.")
    value: float = Field(default=0.0)
    avg: float | None = Field(default=None)
    min: float | None = Field(default=None)
    max: float | None = Field(default=None)
    sum: float | None = Field(default=None)
    count: float | None = Field(default=None)
    first: float | None = Field(default=None)
    last: float | None = Field(default=None)
    stddev: float | None = Field(default=None, description="Of the sample; null for one reading.")


_EXAMPLE: JsonDict = {
    "data": [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T23:00:00+02:00", "avg": 27.566666666666666}],
    "meta": {
        "source": [{"start": "2025-10-22T23:00:00+02:00", "end": "2025-10-23T01:00:00+02:00", "from": "rows"}],
        "bucket": "1h",
        "tz": "Europe/Berlin",
        "cut": {"first": False, "last": False},
    },
}


class Series(BaseModel):
    """Rows in the order of sensor and time."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    data: list[Row]
    meta: Meta


async def _parameters(
    *,
    sensor_id: Annotated[list[SensorId], Query(description="A sensor, to the letter; may be repeated.")] = [],  # noqa: B006 -- FastAPI copies it
    match: Matches = [],  # noqa: B006
    start: Annotated[str, Query(description=f"First instant of the range: {_MOMENT}")],
    end: Annotated[
        str | None, Query(description="First instant after the range, like `start`; now by default.")
    ] = None,
    agg: Annotated[
        str | None,
        Query(
            description=f"Aggregates by commas: {', '.join(AGGREGATES)}. The readings themselves where it is absent.",
            examples=["avg,max"],
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        Query(
            description="Length of the buckets: 250ms, 10s, 5m, 1h, 1d, 1w, 1mo, 1y, or ISO 8601. Days and what is "
            "longer follow the calendar of `tz`. One value over the whole range where it is absent.",
            examples=["1h"],
        ),
    ] = None,
    tz: Annotated[str | None, Query(description="IANA time zone, UTC by default.", examples=["Europe/Berlin"])] = None,
    fill: Annotated[
        str | None,
        Query(
            description="What stands in buckets without readings: `none` leaves them out, the default; `null`, "
            "`previous`, `linear`, or a number."
        ),
    ] = None,
) -> Parameters:
    return Parameters(sensor_id, start, end, agg, bucket, tz, fill, match)


def series(
    fetcher: Fetcher, settings: QuerySettings, ready: Callable[[], Awaitable[None]], rollups: Rollups
) -> APIRouter:
    """Return the route; it asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(
        tags=["questions"],
        dependencies=[Depends(ready)],
        responses=problem_responses("invalid_parameter", "database_unavailable", "query_timeout"),
    )
    limits = Limits(settings.max_sensors, settings.max_cells)
    names = only(
        "sensor_id", "start", "end", "agg", "bucket", "tz", "fill", "match", repeatable={"sensor_id", *MATCH_REPEATED}
    )

    @router.get(_PATH, summary="Readings or buckets of sensors", response_model=Series, dependencies=[Depends(names)])
    async def get_series(parameters: Annotated[Parameters, Depends(_parameters)]) -> Response:
        """Return readings with `start <= timestamp < end`, or what `agg` makes of them in each bucket.

        Rows are in the order of sensor and time; a bucket is labelled by its start, and without `bucket` the one value
        by `start`. An answer that fails on its way breaks off without the end of its JSON.
        """
        try:
            # Days of thousands of years take seconds to lay.
            question = await asyncio.to_thread(ask, parameters, micros_of(datetime.now(UTC)), limits)
            question = await _chosen(fetcher, question, limits)
        except QuestionError as error:
            raise wrong(**error.faults) from None
        return StreamedAnswer(fetcher.fetch(plan(question, rollups.known)), _writer(question), MEDIA_TYPE)

    return router


async def _chosen(fetcher: Fetcher, question: SeriesQuestion, limits: Limits) -> SeriesQuestion:
    """Return a question with the sensors that it chooses of the catalogue.

    Raises:
        QuestionError: they are too many.
        Problem: database_unavailable, query_timeout.
    """
    if not question.matches:
        return question
    named = "MILLRACE_QUERY_MAX_SENSORS"
    try:
        sensors = await ids_of(fetcher, question.sensors, question.matches, limits.sensors, named)
    except TooManyError as error:
        raise QuestionError({"match": str(error)}) from None
    return with_sensors(question, sensors, limits)


def _writer(question: SeriesQuestion) -> Callable[[AsyncIterator[Table]], AsyncGenerator[bytes, None]]:
    """Return what makes the answer's parts of a plan's batches."""

    async def write(batches: AsyncIterator[Table]) -> AsyncGenerator[bytes, None]:
        # What an answer of buckets is made of comes before its partials.
        lead = None if question.grid is None else await anext(batches)
        with contextlib.closing(SeriesEncoder({}, _meta(question, lead))) as encoder:
            async for table in batches if question.grid is None else _merged(question, batches):
                yield encoder.rows(table)
                rows_returned.add(len(table), {"route": _PATH})
            yield encoder.end()

    return write


async def _merged(question: SeriesQuestion, batches: AsyncIterator[Table]) -> AsyncGenerator[Table, None]:
    assert question.grid is not None  # noqa: S101 -- narrows for the type checker
    merge = Merge(question.grid, len(question.sensors), question.aggregates)
    async for partials in batches:
        merge.add(partials)
    tables = merge.tables(question.sensors, question.zone, question.fill)
    # A large grid is made without waiting for anybody; others have their turn meanwhile.
    while (table := await asyncio.to_thread(next, tables, None)) is not None:
        yield table


def _meta(question: SeriesQuestion, lead: Table | None) -> dict[str, object]:
    grid = question.grid
    return {
        **_sources(question, lead or sources([Segment(micros_of(question.start), micros_of(question.end), None)])),
        "bucket": None if question.bucket is None else str(question.bucket),
        "tz": question.zone.key,
        "cut": {"first": grid is not None and grid.first_cut, "last": grid is not None and grid.last_cut},
    }


def _sources(question: SeriesQuestion, lead: Table) -> Mapping[str, object]:
    """Return what each part was answered from, and where rows are gone if they are."""
    ends = [[written(instant, question.zone) for instant in lead[name].values.tolist()] for name in ("start", "end")]
    names, gone = lead["from"], lead["from"].nulls
    found: dict[bool, list[dict[str, str]]] = {False: [], True: []}
    for row, (start, end) in enumerate(zip(*ends, strict=True)):
        lacking = gone is not None and bool(gone[row])
        origin = {} if lacking else {"from": names.texts[int(names.values[row])]}
        found[lacking].append({"start": start, "end": end, **origin})
    return {"source": found[False]} | ({"rows_gone": found[True]} if found[True] else {})
