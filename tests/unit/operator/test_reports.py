"""From plans, jobs and decisions to conditions; and which resources stand in each other's way."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.database.aggregates.status import AggregateStatus, JobStatus
from services.operator.autoscaling.decision import Decision
from services.operator.autoscaling.loop import Change, autoscaler_report
from services.operator.autoscaling.rates import Counts
from services.operator.autoscaling.targets import doubled
from services.operator.cluster.kinds import BacklogAutoscaler, ContinuousAggregate, Found
from services.operator.planning.steps import Plan
from services.operator.reconcile.objects import by_depth, conflicts
from services.operator.status.reports import aggregate_report, hypertable_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = JobStatus(NOW, NOW + timedelta(minutes=1), 0.25, None, 0)
STATUS = AggregateStatus(NOW, 3, {"refresh": JOB})


def found(uid: str, **spec: Any) -> Found:
    return Found(
        kind=ContinuousAggregate,
        name=uid,
        namespace="n",
        uid=uid,
        version="1",
        generation=1,
        created="",
        annotations={},
        spec=spec,
        status={},
    )


def test_an_aggregate_that_is_well_tells_its_watermark_and_jobs() -> None:
    report = aggregate_report(Plan(), STATUS, None)
    assert report.fields["watermark"] == "2026-01-01T00:00:00Z"
    assert report.fields["lateRanges"] == 3
    assert report.fields["refresh"]["nextRun"] == "2026-01-01T00:01:00Z"
    assert report.fields["retention"] is None
    assert {name: one.status for name, one in report.conditions.items()} == {
        "Ready": True,
        "Degraded": False,
        "Progressing": False,
    }


@pytest.mark.parametrize(("plan", "reason"), [(Plan(fill=True), "Filling"), (Plan(rebuild=True), "Rebuilding")])
def test_work_under_way_is_not_ready_and_progresses(plan: Plan, reason: str) -> None:
    conditions = aggregate_report(plan, STATUS, None).conditions
    assert (conditions["Ready"].status, conditions["Ready"].reason) == (False, reason)
    assert (conditions["Progressing"].status, conditions["Progressing"].reason) == (True, reason)


def test_failing_jobs_and_failed_work_degrade() -> None:
    failing = replace(STATUS, jobs={"refresh": replace(JOB, last_error="no space", failures=4)})
    degraded = aggregate_report(Plan(), failing, None).conditions["Degraded"]
    assert (degraded.status, degraded.reason) == (True, "JobFailing")
    assert "no space" in degraded.message
    degraded = aggregate_report(Plan(fill=True), failing, "it broke").conditions["Degraded"]
    assert degraded.reason == "BackgroundWorkFails"
    assert "it broke" in degraded.message


def test_what_a_database_cannot_do_is_not_ready() -> None:
    report = hypertable_report(Plan(unsupported=("no columnstore",)), None)
    assert (report.conditions["Ready"].status, report.conditions["Ready"].reason) == (False, "NotSupported")
    assert report.fields["chunks"] is None


def test_a_change_of_workers_is_told_with_its_numbers() -> None:
    decision = Decision(3, "BacklogGrows", "rows wait", limited="ScaleUpLimit", arrivals=10.4, drain=4.6)
    report = autoscaler_report(decision, 1, Counts(0, 9, 4, 5, 2.4), Change(NOW, "BacklogGrows", "from 1 to 3"))
    assert report.fields == {
        "currentReplicas": 1,
        "desiredReplicas": 3,
        "backlogRows": 5,
        "oldestAgeSeconds": 2,
        "arrivalsPerSecond": 10,
        "drainPerSecond": 5,
        "lastChange": {"time": "2026-01-01T00:00:00Z", "reason": "BacklogGrows", "message": "from 1 to 3"},
    }
    assert report.conditions["Ready"].status is True
    assert report.conditions["Progressing"].status is True
    assert report.conditions["ScalingLimited"].reason == "ScaleUpLimit"


def test_a_backlog_that_is_not_known_leaves_what_was_told_before() -> None:
    report = autoscaler_report(Decision(2, "BacklogUnknown", "away", frozen=True), 2, None, None)
    assert report.conditions["Ready"].status is None
    assert report.conditions["Degraded"].status is True
    assert "backlogRows" not in report.fields
    assert report.fields["arrivalsPerSecond"] is None


def test_the_older_of_two_resources_keeps_the_name() -> None:
    refused = conflicts([found("a", name="x"), found("b", name="x"), found("c", name="y")], "name")
    assert set(refused) == {"b"}
    assert refused["b"].reason == "Conflict"


def test_aggregates_come_behind_their_sources_and_circles_end() -> None:
    day = found("day", name="day", source={"aggregate": "hour"})
    hour = found("hour", name="hour", source={"table": "t"})
    month = found("month", name="month", source={"aggregate": "day"})
    assert [one.name for one in by_depth([month, day, hour])] == ["hour", "day", "month"]
    snake = [found("p", name="p", source={"aggregate": "q"}), found("q", name="q", source={"aggregate": "p"})]
    assert len(by_depth(snake)) == 2


def test_a_target_has_one_autoscaler() -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"}
    first, second = (replace(found(name), kind=BacklogAutoscaler, spec={"scaleTargetRef": target}) for name in "ab")
    other = replace(found("c"), kind=BacklogAutoscaler, spec={"scaleTargetRef": {**target, "name": "other"}})
    assert set(doubled([first, second, other], {})) == {"b"}
    rivals = {("apps", "Deployment", "worker"): "ScaledObject keda"}
    refused = doubled([first, second, other], rivals)
    assert set(refused) == {"a", "b"}
    assert "ScaledObject keda" in refused["a"].message
