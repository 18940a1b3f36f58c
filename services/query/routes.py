"""The three questions, `/get_range`, `/min` and `/hourly`: what each may say, what it answers, and how it is served."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.config import JsonDict

from services.contract.codec import MAX_SENSOR_ID
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import Instant, only, wrong
from services.platform.runtime.metrics import rows_returned

from .fetch import Fetcher
from .formats import FORMATS, Shape
from .formats.json import MEDIA_TYPE
from .keyset import CURSOR_PATTERN, CursorError, Keyset, Page, unpack
from .plan import FIRST, LAST, Plan, Question, hours, least, readings
from .streaming import StreamedAnswer
from .table import Table

__all__ = ["questions"]

_EXAMPLE = "2025-10-22T21:00:00Z"


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


def questions(fetcher: Fetcher, max_limit: int, ready: Callable[[], Awaitable[None]]) -> APIRouter:
    """Return the routes; each asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(
        tags=["questions"],
        dependencies=[Depends(ready)],
        responses=problem_responses("invalid_parameter", "database_unavailable", "query_timeout"),
    )

    @router.get(
        "/get_range",
        summary="Readings of a range",
        response_model=ReadingList,
        dependencies=[Depends(only("sensor_id", "start", "end", "limit", "cursor"))],
    )
    async def get_range(
        question: Annotated[Question, Depends(bounded)],
        limit: Annotated[int | None, Query(ge=1, le=max_limit, description="Most rows of this page.")] = None,
        cursor: Annotated[str | None, Query(pattern=CURSOR_PATTERN, description="`next` of the page before.")] = None,
    ) -> Response:
        """Return the readings with `start <= timestamp < end`, in the order of (timestamp, id).

        Without `limit` the whole range is streamed, whatever its size. With it, `next` is there where more
        follows: give it back as `cursor`, with the same sensor and range, for the next page. An answer that fails
        on its way breaks off without the end of its JSON.
        """
        after = None if cursor is None else _after(cursor, question)
        plan, page = readings(question, after, limit), Page(limit, question.identity())
        return _streamed(fetcher, plan, page, Shape.PAGE, "/get_range")

    @router.get(
        "/min",
        summary="Least value of a range",
        response_model=Least,
        dependencies=[Depends(only("sensor_id", "start", "end"))],
    )
    async def minimum(question: Annotated[Question, Depends(bounded)]) -> Response:
        """Return the least value with `start <= timestamp < end`, null where there is none."""
        encoder = FORMATS[Shape.ROW, MEDIA_TYPE]()
        async with fetcher.fetch(least(question)) as batches:
            parts = [encoder.rows(batch) async for batch in batches]
        return Response(b"".join([*parts, encoder.end()]), media_type=MEDIA_TYPE)

    @router.get(
        "/hourly",
        summary="Hour buckets of a sensor",
        response_model=Hourly,
        dependencies=[Depends(only("sensor_id", "start", "end"))],
    )
    async def hourly(question: Annotated[Question, Depends(unbounded)]) -> Response:
        """Return average, least and greatest value and the number of readings for each hour with readings.

        The hours are those that start in the range, each with all of its readings. They are right at once, late
        readings included.
        """
        return _streamed(fetcher, hours(question), Page(None, question.identity()), Shape.LIST, "/hourly")

    return router


def _streamed(fetcher: Fetcher, plan: Plan, page: Page, shape: Shape, route: str) -> StreamedAnswer:
    """Return the answer of a plan, cut to a page; `route` is what its rows are counted by."""
    encoder = FORMATS[shape, MEDIA_TYPE]()

    async def write(batches: AsyncIterator[Table]) -> AsyncGenerator[bytes, None]:
        async for batch in batches:
            part = page.take(batch)
            if len(part):
                yield encoder.rows(part)
                rows_returned.add(len(part), {"route": route})
        yield encoder.end(page.following())

    return StreamedAnswer(fetcher.fetch(plan), write, MEDIA_TYPE)


def _after(cursor: str, question: Question) -> Keyset:
    try:
        return unpack(cursor, question.identity())
    except CursorError as error:
        raise wrong(cursor=str(error)) from None
