"""OTLP in JSON, read into what its messages hold; attributes stay as they came, and are known by their bytes.

The mapping is that of proto3: names in lowerCamelCase, 64-bit integers as numbers or texts, NaN and infinities as
texts, null for what is absent. What has another name is passed over, as OTLP demands.
"""

from collections.abc import Iterator

import msgspec

from .attributes import SCOPE_NAME, SCOPE_VERSION, Label, Origin, labels, labels_of
from .gathering import Form, Gathering, Names, ScopeMetrics, series_kind

__all__ = ["FORM", "gather"]

_VALUES = ("string_value", "bool_value", "int_value", "double_value", "array_value", "kvlist_value", "bytes_value")
_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_SIGNED = range(-(2**63), 2**63)
_UNSIGNED = range(2**64)


class _Message(msgspec.Struct, rename="camel"):
    pass


class _ArrayValue(_Message):
    values: list["_AnyValue"] | None = None


class _Attributes(_Message):
    values: list["_Attribute"] | None = None


class _AnyValue(_Message):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | None = None
    double_value: float | None = None
    array_value: _ArrayValue | None = None
    kvlist_value: _Attributes | None = None
    bytes_value: str | None = None

    def __post_init__(self) -> None:
        _see_that(self, "int_value", _SIGNED)


class _Attribute(_Message):
    key: str = ""
    value: _AnyValue | None = None


class _Resource(_Message):
    attributes: list[_Attribute] | None = None


class _Scope(_Message):
    name: str | None = None
    version: str | None = None
    attributes: list[_Attribute] | None = None


class _Point(_Message):
    """A point of any kind: what another kind has is as absent as what is not known."""

    attributes: msgspec.Raw = msgspec.Raw()
    time_unix_nano: int | None = None
    flags: int | None = None
    exemplars: list[msgspec.Raw] | None = None

    def __post_init__(self) -> None:
        _see_that(self, "time_unix_nano", _UNSIGNED)


class _Number(_Point):
    as_double: float | None = None
    as_int: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _see_that(self, "as_int", _SIGNED)


class _Totals(_Point):
    count: int | None = None
    sum: float | None = None
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _see_that(self, "count", _UNSIGNED)


class _Histogram(_Totals):
    bucket_counts: list[int] | None = None
    explicit_bounds: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(count not in _UNSIGNED for count in self.bucket_counts or ()):
            raise ValueError("bucketCounts must be integers from 0 to 2^64-1")


class _ValueAtQuantile(_Message):
    quantile: float | None = None
    value: float | None = None


class _Summary(_Totals):
    quantile_values: list[_ValueAtQuantile] | None = None


class _Numbers(_Message):
    data_points: list[_Number] | None = None


class _Sum(_Numbers):
    is_monotonic: bool | None = None


class _Histograms(_Message):
    data_points: list[_Histogram] | None = None


class _ExponentialHistograms(_Message):
    data_points: list[_Totals] | None = None


class _Summaries(_Message):
    data_points: list[_Summary] | None = None


class _Metric(_Message):
    name: str | None = None
    unit: str | None = None
    gauge: _Numbers | None = None
    sum: _Sum | None = None
    histogram: _Histograms | None = None
    exponential_histogram: _ExponentialHistograms | None = None
    summary: _Summaries | None = None


class _ScopeMetrics(_Message):
    scope: msgspec.Raw = msgspec.Raw()
    metrics: list[_Metric] | None = None


class _ResourceMetrics(_Message):
    resource: msgspec.Raw = msgspec.Raw()
    scope_metrics: list[_ScopeMetrics] | None = None


class _Request(_Message):
    resource_metrics: list[_ResourceMetrics] | None = None


_request = msgspec.json.Decoder(_Request, strict=False)
_attributes_decoder = msgspec.json.Decoder(list[_Attribute] | None, strict=False)
_resource = msgspec.json.Decoder(_Resource | None, strict=False)
_scope = msgspec.json.Decoder(_Scope | None, strict=False)


def gather(body: bytes, gathering: Gathering) -> None:
    """Add the readings of a request.

    Raises:
        msgspec.MsgspecError, ValueError, RecursionError: it is none.
        Problem: `too_many_rows`.
    """
    position = 0
    for scope, metric in _metrics(_request.decode(body), gathering.names):
        kind = next((kind for kind in _KINDS if getattr(metric, kind) is not None), None)
        if kind is None:
            continue
        data = getattr(metric, kind)
        found = gathering.names.metric(scope, metric.name or "", series_kind(kind, data), metric.unit or "")
        points = data.data_points or ()
        for at, point in enumerate(points, position):
            gathering.add(at, found, kind, point)
        position += len(points)


def _metrics(request: _Request, names: Names) -> Iterator[tuple[ScopeMetrics, _Metric]]:
    """Yield metrics, each with its scope."""
    for of_resource in request.resource_metrics or ():
        resource = bytes(of_resource.resource)
        for of_scope in of_resource.scope_metrics or ():
            scope = names.scope((resource, bytes(of_scope.scope)))
            for metric in of_scope.metrics or ():
                yield scope, metric


def _see_that(message: _Message, field: str, lies_in: range) -> None:
    number = getattr(message, field)
    if number is not None and number not in lies_in:
        raise ValueError(f"{field} is beyond its 64 bits")


def _which(value: _AnyValue | None) -> str | None:
    return next((field for field in _VALUES if value is not None and getattr(value, field) is not None), None)


def _packed(point: _Point) -> bytes:
    return bytes(point.attributes)


def _attributes(packed: bytes) -> list[Label]:
    return labels_of((_attributes_decoder.decode(packed) if packed else None) or (), _which)


def _origin(packed: tuple[bytes, bytes]) -> Origin:
    resource = (_resource.decode(packed[0]) if packed[0] else None) or _Resource()
    scope = (_scope.decode(packed[1]) if packed[1] else None) or _Scope()
    return Origin(
        labels_of(resource.attributes or (), _which),
        labels((SCOPE_NAME, scope.name or ""), (SCOPE_VERSION, scope.version or "")),
        labels_of(scope.attributes or (), _which),
    )


FORM = Form(getattr, _packed, _attributes, _origin)
