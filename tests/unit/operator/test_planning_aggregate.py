"""Planning a ContinuousAggregate against a model: one round reaches what is desired, the next does nothing."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.operator.planning.aggregate import REBUILD, desired_columns, plan_aggregate
from services.operator.planning.observed import (
    Definition,
    Job,
    ObservedAggregate,
    ObservedColumnstore,
    Reader,
    RefreshJob,
)
from services.operator.planning.steps import UNFILLED, Plan, Step
from services.operator.refusals import Reason
from services.operator.specs.intervals import Interval
from services.operator.specs.resources import ContinuousAggregateSpec
from services.platform.postgres.capability import Capability

FULL = Capability("18.6", "2.29.2", "full", ())
COLUMNS = [
    {"name": "avg", "function": "avg", "of": "value"},
    {"name": 'n"', "function": "count"},
    {"name": "p", "function": "percentile", "of": "value", "argument": 0.5},
]
TYPES = Definition(types=dict.fromkeys(["bucket", "sensor", "avg", 'n"', "p"], "double precision"))


def desired_spec(**parts: Any) -> ContinuousAggregateSpec:
    base = {
        "name": "hourly", "source": {"table": "x"}, "bucket": {"width": "1 hour", "column": "t"},
        "groupBy": ["sensor"], "columns": COLUMNS,
    }  # fmt: skip
    return ContinuousAggregateSpec.model_validate(base | parts)


short = st.sampled_from(["1 minute", "1 hour", "60 minutes"])
windows = st.sampled_from(["3 hours", "7 days", "168 hours"])
long = st.sampled_from(["8 days", "192 hours", "1 month"])
refreshes = st.fixed_dictionaries({"startOffset": windows, "endOffset": short, "schedule": short})
after = st.fixed_dictionaries({"after": long})
specs = st.builds(
    lambda refresh, columnstore, retention, real_time, count: desired_spec(
        refresh=refresh, columnstore=columnstore, retention=retention, realTime=real_time, columns=COLUMNS[:count]
    ),
    refreshes | st.none(), after | st.none(), after | st.none(), st.booleans(), st.integers(1, 3),
)  # fmt: skip
refresh_jobs = st.lists(
    st.builds(
        RefreshJob, st.integers(1, 99), windows.map(Interval.parse) | st.none(),
        short.map(Interval.parse) | st.none(), short.map(Interval.parse), st.booleans(),
    ),
    max_size=3, unique_by=lambda job: job.id,
)  # fmt: skip


def jobs(first: int) -> st.SearchStrategy[tuple[Job, ...]]:
    afters = st.lists(st.tuples(long.map(Interval.parse) | st.none(), st.booleans()), max_size=2)
    return afters.map(lambda found: tuple(Job(first + place, *job) for place, job in enumerate(found)))


aggregates = st.builds(
    lambda real_time, unfilled, enabled, policies, retention, refresh: ObservedAggregate(
        ("bucket", "sensor", "avg"), real_time=real_time, unfilled=unfilled, retention=retention,
        columnstore=ObservedColumnstore(enabled, policies=policies), refresh=tuple(refresh),
    ),
    st.booleans(), st.booleans(), st.booleans(), jobs(100), jobs(200), refresh_jobs,
)  # fmt: skip


def applied(step: Step, spec: ContinuousAggregateSpec, found: ObservedAggregate) -> ObservedAggregate:
    """What TimescaleDB makes of a statement."""
    store, name = found.columnstore, re.escape('"public"."hourly"')
    if said := re.fullmatch(rf"create materialized view {name} with \(.*_only = (\w+)\) as .* with no data", step.sql):
        assert found.columns is None
        found = replace(found, columns=desired_columns(spec), real_time=said[1] == "false")
    elif said := re.fullmatch(rf'alter materialized view {name} add column "(.*)" double precision .*', step.sql):
        assert found.columns is not None
        found = replace(found, columns=(*found.columns, said[1].replace('""', '"')))
    elif step.sql == f'comment on view "public"."hourly" is \'{UNFILLED}\'':
        found = replace(found, unfilled=True)
    elif said := re.fullmatch(rf"alter materialized view {name} set \(.*materialized_only = (.*)\)", step.sql):
        found = replace(found, real_time=said[1] == "false")
    elif said := re.fullmatch(
        rf"select add_continuous_aggregate_policy\('{name}', start_offset => interval '(.*)', "
        r"end_offset => interval '(.*)', schedule_interval => interval '(.*)'\)",
        step.sql,
    ):
        assert not found.refresh, "it may overlap"
        start, end, schedule = map(Interval.parse, said.groups())
        found = replace(found, refresh=(RefreshJob(300, start, end, schedule),))
    elif said := re.fullmatch(
        r"select alter_job\((\d+), schedule_interval => interval '(.*)', scheduled => true\)", step.sql
    ):
        assert [job.id for job in found.refresh] == [int(said[1])]
        job = replace(found.refresh[0], schedule=Interval.parse(said[2]), scheduled=True)
        found = replace(found, refresh=(job,))
    elif re.fullmatch(rf"alter materialized view {name} set \(timescaledb.enable_columnstore\)", step.sql):
        found = replace(found, columnstore=replace(store, enabled=True))
    elif said := re.fullmatch(rf"call add_columnstore_policy\('{name}', after => interval '(.*)'\)", step.sql):
        assert store.enabled
        assert not store.policies
        found = replace(found, columnstore=replace(store, policies=(Job(301, Interval.parse(said[1])),)))
    elif said := re.fullmatch(rf"select add_retention_policy\('{name}', drop_after => interval '(.*)'\)", step.sql):
        assert not found.retention
        found = replace(found, retention=(Job(302, Interval.parse(said[1])),))
    else:
        found = job_changed(step, found)
    return found


def job_changed(step: Step, found: ObservedAggregate) -> ObservedAggregate:
    store = found.columnstore
    if said := re.fullmatch(r"select delete_job\((\d+)\)", step.sql):
        number = int(said[1])
        return replace(
            found,
            refresh=tuple(job for job in found.refresh if job.id != number),
            retention=tuple(job for job in found.retention if job.id != number),
            columnstore=replace(store, policies=tuple(job for job in store.policies if job.id != number)),
        )
    said = re.fullmatch(r"select alter_job\((\d+), scheduled => true\)", step.sql)
    assert said, step.sql
    number = int(said[1])
    return replace(
        found,
        retention=tuple(replace(job, scheduled=job.scheduled or job.id == number) for job in found.retention),
        columnstore=replace(
            store, policies=tuple(replace(job, scheduled=job.scheduled or job.id == number) for job in store.policies)
        ),
    )


@given(specs, aggregates | st.just(ObservedAggregate()))
def test_one_round_reaches_what_is_desired_and_the_next_does_nothing(
    spec: ContinuousAggregateSpec, found: ObservedAggregate
) -> None:
    before = found
    plan = plan_aggregate(spec, found, TYPES, FULL)
    assert not plan.refusals
    for step in plan.steps:
        assert step.sql
        assert str(step)
        found = applied(step, spec, found)
    assert plan_aggregate(spec, found, TYPES, FULL) == Plan(fill=found.unfilled)
    assert plan.fill == found.unfilled == (before.unfilled or before.columns != found.columns)
    assert found.real_time == spec.real_time
    assert set(found.columns or ()) == set(desired_columns(spec))
    windows = [(job.start_offset, job.end_offset, job.schedule, job.scheduled) for job in found.refresh]
    refresh = spec.refresh
    assert windows == ([(refresh.start_offset, refresh.end_offset, refresh.schedule, True)] if refresh else [])
    for desired, policies in ((spec.retention, found.retention), (spec.columnstore, found.columnstore.policies)):
        assert [(job.after, job.scheduled) for job in policies] == ([(desired.after, True)] if desired else [])


def test_hostile_names_stay_names() -> None:
    hostile = "x\"; drop table y; --'"
    spec = desired_spec(
        name=hostile, source={"table": hostile}, groupBy=["g'\""],
        bucket={"width": "1 day", "column": hostile, "timeZone": "a'b"},
        columns=[{"name": "n'\"", "function": "last", "of": hostile}],
    )  # fmt: skip
    name = '"x""; drop table y; --\'"'
    create, mark = (step.sql for step in plan_aggregate(spec, ObservedAggregate(), Definition(), FULL).steps)
    assert create == (
        f'create materialized view "public".{name} with (timescaledb.continuous, timescaledb.materialized_only = false)'
        f' as select time_bucket(interval \'1 day\', {name}, \'a\'\'b\') as "bucket", "g\'""" as "g\'""", '
        f'last({name}, {name}) as "n\'"""" from "public".{name} group by 1, 2 with no data'.replace('""""', '"""')
    )
    assert mark.startswith(f'comment on view "public".{name} is ')


