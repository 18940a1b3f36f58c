"""What a question may say: each parameter with its form, its limits and the message where it is wrong."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from services.contract.codec import MAX_SENSOR_ID
from services.platform.errors import Problem

from .question import FIRST, LAST, Question

__all__ = ["bounded", "only", "unbounded", "wrong"]

_EXAMPLE = "2025-10-22T21:00:00Z"
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(?P<offset>Z|[+-]\d\d:\d\d)?", re.ASCII | re.IGNORECASE
)


def wrong(**messages: str) -> Problem:
    """Return the problem of wrong parameters: a message for each."""
    faults = [{"parameter": name, "message": message} for name, message in messages.items()]
    detail = "; ".join(f"{name}: {message}" for name, message in messages.items())
    return Problem("invalid_parameter", detail, parameters=faults)


def _instant(text: str) -> datetime:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise _refused("is not an RFC 3339 timestamp such as {example}; in a URL a + is written %2B")
    if match["offset"] is None:
        raise _refused("has no offset from UTC; add Z where it is in UTC, such as {example}")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise _refused("lies outside of the years 1 to 9999") from None
    except ValueError:
        raise _refused("names a day or time that does not exist") from None


def _refused(message: str) -> PydanticCustomError:
    return PydanticCustomError("timestamp", message, {"example": _EXAMPLE})


Instant = Annotated[datetime, PlainValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 with an offset, at most microseconds."""

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
        raise wrong(start="must be before end", end="must be after start")
    return Question(sensor_id, start, end)


def only(*names: str) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that refuses parameters of other names, and those that come twice."""

    async def refuse(request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        faults = {name: "is not known here" for name in given if name not in names}
        faults |= {name: "is given more than once" for name in given if given.count(name) > 1}
        if faults:
            raise wrong(**faults)

    return refuse
