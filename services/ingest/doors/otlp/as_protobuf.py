"""OTLP in protobuf: a quick way for points that are numbers, as encoders write them, and messages for all others.

An encoder writes a point's time and value first, in 18 bytes, or in 27 where it begins with a start time; what follows
are attributes, which have come before in nearly all cases and are known by these bytes. A point in which anything is
otherwise is read as a message. Both come to the same readings.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from services.contract import SeriesError

from .attributes import SCOPE_NAME, SCOPE_VERSION, Label, Origin, labels, labels_of
from .gathering import Form, Gathering, Metric, Names, Numbers, ScopeMetrics, series_kind
from .messages import ATTRIBUTE, NUMBER, NUMBER_PARTS, REQUEST, RESOURCE, SCOPE
from .points import NUMBER as NUMBER_SHAPE

__all__ = ["FORM", "gather"]

_HEAD, _SHORT_HEAD = 27, 18
_STRIDE = 9
"""Bytes of a tag and a number of 64 bits."""
_START, _TIME, _DOUBLE, _INT = 0x11, 0x19, 0x21, 0x31
"""Tags of a point's start time, time and value."""
_TAGS = {bytes((_START, _TIME, value)) for value in (_DOUBLE, _INT)}
_SHORT_TAGS = {bytes((_TIME, value)) for value in (_DOUBLE, _INT)}
_NO_START = bytes((_START, *bytes(8)))


def gather(body: bytes, gathering: Gathering) -> None:
    """Add the readings of a request.

    Raises:
        DecodeError: it is none.
        Problem: `too_many_rows`.
    """
    position, quick = 0, _Quick()
    for scope, message in _metrics(REQUEST.FromString(body), gathering.names):
        kind = message.WhichOneof("data")
        if kind is None:
            continue
        data = getattr(message, kind)
        metric = gathering.names.metric(scope, message.name, series_kind(kind, data), message.unit)
        points = data.data_points
        if kind in {"gauge", "sum"}:
            quick.take(position, points, metric, gathering)
        else:
            for at, point in enumerate(points, position):
                gathering.add(at, metric, kind, point)
        position += len(points)
    gathering.add_numbers(quick.numbers())


def _metrics(request: Any, names: Names) -> Iterator[tuple[ScopeMetrics, Any]]:
    """Yield metrics, each with its scope."""
    for of_resource in request.resource_metrics:
        resource = b"".join(of_resource.resource)
        for of_scope in of_resource.scope_metrics:
            scope = names.scope((resource, b"".join(of_scope.scope)))
            for metric in of_scope.metrics:
                yield scope, metric


class _Quick:
    """The points of one request that are read without a message."""

    def __init__(self) -> None:
        self._heads: list[bytes] = []
        self._codes: list[int] = []
        self._positions: list[int] = []

    def take(self, first: int, points: Iterable[bytes], metric: Metric, gathering: Gathering) -> None:
        """Take the points of a gauge or a sum of which the first is the request's `first`; all others are added."""
        known, code = metric.known, gathering.dictionary.code
        for position, point in enumerate(points, first):
            tags = point[:_HEAD:_STRIDE]
            if tags in _TAGS:
                head, rest = point[:_HEAD], point[_HEAD:]
            elif tags[:2] in _SHORT_TAGS:
                head, rest = _NO_START + point[:_SHORT_HEAD], point[_SHORT_HEAD:]
            else:
                gathering.add(position, metric, "number", NUMBER.FromString(point))
                continue
            named = known.get(rest)
            if named is None:
                parts = NUMBER_PARTS.FromString(rest)
                if parts.time_unix_nano or parts.as_double or parts.as_int or parts.exemplars or parts.flags:
                    gathering.add(position, metric, "number", NUMBER.FromString(point))
                    continue
                try:
                    named = gathering.names.named(metric, rest, parts.attributes, NUMBER_SHAPE)
                except SeriesError as error:
                    gathering.refuse(position, error)
                    continue
            self._heads.append(head)
            self._codes.append(code(named[0]))
            self._positions.append(position)

    def numbers(self) -> Numbers:
        """Return the readings.

        Raises:
            DecodeError: a point ends within its time or value.
        """
        block = np.frombuffer(b"".join(self._heads), np.uint8)
        if len(block) != _HEAD * len(self._heads):
            raise DecodeError("a data point is cut off")
        block = block.reshape(-1, _HEAD)
        bits = np.ascontiguousarray(block[:, 19:]).ravel()
        values = np.where(block[:, 18] == _INT, bits.view("<i8"), bits.view("<f8"))
        return Numbers(
            np.array(self._positions, np.intp),
            np.array(self._codes, np.uint32),
            np.ascontiguousarray(block[:, 10:18]).view("<u8").ravel(),
            values,
        )


def _which(value: Any) -> str | None:
    found: str | None = value.WhichOneof("value")
    return found


def _told(point: Any, field: str) -> float | None:
    return getattr(point, field) if point.HasField(field) else None


def _packed(point: Any) -> tuple[bytes, ...]:
    return tuple(point.attributes)


def _attributes(packed: Iterable[bytes]) -> list[Label]:
    return labels_of(map(ATTRIBUTE.FromString, packed), _which)


def _origin(packed: tuple[bytes, bytes]) -> Origin:
    resource, scope = RESOURCE.FromString(packed[0]), SCOPE.FromString(packed[1])
    return Origin(
        labels_of(resource.attributes, _which),
        labels((SCOPE_NAME, scope.name), (SCOPE_VERSION, scope.version)),
        labels_of(scope.attributes, _which),
    )


FORM = Form(_told, _packed, _attributes, _origin)
