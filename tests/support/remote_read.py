"""Remote read's messages as bytes, by Prometheus' own field numbers."""

import struct
from collections.abc import Iterable

import cramjam

__all__ = ["integer", "matcher", "packed", "part", "unpacked"]

Series = tuple[dict[str, str], list[tuple[int, float]]]


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def part(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def packed(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


def _read(body: bytes) -> list[tuple[int, int | bytes]]:
    """Return the fields of a message, a double as its eight bytes."""
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(body):
        tag = number()
        if tag & 7 == 0:
            found.append((tag >> 3, number()))
            continue
        length = 8 if tag & 7 == 1 else number()
        found.append((tag >> 3, body[at : at + length]))
        at += length
    return found


def matcher(kind: int, name: str, value: str) -> bytes:
    return part(3, integer(1, kind) + part(2, name.encode()) + part(3, value.encode()))


def unpacked(response: Iterable[bytes]) -> list[list[Series]]:
    """Return the series of each query of an answer: labels, which stand in order, and samples."""
    body = bytes(cramjam.snappy.decompress_raw(b"".join(response)))
    return [[_series(_of(one)) for _, one in _read(_of(result))] for _, result in _read(body)]


def _series(body: bytes) -> Series:
    labels, samples = list[tuple[str, str]](), list[tuple[int, float]]()
    for number, content in _read(body):
        fields = dict(_read(_of(content)))
        if number == 1:
            labels.append((_of(fields.get(1, b"")).decode(), _of(fields.get(2, b"")).decode()))
        else:
            at = fields[2]
            assert isinstance(at, int)
            samples.append((at - (1 << 64) if at >> 63 else at, *struct.unpack("<d", _of(fields[1]))))
    assert labels == sorted(labels)
    return dict(labels), samples


def _of(content: int | bytes) -> bytes:
    assert isinstance(content, bytes)
    return content
