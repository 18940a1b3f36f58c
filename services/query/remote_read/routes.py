"""Remote read as a route: labels to sensors by the catalogue, their readings to samples.

A labelled series has its name as `__name__`, its field as `__field__`, and its labels; a plain sensor is
`sensor_data{sensor_id="…"}`. Samples have milliseconds: of several readings in one, the last by (timestamp, id) is it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from numpy.typing import NDArray

from services.contract.instants import instant_of, micros_of
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import only, wrong
from services.platform.runtime.metrics import rows_returned
from services.platform.settings import QuerySettings

from ..body import received
from ..catalogue.choice import chosen_rows
from ..catalogue.patterns import PatternError, regular_expression
from ..catalogue.plans import pages
from ..catalogue.selection import selection
from ..catalogue.selector import FIELD, ID, NAME, Match, Selector
from ..catalogue.selector import Matcher as Condition
from ..fetch import Fetcher
from ..plan import FIRST, LAST
from ..series.groups import EACH, unlabelled
from ..series.plan import plan
from ..series.question import SeriesQuestion
from ..series.steps import Span
from ..shares import asker
from ..table import Table
from .messages import (
    MEDIA_TYPE,
    Matcher,
    MatcherKind,
    MessageError,
    Packed,
    Query,
    decode_request,
    encode_response,
    samples,
    series,
)

__all__ = ["remote_read"]

_PATH = "/api/v1/read"

_PLAIN, _SENSOR_LABEL = "sensor_data", "sensor_id"
"""The name that plain sensors have, and the label of their ids."""

_UTC = ZoneInfo("UTC")


class _Samples(NamedTuple):
    """Readings of a question's sensors, a row each: the sensor's place, the time, and the value."""

    places: NDArray[np.int64]
    millis: NDArray[np.int64]
    values: NDArray[np.float64]


class _Asked(NamedTuple):
    """A query: which sensors it chooses, and its range, `start <= timestamp < end`."""

    matches: Sequence[Match]
    start: datetime
    end: datetime


_NOTHING = _Samples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def remote_read(fetcher: Fetcher, settings: QuerySettings, ready: Callable[[], Awaitable[None]]) -> APIRouter:
    """Return the route; it asks `ready` first, which raises a problem as long as nothing can be asked."""
    router = APIRouter(tags=["questions"], dependencies=[Depends(ready)])

    @router.post(
        _PATH,
        summary="Prometheus' remote read",
        dependencies=[Depends(only())],
        response_class=Response,
        responses={
            200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
            **problem_responses(
                *("malformed_body", "body_too_large", "body_timeout", "invalid_parameter"),
                *("unsupported_media_type", "unsupported_encoding", "rate_limited"),
                *("database_unavailable", "query_timeout"),
            ),
        },
        openapi_extra={
            "parameters": [
                {"in": "header", "name": "Content-Encoding", "required": True, "schema": {"enum": ["snappy"]}}
            ],
            "requestBody": {
                "required": True,
                "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            },
        },
    )
    async def read(request: Request) -> Response:
        """Return the samples of each query, as a snappy block of protobuf; only SAMPLES are answered, not chunks.

        Matchers choose sensors of the catalogue: a labelled series by `__name__`, `__field__` and its labels, a plain
        sensor as `sensor_data` by its `sensor_id`. Of several readings in one millisecond the last one is the sample.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise Problem("unsupported_media_type", f"a request is protobuf; send Content-Type: {MEDIA_TYPE}")
        if request.headers.get("content-encoding", "").strip().lower() != "snappy":
            raise Problem("unsupported_encoding", "a request is a block of snappy; send Content-Encoding: snappy")
        try:
            # Thousands of expressions take their time.
            asked = await asyncio.to_thread(_asked, await received(request, settings))
        except MessageError as error:
            raise Problem("malformed_body", str(error)) from None
        results, rows = [], 0
        for one in asked:
            found, taken = await _found(fetcher, one, settings, settings.max_samples - rows, asker(request))
            results.append(found)
            rows += taken
        rows_returned.add(rows, {"route": _PATH})

        async def body() -> AsyncIterator[bytes]:
            for part in encode_response(results):
                yield part

        return StreamingResponse(body(), media_type=MEDIA_TYPE, headers={"Content-Encoding": "snappy"})

    return router


def _asked(body: bytes) -> list[_Asked]:
    """Return what the queries of a request ask for.

    Raises:
        MessageError: it is no such request.
        Problem: invalid_parameter.
    """
    return [_Asked(_matches(query.matchers), *_range(query)) for query in decode_request(body)]


def _range(query: Query) -> tuple[datetime, datetime]:
    """Return a query's range as far as there can be readings; what lies outside of the years 1 to 9999 is empty."""
    first, last = (micros_of(end) for end in (FIRST, LAST))
    start, end = (min(max(end * 1000, first), last) for end in (query.start, query.end + 1))
    return instant_of(start), instant_of(end)


