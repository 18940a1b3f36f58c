"""`/series` as a route: its parameters and answer as OpenAPI shows them, and how it is served."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from services.contract.instants import micros_of
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import only, wrong
from services.platform.runtime.metrics import rows_returned
from services.platform.settings import QuerySettings

from ..catalogue.parameters import MATCH_REPEATED, Matches, SensorIds
from ..fetch import Batches, Fetcher
from ..formats import FORMATS, MEDIA_TYPES, Shape
from ..grid import EPOCHS, written
from ..negotiation import media_type
from ..rollups import Rollups
from ..router import Segment
from ..routes import OTHER_FORMATS, Format
from ..shares import asker
from ..streaming import REFUSALS, StreamedAnswer
from ..table import Table
from .aggregates import AGGREGATES
from .answer import columns_of, keys_of, rows_of, this_page
from .body import REQUEST_BODY, posted
from .chosen import chosen, groups_of
from .cursor import CURSOR_PATTERN, SeriesPage, identity
from .form import LAYOUTS, ORDERS
from .groups import ALL, EACH
from .plan import is_long, plan
from .points import DOWNSAMPLES, TooManyHeldError
from .question import Limits, Parameters, QuestionError, SeriesQuestion, ask
from .routed import sources, with_tier

__all__ = ["series"]

_PATH = "/series"

_MOMENT = "RFC 3339 with an offset, 13 digits of milliseconds, or an expression: now, now-6h, -6h, now-1d/d."


class Source(BaseModel):
    """Where a part of the range was answered from."""

    model_config = ConfigDict(extra="forbid")

    start: str | int
    end: str | int
    from_: str = Field(
        alias="from",
        description="A rollup's name, `rows`: the readings themselves, or `tier`: readings that "
        "went to the cold tier, and those that came late.",
    )


class Gone(BaseModel):
    """A part of the range whose readings are gone: what rollups keep of it is all there is."""

    model_config = ConfigDict(extra="forbid")

    start: str | int
    end: str | int


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
    complete_until: str | int = Field(
        description="What of the range had passed at `as_of`: `end`, or `as_of` where that is earlier. A bucket that "
        "ends behind it is still filling."
    )
    as_of: str | int = Field(description="What was stored before this instant is in the answer.")
    bucket: str | None = Field(description="Null where no bucket was asked for.")
    tz: str
    cut: Cut
    downsample: str = Field(default="", description="Absent where all readings are there.")


class Row(BaseModel):
    """A reading, with its `value`, or a bucket, with a key for each aggregate, percentiles and labels included."""

    model_config = ConfigDict(extra="allow")

    sensor_id: str = Field(default="", description="Absent where sensors are aggregated together.")
    timestamp: datetime | int = Field(
        description="Of the reading, or the start of the bucket; with the offset of `tz`, or a number with `epoch`."
    )
    value: float = Field(default=0.0)
    avg: float | None = Field(default=None)
    min: float | None = Field(default=None)
    max: float | None = Field(default=None)
    sum: float | None = Field(default=None)
    count: float | None = Field(default=None)
    first: float | None = Field(default=None)
    last: float | None = Field(default=None)
    stddev: float | None = Field(default=None, description="Of the sample; null for one reading.")
    delta: float | None = Field(default=None, description="`last` less `first`.")
    increase: float | None = Field(default=None, description="Sum of the steps; a step down is a restart from zero.")
    rate: float | None = Field(default=None, description="`increase` a second of the bucket.")
    integral: float | None = Field(default=None, description="Value × seconds, each value held until the next reading.")
    twa: float | None = Field(default=None, description="Time-weighted average: `integral` a second that is covered.")
    median: float | None = Field(default=None, description="`p50`; `p0` to `p100` are keys, too.")


_EXAMPLE: JsonDict = {
    "data": [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T23:00:00+02:00", "avg": 27.566666666666666}],
    "meta": {
        "source": [{"start": "2025-10-22T23:00:00+02:00", "end": "2025-10-23T01:00:00+02:00", "from": "rows"}],
        "complete_until": "2025-10-23T01:00:00+02:00",
        "as_of": "2025-10-24T12:00:00.123456+02:00",
        "bucket": "1h",
        "tz": "Europe/Berlin",
        "cut": {"first": False, "last": False},
    },
}


class Series(BaseModel):
    """Rows in the order of sensor and time."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    data: list[Row] | dict[str, list[Any]] = Field(description="With `layout=columns` a list for each column.")
    meta: Meta
    next: str = Field(default="", description="Cursor of the next page; absent where there is none.")


