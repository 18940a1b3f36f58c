"""The three questions: `/get_range`, `/min` and `/hourly`."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Response

from services.platform.http.errors import problem_responses
from services.platform.http.parameters import only, wrong
from services.platform.runtime.metrics import rows_returned

from .answers import Hourly, Least, ReadingList
from .columns import Hours, Readings
from .cursor import CURSOR_PATTERN, CursorError, Page, Place, pack, unpack
from .formats.json import MEDIA_TYPE, HoursJson, ReadingsJson
from .parameters import bounded, unbounded
from .question import Question
from .store import Store
from .streamed import Streamed, Write

__all__ = ["questions"]


def questions(store: Store, max_limit: int, ready: Callable[[], Awaitable[None]]) -> APIRouter:
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
        after = None if cursor is None else _place(cursor, question)
        page, encoder = Page(limit), ReadingsJson(question.sensor_id)

        async def answer(write: Write) -> bytes:
            async def sink(readings: Readings) -> None:
                part = page.take(readings)
                if len(part):
                    await write(encoder.rows(part))
                    rows_returned.add(len(part), {"route": "/get_range"})

            await store.readings(question, after, page.asked, sink)
            return encoder.end(pack(page.last, question) if page.more and page.last else None)

        return Streamed(answer, MEDIA_TYPE)

    @router.get(
        "/min",
        summary="Least value of a range",
        response_model=Least,
        dependencies=[Depends(only("sensor_id", "start", "end"))],
    )
    async def minimum(question: Annotated[Question, Depends(bounded)]) -> Response:
        """Return the least value with `start <= timestamp < end`, null where there is none."""
        least = await store.minimum(question)
        return Response(orjson.dumps({"min_value": least}), media_type=MEDIA_TYPE)

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
        encoder = HoursJson()

        async def answer(write: Write) -> bytes:
            async def sink(hours: Hours) -> None:
                await write(encoder.rows(hours))
                rows_returned.add(len(hours), {"route": "/hourly"})

            await store.hours(question, sink)
            return encoder.end()

        return Streamed(answer, MEDIA_TYPE)

    return router


def _place(cursor: str, question: Question) -> Place:
    try:
        return unpack(cursor, question)
    except CursorError as error:
        raise wrong(cursor=str(error)) from None
