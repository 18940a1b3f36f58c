"""Each decoder under many mutated bodies: readings or its own refusal, and memory that stays where it is.

`make test` sends 20,000 bodies to each, `make test-nightly` a million. Arrow and Parquet are read in a process of their
own, whose end is part of their tests.
"""

import json
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import cramjam
import orjson
import psutil
import pytest
from hypothesis import settings

from services.ingest.doors.line_protocol.decode import PRECISIONS, LinesDecoder
from services.ingest.doors.lorawan.door import NETWORKS
from services.ingest.doors.lorawan.uplink import readings_of as uplink_readings
from services.ingest.doors.otlp import decode as otlp
from services.ingest.doors.remote_write.decode import SamplesDecoder
from services.ingest.formats import csv, ndjson
from services.ingest.formats import json as json_format
from services.ingest.limits.body import SNAPPY, _decompress
from services.ingest.limits.window import Limits
from services.ingest.readings import Decoded, check
from services.ingest.slices import by_instant, by_reading, whole
from services.platform.http.errors import Problem
from tests.support.bodies import WRITERS
from tests.support.otlp import as_json, gauge, make, number, request

from .test_lorawan import CHIRPSTACK, TTN
from .test_remote_write import UP, T, version_1, version_2

BODIES = 1_000_000 if settings().max_examples >= 1000 else 20_000
MOST_ROWS = 10_000
GROWTH = 400 * 1024 * 1024
"""Bytes that the process may grow by: what decoders remember, twice over."""

LIMITS = Limits(0, 4_102_444_800_000_000)
PLAIN = [{"sensor_id": f"s-{n}", "timestamp": f"2025-10-22T21:00:0{n}Z", "value": n / 7} for n in range(3)]
LABELLED = [{"name": "m", "labels": {"room": "é", "floor": str(n)}, **PLAIN[n], "field": "f"} for n in range(3)]
for reading in LABELLED:
    del reading["sensor_id"]
LINES = b'm,room=a\\ b,floor=1 t=1.5,n=2i,u=3u,ok=t,s="x \\"y\\"\nz" 1761166800000000000\n# c\nm v=1e3\r\n\nm v=-.5 7\n'
POINTS = request(
    gauge(number(1.5, room="a"), number(2), name="g"), make("Metric", name="s", sum={"data_points": [number(3)]})
)
WORDS = [
    b"\0",
    b"\xff",
    b'"',
    b"\\",
    b",",
    b" ",
    b"\n",
    b"=",
    b"{",
    b"[",
    b"9" * 40,
    b"1e999",
    b"NaN",
    b"\xc3",
    b"\x80" * 10,
    b"\x7f\xff\xff\xff",
]

_lines, _samples, _metrics = LinesDecoder(), SamplesDecoder(), otlp.MetricsDecoder()


def lines(body: bytes) -> Decoded:
    found = _lines.decode(body, PRECISIONS["auto" if len(body) % 2 else "ns"], [("db", "d")], T * 1000).decoded
    return by_instant(found, "caller")


def uplink(place: int) -> Callable[[bytes], Decoded | None]:
    def decode(body: bytes) -> Decoded | None:
        try:
            event = orjson.loads(body)
        except ValueError:
            return None
        found = NETWORKS[place].uplink_of(event, {"event": "up"})
        return None if found is None else uplink_readings(found, "caller")

    return decode


def unsnapped(body: bytes) -> Decoded:
    return whole(_samples.decode(_decompress(SNAPPY, body, 1_000_000), 1), "caller")


REQUESTS = version_1((UP, [(T, 1.5)]), ({**UP, "job": "b"}, [(T, 2.5), (T + 1, float("nan"))]))
DECODERS: dict[str, tuple[Callable[[bytes], Decoded | None], Sequence[bytes]]] = {
    "json": (
        lambda body: by_reading(json_format.decode_json(body, MOST_ROWS), "caller"),
        [
            json.dumps(PLAIN).encode(),
            json.dumps(LABELLED + PLAIN).encode(),
            json.dumps(LABELLED[0], ensure_ascii=False).encode(),
        ],
    ),
    "ndjson": (lambda body: ndjson.decode_ndjson(body, MOST_ROWS), [WRITERS["application/x-ndjson"](LABELLED)]),
    "csv": (
        lambda body: csv.LAYOUTS["rows"](body, MOST_ROWS),
        [WRITERS["text/csv"](PLAIN), WRITERS["text/csv"](LABELLED)],
    ),
    "wide csv": (
        lambda body: csv.LAYOUTS["wide"](body, MOST_ROWS),
        [
            b'timestamp,a,"b ""c"""\n2025-10-22T21:00:00Z,1,\n2025-10-22T21:00:01Z,,"2"\r\n',
            b"name,timestamp,x\nm,2025-10-22T21:00:00Z,1\n",
        ],
    ),
    "line protocol": (lines, [LINES, b"m,a=b v=1,w=2 1761166800000000000\n" * 3]),
    "remote write 1": (lambda body: _samples.decode(body, 1), [REQUESTS]),
    "remote write 2": (
        lambda body: _samples.decode(body, 2),
        [version_2((UP, [(T, 1.5)]), ({**UP, "job": "b"}, [(T, 2.5)]))],
    ),
    "snappy": (unsnapped, [bytes(cramjam.snappy.compress_raw(REQUESTS))]),
    "otlp": (lambda body: whole(_metrics.decode(body, otlp.PROTOBUF), "caller"), [POINTS.SerializeToString()]),
    "otlp json": (lambda body: _metrics.decode(body, otlp.JSON), [as_json(POINTS)]),
    "the things stack": (uplink(0), [json.dumps(TTN).encode()]),
    "chirpstack": (uplink(1), [json.dumps(CHIRPSTACK).encode()]),
}  # fmt: skip


def mutated(dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Cut, flip, repeat and insert, and now and then put two bodies together."""
    body = bytearray(dice.choice(seeds))
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(body) + 1)
        to = min(len(body), at + dice.choice((0, 1, 2, 8, 40)))
        match dice.randrange(6):
            case 0:
                del body[at:to]
            case 1:
                body[at:to] = bytes(byte ^ 1 << dice.randrange(8) for byte in body[at:to])
            case 2:
                body[at:at] = body[at:to] * dice.choice((1, 2, 50))
            case 3:
                body[at:at] = dice.choice(WORDS)
            case 4:
                body[at:to] = dice.randbytes(to - at)
            case 5:
                other = dice.choice(seeds)
                body[at:] = other[dice.randrange(len(other) + 1) :]
    return bytes(body)


@pytest.mark.parametrize("name", DECODERS)
def test_mutated_bodies_are_readings_or_refused(name: str) -> None:
    decode, seeds = DECODERS[name]
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    process, taken, refused = psutil.Process(), 0, 0
    before = process.memory_info().rss
    for _ in range(BODIES):
        body = mutated(dice, seeds)
        try:
            decoded: Any = decode(body)
            if decoded is not None:
                taken += len(check(decoded, LIMITS, partial=True).columns)
        except Problem as problem:
            refused += 1
            assert problem.kind.status < 500, body
        except Exception as error:
            raise AssertionError(f"{body!r} is neither taken nor refused: {error!r}") from error
    assert process.memory_info().rss - before < GROWTH
    assert taken > BODIES / 100
    assert refused > BODIES / 100
