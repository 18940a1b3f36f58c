"""Planning a Hypertable against a model of a database: one round reaches what is wanted, the next does nothing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.operator.planning import steps as s
from services.operator.planning.hypertable import plan_hypertable
from services.operator.planning.plan import Reason
from services.operator.planning.state import Job, Reader, StandingColumnstore, StandingTable
from services.operator.specs.intervals import Interval
from services.operator.specs.resources import HypertableSpec, Retention, TableColumnstore
from services.platform.postgres.capability import Capability

FULL = Capability("18.6", "2.29.2", "full", ())
APACHE = Capability("18.6", "2.29.2", "apache", ())
PLAIN = Capability("18.6", None, "none", ())

COLUMNS = {"t": "timestamp with time zone", "a": "text", 'b"; drop': "text", "v": "double precision"}

intervals = st.sampled_from([Interval.parse(text) for text in ("1 hour", "1 day", "24 hours", "8 days", "1 month")])
others = st.lists(st.sampled_from(["a", 'b"; drop']), unique=True).map(tuple)
jobs = st.lists(st.tuples(intervals | st.none(), st.booleans()), max_size=3)


def numbered(found: list[tuple[Interval | None, bool]], first: int) -> tuple[Job, ...]:
    return tuple(Job(first + place, *job) for place, job in enumerate(found))


orders = st.sampled_from([(("t", False),), (("t", True),), (("v", False), ("t", True))])
hypertables = st.builds(
    lambda width, enabled, segment_by, order_by, policies, retention: StandingTable(
        COLUMNS, time_column="t", chunk_interval=width, retention=numbered(retention, 100),
        columnstore=StandingColumnstore(enabled, segment_by, order_by, numbered(policies, 200)),
    ),
    intervals, st.booleans(), others, orders, jobs, jobs,
)  # fmt: skip
tables = hypertables | st.just(StandingTable(COLUMNS))


def wanted_spec(**parts: Any) -> HypertableSpec:
    return HypertableSpec.model_validate({"table": "x", "timeColumn": "t", "chunkInterval": "7 days"} | parts)


columnstores = st.builds(
    lambda segment_by, order_by, after: TableColumnstore.model_validate({
        "segmentBy": segment_by, "after": after,
        "orderBy": [{"column": name, "descending": down} for name, down in order_by],
    }),
    others, orders | st.just(()), intervals,
)  # fmt: skip
specs = st.builds(
    lambda width, columnstore, after: wanted_spec(
        chunkInterval=width, columnstore=columnstore, retention=after and Retention(after=after)
    ),
    intervals,
    columnstores | st.none(),
    intervals | st.none(),
)


def applied(step: s.Step, table: StandingTable) -> StandingTable:
    """What TimescaleDB makes of a step."""
    store = table.columnstore
    match step:
        case s.MakeHypertable(_, column, width):
            return replace(table, time_column=column, chunk_interval=width)
        case s.SetChunkInterval(_, width):
            return replace(table, chunk_interval=width)
        case s.SetColumnstore(_, settings):
            assert settings
            return replace(table, columnstore=StandingColumnstore(True, *settings, store.policies))
        case s.AddColumnstorePolicy(_, after):
            assert store.enabled
            assert not store.policies, "TimescaleDB allows one"
            return replace(table, columnstore=replace(store, policies=(Job(300, after),)))
        case s.AddRetentionPolicy(_, after):
            assert not table.retention, "TimescaleDB allows one"
            return replace(table, retention=(Job(400, after),))
        case s.DeleteJob(number):
            left = tuple(job for job in store.policies if job.id != number)
            kept_jobs = tuple(job for job in table.retention if job.id != number)
            return replace(table, retention=kept_jobs, columnstore=replace(store, policies=left))
        case s.ResumeJob(number):
            resumed = tuple(replace(job, scheduled=job.scheduled or job.id == number) for job in store.policies)
            ours = tuple(replace(job, scheduled=job.scheduled or job.id == number) for job in table.retention)
            return replace(table, retention=ours, columnstore=replace(store, policies=resumed))
    raise AssertionError(step)


@given(specs, tables)
def test_one_round_reaches_what_is_wanted_and_the_next_does_nothing(spec: HypertableSpec, table: StandingTable) -> None:
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
        wanted = tuple((part.column, part.descending) for part in spec.columnstore.order_by)
        assert table.columnstore.order_by == (wanted or (("t", False),))


@given(specs, tables)
def test_less_of_a_database_gets_what_it_can_and_says_what_is_missing(
    spec: HypertableSpec, table: StandingTable
) -> None:
    apache = plan_hypertable(spec, table, APACHE)
    assert all(isinstance(step, s.MakeHypertable | s.SetChunkInterval) for step in apache.steps)
    assert len(apache.unsupported) == (spec.columnstore is not None) + (spec.retention is not None)
    plain = plan_hypertable(spec, StandingTable(COLUMNS), PLAIN)
    assert plain.steps == ()
    assert all(message.startswith("not supported here: ") for message in (*apache.unsupported, *plain.unsupported))


def test_hostile_names_stay_names() -> None:
    hostile = "x\"; drop table y; --'"
    columns = {hostile: "timestamp with time zone", "a'\"": "text"}
    spec = wanted_spec(
        table=hostile, timeColumn=hostile,
        columnstore={"segmentBy": ["a'\""], "orderBy": [{"column": hostile}], "after": "1 day"},
    )  # fmt: skip
    make, columnstore, policy = (step.sql for step in plan_hypertable(spec, StandingTable(columns), FULL).steps)
    name = '"public"."x""; drop table y; --\''
    quoted = name.replace("'", "''")
    assert make == (f"select create_hypertable('{quoted}\"', by_range('x\"; drop table y; --''', interval '7 days'))")
    assert columnstore == (
        f'alter table {name}" set (timescaledb.enable_columnstore, timescaledb.segmentby = \'"a\'\'"""\', '
        "timescaledb.orderby = '\"x\"\"; drop table y; --''\" asc')"
    )
    assert policy == f"call add_columnstore_policy('{quoted}\"', after => interval '1 day')"