OBSERVED = ObservedAggregate(desired_columns(desired_spec()), real_time=True)


@pytest.mark.parametrize(
    ("change", "definition", "parts", "reason", "words"),
    [
        ({"is_aggregate": False}, {}, {}, Reason.INVALID, "rename it or drop it"),
        ({"ours": False}, {}, {}, Reason.NOT_OWNED, "another role"),
        ({}, {"source_known": False}, {}, Reason.SOURCE_UNKNOWN, "no hypertable x"),
        ({}, {"problem": "no such column"}, {}, Reason.INVALID, "no such column"),
        ({"same_query": False}, {}, {}, Reason.NEEDS_REBUILD, "another source, bucket or column"),
        ({"columns": ("bucket", "sensor", "old")}, {}, {}, Reason.NEEDS_REBUILD, "cannot lose its column old"),
        (
            {},
            {"source_retention": (Job(1, Interval(days=7)),)},
            {"refresh": {"startOffset": "7 days", "endOffset": "1 hour", "schedule": "1 hour"}},
            Reason.RETENTION_INSIDE_REFRESH_WINDOW,
            "x drops rows after 7 days",
        ),
        (
            {"readers": (Reader("daily", None),)},
            {},
            {"retention": {"after": "1 year"}},
            Reason.RETENTION_INSIDE_REFRESH_WINDOW,
            "what daily holds",
        ),
    ],
)
def test_what_would_go_wrong_is_refused_with_a_reason(
    change: dict[str, Any], definition: dict[str, Any], parts: dict[str, Any], reason: Reason, words: str
) -> None:
    plan = plan_aggregate(desired_spec(**parts), replace(OBSERVED, **change), replace(TYPES, **definition), FULL)
    assert plan.steps == ()
    assert [refusal.reason for refusal in plan.refusals] == [reason]
    assert words in plan.refusals[0].message


