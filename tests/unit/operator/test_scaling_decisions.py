"""Laws of single decisions, whatever the counts say."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.operator.autoscaling.decision import Decision, Measurement, State, decide
from services.operator.autoscaling.rates import FORGET_AFTER, STALLED_AFTER, Counts
from services.operator.specs.scaling import BacklogAutoscalerSpec, ScaleTarget
from tests.unit.operator.test_scaling_behavior import behaviors

TARGET = ScaleTarget(api_version="apps/v1", kind="Deployment", name="worker")
SPEC = BacklogAutoscalerSpec(scale_target_ref=TARGET, max_replicas=10)
FREEZING = {"BacklogUnknown", "BacklogStale", "MeasuringRates", "NoReadyWorker", "NothingDrains"}

_counts = st.builds(
    Counts,
    at=st.floats(-100, 40),
    accepted=st.integers(0, 10**7),
    settled=st.integers(0, 10**7),
    rows=st.integers(0, 10**7),
    age=st.floats(0, 10**5),
)
_seen = st.builds(
    Measurement, at=st.floats(-5, 400), replicas=st.integers(0, 30), ready=st.integers(0, 30), counts=_counts
)


def run(feed: list[Measurement], spec: BacklogAutoscalerSpec = SPEC) -> list[Decision]:
    state, decisions = State(), []
    for seen in feed:
        state, decision = decide(state, seen, spec)
        decisions.append(decision)
    return decisions


def steady(
    seconds: int, arriving: int, draining: int, *, workers: int = 1, rows: int = 0, start: int = 0
) -> list[Measurement]:
    """Rows that come and go at even rates; the age is that of a queue that is served in order."""
    feed = []
    for at in range(start, start + seconds + 1, 5):
        accepted = rows + arriving * (at - start)
        settled = min(accepted, draining * (at - start))
        waiting = accepted - settled
        counts = Counts(float(at), accepted, settled, waiting, waiting / max(arriving, 1))
        feed.append(Measurement(float(at), workers, workers, counts))
    return feed


@given(st.lists(_seen, max_size=30), st.integers(1, 12), st.integers(0, 12), behaviors)
def test_bounds_hold_and_a_freeze_never_changes_the_number(
    feed: list[Measurement], least: int, room: int, behavior: object
) -> None:
    spec = SPEC.model_copy(update={"min_replicas": least, "max_replicas": least + room, "behavior": behavior})
    clock, state = 0.0, State()
    for step in feed:
        clock += step.at
        counts = replace(step.counts, at=clock + step.counts.at) if step.counts and step.counts.at > -90 else None
        seen = replace(step, at=clock, counts=counts)
        state, decision = decide(state, seen, spec)
        assert decision.message
        if seen.replicas == 0:
            assert decision.replicas == 0
        else:
            assert spec.min_replicas <= decision.replicas <= spec.max_replicas
        if decision.frozen:
            assert decision.replicas == seen.replicas
            assert decision.reason in FREEZING
        if counts is None or counts.at < clock - FORGET_AFTER:
            assert decision.replicas >= min(seen.replicas, spec.max_replicas)


@given(st.integers(0, 10**6), st.integers(1, 10), st.floats(0, 10**5))
def test_after_a_restart_the_number_stays(rows: int, workers: int, age: float) -> None:
    seen = Measurement(7.0, workers, workers, Counts(7.0, 10**9, 10**9 - rows, rows, age))
    [decision] = run([seen])
    assert (decision.replicas, decision.reason, decision.frozen) == (workers, "MeasuringRates", True)
    assert decision.arrivals is decision.drain is None


def test_what_drains_arrivals_and_backlog_in_the_catch_up_time_is_asked_for() -> None:
    last = run(steady(60, arriving=250, draining=100))[-1]
    assert last.reason == "BacklogGrows"
    assert (round(last.arrivals or 0), round(last.drain or 0)) == (250, 100)
    assert last.replicas == -(-(250 + 150 * 60 / 60) // 100)


def test_a_lost_and_a_stale_backlog_freeze() -> None:
    feed = steady(60, arriving=1, draining=100, workers=8)
    lost = Measurement(65.0, 8, 8, None, "the stream's server cannot be reached")
    stale = Measurement(95.0, 8, 8, feed[-1].counts)
    decisions = run([*feed, lost, stale])[-2:]
    assert [(d.reason, d.replicas, d.frozen) for d in decisions] == [
        ("BacklogUnknown", 8, True),
        ("BacklogStale", 8, True),
    ]
    assert "cannot be reached" in decisions[0].message


def test_totals_that_fall_are_measured_anew() -> None:
    feed = steady(60, arriving=250, draining=100)
    assert run([*feed, *steady(0, 0, 0, start=65)])[-1].reason == "MeasuringRates"


def test_a_target_at_zero_is_left_alone_and_one_outside_the_bounds_is_brought_back() -> None:
    spec = SPEC.model_copy(update={"min_replicas": 2})
    reasons = {number: run([Measurement(0.0, number, 0, None)], spec)[0] for number in (0, 1, 11)}
    assert {n: (d.replicas, d.reason) for n, d in reasons.items()} == {
        0: (0, "ScalingDisabled"),
        1: (2, "BelowMinimum"),
        11: (10, "AboveMaximum"),
    }


def test_where_nothing_drains_the_oldest_entry_alone_adds_two_workers_at_most() -> None:
    feed = steady(600, arriving=1000, draining=0)
    decisions = run(feed)
    numbers = [decision.replicas for decision in decisions]
    assert set(numbers) == {1, 2, 3}
    assert numbers == sorted(numbers)
    stalled = [d for d in decisions if d.reason == "NothingDrains"]
    assert stalled[0].message.startswith(f"nothing was settled for {STALLED_AFTER:.0f} s")
    assert "database" in decisions[-1].message


def test_workers_that_do_not_start_are_not_joined_by_more() -> None:
    feed = [replace(seen, ready=0) for seen in steady(600, arriving=1000, draining=0)]
    assert {d.replicas for d in run(feed)} == {1}
    assert run(feed)[-1].reason == "NoReadyWorker"


def test_a_worker_that_starts_does_not_count_as_draining() -> None:
    feed = [replace(seen, replicas=4) for seen in steady(60, arriving=250, draining=100)]
    assert round(run(feed)[-1].drain or 0) == 100


def test_one_entry_that_nobody_settles_does_not_make_the_number_swing() -> None:
    """As a batch of a newer contract version, which waits for the rolling upgrade."""
    state, workers, seen_numbers = State(), 1, []
    for at in range(0, 3600, 5):
        counts = Counts(float(at), 1000 + 10 * at, 10 * at, 1000, float(at))
        state, decision = decide(state, Measurement(float(at), workers, workers, counts), SPEC)
        workers = decision.replicas
        seen_numbers.append(workers)
    assert seen_numbers == sorted(seen_numbers)
    assert workers <= 5
    assert "stay pending" in decision.message


def test_a_refused_change_does_not_count_for_the_policies() -> None:
    feed = steady(60, arriving=5000, draining=100)
    assert [d.replicas for d in run(feed)][-3:] == [5, 5, 5]
    assert run(feed)[-1].limited == "ScaleUpLimit"


def test_many_workers_that_have_nothing_to_do_after_a_restart_go_once_that_is_sure() -> None:
    decisions = run(steady(400, arriving=0, draining=0, workers=8))
    window = SPEC.behavior.scale_down.stabilization_window_seconds
    assert {d.replicas for d in decisions[: window // 5]} == {8}
    assert (decisions[-1].replicas, decisions[-1].reason) == (4, "NothingArrives")