@pytest.mark.parametrize(
    ("standing", "parts", "reason", "words"),
    [
        (StandingTable(), {}, Reason.SOURCE_UNKNOWN, "create it first"),
        (StandingTable(COLUMNS, ours=False), {}, Reason.NOT_OWNED, "another role"),
        (StandingTable(COLUMNS, time_column="u"), {}, Reason.IMMUTABLE, "cannot change"),
        (StandingTable(COLUMNS), {"timeColumn": "a"}, Reason.INVALID, "no column of x with a date"),
        (StandingTable(COLUMNS, has_rows=True), {}, Reason.INVALID, "migrate_data"),
        (
            StandingTable(COLUMNS),
            {"columnstore": {"segmentBy": ["z"], "after": "1 day"}},
            Reason.INVALID,
            "no column z",
        ),
        (
            StandingTable(COLUMNS),
            {"columnstore": {"segmentBy": ["t"], "after": "1 day"}},
            Reason.INVALID,
            "into orderBy",
        ),
        (
            StandingTable(COLUMNS, time_column="t", readers=(Reader("hourly", Interval(days=7)),)),
            {"retention": {"after": "7 days"}},
            Reason.RETENTION_INSIDE_REFRESH_WINDOW,
            "refreshes the last 7 days",
        ),
        (
            StandingTable(COLUMNS, time_column="t", readers=(Reader("hourly", None),)),
            {"retention": {"after": "10 years"}},
            Reason.RETENTION_INSIDE_REFRESH_WINDOW,
            "its whole history",
        ),
    ],
)
def test_what_would_go_wrong_is_refused_with_a_reason(
    standing: StandingTable, parts: dict[str, Any], reason: Reason, words: str
) -> None:
    plan = plan_hypertable(wanted_spec(**parts), standing, FULL)
    assert plan.steps == ()
    assert [refusal.reason for refusal in plan.refusals] == [reason]
    assert words in plan.refusals[0].message


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
    ],
)
def test_what_one_object_gets_wrong_is_refused_at_the_door(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        wanted_spec(**parts)
