"""The answers' shapes, as the API's documentation shows them; the encoders write them without these classes."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.config import JsonDict

__all__ = ["Hourly", "Least", "ReadingList"]

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
