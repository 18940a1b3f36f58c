"""The readings of one request as they are read, whatever they were written in, and what their series are called."""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns, SeriesError
from services.contract.series import unit_of
from services.platform.http.errors import Problem

from ...naming import MOST_LABEL_BYTES, Named, SeriesDictionary, identified
from ...readings import AGENT_ROWS, Decoded, Fault
from .attributes import Label, Origin, merged
from .points import Shape, Told, readings

__all__ = ["Form", "Gathering", "Metric", "Names", "Numbers", "series_kind"]

_MOST_REMEMBERED = 200_000


def series_kind(kind: str, data: Any) -> str:
    """Return the kind of the series of a metric by the name of what its data are, and, of a sum, by the data."""
    if kind == "sum":
        return "counter" if data.is_monotonic else "updowncounter"
    return "histogram" if kind == "exponential_histogram" else kind


class Form(NamedTuple):
    """How to read what is written in one form of OTLP.

    Attributes:
        told: reads a field of a point that may be absent.
        packed: returns the attributes of a point as they came.
        attributes: reads such attributes.
        origin: reads a resource and a scope as they came.
    """

    told: Told
    packed: Callable[[Any], Hashable]
    attributes: Callable[[Any], list[Label]]
    origin: Callable[[Any], Origin]


