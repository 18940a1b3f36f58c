"""`/latest`: the newest reading of each sensor, or the one that held at an instant."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.contract.codec import MAX_SENSOR_ID
from services.contract.instants import instant_of, micros_of
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import only, wrong
from services.platform.runtime.metrics import rows_returned
from services.platform.settings import QuerySettings

from ..fetch import Fetcher
from ..formats import FORMATS, Shape
from ..grid import EPOCHS, GridError, moment, written, zone_of, zoned
from ..negotiation import media_type
from ..plan import Plan
from ..routes import OTHER_FORMATS, Format
from ..shares import asker
from ..streaming import REFUSALS, StreamedAnswer
from ..table import Column, Kind, Table
from .choice import TooManyError, ids_of
from .parameters import MATCH_REPEATED, Matches, SensorIds, matches_of
from .plans import newest
from .selection import selection
from .selector import Match

__all__ = ["latest"]

_PATH = "/latest"


class Newest(BaseModel):
    """A sensor's newest reading."""

    model_config = ConfigDict(extra="forbid")

    sensor_id: str
    timestamp: datetime | int = Field(description="With the offset of `tz`; with `epoch` an integer.")
    value: float


class Meta(BaseModel):
    """What an answer tells of itself."""

    model_config = ConfigDict(extra="forbid")

    at: str | None = Field(description="Null where the newest of all readings are asked for.")
    tz: str


class Latest(BaseModel):
    """Readings in the order of their sensors' code points; sensors without one are absent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "data": [{"sensor_id": "sensor-1", "timestamp": "2025-10-22T22:06:00Z", "value": 114.0}],
                    "meta": {"at": None, "tz": "UTC"},
                }
            ]
        },
    )

    data: list[Newest]
    meta: Meta


@dataclass(frozen=True, slots=True)
class _Question:
    """Which sensors, the last instant of a reading, and how instants are written."""

    sensors: tuple[str, ...]
    matches: tuple[Match, ...]
    at: datetime | None
    zone: ZoneInfo
    epoch: str | None


def _question(
    sensor_id: SensorIds = [],  # noqa: B006 -- FastAPI copies it
    match: Matches = [],  # noqa: B006
    at: Annotated[
        str | None,
        Query(
            description="The reading that held then, the newest up to and with this instant: RFC 3339 with an offset, "
            "13 digits of milliseconds, or an expression such as now-1d/d. The newest of all where it is absent.",
            examples=["2025-10-22T21:30:00Z"],
        ),
    ] = None,
    tz: Annotated[
        str | None, Query(description="IANA time zone, UTC where it is absent.", examples=["Europe/Berlin"])
    ] = None,
    epoch: Annotated[
        str | None,
        Query(description="Instants as integers since 1970-01-01 UTC.", json_schema_extra={"enum": list(EPOCHS)}),
    ] = None,
) -> _Question:
    faults: dict[str, str] = {}
    matches = matches_of(match, faults)
    if not sensor_id and not match:
        faults["sensor_id"] = "name a sensor, or choose some by match; match=* chooses all"
    if any(not 1 <= len(sensor) <= MAX_SENSOR_ID or "\0" in sensor for sensor in sensor_id):
        faults["sensor_id"] = f"is 1 to {MAX_SENSOR_ID} characters, none of them NUL"
    elif len(set(sensor_id)) < len(sensor_id):
        faults["sensor_id"] = "names a sensor more than once"
    zone = ZoneInfo("UTC")
    try:
        zone = zone_of(zone.key if tz is None else tz)
    except GridError as error:
        faults["tz"] = str(error)
    until = None
    try:
        until = None if at is None else instant_of(moment(at, micros_of(datetime.now(UTC)), zone))
    except GridError as error:
        faults["at"] = str(error)
    if epoch is not None and epoch not in EPOCHS:
        faults["epoch"] = f"is none of {', '.join(EPOCHS)}"
    if faults:
        raise wrong(**faults)
    return _Question(tuple(sensor_id), matches, until, zone, epoch)


def latest(fetcher: Fetcher, settings: QuerySettings, ready: Callable[[], Awaitable[None]]) -> APIRouter:
    """Return the route; it asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(
        tags=["questions"],
        dependencies=[Depends(ready)],
        responses=problem_responses("invalid_parameter", *REFUSALS),
    )
    names = only("sensor_id", "match", "at", "tz", "epoch", "format", repeatable={"sensor_id", *MATCH_REPEATED})

    @router.get(
        _PATH,
        summary="Newest readings",
        response_model=Latest,
        dependencies=[Depends(names)],
        responses=OTHER_FORMATS,
    )
    async def get_latest(
        request: Request, question: Annotated[_Question, Depends(_question)], wanted: Format = None
    ) -> Response:
        """Return each sensor's newest reading by timestamp, then id, or with `at` the one that held at that instant.

        Rows are in the order of the sensors' code points; a sensor without such a reading is absent. A sensor that is
        named is answered although the catalogue does not have it yet.
        """
        media = media_type(Shape.SERIES, wanted, request.headers.getlist("accept"))
        whose = asker(request)
        plan = await _plan(fetcher, question, settings.max_latest, whose)
        write = _writer(question, plan, media)
        return StreamedAnswer(fetcher.fetch(plan, whose), write, media, settings.max_answer_bytes)

    return router


async def _plan(fetcher: Fetcher, question: _Question, most: int, whose: str) -> Plan:
    """Return the plan of a question; what SQL must not be asked of the catalogue is checked before."""
    chosen = selection(question.matches) if question.matches else None
    sensors: Sequence[str] = question.sensors
    if chosen is not None and chosen.checks:
        try:
            sensors = await ids_of(fetcher, sensors, question.matches, most, "MILLRACE_QUERY_MAX_LATEST", whose=whose)
        except TooManyError as error:
            raise wrong(match=f"has regular expressions, and {error}") from None
        chosen = None
    return newest(sensors, chosen, question.at, spread=fetcher.spread)


def _writer(
    question: _Question, plan: Plan, media: str
) -> Callable[[AsyncIterator[Table]], AsyncGenerator[bytes, None]]:
    """Return what makes the answer's parts of a plan's batches."""
    kinds = plan.columns if question.epoch is None else {**plan.columns, "timestamp": Kind.INTEGER}
    at = None if question.at is None else written(micros_of(question.at), question.zone)

    async def write(batches: AsyncIterator[Table]) -> AsyncGenerator[bytes, None]:
        told = {"at": at, "tz": question.zone.key}
        with contextlib.closing(FORMATS[Shape.SERIES, media](kinds, told, question.zone.key)) as encoder:
            async for table in batches:
                yield encoder.rows(Table({**table.columns, "timestamp": _instants(table, question)}))
                rows_returned.add(len(table), {"route": _PATH})
            yield encoder.end()

    return write


def _instants(table: Table, question: _Question) -> Column:
    """Return the instants as the question wants them written."""
    values = table["timestamp"].values
    if question.epoch is not None:
        return Column(Kind.INTEGER, values // EPOCHS[question.epoch])
    return zoned(values, question.zone)
