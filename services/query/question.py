"""A question, once its parameters are known to be right."""

from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["FIRST", "LAST", "Question"]

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Question:
    """One sensor and a half-open range of time: `start <= timestamp < end`."""

    sensor_id: str
    start: datetime
    end: datetime
