"""The three questions, `/get_range`, `/min` and `/hourly`: what each may say, what it answers, and how it is served."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.config import JsonDict

from services.contract.codec import MAX_SENSOR_ID
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import Instant, only, wrong
from services.platform.runtime.metrics import rows_returned
from services.platform.settings import QuerySettings

from .fetch import Fetcher
from .formats import FORMATS, MEDIA_TYPES, Shape
from .keyset import CURSOR_PATTERN, CursorError, Keyset, Page, unpack
from .negotiation import media_type
from .plan import FIRST, LAST, Plan, Question, hours, least, readings
from .shares import asker
from .streaming import REFUSALS, StreamedAnswer
from .table import Table

__all__ = ["OTHER_FORMATS", "Format", "questions"]

_EXAMPLE = "2025-10-22T21:00:00Z"
_JSON = MEDIA_TYPES["json"]


SensorId = Annotated[
    str,
    Query(
        min_length=1,
        max_length=MAX_SENSOR_ID,
        pattern=r"^[^\u0000]+$",
        description="The sensor, to the letter.",
        examples=["sensor-1"],
    ),
]


Format = Annotated[
    str | None,
    Query(
        alias="format",
        description="The answer's format; where it is absent, the header Accept chooses, and JSON is what is usual.",
        json_schema_extra={"enum": list(MEDIA_TYPES)},
    ),
]


async def bounded(
    sensor_id: SensorId,
    start: Annotated[Instant, Query(description="First instant of the range.", examples=[_EXAMPLE])],
    end: Annotated[Instant, Query(description="First instant after the range.", examples=["2025-10-22T23:00:00Z"])],
) -> Question:
    """Take a range that must have both ends."""
    return _ordered(sensor_id, start, end)


async def unbounded(
    sensor_id: SensorId,
    start: Annotated[
        Instant | None, Query(description="First instant of the range; all from the first where it is absent.")
    ] = None,
    end: Annotated[
        Instant | None, Query(description="First instant after the range; all to the last where it is absent.")
    ] = None,
) -> Question:
    """Take a range that may be open at either end."""
    return _ordered(sensor_id, start or FIRST, end or LAST)


def _ordered(sensor_id: str, start: datetime, end: datetime) -> Question:
    if start >= end:
        raise wrong(start="must be before end, by a microsecond or more", end="must be after start")
    return Question(sensor_id, start, end)


_READING: JsonDict = {"id": 1, "timestamp": "2025-10-22T21:00:00Z", "sensor_id": "sensor-1", "value": 25.3}
_HOUR: JsonDict = {
    "timestamp": "2025-10-22T21:00:00Z",
    "avg": 27.566666666666666,
    "min": 25.3,
    "max": 30.7,
    "samples": 3,
}


class Answer(BaseModel):
    """An answer holds what is named here and nothing else."""

    model_config = ConfigDict(extra="forbid")


class Reading(Answer):
    """One measured value. Two of one sensor at one instant are told apart by their ids."""

    id: int
    timestamp: datetime = Field(description="In UTC; with microseconds only where they are not zero.")
    sensor_id: str
    value: float


class ReadingList(Answer):
    """Readings in the order of (timestamp, id)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_READING]}]})

    data: list[Reading]
    next: str = Field(
        default="", description="Cursor of what follows; absent where nothing does.", min_length=32, max_length=32
    )


