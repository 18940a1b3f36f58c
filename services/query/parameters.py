"""What a question may say: each parameter with its form, its limits and the message where it is wrong."""

from datetime import datetime
from typing import Annotated

from fastapi import Query

from services.contract.codec import MAX_SENSOR_ID
from services.platform.http.parameters import Instant, wrong

from .question import FIRST, LAST, Question

__all__ = ["bounded", "unbounded"]

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