def _named(name: str) -> Any:
    """Return a parameter that is one of few names."""
    return Query(description=_FORM[name], json_schema_extra={"enum": list(_ENUMS[name])})


_ENUMS = {"layout": LAYOUTS, "epoch": EPOCHS, "order": ORDERS, "downsample": DOWNSAMPLES}
_FORM = {
    "layout": "`rows`, the default; `columns`, a list a column, in JSON alone; `wide`, a row a bucket with a column "
    "for each sensor and aggregate.",
    "epoch": "Instants as whole seconds, milliseconds or microseconds since 1970-01-01 UTC.",
    "order": "Of time, for each sensor: `asc`, the default, or `desc`.",
    "downsample": "How `points` are chosen, `m4` by default.",
}
_BODIES = problem_responses(
    "body_timeout", "body_too_large", "malformed_body", "invalid_parameter", "unsupported_encoding",
    "unsupported_media_type",
)  # fmt: skip
_Count = Annotated[str | None, WithJsonSchema({"type": "integer", "minimum": 1})]


async def _parameters(
    *,
    sensor_id: SensorIds = [],  # noqa: B006 -- FastAPI copies it
    match: Matches = [],  # noqa: B006
    start: Annotated[str, Query(description=f"First instant of the range: {_MOMENT}")],
    end: Annotated[
        str | None, Query(description="First instant after the range, like `start`; now by default.")
    ] = None,
    agg: Annotated[
        str | None,
        Query(
            description=f"Aggregates by commas: {', '.join(AGGREGATES)}, median, and p0 to p100 such as p99.9. The "
            "readings themselves where it is absent.",
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
    by: Annotated[
        str | None,
        Query(
            description=f"Which sensors are aggregated together: none with `{EACH}`, the default; with `{ALL}` all; or "
            "those of the same labels, whose names stand here by commas.",
        ),
    ] = None,
    layout: Annotated[str | None, _named("layout")] = None,
    epoch: Annotated[str | None, _named("epoch")] = None,
    order: Annotated[str | None, _named("order")] = None,
    limit: Annotated[_Count, Query(description="Most rows of this page, in JSON alone.")] = None,
    cursor: Annotated[str | None, Query(pattern=CURSOR_PATTERN, description="`next` of the page before.")] = None,
    points: Annotated[_Count, Query(description="Most readings of a sensor, chosen by `downsample`.")] = None,
    downsample: Annotated[str | None, _named("downsample")] = None,
) -> Parameters:
    return Parameters(
        sensor_id, start, end, agg, bucket, tz, fill, by, match, layout, epoch, order, limit, cursor, points, downsample
    )


def series(
    fetcher: Fetcher, settings: QuerySettings, ready: Callable[[], Awaitable[None]], rollups: Rollups
) -> APIRouter:
    """Return the route; it asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(
        tags=["questions"],
        dependencies=[Depends(ready)],
        responses=problem_responses("invalid_parameter", *REFUSALS),
    )
    limits = Limits(settings.max_sensors, settings.max_cells, settings.max_limit)
    names = only(*(field.name for field in fields(Parameters)), "format", repeatable={"sensor_id", *MATCH_REPEATED})

    @router.get(
        _PATH,
        summary="Readings or buckets of sensors",
        response_model=Series,
        dependencies=[Depends(names)],
        responses=OTHER_FORMATS,
    )
    async def get_series(
        request: Request,
        parameters: Annotated[Parameters, Depends(_parameters)],
        wanted: Format = None,
    ) -> Response:
        """Return readings with `start <= timestamp < end`, or what `agg` makes of them in each bucket.

        Rows are in the order of sensor and time; a bucket is labelled by its start, and without `bucket` the one value
        by `start`. An answer that fails on its way breaks the connection off, without the end of its body.
        """
        return await answered(request, parameters, wanted)

    @router.post(
        _PATH,
        summary="Readings or buckets of sensors, by a question in the body",
        response_model=Series,
        dependencies=[Depends(only())],
        responses={**OTHER_FORMATS, **_BODIES},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    async def post_series(request: Request) -> Response:
        """Return the same as GET, whose parameters are members of a JSON object here.

        Lists may be lists, and numbers numbers.
        """
        return await answered(request, *await posted(request, settings))

    async def answered(request: Request, parameters: Parameters, wanted: str | None) -> Response:
        now, whose = micros_of(datetime.now(UTC)), asker(request)
        try:
            # Days of thousands of years take seconds to lay.
            question = await asyncio.to_thread(ask, parameters, now, limits)
            # What cannot be answered in this way asks nothing of the database.
            media = _media(request, question, wanted)
            question = await chosen(fetcher, question, limits, whose)
        except QuestionError as error:
            raise wrong(**error.faults) from None
        form = question.form
        page = SeriesPage(form.limit, form.after, now=now, descending=form.descending, keys=keys_of(question))
        part = this_page(question)
        groups = await groups_of(fetcher, part, whose)
        make = partial(plan, part, groups, rollups.known, spread=fetcher.spread)
        planned = await asyncio.to_thread(make) if is_long(part) else make()

        async def write(batches: Batches) -> AsyncGenerator[bytes, None]:
            shape = Shape.COLUMNS if form.layout == "columns" else Shape.SERIES
            columns, meta = columns_of(part, groups), _meta(question, batches)
            held = 0
            with contextlib.closing(FORMATS[shape, media](columns, meta, question.zone.key)) as encoder:
                try:
                    async for table in rows_of(part, groups, batches, page, settings.max_held_rows):
                        held += len(table)
                        if shape is Shape.COLUMNS and held > settings.max_held_rows:
                            raise wrong(layout=_TOO_MANY.format(settings.max_held_rows))
                        yield encoder.rows(table)
                        rows_returned.add(len(table), {"route": _PATH})
                except TooManyHeldError:
                    raise wrong(downsample=_LTTB_TOO_MANY.format(settings.max_held_rows)) from None
                for ending in encoder.ending(page.following(identity(parameters.by_name()))):
                    yield ending

        return StreamedAnswer(fetcher.fetch(planned, whose), write, media, settings.max_answer_bytes)

    return router


_TOO_MANY = (
    "columns are held until all rows are there, and these are more than the {0} of MILLRACE_QUERY_MAX_HELD_ROWS; page "
    "by limit={0}, or take layout=rows or another format, which have no limit"
)
_LTTB_TOO_MANY = (
    "lttb holds all readings of a sensor, and one has more than the {} of MILLRACE_QUERY_MAX_HELD_ROWS; take m4 or "
    "minmax, which have no limit, or a shorter range"
)


def _media(request: Request, question: SeriesQuestion, wanted: str | None) -> str:
    """Return the media type of an answer.

    Raises:
        Problem: not_acceptable; invalid_parameter, where the type has no place for the layout or for pages.
    """
    media = media_type(Shape.SERIES, wanted, request.headers.getlist("accept"))
    faults = {}
    if media != MEDIA_TYPES["json"]:
        if question.form.limit is not None:
            faults["limit"] = "pages are JSON's alone; leave limit out: other formats stream the whole range"
        if question.form.layout == "columns":
            faults["layout"] = "columns are JSON's alone; arrow and parquet are columns by themselves: leave layout out"
    if faults:
        raise wrong(**faults)
    return media


def _meta(question: SeriesQuestion, batches: Batches) -> dict[str, object]:
    epoch, zone = question.form.epoch, question.zone

    def told(instant: int) -> str | int:
        return written(instant, zone) if epoch is None else instant // EPOCHS[epoch]

    start, end = micros_of(question.start), micros_of(question.end)
    lead = with_tier(batches.lead or sources([Segment(start, end, None)]), batches.tiered)
    grid = question.grid
    downsample = {} if question.form.points is None else {"downsample": question.form.downsample}
    return {
        **_sources(lead, told),
        "complete_until": told(max(start, min(end, batches.as_of))),
        "as_of": told(batches.as_of),
        "bucket": None if question.bucket is None else str(question.bucket),
        "tz": question.zone.key,
        "cut": {"first": grid is not None and grid.first_cut, "last": grid is not None and grid.last_cut},
        **downsample,
    }


def _sources(lead: Table, told: Callable[[int], str | int]) -> Mapping[str, object]:
    """Return what each part was answered from, and where rows are gone if they are."""
    ends = [[told(instant) for instant in lead[name].values.tolist()] for name in ("start", "end")]
    names, gone = lead["from"], lead["from"].nulls
    found: dict[bool, list[dict[str, str | int]]] = {False: [], True: []}
    for row, (start, end) in enumerate(zip(*ends, strict=True)):
        lacking = gone is not None and bool(gone[row])
        origin = {} if lacking else {"from": names.texts[int(names.values[row])]}
        found[lacking].append({"start": start, "end": end, **origin})
    return {"source": found[False]} | ({"rows_gone": found[True]} if found[True] else {})
