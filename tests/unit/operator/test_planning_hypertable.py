"""Planning a Hypertable against a model of a database: one round reaches what is desired, the next does nothing."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.operator.planning.hypertable import plan_hypertable
from services.operator.planning.observed import Job, ObservedColumnstore, ObservedTable, PartitionPolicy, Reader
from services.operator.planning.steps import Step
from services.operator.refusals import Reason
from services.operator.specs.intervals import Interval
from services.operator.specs.resources import HypertableSpec, Retention, TableColumnstore, Tier
from services.platform.postgres.capability import Capability

FULL = Capability("18.6", "2.29.2", "full", ())
APACHE = Capability("18.6", "2.29.2", "apache", ())
PLAIN = Capability("18.6", None, "none", ())
CITUS = Capability("18.6", None, "none", (), "14.0")

COLUMNS = {"t": "timestamp with time zone", "a": "text", 'b"; drop': "text", "v": "double precision"}

intervals = st.sampled_from([Interval.parse(text) for text in ("1 hour", "1 day", "24 hours", "8 days", "1 month")])
others = st.lists(st.sampled_from(["a", 'b"; drop']), unique=True).map(tuple)
jobs = st.lists(st.tuples(intervals | st.none(), st.booleans()), max_size=3)


def numbered(found: list[tuple[Interval | None, bool]], first: int) -> tuple[Job, ...]:
    return tuple(Job(first + place, *job) for place, job in enumerate(found))


orders = st.sampled_from([(("t", False),), (("t", True),), (("v", False), ("t", True))])
hypertables = st.builds(
    lambda width, enabled, segment_by, order_by, policies, retention: ObservedTable(
        COLUMNS, time_column="t", chunk_interval=width, retention=numbered(retention, 100),
        columnstore=ObservedColumnstore(enabled, segment_by, order_by, numbered(policies, 200)),
    ),
    intervals, st.booleans(), others, orders, jobs, jobs,
)  # fmt: skip
tables = hypertables | st.just(ObservedTable(COLUMNS))


def desired_spec(**parts: Any) -> HypertableSpec:
    return HypertableSpec.model_validate({"table": "x", "timeColumn": "t", "chunkInterval": "7 days"} | parts)


columnstores = st.builds(
    lambda segment_by, order_by, after: TableColumnstore.model_validate({
        "segmentBy": segment_by, "after": after,
        "orderBy": [{"column": name, "descending": down} for name, down in order_by],
    }),
    others, orders | st.just(()), intervals,
)  # fmt: skip
specs = st.builds(
    lambda width, columnstore, after: desired_spec(
        chunkInterval=width, columnstore=columnstore, retention=after and Retention(after=after)
    ),
    intervals,
    columnstores | st.none(),
    intervals | st.none(),
)


def names(text: str) -> list[str]:
    """Return the quoted names in a quoted text."""
    return [name.replace('""', '"') for name in re.findall(r'"((?:[^"]|"")+)"', text.replace("''", "'"))]


def applied(step: Step, table: ObservedTable) -> ObservedTable:
    """What TimescaleDB makes of a statement."""
    store, name = table.columnstore, re.escape('"public"."x"')
    if said := re.fullmatch(rf"select create_hypertable\('{name}', by_range\('(.*)', interval '(.*)'\)\)", step.sql):
        return replace(table, time_column=said[1], chunk_interval=Interval.parse(said[2]))
    if said := re.fullmatch(rf"select set_chunk_time_interval\('{name}', interval '(.*)'\)", step.sql):
        return replace(table, chunk_interval=Interval.parse(said[1]))
    options = r"timescaledb.enable_columnstore, timescaledb.segmentby = '(.*)', timescaledb.orderby = '(.*)'"
    if said := re.fullmatch(rf"alter table {name} set \({options}\)", step.sql):
        orders = tuple(zip(names(said[2]), [part.endswith("desc") for part in said[2].split(", ")], strict=True))
        return replace(table, columnstore=ObservedColumnstore(True, tuple(names(said[1])), orders, store.policies))
    if said := re.fullmatch(rf"call add_columnstore_policy\('{name}', after => interval '(.*)'\)", step.sql):
        assert store.enabled
        assert not store.policies, "TimescaleDB allows one"
        return replace(table, columnstore=replace(store, policies=(Job(300, Interval.parse(said[1])),)))
    if said := re.fullmatch(rf"select add_retention_policy\('{name}', drop_after => interval '(.*)'\)", step.sql):
        assert not table.retention, "TimescaleDB allows one"
        return replace(table, retention=(Job(400, Interval.parse(said[1])),))
    if said := re.fullmatch(r"select delete_job\((\d+)\)", step.sql):
        left = tuple(job for job in store.policies if job.id != int(said[1]))
        kept_jobs = tuple(job for job in table.retention if job.id != int(said[1]))
        return replace(table, retention=kept_jobs, columnstore=replace(store, policies=left))
    said = re.fullmatch(r"select alter_job\((\d+), scheduled => true\)", step.sql)
    assert said, step.sql
    resumed = tuple(replace(job, scheduled=job.scheduled or job.id == int(said[1])) for job in store.policies)
    ours = tuple(replace(job, scheduled=job.scheduled or job.id == int(said[1])) for job in table.retention)
    return replace(table, retention=ours, columnstore=replace(store, policies=resumed))


@given(specs, tables)
def test_one_round_reaches_what_is_desired_and_the_next_does_nothing(
    spec: HypertableSpec, table: ObservedTable
) -> None:
    plan = plan_hypertable(spec, table, FULL)
    assert not plan.refusals
    for step in plan.steps:
        assert step.sql
        assert str(step)
        table = applied(step, table)
    assert plan_hypertable(spec, table, FULL).steps == ()
    assert table.time_column == "t"
    assert table.chunk_interval
    assert table.chunk_interval.total == spec.chunk_interval.total
    assert [(job.after, job.scheduled) for job in table.retention] == (
        [(spec.retention.after, True)] if spec.retention else []
    )
    policies = [(job.after, job.scheduled) for job in table.columnstore.policies]
    assert policies == ([(spec.columnstore.after, True)] if spec.columnstore else [])
    if spec.columnstore:
        assert table.columnstore.enabled
        assert table.columnstore.segment_by == spec.columnstore.segment_by
        desired = tuple((part.column, part.descending) for part in spec.columnstore.order_by)
        assert table.columnstore.order_by == (desired or (("t", False),))


@given(specs, tables)
def test_less_of_a_database_gets_what_it_can_and_says_what_is_missing(
    spec: HypertableSpec, table: ObservedTable
) -> None:
    apache = plan_hypertable(spec, table, APACHE)
    chunks = ("select create_hypertable(", "select set_chunk_time_interval(")
    assert all(step.sql.startswith(chunks) for step in apache.steps)
    assert len(apache.unsupported) == (spec.columnstore is not None) + (spec.retention is not None)
    plain = plan_hypertable(spec, ObservedTable(COLUMNS), PLAIN)
    assert plain.steps == ()
    assert all(message.startswith("not supported here: ") for message in (*apache.unsupported, *plain.unsupported))


@given(specs, intervals, intervals | st.none())
def test_partitions_of_a_citus_cluster_follow_chunk_interval_and_retention_in_one_round(
    spec: HypertableSpec, width: Interval, drop_after: Interval | None
) -> None:
    there = PartitionPolicy(width, drop_after)
    table = ObservedTable(COLUMNS, time_column="t", partitions=there)
    plan = plan_hypertable(spec, table, CITUS)
    assert len(plan.unsupported) == (spec.columnstore is not None)
    for step in plan.steps:
        if said := re.fullmatch(r"update partition_policy set width = interval '(.*)'", step.sql):
            there = replace(there, width=Interval.parse(said[1]))
        else:
            said = re.fullmatch(r"update partition_policy set drop_after = (?:null|interval '(.*)')", step.sql)
            assert said
            there = replace(there, drop_after=Interval.parse(said[1]) if said[1] else None)
    assert there.width.total == spec.chunk_interval.total
    assert there.drop_after == (spec.retention.after if spec.retention else None)
    assert not plan_hypertable(spec, replace(table, partitions=there), CITUS).steps


def test_hostile_names_stay_names() -> None:
    hostile = "x\"; drop table y; --'"
    columns = {hostile: "timestamp with time zone", "a'\"": "text"}
    spec = desired_spec(
        table=hostile, timeColumn=hostile,
        columnstore={"segmentBy": ["a'\""], "orderBy": [{"column": hostile}], "after": "1 day"},
    )  # fmt: skip
    make, columnstore, policy = (step.sql for step in plan_hypertable(spec, ObservedTable(columns), FULL).steps)
    name = '"public"."x""; drop table y; --\''
    quoted = name.replace("'", "''")
    assert make == (f"select create_hypertable('{quoted}\"', by_range('x\"; drop table y; --''', interval '7 days'))")
    assert columnstore == (
        f'alter table {name}" set (timescaledb.enable_columnstore, timescaledb.segmentby = \'"a\'\'"""\', '
        "timescaledb.orderby = '\"x\"\"; drop table y; --''\" asc')"
    )
    assert policy == f"call add_columnstore_policy('{quoted}\"', after => interval '1 day')"


