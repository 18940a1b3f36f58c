"""`/sensors`, `/labels` and `/labels/{name}/values`: the catalogue in pages."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from services.contract.instants import instant_of, micros_of
from services.platform.http.errors import problem_responses
from services.platform.http.parameters import only, wrong
from services.platform.runtime.metrics import rows_returned
from services.platform.settings import QuerySettings

from ..fetch import Fetcher
from ..shares import asker
from ..table import Table
from .choice import chosen_rows
from .parameters import MATCH_REPEATED, Matches, matches_of
from .plans import label_names, label_values, newest, pages
from .selection import Selection, selection

__all__ = ["catalogue"]

_USUAL = 1000
"""Rows of a page where no limit is given."""

_SENSOR: JsonDict = {
    "sensor_id": "sensor-1",
    "name": None,
    "field": None,
    "labels": None,
    "kind": None,
    "unit": None,
    "first_seen": "2025-10-22T21:00:00Z",
    "latest": {"timestamp": "2025-10-22T22:06:00Z", "value": 114.0, "age": 12.5},
}


class Newest(BaseModel):
    """The newest reading of a sensor."""

    model_config = ConfigDict(extra="forbid")

    timestamp: datetime
    value: float
    age: float = Field(description="Seconds from its timestamp to now.")


class Sensor(BaseModel):
    """A sensor of the catalogue; a plain one has no name, field and labels."""

    model_config = ConfigDict(extra="forbid")

    sensor_id: str
    name: str | None
    field: str | None
    labels: dict[str, str] | None
    kind: str | None
    unit: str | None
    first_seen: datetime
    latest: Newest | None = Field(default=None, description="With `stats` alone; null where there is no reading.")


class SensorPage(BaseModel):
    """Sensors in the order of their ids' code points."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"data": [_SENSOR]}]})

    data: list[Sensor]
    next: str = Field(default="", description="What to give as `after` for what follows; absent where nothing does.")


class TextPage(BaseModel):
    """Texts in the order of their code points."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"data": ["room", "site"]}]})

    data: list[str]
    next: str = Field(default="", description="What to give as `after` for what follows; absent where nothing does.")


After = Annotated[str, Query(pattern=r"^[^\u0000]*$", description="`next` of the page before.")]


def catalogue(fetcher: Fetcher, settings: QuerySettings, ready: Callable[[], Awaitable[None]]) -> APIRouter:
    """Return the routes; each asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(
        tags=["catalogue"],
        dependencies=[Depends(ready)],
        responses=problem_responses("invalid_parameter", "rate_limited", "database_unavailable", "query_timeout"),
    )
    limits = Query(ge=1, le=settings.max_page, description="Most rows of this page.")
    usual = min(_USUAL, settings.max_page)
    names = only("match", "limit", "after", repeatable=MATCH_REPEATED)

    def chosen_by(match: Matches = []) -> Selection:  # noqa: B006 -- FastAPI copies it
        faults: dict[str, str] = {}
        matches = matches_of(match, faults)
        if faults:
            raise wrong(**faults)
        return selection(matches)

    Chosen = Annotated[Selection, Depends(chosen_by)]  # noqa: N806 -- a type
    Limit = Annotated[int, limits]  # noqa: N806 -- a type

    @router.get(
        "/sensors",
        summary="Sensors of the catalogue",
        response_model=SensorPage,
        dependencies=[Depends(only("match", "limit", "after", "stats", repeatable=MATCH_REPEATED))],
    )
    async def sensors(
        request: Request,
        chosen: Chosen,
        limit: Limit = usual,
        after: After = "",
        stats: Annotated[bool, Query(description="Whether each has its newest reading and the age of it.")] = False,
    ) -> Response:
        """Return the sensors that `match` chooses, all without it, in pages in the order of their ids.

        `next` is there where more follow: give it back as `after`, with the same `match`.
        """
        whose = asker(request)
        table = await chosen_rows(fetcher, pages(chosen, after, limit), chosen, limit + 1, whose)
        page = _sensors(table.head(limit))
        if stats and page:
            readings = await _newest(fetcher, [sensor["sensor_id"] for sensor in page], whose)
            page = [{**sensor, "latest": readings.get(sensor["sensor_id"])} for sensor in page]
        rows_returned.add(len(page), {"route": "/sensors"})
        return _page(page, page[-1]["sensor_id"] if len(table) > limit else None)

    @router.get("/labels", summary="Names of labels", response_model=TextPage, dependencies=[Depends(names)])
    async def labels(request: Request, chosen: Chosen, limit: Limit = usual, after: After = "") -> Response:
        """Return the names of the labels of the sensors that `match` chooses, all without it.

        `__name__` and `__field__` are among them where a sensor has a name, or a field.
        """
        table = await chosen_rows(
            fetcher, label_names(chosen, after, limit), chosen, limit + 1, asker(request), distinct="label"
        )
        return _texts(table, limit, "/labels")

    @router.get(
        "/labels/{name:path}/values",
        summary="Values of a label",
        response_model=TextPage,
        dependencies=[Depends(names)],
    )
    async def values(
        request: Request,
        name: Annotated[str, Path(min_length=1, pattern=r"^[^\u0000]+$", description="The label.", examples=["site"])],
        chosen: Chosen,
        limit: Limit = usual,
        after: After = "",
    ) -> Response:
        """Return the values that a label has among the sensors that `match` chooses, all without it."""
        table = await chosen_rows(
            fetcher, label_values(name, chosen, after, limit), chosen, limit + 1, asker(request), distinct="label"
        )
        return _texts(table, limit, "/labels/{name}/values")

    return router


async def _newest(fetcher: Fetcher, sensors: list[str], whose: str) -> Mapping[str, Mapping[str, object]]:
    """Return the newest readings by their sensors."""
    found: dict[str, Mapping[str, object]] = {}
    async with fetcher.fetch(newest(sensors, None, None, spread=fetcher.spread), whose) as batches:
        async for batch in batches:
            now = micros_of(datetime.now(UTC))
            ids, at = batch["sensor_id"], batch["timestamp"].values.tolist()
            for place, instant, value in zip(ids.values.tolist(), at, batch["value"].values.tolist(), strict=True):
                age = (now - instant) / 1_000_000
                found[ids.texts[place]] = {"timestamp": instant_of(instant), "value": value, "age": age}
    return found


def _texts(table: Table, limit: int, route: str) -> Response:
    """Return a page of the texts of a table's column `label`."""
    texts = table["label"].items()
    rows_returned.add(min(len(texts), limit), {"route": route})
    return _page(texts[:limit], texts[limit - 1] if len(texts) > limit else None)


def _sensors(table: Table) -> list[dict[str, Any]]:
    columns = {name: table[name].items() for name in Sensor.model_fields if name in table.columns}
    columns["labels"] = [None if text is None else orjson.Fragment(text) for text in columns["labels"]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _page(rows: list[Any], following: str | None) -> Response:
    body = {"data": rows} if following is None else {"data": rows, "next": following}
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), media_type="application/json")