class Least(Answer):
    """The least value of a range."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"min_value": 10.0}, {"min_value": None}]})

    min_value: float | None = Field(description="Null where the range holds no reading.")


class HourBucket(Answer):
    """What a sensor measured in the hour that starts at `timestamp`."""

    timestamp: datetime
    avg: float
    min: float
    max: float
    samples: int = Field(ge=1)


class Hourly(RootModel[list[HourBucket]]):
    """Hour buckets in their order; hours without a reading are absent."""

    model_config = ConfigDict(json_schema_extra={"examples": [[_HOUR]]})


OTHER_FORMATS: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {"schema": {"type": "string"}} for media in MEDIA_TYPES.values() if media != _JSON}},
    **problem_responses("not_acceptable"),
}
"""What OpenAPI says of the formats beside JSON, and where none fits."""


def questions(fetcher: Fetcher, settings: QuerySettings, ready: Callable[[], Awaitable[None]]) -> APIRouter:
    """Return the routes; each asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(
        tags=["questions"],
        dependencies=[Depends(ready)],
        responses=problem_responses("invalid_parameter", *REFUSALS),
    )

    @router.get(
        "/get_range",
        summary="Readings of a range",
        response_model=ReadingList,
        dependencies=[Depends(only("sensor_id", "start", "end", "limit", "cursor", "format"))],
        responses=OTHER_FORMATS,
    )
    async def get_range(
        request: Request,
        question: Annotated[Question, Depends(bounded)],
        wanted: Format = None,
        limit: Annotated[int | None, Query(ge=1, le=settings.max_limit, description="Most rows of this page.")] = None,
        cursor: Annotated[str | None, Query(pattern=CURSOR_PATTERN, description="`next` of the page before.")] = None,
    ) -> Response:
        """Return the readings with `start <= timestamp < end`, in the order of (timestamp, id).

        Without `limit` the whole range is streamed, whatever its size. With it, `next` is there where more
        follows: give it back as `cursor`, with the same sensor and range, for the next page; other formats than
        JSON have no pages. An answer that fails on its way breaks the connection off, without the end of its body.
        """
        media = media_type(Shape.PAGE, wanted, request.headers.getlist("accept"))
        if limit is not None and media != _JSON:
            raise wrong(limit="pages are JSON's alone; leave limit out: other formats stream the whole range")
        after = None if cursor is None else _after(cursor, question)
        plan, page = readings(question, after, limit), Page(limit, question.identity())
        write = _writer(plan, page, (Shape.PAGE, media), "/get_range")
        return StreamedAnswer(fetcher.fetch(plan, asker(request)), write, media, settings.max_answer_bytes)

    @router.get(
        "/min",
        summary="Least value of a range",
        response_model=Least,
        dependencies=[Depends(only("sensor_id", "start", "end"))],
    )
    async def minimum(request: Request, question: Annotated[Question, Depends(bounded)]) -> Response:
        """Return the least value with `start <= timestamp < end`, null where there is none."""
        plan = least(question)
        encoder = FORMATS[Shape.ROW, _JSON](plan.columns)
        async with fetcher.fetch(plan, asker(request)) as batches:
            parts = [encoder.rows(batch) async for batch in batches]
        return Response(b"".join([*parts, encoder.end()]), media_type=_JSON)

    @router.get(
        "/hourly",
        summary="Hour buckets of a sensor",
        response_model=Hourly,
        dependencies=[Depends(only("sensor_id", "start", "end", "format"))],
        responses=OTHER_FORMATS,
    )
    async def hourly(
        request: Request, question: Annotated[Question, Depends(unbounded)], wanted: Format = None
    ) -> Response:
        """Return average, least and greatest value and the number of readings for each hour with readings.

        The hours are those that start in the range, each with all of its readings. They are right at once, late
        readings included.
        """
        media = media_type(Shape.LIST, wanted, request.headers.getlist("accept"))
        plan, page = hours(question, rollups=fetcher.rollups), Page(None, question.identity())
        write = _writer(plan, page, (Shape.LIST, media), "/hourly")
        return StreamedAnswer(fetcher.fetch(plan, asker(request)), write, media, settings.max_answer_bytes)

    return router


def _writer(
    plan: Plan, page: Page, layout: tuple[Shape, str], route: str
) -> Callable[[AsyncIterator[Table]], AsyncGenerator[bytes, None]]:
    """Return what makes the answer's parts of a plan's batches, cut to a page, in the layout that `FORMATS` names so.

    `route` is what its rows are counted by.
    """

    async def write(batches: AsyncIterator[Table]) -> AsyncGenerator[bytes, None]:
        with contextlib.closing(FORMATS[layout](plan.columns)) as encoder:
            async for batch in batches:
                part = page.take(batch)
                if len(part):
                    yield encoder.rows(part)
                    rows_returned.add(len(part), {"route": route})
            yield encoder.end(page.following())

    return write


def _after(cursor: str, question: Question) -> Keyset:
    try:
        return unpack(cursor, question.identity())
    except CursorError as error:
        raise wrong(cursor=str(error)) from None
