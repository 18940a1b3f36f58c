"""The parameters of `/series` as a question, or what is wrong with each of them."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from services.contract.codec import MAX_SENSOR_ID
from services.contract.instants import instant_of, micros_of

from ..catalogue.selector import Match, parse_all
from ..grid import Bucket, Grid, GridError, moment, parse_bucket, whole, zone_of
from .aggregates import AGGREGATES, is_aggregate, percentiles_of
from .form import Form, form_of, position_of, too_many_points
from .groups import ALL, EACH
from .merge import FILLS
from .steps import Span

__all__ = ["Limits", "Parameters", "QuestionError", "SeriesQuestion", "ask", "with_sensors"]

T = TypeVar("T")

_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_UTC = ZoneInfo("UTC")

_MOST_NAMES = 10
"""Percentiles, or labels, of one question."""

_LADDER = (
    *(Bucket(count, "ms") for count in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(Bucket(count, unit) for unit in ("s", "m") for count in (1, 2, 5, 10, 15, 30)),
    *(Bucket(count, "h") for count in (1, 2, 3, 6, 12)),
    *(Bucket(count, "d") for count in (1, 7)),
    *(Bucket(count, "mo") for count in (1, 3)),
    *(Bucket(count, "y") for count in (1, 10, 100, 1000)),
)
"""Lengths that a refusal may propose."""


class QuestionError(ValueError):
    """A question that is not answered: `faults` are messages by the parameters' names."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in faults.items()))
        self.faults = dict(faults)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one question may ask for: sensors, cells, which are sensors times buckets, and rows of a page."""

    sensors: int
    cells: int
    rows: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a client wrote, None where a parameter is absent."""

    sensor_id: Sequence[str]
    start: str
    end: str | None = None
    agg: str | None = None
    bucket: str | None = None
    tz: str | None = None
    fill: str | None = None
    by: str | None = None
    match: Sequence[str] = ()
    layout: str | None = None
    epoch: str | None = None
    order: str | None = None
    limit: str | None = None
    cursor: str | None = None
    points: str | None = None
    downsample: str | None = None

    def by_name(self) -> Mapping[str, Any]:
        """Return the parameters by their names, repeated ones in an order of their own."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: sorted(value) if isinstance(value, list | tuple) else value for name, value in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class SeriesQuestion:
    """A question that can be answered.

    Attributes:
        sensors: distinct ids in the order of the answer, that of their code points.
        start, end: half-open, `start <= timestamp < end`.
        zone: whose calendar the buckets follow, and in whose time instants are written.
        aggregates: names out of `AGGREGATES`; none where the readings themselves are asked for.
        bucket: None where the range is one bucket, or readings are asked for.
        grid: the buckets; None where readings are asked for.
        fill: what stands in buckets without readings: a name out of `FILLS`, or a number.
        matches: choose further sensors of the catalogue, which `with_sensors` adds.
        form: what the answer looks like.
        by: what sensors are aggregated by: `sensor_id` alone, `all` alone, or names of labels.
        span: the range, and until when its last values are held.
    """

    sensors: tuple[str, ...]
    start: datetime
    end: datetime
    zone: ZoneInfo
    aggregates: tuple[str, ...]
    bucket: Bucket | None
    grid: Grid | None
    fill: str | float
    by: tuple[str, ...]
    span: Span
    matches: tuple[Match, ...] = ()
    form: Form = field(default_factory=Form)


def ask(given: Parameters, now: int, limits: Limits) -> SeriesQuestion:
    """Return the question that parameters ask at an instant.

    Raises:
        QuestionError: some are wrong, each named, or together they ask for too much.
    """
    faults: dict[str, str] = {}

    def read(name: str, reader: Callable[[], T], otherwise: T) -> T:
        try:
            return reader()
        except ValueError as error:
            faults[name] = str(error)
            return otherwise

    after = read("cursor", lambda: position_of(given.by_name()), None)
    # What `now` was on the first page it is on all of them.
    now = now if after is None else after.now
    zone = read("tz", lambda: zone_of("UTC" if given.tz is None else given.tz), _UTC)
    start = read("start", lambda: moment(given.start, now, zone), 0)
    end = read("end", lambda: now if given.end is None else moment(given.end, now, zone), now)
    sensors = read("sensor_id", lambda: _sensors(given.sensor_id, limits.sensors), _sensors((), 0))
    matches = read("match", lambda: parse_all(given.match), parse_all(()))
    aggregates = read("agg", lambda: _aggregates(given.agg), _aggregates(None))
    bucket = read("bucket", lambda: None if given.bucket is None else parse_bucket(given.bucket), None)
    fill = read("fill", lambda: _fill(given.fill), _fill(None))
    if not given.sensor_id and not given.match:
        faults["sensor_id"] = "name a sensor, or choose some by match"
    by = read("by", lambda: _by(given.by, aggregates), _by(None, ()))
    if not faults.keys() & {"start", "end"} and start >= end:
        faults |= {"start": "must be before end, by a microsecond or more", "end": "must be after start"}
    if given.bucket is not None and given.agg is None:
        faults.setdefault("bucket", "needs agg, which says what a bucket tells, such as agg=avg")
    if fill != "none" and given.bucket is None:
        faults.setdefault("fill", "needs bucket; without it there are no gaps")
    if given.by not in {None, EACH} and given.agg is None:
        faults.setdefault("by", "needs agg, which says what is made of the readings of several sensors")
    form, wrong = form_of(
        given.by_name(), after, sensors=max(len(sensors), 1), most_rows=limits.rows, most_points=limits.cells
    )
    faults |= wrong
    if faults:
        raise QuestionError(faults)
    values = _values(form, aggregates)
    count = max(len(sensors), 1)
    grid = _grid(start, end, bucket, zone, sensors=count, values=values, most=limits.cells) if aggregates else None
    # What a value will be behind now nobody knows.
    span = Span(start, end, min(end, now))
    ends = instant_of(start), instant_of(end)
    return SeriesQuestion(sensors, *ends, zone, aggregates, bucket, grid, fill, by, span, matches, form)


def with_sensors(question: SeriesQuestion, sensors: Sequence[str], limits: Limits) -> SeriesQuestion:
    """Return a question about the sensors that it names or chooses, in the order of their code points.

    Raises:
        QuestionError: with them it is too large.
    """
    values = _values(question.form, question.aggregates)
    if question.grid is not None and len(sensors) * len(question.grid) * values > limits.cells:
        ends = micros_of(question.start), micros_of(question.end)
        _grid(*ends, question.bucket, question.zone, sensors=len(sensors), values=values, most=limits.cells)
    if fault := too_many_points(question.form.points or 0, len(sensors), limits.cells):
        raise QuestionError({"points": fault})
    return replace(question, sensors=tuple(sensors))


def _once(names: Sequence[str]) -> None:
    """Raise ValueError where a name comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"names {name} more than once")
        seen.add(name)