@dataclass(slots=True)
class Metric:
    """A metric of one scope, and the series that its points have been met as.

    Attributes:
        name: its own.
        kind: of its series.
        unit: of their values; None where it has none.
        origin: labels that it shares with others; what is wrong with them, where something is.
        known: series of points, by the points' attributes as they came and their shape.
    """

    name: str
    kind: str
    unit: str | None
    origin: Origin | SeriesError
    known: dict[Hashable, tuple[Named, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class ScopeMetrics:
    """The metrics of one scope of one resource by name, kind and unit, as far as they have been met."""

    origin: Origin | SeriesError
    metrics: dict[tuple[str, str, str], Metric] = field(default_factory=dict)


class Names:
    """Remembers metrics and what their series are called, for requests of one form. One a process and form.

    Attributes:
        form: reads what nobody has met.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self._scopes: dict[Hashable, ScopeMetrics] = {}
        self._size = 0

    def forget(self) -> None:
        """Forget all where it is too much. Between requests: these hold on to metrics."""
        if self._size > _MOST_REMEMBERED:
            self._scopes.clear()
            self._size = 0

    def scope(self, origin: Hashable) -> ScopeMetrics:
        """Return a scope by it and its resource, as these came."""
        found = self._scopes.get(origin)
        if found is None:
            try:
                labels: Origin | SeriesError = self.form.origin(origin)
            except SeriesError as error:
                labels = error
            found = self._scopes[origin] = ScopeMetrics(labels)
            self._size += 1
        return found

    def metric(self, scope: ScopeMetrics, name: str, kind: str, unit: str) -> Metric:
        """Return a metric of a scope by its name, the kind of its series, and its unit as it came."""
        key = name, kind, unit
        found = scope.metrics.get(key)
        if found is None:
            found = scope.metrics[key] = Metric(name, kind, unit_of(unit), scope.origin)
            self._size += 1
        return found

    def named(self, metric: Metric, key: Hashable, packed: Any, shape: Shape) -> tuple[Named, ...]:
        """Return the series of points that a key stands for, made of attributes where nobody has met it.

        Raises:
            SeriesError: one breaks the limits, or the attributes of the point or its origin are wrong.
            Problem: `too_many_rows`.
        """
        found = metric.known.get(key)
        if found is None:
            if isinstance(metric.origin, SeriesError):
                raise metric.origin.with_traceback(None)
            if not metric.name:
                raise SeriesError("name", "missing", "the metric has no name")
            found = metric.known[key] = _made(metric, metric.origin, self.form.attributes(packed), shape)
            self._size += len(found)
        return found


def _made(metric: Metric, origin: Origin, attributes: list[Label], shape: Shape) -> tuple[Named, ...]:
    made, size = list[Named](), 0
    for suffix, own in shape.parts():
        labels = dict(merged(own, attributes, origin))
        made.append(identified(metric.name + suffix, labels, kind=metric.kind, unit=metric.unit))
        size += made[-1].size
        if size > MOST_LABEL_BYTES:
            detail = f"the buckets of {metric.name[:40]!r} repeat more than {MOST_LABEL_BYTES // 1024**2} MiB of labels"
            raise Problem("too_many_rows", detail)
    return tuple(made)


class Numbers(NamedTuple):
    """Readings as columns; all have one item a reading.

    Attributes:
        positions: of their points in the request.
        codes: series of the request's dictionary.
        nanos: instants in nanoseconds since 1970, 0 where a point says none.
        values: what was measured.
    """

    positions: NDArray[np.intp]
    codes: NDArray[np.uint32]
    nanos: NDArray[np.uint64]
    values: NDArray[np.float64]

    def chosen(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Numbers":
        """Return the chosen readings."""
        return Numbers(self.positions[rows], self.codes[rows], self.nanos[rows], self.values[rows])


@dataclass(slots=True)
class _Rows:
    """What `Numbers` are, while they grow."""

    positions: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    nanos: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def numbers(self) -> Numbers:
        return Numbers(
            np.array(self.positions, np.intp),
            np.array(self.codes, np.uint32),
            np.array(self.nanos, np.uint64),
            np.array(self.values, np.float64),
        )


class Gathering:
    """The readings of one request, and what is wrong with its points or not kept of them.

    Attributes:
        names: what series are called.
        skipped: counts what is not kept.
        dictionary: the series of the request.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.skipped = Counter[str]()
        self._faults: list[Fault] = []
        self.dictionary = SeriesDictionary()
        self._blocks: list[Numbers] = []
        self._rows = _Rows()

    def add_numbers(self, numbers: Numbers) -> None:
        """Add readings whose series have their codes."""
        self._blocks.append(numbers)

    def add(self, position: int, metric: Metric, kind: str, point: Any) -> None:
        """Add the readings of a point of a metric of this kind.

        Raises:
            Problem: `too_many_rows`.
        """
        form = self.names.form
        self.skipped["exemplars"] += 0 if kind == "summary" else len(point.exemplars or ())
        try:
            found = readings(kind, point, form.told)
            if found is None:
                self.skipped["no_recorded_value"] += 1
                return
            shape, values = found
            packed = form.packed(point)
            named = self.names.named(metric, (packed, shape), packed, shape)
        except SeriesError as error:
            self.refuse(position, error)
            return
        self.skipped["exponential_buckets"] += kind == "exponential_histogram"
        rows = self._rows
        rows.positions += [position] * len(named)
        rows.codes += map(self.dictionary.code, named)
        rows.nanos += [point.time_unix_nano or 0] * len(named)
        rows.values += values
        _check_rows(len(rows.values))

    def refuse(self, position: int, error: SeriesError) -> None:
        """Tell what is wrong with a point."""
        self._faults.append(Fault(position, error.part, error.code, str(error)))

    def decoded(self) -> Decoded:
        """Return all readings in the order of their points, which alone decides it: their hash must not change.

        Raises:
            Problem: `too_many_rows`.
        """
        blocks = [*self._blocks, self._rows.numbers()]
        numbers = Numbers(*map(np.concatenate, zip(*blocks, strict=True)))
        _check_rows(len(numbers.values))
        if (np.diff(numbers.positions) < 0).any():
            numbers = numbers.chosen(np.argsort(numbers.positions, kind="stable"))
        finite, timed = np.isfinite(numbers.values), numbers.nanos > 0
        self.skipped["not_finite"] += int(np.count_nonzero(~finite))
        for position in np.unique(numbers.positions[~timed]).tolist():
            self._faults.append(Fault(position, "time_unix_nano", "missing", "the point has no time (timeUnixNano)"))
        kept = numbers.chosen(finite & timed)
        self.skipped["nanoseconds"] += int(np.count_nonzero(kept.nanos % 1000))
        micros = (kept.nanos // 1000).astype(np.int64)
        dictionary = self.dictionary.done()
        columns = Columns(dictionary.sensor_ids, kept.codes, micros, kept.values, dictionary.series)
        if len(kept.values) < len(numbers.values):
            columns = columns.compact()
        return Decoded(columns, kept.positions, self._faults, skipped=+self.skipped, label_bytes=dictionary.size)


def _check_rows(rows: int) -> None:
    if rows > AGENT_ROWS:
        detail = f"more than {AGENT_ROWS} readings in one request, a bucket of a histogram being one: send smaller ones"
        raise Problem("too_many_rows", detail)