async def _found(
    fetcher: Fetcher, asked: _Asked, settings: QuerySettings, most: int, whose: str
) -> tuple[list[Packed], int]:
    """Return the series that are chosen and have samples, and of how many readings, at most so many.

    Raises:
        Problem: invalid_parameter, database_unavailable, query_timeout.
    """
    if asked.start >= asked.end:
        return [], 0
    chosen = selection(asked.matches)
    plan_of_sensors = pages(chosen, "", settings.max_sensors)
    sensors = await chosen_rows(fetcher, plan_of_sensors, chosen, settings.max_sensors + 1, whose)
    if len(sensors) > settings.max_sensors:
        raise wrong(
            matchers=f"choose more than the {settings.max_sensors} sensors of MILLRACE_QUERY_MAX_SENSORS; "
            "choose fewer, such as by a further label"
        )
    if not len(sensors):
        return [], 0
    ids, start, end = tuple(sensors["sensor_id"].items()), micros_of(asked.start), micros_of(asked.end)
    question = SeriesQuestion(ids, asked.start, asked.end, _UTC, (), None, None, "none", (EACH,), Span(start, end, end))
    parts: dict[int, list[Packed]] = {}
    rows, held = 0, _NOTHING
    async with fetcher.fetch(plan(question, unlabelled(ids, question.by), spread=fetcher.spread), whose) as batches:
        async for batch in batches:
            rows += len(batch)
            if rows > most:
                raise wrong(
                    matchers=f"choose more than the {settings.max_samples} readings of MILLRACE_QUERY_MAX_SAMPLES; "
                    "ask about a shorter range or fewer series"
                )
            places, micros, values = (batch[name].values for name in ("sensor_id", "timestamp", "value"))
            whole, held = _last_of_each(held, _Samples(places, micros // 1000, values))
            _pack(whole, parts)
    _pack(held, parts)
    labels = _labels(sensors)
    return [series(labels[place], packed) for place, packed in parts.items()], rows


def _matches(matchers: Sequence[Matcher]) -> list[Match]:
    """Return what matchers choose among labelled series, and among plain sensors where these can fit.

    Raises:
        Problem: invalid_parameter.
    """
    try:
        conditions = [_condition(matcher.name, matcher) for matcher in matchers]
        found: list[Match] = [Selector((Condition(NAME, "", negated=True), *conditions))]
        plain = [Condition(NAME, "", negated=False)]
        for matcher in matchers:
            if matcher.name in {_SENSOR_LABEL, ID}:
                plain.append(_condition(ID, matcher))
            elif not _fits(matcher, _PLAIN if matcher.name == NAME else ""):
                return found
    except PatternError as error:
        raise wrong(matchers=f"a value {error}") from None
    return [*found, Selector(tuple(plain))]


def _condition(label: str, matcher: Matcher) -> Condition:
    """Return a matcher in the catalogue's words, about the label that has the value there."""
    expression = matcher.kind in {MatcherKind.MATCHES, MatcherKind.MATCHES_NOT}
    negated = matcher.kind in {MatcherKind.NOT_EQUAL, MatcherKind.MATCHES_NOT}
    return Condition(label, regular_expression(matcher.value) if expression else matcher.value, negated=negated)


def _fits(matcher: Matcher, value: str) -> bool:
    wanted = _condition(matcher.name, matcher)
    same = wanted.value == value if isinstance(wanted.value, str) else wanted.value.fits(value)
    return same != wanted.negated


def _labels(sensors: Table) -> list[Mapping[str, str]]:
    """Return each sensor's labels, as an answer names them."""
    columns = (sensors[column].items() for column in ("sensor_id", "name", "field", "labels"))
    return [
        {_SENSOR_LABEL: sensor_id, NAME: _PLAIN}
        if name is None
        else {**orjson.loads(labels or "{}"), NAME: name, **({FIELD: field} if field else {})}
        for sensor_id, name, field, labels in zip(*columns, strict=True)
    ]


def _last_of_each(held: _Samples, batch: _Samples) -> tuple[_Samples, _Samples]:
    """Return the last reading of each sensor's milliseconds, and behind them the one that is not known to be such.

    Readings come in the order of sensor, timestamp and id; `held` is the one that the batch before has left.
    """
    places, millis, values = (np.concatenate(column) for column in zip(held, batch, strict=True))
    last = np.flatnonzero((np.diff(places) != 0) | (np.diff(millis) != 0))
    return _Samples(places[last], millis[last], values[last]), _Samples(places[-1:], millis[-1:], values[-1:])


def _pack(found: _Samples, into: dict[int, list[Packed]]) -> None:
    """Add the samples of each sensor to its parts."""
    if not len(found.places):
        return
    cuts = [0, *(np.flatnonzero(np.diff(found.places)) + 1).tolist(), len(found.places)]
    for low, high in pairwise(cuts):
        packed = samples(found.millis[low:high], found.values[low:high])
        into.setdefault(int(found.places[low]), []).append(packed)
