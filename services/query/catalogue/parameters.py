"""Parameters that the routes over the catalogue share."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query
from pydantic import WithJsonSchema

from services.contract.codec import MAX_SENSOR_ID

from .selector import Match, SelectorError, parse_all

__all__ = ["ID_SCHEMA", "MATCH_REPEATED", "MATCH_SCHEMA", "Matches", "SensorIds", "matches_of"]

MATCH_REPEATED = {"match"}

ID_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_SENSOR_ID,
    "pattern": r"^[^\u0000]+$",
}
MATCH_SCHEMA: Mapping[str, Any] = {"type": "string", "minLength": 1}
"""What OpenAPI says of a sensor's id, and of what chooses sensors."""

SensorIds = Annotated[
    list[Annotated[str, WithJsonSchema({**ID_SCHEMA})]],
    Query(description="The sensors, to the letter; repeated for several.", examples=[["sensor-1"]]),
]

Matches = Annotated[
    list[Annotated[str, WithJsonSchema({**MATCH_SCHEMA})]],
    Query(
        description="Chooses sensors of the catalogue: a glob over ids such as `boiler-*`, or a selector such as "
        '`name{label="v",other!="w",third=~"re",fourth!~"re"}`; repeated for any of several.',
        examples=[["sensor-*"]],
    ),
]


def matches_of(texts: Sequence[str], faults: dict[str, str]) -> tuple[Match, ...]:
    """Return what the parameter `match` chooses, nothing where it is wrong; the fault is noted by its name."""
    try:
        return parse_all(texts)
    except SelectorError as error:
        faults["match"] = str(error)
        return ()