def _sensors(given: Sequence[str], most: int) -> tuple[str, ...]:
    if len(given) > most:
        raise ValueError(f"names {len(given)} sensors, MILLRACE_QUERY_MAX_SENSORS allows {most}; ask for them in parts")
    for sensor in given:
        if not 1 <= len(sensor) <= MAX_SENSOR_ID or "\0" in sensor:
            raise ValueError(f"is 1 to {MAX_SENSOR_ID} characters, none of them NUL")
    _once(given)
    return tuple(sorted(given))


def _aggregates(text: str | None) -> tuple[str, ...]:
    names = () if text is None else tuple(text.split(","))
    for name in names:
        if not is_aggregate(name):
            raise ValueError(f"has {name[:40]!r}, which is none of {', '.join(AGGREGATES)}, median, and p0 to p100")
    _once(names)
    if len(percentiles_of(names)) > _MOST_NAMES:
        raise ValueError(f"names more than {_MOST_NAMES} percentiles; ask for them in parts")
    return names


def _by(text: str | None, aggregates: Sequence[str]) -> tuple[str, ...]:
    names = (EACH,) if text is None else tuple(text.split(","))
    if len(names) > _MOST_NAMES:
        raise ValueError(f"names more than {_MOST_NAMES} labels; take fewer")
    for name in names:
        if not name or "\0" in name or len(name) > MAX_SENSOR_ID:
            raise ValueError(
                f"is sensor_id, all, or names of labels by commas, each of 1 to {MAX_SENSOR_ID} characters"
            )
        if len(names) > 1 and name in {EACH, ALL}:
            raise ValueError(f"has {name} beside others, where it stands alone; leave the others out, or {name}")
        if name in {"timestamp", *aggregates}:
            raise ValueError(f"has {name}, which is the name of another key of a row; take another label")
    _once(names)
    return names


def _fill(text: str | None) -> str | float:
    if text is None or text in FILLS:
        return text or "none"
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError(f"is none of {', '.join(FILLS)}, and no number")
    return number


def _values(form: Form, aggregates: Sequence[str]) -> int:
    """Return how many cells a bucket of a sensor counts as: `wide` has a column for each aggregate."""
    return len(aggregates) if form.layout == "wide" else 1


def _grid(start: int, end: int, bucket: Bucket | None, zone: ZoneInfo, *, sensors: int, values: int, most: int) -> Grid:
    """Return the buckets of a question.

    Raises:
        QuestionError: they reach beyond what there is of time, or are too many.
    """
    try:
        buckets = 1 if bucket is None else Grid.most(start, end, bucket, zone)
        if sensors * buckets * values <= most:
            return whole(start, end) if bucket is None else Grid.over(start, end, bucket, zone)
    except GridError as error:
        raise QuestionError({"bucket": str(error)}) from None
    cells = f"{sensors} × {buckets} cells (sensors × buckets)"
    if values > 1:
        cells = f"{sensors} × {buckets} × {values} cells (sensors × buckets × aggregates, as layout=wide has columns)"
    cells += f" are more than the {most} of MILLRACE_QUERY_MAX_CELLS"
    if sensors * values > most:
        raise QuestionError({"sensor_id": f"{cells}; ask for fewer sensors"})
    raise QuestionError({"bucket": f"{cells}; {_proposal(start, end, zone, most // (sensors * values))}"})


def _proposal(start: int, end: int, zone: ZoneInfo, most: int) -> str:
    """Return which usual bucket gives a range no more than so many."""
    for bucket in _LADDER:
        try:
            if Grid.most(start, end, bucket, zone) <= most:
                return f"the smallest usual bucket that fits is {bucket}"
        except GridError:
            break
    return "leave bucket out for one value over the whole range, or ask for less"