def test_an_older_timescaledb_adds_no_column_and_says_so() -> None:
    older = Capability("16.1", "2.27.1", "full", ())
    plan = plan_aggregate(desired_spec(), replace(OBSERVED, columns=("bucket", "sensor")), TYPES, older)
    assert [refusal.reason for refusal in plan.refusals] == [Reason.NEEDS_REBUILD]
    assert plan.refusals[0].message.startswith("not supported here: ")
    assert plan_aggregate(desired_spec(), OBSERVED, TYPES, older) == Plan()


@pytest.mark.parametrize("edition", ["apache", "none"])
def test_less_of_a_database_has_no_aggregates_and_says_so(edition: str) -> None:
    plan = plan_aggregate(desired_spec(), ObservedAggregate(), TYPES, Capability("18.6", None, edition, ()))
    assert plan.steps == ()
    assert plan.unsupported[0].startswith("not supported here: ")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"source": {}}, "either a table or an aggregate"),
        ({"source": {"table": "x", "aggregate": "y"}}, "either a table or an aggregate"),
        ({"columns": []}, "at least 1"),
        ({"columns": [{"name": "a"}]}, "either a function or an expression"),
        ({"columns": [{"name": "a", "function": "median", "of": "v"}]}, "function"),
        ({"columns": [{"name": "a", "function": "avg"}]}, "name it in `of`"),
        ({"columns": [{"name": "a", "function": "avg", "of": "v", "argument": 0.5}]}, "argument from 0 to 1"),
        ({"columns": [{"name": "a", "function": "percentile", "of": "v"}]}, "argument from 0 to 1"),
        ({"columns": [{"name": "a", "expression": "count(*)"}]}, "allowExpressions"),
        ({"columns": [{"name": "bucket", "function": "count"}]}, "another name"),
        ({"refresh": {"startOffset": "2 hours", "endOffset": "1 minute", "schedule": "1 hour"}}, "two buckets"),
        (
            {
                "refresh": {"startOffset": "1 day", "endOffset": "1 minute", "schedule": "1 hour"},
                "retention": {"after": "1 day"},
            },
            "retention.after lies inside",
        ),
    ],
)
def test_what_one_object_gets_wrong_is_refused_at_the_door(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        desired_spec(**parts)


def test_a_rebuild_is_planned_only_with_consent_and_where_nothing_else_is_wrong() -> None:
    changed = replace(OBSERVED, same_query=False)
    (refusal,) = plan_aggregate(desired_spec(), changed, TYPES, FULL).refusals
    assert REBUILD in refusal.message
    assert plan_aggregate(desired_spec(), changed, TYPES, FULL, rebuild=True) == Plan(rebuild=True)
    assert plan_aggregate(desired_spec(), OBSERVED, TYPES, FULL, rebuild=True) == Plan()
    foreign = plan_aggregate(desired_spec(), replace(changed, ours=False), TYPES, FULL, rebuild=True)
    assert not foreign.rebuild
    assert foreign.refusals
