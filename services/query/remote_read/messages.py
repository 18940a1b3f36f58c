"""The messages of remote read: snappy around protobuf, https://prometheus.io/docs/specs/prw/remote_read/.

The fields are those of Prometheus' `remote.proto` and `types.proto`; what is not named here is skipped.
Samples are by far most of an answer, so they are laid out by numpy, and packed while they come: a block of snappy is
its length and elements, which refer back by distances, so the elements of several blocks make one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import cramjam
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from services.platform.protobuf import INT32, INT64, STRING, Field, messages

__all__ = [
    "MEDIA_TYPE",
    "Matcher",
    "MatcherKind",
    "MessageError",
    "Packed",
    "Query",
    "decode_request",
    "encode_response",
    "samples",
    "series",
]

MEDIA_TYPE = "application/x-protobuf"

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_BYTES = 1 << 20
"""Of a request once it is unpacked: a question of a thousand matchers has a tenth of that."""

MOST_QUERIES, MOST_MATCHERS = 32, 64
"""Of a request, and of a query."""

_PART = 65_536
"""Bytes that are sent together."""

_SAMPLES = 0
"""The response type that is answered."""

_FIRST, _SAMPLE, _VALUE, _TIMESTAMP = 0x0A, 0x12, 0x09, 0x10
"""Tags: of what an answer repeats, of a series' samples, and of a sample's value and its time."""


class MessageError(ValueError):
    """A request that is not one of remote read, or asks for what is not answered."""


class MatcherKind(IntEnum):
    """How a label is compared, numbered as in `types.proto`."""

    EQUAL = 0
    NOT_EQUAL = 1
    MATCHES = 2
    MATCHES_NOT = 3


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; one that a series does not have is empty."""

    name: str
    kind: MatcherKind
    value: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which series are asked for, and their range in milliseconds since 1970-01-01 UTC, both ends within it."""

    start: int
    end: int
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A part of an answer.

    Attributes:
        length: bytes of it once it is unpacked.
        pieces: elements of a snappy block, which follow each other.
    """

    length: int
    pieces: tuple[bytes, ...]


_MESSAGES = messages(
    "remote_read",
    {
        "LabelMatcher": {"type": Field(1, INT32), "name": Field(2, STRING), "value": Field(3, STRING)},
        "Query": {
            "start_timestamp_ms": Field(1, INT64),
            "end_timestamp_ms": Field(2, INT64),
            "matchers": Field(3, "LabelMatcher", repeated=True),
        },
        "ReadRequest": {
            "queries": Field(1, "Query", repeated=True),
            "accepted_response_types": Field(2, INT32, repeated=True),
        },
        "Label": {"name": Field(1, STRING), "value": Field(2, STRING)},
        "TimeSeries": {"labels": Field(1, "Label", repeated=True)},
    },
)


def decode_request(body: bytes) -> list[Query]:
    """Return the queries of a request.

    Raises:
        MessageError: the body is no such request, or wants a response type that is not answered.
    """
    try:
        if cramjam.snappy.decompress_raw_len(body) > MOST_BYTES:
            raise MessageError(f"the request is larger than {MOST_BYTES} bytes once it is unpacked")
        request = _MESSAGES["ReadRequest"].FromString(bytes(cramjam.snappy.decompress_raw(body)))
    except cramjam.DecompressionError as error:
        raise MessageError(f"the body is no block of snappy: {error}") from None
    except DecodeError:
        raise MessageError("the body is no ReadRequest of protobuf") from None
    accepted = request.accepted_response_types
    if accepted and _SAMPLES not in accepted:
        raise MessageError("accepted_response_types: only SAMPLES (0) is answered; accept that too")
    if len(request.queries) > MOST_QUERIES:
        raise MessageError(f"queries: there are {len(request.queries)}, {MOST_QUERIES} are the most; ask in parts")
    return [_query(query) for query in request.queries]


def _query(given: Any) -> Query:
    start, end = given.start_timestamp_ms, given.end_timestamp_ms
    if start > end:
        raise MessageError(f"start_timestamp_ms: {start} lies behind end_timestamp_ms, {end}; exchange them")
    if len(given.matchers) > MOST_MATCHERS:
        raise MessageError(f"matchers: there are {len(given.matchers)}, {MOST_MATCHERS} are the most of a query")
    return Query(start, end, tuple(map(_matcher, given.matchers)))


def _matcher(given: Any) -> Matcher:
    if "\0" in given.name + given.value:
        raise MessageError("matchers: one has a NUL, which no label has")
    try:
        return Matcher(given.name, MatcherKind(given.type), given.value)
    except ValueError:
        raise MessageError(f"matchers: type {given.type} is none of 0 to 3") from None


def samples(millis: Integers, values: Floats) -> Packed:
    """Return samples in the order of time as a part of a TimeSeries."""
    return _packed(_samples(millis, values))


def series(labels: Mapping[str, str], parts: Sequence[Packed]) -> Packed:
    """Return a TimeSeries: its labels in the order of their names, and its samples, which `samples` gave."""
    head = _MESSAGES["TimeSeries"](labels=[{"name": name, "value": labels[name]} for name in sorted(labels)])
    return _joined([_packed(head.SerializeToString()), *parts])


def encode_response(results: Sequence[Sequence[Packed]]) -> Iterator[bytes]:
    """Yield the answer of queries in their order, each the TimeSeries that `series` gave, in parts worth sending."""
    response = _joined([_field(_joined(list(map(_field, each)))) for each in results])
    held = bytearray(_varint(response.length))
    for piece in response.pieces:
        held += piece
        if len(held) >= _PART:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _packed(raw: bytes) -> Packed:
    """Return bytes without the length that stands before a block of its own."""
    if not raw:
        return Packed(0, ())
    block = bytes(cramjam.snappy.compress_raw(raw))
    return Packed(len(raw), (block[len(_varint(len(raw))) :],))


def _joined(parts: Sequence[Packed]) -> Packed:
    return Packed(sum(part.length for part in parts), tuple(piece for part in parts for piece in part.pieces))


def _field(content: Packed) -> Packed:
    """Return a message as a field of the one that holds it; each of the answer's is the first there."""
    return _joined([_packed(bytes([_FIRST]) + _varint(content.length)), content])


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _samples(millis: Integers, values: Floats) -> bytes:
    """Return samples as fields of a TimeSeries, each of the same length.

    An integer may have more bytes than it needs, so all have as many as the longest; one below zero has ten.
    """
    if not len(millis):
        return b""
    length = 10 if millis.min() < 0 else max(1, -(-int(millis.max()).bit_length() // 7))
    rest = millis.view(np.uint64)
    sample = np.dtype([("head", "u1", 3), ("value", "<f8"), ("tag", "u1"), ("timestamp", "u1", length)])
    found = np.empty(len(millis), sample)
    found["head"] = (_SAMPLE, sample.itemsize - 2, _VALUE)
    found["value"] = values
    found["tag"] = _TIMESTAMP
    for place in range(length):
        more = 0x80 if place < length - 1 else 0
        found["timestamp"][:, place] = (rest & np.uint64(0x7F)) | np.uint64(more)
        rest = rest >> np.uint64(7)
    return found.tobytes()