@pytest.mark.parametrize(
    ("observed", "parts", "reason", "words"),
    [
        (ObservedTable(), {}, Reason.SOURCE_UNKNOWN, "create it first"),
        (ObservedTable(COLUMNS, ours=False), {}, Reason.NOT_OWNED, "another role"),
        (ObservedTable(COLUMNS, time_column="u"), {}, Reason.IMMUTABLE, "cannot change"),
        (ObservedTable(COLUMNS), {"timeColumn": "a"}, Reason.INVALID, "no column of x with a date"),
        (ObservedTable(COLUMNS, has_rows=True), {}, Reason.INVALID, "migrate_data"),
        (
            ObservedTable(COLUMNS, time_column="t", partitions=PartitionPolicy(Interval(days=7), None)),
            {"chunkInterval": "59 minutes"},
            Reason.INVALID,
            "partitions are of 1 hour or more",
        ),
        (
            ObservedTable(COLUMNS),
            {"columnstore": {"segmentBy": ["z"], "after": "1 day"}},
            Reason.INVALID,
            "no column z",
        ),
        (
            ObservedTable(COLUMNS),
            {"columnstore": {"segmentBy": ["t"], "after": "1 day"}},
            Reason.INVALID,
            "into orderBy",
        ),
        (
            ObservedTable(COLUMNS, time_column="t", readers=(Reader("hourly", Interval(days=7)),)),
            {"retention": {"after": "7 days"}},
            Reason.RETENTION_INSIDE_REFRESH_WINDOW,
            "refreshes the last 7 days",
        ),
        (
            ObservedTable(COLUMNS, time_column="t", readers=(Reader("hourly", None),)),
            {"retention": {"after": "10 years"}},
            Reason.RETENTION_INSIDE_REFRESH_WINDOW,
            "its whole history",
        ),
        (
            ObservedTable(COLUMNS, time_column="t", readers=(Reader("hourly", Interval(days=7)),)),
            {"table": "sensor_data", "tier": {"after": "7 days"}},
            Reason.TIER_INSIDE_REFRESH_WINDOW,
            "hourly refreshes the last 7 days",
        ),
        (
            ObservedTable(COLUMNS, time_column="t", readers=(Reader("hourly", None),)),
            {"table": "sensor_data", "tier": {"after": "90 days"}},
            Reason.TIER_INSIDE_REFRESH_WINDOW,
            "its whole history",
        ),
    ],
)
def test_what_would_go_wrong_is_refused_with_a_reason(
    observed: ObservedTable, parts: dict[str, Any], reason: Reason, words: str
) -> None:
    plan = plan_hypertable(desired_spec(**parts), observed, FULL)
    assert plan.steps == ()
    assert [refusal.reason for refusal in plan.refusals] == [reason]
    assert words in plan.refusals[0].message


