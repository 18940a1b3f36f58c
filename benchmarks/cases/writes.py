"""Cases of the way in: batches of all sizes against bare COPY, and shapes against each other."""

from collections.abc import Mapping
from dataclasses import replace

from ..bodies import Shape
from ..case import Case, Measure, Options
from ..doors import json_with
from ..figures import Measures
from ..stack import Bench
from ..way import way_run
from ..yardstick import copy_run

__all__ = ["PLAIN", "SMOKE", "TIMESCALEDB"]

COLUMNSTORE = "alter table sensor_data set (timescaledb.segmentby = '{}', timescaledb.orderby = '{}')"
BY_SENSOR = COLUMNSTORE.format("sensor_id", "timestamp")
WITHOUT_SEGMENTS = COLUMNSTORE.format("", "sensor_id, timestamp")
COPY_SECONDS = 4.0
SMOKE_SECONDS = 5.0


def connections(rows: int) -> int:
    """Return how many requests are under way at once: many small ones, some large ones."""
    return 64 if rows <= 10 else 32 if rows <= 100 else 8


def against_copy(shape: Shape) -> Measure:
    """Return the measurement of a shape between the two bare COPYs of its rows."""

    async def measure(bench: Bench, options: Options) -> Measures:
        found: Measures = {}
        row_store = await copy_run(bench, shape, COPY_SECONDS, compressed=False)
        found |= {f"row-store COPY: {name}": value for name, value in row_store.items()}
        way = await way_run(bench, shape, options.seconds, connections(shape.rows))
        found |= way | {"× row-store COPY": way["rows/s"] / row_store["rows/s"]}
        copied = row_store["PostgreSQL µs/row"] + row_store["client µs/row"]
        found["CPU of row-store COPY ÷ all"] = copied / way["all µs/row"]
        if bench.compresses:
            compressed = await copy_run(bench, shape, COPY_SECONDS, compressed=True)
            found |= {f"compressed COPY: {name}": value for name, value in compressed.items()}
            found["× compressed COPY"] = way["rows/s"] / compressed["rows/s"]
        return found

    return measure


def against_each_other(shapes: Mapping[str, Shape]) -> Measure:
    """Return the measurement of labelled shapes, each as a ratio to those before it."""

    async def measure(bench: Bench, options: Options) -> Measures:
        found: Measures = {}
        for label, shape in shapes.items():
            way = await way_run(bench, shape, options.seconds, connections(shape.rows))
            found |= {f"{label}: {name}": value for name, value in way.items()}
            for other in shapes:
                if other == label:
                    break
                found[f"{label}: × {other}"] = way["rows/s"] / found[f"{other}: rows/s"]
        return found

    return measure


async def many_sensors(bench: Bench, options: Options) -> Measures:
    """Measure 100,000 sensors, at last in a columnstore without segments, as docs/scale.md sets it for them."""
    few, late = "ordered, 1,000 sensors", Shape(1_000, sensors=100_000, shuffled=True, late=0.1)
    shapes = {few: Shape(1_000), "ordered": Shape(1_000, sensors=100_000), "late, shuffled": late}
    found = await against_each_other(shapes)(bench, options)
    if bench.compresses:
        await bench.database.execute(WITHOUT_SEGMENTS)
        way = await way_run(bench, late, options.seconds, connections(late.rows))
        await bench.database.execute(BY_SENSOR)
        label = "late, shuffled, without segments"
        found |= {f"{label}: {name}": value for name, value in way.items()}
        found[f"{label}: × {few}"] = way["rows/s"] / found[f"{few}: rows/s"]
    return found


async def smoke(bench: Bench, options: Options) -> Measures:
    """Measure a thousand rows a request for a few seconds; what is promised depends on the database."""
    short = replace(options, seconds=min(options.seconds, SMOKE_SECONDS))
    found = await against_copy(Shape(1_000))(bench, short)
    mode = "with TimescaleDB" if bench.compresses else "plain"
    return found | {f"{mode}: × row-store COPY": found["× row-store COPY"]}


TIMESCALEDB = (
    *(
        Case(f"rows-{rows}", f"{rows:,} rows a request", against_copy(Shape(rows)))
        for rows in (1, 10, 100, 1_000, 10_000)
    ),
    Case(
        "sensors",
        "100,000 sensors, in order, then shuffled and 10 % late",
        many_sensors,
    ),
    Case(
        "order",
        "1,000 sensors: in order, shuffled, 10 % late",
        against_each_other(
            {"ordered": Shape(1_000), "shuffled": Shape(1_000, shuffled=True), "late": Shape(1_000, late=0.1)}
        ),
    ),
    Case(
        "acks",
        "ack levels, 1,000 rows a request",
        against_each_other({level: Shape(1_000, door=json_with(level)) for level in ("durable", "queued", "stored")}),
    ),
    Case(
        "small-acks",
        "ack levels, 1 row a request",
        against_each_other({level: Shape(1, door=json_with(level)) for level in ("durable", "queued", "stored")}),
    ),
    Case(
        "gzip",
        "bodies compressed by gzip, 1,000 rows a request",
        against_each_other({"plain": Shape(1_000), "gzip": Shape(1_000, packed=True)}),
    ),
)

PLAIN = (Case("plain", "PostgreSQL without TimescaleDB, 1,000 rows a request", against_copy(Shape(1_000)), plain=True),)

SMOKE = (Case("smoke", "a thousand rows a request, in under a minute", smoke, once=True, asked=True),)
