"""Statements find a sensor in the columnstore by its index: what unpacks all sensors of a chunk is slow, not wrong."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.contract.instants import micros_of
from services.query.catalogue.plans import newest
from services.query.copy_out import inlined
from services.query.plan import Plan, Question, least, readings
from services.query.series.groups import unlabelled
from services.query.series.plan import plan
from services.query.series.question import Limits, Parameters, ask
from tests.support import TestDatabase
from tests.support.query import EPOCH, insert, owner

LIMITS = Limits(1000, 1_000_000, 1_000_000)
START, END = EPOCH + timedelta(days=1), EPOCH + timedelta(days=2)


def series(*sensors: str, **given: str) -> Plan:
    parameters = Parameters(list(sensors), START.isoformat(), END.isoformat(), **given)
    question = ask(parameters, micros_of(datetime.now(UTC)), LIMITS)
    found = plan(question, unlabelled(question.sensors, question.by))
    assert isinstance(found, Plan)
    return found


BUCKETS = {"bucket": "1h", "fill": "linear"}
PLANS: Mapping[str, Plan] = {
    "get_range": readings(Question("a", START, END)),
    "min": least(Question("a", START, END)),
    "latest": newest(("a", "b"), None, END),
    "readings": series("a"),
    "readings of two": series("a", "b"),
    "a page": series("a", limit="10"),
    "a page of two": series("a", "b", limit="10"),
    "the newest first": series("a", order="desc"),
    "the newest of two first": series("a", "b", order="desc"),
    "buckets": series("a", agg="avg", **BUCKETS),
    "buckets of two": series("a", "b", agg="avg,min,max,count,stddev", **BUCKETS),
    "first and last": series("a", "b", agg="first,last", **BUCKETS),
    "percentiles": series("a", "b", agg="median", **BUCKETS),
    "steps": series("a", "b", agg="increase,twa", **BUCKETS),
    "all together": series("a", "b", agg="avg,median", by="all", bucket="1h"),
}


@pytest.fixture
async def compressed(timescaledb: TestDatabase) -> TestDatabase:
    async with owner(timescaledb) as connection:
        for sensor in ("a", "b", "c", "d"):
            for day in range(4):
                hours = [(timedelta(days=day, minutes=minute), float(minute)) for minute in range(0, 1440, 10)]
                await insert(connection, sensor, hours)
        for chunk in await connection.fetch("select show_chunks('sensor_data')::text as name"):
            await connection.execute(f"call convert_to_columnstore('{chunk['name']}')")
        await connection.execute("analyze sensor_data")
    return timescaledb


async def test_no_statement_unpacks_sensors_that_it_was_not_asked_for(compressed: TestDatabase) -> None:
    async with owner(compressed) as connection:
        # A handful of rows would be scanned from end to end.
        await connection.execute("set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set jit = off")
        for name, asked in PLANS.items():
            statement = asked.limited(11)
            types = ", ".join(str(each) for each in await parameter_types(connection, statement))
            await connection.execute(f"prepare asked ({types}) as {statement}")
            given = [inlined(f"${place}", asked.arguments) for place in range(1, len(asked.arguments) + 1)]
            found = await connection.fetchval(f"explain (format json) execute asked ({', '.join(given)})")
            await connection.execute("deallocate asked")
            filters = [node["Filter"] for node in nodes(json.loads(found)[0]["Plan"]) if scans_columns(node)]
            assert not [each for each in filters if "sensor_id" in each], (name, filters)


async def parameter_types(connection: Any, statement: str) -> list[str]:
    return [parameter.name.replace("_text", "text[]") if parameter.kind == "array" else parameter.name
            for parameter in (await connection.prepare(statement)).get_parameters()]  # fmt: skip


def scans_columns(node: Mapping[str, Any]) -> bool:
    return node.get("Custom Plan Provider") == "ColumnarScan" and "Filter" in node


def nodes(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a plan's node and all below it."""
    return [node, *(found for child in node.get("Plans", []) for found in nodes(child))]