@pytest.mark.parametrize(
    ("observed", "tier", "statement"),
    [
        (None, "90 days", "update tier_policy set after = interval '90 days'"),
        (Interval(days=30), "90 days", "update tier_policy set after = interval '90 days'"),
        (Interval(days=90), "90 days", None),
        (Interval(days=90), None, "update tier_policy set after = null"),
        (None, None, None),
    ],
)
def test_the_tier_follows_the_spec(observed: Interval | None, tier: str | None, statement: str | None) -> None:
    spec = desired_spec(table="sensor_data", tier=tier and Tier(after=Interval.parse(tier)))
    table = ObservedTable(COLUMNS, time_column="t", chunk_interval=Interval(days=7), tier=observed)
    assert [step.sql for step in plan_hypertable(spec, table, FULL).steps] == ([statement] if statement else [])
    assert len(plan_hypertable(spec, table, APACHE).unsupported) == (tier is not None)


@pytest.mark.parametrize(
    "parts",
    [
        {"table": ""},
        {"table": "ä" * 32},
        {"table": "a\0b"},
        {"chunkInterval": "0 days"},
        {"chunkInterval": "-1 day"},
        {"chunkInterval": "1001 years"},
        {"chunkInterval": 7},
        {"chunk_interval": "1 day"},
        {"unknown": 1},
        {"columnstore": {"segmentBy": ["a"], "orderBy": [{"column": "a"}], "after": "1 day"}},
        {"columnstore": {"segmentBy": ["a"]}},
        {"tier": {"after": "90 days"}},
        {"table": "sensor_data", "tier": {"after": "23 hours"}},
        {"table": "sensor_data", "tier": {"after": "0 days"}},
        {"table": "sensor_data", "tier": {}},
        {"table": "sensor_data", "tier": {"after": "90 days"}, "retention": {"after": "90 days"}},
    ],
)
def test_what_one_object_gets_wrong_is_refused_at_the_door(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        desired_spec(**parts)
